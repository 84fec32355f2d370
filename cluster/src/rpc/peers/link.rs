//! The task behind one peer: its connection, what waits to be written to it, and what is answered.
//!
//! Not here: who is asked, and what is made of it that somebody does not answer (`peers`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use quorate_env::{BoxStream, Clock, Env, RandomStream};
use rand::RngExt;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::frame::{FrameReader, encode, send};
use super::super::{FrameError, Hello, HelloReply, Request, RequestFrame, Response, ResponseFrame};
use super::{Acquaintance, Call, CallError, Cast, Spoken, Suspicion, Unsent};
use crate::config::Timing;
use crate::membership::gossip::Datagram;
use crate::membership::{Phase, ViewVersion};

/// Calls to one peer that may wait for their answers.
const PENDING_MAX: usize = 8192;
/// Gossip that could not be written for so long is lost: its sender has drawn its conclusions.
const DATAGRAM_AGE_MAX: Duration = Duration::from_millis(500);
/// A batch of frames is written once it is this long.
const BATCH_BYTES: usize = 256 << 10;
/// The shortest pause before connecting again.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// How often a peer's clock is looked at.
const CLOCK_PERIOD: Duration = Duration::from_secs(10);

/// Both ends of a connection, and who is there.
pub(super) type Connection = (FrameReader<ReadHalf<BoxStream>>, WriteHalf<BoxStream>, Spoken);

/// Connects and says hello.
pub(super) async fn connect(
    env: &Env,
    address: &str,
    hello: &Hello,
    timing: Timing,
    frame_bytes_max: usize,
) -> Result<Connection, String> {
    let connect = async {
        let stream = env.net.connect(address).await.map_err(|e| e.to_string())?;
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = FrameReader::new(reader, frame_bytes_max);
        let mut buffer = BytesMut::new();
        encode(hello, &mut buffer);
        send(&mut writer, &buffer).await.map_err(|e| e.to_string())?;
        match reader.next::<HelloReply>().await.map_err(|e| e.to_string())? {
            Some(HelloReply::Welcome) => {
                Ok((reader, writer, Spoken { version: hello.version, release: None, clock_ahead_ns: None }))
            }
            Some(HelloReply::Speak { version, release }) if hello.versions().has(version) => {
                let release = Some(release);
                Ok((reader, writer, Spoken { version, release, clock_ahead_ns: None }))
            }
            Some(HelloReply::Speak { version, .. }) => {
                Err(format!("it wants to speak peer protocol {version}, which it was not offered"))
            }
            Some(HelloReply::Refused(why)) => {
                tracing::warn!(address, why, "the peer refuses this node");
                Err(why)
            }
            None => Err("closed before the hello was answered".into()),
        }
    };
    timeout(timing.connect, connect).await.unwrap_or_else(|_| Err("connecting took too long".into()))
}

type Pending = Arc<Mutex<BTreeMap<u64, (Instant, oneshot::Sender<Result<Response, CallError>>)>>>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task behind one peer.
pub(super) struct Link {
    pub(super) env: Env,
    pub(super) address: String,
    pub(super) hello: Hello,
    pub(super) timing: Timing,
    pub(super) frame_bytes_max: usize,
    pub(super) suspicion: Arc<Suspicion>,
    pub(super) acquaintance: Acquaintance,
    pub(super) unsent: Arc<Unsent>,
    pub(super) random: RandomStream,
}

/// What waits to be written to one peer.
pub(super) struct Queues {
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) casts: mpsc::Receiver<Cast>,
}

