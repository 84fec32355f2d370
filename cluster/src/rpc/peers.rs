//! The calling side: one connection to every peer that is talked to, and what requests found
//! out about who answers (Dynamo, section 4.8.3: failure detection is local and driven by
//! requests).
//!
//! What gossip declares down is added to that, so that a node need not find out by waiting. Failure
//! detectors lie: whoever answers anything at all is there, whoever said otherwise, and being
//! suspected only changes who is asked first; it never decides that something did or did not happen.

mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use quorate_env::Env;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

pub(crate) use self::link::gossip_frame_bytes;
use self::link::{Link, Queues, connect, lock};
use super::frame::{encode, send};
use super::{Hello, Request, RequestFrame, Response, ResponseFrame};
use crate::config::{NodeId, Timing};
use crate::membership::gossip::Datagram;
use crate::membership::{Phase, View, ViewVersion, Views};

/// Calls to one peer that may wait for their turn to be written.
const QUEUE_MAX: usize = 4096;
/// Messages of gossip to one peer that may wait to be written; more are lost.
const DATAGRAMS_MAX: usize = 16;
/// Why a call has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent: the peer cannot be reached now, too many calls wait, or its release does not know
    /// the request yet.
    #[error("not sent: the peer cannot be reached, or does not know such requests yet")]
    NotSent,
    /// The connection closed after the request may have been sent.
    #[error("the connection was lost before an answer came")]
    Lost,
    /// The peer is in another view and did nothing, or did it too late to count.
    #[error("the peer is in another view")]
    OtherView,
    /// No answer within the time given.
    #[error("no answer in time")]
    TimedOut,
}

struct Call {
    view: ViewVersion,
    request: Request,
    deadline: Instant,
    reply: oneshot::Sender<Result<Response, CallError>>,
}

/// A message of gossip, and when it was given to be sent.
type Cast = (Instant, Datagram);

/// Why a peer is thought not to answer, if it is.
#[derive(Default)]
struct Suspicion {
    /// It did not answer this node when it should have.
    silent: AtomicBool,
    /// Gossip says so, and this node has heard nothing from it since.
    declared_down: AtomicBool,
}

impl Suspicion {
    fn is_there(&self) -> bool {
        self.silent.load(Ordering::Acquire) || self.declared_down.load(Ordering::Acquire)
    }

    /// The peer has answered something.
    fn clear(&self) {
        self.silent.store(false, Ordering::Release);
        self.declared_down.store(false, Ordering::Release);
    }
}

/// What a peer said of itself when it was last connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The version of the messages that it is spoken to in.
    pub version: u32,
    /// The release that it runs; one of version 7 does not say.
    pub release: Option<String>,
    /// By how much its clock was ahead of this node's, in nanoseconds, give or take half a round trip;
    /// nothing before it was looked at, and of a peer that cannot be asked.
    pub clock_ahead_ns: Option<i64>,
}

/// What is known of a peer, shared with its link.
type Acquaintance = Arc<Mutex<Option<Spoken>>>;

struct Peer {
    address: String,
    calls: mpsc::Sender<Call>,
    datagrams: mpsc::Sender<Cast>,
    suspicion: Arc<Suspicion>,
    acquaintance: Acquaintance,
}

/// All peers of a node.
pub struct Peers {
    env: Env,
    me: NodeId,
    hello: Hello,
    timing: Timing,
    frame_bytes_max: usize,
    views: Arc<Views>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    unsent: Arc<Unsent>,
}

/// Calls that were given up before anything was sent.
#[derive(Debug, Default)]
struct Unsent {
    /// Too many waited for the same peer.
    crowded: AtomicU64,
    /// Their deadline had passed when their turn came.
    expired: AtomicU64,
}

impl Peers {
    /// Ways to all other members; each connection is opened when first needed. The connections
    /// end when `self` is dropped.
    #[must_use]
    pub fn new(
        env: &Env,
        views: Arc<Views>,
        me: NodeId,
        hello: &Hello,
        timing: Timing,
        frame_bytes_max: usize,
    ) -> Self {
        let (env, hello, peers) = (env.clone(), hello.clone(), RwLock::default());
        Self { env, me, hello, timing, frame_bytes_max, views, peers, unsent: Arc::default() }
    }

