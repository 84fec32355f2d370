//! Trees against what the engine holds, rot included.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;

use quorate_env::{SimulatedDisk, SystemClock};

use super::*;
use crate::config::{AntiEntropy, NodeId, StoreDefinition};
use crate::membership::Holdings;
use crate::replica::{Page, PageEnd};
use crate::store::{Engine, LogEngine, LogOptions, MemoryEngine, Promise, Write};
use crate::version::{Actor, Context, Dot, HybridClock, Payload, SharedClock, SiblingSet};

fn replica(engine: Arc<dyn Engine>) -> Replica {
    let store = StoreDefinition::default();
    let holdings = Arc::new(Holdings::in_memory(store.partitions, true));
    Replica::new(engine, Arc::new(SystemClock::new()), &store, holdings, stamps()).unwrap()
}

fn stamps() -> SharedClock {
    SharedClock::new(HybridClock::new(1, 0))
}

async fn on_disk(disk: &SimulatedDisk) -> Replica {
    replica(Arc::new(LogEngine::open(disk.mount(), LogOptions::default()).await.unwrap()))
}

fn put(counter: u64, value: &str) -> Arc<Record> {
    let actor = Actor { node: "n1".parse().unwrap(), incarnation: 1, epoch: 0 };
    let payload = Payload::bytes(value.to_owned());
    Arc::new(Record::Siblings(SiblingSet::put(Context::new(), Dot { actor, counter }, payload)))
}

/// Rots every stored copy of `value` on the disk.
fn rot(disk: &SimulatedDisk, value: &str) {
    let mounted = disk.mount();
    let mut found = 0;
    for name in mounted.list().unwrap() {
        let bytes = mounted.read(&name).unwrap();
        for at in bytes.windows(value.len()).enumerate().filter(|(_, w)| *w == value.as_bytes()) {
            disk.flip_byte(&name, at.0 as u64).unwrap();
            found += 1;
        }
    }
    assert!(found > 0, "{value} is on the disk");
}

fn throttle() -> Throttle {
    Throttle::new(u64::MAX)
}

fn full_list(replica: &Replica) -> BTreeSet<(Bytes, u64)> {
    let nodes = BTreeSet::from([Node::root(7)]);
    let listing = replica.list(7, &nodes);
    let runtime = futures_util::future::FutureExt::now_or_never(listing);
    runtime.unwrap().unwrap().into_iter().map(|listed| (listed.key, listed.digest)).collect()
}

#[tokio::test]
async fn equal_copies_have_equal_roots_whatever_the_order_of_arrival() {
    let (a, b) = (replica(Arc::new(MemoryEngine::new())), replica(Arc::new(MemoryEngine::new())));
    for (replica, order) in [(&a, [1, 2, 3]), (&b, [3, 1, 2])] {
        assert_eq!(replica.root(7), None, "there is no tree yet");
        replica.ready_tree(7, 0, &mut throttle()).await.unwrap();
        for key in order {
            replica.store(7, &[key], &put(u64::from(key), "v"), Promise::Memory).await.unwrap();
        }
    }
    assert!(a.root(7).unwrap().is_same(&b.root(7).unwrap()));
    assert_eq!(full_list(&a), full_list(&b));
    b.store(7, &[2], &put(9, "w"), Promise::Memory).await.unwrap();
    assert!(!a.root(7).unwrap().is_same(&b.root(7).unwrap()));
    let differing: Vec<Bytes> =
        full_list(&b).difference(&full_list(&a)).map(|(key, _)| key.clone()).collect();
    assert_eq!(differing, [Bytes::from_static(&[2])]);
    assert!(!b.walk_partition(7, 0, &mut throttle()).await.unwrap().mismatch, "every write was noted");
}