impl Link {
    pub(super) async fn run(mut self, mut queues: Queues) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let mut first = None;
            let mut cast = None;
            tokio::select! {
                biased;
                next = queues.casts.recv() => match next {
                    Some(next) => cast = Some(next),
                    None => return,
                },
                call = queues.calls.recv() => match call {
                    Some(call) => first = Some(call),
                    None => return,
                },
                () = sleep(self.timing.probe), if self.suspicion.is_there() => {}
            }
            let connected =
                connect(&self.env, &self.address, &self.hello, self.timing, self.frame_bytes_max).await;
            match connected {
                Ok(connection) => {
                    self.suspicion.clear();
                    backoff = BACKOFF_MIN;
                    if !self.converse((first, cast), &mut queues, connection).await {
                        return;
                    }
                    self.suspicion.silent.store(true, Ordering::Release);
                }
                Err(why) => {
                    tracing::debug!(peer = self.address, %why, "cannot connect");
                    // Gossip may come too early for a node that is still starting: that alone is no
                    // reason to pass it over.
                    if first.is_some() || !queues.calls.is_empty() {
                        self.suspicion.silent.store(true, Ordering::Release);
                    }
                    if let Some(call) = first {
                        let _ = call.reply.send(Err(CallError::NotSent));
                    }
                    let pause = backoff.mul_f64(self.random.random_range(0.5..1.5));
                    backoff = (backoff * 2).min(self.timing.probe);
                    if !refuse_for(pause, &mut queues).await {
                        return;
                    }
                }
            }
        }
    }

    /// Writes calls and pings until the connection fails. False when nobody can call any more.
    async fn converse(
        &mut self,
        first: (Option<Call>, Option<Cast>),
        queues: &mut Queues,
        (reader, mut writer, spoken): Connection,
    ) -> bool {
        let pending: Pending = Arc::default();
        let heard = Arc::new(AtomicU64::new(0));
        let (closed, mut is_closed) = watch::channel(false);
        let version = spoken.version;
        *lock(&self.acquaintance) = Some(spoken);
        let listener = Listener {
            pending: Arc::clone(&pending),
            heard: Arc::clone(&heard),
            suspicion: Arc::clone(&self.suspicion),
            acquaintance: Arc::clone(&self.acquaintance),
            clock: Arc::clone(&self.env.clock),
        };
        let listener = tokio::spawn(async move {
            listener.run(reader).await;
            let _ = closed.send(true);
        });
        let mut look_at_clock = (version >= Request::Clock.since()).then(Instant::now);
        let mut stall = Stall::new(self.timing.stall(), Instant::now());
        let mut buffer = BytesMut::new();
        let mut next_id = 0_u64;
        let (mut waiting, mut cast) = first;
        let mut asked_at = Instant::now();
        let mut alive = true;
        loop {
            let mut ping = false;
            if waiting.is_none() && cast.is_none() {
                tokio::select! {
                    biased;
                    _ = is_closed.changed() => break,
                    next = queues.casts.recv() => match next {
                        Some(next) => cast = Some(next),
                        None => { alive = false; break }
                    },
                    call = queues.calls.recv() => match call {
                        Some(call) => waiting = Some(call),
                        None => { alive = false; break }
                    },
                    () = sleep_until(asked_at + self.timing.probe) => ping = true,
                }
            }
            let now = Instant::now();
            while let Some(next) = cast.take() {
                encode_cast(next, now, &mut buffer);
                cast = queues.casts.try_recv().ok();
            }
            if waiting.is_some() || ping {
                asked_at = now;
            }
            if ping {
                waiting = Some(self.own_call(Request::Ping, now));
            }
            if look_at_clock.is_some_and(|at| at <= now) {
                look_at_clock = Some(now + CLOCK_PERIOD);
                let look = self.own_call(Request::Clock, now);
                self.enqueue(look, (now, version), &mut next_id, &pending, &mut buffer);
            }
            let mut has_yielded = false;
            while let Some(call) = waiting.take() {
                self.enqueue(call, (now, version), &mut next_id, &pending, &mut buffer);
                if buffer.len() >= BATCH_BYTES {
                    break;
                }
                waiting = queues.calls.try_recv().ok();
                if waiting.is_none() && !has_yielded {
                    // Whoever else is about to ask shares the system call.
                    has_yielded = true;
                    yield_now().await;
                    waiting = queues.calls.try_recv().ok();
                }
            }
            if !buffer.is_empty() {
                let written = timeout(self.timing.request, send(&mut writer, &buffer)).await;
                if !matches!(written, Ok(Ok(()))) {
                    break;
                }
                buffer.clear();
            }
            if stall.is_stalled(now, heard.load(Ordering::Acquire), &pending) {
                tracing::debug!(peer = self.address, "the connection has stalled");
                break;
            }
        }
        listener.abort();
        if let Some(call) = waiting {
            let _ = call.reply.send(Err(CallError::NotSent));
        }
        for (_, (_, reply)) in std::mem::take(&mut *lock(&pending)) {
            let _ = reply.send(Err(CallError::Lost));
        }
        alive
    }

    /// A call that the link itself makes; what is answered tells the listener something, and nobody else.
    fn own_call(&self, request: Request, now: Instant) -> Call {
        let (reply, _) = oneshot::channel();
        let view = ViewVersion { epoch: 0, phase: Phase::Stable, fence: 0 };
        Call { view, request, deadline: now + self.timing.request, reply }
    }

    fn enqueue(
        &self,
        call: Call,
        (now, version): (Instant, u32),
        next_id: &mut u64,
        pending: &Pending,
        buffer: &mut BytesMut,
    ) {
        if version < call.request.since() {
            let _ = call.reply.send(Err(CallError::NotSent));
            return;
        }
        let Some(remaining) = call.deadline.checked_duration_since(now).filter(|r| !r.is_zero()) else {
            self.unsent.expired.fetch_add(1, Ordering::Relaxed);
            let _ = call.reply.send(Err(CallError::NotSent));
            return;
        };
        let mut pending = lock(pending);
        if pending.len() >= PENDING_MAX {
            self.unsent.crowded.fetch_add(1, Ordering::Relaxed);
            let _ = call.reply.send(Err(CallError::NotSent));
            return;
        }
        *next_id += 1;
        let remaining_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        let frame = RequestFrame { id: *next_id, view: call.view, remaining_ms, request: call.request };
        encode(&frame, buffer);
        pending.insert(*next_id, (now, call.reply));
    }
}

