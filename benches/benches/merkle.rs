//! What hash trees cost: a put of 1 KiB on a replica that keeps them against one that does not,
//! and the pieces that the difference is made of.
//!
//! The first figures are of one replica that keeps its trees and drops them by turns, so that
//! whatever else the machine does meets both; a lower quartile of short turns leaves out those in
//! which something else ran. A put here is the replica's part alone: read, merge, encode, append;
//! with the coordinator, the network and TLS around it, trees weigh far less.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench fails by panicking and has no callers")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use quorate_cluster::config::{Durability, StoreDefinition};
use quorate_cluster::membership::Holdings;
use quorate_cluster::merkle::{Tree, key_hash, record_digest};
use quorate_cluster::replica::{Replica, Throttle};
use quorate_cluster::ring::partition_of;
use quorate_cluster::store::{Engine, LogEngine, LogOptions, MemoryEngine, Promise, Unhurried};
use quorate_cluster::version::{Actor, Context, Dot, HybridClock, Payload, Record, SharedClock, SiblingSet};
use quorate_env::{SystemClock, SystemDisk};
use tokio::runtime::Runtime;

/// As many as the default benchmark has.
const KEYS: u64 = 10_000;
/// Puts in one turn: shorter than the time for which a scheduler leaves a processor to others.
const TURN: u64 = 200;
/// Turns of either kind.
const TURNS: usize = 400;

fn replica(engine: Arc<dyn Engine>) -> Replica {
    let store = StoreDefinition {
        durability: Durability::Interval(Duration::from_secs(1)),
        ..StoreDefinition::default()
    };
    let holdings = Arc::new(Holdings::in_memory(store.partitions, true));
    let stamps = SharedClock::new(HybridClock::new(1, 0));
    Replica::new(engine, Arc::new(SystemClock::new()), &store, holdings, stamps).unwrap()
}

/// The `n`-th put: it has seen the put of the same key before it.
fn put(n: u64) -> (Vec<u8>, Arc<Record>) {
    let key = format!("key{:012}", n % KEYS).into_bytes();
    let actor = Actor { node: "n1".parse().unwrap(), incarnation: 0x1234_5678_9abc_def0, epoch: 0 };
    let seen: Context = (1..=n / KEYS).map(|counter| Dot { actor, counter }).collect();
    let dot = Dot { actor, counter: n / KEYS + 1 };
    let set = SiblingSet::put(seen, dot, Payload::bytes(vec![7; 1024]));
    (key, Arc::new(Record::Siblings(set)))
}

/// Nanoseconds for a turn of puts.
fn turn(runtime: &Runtime, replica: &Replica, puts: &[(Vec<u8>, Arc<Record>)]) -> f64 {
    let began = Instant::now();
    runtime.block_on(async {
        for (key, record) in puts {
            replica.store(partition_of(key, 256), key, record, Promise::Memory).await.unwrap();
        }
    });
    began.elapsed().as_nanos() as f64
}

fn upkeep(runtime: &Runtime, name: &str, replica: &Replica) {
    let mut times = [Vec::new(), Vec::new()];
    let mut next = 0;
    // Every key is there before anything is measured.
    while next < KEYS {
        let puts: Vec<_> = (next..next + TURN).map(put).collect();
        turn(runtime, replica, &puts);
        next += TURN;
    }
    for at in 0..2 * TURNS {
        let keeps = at % 2;
        if keeps == 1 {
            let ready = async {
                for partition in 0..256 {
                    replica.ready_tree(partition, 0, &mut Throttle::new(u64::MAX)).await.unwrap();
                }
            };
            runtime.block_on(ready);
        } else {
            replica.retain_trees(&BTreeSet::new());
        }
        let puts: Vec<_> = (next..next + TURN).map(put).collect();
        next += TURN;
        times[keeps].push(turn(runtime, replica, &puts));
        assert_eq!(replica.root(0).is_some(), keeps == 1);
        while runtime.block_on(replica.engine().compact_step(&Unhurried)).unwrap() {}
    }
    let [without, with] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 4] / TURN as f64
    });
    let percent = (with / without - 1.0) * 100.0;
    println!(
        "upkeep of trees, {name}: {percent:+.1} % of a replica's put ({without:.0} ns without, {with:.0} ns with)"
    );
}

fn merkle(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(SystemDisk::open(directory.path()).unwrap());
    let log = runtime.block_on(LogEngine::open(disk, LogOptions::default())).unwrap();
    upkeep(&runtime, "log", &replica(Arc::new(log)));
    upkeep(&runtime, "memory", &replica(Arc::new(MemoryEngine::new())));

    let record = put(0).1.encode();
    let mut tree = Tree::new(3);
    let mut group = criterion.benchmark_group("merkle");
    group.bench_function("key_hash", |b| b.iter(|| key_hash(black_box(b"d\0\0\0\x07key000000000012"))));
    group.bench_function("record_digest/1KiB", |b| b.iter(|| record_digest(7, black_box(&record))));
    let mut digest = 0;
    group.bench_function("tree_update/depth-3", |b| {
        b.iter(|| {
            tree.update(black_box(0x1234_5678_9abc_def0), Some(digest), Some(digest + 1));
            digest += 1;
        });
    });
    group.finish();
}

criterion_group!(benches, merkle);
criterion_main!(benches);