#[tokio::test]
async fn a_tree_grows_with_its_partition_and_goes_when_it_is_not_needed() {
    let replica = replica(Arc::new(MemoryEngine::new()));
    replica.ready_tree(7, 0, &mut throttle()).await.unwrap();
    for key in 0..200_u64 {
        replica.store(7, &key.to_be_bytes(), &put(1, "v"), Promise::Memory).await.unwrap();
    }
    let flat = replica.root(7).unwrap();
    replica.ready_tree(7, 0, &mut throttle()).await.unwrap();
    let grown = replica.root(7).unwrap();
    assert!(grown.is_same(&flat));
    assert_eq!((flat.depth, grown.depth, grown.keys), (0, 2, 200));
    assert!(replica.tree_bytes() <= 18 * 200);
    replica.retain_trees(&BTreeSet::from([6]));
    assert_eq!((replica.root(7), replica.tree_bytes()), (None, 0));
}

#[tokio::test]
async fn keys_deleted_behind_the_back_show_and_silence_the_votes_of_absence() {
    let disk = SimulatedDisk::default();
    let replica = on_disk(&disk).await;
    for key in [b"a", b"b"] {
        replica.store(7, key, &put(1, "v"), Promise::Memory).await.unwrap();
    }
    replica.ready_tree(7, 0, &mut throttle()).await.unwrap();
    let before = replica.root(7).unwrap();
    let key = keys::data(7, b"a");
    replica.engine().apply(vec![Write::Delete { key }], Promise::Memory).await.unwrap();
    assert!(replica.root(7).unwrap().is_same(&before), "nobody has noticed");
    let walked = replica.walk_partition(7, 0, &mut throttle()).await.unwrap();
    assert_eq!(walked, Walked { records: 1, damaged: 0, mismatch: true });
    assert!(!replica.root(7).unwrap().is_same(&before));
    assert_eq!(replica.read(7, b"a"), ReadReply::NotFound { complete: false });
    // What came to light after a round of anti-entropy had begun is not covered by that round.
    let lacking = replica.lacking();
    assert!(!lacking.is_nothing());
    assert_eq!(replica.read(7, b"b"), ReadReply::Partial(put(1, "v")));
    let unrepaired = StoreDefinition { anti_entropy: AntiEntropy::Off, ..StoreDefinition::default() };
    let clock = Arc::new(SystemClock::new());
    let doubtful = Arc::new(Holdings::in_memory(unrepaired.partitions, false));
    let engine = Arc::clone(replica.engine());
    let unrepaired = Replica::new(engine, clock, &unrepaired, doubtful, stamps()).unwrap();
    assert_eq!(unrepaired.read(7, b"b"), ReadReply::Partial(put(1, "v")), "it is refilled without comparing");
    assert!(replica.holdings().is_whole(8), "another partition has nothing to do with it");
    replica.engine().apply(vec![Write::Delete { key: keys::data(7, b"b") }], Promise::Memory).await.unwrap();
    assert!(replica.walk_partition(7, 0, &mut throttle()).await.unwrap().mismatch);
    replica.repaired(&lacking, |_| true).await;
    assert!(!replica.holdings().is_whole(7));
    replica.repaired(&replica.lacking(), |partition| partition != 7).await;
    assert!(!replica.holdings().is_whole(7));
    replica.repaired(&replica.lacking(), |_| true).await;
    assert_eq!(replica.read(7, b"a"), ReadReply::NotFound { complete: true });
}

