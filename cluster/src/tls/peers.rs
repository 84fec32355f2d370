//! Mutual TLS between peers, as a network on top of a network: `rpc` does not know of it.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quorate_env::{BoxFuture, BoxStream, Leg, Listener, Network};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, TlsAcceptor, TlsConnector, TlsStream};

use super::{Certificates, explain};

/// Connects to peers, and lets them connect, in mutual TLS.
pub struct PeerNetwork {
    below: Arc<dyn Network>,
    certificates: Arc<Certificates>,
    complaints: Arc<Complaints>,
}

impl PeerNetwork {
    /// The network that peers use: `below` itself unless the certificates are for peers too.
    #[must_use]
    pub fn over(below: Arc<dyn Network>, certificates: Option<&Arc<Certificates>>) -> Arc<dyn Network> {
        match certificates {
            Some(certificates) if certificates.loaded().peers.is_some() => {
                let certificates = Arc::clone(certificates);
                let complaints = Arc::new(Complaints::new(&certificates));
                Arc::new(Self { below, certificates, complaints })
            }
            _ => below,
        }
    }
}

impl Network for PeerNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| io::Error::other(format!("`{host}` cannot be the name in a certificate")))?;
            let stream = self.below.connect(address).await?;
            let Some(sides) = self.certificates.loaded().peers.clone() else { return Ok(stream) };
            match TlsConnector::from(sides.connect).connect(name, stream).await {
                Ok(stream) => {
                    let (state, complaints) =
                        (State::Open(Box::new(stream.into())), Arc::clone(&self.complaints));
                    Ok(Box::new(PeerStream { state, peer: address.to_owned(), complaints, heard: false }))
                }
                Err(error) => Err(self.complaints.about(address, error)),
            }
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let below = self.below.bind(address).await?;
            let (certificates, complaints) = (Arc::clone(&self.certificates), Arc::clone(&self.complaints));
            Ok(Box::new(PeerListener { below, certificates, complaints }) as Box<dyn Listener>)
        })
    }

    fn message_delay(&self, leg: Leg) -> Option<Duration> {
        self.below.message_delay(leg)
    }
}

struct PeerListener {
    below: Box<dyn Listener>,
    certificates: Arc<Certificates>,
    complaints: Arc<Complaints>,
}

impl Listener for PeerListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            let (stream, from) = self.below.accept().await?;
            let Some(sides) = self.certificates.loaded().peers.clone() else { return Ok((stream, from)) };
            // The handshake waits for the first read: whoever is slow must not keep others from being
            // accepted.
            let state = State::Shaking(Box::new(TlsAcceptor::from(sides.accept).accept(stream)));
            // The port is another each time; the host is what is complained about.
            let peer = from.rsplit_once(':').map_or(from.as_str(), |(host, _)| host).to_owned();
            let complaints = Arc::clone(&self.complaints);
            Ok((Box::new(PeerStream { state, peer, complaints, heard: false }) as BoxStream, from))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        self.below.local_address()
    }
}

/// Says what is wrong with a peer once, not at every attempt.
struct Complaints {
    certificates: Arc<Certificates>,
    said: Mutex<BTreeMap<String, String>>,
}

/// Peers that are remembered for having been complained about.
const REMEMBERED_MAX: usize = 1024;

impl Complaints {
    fn new(certificates: &Arc<Certificates>) -> Self {
        Self { certificates: Arc::clone(certificates), said: Mutex::default() }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error in words, counted and logged if it is about TLS.
    fn about(&self, peer: &str, error: io::Error) -> io::Error {
        let Some(why) = explain::peer(&error) else { return error };
        self.certificates.counts.peers_failed.fetch_add(1, Ordering::Relaxed);
        let mut said = self.said();
        if said.get(peer) != Some(&why) {
            tracing::warn!(peer, why, "no connection with a peer");
            if said.len() >= REMEMBERED_MAX {
                said.clear();
            }
            said.insert(peer.to_owned(), why.clone());
        }
        io::Error::new(error.kind(), why)
    }

    /// All is well with the peer.
    fn withdraw(&self, peer: &str) {
        self.said().remove(peer);
    }
}

enum State {
    Shaking(Box<Accept<BoxStream>>),
    Open(Box<TlsStream<BoxStream>>),
    Failed,
}

/// A peer's connection, whose handshake is made by whoever reads first.
struct PeerStream {
    state: State,
    peer: String,
    complaints: Arc<Complaints>,
    /// Something came that the peer encrypted: it took this node's certificate.
    heard: bool,
}

impl PeerStream {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut TlsStream<BoxStream>>> {
        if let State::Shaking(accepting) = &mut self.state {
            match ready!(std::future::Future::poll(Pin::new(accepting.as_mut()), cx)) {
                Ok(stream) => self.state = State::Open(Box::new(stream.into())),
                Err(error) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(self.complaints.about(&self.peer, error)));
                }
            }
        }
        match &mut self.state {
            State::Open(stream) => Poll::Ready(Ok(stream)),
            State::Shaking(_) | State::Failed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = ready!(self.poll_open(cx))?;
        let before = buf.filled().len();
        match ready!(Pin::new(stream).poll_read(cx, buf)) {
            Ok(()) => {
                if !self.heard && buf.filled().len() > before {
                    self.heard = true;
                    self.complaints.withdraw(&self.peer);
                }
                Poll::Ready(Ok(()))
            }
            // A peer that does not like the certificate says so only now (TLS 1.3).
            Err(error) => Poll::Ready(Err(self.complaints.about(&self.peer, error))),
        }
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let stream = ready!(self.poll_open(cx))?;
        Pin::new(stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = ready!(self.poll_open(cx))?;
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = ready!(self.poll_open(cx))?;
        Pin::new(stream).poll_shutdown(cx)
    }
}