    /// Asks `to` under the view `view` and waits at most `wait`.
    ///
    /// # Errors
    /// See [`CallError`]; only [`CallError::NotSent`] says that the peer did nothing.
    pub async fn call(
        &self,
        to: NodeId,
        view: ViewVersion,
        request: Request,
        wait: Duration,
    ) -> Result<Response, CallError> {
        let Some(peer) = self.peer(to) else { return Err(CallError::NotSent) };
        let (reply, answer) = oneshot::channel();
        let call = Call { view, request, deadline: Instant::now() + wait, reply };
        if let Err(error) = peer.calls.try_send(call) {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                self.unsent.crowded.fetch_add(1, Ordering::Relaxed);
            }
            return Err(CallError::NotSent);
        }
        match timeout(wait, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Lost),
            Err(_) => {
                // A client in a hurry proves nothing against a peer, and others would suffer for it.
                if wait >= self.timing.hand_over {
                    self.suspect(to);
                }
                Err(CallError::TimedOut)
            }
        }
    }

    /// Sends a message of gossip ahead of all that waits, if that can be done soon; opens the
    /// connection if there is none. False if it is certainly lost.
    pub fn cast(&self, to: NodeId, datagram: Datagram) -> bool {
        self.peer(to).is_some_and(|peer| peer.datagrams.try_send((Instant::now(), datagram)).is_ok())
    }

    /// Asks whoever listens at `address` for its view: all that a node knows of its seeds.
    ///
    /// # Errors
    /// Why it could not be had, for people.
    pub async fn fetch_view_from(
        env: &Env,
        address: &str,
        hello: &Hello,
        timing: Timing,
        frame_bytes_max: usize,
    ) -> Result<View, String> {
        let hello = Hello { to: None, ..hello.clone() };
        match ask_once(env, address, &hello, (timing, frame_bytes_max), Request::FetchView).await? {
            Response::View(view) => Ok(*view),
            _ => Err("no view came back".into()),
        }
    }

    /// Asks `to`, which need not be a member yet, at `address`.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub async fn ask_stranger(
        &self,
        to: NodeId,
        address: &str,
        request: Request,
    ) -> Result<Response, String> {
        let lineage = Some(self.views.current().lineage());
        let hello = Hello { to: Some(to), lineage, ..self.hello.clone() };
        ask_once(&self.env, address, &hello, (self.timing, self.frame_bytes_max), request).await
    }

    /// The way to `to`, made if it is a member and there is none yet.
    fn peer(&self, to: NodeId) -> Option<Arc<Peer>> {
        if let Some(peer) = self.read().get(&to) {
            return Some(Arc::clone(peer));
        }
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        // Not before: whoever is gone by then must not be made a way to behind `forget_departed`.
        let view = self.views.current();
        let member = view.everybody().find(|m| m.id == to && m.id != self.me)?;
        let peer = peers.entry(to).or_insert_with(|| {
            let (calls, queue) = mpsc::channel(QUEUE_MAX);
            let (datagrams, casts) = mpsc::channel(DATAGRAMS_MAX);
            let suspicion = Arc::new(Suspicion::default());
            let acquaintance = Acquaintance::default();
            let link = Link {
                env: self.env.clone(),
                address: member.peer.clone(),
                hello: Hello { to: Some(to), lineage: Some(view.lineage()), ..self.hello.clone() },
                timing: self.timing,
                frame_bytes_max: self.frame_bytes_max,
                suspicion: Arc::clone(&suspicion),
                acquaintance: Arc::clone(&acquaintance),
                unsent: Arc::clone(&self.unsent),
                random: self.env.random.stream(&format!("peer-{to}")),
            };
            tokio::spawn(link.run(Queues { calls: queue, casts }));
            Arc::new(Peer { address: member.peer.clone(), calls, datagrams, suspicion, acquaintance })
        });
        Some(Arc::clone(peer))
    }

    /// Calls that were not sent because too many waited for the same peer.
    #[must_use]
    pub fn crowded(&self) -> u64 {
        self.unsent.crowded.load(Ordering::Relaxed)
    }

    /// Calls that were not sent because their deadline had passed when their turn came.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.unsent.expired.load(Ordering::Relaxed)
    }

    /// Closes the ways to nodes that are gone from the current view, or came back elsewhere.
    pub fn forget_departed(&self) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let view = self.views.current();
        peers.retain(|id, peer| view.everybody().any(|m| m.id == *id && m.peer == peer.address));
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<NodeId, Arc<Peer>>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `node` did not answer when it should have. It is tried again every probe
    /// period until something is heard from it.
    pub fn suspect(&self, node: NodeId) {
        if let Some(peer) = self.read().get(&node) {
            peer.suspicion.silent.store(true, Ordering::Release);
        }
    }

    /// Notes what gossip says of `node`: that it is down, or that it no longer is. A node that was
    /// declared down is suspected until it answers something or gossip takes it back.
    pub fn declare(&self, node: NodeId, is_down: bool) {
        if let Some(peer) = self.peer(node) {
            peer.suspicion.declared_down.store(is_down, Ordering::Release);
        }
    }

    /// Whether `node` is thought not to answer.
    #[must_use]
    pub fn is_suspected(&self, node: NodeId) -> bool {
        self.read().get(&node).is_some_and(|p| p.suspicion.is_there())
    }

    /// What `node`, which may be this one, says of itself; nothing if this node never reached it.
    #[must_use]
    pub fn spoken(&self, node: NodeId) -> Option<Spoken> {
        if node == self.me {
            let release = Some(env!("CARGO_PKG_VERSION").to_owned());
            let version = self.hello.versions().newest;
            return Some(Spoken { version, release, clock_ahead_ns: Some(0) });
        }
        self.read().get(&node).and_then(|peer| lock(&peer.acquaintance).clone())
    }

    /// All that are thought not to answer.
    #[must_use]
    pub fn suspected(&self) -> BTreeSet<NodeId> {
        self.read().iter().filter(|(_, p)| p.suspicion.is_there()).map(|(id, _)| *id).collect()
    }

    /// Everybody else, members and those that are leaving.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.views.current().everybody().map(|m| m.id).filter(|id| *id != self.me).collect()
    }
}

/// Asks whoever listens at `address` one thing, over a connection of its own.
async fn ask_once(
    env: &Env,
    address: &str,
    hello: &Hello,
    (timing, frame_bytes_max): (Timing, usize),
    request: Request,
) -> Result<Response, String> {
    let (mut reader, mut writer, spoken) = connect(env, address, hello, timing, frame_bytes_max).await?;
    if request.since() > spoken.version {
        return Err(format!("it speaks peer protocol {}, which has no such request", spoken.version));
    }
    let view = ViewVersion { epoch: 0, phase: Phase::Stable, fence: 0 };
    let frame = RequestFrame { id: 1, view, remaining_ms: 1000, request };
    let mut buffer = BytesMut::new();
    encode(&frame, &mut buffer);
    send(&mut writer, &buffer).await.map_err(|e| e.to_string())?;
    match timeout(timing.request, reader.next::<ResponseFrame>()).await {
        Ok(Ok(Some(frame))) => Ok(frame.response),
        Ok(Ok(None)) => Err("closed before it answered".into()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".into()),
    }
}
