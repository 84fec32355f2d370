//! The calling side: one connection to every peer that is talked to, and what requests found
//! out about who answers (Dynamo, section 4.8.3: failure detection is local and driven by
//! requests).
//!
//! What gossip declares down is added to that, so that a node need not find out by waiting. Failure
//! detectors lie: whoever answers anything at all is there, whoever said otherwise, and being
//! suspected only changes who is asked first; it never decides that something did or did not happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use quorate_env::{BoxStream, Clock, Env, RandomStream};
use rand::RngExt;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::frame::{FrameReader, encode, send};
use super::{FrameError, Hello, HelloReply, Request, RequestFrame, Response, ResponseFrame};
use crate::config::{NodeId, Timing};
use crate::membership::gossip::Datagram;
use crate::membership::{Phase, View, ViewVersion, Views};

/// Calls to one peer that may wait for their turn to be written.
const QUEUE_MAX: usize = 4096;
/// Calls to one peer that may wait for their answers.
const PENDING_MAX: usize = 8192;
/// Messages of gossip to one peer that may wait to be written; more are lost.
const DATAGRAMS_MAX: usize = 16;
/// Gossip that could not be written for so long is lost: its sender has drawn its conclusions.
const DATAGRAM_AGE_MAX: Duration = Duration::from_millis(500);
/// A batch of frames is written once it is this long.
const BATCH_BYTES: usize = 256 << 10;
/// The shortest pause before connecting again.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// How often a peer's clock is looked at.
const CLOCK_PERIOD: Duration = Duration::from_secs(10);

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

type Connection = (FrameReader<ReadHalf<BoxStream>>, WriteHalf<BoxStream>, Spoken);

/// Connects and says hello.
async fn connect(
    env: &Env,
    address: &str,
    hello: &Hello,
    timing: Timing,
    frame_bytes_max: usize,
) -> Result<Connection, String> {
    let connect = async {
        let stream = env.net.connect(address).await.map_err(|e| e.to_string())?;
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = FrameReader::new(reader, frame_bytes_max);
        let mut buffer = BytesMut::new();
        encode(hello, &mut buffer);
        send(&mut writer, &buffer).await.map_err(|e| e.to_string())?;
        match reader.next::<HelloReply>().await.map_err(|e| e.to_string())? {
            Some(HelloReply::Welcome) => {
                Ok((reader, writer, Spoken { version: hello.version, release: None, clock_ahead_ns: None }))
            }
            Some(HelloReply::Speak { version, release }) if hello.versions().has(version) => {
                let release = Some(release);
                Ok((reader, writer, Spoken { version, release, clock_ahead_ns: None }))
            }
            Some(HelloReply::Speak { version, .. }) => {
                Err(format!("it wants to speak peer protocol {version}, which it was not offered"))
            }
            Some(HelloReply::Refused(why)) => {
                tracing::warn!(address, why, "the peer refuses this node");
                Err(why)
            }
            None => Err("closed before the hello was answered".into()),
        }
    };
    timeout(timing.connect, connect).await.unwrap_or_else(|_| Err("connecting took too long".into()))
}

type Pending = Arc<Mutex<BTreeMap<u64, (Instant, oneshot::Sender<Result<Response, CallError>>)>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task behind one peer.
struct Link {
    env: Env,
    address: String,
    hello: Hello,
    timing: Timing,
    frame_bytes_max: usize,
    suspicion: Arc<Suspicion>,
    acquaintance: Acquaintance,
    unsent: Arc<Unsent>,
    random: RandomStream,
}

/// What waits to be written to one peer.
struct Queues {
    calls: mpsc::Receiver<Call>,
    casts: mpsc::Receiver<Cast>,
}

