//! Byte streams between named endpoints.
//!
//! Boxed on purpose: one virtual call per socket operation is noise beside the system call,
//! and no generic parameter spreads through the node. A connect error says nothing about
//! whether the other side is alive: a simulated partition refuses at once, a real one hangs.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::BoxFuture;

/// A connected byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connected byte stream, boxed.
pub type BoxStream = Box<dyn Stream>;

/// The four one-way legs of a quorum operation, after Bailis et al. (PBS, VLDB 2012, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leg {
    /// Coordinator to replica, carrying a write (W).
    Write,
    /// Replica to coordinator, acknowledging it (A).
    Ack,
    /// Coordinator to replica, asking for a read (R).
    Read,
    /// Replica to coordinator, carrying the answer (S).
    Response,
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Ack => "ack",
            Self::Read => "read",
            Self::Response => "response",
        })
    }
}

/// Opens and accepts connections. Addresses are `host:port`; names are resolved per connect.
pub trait Network: Send + Sync + 'static {
    /// Connects, without a timeout of its own: wrap it in one.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>>;

    /// Listens on `address`. Port 0 asks for any free port where the network has them.
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Extra delay for one message on one leg, drawn anew for every message (not for every
    /// connection), so that a scenario can give latency distributions. None on a real network.
    fn message_delay(&self, _leg: Leg) -> Option<Duration> {
        None
    }
}

/// Accepts connections.
pub trait Listener: Send + 'static {
    /// The next connection and the address it came from.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>>;

    /// The address listened on, with the real port.
    fn local_address(&self) -> io::Result<String>;
}

/// The machine's TCP, with `TCP_NODELAY` on every stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNetwork;

impl Network for TokioNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(TcpListener::bind(address).await?) as Box<dyn Listener>) })
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            let (stream, from) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxStream, from.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.local_addr()?.to_string())
    }
}
