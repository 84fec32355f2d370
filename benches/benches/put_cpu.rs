//! What the upkeep of hash trees takes of a whole put: processor time of all three nodes of a real
//! cluster (processes, HTTPS, disks), with trees and without.
//!
//! Two clusters run side by side and take puts by turns, so that whatever else the machine does meets
//! both; the median turn counts. Anti-entropy's rounds are put off: this is the cost of keeping
//! the trees, not of comparing them. `merkle` has the replica's part alone, where it can be seen better.
//!
//! Processor time is read from `/proc`, so on Linux alone. The nodes run the release binary
//! (`cargo build --release --bin quorate`); `QUORATE_BARS=1` fails when the bar is missed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench fails by panicking and has no callers")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use quorate_benches::processor;
use quorate_benches::servers::cluster;
use quorate_client::{Client, ClientOptions, NodeUrl, ReadOptions, TlsTrust, WriteOptions};
use quorate_cluster::config::{AntiEntropy, StoreDefinition};
use quorate_env::{SystemClock, TokioNetwork};
use quorate_processes::{Lifetime, LocalCluster, Plan};
use tokio::task::JoinSet;

/// Upkeep may take so much of a put.
const BAR_PERCENT: f64 = 5.0;
/// Puts before anything is measured, so that every key is there.
const KEYS: u64 = 5_000;
/// Puts in one turn.
const TURN: u64 = 2_500;
/// Turns of either cluster.
const TURNS: usize = 21;
/// Clients at once.
const CLIENTS: u64 = 8;

/// A cluster, and who puts into it.
struct Subject {
    cluster: LocalCluster,
    client: Client,
    tokens: Vec<Option<String>>,
    /// Puts so far.
    next: u64,
    /// Processor time of each turn, in microseconds a put.
    turns: Vec<f64>,
}

impl Subject {
    async fn start(program: &Path, dir: &Path, anti_entropy: AntiEntropy) -> Self {
        let store = StoreDefinition { anti_entropy, ..StoreDefinition::default() };
        let plan = Plan::of_size(store, 3);
        let cluster = LocalCluster::start_with(program, dir, &plan, Lifetime::WithHarness).await.unwrap();
        let trust = TlsTrust::from_ca_file(&cluster.state().ca, Arc::new(SystemClock::new())).unwrap();
        let urls: Vec<NodeUrl> = cluster.urls().iter().map(|url| url.parse().unwrap()).collect();
        let client =
            Client::new(Arc::new(TokioNetwork), urls, Some(trust), ClientOptions::default()).unwrap();
        Self { cluster, client, tokens: vec![None; KEYS as usize], next: 0, turns: Vec::new() }
    }

    /// Puts `count` values, each over what was put under its key before.
    async fn put(&mut self, count: u64) {
        let mut clients = JoinSet::new();
        for first in 0..CLIENTS {
            let numbers: Vec<u64> =
                (self.next + first..self.next + count).step_by(CLIENTS as usize).collect();
            let mine: Vec<_> = numbers.iter().map(|n| (n % KEYS, self.token(n % KEYS).take())).collect();
            let client = self.client.clone();
            clients.spawn(async move {
                let mut after = Vec::new();
                for (key, token) in mine {
                    let options = WriteOptions::default();
                    let name = format!("key{key:010}");
                    let reply = client.put(name, &[7; 1024], token.as_deref(), options).await.unwrap();
                    after.push((key, reply.context));
                }
                after
            });
        }
        while let Some(after) = clients.join_next().await {
            for (key, token) in after.unwrap() {
                *self.token(key) = Some(token);
            }
        }
        self.next += count;
    }

    fn token(&mut self, key: u64) -> &mut Option<String> {
        &mut self.tokens[key as usize]
    }

    async fn turn(&mut self) {
        let before = self.processor_us();
        self.put(TURN).await;
        self.turns.push((self.processor_us() - before) / TURN as f64);
    }

    /// Processor time of all nodes.
    fn processor_us(&self) -> f64 {
        self.cluster.state().nodes.iter().map(|node| processor::of_process(node.pid)).sum::<f64>() / 1e3
    }

    /// Memory of a node's trees: none if it keeps none.
    async fn tree_bytes(&self) -> u64 {
        let metrics = self.client.metrics(ReadOptions::default()).await.unwrap();
        let bytes = metrics.lines().find_map(|line| line.strip_prefix("quorate_tree_bytes "));
        bytes.unwrap().parse().unwrap()
    }

    fn median_us(&mut self) -> f64 {
        self.turns.sort_by(f64::total_cmp);
        self.turns[self.turns.len() / 2]
    }
}

async fn measure(program: &Path) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let hourly = AntiEntropy::Every(Duration::from_secs(3600));
    let mut with = Subject::start(program, &directory.path().join("with"), hourly).await;
    let mut without = Subject::start(program, &directory.path().join("without"), AntiEntropy::Off).await;
    for subject in [&mut with, &mut without] {
        subject.put(KEYS).await;
    }
    for _ in 0..TURNS {
        with.turn().await;
        without.turn().await;
    }
    assert!(with.tree_bytes().await > 0 && without.tree_bytes().await == 0, "one keeps trees, one does not");
    let (with_us, without_us) = (with.median_us(), without.median_us());
    let percent = (with_us / without_us - 1.0) * 100.0;
    println!(
        "upkeep of trees: {percent:+.1} % of the processor time of a put on all its nodes \
         ({with_us:.0} us with, {without_us:.0} us without; bar {BAR_PERCENT} %)"
    );
    with.cluster.stop().await;
    without.cluster.stop().await;
    percent
}

fn main() -> ExitCode {
    if !processor::is_known() {
        println!("put_cpu: processor time of other processes is not to be had here: skipped");
        return ExitCode::SUCCESS;
    }
    let Some(program) = cluster::program() else {
        eprintln!("put_cpu: build the nodes first: cargo build --release --bin quorate");
        return ExitCode::from(3);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let percent = runtime.block_on(measure(&program));
    let is_missed = std::env::var_os("QUORATE_BARS").is_some() && percent > BAR_PERCENT;
    if is_missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
