//! The called side: accepts peers, checks their hello, and runs their requests.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use quorate_env::{BoxFuture, BoxStream, Env, Leg, Listener};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::frame::{FrameReader, encode, send};
use super::{FrameError, Hello, HelloReply, Request, RequestFrame, Response, ResponseFrame, Versions};
use crate::config::{Limits, NodeId, StoreDefinition, Timing};
use crate::membership::gossip::Datagram;
use crate::membership::{ViewVersion, Views};
use crate::metrics::Metrics;

/// Requests about views of one connection that may run at once; more wait unread. They come first
/// and are never refused: a node that is busy must not look dead.
const ABOUT_VIEWS_MAX: usize = 64;
/// Responses that may wait to be written.
const RESPONSES_MAX: usize = 4096;
/// Peer connections that may be open at once.
const CONNECTIONS_MAX: usize = 4096;
/// How long a hello may take.
const HELLO_WAIT: Duration = Duration::from_secs(2);

/// Answers what peers ask.
pub trait Service: Send + Sync + 'static {
    /// Answers one request of `from`.
    fn handle(self: Arc<Self>, from: NodeId, request: Request) -> BoxFuture<'static, Response>;
}

/// Serves peers.
pub struct PeerServer<S> {
    /// Answers the requests.
    pub service: Arc<S>,
    /// Draws the delays of scenario legs.
    pub env: Env,
    /// This node.
    pub me: NodeId,
    /// What peers must agree on.
    pub store: StoreDefinition,
    /// The versions of the messages that it speaks.
    pub versions: Versions,
    /// The view that requests must have been sent under.
    pub views: Arc<Views>,
    /// The largest frame taken.
    pub frame_bytes_max: usize,
    /// How long it waits for a peer.
    pub timing: Timing,
    /// How much it takes at once.
    pub limits: Limits,
    /// Counts what was refused or dropped, and why.
    pub metrics: Arc<Metrics>,
    /// Takes gossip.
    pub gossip: mpsc::Sender<(NodeId, Datagram)>,
}

/// Room for one request; given back when it is dropped.
type Room = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// Room for requests, over all connections and on one.
struct Rooms {
    all: Arc<Semaphore>,
    link: Arc<Semaphore>,
    about_views: Arc<Semaphore>,
}

impl Rooms {
    fn new(all: &Arc<Semaphore>, limits: &Limits) -> Self {
        let link = Arc::new(Semaphore::new(limits.link_requests_max.min(Semaphore::MAX_PERMITS)));
        Self { all: Arc::clone(all), link, about_views: Arc::new(Semaphore::new(ABOUT_VIEWS_MAX)) }
    }

    /// Room for one more; nothing if there is none.
    async fn take(&self, request: &Request) -> Option<Room> {
        if request.is_about_views() {
            return Some((Arc::clone(&self.about_views).acquire_owned().await.ok()?, None));
        }
        let link = Arc::clone(&self.link).try_acquire_owned().ok()?;
        Some((link, Some(Arc::clone(&self.all).try_acquire_owned().ok()?)))
    }
}

