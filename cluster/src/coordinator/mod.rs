//! How N replicas answer as one: drives the quorum machines over the peers.
//!
//! Any node coordinates any request (Dynamo, section 5, with the request forwarded copy by copy
//! rather than whole). The node that takes a put from the client mints its dot, once; every
//! hand-over and hint carries that dot. A put goes on after the client has its answer until
//! every owner's copy is stored somewhere; a get goes on to repair the owners it found stale.
//!
//! Not here: deciding (`quorum`), storing (`replica`), HTTP (`api`).

mod archive;
mod error;
mod mint;
mod read;
mod register;
mod stamps;
mod token;
mod write;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use quorate_env::{Env, Leg};
use tokio::time::{Instant, sleep};

use crate::admission::{Admission, Ticket};
use crate::config::{NodeId, StoreDefinition, Timing};
use crate::membership::{Operation, View, ViewVersion, Views, call_under};
use crate::metrics::Metrics;
use crate::replica::ReplicaService;
use crate::ring::PreferenceList;
use crate::rpc::{CallError, Peers, Request, Response, serve, under_view};

pub use archive::{ArchiveError, Restored};
pub use error::RequestError;
pub use mint::Mint;
pub use read::{Read, Votes};
pub use register::Registers;
pub use stamps::StampSource;
pub use token::{Causality, TokenError, Tokens};
pub use write::Written;

/// How often one node is asked again within a request after its connection was lost.
const ASKED_AGAIN_MAX: u32 = 2;
/// Nodes of a preference list that are considered at least.
const PREFERENCE_NODES_MIN: usize = 16;

/// What a coordinator works with.
pub struct Coordinator {
    /// This node.
    pub me: NodeId,
    /// What the store promises.
    pub store: StoreDefinition,
    /// How long to wait.
    pub timing: Timing,
    /// Who owns what.
    pub views: Arc<Views>,
    /// This node's own copies.
    pub local: Arc<ReplicaService>,
    /// The other nodes.
    pub peers: Arc<Peers>,
    /// Delays of scenario legs.
    pub env: Env,
    /// Dots.
    pub mint: Mutex<Mint>,
    /// Stamps.
    pub stamps: StampSource,
    /// Names of operations on registers.
    pub registers: Registers,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Lets requests in.
    pub admission: Arc<Admission>,
}

/// Asking again after a lost connection: what is asked carries its dot, so a node that did get it
/// the first time loses nothing by getting it twice.
#[derive(Default)]
struct AskedAgain(BTreeMap<NodeId, u32>);

impl AskedAgain {
    /// Whether `node` should be asked again after `result`; counts it if so.
    fn should<T>(&mut self, node: NodeId, result: &Result<T, CallError>) -> bool {
        let times = self.0.entry(node).or_default();
        *times += 1;
        matches!(result, Err(CallError::Lost)) && *times <= ASKED_AGAIN_MAX
    }
}

/// What became of asking one node.
enum Answer<T = Response> {
    /// It answered, or certainly or possibly never will.
    Final(NodeId, Result<T, CallError>),
    /// It has been silent for the hand-over time; the rest of the wait is inside.
    Silent(NodeId, Asking<T>),
}

type Asking<T = Response> = Pin<Box<dyn Future<Output = Result<T, CallError>> + Send>>;
type Watched<T = Response> = Pin<Box<dyn Future<Output = Answer<T>> + Send>>;
type Answers<T = Response> = FuturesUnordered<Watched<T>>;

impl Coordinator {
    /// The nodes that a put of a partition asks, in order.
    fn write_list(&self, view: &View, partition: u32) -> PreferenceList {
        view.write_list(partition, PREFERENCE_NODES_MIN.max(4 * self.store.n()))
    }

    /// The nodes that a get of a partition asks, in order.
    fn read_list(&self, view: &View, partition: u32) -> PreferenceList {
        view.read_list(partition, PREFERENCE_NODES_MIN.max(4 * self.store.n()))
    }