impl Link {
    async fn run(mut self, mut queues: Queues) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let mut first = None;
            let mut cast = None;
            tokio::select! {
                biased;
                next = queues.casts.recv() => match next {
                    Some(next) => cast = Some(next),
                    None => return,
                },
                call = queues.calls.recv() => match call {
                    Some(call) => first = Some(call),
                    None => return,
                },
                () = sleep(self.timing.probe), if self.suspicion.is_there() => {}
            }
            let connected =
                connect(&self.env, &self.address, &self.hello, self.timing, self.frame_bytes_max).await;
            match connected {
                Ok(connection) => {
                    self.suspicion.clear();
                    backoff = BACKOFF_MIN;
                    if !self.converse((first, cast), &mut queues, connection).await {
                        return;
                    }
                    self.suspicion.silent.store(true, Ordering::Release);
                }
                Err(why) => {
                    tracing::debug!(peer = self.address, %why, "cannot connect");
                    // Gossip may come too early for a node that is still starting: that alone is no
                    // reason to pass it over.
                    if first.is_some() || !queues.calls.is_empty() {
                        self.suspicion.silent.store(true, Ordering::Release);
                    }
                    if let Some(call) = first {
                        let _ = call.reply.send(Err(CallError::NotSent));
                    }
                    let pause = backoff.mul_f64(self.random.random_range(0.5..1.5));
                    backoff = (backoff * 2).min(self.timing.probe);
                    if !refuse_for(pause, &mut queues).await {
                        return;
                    }
                }
            }
        }
    }

    /// Writes calls and pings until the connection fails. False when nobody can call any more.
    async fn converse(
        &mut self,
        first: (Option<Call>, Option<Cast>),
        queues: &mut Queues,
        (reader, mut writer, spoken): Connection,
    ) -> bool {
        let pending: Pending = Arc::default();
        let heard = Arc::new(AtomicU64::new(0));
        let (closed, mut is_closed) = watch::channel(false);
        let version = spoken.version;
        *lock(&self.acquaintance) = Some(spoken);
        let listener = Listener {
            pending: Arc::clone(&pending),
            heard: Arc::clone(&heard),
            suspicion: Arc::clone(&self.suspicion),
            acquaintance: Arc::clone(&self.acquaintance),
            clock: Arc::clone(&self.env.clock),
        };
        let listener = tokio::spawn(async move {
            listener.run(reader).await;
            let _ = closed.send(true);
        });
        let mut look_at_clock = (version >= Request::Clock.since()).then(Instant::now);
        let mut stall = Stall::new(self.timing.stall(), Instant::now());
        let mut buffer = BytesMut::new();
        let mut next_id = 0_u64;
        let (mut waiting, mut cast) = first;
        let mut asked_at = Instant::now();
        let mut alive = true;
        loop {
            let mut ping = false;
            if waiting.is_none() && cast.is_none() {
                tokio::select! {
                    biased;
                    _ = is_closed.changed() => break,
                    next = queues.casts.recv() => match next {
                        Some(next) => cast = Some(next),
                        None => { alive = false; break }
                    },
                    call = queues.calls.recv() => match call {
                        Some(call) => waiting = Some(call),
                        None => { alive = false; break }
                    },
                    () = sleep_until(asked_at + self.timing.probe) => ping = true,
                }
            }
            let now = Instant::now();
            while let Some(next) = cast.take() {
                encode_cast(next, now, &mut buffer);
                cast = queues.casts.try_recv().ok();
            }
            if waiting.is_some() || ping {
                asked_at = now;
            }
            if ping {
                waiting = Some(self.own_call(Request::Ping, now));
            }
            if look_at_clock.is_some_and(|at| at <= now) {
                look_at_clock = Some(now + CLOCK_PERIOD);
                let look = self.own_call(Request::Clock, now);
                self.enqueue(look, (now, version), &mut next_id, &pending, &mut buffer);
            }
            let mut has_yielded = false;
            while let Some(call) = waiting.take() {
                self.enqueue(call, (now, version), &mut next_id, &pending, &mut buffer);
                if buffer.len() >= BATCH_BYTES {
                    break;
                }
                waiting = queues.calls.try_recv().ok();
                if waiting.is_none() && !has_yielded {
                    // Whoever else is about to ask shares the system call.
                    has_yielded = true;
                    yield_now().await;
                    waiting = queues.calls.try_recv().ok();
                }
            }
            if !buffer.is_empty() {
                let written = timeout(self.timing.request, send(&mut writer, &buffer)).await;
                if !matches!(written, Ok(Ok(()))) {
                    break;
                }
                buffer.clear();
            }
            if stall.is_stalled(now, heard.load(Ordering::Acquire), &pending) {
                tracing::debug!(peer = self.address, "the connection has stalled");
                break;
            }
        }
        listener.abort();
        if let Some(call) = waiting {
            let _ = call.reply.send(Err(CallError::NotSent));
        }
        for (_, (_, reply)) in std::mem::take(&mut *lock(&pending)) {
            let _ = reply.send(Err(CallError::Lost));
        }
        alive
    }

    /// A call that the link itself makes; what is answered tells the listener something, and nobody else.
    fn own_call(&self, request: Request, now: Instant) -> Call {
        let (reply, _) = oneshot::channel();
        let view = ViewVersion { epoch: 0, phase: Phase::Stable, fence: 0 };
        Call { view, request, deadline: now + self.timing.request, reply }
    }

    fn enqueue(
        &self,
        call: Call,
        (now, version): (Instant, u32),
        next_id: &mut u64,
        pending: &Pending,
        buffer: &mut BytesMut,
    ) {
        if version < call.request.since() {
            let _ = call.reply.send(Err(CallError::NotSent));
            return;
        }
        let Some(remaining) = call.deadline.checked_duration_since(now).filter(|r| !r.is_zero()) else {
            self.unsent.expired.fetch_add(1, Ordering::Relaxed);
            let _ = call.reply.send(Err(CallError::NotSent));
            return;
        };
        let mut pending = lock(pending);
        if pending.len() >= PENDING_MAX {
            self.unsent.crowded.fetch_add(1, Ordering::Relaxed);
            let _ = call.reply.send(Err(CallError::NotSent));
            return;
        }
        *next_id += 1;
        let remaining_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        let frame = RequestFrame { id: *next_id, view: call.view, remaining_ms, request: call.request };
        encode(&frame, buffer);
        pending.insert(*next_id, (now, call.reply));
    }
}

