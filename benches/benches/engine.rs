//! What one acknowledged append of 1 KiB costs, by promise and by how many come together.
//!
//! Batches of 64 are 64 writers at once, each with a batch of its own, as peers would come: the
//! synced figures differ by what group commit is worth on this disk. Figures of the disk are
//! those of the directory for temporary files; set `TMPDIR` to measure another.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench fails by panicking and has no callers")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use quorate_cluster::store::{Engine, LogEngine, LogOptions, MemoryEngine, Promise, Unhurried, Write};
use quorate_env::SystemDisk;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const VALUE_BYTES: usize = 1024;
/// As many as the default benchmark has, so that the index stays in the processor's caches as there.
const KEYS: u64 = 10_000;

fn writes(next: &mut u64, count: usize) -> Vec<Vec<Write>> {
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    let write = |_| {
        *next += 1;
        let key = format!("key{:012}", *next % KEYS).into_bytes();
        vec![Write::Put { key, value: value.clone() }]
    };
    (0..count).map(write).collect()
}

async fn append_all(engine: Arc<dyn Engine>, batches: Vec<Vec<Write>>, promise: Promise) {
    let mut tasks = JoinSet::new();
    for batch in batches {
        let engine = Arc::clone(&engine);
        tasks.spawn(async move { engine.apply(batch, promise).await.unwrap() });
    }
    while let Some(position) = tasks.join_next().await {
        black_box(position.unwrap());
    }
}

fn engine_append(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(SystemDisk::open(directory.path()).unwrap());
    let log: Arc<dyn Engine> =
        Arc::new(runtime.block_on(LogEngine::open(disk, LogOptions::default())).unwrap());
    let memory: Arc<dyn Engine> = Arc::new(MemoryEngine::new());

    let mut group = criterion.benchmark_group("engine_append");
    group.sample_size(20);
    for (name, engine, promise) in [
        ("log/synced", &log, Promise::Synced),
        ("log/os-buffered", &log, Promise::OsBuffered),
        ("memory", &memory, Promise::Memory),
    ] {
        for count in [1, 64] {
            let mut next = 0;
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{name}/{count}"), |bencher| {
                bencher.iter_batched(
                    || writes(&mut next, count),
                    |batches| runtime.block_on(append_all(Arc::clone(engine), batches, promise)),
                    BatchSize::SmallInput,
                );
            });
            // The log would fill the disk otherwise, and a log never compacted is not what runs.
            while runtime.block_on(engine.compact_step(&Unhurried)).unwrap() {}
        }
    }
    group.finish();

    assert_eq!(log.stats().records, KEYS.min(log.stats().appends), "every append was applied");
}

criterion_group!(benches, engine_append);
criterion_main!(benches);
