//! The called side: accepts peers, checks their hello, and runs their requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use quorate_env::{BoxFuture, BoxStream, Env, Listener};
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::frame::{FrameReader, encode};
use super::{
    FrameError, Hello, HelloReply, PROTOCOL_VERSION, Request, RequestFrame, Response, ResponseFrame,
};
use crate::config::{NodeId, StoreDefinition};
use crate::membership::Views;

/// Requests of one connection that may run at once; more wait unread.
const IN_FLIGHT_MAX: usize = 1024;
/// Responses that may wait to be written.
const RESPONSES_MAX: usize = 4096;
/// Peer connections that may be open at once.
const CONNECTIONS_MAX: usize = 4096;
/// How long a hello may take.
const HELLO_WAIT: Duration = Duration::from_secs(2);
/// A connection is closed when nothing has come for so long: peers ping far more often.
const IDLE_MAX: Duration = Duration::from_secs(30);

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
    /// The view that requests must have been sent under.
    pub views: Arc<Views>,
    /// The largest frame taken.
    pub frame_bytes_max: usize,
    /// Counts connections that were refused or broken off for what they sent.
    pub refused: Arc<AtomicU64>,
}

impl<S: Service> PeerServer<S> {
    /// Accepts for ever.
    pub async fn run(self: Arc<Self>, mut listener: Box<dyn Listener>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let server = Arc::clone(&self);
                    tokio::spawn(async move {
                        if let Err(error) = Arc::clone(&server).converse(stream).await
                            && !matches!(error, FrameError::Io(_))
                        {
                            server.refused.fetch_add(1, Ordering::Relaxed);
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

    async fn converse(self: Arc<Self>, stream: BoxStream) -> Result<(), FrameError> {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = FrameReader::new(reader, self.frame_bytes_max);
        let hello = match timeout(HELLO_WAIT, reader.next::<Hello>()).await {
            Ok(Ok(Some(hello))) => hello,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        };
        let objection = self.objection(&hello);
        let reply = match &objection {
            None => HelloReply::Welcome,
            Some(why) => HelloReply::Refused(why.clone()),
        };
        let mut buffer = BytesMut::new();
        encode(&reply, &mut buffer);
        writer.write_all(&buffer).await?;
        if let Some(why) = objection {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(peer = %hello.from, why, "refused a peer");
            return Ok(());
        }
        let (responses, queue) = mpsc::channel(RESPONSES_MAX);
        tokio::spawn(write_responses(writer, queue));
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        while let Ok(next) = timeout(IDLE_MAX, reader.next::<RequestFrame>()).await {
            let Some(frame) = next? else { return Ok(()) };
            let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return Ok(()) };
            let (server, responses) = (Arc::clone(&self), responses.clone());
            tokio::spawn(async move {
                if let Some(response) = server.answer(hello.from, frame).await {
                    let _ = responses.send(response).await;
                }
                drop(permit);
            });
        }
        Ok(())
    }

    fn objection(&self, hello: &Hello) -> Option<String> {
        if hello.magic != *crate::node::MAGIC {
            return Some("this is the peer port of a quorate node; speak its protocol".into());
        }
        if hello.version != PROTOCOL_VERSION {
            let theirs = hello.version;
            return Some(format!(
                "protocol version {theirs} is not {PROTOCOL_VERSION}; run the same release everywhere"
            ));
        }
        if let Some(to) = hello.to.filter(|to| *to != self.me) {
            return Some(format!("this is node {}, not {to}; correct the member's address", self.me));
        }
        if hello.lineage.is_some_and(|lineage| lineage != self.views.current().lineage()) {
            return Some(format!(
                "node {} was given other first members than {}; give all nodes the same [[member]] list",
                hello.from, self.me
            ));
        }
        match serde_json::from_str::<StoreDefinition>(&hello.store) {
            Ok(theirs) if theirs == self.store => None,
            Ok(theirs) => Some(format!(
                "node {} serves another store: {} differ from those of {}",
                hello.from,
                self.store.differing_fields(&theirs).join(", "),
                self.me
            )),
            Err(error) => Some(format!("the store definition of {} cannot be read: {error}", hello.from)),
        }
    }

    async fn answer(&self, from: NodeId, frame: RequestFrame) -> Option<ResponseFrame> {
        let deadline = Instant::now() + Duration::from_millis(u64::from(frame.remaining_ms));
        let legs = frame.request.legs();
        if let Some(delay) = legs.and_then(|(there, _)| self.env.net.message_delay(there)) {
            sleep(delay).await;
        }
        if Instant::now() >= deadline {
            // Whoever asked has stopped waiting: work nobody will see is only load.
            return None;
        }
        let view = self.views.current().version();
        let response = if frame.view == view || frame.request.is_about_views() {
            let about_views = frame.request.is_about_views();
            let response = Arc::clone(&self.service).handle(from, frame.request).await;
            let now = self.views.current().version();
            // A new owner may have copied from here in between and missed what was just stored:
            // only what was done wholly within the view may count in it.
            if about_views || now == view { response } else { Response::OtherView(now) }
        } else {
            Response::OtherView(view)
        };
        if let Some(delay) = legs.and_then(|(_, back)| self.env.net.message_delay(back)) {
            sleep(delay).await;
        }
        Some(ResponseFrame { id: frame.id, response })
    }
}

/// Writes responses, all that wait at once in one system call.
async fn write_responses(mut writer: WriteHalf<BoxStream>, mut queue: mpsc::Receiver<ResponseFrame>) {
    let mut buffer = BytesMut::new();
    while let Some(response) = queue.recv().await {
        encode(&response, &mut buffer);
        while let Ok(response) = queue.try_recv() {
            encode(&response, &mut buffer);
            if buffer.len() > 256 << 10 {
                break;
            }
        }
        if writer.write_all(&buffer).await.is_err() {
            return;
        }
        buffer.clear();
    }
}
