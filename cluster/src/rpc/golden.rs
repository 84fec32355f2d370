//! Every message of every version that is spoken, held to its bytes.
//!
//! `golden/v7.txt` has what version 7 says, `golden/v8.txt` what came with version 8, and so on. Once a
//! version is released its file stays as it is: nodes of that release read and write just these bytes. If
//! this fails, put new variants last, give new fields to new variants, and raise `PROTOCOL_NEWEST` with
//! the first of them. `UPDATE_EXPECT=1` writes the files of versions that are not released yet.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};

use bytes::{BufMut, Bytes, BytesMut};
use expect_test::{ExpectFile, expect_file};
use foca::{Codec, Header, Member as News, Message, PostcardCodec, State};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::config::{NodeId, StoreDefinition};
use crate::membership::gossip::{Datagram, GossipId, Incarnation};
use crate::membership::{self, Change, Phase, Report, View, ViewVersion};
use crate::merkle::{Node, Root, Salt};
use crate::register;
use crate::replica::{
    Keyed, LeafAnswer, LeafAsk, Page, PageEnd, Paged, Quiet, Summary, Tombstone, TombstonePage, Wanted,
};
use crate::testing::{member, node};
use crate::version::{Actor, Context, Dot, Fingerprint, Payload, Stamp};

/// Names the variants of an enumeration; one that is not listed does not compile.
macro_rules! variants {
    ($of:ident: $name:ident, $all:ident, $($variant:ident),+ $(,)?) => {
        const $all: &[&str] = &[$(stringify!($variant)),+];

        fn $name(message: &$of) -> &'static str {
            match message {
                $($of::$variant { .. } => stringify!($variant),)+
            }
        }
    };
}

variants!(
    Request: request_name, REQUESTS,
    Ping, Read, Store, FetchView, LearnView, Vote, Introduce, Report, Gossip, Page, Standing, Quiet,
    Tombstones, Forget, Roots, TreeNodes, Compare, Register, VoterName, Exchange, Hints, Clock, Mark, TakeOrder,
);
variants!(
    Response: response_name, RESPONSES,
    Pong, Found, Partial, Same, NotFound, Damaged, Stored, Looked, Voted, VoterName, OtherView, View,
    Learned, Vote, Introduced, Report, Page, Standing, Quiet, Tombstones, Forgotten, Roots, TreeNodes,
    Compared, Exchanged, Refused, Hints, Clock, Mark,
);

/// One line a message: its name and its bytes.
#[derive(Default)]
struct Golden {
    text: String,
}

impl Golden {
    /// Adds a message, and makes sure that its bytes mean what they were made from.
    fn add<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, message: &T) {
        let bytes = postcard::to_stdvec(message).unwrap();
        assert_eq!(&postcard::from_bytes::<T>(&bytes).unwrap(), message);
        self.add_bytes(name, &bytes);
    }

    fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
        write!(self.text, "{name} = ").unwrap();
        for byte in bytes {
            write!(self.text, "{byte:02x}").unwrap();
        }
        self.text.push('\n');
    }

    fn check(self, file: &ExpectFile) {
        file.assert_eq(&self.text);
    }
}

const VERSION: ViewVersion = ViewVersion { epoch: 300, phase: Phase::Copying, fence: 2 };
const STAMP: Stamp = Stamp { wall_ns: 1_700_000_000_000_000_001, incarnation: 77, sequence: 5 };
const BALLOT: register::Ballot =
    register::Ballot { epoch: 3, number: 4, by: register::WriteId { incarnation: 5, sequence: 6 } };
const SALT: Salt = Salt { salt: 0xdead_beef, exact: true };
const NODE: Node = Node { partition: 9, level: 2, index: 300 };

fn key() -> Bytes {
    Bytes::from_static(b"key")
}

fn record() -> Bytes {
    Bytes::from_static(b"an encoded record")
}

