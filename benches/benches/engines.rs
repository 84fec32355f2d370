//! Every engine side by side in one run: synced puts by 64 writers at once, gets, restart, space.
//!
//! Plain rather than criterion: each step takes seconds, and what counts is the same work for all on the
//! same disk in the same minute. Figures are of the directory for temporary files (`TMPDIR`), and of a
//! machine that has the files in its page cache. `--node` measures instead how soon a whole node (the
//! release binary, one of one) serves again after kill -9.
//!
//! Half of each value is noise and half is text, so that compression has something to do.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench fails by panicking and has no callers")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_client::{Client, ClientOptions, NodeUrl, ReadOptions, TlsTrust, WriteOptions};
use quorate_cluster::config::{Compression, Conflict, Durability, EngineKind, StoreDefinition};
use quorate_cluster::store::{Engine, LogOptions, Promise, Unhurried, Write, open_with};
use quorate_env::{Random, SystemClock, SystemDisk, TokioNetwork};
use quorate_processes::{Lifetime, LocalCluster, Plan};
use rand::{Rng, RngExt};
use tokio::task::JoinSet;

const VALUE_BYTES: usize = 1024;
/// How long a node may take to answer its first get.
const SERVING_MAX: Duration = Duration::from_secs(120);
/// Writers at once.
const WRITERS: u64 = 64;

/// An engine by the name under which it is asked for.
#[derive(Clone, Copy)]
struct Subject {
    name: &'static str,
    kind: EngineKind,
    compression: Compression,
}

const SUBJECTS: [Subject; 6] = [
    Subject { name: "log", kind: EngineKind::Log, compression: Compression::None },
    Subject { name: "log-lz4", kind: EngineKind::Log, compression: Compression::Lz4 },
    Subject { name: "log-zstd", kind: EngineKind::Log, compression: Compression::Zstd },
    Subject { name: "fjall", kind: EngineKind::Fjall, compression: Compression::None },
    Subject { name: "sled", kind: EngineKind::Sled, compression: Compression::None },
    Subject { name: "memory", kind: EngineKind::Memory, compression: Compression::None },
];

fn keys() -> u64 {
    std::env::var("QUORATE_KEYS").map_or(1_000_000, |keys| keys.parse().unwrap())
}

fn key(at: u64) -> Vec<u8> {
    format!("partition/key{at:012}").into_bytes()
}

fn value(random: &mut impl Rng) -> Bytes {
    let mut value = "text that says much the same again. ".repeat(VALUE_BYTES / 32).into_bytes();
    value.truncate(VALUE_BYTES);
    random.fill_bytes(&mut value[..VALUE_BYTES / 2]);
    value.into()
}

async fn open(subject: Subject, directory: &Path) -> Arc<dyn Engine> {
    let disk = Arc::new(SystemDisk::open(directory).unwrap());
    let options = LogOptions::default();
    open_with(subject.kind, subject.compression, disk, Some(directory), options).await.unwrap()
}

