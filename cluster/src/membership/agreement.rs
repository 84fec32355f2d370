//! Two nodes that talk about data agree on the view first: whoever is behind catches up.
//!
//! Not here: how views come about (`administrator`) and when a change goes on (`steward`).

use std::time::Duration;

use tokio::time::Instant;

use super::{ViewVersion, Views};
use crate::config::NodeId;
use crate::rpc::{CallError, Peers, Request, Response};

/// How often one request is asked of a node that is in another view. A change has three phases,
/// and either of the two may take any of them while they talk.
const ROUNDS_MAX: u32 = 4;

/// Has `to` do something that was planned under `planned`, within `wait`. Should it be in another
/// view, the one of the two that is behind catches up: `to`, and it is asked again, or this node,
/// and whoever planned must plan again.
///
/// # Errors
/// [`CallError::OtherView`] if this node's view is no longer the planned one, or if the two could
/// not agree; `to` may then have done what was asked. Otherwise as [`Peers::call`].
pub async fn call_under(
    views: &Views,
    peers: &Peers,
    planned: ViewVersion,
    (to, request): (NodeId, Request),
    (wait, stall): (Duration, Duration),
) -> Result<Response, CallError> {
    let deadline = Instant::now() + wait;
    for _ in 0..ROUNDS_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = peers.call(to, planned, request.clone(), left).await;
        let Ok(Response::OtherView(theirs)) = answer else { return answer };
        // Whether this works out is seen in the next round: either may take a step in between.
        if theirs > planned {
            catch_up(views, peers, to, stall).await;
        } else {
            bring_up(views, peers, to, stall).await;
        }
        // Nobody would wait for the answer, and that the other is in another view is known already.
        if views.current().version() != planned || Instant::now() >= deadline {
            break;
        }
    }
    Err(CallError::OtherView)
}

/// Takes over the view of `from`, if it is newer than this node's.
pub async fn catch_up(views: &Views, peers: &Peers, from: NodeId, wait: Duration) {
    let version = views.current().version();
    if let Ok(Response::View(view)) = peers.call(from, version, Request::FetchView, wait).await
        && let Err(error) = views.learn(*view).await
    {
        tracing::warn!(%error, "a newer view cannot be written");
    }
}

/// Gives `to`, which has an older view, this node's.
pub async fn bring_up(views: &Views, peers: &Peers, to: NodeId, wait: Duration) {
    let view = views.current();
    let learn = Request::LearnView { view: Box::new((*view).clone()) };
    if let Err(error) = peers.call(to, view.version(), learn, wait).await {
        tracing::debug!(%to, %error, "cannot be told of a newer view");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Arc;

    use bytes::Bytes;
    use quorate_env::BoxFuture;

    use super::*;
    use crate::config::{Limits, Member, StoreDefinition, Timing};
    use crate::membership::{Change, View};
    use crate::metrics::Metrics;
    use crate::rpc::{Hello, PeerServer, Service, Versions};
    use crate::testing;

    const FRAME_BYTES_MAX: usize = 1 << 20;
    const WAIT: Duration = Duration::from_secs(60);

    /// A replica whose view takes a step of its own whenever it is told of a newer one.
    struct Restless {
        views: Arc<Views>,
        steps: usize,
    }

    impl Service for Restless {
        fn handle(self: Arc<Self>, _from: NodeId, request: Request) -> BoxFuture<'static, Response> {
            Box::pin(async move {
                match request {
                    Request::LearnView { view } => {
                        let newer = (0..self.steps).fold(*view, |view, _| view.advanced());
                        self.views.learn(newer).await.unwrap();
                        Response::Learned
                    }
                    Request::FetchView => Response::View(Box::new((*self.views.current()).clone())),
                    _ => Response::Stored,
                }
            })
        }
    }

    /// The views that a change takes a cluster through, with node 2 at `address`.
    fn chain(address: String) -> Vec<View> {
        let two = Member { peer: address, ..testing::member(2) };
        let first = View::new(vec![testing::member(1), two, testing::member(3)], 8, 3);
        let copying = first.successor(&Change::Join(testing::member(4))).unwrap();
        vec![first, copying.clone(), copying.advanced(), copying.advanced().advanced()]
    }

    /// What node 1 in view `ours` of the chain gets of node 2 in view `theirs`, which goes `steps`
    /// further when it is told of a newer one; and which view node 1 is in then.
    async fn ask(ours: usize, theirs: usize, steps: usize) -> (Result<Response, CallError>, String) {
        let (me, other) = (testing::node(1), testing::node(2));
        let env = testing::env();
        let listener = env.net.bind("127.0.0.1:0").await.unwrap();
        let chain = chain(listener.local_address().unwrap());
        let their_views = Arc::new(Views::unchanging(other, chain[theirs].clone()));
        let server = PeerServer {
            service: Arc::new(Restless { views: Arc::clone(&their_views), steps }),
            env: env.clone(),
            me: other,
            store: StoreDefinition::default(),
            versions: Versions::up_to(None),
            views: their_views,
            frame_bytes_max: FRAME_BYTES_MAX,
            timing: Timing::default(),
            limits: Limits::default(),
            metrics: Arc::new(Metrics::default()),
            gossip: tokio::sync::mpsc::channel(1).0,
        };
        let server = tokio::spawn(Arc::new(server).run(listener));
        let hello = Hello::new(me, Versions::up_to(None), &StoreDefinition::default());
        let views = Arc::new(Views::unchanging(me, chain[ours].clone()));
        let peers = Peers::new(&env, Arc::clone(&views), me, &hello, Timing::default(), FRAME_BYTES_MAX);
        let read = Request::Read { partition: 0, key: Bytes::from_static(b"k"), own: None };
        let planned = chain[ours].version();
        let answer = call_under(&views, &peers, planned, (other, read), (WAIT, WAIT)).await;
        server.abort();
        (answer, views.current().version().to_string())
    }

    #[tokio::test]
    async fn a_peer_that_is_behind_is_brought_up_and_asked_again() {
        assert_eq!(ask(1, 0, 0).await, (Ok(Response::Stored), "2-copying".into()));
    }

    #[tokio::test]
    async fn whoever_is_behind_its_peer_catches_up_and_plans_again() {
        assert_eq!(ask(1, 3, 0).await, (Err(CallError::OtherView), "2-stable".into()));
    }

    #[tokio::test]
    async fn a_peer_that_overtakes_while_it_is_brought_up_is_followed() {
        assert_eq!(ask(1, 0, 1).await, (Err(CallError::OtherView), "2-reading-new".into()));
    }
}
