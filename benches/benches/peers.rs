//! The reference cluster beside its peers, each as installed: etcd's three members, Redis with every write
//! synced. Values of 1 KiB, 64 connections, everything and the generator on the same cores; TLS for the cluster
//! and etcd, none for Redis, which therefore has no bar and is there for scale.
//!
//! The nodes run the release binary (`cargo build --release --bin quorate`). With `QUORATE_BARS`
//! (`just bench-peers`) a bar that is missed is exit code 1; without it turns are short and few.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use quorate_benches::processor;
use quorate_benches::servers::turns::{self, Run};
use quorate_benches::servers::{cluster, others};
use quorate_benches::table::Bars;
use quorate_cluster::config::{PeerTraffic, StoreDefinition};
use quorate_loadgen::CallKind;

fn main() -> ExitCode {
    if !processor::is_known() {
        println!("peers: processor time of other processes is not to be had here: skipped");
        return ExitCode::SUCCESS;
    }
    let Some(program) = cluster::program() else {
        eprintln!("peers: build the nodes first: cargo build --release --bin quorate");
        return ExitCode::from(3);
    };
    let bars = std::env::var_os("QUORATE_BARS").is_some();
    let (rounds, length) = if bars { (7, Duration::from_secs(2)) } else { (1, Duration::from_millis(500)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let missed = runtime.block_on(measure(&program, rounds, length));
    if bars && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure(program: &Path, rounds: usize, length: Duration) -> usize {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let quorum = StoreDefinition::profile("quorum").expect("a profile");
    let register = StoreDefinition::profile("linearizable").expect("a profile");
    let mutual = PeerTraffic::Mutual;
    let (quorum_nodes, quorum) = cluster::start("quorum", program, directory, (quorum, mutual)).await;
    let (register_nodes, register) =
        cluster::start("linearizable", program, directory, (register, mutual)).await;
    let etcd = others::etcd(directory).await;
    let redis = others::redis(directory).await;
    let mut runs = vec![
        Run::new(&quorum, CallKind::Put, "put, synced"),
        Run::new(&quorum, CallKind::Get, "get R=2"),
        Run::new(&register, CallKind::Put, "put, synced"),
        Run::new(&register, CallKind::Get, "get"),
    ];
    match &etcd {
        Some((_, [linearizable, serializable])) => runs.extend([
            Run::new(linearizable, CallKind::Put, "put, synced"),
            Run::new(linearizable, CallKind::Get, "linearizable get"),
            Run::new(serializable, CallKind::Get, "serializable get"),
        ]),
        None => println!("skipped: etcd is not installed (apt-get install etcd-server)"),
    }
    match &redis {
        Some((_, redis)) => runs.extend([
            Run::new(redis, CallKind::Put, "put, synced, no TLS"),
            Run::new(redis, CallKind::Get, "get, no TLS"),
        ]),
        None => println!("skipped: Redis is not installed (apt-get install redis-server)"),
    }
    let all = turns::in_turn(runs, rounds, length).await;
    quorum_nodes.stop().await;
    register_nodes.stop().await;

    turns::print(&all);
    let rate: Vec<f64> = all.iter().map(|run| run.turn.per_s).collect();
    let mut bars = Bars::default();
    if etcd.is_some() {
        bars.at_least("puts/s, synced (etcd's)", rate[0], rate[4], 2.8);
        bars.at_least("gets/s, linearizable (etcd's linearizable)", rate[3], rate[5], 2.0);
        bars.at_least("gets/s, R=2 (etcd's serializable)", rate[1], rate[6], 3.0);
    }
    bars.print()
}
