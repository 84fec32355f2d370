//! The peer port as a stranger meets it: whoever is refused, and what a busy server does.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_env::{BoxFuture, Network as _, TokioNetwork};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::frame::{FrameReader, encode};
use super::*;
use crate::config::{Limits, Member, NodeId, StoreDefinition, Timing};
use crate::membership::gossip::Datagram;
use crate::membership::{Change, Phase, View, ViewVersion, Views};
use crate::metrics::Metrics;
use crate::testing::{self, member, node};

const PATIENCE: Duration = Duration::from_secs(60);
const FRAME_BYTES_MAX: usize = 1 << 20;
/// What the clock of whoever is asked shows.
const CLOCK_NS: u64 = 7;

/// Answers when the gate is opened.
struct Gated {
    gate: Semaphore,
    entered: AtomicUsize,
}

impl Service for Gated {
    fn handle(self: Arc<Self>, _from: NodeId, request: Request) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            match request {
                Request::Ping => return Response::Pong,
                Request::Clock => return Response::Clock { wall_ns: CLOCK_NS },
                _ => {}
            }
            self.entered.fetch_add(1, Ordering::AcqRel);
            self.gate.acquire().await.unwrap().forget();
            Response::Stored
        })
    }
}

struct Served {
    address: String,
    service: Arc<Gated>,
    metrics: Arc<Metrics>,
    view: View,
    heard: tokio::sync::mpsc::Receiver<(NodeId, Datagram)>,
}

fn view() -> View {
    View::new(vec![member(1), member(2), member(3)], 8, 3)
}

async fn serve(limits: Limits) -> Served {
    serve_with(limits, Timing::default()).await
}

async fn serve_with(limits: Limits, timing: Timing) -> Served {
    serve_speaking(Versions::up_to(None), limits, timing).await
}

async fn serve_speaking(versions: Versions, limits: Limits, timing: Timing) -> Served {
    let service = Arc::new(Gated { gate: Semaphore::new(0), entered: AtomicUsize::new(0) });
    let metrics = Arc::new(Metrics::default());
    let (gossip, heard) = tokio::sync::mpsc::channel(8);
    let view = view();
    let server = PeerServer {
        service: Arc::clone(&service),
        env: testing::env(),
        me: node(1),
        store: StoreDefinition::default(),
        versions,
        views: Arc::new(Views::unchanging(node(1), view.clone())),
        frame_bytes_max: FRAME_BYTES_MAX,
        timing,
        limits,
        metrics: Arc::clone(&metrics),
        gossip,
    };
    let listener = TokioNetwork.bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_address().unwrap();
    tokio::spawn(Arc::new(server).run(listener));
    Served { address, service, metrics, view, heard }
}

impl Served {
    /// As a node of the oldest version says it.
    fn hello(&self) -> Hello {
        Hello {
            to: Some(node(1)),
            lineage: Some(self.view.lineage()),
            ..Hello::new(node(2), Versions::up_to(Some(PROTOCOL_OLDEST)), &StoreDefinition::default())
        }
    }

    fn refused(&self) -> u64 {
        self.metrics.peers_refused.load(Ordering::Acquire)
    }

    /// What is answered to a hello.
    async fn greet(&self, hello: &Hello) -> (HelloReply, Peer) {
        let (reader, writer) = TcpStream::connect(&self.address).await.unwrap().into_split();
        let mut peer = Peer { reader: FrameReader::new(reader, FRAME_BYTES_MAX), writer };
        peer.send(hello).await;
        let reply = peer.reader.next::<HelloReply>().await.unwrap().unwrap();
        (reply, peer)
    }
}

/// The calling side, frame by frame.
struct Peer {
    reader: FrameReader<tokio::net::tcp::OwnedReadHalf>,
    writer: tokio::net::tcp::OwnedWriteHalf,
}

impl Peer {
    async fn send(&mut self, message: &impl Serialize) {
        let mut buffer = BytesMut::new();
        encode(message, &mut buffer);
        self.writer.write_all(&buffer).await.unwrap();
    }

    async fn ask(&mut self, id: u64, remaining_ms: u32, request: Request) {
        let view = ViewVersion { epoch: 1, phase: Phase::Stable, fence: 0 };
        self.send(&RequestFrame { id, view, remaining_ms, request }).await;
    }

    async fn answer(&mut self) -> ResponseFrame {
        let next = tokio::time::timeout(PATIENCE, self.reader.next::<ResponseFrame>());
        next.await.expect("an answer comes").unwrap().unwrap()
    }
}

fn read() -> Request {
    Request::Read { partition: 0, key: Bytes::from_static(b"k"), own: None }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to pass");
}