/// Puts keys, drawn by `pick`, as 64 writers that come together and each wait for their own.
async fn put(engine: &Arc<dyn Engine>, count: u64, mut pick: impl FnMut(u64) -> u64) -> f64 {
    let mut random = Random::from_seed(count).stream("values");
    let promise = engine.strongest();
    let begun = Instant::now();
    let mut next = 0;
    while next < count {
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS.min(count - next) {
            let write = Write::Put { key: key(pick(next)), value: value(&mut random) };
            next += 1;
            let engine = Arc::clone(engine);
            writers.spawn(async move { engine.apply(vec![write], promise).await.unwrap() });
        }
        writers.join_all().await;
        // As a node does beside, but in turns, so that it is counted.
        if next % (WRITERS * 512) == 0 {
            while engine.compact_step(&Unhurried).await.unwrap() {}
        }
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

fn get(engine: &dyn Engine, keys: u64, count: u64) -> f64 {
    let mut random = Random::from_seed(1).stream("gets");
    let begun = Instant::now();
    for _ in 0..count {
        let value = engine.get(&key(random.random_range(0..keys))).unwrap().unwrap();
        assert_eq!(value.len(), VALUE_BYTES);
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Bytes that the files of a directory take on disk.
fn space(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let bytes = entries.map(|entry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => space(&entry.path()),
        metadata => metadata.blocks() * 512,
    });
    bytes.sum()
}

async fn measure(subject: Subject, keys: u64) {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(subject, directory.path()).await;
    let fill = put(&engine, keys, |at| at).await;
    let after_fill = space(directory.path());
    let gets = get(&*engine, keys, keys / 5);
    let mut random = Random::from_seed(2).stream("overwrites");
    let over = put(&engine, keys / 2, |_| random.random_range(0..keys)).await;
    while engine.compact_step(&Unhurried).await.unwrap() {}
    let after_all = space(directory.path());
    let is_kept = engine.strongest() > Promise::Memory;
    drop(engine);
    let begun = Instant::now();
    let restart = if is_kept {
        let engine = open(subject, directory.path()).await;
        assert!(engine.get(&key(keys - 1)).unwrap().is_some());
        assert!(engine.keys(b"", None, 1).unwrap().len() == 1);
        format!("{:.2} s", begun.elapsed().as_secs_f64())
    } else {
        "-".into()
    };
    let live = (keys * (VALUE_BYTES + key(0).len()) as u64) as f64;
    let name = subject.name;
    println!(
        "| {name:8} | {fill:9.0} | {over:9.0} | {gets:9.0} | {restart:>8} | {:5.2} | {:5.2} |",
        after_fill as f64 / live,
        after_all as f64 / live,
    );
}

/// How soon a node with all keys serves again after it was killed.
async fn measure_node(subject: Subject, keys: u64) {
    let directory = tempfile::tempdir().unwrap();
    let store = StoreDefinition {
        replicas: 1,
        read_quorum: 1,
        write_quorum: 1,
        conflict: Conflict::LastWriteWins,
        // Only loading is spared the syncs: what a restart reads is the same.
        durability: Durability::Interval(Duration::from_secs(1)),
        engine: subject.kind,
        compression: subject.compression,
        ..StoreDefinition::default()
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/quorate");
    let plan = Plan::of_size(store, 1);
    let home = directory.path().join("cluster");
    let mut cluster = LocalCluster::start_with(&program, &home, &plan, Lifetime::WithHarness).await.unwrap();
    let trust = TlsTrust::from_ca_file(&cluster.state().ca, Arc::new(SystemClock::new())).unwrap();
    let urls: Vec<NodeUrl> = cluster.urls().iter().map(|url| url.parse().unwrap()).collect();
    let client = Client::new(Arc::new(TokioNetwork), urls, Some(trust), ClientOptions::default()).unwrap();
    let mut writers = JoinSet::new();
    for first in 0..WRITERS {
        let client = client.clone();
        writers.spawn(async move {
            let mut random = Random::from_seed(first).stream("values");
            for at in (first..keys).step_by(WRITERS as usize) {
                let (key, value) = (format!("key{at:012}"), value(&mut random));
                client.put(key, &value, None, WriteOptions::default()).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    // Long enough for background work to do what it does within seconds, such as writing hints.
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.kill("n1").await;
    let begun = Instant::now();
    cluster.start_node("n1").unwrap();
    let get = async || client.get(format!("key{:012}", keys - 1), ReadOptions::default()).await;
    let is_ready = async || matches!(client.is_ready(ReadOptions::default()).await, Ok(true));
    let ready = loop {
        if is_ready().await {
            break begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    // It may doubt its records a little longer, until it has found that there is no other owner to ask.
    let last = loop {
        if let Ok(last) = get().await {
            break last;
        }
        assert!(begun.elapsed() < SERVING_MAX, "it serves no get");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let serving = begun.elapsed();
    assert_eq!(last.values.len(), 1);
    println!("| {:8} | {:.2} s | {:.2} s |", subject.name, ready.as_secs_f64(), serving.as_secs_f64());
    cluster.stop().await;
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let is_node = words.iter().any(|word| word == "--node");
    let named: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    for word in &named {
        assert!(SUBJECTS.iter().any(|subject| subject.name == *word), "there is no engine `{word}`");
    }
    let subjects =
        SUBJECTS.iter().filter(|subject| named.iter().any(|word| *word == subject.name) || named.is_empty());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let keys = keys();
    println!("{keys} keys of {VALUE_BYTES} bytes");
    if is_node {
        println!("| engine   | ready after kill -9 | first get answered |\n|---|---|---|");
    } else {
        println!("| engine   | puts/s    | puts/s over | gets/s  | restart  | space | space after |");
        println!("|---|---|---|---|---|---|---|");
    }
    for subject in subjects {
        if is_node {
            runtime.block_on(measure_node(*subject, keys));
        } else {
            runtime.block_on(measure(*subject, keys));
        }
    }
}
