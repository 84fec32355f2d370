//! The HTTPS API of one node: get, put, delete, the view, metrics and health.
//!
//! HTTP/1.1 and HTTP/2 by hyper, TLS by rustls when a certificate is given; without one (in simulation)
//! plain. A client says which it speaks (`protocol`); both have the same bounds. No `Date` header: it would be the one byte of an answer that differs between two runs
//! of a seed.
//!
//! Not here: what a request means to replicas (`coordinator`).

mod activity; // of one HTTP/2 connection
mod answer;
mod archive;
mod body;
mod http1;
mod http2;
mod guard;
mod kv;
mod members;
#[cfg(test)]
pub(crate) mod openapi;
mod placement;
mod protocol;
mod resource;
mod routes;
mod stream;
mod timer;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_env::{BoxStream, Listener};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::coordinator::{Coordinator, Tokens};
use crate::membership::Administrator;
use crate::membership::gossip::Board;
use crate::metrics::Metrics;
use crate::store::Closing;
use crate::tls::Certificates;
use guard::Caller;
pub use guard::Guard;
use protocol::Protocol;
use stream::HyperStream;

/// Clients beyond the bound that are told so at once; more are hung up on.
const TURNED_AWAY_MAX: usize = 64;
/// How long a TLS handshake may take at most.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// Longest head of a request: the longest key escaped, and a context of many actors.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long requests in hand may take once the node stops.
const DRAIN_WAIT: Duration = Duration::from_secs(3);

/// Whether there is room for one more client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// There is, and how the client is connected.
    Some(Caller),
    None,
}

/// What the API answers from.
pub struct Api {
    /// Runs the requests.
    pub coordinator: Arc<Coordinator>,
    /// Changes the members.
    pub administrator: Arc<Administrator>,
    /// Who is alive, by gossip.
    pub board: Arc<Board>,
    /// Seals and opens context tokens.
    pub tokens: Tokens,
    /// What program this node is, as whoever runs it knows; else only its version.
    pub build: OnceLock<String>,
    /// Keeps out whoever may not administer.
    pub guard: Guard,
    /// Knows whether the disk takes writes.
    pub engine: Arc<Closing>,
    /// What clients are shown; plain HTTP without.
    pub certificates: Option<Arc<Certificates>>,
}

impl Api {
    /// Accepts until `stopping` turns true, then lets requests in hand finish.
    pub async fn run(self: Arc<Self>, mut listener: Box<dyn Listener>, mut stopping: watch::Receiver<bool>) {
        let connections_max = self.coordinator.admission.limits().connections_max;
        let connections = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopped(&mut stopping) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (permit, room) = match Arc::clone(&connections).try_acquire_owned() {
                        Ok(permit) => (permit, Room::Some(Caller::default())),
                        Err(_) => {
                            self.coordinator.metrics.connections_refused.add(1);
                            // Dropping the stream hangs up.
                            let Ok(permit) = Arc::clone(&turned_away).try_acquire_owned() else { continue };
                            (permit, Room::None)
                        }
                    };
                    // Taken anew: certificates may have been replaced.
                    let acceptor =
                        self.certificates.as_ref().map(|certificates| certificates.for_clients().into());
                    let (api, stopping) = (Arc::clone(&self), stopping.clone());
                    tokio::spawn(async move {
                        api.secure(stream, acceptor, room, stopping).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: waiting is all that helps.
                    tracing::warn!(%error, "cannot accept a client");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
        let _ = timeout(DRAIN_WAIT, connections.acquire_many(all)).await;
    }

    async fn secure(
        self: Arc<Self>,
        mut stream: BoxStream,
        acceptor: Option<TlsAcceptor>,
        mut room: Room,
        mut stopping: watch::Receiver<bool>,
    ) {
        let (timing, metrics) = (self.coordinator.timing, Arc::clone(&self.coordinator.metrics));
        let Some(acceptor) = acceptor else {
            let heard = tokio::select! {
                biased;
                () = stopped(&mut stopping) => return,
                heard = timeout(timing.head, Protocol::heard(&mut stream)) => heard,
            };
            return match heard {
                Ok(Ok((protocol, first))) => {
                    let stream = HyperStream::new(stream, timing.answer).after(first);
                    self.converse(stream, protocol, room, stopping).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a client left before it said anything"),
                Err(_) => metrics.clients_timed_out.add(1),
            };
        };
        match timeout(HANDSHAKE_WAIT.min(timing.head), acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let protocol = Protocol::agreed(stream.get_ref().1);
                if let Room::Some(caller) = &mut room {
                    // A certificate that does not stand up ends the handshake.
                    caller.has_certificate = stream.get_ref().1.peer_certificates().is_some();
                }
                let stream = HyperStream::new(Box::new(stream), timing.answer);
                self.converse(stream, protocol, room, stopping).await;
            }
            Ok(Err(error)) => {
                metrics.handshakes_failed.add(1);
                tracing::debug!(%error, "a TLS handshake failed");
            }
            Err(_) => {
                metrics.clients_timed_out.add(1);
                tracing::debug!("a TLS handshake took too long");
            }
        }
    }

    async fn converse(
        self: Arc<Self>,
        stream: HyperStream,
        protocol: Protocol,
        room: Room,
        stopping: watch::Receiver<bool>,
    ) {
        match protocol {
            Protocol::Http1 => Box::pin(http1::converse(self, stream, room, stopping)).await,
            Protocol::Http2 => Box::pin(http2::converse(self, stream, room, stopping)).await,
        }
    }
}

/// Counts why a connection ended that did not end well.
fn ended(metrics: &Metrics, error: &hyper::Error) {
    let broke_http2 = || {
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
        source.is_some_and(h2::Error::is_library)
    };
    if error.is_timeout() || timer::has_timed_out(error) {
        metrics.clients_timed_out.add(1);
    } else if error.is_parse() || broke_http2() {
        metrics.requests_malformed.add(1);
    }
    tracing::debug!(%error, "a client's connection ended");
}

/// Waits until the node stops, or until nobody is left who could stop it.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live on: it is not `Send`.
    let _ = stopping.wait_for(|stopping| *stopping).await.map(|_| ());
}
