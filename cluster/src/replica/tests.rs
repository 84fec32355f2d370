//! One node's copies: storing is merging, and what may be dropped.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use quorate_env::SystemClock;

use super::*;
use crate::config::NodeId;
use crate::quorum::ReadReply;
use crate::store::MemoryEngine;
use crate::version::{Actor, Context as Seen, Dot, Payload, SiblingSet, Stamp, Stamped};

fn replica() -> Replica {
    let store =
        StoreDefinition { durability: crate::config::Durability::Memory, ..StoreDefinition::default() };
    let holdings = Arc::new(Holdings::in_memory(store.partitions, true));
    let clock = Arc::new(SystemClock::new());
    Replica::new(Arc::new(MemoryEngine::new()), clock, &store, holdings, stamps()).unwrap()
}

fn stamps() -> SharedClock {
    SharedClock::new(HybridClock::new(1, 0))
}

#[tokio::test]
async fn whatever_way_a_stamp_came_later_ones_are_above_it() {
    let store = StoreDefinition { partitions: 16, ..StoreDefinition::profile("lww").unwrap() };
    let holdings = Arc::new(Holdings::in_memory(16, true));
    let (clock, stamps) = (Arc::new(SystemClock::new()), stamps());
    let engine = Arc::new(MemoryEngine::new());
    let replica = Replica::new(engine, Arc::clone(&clock) as _, &store, holdings, stamps.clone()).unwrap();
    let now_ns = clock.wall_ns();
    let ahead = |ms: u64| Stamp { wall_ns: now_ns + ms * 1_000_000, ..Stamp::default() };
    let write = |stamp| Arc::new(Record::Latest(Stamped { stamp, payload: None }));
    replica.store(0, b"k", &write(ahead(300)), Promise::Memory).await.unwrap();
    assert!(stamps.next(now_ns, None) > ahead(300));
    replica.store_hint("n2".parse().unwrap(), 0, b"k", &write(ahead(400)), Promise::Memory).await.unwrap();
    assert!(stamps.next(now_ns, None) > ahead(400));
}

fn put(counter: u64) -> Arc<Record> {
    let actor = Actor { node: "n1".parse().unwrap(), incarnation: 1, epoch: 0 };
    let set = SiblingSet::put(Seen::new(), Dot { actor, counter }, Payload::bytes("v"));
    Arc::new(Record::Siblings(set))
}

fn values(reply: ReadReply) -> usize {
    match reply {
        ReadReply::Found(record) | ReadReply::Partial(record) => record.payloads().len(),
        ReadReply::NotFound { .. } | ReadReply::Damaged => 0,
    }
}

#[tokio::test]
async fn a_copy_is_dropped_only_if_it_is_what_was_handed_over_and_still_foreign() {
    let replica = replica();
    for counter in [1, 2] {
        replica.store(0, b"k", &put(counter), Promise::Memory).await.unwrap();
    }
    let ReadReply::Found(record) = replica.read(0, b"k") else { panic!("it is there") };
    assert!(!replica.drop_copy(0, b"k", &put(1), || true).await.unwrap(), "it has grown");
    assert!(!replica.drop_copy(0, b"k", &record, || false).await.unwrap(), "it is owned again");
    assert_eq!(values(replica.read(0, b"k")), 2);
    assert!(replica.drop_copy(0, b"k", &record, || true).await.unwrap());
    assert_eq!(values(replica.read(0, b"k")), 0);
}

#[tokio::test]
async fn storing_merges_and_storing_again_changes_nothing() {
    let replica = replica();
    for counter in [1, 2, 1] {
        replica.store(0, b"k", &put(counter), Promise::Memory).await.unwrap();
    }
    assert_eq!(values(replica.read(0, b"k")), 2);
    assert_eq!(replica.changes(), 2);
    assert_eq!(
        replica.read(1, b"k"),
        ReadReply::NotFound { complete: true },
        "keys live under their partition"
    );
}

#[tokio::test]
async fn a_hint_is_dropped_only_if_it_is_still_what_was_delivered() {
    let replica = replica();
    let owner: NodeId = "n2".parse().unwrap();
    replica.store_hint(owner, 0, b"k", &put(1), Promise::Memory).await.unwrap();
    assert_eq!(replica.hints_pending(), 1);
    let delivered = replica.hints_for(owner, None, 10).unwrap().remove(0);
    replica.store_hint(owner, 0, b"k", &put(2), Promise::Memory).await.unwrap();
    assert!(!replica.drop_hint(&delivered).await.unwrap(), "the hint has grown since");
    assert_eq!(values(replica.read_hints(&[owner], 0, b"k")), 2);
    let grown = replica.hints_for(owner, None, 10).unwrap().remove(0);
    assert!(replica.drop_hint(&grown).await.unwrap());
    assert_eq!(replica.hints_pending(), 0);
    assert_eq!(replica.read_hints(&[owner], 0, b"k"), ReadReply::NotFound { complete: false });
}

#[tokio::test]
async fn a_record_of_another_conflict_rule_is_refused() {
    let foreign = Record::Latest(Stamped { stamp: Stamp::default(), payload: None });
    let error = replica().store(0, b"k", &Arc::new(foreign), Promise::Memory).await.unwrap_err();
    assert!(matches!(error, ReplicaError::Kind(_)));
}