/// Of one partition, so that there is only one way to place it.
fn view() -> View {
    let first = View::new(vec![member(1)], 1, 1);
    first.successor(&Change::Join(member(2))).unwrap()
}

fn write(payload: Option<&'static str>) -> register::Write {
    let payload = payload.map(|text| Payload {
        content_type: "text/plain".into(),
        value: Bytes::from_static(text.as_bytes()),
    });
    register::Write { id: register::WriteId { incarnation: 5, sequence: 7 }, payload }
}

fn dot() -> Dot {
    Dot { actor: Actor { node: node(3), incarnation: 400, epoch: 1 }, counter: 12 }
}

fn requests() -> Vec<Request> {
    let ballot = membership::Ballot { round: 6, proposer: node(2) };
    let datagram = Datagram {
        view: VERSION,
        spoken_to: Some(Incarnation { starts: 4, rejoins: 1 }),
        suspected: Some((Incarnation { starts: 4, rejoins: 0 }, 7)),
        packet: Bytes::from_static(b"packet"),
    };
    let (partition, after) = (9, Some(key()));
    let ask = |ask| Request::Register { partition, key: key(), ask };
    vec![
        Request::Ping,
        Request::Read { partition, key: key(), own: None },
        Request::Read { partition, key: key(), own: Some(Fingerprint::of(b"an encoded record")) },
        Request::Store { partition, key: key(), record: record(), hint_for: Some(node(2)), synced: true },
        Request::FetchView,
        Request::LearnView { view: Box::new(view()) },
        Request::Vote { epoch: 300, ballot, view: None },
        Request::Vote { epoch: 300, ballot, view: Some(Box::new(view())) },
        Request::Introduce { disk: u64::MAX },
        Request::Report(report()),
        Request::Gossip(datagram),
        Request::Page { partition, after: after.clone() },
        Request::Standing { partition },
        Request::Quiet,
        Request::Tombstones { partition, after },
        Request::Forget { partition, tombstones: vec![tombstone()] },
        Request::Roots { partitions: vec![0, 300] },
        Request::TreeNodes { salt: SALT, nodes: vec![NODE] },
        Request::Compare {
            salt: SALT,
            leaves: vec![LeafAsk { node: NODE, range: Some((1, u64::MAX)), prints: record() }],
        },
        ask(AskVoter::Look { whole: true }),
        ask(AskVoter::Promise { ballot: BALLOT, whole: false }),
        ask(AskVoter::Accept { ballot: BALLOT, write: write(Some("v")) }),
        ask(AskVoter::Accept { ballot: BALLOT, write: write(None) }),
        Request::VoterName,
        Request::Exchange {
            records: vec![Keyed { partition, key: key(), record: record() }],
            wanted: vec![Wanted { partition, key: key() }],
        },
        Request::Hints { partition, after: Some(key()) },
        Request::Clock,
        Request::Mark { mark: 300 },
        Request::TakeOrder { view: Box::new(view()) },
    ]
}

fn report() -> Report {
    Report { version: VERSION, transferred: true, lost: BTreeSet::from([node(2), node(3)]) }
}

fn tombstone() -> Tombstone {
    Tombstone { key: key(), record: [7; 16] }
}

/// What can be built inside its own module alone, from what stands for it on the wire.
fn built<T: DeserializeOwned>(parts: &impl Serialize) -> T {
    postcard::from_bytes(&postcard::to_stdvec(parts).unwrap()).unwrap()
}

