//! Conversations in HTTP/1.1: one request at a time on each connection.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::service::service_fn;
use tokio::sync::watch;

use super::stream::HyperStream;
use super::timer::TokioTimer;
use super::{Api, HEAD_BYTES_MAX, Room, ended, stopped};

/// Answers until the client leaves, dawdles, or the node stops.
pub(super) async fn converse(
    api: Arc<Api>,
    stream: HyperStream,
    room: Room,
    mut stopping: watch::Receiver<bool>,
) {
    let (timing, metrics) = (api.coordinator.timing, Arc::clone(&api.coordinator.metrics));
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move {
            Ok::<_, Infallible>(match room {
                Room::Some(caller) => api.route(request, caller).await,
                Room::None => api.turn_away(),
            })
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .keep_alive(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .timer(TokioTimer)
        .header_read_timeout(timing.head)
        .serve_connection(stream, service);
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
        ended(&metrics, &error);
    }
}
