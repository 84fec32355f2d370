//! Two owners without a network between them: what a session brings about and what it costs.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use quorate_env::SystemClock;

use super::*;
use crate::admission::Background;
use crate::config::{Durability, StoreDefinition};
use crate::membership::{Phase, View, ViewVersion, Views};
use crate::replica::ReplicaService;
use crate::rpc::{RequestFrame, ResponseFrame, Service};
use crate::store::MemoryEngine;
use crate::testing::{member, node};
use crate::version::{Actor, Context, Dot, HybridClock, Payload, SharedClock, SiblingSet};

/// Length and checksum of a frame.
const FRAME_HEAD_BYTES: u64 = 8;

/// Answers from a service in the same process and counts what would have been sent.
#[derive(Default)]
struct Wire {
    bytes: AtomicU64,
    messages: AtomicU64,
    /// The connection breaks after so many messages.
    breaks_after: Option<u64>,
}

struct AskWire<'a> {
    wire: &'a Wire,
    service: &'a Arc<ReplicaService>,
}

impl Ask for AskWire<'_> {
    fn ask(&self, _to: NodeId, request: Request) -> BoxFuture<'_, Result<Response, CallError>> {
        Box::pin(async move {
            let messages = self.wire.messages.fetch_add(1, Ordering::Relaxed);
            if self.wire.breaks_after.is_some_and(|most| messages >= most) {
                return Err(CallError::Lost);
            }
            let frame = RequestFrame {
                id: messages,
                view: ViewVersion { epoch: 1, phase: Phase::Stable, fence: 0 },
                remaining_ms: 3_000,
                request,
            };
            let asked = postcard::to_stdvec(&frame).unwrap().len() as u64;
            let response = Arc::clone(self.service).handle(node(1), frame.request).await;
            let frame = ResponseFrame { id: messages, response };
            let answered = postcard::to_stdvec(&frame).unwrap().len() as u64;
            self.wire.bytes.fetch_add(asked + answered + 2 * FRAME_HEAD_BYTES, Ordering::Relaxed);
            Ok(frame.response)
        })
    }
}

/// Two nodes that both own everything.
struct Pair {
    view: Arc<View>,
    nodes: [Arc<ReplicaService>; 2],
    metrics: Metrics,
    salt: u32,
    exact: bool,
}

impl Pair {
    fn new(partitions: u32) -> Self {
        let members = vec![member(1), member(2)];
        let view = Arc::new(View::new(members, partitions, 2));
        let store =
            StoreDefinition { durability: Durability::Memory, partitions, ..StoreDefinition::default() };
        let background = Arc::new(Background::new(Arc::new(SystemClock::new())));
        let owner = |me: NodeId| {
            let engine = Arc::new(MemoryEngine::new());
            let clock = Arc::new(SystemClock::new());
            let views = Arc::new(Views::unchanging(me, (*view).clone()));
            let stamps = SharedClock::new(HybridClock::new(1, 0));
            let holdings = Arc::clone(views.holdings());
            let replica = Replica::new(engine, clock, &store, holdings, stamps).unwrap();
            Arc::new(ReplicaService {
                me,
                views,
                replica: Arc::new(replica),
                background: Arc::clone(&background),
                tombstones_collected: Arc::default(),
            })
        };
        Self {
            nodes: [owner(node(1)), owner(node(2))],
            view,
            metrics: Metrics::default(),
            salt: 0,
            exact: false,
        }
    }

    async fn put(&self, node: usize, key: &[u8], record: &Record) {
        let partition = self.view.placement().partition_of(key);
        let record = Arc::new(record.clone());
        self.nodes[node].replica.store(partition, key, &record, Promise::Memory).await.unwrap();
    }

    async fn ready(&self) {
        let mut throttle = Throttle::new(u64::MAX);
        for node in &self.nodes {
            for partition in 0..self.view.placement().partitions() {
                node.replica.ready_tree(partition, 0, &mut throttle).await.unwrap();
            }
        }
    }

    /// The first node compares with the second.
    async fn session(&mut self, wire: &Wire) -> Outcome {
        self.ready().await;
        self.compare(wire).await
    }

    /// The same, whatever the trees look like.
    async fn compare(&mut self, wire: &Wire) -> Outcome {
        self.salt += 1;
        let session = Session {
            peer: node(2),
            replica: &self.nodes[0].replica,
            ask: AskWire { wire, service: &self.nodes[1] },
            salt: Salt { salt: self.salt, exact: self.exact },
            pause: Duration::ZERO,
            metrics: &self.metrics,
            differing: 0,
        };
        let partitions: Vec<u32> = (0..self.view.placement().partitions()).collect();
        session.run(&partitions, &mut Throttle::new(u64::MAX)).await
    }

