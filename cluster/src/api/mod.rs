//! The HTTPS API of one node: get, put, delete, the view, metrics and health.
//!
//! HTTP/1.1 by hyper, TLS by rustls when a certificate is given; without one (in simulation)
//! plain. No `Date` header: it would be the one byte of an answer that differs between two runs
//! of a seed.
//!
//! Not here: what a request means to replicas (`coordinator`).

mod answer;
mod kv;
mod members;
mod routes;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use quorate_env::{BoxStream, Listener};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::coordinator::{Coordinator, Tokens};
use crate::membership::Administrator;
use stream::HyperStream;

/// Connections of clients that may be open at once.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a TLS handshake may take.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// How long requests in hand may take once the node stops.
const DRAIN_WAIT: Duration = Duration::from_secs(3);

/// What the API answers from.
pub struct Api {
    /// Runs the requests.
    pub coordinator: Arc<Coordinator>,
    /// Changes the members.
    pub administrator: Arc<Administrator>,
    /// Seals and opens context tokens.
    pub tokens: Tokens,
}

impl Api {
    /// Accepts until `stopping` turns true, then lets requests in hand finish.
    pub async fn run(
        self: Arc<Self>,
        mut listener: Box<dyn Listener>,
        tls: Option<Arc<rustls::ServerConfig>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let acceptor = tls.map(TlsAcceptor::from);
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            let accepted = tokio::select! {
                biased;
                () = stopped(&mut stopping) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (api, acceptor, stopping) = (Arc::clone(&self), acceptor.clone(), stopping.clone());
                    tokio::spawn(async move {
                        api.secure(stream, acceptor, stopping).await;
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
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let _ = timeout(DRAIN_WAIT, connections.acquire_many(all)).await;
    }

    async fn secure(
        self: Arc<Self>,
        stream: BoxStream,
        acceptor: Option<TlsAcceptor>,
        stopping: watch::Receiver<bool>,
    ) {
        let Some(acceptor) = acceptor else { return self.converse(stream, stopping).await };
        match timeout(HANDSHAKE_WAIT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.converse(Box::new(stream), stopping).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn converse(self: Arc<Self>, stream: BoxStream, mut stopping: watch::Receiver<bool>) {
        let service = service_fn(move |request| {
            let api = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(api.route(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .auto_date_header(false)
            .keep_alive(true)
            .max_buf_size(64 << 10)
            .serve_connection(HyperStream(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            biased;
            result = &mut connection => result,
            () = stopped(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a client's connection ended");
        }
    }
}

/// Waits until the node stops, or until nobody is left who could stop it.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live on: it is not `Send`.
    let _ = stopping.wait_for(|stopping| *stopping).await.map(|_| ());
}