#[tokio::test]
async fn a_busy_server_refuses_more_at_once_but_still_says_that_it_is_alive() {
    for limits in [
        Limits { link_requests_max: 1, ..Limits::default() },
        Limits { peer_requests_max: 1, ..Limits::default() },
    ] {
        let served = serve(limits).await;
        let (reply, mut peer) = served.greet(&served.hello()).await;
        assert_eq!(reply, HelloReply::Welcome);
        peer.ask(1, 60_000, read()).await;
        peer.ask(2, 60_000, read()).await;
        let refused = peer.answer().await;
        assert_eq!(refused.id, 2);
        assert!(matches!(refused.response, Response::Refused { maybe_applied: false, .. }), "{refused:?}");
        peer.ask(3, 60_000, Request::Ping).await;
        assert_eq!(peer.answer().await, ResponseFrame { id: 3, response: Response::Pong });
        assert_eq!(served.metrics.peer_requests_overloaded.get(), 1);
        assert_eq!(served.service.entered.load(Ordering::Acquire), 1);

        served.service.gate.add_permits(2);
        assert_eq!(peer.answer().await.id, 1);
        // The room is given back only after the answer was.
        let again = async {
            loop {
                peer.ask(4, 60_000, read()).await;
                if peer.answer().await.response == Response::Stored {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
    }
}

#[tokio::test]
async fn gossip_is_heard_at_once_by_a_busy_server_under_any_view_and_never_answered() {
    let mut served = serve(Limits { link_requests_max: 1, ..Limits::default() }).await;
    let (_, mut peer) = served.greet(&served.hello()).await;
    peer.ask(1, 60_000, read()).await;
    let view = ViewVersion { epoch: 7, phase: Phase::Copying, fence: 0 };
    for n in 0..20_u8 {
        let packet = Bytes::copy_from_slice(&[n]);
        let datagram = Datagram { view, spoken_to: None, suspected: None, packet };
        peer.send(&RequestFrame { id: 0, view, remaining_ms: 0, request: Request::Gossip(datagram) }).await;
    }
    peer.ask(2, 60_000, Request::Ping).await;
    assert_eq!(peer.answer().await.id, 2, "nothing was answered before");
    assert_eq!(served.metrics.gossip_received.get(), 8);
    assert_eq!(served.metrics.gossip_dropped.get(), 12, "there is room for eight, and nothing waits");
    let (from, first) = served.heard.recv().await.unwrap();
    assert_eq!((from, first.packet.as_ref()), (node(2), &[0][..]));
}

#[tokio::test]
async fn what_nobody_waits_for_is_dropped_before_it_is_done() {
    let served = serve(Limits::default()).await;
    let (_, mut peer) = served.greet(&served.hello()).await;
    peer.ask(1, 0, read()).await;
    peer.ask(2, 60_000, Request::Ping).await;
    assert_eq!(peer.answer().await.id, 2, "the first is not answered");
    until(|| served.metrics.peer_requests_expired.get() == 1).await;
    assert_eq!(served.service.entered.load(Ordering::Acquire), 0);
}

fn offer(newest: u32) -> Option<Offer> {
    Some(Offer { newest, release: "9.9.9".into() })
}

#[tokio::test]
async fn peers_of_another_protocol_store_or_lineage_are_refused_by_name() {
    let served = serve(Limits::default()).await;
    let good = served.hello();
    let other = StoreDefinition { write_quorum: 3, ..StoreDefinition::default() };
    let cases = [
        (
            Hello { version: 99, ..good.clone() },
            "node n2 speaks peer protocol 99 and node n1 speaks 7 to 8: upgrade n1 to a release in between first",
        ),
        (
            Hello { version: 6, ..good.clone() },
            "n2 speaks peer protocol 6 and node n1 speaks 7 to 8: upgrade n2",
        ),
        (
            Hello { version: 9, offer: offer(11), ..good.clone() },
            "n2 speaks peer protocol 9 to 11 and node n1 speaks 7 to 8: upgrade n1",
        ),
        (Hello { magic: *b"GET / HT", ..good.clone() }, "speak its protocol"),
        (Hello { store: serde_json::to_string(&other).unwrap(), ..good.clone() }, "write_quorum differ"),
        (Hello { store: "{".into(), ..good.clone() }, "cannot be read"),
        (Hello { lineage: Some(view().lineage() ^ 1), ..good.clone() }, "other first members"),
        (Hello { to: Some(node(3)), ..good.clone() }, "this is node n1, not n3"),
    ];
    for (count, (hello, says)) in (1..).zip(cases) {
        let (reply, mut peer) = served.greet(&hello).await;
        let HelloReply::Refused(why) = reply else { panic!("{hello:?} was welcome") };
        assert!(why.contains(says), "`{says}` is not in: {why}");
        assert!(matches!(peer.reader.next::<ResponseFrame>().await, Ok(None)), "closed after that");
        assert_eq!(served.refused(), count, "counted: {says}");
    }
    assert_eq!(served.greet(&good).await.0, HelloReply::Welcome, "nobody else suffers");
}

#[tokio::test]
async fn a_hello_is_answered_in_the_newest_version_that_both_speak() {
    let (old, all) = (Versions::up_to(Some(PROTOCOL_OLDEST)), Versions::up_to(None));
    let release = env!("CARGO_PKG_VERSION").to_owned();
    let newest = HelloReply::Speak { version: PROTOCOL_NEWEST, release };
    for (ours, theirs, reply) in [
        (all, None, HelloReply::Welcome),
        (all, offer(PROTOCOL_NEWEST), newest.clone()),
        (all, offer(PROTOCOL_NEWEST + 5), newest),
        // Told in the words of the oldest, which is all that such a node knows.
        (old, None, HelloReply::Welcome),
        (old, offer(PROTOCOL_NEWEST), HelloReply::Welcome),
    ] {
        let served = serve_speaking(ours, Limits::default(), Timing::default()).await;
        let hello = Hello { offer: theirs, ..served.hello() };
        let (answered, mut peer) = served.greet(&hello).await;
        assert_eq!(answered, reply, "{ours} asked for {}", hello.versions());
        peer.ask(1, 60_000, Request::Ping).await;
        assert_eq!(peer.answer().await.response, Response::Pong);
    }
}

#[tokio::test]
async fn a_peer_is_sent_nothing_that_its_version_does_not_know() {
    for newest in [PROTOCOL_OLDEST, PROTOCOL_NEWEST] {
        let versions = Versions::up_to(Some(newest));
        let served = serve_speaking(versions, Limits::default(), Timing::default()).await;
        let views = views(&served.address);
        let peers = peers(&views);
        assert_eq!(peers.spoken(node(1)), None);
        let version = views.current().version();
        assert_eq!(peers.call(node(1), version, Request::Ping, PATIENCE).await, Ok(Response::Pong));
        let asked = peers.call(node(1), version, Request::Clock, PATIENCE).await;
        let spoken = peers.spoken(node(1)).unwrap();
        assert_eq!(spoken.version, newest);
        if newest == PROTOCOL_OLDEST {
            assert_eq!(asked, Err(CallError::NotSent));
            assert_eq!((spoken.release, spoken.clock_ahead_ns), (None, None));
        } else {
            assert_eq!(asked, Ok(Response::Clock { wall_ns: CLOCK_NS }));
            assert_eq!(spoken.release.as_deref(), Some(env!("CARGO_PKG_VERSION")));
            let ahead_s = spoken.clock_ahead_ns.unwrap() / 1_000_000_000;
            assert!(ahead_s < -1_000_000_000, "the peer's clock stands at the beginning of 1970: {ahead_s}");
        }
        let strange = peers.ask_stranger(node(1), &served.address, Request::Clock).await;
        assert_eq!(strange.is_ok(), newest != PROTOCOL_OLDEST, "{strange:?}");
    }
}

#[tokio::test]
async fn a_peer_that_chooses_what_it_was_not_offered_is_left() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = peers(&views(&listener.local_addr().unwrap().to_string()));
    let mut reply = BytesMut::new();
    encode(&HelloReply::Speak { version: PROTOCOL_NEWEST + 1, release: "9.9.9".into() }, &mut reply);
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&reply).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        FrameReader::new(&rest[..], FRAME_BYTES_MAX).next::<Hello>().await.unwrap().unwrap()
    });
    let version = ViewVersion { epoch: 1, phase: Phase::Stable, fence: 0 };
    assert_eq!(peers.call(node(1), version, Request::Ping, PATIENCE).await, Err(CallError::NotSent));
    assert_eq!(answering.await.unwrap().versions(), Versions::up_to(None));
}