    /// All copies of one node, encoded.
    fn copies(&self, node: usize) -> BTreeMap<Vec<u8>, Bytes> {
        let engine = self.nodes[node].replica.engine();
        engine.scan(b"d", None, usize::MAX).unwrap().into_iter().collect()
    }
}

fn put(actor: u64, counter: u64, seen: &Context, value: &[u8]) -> Record {
    let actor = Actor { node: node(1), incarnation: u64::MAX - actor, epoch: 0 };
    let payload = Payload::bytes(value.to_vec());
    Record::Siblings(SiblingSet::put(seen.clone(), Dot { actor, counter }, payload))
}

fn key(i: u32) -> Vec<u8> {
    format!("user{i:08}").into_bytes()
}

const KIB: [u8; 1024] = [7; 1024];

/// How many keys differ, and in which way.
enum Differing {
    Missing { node: usize },
    Stale { node: usize },
    Concurrent,
}

/// The cost of one session in bytes sent for each byte that differs.
async fn cost(keys: u32, partitions: u32, every: u32, differing: Differing) -> f64 {
    let mut pair = Pair::new(partitions);
    let mut differing_bytes = 0;
    for i in 0..keys {
        let key = key(i);
        let first = put(1, 1, &Context::new(), &KIB);
        let seen = if let Record::Siblings(set) = &first { set.context().clone() } else { Context::new() };
        let bytes = (key.len() + put(2, 1, &seen, &KIB).encode().len()) as u64;
        let differs = i % every == 0;
        for node in 0..2 {
            if !matches!(differing, Differing::Missing { node: lacks } if differs && lacks == node) {
                pair.put(node, &key, &first).await;
            }
            if !differs {
                continue;
            }
            match differing {
                Differing::Missing { .. } => {}
                Differing::Stale { node: lacks } if lacks == node => {}
                Differing::Stale { .. } => pair.put(node, &key, &put(2, 1, &seen, &KIB)).await,
                Differing::Concurrent => pair.put(node, &key, &put(2 + node as u64, 1, &seen, &KIB)).await,
            }
        }
        if differs {
            differing_bytes += if matches!(differing, Differing::Concurrent) { 2 * bytes } else { bytes };
        }
    }
    let wire = Wire::default();
    let outcome = pair.session(&wire).await;
    assert!(outcome.unfinished.is_empty() && !outcome.is_same);
    assert_eq!(outcome.differing, u64::from(keys.div_ceil(every)));
    assert!(pair.session(&Wire::default()).await.is_same);
    assert_eq!(pair.copies(0), pair.copies(1));
    let cost = wire.bytes.into_inner() as f64 / differing_bytes as f64;
    println!("{keys} keys in {partitions} partitions, one in {every}: {cost:.3}");
    cost
}

#[tokio::test]
async fn repair_sends_little_more_than_what_differs() {
    for (keys, partitions, every) in [(10_000, 256, 100), (10_000, 256, 10), (8_192, 2, 50), (3_000, 64, 1)] {
        assert!(cost(keys, partitions, every, Differing::Missing { node: 1 }).await <= 1.2);
        assert!(cost(keys, partitions, every, Differing::Missing { node: 0 }).await <= 1.2);
        assert!(cost(keys, partitions, every, Differing::Stale { node: 1 }).await <= 1.2);
        assert!(cost(keys, partitions, every, Differing::Stale { node: 0 }).await <= 1.2);
        assert!(cost(keys, partitions, every, Differing::Concurrent).await <= 1.2);
    }
}

#[tokio::test]
async fn being_in_sync_costs_one_message_for_all_partitions() {
    let mut pair = Pair::new(256);
    for i in 0..1_000 {
        for node in 0..2 {
            pair.put(node, &key(i), &put(1, 1, &Context::new(), b"v")).await;
        }
    }
    let wire = Wire::default();
    let outcome = pair.session(&wire).await;
    assert_eq!(outcome, Outcome { differing: 0, is_same: true, unfinished: BTreeSet::new() });
    assert_eq!(wire.messages.into_inner(), 1);
    assert!(wire.bytes.into_inner() < 256 * 16, "at most 16 bytes a partition");
}

