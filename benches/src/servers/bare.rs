//! The least that an HTTPS server can be: hyper and rustls, which answer every get with the same value and
//! forget every put. What a store takes above this is its own.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use quorate_cluster::tls::Certificates;
use quorate_env::SystemClock;
use quorate_loadgen::ValueId;
use quorate_processes::{pki, server_runtime, threads_of_each};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::cluster::NODES;
use super::subject::VALUE_BYTES;
use crate::load::server::say;

/// The file with its authority's certificate, in the directory that [`serve`] is given.
pub const CA_FILE: &str = "ca.pem";

/// Serves until standard input ends, with certificates in `directory`. Prints its port.
///
/// # Panics
/// If the machine does not let it.
pub fn serve(directory: &Path) {
    std::thread::spawn(|| {
        // The parent is gone or has enough.
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let (files, _) = pki::own_certificates(directory, "bare", "127.0.0.1:0").expect("certificates");
    let files = Certificates::open(&files, Arc::new(SystemClock::new())).expect("certificates just made");
    let acceptor = TlsAcceptor::from(files.for_clients());
    // As many threads as each node has.
    let runtime = server_runtime(Some(threads_of_each(NODES))).expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        say(format_args!("{}", listener.local_addr().expect("an address").port()));
        let value = value();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (acceptor, value) = (acceptor.clone(), value.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(move |request| answer(request, value.clone()));
                // A client that leaves is all that can go wrong.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
}

/// A value that a generator takes for its own, so that it checks all of it.
fn value() -> Bytes {
    let mut value = Vec::new();
    ValueId { process: 0, sequence: 1 }.encode(VALUE_BYTES, &mut value);
    value.into()
}

/// Answers with what a client of a store wants to see in a head.
async fn answer(request: Request<Incoming>, value: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_get = request.method() == Method::GET;
    let read = request.into_body().collect().await;
    let (status, body) = match (read, is_get) {
        (Err(_), _) => (400, Bytes::new()),
        (Ok(_), true) => (200, value),
        (Ok(_), false) => (204, Bytes::new()),
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/octet-stream")
        .header("x-quorate-context", "AQEAAAAAAAAAAQJuMQEAAAAAAAAAAQAAAAAAAAAB")
        .header("x-quorate-version", "1.n1.1")
        .header("x-quorate-view", "1")
        .body(Full::new(body));
    Ok(response.expect("a head that can be sent"))
}