#[tokio::test]
async fn a_walk_finds_rot_and_a_repaired_record_is_whole_again() {
    let disk = SimulatedDisk::default();
    let replica = on_disk(&disk).await;
    for (key, value) in [(b"a", "apples"), (b"b", "pears!")] {
        replica.store(7, key, &put(1, value), Promise::Synced).await.unwrap();
    }
    replica.ready_tree(7, 0, &mut throttle()).await.unwrap();
    let whole = replica.root(7).unwrap();
    rot(&disk, "pears!");
    let walked = replica.walk_partition(7, 0, &mut throttle()).await.unwrap();
    assert_eq!(walked, Walked { records: 2, damaged: 1, mismatch: false });
    assert_eq!(replica.walk_partition(7, 0, &mut throttle()).await.unwrap().damaged, 0, "counted once");
    assert_eq!((replica.damage_found(), replica.root(7).unwrap().keys), (1, 1));
    assert_eq!(replica.read(7, b"b"), ReadReply::Damaged);
    assert_eq!(replica.summary(7, b"b"), None);
    assert!(replica.holdings().is_whole(7), "the damage is known by key");
    replica.store(7, b"b", &put(1, "pears!"), Promise::Synced).await.unwrap();
    assert!(replica.root(7).unwrap().is_same(&whole));
    assert_eq!(replica.read(7, b"b"), ReadReply::Partial(put(1, "pears!")), "it may have held more");
    assert_eq!((replica.quarantined(), replica.engine().stats().damaged_records), (1, 0));
    replica.repaired(&replica.lacking(), |_| true).await;
    assert_eq!(replica.quarantined(), 0);
    assert_eq!(replica.read(7, b"b"), ReadReply::Found(put(1, "pears!")));
}

#[tokio::test]
async fn rot_that_a_read_or_a_write_meets_first_casts_doubt_on_the_tree() {
    for by_write in [false, true] {
        let disk = SimulatedDisk::default();
        let replica = on_disk(&disk).await;
        replica.store(7, b"a", &put(1, "apples"), Promise::Synced).await.unwrap();
        replica.ready_tree(7, 0, &mut throttle()).await.unwrap();
        rot(&disk, "apples");
        if by_write {
            replica.store(7, b"a", &put(2, "plums!"), Promise::Synced).await.unwrap();
        } else {
            assert_eq!(replica.read(7, b"a"), ReadReply::Damaged);
        }
        assert_eq!((replica.root(7), replica.damage_found()), (None, 1));
        replica.ready_tree(7, 0, &mut throttle()).await.unwrap();
        assert_eq!(replica.root(7).unwrap().keys, u64::from(by_write));
        let walked = replica.walk_partition(7, 0, &mut throttle()).await.unwrap();
        assert_eq!((walked.damaged, walked.mismatch), (0, false));
    }
}

#[tokio::test]
async fn rot_known_at_the_start_is_counted_and_left_out() {
    let disk = SimulatedDisk::default();
    on_disk(&disk).await.store(7, b"a", &put(1, "apples"), Promise::Synced).await.unwrap();
    disk.kill();
    rot(&disk, "apples");
    let replica = on_disk(&disk).await;
    assert_eq!(replica.damage_found(), 1);
    let walked = replica.walk_partition(7, 0, &mut throttle()).await.unwrap();
    assert_eq!(walked, Walked { records: 1, damaged: 0, mismatch: false });
    assert_eq!(replica.root(7).unwrap().keys, 0);
}

#[tokio::test]
async fn a_hint_that_rots_is_dropped_and_not_waited_for() {
    let disk = SimulatedDisk::default();
    let replica = on_disk(&disk).await;
    let owner: NodeId = "n2".parse().unwrap();
    replica.store_hint(owner, 7, b"a", &put(1, "apples"), Promise::Synced).await.unwrap();
    replica.store_hint(owner, 7, b"b", &put(1, "pears!"), Promise::Synced).await.unwrap();
    rot(&disk, "apples");
    let walked = replica.walk_hints(&mut throttle()).await.unwrap();
    assert_eq!((walked.records, walked.damaged), (2, 1));
    assert_eq!((replica.hints_pending(), replica.engine().stats().damaged_records), (1, 0));
    assert_eq!(replica.hints_for(owner, None, 9).unwrap().len(), 1);
    disk.kill();
    assert_eq!(on_disk(&disk).await.hints_pending(), 1);
}