#[tokio::test]
async fn a_session_that_breaks_off_is_resumed_where_it_was() {
    let mut pair = Pair::new(8);
    for i in 0..2_000 {
        pair.put(0, &key(i), &put(1, 1, &Context::new(), &KIB)).await;
    }
    let mut sessions = 0;
    let mut most = 6;
    loop {
        sessions += 1;
        let wire = Wire { breaks_after: Some(most), ..Wire::default() };
        let outcome = pair.session(&wire).await;
        if outcome.unfinished.is_empty() && outcome.is_same {
            break;
        }
        assert!(sessions < 20);
        most += 1;
    }
    assert!(sessions > 2, "it broke off");
    assert_eq!(pair.copies(0), pair.copies(1));
    let sent = pair.metrics.anti_entropy_sent.get();
    assert!(sent <= 2_000, "{sent} records sent for 2000 that were missing: none twice");
}

#[tokio::test]
async fn one_partition_that_the_peer_cannot_compare_yet_leaves_the_others_compared() {
    let mut pair = Pair::new(4);
    for i in 0..40 {
        pair.put(0, &key(i), &put(1, 1, &Context::new(), b"v")).await;
    }
    pair.ready().await;
    pair.nodes[1].replica.retain_trees(&BTreeSet::from([0, 1, 3]));
    let session = Session {
        peer: node(2),
        replica: &pair.nodes[0].replica,
        ask: AskWire { wire: &Wire::default(), service: &pair.nodes[1] },
        salt: Salt { salt: 1, exact: true },
        pause: Duration::ZERO,
        metrics: &pair.metrics,
        differing: 0,
    };
    let outcome = session.run(&[0, 1, 2, 3], &mut Throttle::new(u64::MAX)).await;
    assert_eq!((outcome.is_same, outcome.unfinished), (false, BTreeSet::from([2])));
    assert!(outcome.differing > 0, "what could be compared was repaired");
    pair.session(&Wire::default()).await;
    assert_eq!(pair.copies(0), pair.copies(1), "and the rest later");
}

/// A leaf that one side fills far beyond what fits an answer: 3,000 keys against a flat tree.
#[tokio::test]
async fn a_long_answer_stops_and_goes_on() {
    for lacks in 0..2 {
        let mut pair = Pair::new(1);
        // A depth that does not fit: the trees are there before the keys.
        pair.ready().await;
        for i in 0..3_000 {
            pair.put(1 - lacks, &key(i), &put(1, 1, &Context::new(), b"v")).await;
        }
        for i in (0..3_000).step_by(10) {
            pair.put(lacks, &key(i), &put(2, 1, &Context::new(), b"w")).await;
        }
        pair.exact = true;
        let outcome = pair.compare(&Wire::default()).await;
        assert!(outcome.unfinished.is_empty(), "{outcome:?}");
        assert_eq!(pair.copies(0), pair.copies(1));
        assert_eq!(pair.copies(0).len(), 3_000);
    }
}

/// Of each key on each node: absent, or a write of one of two actors.
fn copies() -> impl Strategy<Value = Vec<[Option<(u64, u64)>; 2]>> {
    let copy = || prop::option::of((0_u64..2, 1_u64..4));
    prop::collection::vec((copy(), copy()).prop_map(|(a, b)| [a, b]), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_owners_end_with_the_join_of_both(copies in copies(), partitions in 1_u32..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new(partitions);
            let mut expected: BTreeMap<Vec<u8>, Record> = BTreeMap::new();
            for (i, copy) in (0_u32..).zip(&copies) {
                for (node, write) in copy.iter().enumerate() {
                    let Some((actor, counter)) = write else { continue };
                    let record = put(*actor, *counter, &Context::new(), b"v");
                    pair.put(node, &key(i), &record).await;
                    let joined = match expected.remove(&key(i)) {
                        Some(other) => other.merge(record).unwrap(),
                        None => record,
                    };
                    expected.insert(key(i), joined);
                }
            }
            let differing = copies.iter().filter(|[a, b]| a != b).count() as u64;
            // A second time for what a short digest hid the first time.
            let found = pair.session(&Wire::default()).await.differing + pair.session(&Wire::default()).await.differing;
            assert_eq!(found, differing);
            assert!(pair.session(&Wire::default()).await.is_same);
            let joined: Vec<Bytes> = expected.values().map(|record| Bytes::from(record.encode())).collect();
            for node in 0..2 {
                let mut stored: Vec<(Vec<u8>, Bytes)> = pair.copies(node).into_iter().collect();
                stored.sort_by(|(a, _), (b, _)| a[5..].cmp(&b[5..]));
                let stored: Vec<Bytes> = stored.into_iter().map(|(_, bytes)| bytes).collect();
                assert_eq!(stored, joined);
            }
        });
    }
}
