//! `quorate_env::Network` over turmoil's TCP. Which host speaks is a matter of whose task runs.
//!
//! When a host is crashed the runtime drops its tasks in an order that depends on task ids, which
//! are counted per process: with it would vary the order of the connections' last messages, and
//! with that everything after. Streams of a crashing host are therefore put aside, and closed in
//! the order in which they were made by a [`CrashGuard`] that the host's main task holds.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use quorate_env::{BoxFuture, BoxStream, Leg, Listener, Network, RandomStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::scenario::Legs;

/// The simulated network as one host sees it. Clones are the same host's.
#[derive(Clone, Default)]
pub struct SimNetwork {
    streams: Arc<Mutex<Streams>>,
    delays: Option<Arc<Delays>>,
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
    /// A network on which messages of quorum operations take as long on top as `legs` says.
    pub(super) fn with_legs(legs: &Legs, random: RandomStream) -> Self {
        let delays = || Arc::new(Delays { legs: legs.clone(), random: Mutex::new(random) });
        Self { delays: (!legs.is_empty()).then(delays), ..Self::default() }
    }

    /// The guard for one run of the host.
    pub(super) fn guard(&self) -> CrashGuard {
        CrashGuard(self.clone())
    }

    /// Says whether the host is just being crashed.
    pub(super) fn set_crashing(&self, crashing: bool) {
        self.lock().crashing = crashing;
    }

    fn wrap(&self, inner: TcpStream) -> BoxStream {
        let mut streams = self.lock();
        streams.made += 1;
        Box::new(SimStream { inner: Some(inner), number: streams.made, network: self.clone() })
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
        Box::pin(async move { Ok(self.wrap(TcpStream::connect(split(address)?).await?)) })
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
        let delays = self.delays.as_ref()?;
        delays.legs.draw(leg, &mut delays.random.lock().unwrap_or_else(PoisonError::into_inner))
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
            Ok((self.network.wrap(stream), from.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(format!("{}:{}", self.host, self.inner.local_addr()?.port()))
    }
}

struct SimStream {
    /// Taken only by `drop`.
    inner: Option<TcpStream>,
    number: u64,
    network: SimNetwork,
}

impl SimStream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(self.get_mut().inner.as_mut().expect("a stream is there until it is dropped"))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        let mut streams = self.network.lock();
        if streams.crashing {
            streams.aside.push((self.number, inner));
        } else {
            drop(streams);
            drop(inner);
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

fn split(address: &str) -> io::Result<(&str, u16)> {
    address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("`{address}` is not host:port")))
}