/// Appends a message of gossip, unless it is too old to be of use. Nobody waits for an answer to
/// it, so that it needs no id.
fn encode_cast((given_at, datagram): Cast, now: Instant, buffer: &mut BytesMut) {
    if now.saturating_duration_since(given_at) <= DATAGRAM_AGE_MAX {
        encode_datagram(datagram, buffer);
    }
}

fn encode_datagram(datagram: Datagram, buffer: &mut BytesMut) {
    let view = datagram.view;
    encode(&RequestFrame { id: 0, view, remaining_ms: 0, request: Request::Gossip(datagram) }, buffer);
}

/// What a message of gossip takes on a connection.
pub(crate) fn gossip_frame_bytes(datagram: &Datagram) -> usize {
    let mut buffer = BytesMut::new();
    encode_datagram(datagram.clone(), &mut buffer);
    buffer.len()
}

/// Refuses calls and loses gossip for a while. False when nobody can call any more.
async fn refuse_for(pause: Duration, queues: &mut Queues) -> bool {
    let until = Instant::now() + pause;
    loop {
        tokio::select! {
            biased;
            cast = queues.casts.recv() => if cast.is_none() { return false },
            call = queues.calls.recv() => match call {
                Some(call) => { let _ = call.reply.send(Err(CallError::NotSent)); }
                None => return false,
            },
            () = tokio::time::sleep_until(until) => return true,
        }
    }
}

/// The end of a connection that answers come to.
struct Listener {
    pending: Pending,
    heard: Arc<AtomicU64>,
    suspicion: Arc<Suspicion>,
    acquaintance: Acquaintance,
    clock: Arc<dyn Clock>,
}

impl Listener {
    /// Hands responses to whoever waits for them until the connection ends.
    async fn run(self, mut reader: FrameReader<ReadHalf<BoxStream>>) {
        loop {
            match reader.next::<ResponseFrame>().await {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) | Err(FrameError::Io(_)) => return,
                Err(error) => {
                    tracing::warn!(%error, "a peer's answer cannot be read");
                    return;
                }
            }
        }
    }

    fn take(&self, frame: ResponseFrame) {
        self.heard.fetch_add(1, Ordering::AcqRel);
        self.suspicion.clear();
        let Some((sent, reply)) = lock(&self.pending).remove(&frame.id) else { return };
        if let (Response::Clock { wall_ns }, Some(spoken)) =
            (&frame.response, lock(&self.acquaintance).as_mut())
        {
            // It showed that about half a round trip ago.
            let back = i64::try_from(sent.elapsed().as_nanos() / 2).unwrap_or(i64::MAX);
            let ahead = i128::from(*wall_ns) - i128::from(self.clock.wall_ns()) + i128::from(back);
            spoken.clock_ahead_ns = i64::try_from(ahead).ok();
        }
        let _ = reply.send(Ok(frame.response));
    }
}

/// Notices a connection on which nothing is heard although answers are due.
struct Stall {
    limit: Duration,
    heard: u64,
    heard_at: Instant,
}

impl Stall {
    fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, heard: 0, heard_at: now }
    }

    fn is_stalled(&mut self, now: Instant, heard: u64, pending: &Pending) -> bool {
        if heard != self.heard {
            self.heard = heard;
            self.heard_at = now;
        }
        let mut pending = lock(pending);
        let Some(oldest) = pending.values().map(|(sent, _)| *sent).next() else { return false };
        if now - self.heard_at.max(oldest) > self.limit {
            return true;
        }
        // A peer does not answer what came too late to it: forget what nobody waits for.
        if now - oldest > self.limit * 2 {
            pending.retain(|_, (sent, reply)| now - *sent <= self.limit * 2 || !reply.is_closed());
        }
        false
    }
}
