//! A real node of each engine with a disk, killed in the middle of writes, over and over: every write
//! that was acknowledged is read back, and what was read once stays.
//!
//! A few rounds with the other tests; `just kill-loops` makes as many as it is told.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_client::{Client, ClientError, ClientOptions, NodeUrl, ReadOptions, TlsTrust, WriteOptions};
use quorate_cluster::config::{Compression, Conflict, EngineKind, StoreDefinition};
use quorate_env::{Random, RandomStream, SystemClock, TokioNetwork};
use quorate_processes::{Lifetime, LocalCluster, Plan};
use rand::RngExt;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Tasks that write at once, each to keys of its own.
const WRITERS: usize = 8;
/// Keys of each.
const KEYS: usize = 50;
/// How long a node may take to serve again, or to take writes, before the test gives up on it.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn rounds() -> u32 {
    std::env::var("QUORATE_KILL_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap())
}

/// What one key may show. Values count up from 1; 0 is none.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The last that was acknowledged, or read.
    least: u64,
    /// The last that was sent.
    most: u64,
}

fn key(writer: usize, key: usize) -> String {
    format!("w{writer}-{key}")
}

/// A count, and padding of a length that it determines.
fn value(count: u64) -> Vec<u8> {
    let mut value = format!("{count:020}").into_bytes();
    value.resize(20 + usize::try_from(count * 7919 % 6000).unwrap(), b'.');
    value
}

fn count_of(value: &[u8]) -> u64 {
    let count = std::str::from_utf8(&value[..20]).unwrap().parse().unwrap();
    assert_eq!(value, super::kills::value(count), "a value that nobody wrote");
    count
}

/// Writes until the node is gone, which it finds out by an error, and counts what was acknowledged.
async fn write(
    client: Client,
    writer: usize,
    mut known: Vec<Known>,
    mut random: RandomStream,
    acknowledged: Arc<AtomicU64>,
) -> (Vec<Known>, ClientError) {
    loop {
        let at = random.random_range(0..known.len());
        known[at].most += 1;
        let count = known[at].most;
        let value = value(count);
        match client.put(key(writer, at), &value, None, WriteOptions::default()).await {
            Ok(_) => {
                known[at].least = count;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return (known, error),
        }
    }
}

struct Loop {
    cluster: LocalCluster,
    client: Client,
    known: Vec<Vec<Known>>,
    random: Random,
    acknowledged: u64,
    slowest_start: Duration,
}

impl Loop {
    async fn begin(dir: &Path, engine: EngineKind, compression: Compression) -> Self {
        let store = StoreDefinition {
            replicas: 1,
            read_quorum: 1,
            write_quorum: 1,
            conflict: Conflict::LastWriteWins,
            engine,
            compression,
            ..StoreDefinition::default()
        };
        let program = Path::new(env!("CARGO_BIN_EXE_quorate"));
        let plan = Plan::of_size(store, 1);
        let cluster = LocalCluster::start_with(program, dir, &plan, Lifetime::WithHarness).await.unwrap();
        let trust = TlsTrust::from_ca_file(&cluster.state().ca, Arc::new(SystemClock::new())).unwrap();
        let urls: Vec<NodeUrl> = cluster.urls().iter().map(|url| url.parse().unwrap()).collect();
        let client =
            Client::new(Arc::new(TokioNetwork), urls, Some(trust), ClientOptions::default()).unwrap();
        Self {
            cluster,
            client,
            known: vec![vec![Known::default(); KEYS]; WRITERS],
            random: Random::from_seed(u64::from(rounds())),
            acknowledged: 0,
            slowest_start: Duration::ZERO,
        }
    }

    async fn round(&mut self, round: u32) {
        let mut writers = JoinSet::new();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let random = self.random.child(&round.to_string());
        for (writer, known) in std::mem::take(&mut self.known).into_iter().enumerate() {
            let random = random.stream(&writer.to_string());
            let (client, acknowledged) = (self.client.apart(), Arc::clone(&acknowledged));
            writers.spawn(async move {
                let (known, error) = write(client, writer, known, random, acknowledged).await;
                (writer, known, error)
            });
        }
        let enough = random.stream("kill").random_range(1..1000);
        let begun = Instant::now();
        while acknowledged.load(Ordering::Relaxed) < enough {
            assert!(begun.elapsed() < WAIT_MAX, "round {round}: writes are not acknowledged");
            let refused = writers.try_join_next().map(|ended| ended.unwrap().2);
            assert!(refused.is_none(), "round {round}: refused by a node that runs: {refused:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.cluster.kill("n1").await;
        let mut known = writers.join_all().await;
        self.acknowledged += acknowledged.load(Ordering::Relaxed);
        known.sort_unstable_by_key(|(writer, ..)| *writer);
        self.known = known.into_iter().map(|(_, known, _)| known).collect();

        let started = Instant::now();
        self.cluster.start_node("n1").unwrap();
        while !matches!(self.client.is_ready(ReadOptions::default()).await, Ok(true)) {
            assert!(started.elapsed() < WAIT_MAX, "round {round}: the node does not serve again");
            assert!(self.cluster.ended().is_empty(), "round {round}: the node does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.slowest_start = self.slowest_start.max(started.elapsed());
        self.read_back(round).await;
    }

    /// Every key shows its last acknowledged write, or one sent after it.
    async fn read_back(&mut self, round: u32) {
        for writer in 0..WRITERS {
            for at in 0..KEYS {
                let reply = self.client.get(key(writer, at), ReadOptions::default()).await.unwrap();
                let shown = reply.values.first().map_or(0, |value| count_of(&value.bytes));
                let known = &mut self.known[writer][at];
                assert!(
                    (known.least..=known.most).contains(&shown) && reply.values.len() <= 1,
                    "round {round}: {} shows {shown} of {known:?}",
                    key(writer, at)
                );
                known.least = shown;
            }
        }
    }
}

async fn kill_over_and_over(engine: EngineKind, compression: Compression) {
    let dir = TempDir::new().unwrap();
    let mut subject = Loop::begin(&dir.path().join("cluster"), engine, compression).await;
    for round in 0..rounds() {
        subject.round(round).await;
    }
    println!(
        "{engine:?}, {compression:?}: killed {} times, {} writes read back, serving again within {:?}",
        rounds(),
        subject.acknowledged,
        subject.slowest_start
    );
    subject.cluster.stop().await;
}

#[tokio::test]
async fn the_log_loses_no_acknowledged_write_to_kills() {
    kill_over_and_over(EngineKind::Log, Compression::None).await;
}

#[tokio::test]
async fn the_log_with_compression_loses_no_acknowledged_write_to_kills() {
    kill_over_and_over(EngineKind::Log, Compression::Lz4).await;
}

#[tokio::test]
async fn fjall_loses_no_acknowledged_write_to_kills() {
    kill_over_and_over(EngineKind::Fjall, Compression::None).await;
}

#[tokio::test]
async fn sled_behind_the_log_loses_no_acknowledged_write_to_kills() {
    kill_over_and_over(EngineKind::Sled, Compression::None).await;
}