    fn check_key(&self, key: &[u8]) -> Result<(), RequestError> {
        if key.is_empty() || key.len() as u64 > self.store.key_bytes_max {
            return Err(RequestError::BadKey { bytes: key.len(), max: self.store.key_bytes_max });
        }
        Ok(())
    }

    /// Begins a request of a client. Where deletes are forgotten only those may coordinate who are
    /// asked before whether nothing is left from earlier.
    fn begin(&self) -> Result<Operation, RequestError> {
        let view = self.views.current();
        if view.collects() && !view.has_part(self.me) {
            return Err(RequestError::NoMember);
        }
        Ok(self.views.begin())
    }

    /// Counts requests that an owner would have answered with one message less.
    fn count_detour(&self, view: &View, partition: u32) {
        if !view.read_owners(partition).contains(&self.me) {
            self.metrics.coordinated_for_others.add(1);
        }
    }

    /// Refuses what nobody waits for any more, before anything is done about it.
    fn check_deadline(&self, ticket: &Ticket, needed: usize) -> Result<(), RequestError> {
        if !ticket.remaining().is_zero() {
            return Ok(());
        }
        self.metrics.requests_expired.add(1);
        Err(RequestError::Deadline { answered: 0, needed, after: ticket.patience(), maybe_applied: false })
    }

    /// Asks `to`, which may be this node, and notices when it is silent for long.
    fn ask(
        self: &Arc<Self>,
        view: &Arc<View>,
        to: NodeId,
        request: Request,
        deadline: Instant,
        answers: &Answers,
    ) {
        let wait = deadline.saturating_duration_since(Instant::now());
        answers.push(self.watched(to, Arc::clone(self).perform(Arc::clone(view), to, request, wait)));
    }

    /// Waits for what `of` was asked, and notices when it is silent for long.
    fn watched<T: Send + 'static>(
        &self,
        of: NodeId,
        asked: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Watched<T> {
        let (mut asking, hand_over): (Asking<T>, _) = (Box::pin(asked), self.timing.hand_over);
        Box::pin(async move {
            tokio::select! {
                biased;
                result = &mut asking => Answer::Final(of, result),
                () = sleep(hand_over) => Answer::Silent(of, asking),
            }
        })
    }

    /// Goes on waiting for a node that has been silent.
    fn wait_on<T: Send + 'static>(from: NodeId, asking: Asking<T>, answers: &Answers<T>) {
        answers.push(Box::pin(async move { Answer::Final(from, asking.await) }));
    }

    /// Has this node itself do `work`, which was planned under `view`, as [`Coordinator::perform`] has
    /// others do it.
    async fn perform_own<T>(
        &self,
        view: ViewVersion,
        legs: (Leg, Leg),
        deadline: Instant,
        work: impl Future<Output = T>,
    ) -> Result<T, CallError> {
        self.metrics.peer_requests.add(1);
        match under_view(&self.env, &self.views, (view, Some(legs)), deadline, work).await {
            Some(done) => done.map_err(|_| CallError::OtherView),
            None => {
                self.metrics.peer_requests_expired.add(1);
                Err(CallError::NotSent)
            }
        }
    }

    /// Has `to`, which may be this node, do something that was planned under `view`; see
    /// [`call_under`].
    async fn perform(
        self: Arc<Self>,
        view: Arc<View>,
        to: NodeId,
        request: Request,
        wait: Duration,
    ) -> Result<Response, CallError> {
        self.metrics.peer_requests.add(1);
        if to != self.me {
            let waits = (wait, self.timing.stall());
            return call_under(&self.views, &self.peers, view.version(), (to, request), waits).await;
        }
        let asked = (self.me, view.version(), request);
        let deadline = Instant::now() + wait;
        match serve(Arc::clone(&self.local), &self.env, &self.views, asked, deadline).await {
            Some(Response::OtherView(_)) => Err(CallError::OtherView),
            Some(response) => Ok(response),
            None => {
                self.metrics.peer_requests_expired.add(1);
                Err(CallError::NotSent)
            }
        }
    }
}