/// Every page of the walk is disturbed by a write, so that it must read under the lock in the end.
#[tokio::test]
async fn a_walk_ends_although_its_partition_is_written_to_all_the_time() {
    let replica = Arc::new(replica(Arc::new(MemoryEngine::new())));
    for key in 0..100_u8 {
        replica.store(7, &[key], &put(1, "v"), Promise::Memory).await.unwrap();
    }
    let writing = Arc::clone(&replica);
    let writer = async {
        for counter in 2.. {
            for key in 0..100_u8 {
                writing.store(7, &[key], &put(counter, "w"), Promise::Memory).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    };
    let mut throttle = throttle();
    let walk = replica.walk_partition(7, 1, &mut throttle);
    tokio::select! {
        biased;
        () = writer => unreachable!("it writes for ever"),
        walked = walk => assert_eq!(walked.unwrap().records, 100),
    }
    let built = replica.root(7).unwrap();
    replica.retain_trees(&BTreeSet::new());
    replica.ready_tree(7, 0, &mut Throttle::new(u64::MAX)).await.unwrap();
    assert!(built.is_same(&replica.root(7).unwrap()));
}

#[tokio::test]
async fn a_page_ends_at_rot_and_the_next_one_goes_on_behind_it() {
    let disk = SimulatedDisk::default();
    let replica = on_disk(&disk).await;
    for (key, value) in [(b"a", "apples"), (b"b", "pears!"), (b"c", "plums!")] {
        replica.store(7, key, &put(1, value), Promise::Synced).await.unwrap();
    }
    rot(&disk, "pears!");
    let keys = |page: &Page| page.records.iter().map(|paged| paged.key.clone()).collect::<Vec<_>>();
    let page = replica.page(7, None).unwrap();
    assert_eq!((keys(&page), page.end), (vec!["a".into()], PageEnd::Damaged("b".into())));
    let page = replica.page(7, Some(b"b")).unwrap();
    assert_eq!((keys(&page), page.end), (vec!["c".into()], PageEnd::Last));
}

#[tokio::test]
async fn pages_are_bounded_and_cover_everything_once() {
    let replica = replica(Arc::new(MemoryEngine::new()));
    let mut stored = Vec::new();
    for i in 0..300_u64 {
        let key = Bytes::from(format!("k{i:03}"));
        // From next to nothing to more than a page.
        let value = "v".repeat(if i % 50 == 7 { 100_000 } else { i as usize * 20 });
        replica.store(7, &key, &put(i, &value), Promise::Memory).await.unwrap();
        stored.push(key);
    }
    let (mut after, mut seen) = (None::<Bytes>, Vec::new());
    loop {
        let page = replica.page(7, after.as_deref()).unwrap();
        let last = page.records.last().map_or(0, |paged| paged.record.len() as u64);
        assert!(page.bytes() - last < 64 << 10 && page.records.len() <= 16, "{}", page.records.len());
        seen.extend(page.records.iter().map(|paged| paged.key.clone()));
        match page.end {
            PageEnd::Full(upto) => after = Some(upto),
            end => {
                assert_eq!(end, PageEnd::Last);
                break;
            }
        }
    }
    assert_eq!(seen, stored);
}

#[tokio::test]
async fn a_partition_that_is_being_filled_has_no_root_to_compare() {
    let replica = replica(Arc::new(MemoryEngine::new()));
    replica.ready_tree(7, 0, &mut throttle()).await.unwrap();
    replica.holdings().mark([7], Gap::Doubt).await.unwrap();
    assert!(replica.root(7).is_some(), "doubts end by comparing");
    for why in [Gap::Gained, Gap::LostDisk] {
        replica.holdings().mark([7], why).await.unwrap();
        assert_eq!(replica.root(7), None, "{why:?}");
    }
    replica.holdings().set_stalled(7, true);
    assert!(replica.root(7).is_some(), "what can be had was merged, and new writes may be missed");
    replica.holdings().mark([7], Gap::Gained).await.unwrap();
    assert_eq!(replica.root(7), None, "more went missing");
    replica.holdings().close(7, replica.holdings().gaps()[&7]);
    assert!(replica.root(7).is_some());
}
