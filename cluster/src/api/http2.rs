//! Conversations in HTTP/2: many requests at once on each connection, every one of them admitted,
//! timed and refused as those of HTTP/1.1 are.
//!
//! What HTTP/1.1 gets from its one request at a time must be bounded here by name: requests in hand,
//! bytes that are taken before anybody reads them, resets without end, and clients that hold a
//! connection without asking, or ask and take nothing (`activity`).

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use hyper::rt::Executor;
use hyper::service::service_fn;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::activity::{Activity, Overdue};
use super::body::paced;
use super::stream::HyperStream;
use super::timer::TokioTimer;
use super::{Api, HEAD_BYTES_MAX, Room, ended, stopped};

/// Bytes of one request's body that may come before somebody reads them.
const STREAM_BYTES: u32 = 128 << 10;
/// The same for all requests of a connection: what an idle node may have to keep for each client.
const CONNECTION_BYTES: u32 = 256 << 10;
/// Requests that were taken back before this node had looked at them: a client that does this again and
/// again costs more than it asks for (CVE-2023-44487), and is hung up on.
const TAKEN_BACK_MAX: usize = 32;
/// Requests that this node had to break off because they were not HTTP/2, before it hangs up.
const BROKEN_OFF_MAX: usize = 64;

/// Answers until the client leaves, dawdles, floods, or the node stops. Then no further request is taken
/// (GOAWAY says which was the last), and those in hand are answered.
pub(super) async fn converse(
    api: Arc<Api>,
    stream: HyperStream,
    room: Room,
    mut stopping: watch::Receiver<bool>,
) {
    let (timing, metrics) = (api.coordinator.timing, Arc::clone(&api.coordinator.metrics));
    let streams_max = api.coordinator.admission.limits().streams_max;
    let activity = Arc::new(Activity::new());
    let turned_away = Arc::new(Notify::new());
    let service = {
        let (activity, turned_away) = (Arc::clone(&activity), Arc::clone(&turned_away));
        service_fn(move |request| {
            let (api, in_hand) = (Arc::clone(&api), activity.begin());
            let turned_away = Arc::clone(&turned_away);
            async move {
                let answer = match room {
                    Room::Some(caller) => api.route(request, caller).await,
                    Room::None => {
                        turned_away.notify_one();
                        api.turn_away()
                    }
                };
                Ok::<_, Infallible>(paced(answer, in_hand))
            }
        })
    };
    let connection = hyper::server::conn::http2::Builder::new(Tasks)
        .auto_date_header(false)
        .max_concurrent_streams(streams_max)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .max_pending_accept_reset_streams(TAKEN_BACK_MAX)
        .max_local_error_reset_streams(BROKEN_OFF_MAX)
        .timer(TokioTimer)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        biased;
        result = &mut connection => Some(result),
        () = stopped(&mut stopping) => None,
        () = turned_away.notified() => None,
        overdue = activity.overdue(timing.head, timing.answer) => {
            metrics.clients_timed_out.add(1);
            match overdue {
                Overdue::Request => None,
                Overdue::Answer => return,
            }
        }
    };
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            // Whoever goes on holding it by then is past every deadline.
            match timeout(timing.request + timing.answer, connection).await {
                Ok(result) => result,
                Err(_) => return metrics.clients_timed_out.add(1),
            }
        }
    };
    if let Err(error) = result {
        ended(&metrics, &error);
    }
}

/// Runs each request in a task of its own.
#[derive(Clone, Copy, Debug)]
struct Tasks;

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, request: F) {
        tokio::spawn(request);
    }
}