/// Node 2's ways to its peers.
fn peers(views: &Arc<Views>) -> Peers {
    let hello = Hello::new(node(2), Versions::up_to(None), &StoreDefinition::default());
    Peers::new(&testing::env(), Arc::clone(views), node(2), &hello, Timing::default(), FRAME_BYTES_MAX)
}

/// What node 2 knows at first, where node 1 listens on `address`.
fn views(address: &str) -> Arc<Views> {
    let one = Member { peer: address.to_owned(), ..member(1) };
    Arc::new(Views::unchanging(node(2), View::new(vec![one, member(2), member(3)], 8, 3)))
}

#[tokio::test]
async fn a_peer_is_suspected_only_for_being_slower_than_it_should_be() {
    // Connected, and never an answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peers = peers(&views(&silent.local_addr().unwrap().to_string()));
    let version = ViewVersion { epoch: 1, phase: Phase::Stable, fence: 0 };
    let hurried = peers.call(node(1), version, read(), Duration::from_millis(1)).await;
    assert_eq!(hurried, Err(CallError::TimedOut));
    assert!(!peers.is_suspected(node(1)), "a client in a hurry proves nothing");
    let patient = peers.call(node(1), version, read(), Timing::default().hand_over).await;
    assert_eq!(patient, Err(CallError::TimedOut));
    assert!(peers.is_suspected(node(1)));
}

