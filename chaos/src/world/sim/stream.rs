//! One connection of a simulated host: turmoil's, with what bad links make of it ([`super::wires`]).

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use turmoil::net::TcpStream;

use super::SimNetwork;
use super::wires::Damage;

/// The most that is read at a time from a bad link: one segment with its offloads.
const SEGMENT_BYTES_MAX: usize = 16 << 10;
/// What waits on a bad link at most before no more is taken from the other side.
const WAITING_BYTES_MAX: usize = 1 << 20;

pub(super) struct SimStream {
    /// Taken only by `drop`.
    inner: Option<TcpStream>,
    number: u64,
    network: SimNetwork,
    /// From the other side to this one.
    link: (IpAddr, IpAddr),
    /// What has arrived and is still under way, if the link is bad or was.
    late: Option<Box<Late>>,
}

/// Segments that take longer than the network would.
struct Late {
    waiting: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// How the stream ends after them.
    end: Option<io::Result<()>>,
    alarm: Pin<Box<Sleep>>,
}

impl SimStream {
    pub(super) fn new(inner: TcpStream, number: u64, network: SimNetwork) -> io::Result<Self> {
        let link = (inner.peer_addr()?.ip(), inner.local_addr()?.ip());
        Ok(Self { inner: Some(inner), number, network, link, late: None })
    }

    fn inner(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.inner.as_mut().expect("a stream is there until it is dropped"))
    }

    /// Takes in what has arrived, and decides when each segment of it is to be seen.
    fn take_in(&mut self, late: &mut Late, cx: &mut Context<'_>) {
        while late.end.is_none() && late.bytes < WAITING_BYTES_MAX {
            let mut segment = vec![0; SEGMENT_BYTES_MAX];
            let mut buf = ReadBuf::new(&mut segment);
            let read = match self.inner().poll_read(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(read) => read,
            };
            let length = buf.filled().len();
            if read.is_err() || length == 0 {
                late.end = Some(read);
                return;
            }
            segment.truncate(length);
            let now_ns =
                turmoil::sim_elapsed().map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
            let fate = self.network.wires().fate(self.link, length, now_ns);
            match fate.damage {
                Damage::None => {}
                Damage::Byte(at) => {
                    let at = usize::try_from(at % length as u64).unwrap_or(0);
                    segment[at] ^= 0xff;
                }
                Damage::Noticed => {
                    late.end = Some(Err(io::Error::new(io::ErrorKind::InvalidData, "a damaged record")));
                    return;
                }
            }
            let due = Instant::now() + fate.delay;
            // Behind what came before, however long that takes.
            let due = late.waiting.back().map_or(due, |(before, _)| due.max(*before));
            late.bytes += length;
            late.waiting.push_back((due, segment.into()));
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut late = self.late.take().unwrap_or_default();
        self.take_in(&mut late, cx);
        let polled = late.poll(cx, buf);
        // Nothing is under way any more: the plain way again once the links are sound.
        let is_over = late.waiting.is_empty() && late.end.is_none() && !self.network.wires().are_bad();
        self.late = (!is_over).then_some(late);
        polled
    }
}

impl Default for Late {
    fn default() -> Self {
        let alarm = Box::pin(tokio::time::sleep(std::time::Duration::ZERO));
        Self { waiting: VecDeque::new(), bytes: 0, end: None, alarm }
    }
}

