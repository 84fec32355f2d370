//! What is in memory against what the engine shows.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use quorate_env::random::Random;
use quorate_env::{SimulatedDisk, SystemClock};
use rand::RngExt;

use super::*;
use crate::config::StoreDefinition;
use crate::membership::Holdings;
use crate::merkle::key_hash;
use crate::quorum::ReadReply;
use crate::replica::{Replica, Throttle};
use crate::store::{Engine, LogEngine, LogOptions, Promise, Write};
use crate::version::{Actor, Context, Dot, HybridClock, Payload, SharedClock, SiblingSet};

fn put(counter: u64, value: &str) -> Arc<Record> {
    let actor = Actor { node: "n1".parse().unwrap(), incarnation: 1, epoch: 0 };
    let payload = Payload::bytes(value.to_owned());
    Arc::new(Record::Siblings(SiblingSet::put(Context::new(), Dot { actor, counter }, payload)))
}

fn held(counter: u64, hash: u64) -> Held {
    let record = put(counter, "v");
    let encoded = record.encode();
    Held::new(record, &encoded, hash)
}

fn stored(key: u8) -> Vec<u8> {
    keys::data(7, &[key])
}

/// As many of the records of these tests as `count`.
fn shard(count: usize) -> Shard {
    let one = Slot { hash: 0, key: stored(0).into(), held: held(1, 0), was_used: false };
    Shard { bytes_max: count * one.bytes(), ..Shard::default() }
}

#[test]
fn what_was_used_stays_longer_and_what_is_too_large_never_comes() {
    let mut shard = shard(3);
    for key in 1..=3 {
        shard.insert(key.into(), &stored(key), held(1, 0));
    }
    assert!(shard.get(1, &stored(1)).is_some());
    shard.insert(4, &stored(4), held(1, 0));
    let there = |shard: &Shard, key: u64| shard.places.contains_key(&key);
    assert_eq!([1, 2, 3, 4].map(|key| there(&shard, key)), [true, false, true, true]);
    assert!(shard.get(3, &stored(1)).is_none(), "a key with the same hash is another key");
    let mut large = held(1, 0);
    large.bytes = shard.bytes_max;
    shard.insert(5, &stored(5), large);
    assert_eq!((shard.slots.len(), there(&shard, 5)), (3, false));
    assert!(shard.bytes <= shard.bytes_max);
    for key in [1, 3, 4] {
        shard.remove(key);
    }
    assert_eq!((shard.bytes, shard.places.len()), (0, 0));
}

#[test]
fn only_copies_are_kept_and_only_if_there_is_room_for_any() {
    let of = |cache: &Cache, key: &[u8]| {
        let hash = key_hash(key);
        cache.set(hash, key, Some(held(1, hash)));
        cache.get(hash, key).is_some()
    };
    let cache = Cache::new(1 << 20);
    assert!(of(&cache, &stored(1)));
    assert!(!of(&cache, &keys::promise(7, b"a")) && !of(&cache, &keys::hint("n1".parse().unwrap(), 7, b"a")));
    assert!(!of(&Cache::new(0), &stored(1)));
    cache.forget(|key| keys::partition_of_data(key) == Some(8));
    assert!(cache.bytes() > 0);
    cache.forget(|key| keys::partition_of_data(key) == Some(7));
    assert_eq!((cache.bytes(), cache.counts()), (0, (1, 0)));
}

async fn on_disk(disk: &SimulatedDisk) -> Arc<dyn Engine> {
    Arc::new(LogEngine::open(disk.mount(), LogOptions::default()).await.unwrap())
}

fn replica(engine: &Arc<dyn Engine>, cache_bytes: u64) -> Replica {
    let store = StoreDefinition::default();
    let holdings = Arc::new(Holdings::in_memory(store.partitions, true));
    let stamps = SharedClock::new(HybridClock::new(1, 0));
    let clock = Arc::new(SystemClock::new());
    Replica::new(Arc::clone(engine), clock, &store, holdings, stamps).unwrap().with_cache(cache_bytes)
}

#[tokio::test]
async fn a_cached_copy_is_what_the_engine_shows_whatever_is_done_and_fails() {
    let mut hits = 0;
    for seed in 0..8 {
        let disk = SimulatedDisk::new();
        let engine = on_disk(&disk).await;
        // So little that records come and go.
        let (cached, plain) = (replica(&engine, 16 * 1200), replica(&engine, 0));
        let mut random = Random::from_seed(seed).stream("test");
        for counter in 1..300 {
            let key = [random.random_range(0..60)];
            if random.random_bool(0.1) {
                disk.fail_next_appends(1);
            }
            let _ = match random.random_range(0..4) {
                0 => match plain.read(7, &key) {
                    ReadReply::Found(there) => cached.drop_copy(7, &key, &there, || true).await.map(drop),
                    _ => Ok(()),
                },
                _ => cached.store(7, &key, &put(counter, "v"), Promise::OsBuffered).await,
            };
            let key = [random.random_range(0..60)];
            assert_eq!(cached.read_for_client(7, &key), plain.read_for_client(7, &key), "seed {seed}");
        }
        for key in 0..60 {
            assert_eq!(cached.read_for_client(7, &[key]), plain.read_for_client(7, &[key]), "seed {seed}");
        }
        hits += cached.cache_counts().0;
    }
    assert!(hits > 100, "{hits} hits");
}

#[tokio::test]
async fn a_copy_that_rotted_on_disk_is_damaged_in_memory_once_the_scrubber_was_there() {
    let disk = SimulatedDisk::new();
    let engine = on_disk(&disk).await;
    let replica = replica(&engine, 1 << 20);
    replica.store(7, b"a", &put(1, "apples"), Promise::Synced).await.unwrap();
    let segment = disk.mount().list().unwrap().into_iter().find(|name| name.ends_with(".segment")).unwrap();
    disk.flip_byte(&segment, disk.mount().read(&segment).unwrap().len() as u64 - 1).unwrap();
    assert_eq!(replica.read(7, b"a"), ReadReply::Found(put(1, "apples")), "nobody has looked");
    let walked = replica.walk_partition(7, 0, &mut Throttle::new(u64::MAX)).await.unwrap();
    assert_eq!(walked.damaged, 1, "the scrubber reads what is on the disk");
    assert_eq!(replica.read_for_client(7, b"a"), (ReadReply::Damaged, None));
}

#[tokio::test]
async fn copies_that_went_without_a_write_go_from_memory_when_that_is_found() {
    let engine = on_disk(&SimulatedDisk::new()).await;
    let replica = replica(&engine, 1 << 20);
    replica.store(7, b"a", &put(1, "v"), Promise::Memory).await.unwrap();
    replica.ready_tree(7, 0, &mut Throttle::new(u64::MAX)).await.unwrap();
    engine.apply(vec![Write::Delete { key: keys::data(7, b"a") }], Promise::Memory).await.unwrap();
    assert!(replica.walk_partition(7, 0, &mut Throttle::new(u64::MAX)).await.unwrap().mismatch);
    assert_eq!(replica.read(7, b"a"), ReadReply::NotFound { complete: false });
}