/// Appends a message of gossip, unless it is too old to be of use. Nobody waits for an answer to
/// it, so that it needs no id.
fn encode_cast((given_at, datagram): Cast, now: Instant, buffer: &mut BytesMut) {
    if now.saturating_duration_since(given_at) <= DATAGRAM_AGE_MAX {
        encode_datagram(datagram, buffer);
    }
}

fn encode_datagram(datagram: Datagram, buffer: &mut BytesMut) {
    let view = datagram.view;
    encode(&RequestFrame { id: 0, view, remaining_ms: 0, request: Request::Gossip(datagram) }, buffer);
}

/// What a message of gossip takes on a connection.
pub(crate) fn gossip_frame_bytes(datagram: &Datagram) -> usize {
    let mut buffer = BytesMut::new();
    encode_datagram(datagram.clone(), &mut buffer);
    buffer.len()
}

/// Refuses calls and loses gossip for a while. False when nobody can call any more.
async fn refuse_for(pause: Duration, queues: &mut Queues) -> bool {
    let until = Instant::now() + pause;
    loop {
        tokio::select! {
            biased;
            cast = queues.casts.recv() => if cast.is_none() { return false },
            call = queues.calls.recv() => match call {
                Some(call) => { let _ = call.reply.send(Err(CallError::NotSent)); }
                None => return false,
            },
            () = tokio::time::sleep_until(until) => return true,
        }
    }
}

/// The end of a connection that answers come to.
struct Listener {
    pending: Pending,
    heard: Arc<AtomicU64>,
    suspicion: Arc<Suspicion>,
    acquaintance: Acquaintance,
    clock: Arc<dyn Clock>,
}

impl Listener {
    /// Hands responses to whoever waits for them until the connection ends.
    async fn run(self, mut reader: FrameReader<ReadHalf<BoxStream>>) {
        loop {
            match reader.next::<ResponseFrame>().await {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) | Err(FrameError::Io(_)) => return,
                Err(error) => {
                    tracing::warn!(%error, "a peer's answer cannot be read");
                    return;
                }
            }
        }
    }

    fn take(&self, frame: ResponseFrame) {
        self.heard.fetch_add(1, Ordering::AcqRel);
        self.suspicion.clear();
        let Some((sent, reply)) = lock(&self.pending).remove(&frame.id) else { return };
        if let (Response::Clock { wall_ns }, Some(spoken)) =
            (&frame.response, lock(&self.acquaintance).as_mut())
        {
            // It showed that about half a round trip ago.
            let back = i64::try_from(sent.elapsed().as_nanos() / 2).unwrap_or(i64::MAX);
            let ahead = i128::from(*wall_ns) - i128::from(self.clock.wall_ns()) + i128::from(back);
            spoken.clock_ahead_ns = i64::try_from(ahead).ok();
        }
        let _ = reply.send(Ok(frame.response));
    }
}

/// Notices a connection on which nothing is heard although answers are due.
struct Stall {
    limit: Duration,
    heard: u64,
    heard_at: Instant,
}

impl Stall {
    fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, heard: 0, heard_at: now }
    }

    fn is_stalled(&mut self, now: Instant, heard: u64, pending: &Pending) -> bool {
        if heard != self.heard {
            self.heard = heard;
            self.heard_at = now;
        }
        let mut pending = lock(pending);
        let Some(oldest) = pending.values().map(|(sent, _)| *sent).next() else { return false };
        if now - self.heard_at.max(oldest) > self.limit {
            return true;
        }
        // A peer does not answer what came too late to it: forget what nobody waits for.
        if now - oldest > self.limit * 2 {
            pending.retain(|_, (sent, reply)| now - *sent <= self.limit * 2 || !reply.is_closed());
        }
        false
    }
}