impl<S: Service> PeerServer<S> {
    /// Accepts for ever. Once this is dropped peers are heard no more: a node that stops must not
    /// acknowledge anything behind its last flush.
    pub async fn run(self: Arc<Self>, mut listener: Box<dyn Listener>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut conversations = JoinSet::new();
        let all = Arc::new(Semaphore::new(self.limits.peer_requests_max.min(Semaphore::MAX_PERMITS)));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let server = Arc::clone(&self);
                    let rooms = Rooms::new(&all, &self.limits);
                    while conversations.try_join_next().is_some() {}
                    conversations.spawn(async move {
                        if let Err(error) = Arc::clone(&server).converse(stream, rooms).await
                            && !matches!(error, FrameError::Io(_))
                        {
                            server.metrics.peers_refused.fetch_add(1, Ordering::Relaxed);
                            tracing::warn!(from, %error, "closed a peer connection");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: waiting is all that helps.
                    tracing::warn!(%error, "cannot accept a peer connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: BoxStream, rooms: Rooms) -> Result<(), FrameError> {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = FrameReader::new(reader, self.frame_bytes_max);
        let hello = match timeout(HELLO_WAIT.min(self.timing.head), reader.next::<Hello>()).await {
            Ok(Ok(Some(hello))) => hello,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                self.metrics.peers_timed_out.add(1);
                return Ok(());
            }
        };
        let answer = self.agree(&hello);
        let reply = match &answer {
            Ok(version) if *version == hello.version => HelloReply::Welcome,
            Ok(version) => {
                HelloReply::Speak { version: *version, release: env!("CARGO_PKG_VERSION").to_owned() }
            }
            Err(why) => HelloReply::Refused(why.clone()),
        };
        let mut buffer = BytesMut::new();
        encode(&reply, &mut buffer);
        send(&mut writer, &buffer).await?;
        if let Err(why) = answer {
            self.metrics.peers_refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(peer = %hello.from, why, "refused a peer");
            return Ok(());
        }
        let (responses, queue) = mpsc::channel(RESPONSES_MAX);
        // All that goes on here ends with this conversation, should the node stop.
        let mut tasks = JoinSet::new();
        tasks.spawn(write_responses(writer, queue, self.timing.peer_idle));
        let ended = self.take_requests(&hello, &mut reader, &rooms, responses, &mut tasks).await;
        // A peer that asks nothing more may have left: what it asked for is brought to an end.
        while tasks.join_next().await.is_some() {}
        ended
    }

    /// Takes requests until the peer says no more, and starts on each.
    async fn take_requests(
        self: &Arc<Self>,
        hello: &Hello,
        reader: &mut FrameReader<ReadHalf<BoxStream>>,
        rooms: &Rooms,
        responses: mpsc::Sender<ResponseFrame>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), FrameError> {
        let from = hello.from;
        while let Ok(next) = timeout(self.timing.peer_idle, reader.next::<RequestFrame>()).await {
            while tasks.try_join_next().is_some() {}
            let Some(frame) = next? else { return Ok(()) };
            if hello.lineage.is_none() && frame.request != Request::FetchView {
                let _ = responses.send(refused(frame.id, "say hello with a lineage first")).await;
                continue;
            }
            if let Request::Gossip(datagram) = frame.request {
                self.hear(from, datagram);
                continue;
            }
            let deadline = Instant::now() + Duration::from_millis(u64::from(frame.remaining_ms));
            let Some(room) = rooms.take(&frame.request).await else {
                self.metrics.peer_requests_overloaded.add(1);
                let _ = responses
                    .send(refused(frame.id, "this node runs as many requests of its peers as it may"))
                    .await;
                continue;
            };
            let server = Arc::clone(self);
            let mut answering = Box::pin(async move {
                let answer = server.answer(from, frame, deadline).await;
                drop(room);
                answer
            });
            // Most of what waits for nothing is answered at once, which costs less than a task for it.
            match poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await {
                Poll::Ready(Some(response)) => drop(responses.send(response).await),
                Poll::Ready(None) => {}
                Poll::Pending => {
                    let responses = responses.clone();
                    tasks.spawn(async move {
                        if let Some(response) = answering.await {
                            let _ = responses.send(response).await;
                        }
                    });
                }
            }
        }
        self.metrics.peers_timed_out.add(1);
        Ok(())
    }

    /// Passes gossip on, or loses it: it must never wait for requests, nor they for it.
    fn hear(&self, from: NodeId, datagram: Datagram) {
        let counter = match self.gossip.try_send((from, datagram)) {
            Ok(()) => &self.metrics.gossip_received,
            Err(_) => &self.metrics.gossip_dropped,
        };
        counter.add(1);
    }

    /// The version of the messages to go on in.
    ///
    /// # Errors
    /// Why there is nothing to go on with, for people.
    fn agree(&self, hello: &Hello) -> Result<u32, String> {
        if hello.magic != *crate::node::MAGIC {
            return Err("this is the peer port of a quorate node; speak its protocol".into());
        }
        let Some(version) = self.versions.common(hello.versions()) else {
            return Err(self.nothing_in_common(hello));
        };
        if let Some(to) = hello.to.filter(|to| *to != self.me) {
            return Err(format!("this is node {}, not {to}; correct the member's address", self.me));
        }
        if hello.lineage.is_some_and(|lineage| lineage != self.views.current().lineage()) {
            return Err(format!(
                "node {} was given other first members than {}; give all nodes the same [[member]] list",
                hello.from, self.me
            ));
        }
        match serde_json::from_str::<StoreDefinition>(&hello.store) {
            Ok(theirs) if theirs == self.store => Ok(version),
            Ok(theirs) => Err(format!(
                "node {} serves another store: {} differ from those of {}",
                hello.from,
                self.store.differing_fields(&theirs).join(", "),
                self.me
            )),
            Err(error) => Err(format!("the store definition of {} cannot be read: {error}", hello.from)),
        }
    }

    fn nothing_in_common(&self, hello: &Hello) -> String {
        let (theirs, ours) = (hello.versions(), self.versions);
        let behind = if theirs.newest < ours.oldest { hello.from } else { self.me };
        format!(
            "node {} speaks peer protocol {theirs} and node {} speaks {ours}: upgrade {behind} to a release \
             in between first, and lift its protocol_max if it has one",
            hello.from, self.me
        )
    }

    async fn answer(&self, from: NodeId, frame: RequestFrame, deadline: Instant) -> Option<ResponseFrame> {
        let service = Arc::clone(&self.service);
        let asked = (from, frame.view, frame.request);
        let response = serve(service, &self.env, &self.views, asked, deadline).await;
        if response.is_none() {
            self.metrics.peer_requests_expired.add(1);
        }
        Some(ResponseFrame { id: frame.id, response: response? })
    }
}

/// Has `service` answer what `from`, which may be this node, asked under a view; nothing if the
/// deadline was over before it began: work nobody will see is only load. Requests and responses
/// travel the legs that a scenario gives them (PBS, section 3).
pub async fn serve<S: Service>(
    service: Arc<S>,
    env: &Env,
    views: &Views,
    (from, view, request): (NodeId, ViewVersion, Request),
    deadline: Instant,
) -> Option<Response> {
    if request.is_about_views() {
        return if Instant::now() < deadline { Some(service.handle(from, request).await) } else { None };
    }
    let legs = request.legs();
    let done = under_view(env, views, (view, legs), deadline, service.handle(from, request)).await?;
    Some(done.unwrap_or_else(Response::OtherView))
}

/// Does `work`, which somebody planned under `view`; nothing if the deadline was over before it began.
///
/// # Errors
/// Another view, if this node is in that, or came into it meanwhile: what was done does not count.
pub async fn under_view<T>(
    env: &Env,
    views: &Views,
    (view, legs): (ViewVersion, Option<(Leg, Leg)>),
    deadline: Instant,
    work: impl Future<Output = T>,
) -> Option<Result<T, ViewVersion>> {
    if let Some(delay) = legs.and_then(|(there, _)| env.net.message_delay(there)) {
        sleep(delay).await;
    }
    if Instant::now() >= deadline {
        return None;
    }
    // Before the view is looked at: what passes that is counted.
    let _operation = views.begin();
    let began = views.current().version();
    let done = if view == began {
        let done = work.await;
        let now = views.current().version();
        // A new owner may have copied from here in between and missed what was just stored:
        // only what was done wholly within the view may count in it.
        if now == began { Ok(done) } else { Err(now) }
    } else {
        Err(began)
    };
    if let Some(delay) = legs.and_then(|(_, back)| env.net.message_delay(back)) {
        sleep(delay).await;
    }
    Some(done)
}

/// Refuses a request of which nothing was done.
fn refused(id: u64, why: &str) -> ResponseFrame {
    ResponseFrame { id, response: Response::refused(why, false) }
}

/// Writes responses, all that wait at once in one system call.
async fn write_responses(
    mut writer: WriteHalf<BoxStream>,
    mut queue: mpsc::Receiver<ResponseFrame>,
    patience: Duration,
) {
    let mut buffer = BytesMut::new();
    while let Some(response) = queue.recv().await {
        encode(&response, &mut buffer);
        // What else is about to be answered goes with it.
        yield_now().await;
        while let Ok(response) = queue.try_recv() {
            encode(&response, &mut buffer);
            if buffer.len() > 256 << 10 {
                break;
            }
        }
        // A peer that takes nothing for so long is gone, or might as well be.
        if !matches!(timeout(patience, send(&mut writer, &buffer)).await, Ok(Ok(()))) {
            return;
        }
        buffer.clear();
    }
}