impl Late {
    fn poll(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some((due, segment)) = self.waiting.front_mut() else {
            return match &self.end {
                // Kept: whoever reads on is told the same.
                Some(Ok(())) => Poll::Ready(Ok(())),
                Some(Err(error)) => Poll::Ready(Err(io::Error::new(error.kind(), error.to_string()))),
                None => Poll::Pending,
            };
        };
        if Instant::now() < *due {
            self.alarm.as_mut().reset(*due);
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let length = segment.len().min(buf.remaining());
        buf.put_slice(&segment[..length]);
        segment.advance(length);
        self.bytes -= length;
        if segment.is_empty() {
            self.waiting.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.network.close(self.number, inner);
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let filled = buf.filled().len();
        let polled = if stream.late.is_some() || stream.network.wires().are_bad() {
            stream.poll_late(cx, buf)
        } else {
            stream.inner().poll_read(cx, buf)
        };
        stream.network.carried(stream.number, true, &buf.filled()[filled..]);
        polled
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let polled = stream.inner().poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &polled {
            stream.network.carried(stream.number, false, &buf[..*written]);
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use quorate_env::{Network as _, Random};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::wires::{self, Wires};
    use super::*;
    use crate::fault::Wire;

    /// A number, when it was sent and when it was seen, in milliseconds.
    type Seen = (u64, u64, u64);

    /// How the stream of 50 numbers, one every 10 ms, arrives over a link like `wire`, and how the
    /// stream ended.
    fn arrivals(wire: Wire) -> (Vec<Seen>, Result<(), io::ErrorKind>) {
        let mut sim = turmoil::Builder::new()
            .rng_seed(1)
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(2))
            .simulation_duration(Duration::from_secs(120))
            .build();
        let wires = Wires::default();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let end = Arc::new(Mutex::new(Ok(())));
        let now_ms = || u64::try_from(turmoil::sim_elapsed().unwrap().as_millis()).unwrap();
        let (log, last, to) = (Arc::clone(&seen), Arc::clone(&end), SimNetwork::of_clients(wires.clone()));
        sim.client("b", async move {
            let mut listener = to.bind("b:1").await?;
            let (mut stream, _) = listener.accept().await?;
            loop {
                match stream.read_u64().await {
                    Ok(number) => {
                        let sent = stream.read_u64().await.unwrap_or(0);
                        log.lock().unwrap().push((number, sent, now_ms()));
                    }
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => {
                        *last.lock().unwrap() = Err(error.kind());
                        return Ok(());
                    }
                }
            }
        });
        let from = SimNetwork::of_clients(wires.clone());
        sim.client("a", async move {
            let mut stream = from.connect("b:1").await?;
            for number in 0..50_u64 {
                let mut bytes = number.to_be_bytes().to_vec();
                bytes.extend(now_ms().to_be_bytes());
                let _ = stream.write_all(&bytes).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        });
        let link = (sim.lookup("a"), sim.lookup("b"));
        wires.set(link, wire, || wires::stream(Random::from_seed(1), "a", "b"));
        sim.run().unwrap();
        let (seen, end) = (seen.lock().unwrap().clone(), *end.lock().unwrap());
        (seen, end)
    }

    #[test]
    fn what_is_lost_comes_late_and_all_behind_it_waits_in_order() {
        let (seen, end) = arrivals(Wire { loss_ppm: 100_000, ..Wire::default() });
        assert_eq!(end, Ok(()));
        assert!(seen.iter().map(|(number, ..)| *number).eq(0..50), "{seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0].2 <= pair[1].2));
        let late = seen.iter().filter(|(_, sent, at)| at - sent >= 150).count();
        assert!(late > 5 && seen.iter().any(|(_, sent, at)| at - sent < 10), "{seen:?}");
    }

    #[test]
    fn a_narrow_link_lets_so_much_through_and_no_more() {
        // 16 bytes every 10 ms are 1600 a second.
        let (seen, _) = arrivals(Wire { bytes_per_s: Some(800), ..Wire::default() });
        assert_eq!(seen.len(), 50);
        let took_ms = seen[49].2 - seen[0].2;
        assert!((930..=1_050).contains(&took_ms), "{took_ms}");
        let (sound, _) = arrivals(Wire::default());
        assert!(sound.iter().all(|(_, sent, at)| at - sent < 10), "{sound:?}");
    }

    #[test]
    fn damage_changes_bytes_or_ends_the_connection() {
        let (seen, end) = arrivals(Wire { corrupt_ppm: 200_000, ..Wire::default() });
        let changed = seen.iter().enumerate().filter(|(i, (number, ..))| *number != *i as u64).count();
        assert_eq!((seen.len(), end), (50, Ok(())));
        assert!(changed > 1, "{seen:?}");
        let (seen, end) = arrivals(Wire { torn_ppm: 200_000, ..Wire::default() });
        assert_eq!(end, Err(io::ErrorKind::InvalidData));
        assert!(seen.len() < 50 && seen.iter().enumerate().all(|(i, (number, ..))| *number == i as u64));
    }
}