#[tokio::test]
async fn a_node_that_came_back_elsewhere_is_called_there() {
    let [before, after] = [serve(Limits::default()).await, serve(Limits::default()).await];
    let views = views(&before.address);
    let peers = peers(&views);
    let version = views.current().version();
    before.service.gate.add_permits(1);
    assert_eq!(peers.call(node(1), version, read(), PATIENCE).await, Ok(Response::Stored));
    let next = |view: &View, change| view.successor(&change).unwrap().advanced().advanced();
    let four = next(&views.current(), Change::Join(member(4)));
    let without = next(&four, Change::Leave(node(1)));
    let back = Member { peer: after.address.clone(), ..member(1) };
    views.learn(next(&without, Change::Join(back))).await.unwrap();
    peers.forget_departed();
    after.service.gate.add_permits(1);
    assert_eq!(peers.call(node(1), version, read(), PATIENCE).await, Ok(Response::Stored));
    let entered = [before, after].map(|served| served.service.entered.load(Ordering::Acquire));
    assert_eq!(entered, [1, 1]);
}

#[tokio::test]
async fn a_node_that_knows_no_view_yet_may_ask_for_one_and_for_nothing_else() {
    let served = serve(Limits::default()).await;
    served.service.gate.add_permits(1);
    let (reply, mut peer) = served.greet(&Hello { lineage: None, ..served.hello() }).await;
    assert_eq!(reply, HelloReply::Welcome);
    let ballot = crate::membership::Ballot { round: 1, proposer: node(2) };
    let vote = Request::Vote { epoch: 2, ballot, view: None };
    for request in [read(), vote, Request::LearnView { view: Box::new(view()) }] {
        peer.ask(1, 60_000, request).await;
        let answer = peer.answer().await.response;
        assert!(matches!(answer, Response::Refused { maybe_applied: false, .. }), "{answer:?}");
    }
    assert_eq!(served.service.entered.load(Ordering::Acquire), 0);
    peer.ask(2, 60_000, Request::FetchView).await;
    assert_eq!(peer.answer().await.response, Response::Stored, "whatever the service says");
}

#[tokio::test]
async fn garbage_on_the_peer_port_is_counted_and_hung_up_on() {
    let served = serve(Limits::default()).await;
    let client_hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3].repeat(20);
    let mut flipped = BytesMut::new();
    encode(&served.hello(), &mut flipped);
    flipped[12] ^= 1;
    let huge = [&u32::MAX.to_be_bytes()[..], &[0; 64]].concat();
    let cases: [&[u8]; 4] = [b"GET /kv/k HTTP/1.1\r\nHost: n1\r\n\r\n", &client_hello, &flipped, &huge];
    for (count, garbage) in (1..).zip(cases) {
        let mut stream = TcpStream::connect(&served.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        // Bytes that were not read make it a reset instead of an end.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it hangs up");
        assert!(rest.is_empty());
        until(|| served.refused() == count).await;
    }
    let (_, mut peer) = served.greet(&served.hello()).await;
    peer.writer.write_all(&huge).await.unwrap();
    assert!(matches!(peer.reader.next::<ResponseFrame>().await, Ok(None) | Err(_)), "also after the hello");
    until(|| served.refused() == 5).await;
}

#[tokio::test]
async fn peers_that_say_nothing_are_hung_up_on_and_counted() {
    let short = Duration::from_millis(100);
    let served =
        serve_with(Limits::default(), Timing { head: short, peer_idle: short, ..Timing::default() }).await;
    let mut silent = TcpStream::connect(&served.address).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("it hangs up").unwrap();
    until(|| served.metrics.peers_timed_out.get() == 1).await;
    let (reply, mut idle) = served.greet(&served.hello()).await;
    assert_eq!(reply, HelloReply::Welcome);
    let closed = tokio::time::timeout(PATIENCE, idle.reader.next::<ResponseFrame>()).await;
    assert!(matches!(closed.expect("it hangs up"), Ok(None)));
    until(|| served.metrics.peers_timed_out.get() == 2).await;
}