fn responses() -> Vec<Response> {
    let ballot = membership::Ballot { round: 6, proposer: node(2) };
    let holding = |standing| Holding { standing, age_ms: 70_000 };
    let page = |end| Page { records: vec![Paged { key: key(), record: record(), is_complete: true }], end };
    let accepted = membership::Accepted { ballot, value: view() };
    let leaf = |summary| LeafAnswer {
        reaches: Some(u64::MAX),
        theirs: vec![(key(), summary)],
        unknown: vec![0, 300],
    };
    let mut context = Context::new();
    context.insert(dot());
    vec![
        Response::Pong,
        Response::Found(record()),
        Response::Partial(record()),
        Response::Same { complete: true },
        Response::NotFound { complete: false },
        Response::Damaged,
        Response::Stored,
        Response::Looked(None),
        Response::Looked(Some(register::Seen { ballot: BALLOT, write: Some(write(Some("v"))) })),
        Response::Voted(register::Vote::Promise(Some(register::Accepted {
            ballot: BALLOT,
            value: write(Some("v")),
        }))),
        Response::Voted(register::Vote::Accepted),
        Response::Voted(register::Vote::Outrun(BALLOT)),
        Response::VoterName(Some(8)),
        Response::OtherView(ViewVersion { phase: Phase::ReadingNew, ..VERSION }),
        Response::View(Box::new(view())),
        Response::Learned,
        Response::Vote(None),
        Response::Vote(Some(Box::new(membership::Vote::Promise(Some(accepted))))),
        Response::Vote(Some(Box::new(membership::Vote::Accepted))),
        Response::Vote(Some(Box::new(membership::Vote::Outrun(ballot)))),
        Response::Introduced(built(&(BTreeMap::from([(node(1), 11_u64)]), true))),
        Response::Report(report()),
        Response::Page(page(PageEnd::Full(key())), holding(Standing::Lacking)),
        Response::Page(page(PageEnd::Damaged(key())), holding(Standing::New)),
        Response::Page(page(PageEnd::Last), holding(Standing::Whole)),
        Response::Standing(holding(Standing::Whole)),
        Response::Quiet(Quiet {
            view: ViewVersion { phase: Phase::Stable, ..VERSION },
            under_way: 3,
            keeps_for_others: true,
            lacks: false,
        }),
        Response::Tombstones(TombstonePage { tombstones: vec![tombstone()], next: Some(key()) }),
        Response::Forgotten(300),
        Response::Roots(vec![Some(Root { keys: 300, sum: [1, 2, 3, 4, 5, 6, 7, 8], depth: 2 }), None]),
        Response::TreeNodes(vec![Some(record()), None]),
        Response::Compared(vec![
            leaf(Summary::Siblings { context, dots: vec![dot()] }),
            leaf(Summary::Latest(STAMP)),
            leaf(Summary::Single(BALLOT)),
        ]),
        Response::Exchanged(vec![Some(record()), None]),
        Response::Refused { why: "full".into(), maybe_applied: true, disk_full: true },
        Response::Hints(page(PageEnd::Last)),
        Response::Clock { wall_ns: STAMP.wall_ns },
        Response::Mark { before: Some(299) },
    ]
}

/// The first version in which a response is given.
fn given_since(response: &Response) -> u32 {
    match response {
        Response::Hints(_) | Response::Clock { .. } | Response::Mark { .. } => 8,
        _ => PROTOCOL_OLDEST,
    }
}

fn hello(newest: u32) -> Hello {
    let store: StoreDefinition = StoreDefinition::default();
    let hello = Hello::new(node(2), Versions::up_to(Some(newest)), &store);
    let offer = hello.offer.map(|offer| Offer { release: "0.1.0".into(), ..offer });
    // What is in a definition is not a matter of the messages.
    Hello { to: Some(node(1)), lineage: Some(u64::MAX), store: "{}".into(), offer, ..hello }
}

