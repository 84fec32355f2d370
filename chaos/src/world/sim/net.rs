//! `quorate_env::Network` over turmoil's TCP. Which host speaks is a matter of whose task runs.
//!
//! When a host is crashed the runtime drops its tasks in an order that depends on task ids, which
//! are counted per process: with it would vary the order of the connections' last messages, and
//! with that everything after. Streams of a crashing host are therefore put aside, and closed in
//! the order in which they were made by a [`CrashGuard`] that the host's main task holds.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_env::{BoxFuture, BoxStream, Clock as _, Leg, Listener, Network, RandomStream};
use rand::RngExt as _;
use turmoil::net::{TcpListener, TcpStream};

use super::SimClock;
use super::stream::SimStream;
use super::wires::Wires;
use crate::scenario::Legs;
use crate::trace::Tape;

/// The simulated network as one host sees it. Clones are the same host's.
#[derive(Clone, Default)]
pub struct SimNetwork {
    streams: Arc<Mutex<Streams>>,
    wires: Wires,
    delays: Option<Arc<Delays>>,
    reorder: Option<Arc<Mutex<Reorder>>>,
    /// Where it is noted what this host's streams carry, if anybody asked.
    tape: Option<(Tape, Arc<str>)>,
}

/// How messages of quorum operations overtake each other.
struct Reorder {
    most: Duration,
    random: RandomStream,
}

/// What messages take on top of the network's own latency.
struct Delays {
    legs: Legs,
    random: Mutex<RandomStream>,
}

#[derive(Default)]
struct Streams {
    crashing: bool,
    made: u64,
    /// Of a crashing host: streams by number, to be closed in that order.
    aside: Vec<(u64, TcpStream)>,
}

/// Closes the streams of a crashed host in order. Must be dropped last of all that the host holds.
pub(super) struct CrashGuard(SimNetwork);

impl SimNetwork {
    /// The network of a client's host.
    pub(super) fn of_clients(wires: Wires) -> Self {
        Self { wires, ..Self::default() }
    }

    /// The network of a node, on which messages of quorum operations take as long on top as `legs` says.
    pub(super) fn of_node(wires: Wires, legs: &Legs, random: RandomStream, reorder: RandomStream) -> Self {
        let delays = || Arc::new(Delays { legs: legs.clone(), random: Mutex::new(random) });
        let reorder = Reorder { most: Duration::ZERO, random: reorder };
        Self {
            wires,
            delays: (!legs.is_empty()).then(delays),
            reorder: Some(Arc::new(Mutex::new(reorder))),
            ..Self::default()
        }
    }

    /// The same network, that notes on `tape` what the streams of `host` carry.
    pub(super) fn taped(self, tape: Option<&Tape>, host: &str) -> Self {
        Self { tape: tape.map(|tape| (tape.clone(), host.into())), ..self }
    }

    /// Notes what a stream read or wrote.
    pub(super) fn carried(&self, stream: u64, is_read: bool, bytes: &[u8]) {
        if let Some((tape, host)) = &self.tape
            && !bytes.is_empty()
        {
            tape.carry(SimClock.monotonic_ns(), host, stream, is_read, bytes);
        }
    }

    /// From now on every message of a quorum operation waits up to `most`, each for itself.
    pub(super) fn set_reordered(&self, most: Duration) {
        if let Some(reorder) = &self.reorder {
            reorder.lock().unwrap_or_else(PoisonError::into_inner).most = most;
        }
    }

    pub(super) fn wires(&self) -> &Wires {
        &self.wires
    }

    /// Closes a stream, or puts it aside if its host is being crashed.
    pub(super) fn close(&self, number: u64, stream: TcpStream) {
        let mut streams = self.lock();
        if streams.crashing {
            streams.aside.push((number, stream));
        } else {
            drop(streams);
            drop(stream);
        }
    }

    /// The guard for one run of the host.
    pub(super) fn guard(&self) -> CrashGuard {
        CrashGuard(self.clone())
    }

    /// Says whether the host is just being crashed.
    pub(super) fn set_crashing(&self, crashing: bool) {
        self.lock().crashing = crashing;
    }

    fn wrap(&self, inner: TcpStream) -> io::Result<BoxStream> {
        let number = {
            let mut streams = self.lock();
            streams.made += 1;
            streams.made
        };
        Ok(Box::new(SimStream::new(inner, number, self.clone())?))
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CrashGuard {
    fn drop(&mut self) {
        let mut aside = std::mem::take(&mut self.0.lock().aside);
        aside.sort_by_key(|(number, _)| *number);
        for (_, stream) in aside {
            drop(stream);
        }
    }
}

impl Network for SimNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(split(address)?).await?;
            let link = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
            let delay = if self.wires.are_bad() { self.wires.connecting(link) } else { Duration::ZERO };
            let stream = self.wrap(stream)?;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok(stream)
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let (host, port) = split(address)?;
            // Hosts have one interface; turmoil binds to all of them only.
            let inner = TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(SimListener { inner, host: host.to_owned(), network: self.clone() })
                as Box<dyn Listener>)
        })
    }

    fn message_delay(&self, leg: Leg) -> Option<Duration> {
        let legs = self.delays.as_ref().and_then(|delays| {
            delays.legs.draw(leg, &mut delays.random.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let waits = self.reorder.as_ref().and_then(|reorder| {
            let mut reorder = reorder.lock().unwrap_or_else(PoisonError::into_inner);
            let most_us = u64::try_from(reorder.most.as_micros()).unwrap_or(u64::MAX);
            (most_us > 0).then(|| Duration::from_micros(reorder.random.random_range(0..=most_us)))
        });
        match (legs, waits) {
            (None, None) => None,
            (legs, waits) => Some(legs.unwrap_or_default() + waits.unwrap_or_default()),
        }
    }
}

struct SimListener {
    inner: TcpListener,
    host: String,
    network: SimNetwork,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            let (stream, from) = self.inner.accept().await?;
            Ok((self.network.wrap(stream)?, from.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(format!("{}:{}", self.host, self.inner.local_addr()?.port()))
    }
}

fn split(address: &str) -> io::Result<(&str, u16)> {
    address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("`{address}` is not host:port")))
}