/// What is said in `version` for the first time.
fn golden(version: u32) -> Golden {
    let mut golden = Golden::default();
    golden.add("Hello", &hello(version));
    if version == PROTOCOL_OLDEST {
        golden.add("HelloReply::Welcome", &HelloReply::Welcome);
        golden.add("HelloReply::Refused", &HelloReply::Refused("why".into()));
        let request = RequestFrame { id: 300, view: VERSION, remaining_ms: 3000, request: Request::Ping };
        golden.add("RequestFrame", &request);
        golden.add("ResponseFrame", &ResponseFrame { id: 300, response: Response::Pong });
        for (name, packet) in gossip() {
            golden.add_bytes(&name, &packet);
        }
    } else {
        let speak = HelloReply::Speak { version, release: "0.1.0".into() };
        golden.add("HelloReply::Speak", &speak);
    }
    for request in requests().iter().filter(|request| request.since() == version) {
        golden.add(&format!("Request::{}", request_name(request)), request);
    }
    for response in responses().iter().filter(|response| given_since(response) == version) {
        golden.add(&format!("Response::{}", response_name(response)), response);
    }
    golden
}

/// The library's own packets, and news as they carry it.
fn gossip() -> Vec<(String, Bytes)> {
    let life = |of: NodeId| GossipId { node: of, incarnation: Incarnation { starts: 2, rejoins: 1 } };
    let other = life(node(3));
    let messages = [
        Message::Ping(1),
        Message::Ack(2),
        Message::PingReq { target: other, probe_number: 3 },
        Message::IndirectPing { origin: other, probe_number: 4 },
        Message::IndirectAck { target: other, probe_number: 5 },
        Message::ForwardedAck { origin: other, probe_number: 6 },
        Message::Announce,
        Message::Feed,
        Message::Gossip,
        Message::Broadcast,
        Message::TurnUndead,
    ];
    let mut codec = PostcardCodec;
    let mut packets = Vec::new();
    for message in messages {
        let name = format!("{message:?}");
        let header = Header { src: life(node(1)), src_incarnation: 300, dst: life(node(2)), message };
        let mut packet = BytesMut::new();
        codec.encode_header(&header, (&mut packet).limit(1 << 10)).unwrap();
        let name = name.split([' ', '(']).next().unwrap_or_default().to_owned();
        packets.push((format!("gossip {name}"), packet.freeze()));
    }
    for state in [State::Alive, State::Suspect, State::Down] {
        let mut packet = BytesMut::new();
        codec.encode_member(&News::new(other, 300, state), (&mut packet).limit(1 << 10)).unwrap();
        packets.push((format!("gossip of {state:?}"), packet.freeze()));
    }
    packets
}

#[test]
fn what_version_7_says_stays_as_it_is() {
    golden(7).check(&expect_file!["golden/v7.txt"]);
}

#[test]
fn what_version_8_adds_stays_as_it_is() {
    golden(8).check(&expect_file!["golden/v8.txt"]);
}

#[test]
fn every_message_has_its_bytes_written_down() {
    assert_eq!((PROTOCOL_OLDEST, PROTOCOL_NEWEST), (7, 8), "and a test above for each version");
    let requests: BTreeSet<&str> = requests().iter().map(request_name).collect();
    assert_eq!(requests, REQUESTS.iter().copied().collect());
    let responses: BTreeSet<&str> = responses().iter().map(response_name).collect();
    assert_eq!(responses, RESPONSES.iter().copied().collect());
}

/// A hello as a node of version 7 reads it, field by field.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct HelloOf7 {
    magic: [u8; 8],
    version: u32,
    from: NodeId,
    to: Option<NodeId>,
    lineage: Option<u64>,
    store: String,
}

#[test]
fn nodes_of_version_7_understand_every_hello_and_are_understood() {
    for newest in [PROTOCOL_OLDEST, PROTOCOL_NEWEST] {
        let hello = hello(newest);
        let bytes = postcard::to_stdvec(&hello).unwrap();
        let read: HelloOf7 = postcard::from_bytes(&bytes).unwrap();
        assert_eq!((read.version, read.from, &read.store), (7, hello.from, &hello.store));
        let said = postcard::to_stdvec(&read).unwrap();
        let understood: Hello = postcard::from_bytes(&said).unwrap();
        assert_eq!(understood, Hello { offer: None, ..hello });
        assert_eq!(understood.versions(), Versions { oldest: 7, newest: 7 });
    }
}
