//! What an operation costs the reference cluster, in processor time of all its nodes, beside what a request
//! costs a bare server of hyper and rustls: three nodes, N=3, R=2, W=2, values of 1 KiB, 64 connections, and
//! the generator on the same cores. Words choose the rows that contain one of them.
//!
//! The nodes run the release binary (`cargo build --release --bin quorate`). With `QUORATE_BARS`
//! (`just bench-limits`) a bar that is missed is exit code 1; without it turns are short and few.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use quorate_benches::load::child::{Server, myself};
use quorate_benches::processor;
use quorate_benches::servers::subject::Subject;
use quorate_benches::servers::turns::{self, Run};
use quorate_benches::servers::{bare, cluster};
use quorate_benches::table::Bars;
use quorate_cluster::config::{Durability, EngineKind, PeerTraffic, StoreDefinition};
use quorate_loadgen::CallKind;

/// What is measured of a store whose gets ask several owners.
const PUT_AND_GET: [(CallKind, &str); 2] = [(CallKind::Put, "put"), (CallKind::Get, "get R=2")];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let ["--bare", directory] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        bare::serve(Path::new(directory));
        return ExitCode::SUCCESS;
    }
    if !processor::is_known() {
        println!("limits: processor time of other processes is not to be had here: skipped");
        return ExitCode::SUCCESS;
    }
    let Some(program) = cluster::program() else {
        eprintln!("limits: build the nodes first: cargo build --release --bin quorate");
        return ExitCode::from(3);
    };
    let bars = std::env::var_os("QUORATE_BARS").is_some();
    let (rounds, length) = if bars { (7, Duration::from_secs(2)) } else { (1, Duration::from_millis(500)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let missed = runtime.block_on(measure(&program, &arguments, rounds, length));
    if bars && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure(program: &Path, words: &[String], rounds: usize, length: Duration) -> usize {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let (server, bare) = start_bare(&directory.join("bare"));
    let commit = StoreDefinition::profile("quorum").expect("a profile");
    let memory =
        StoreDefinition { engine: EngineKind::Memory, durability: Durability::Memory, ..commit.clone() };
    let register = StoreDefinition::profile("linearizable").expect("a profile");
    let stores = [
        ("memory", &memory, PeerTraffic::Plain, &[(CallKind::Put, "put")][..]),
        ("commit", &commit, PeerTraffic::Plain, &PUT_AND_GET),
        ("commit, peers in TLS", &commit, PeerTraffic::Mutual, &PUT_AND_GET),
        ("linearizable", &register, PeerTraffic::Plain, &[(CallKind::Put, "put"), (CallKind::Get, "get")]),
    ];
    let wanted = |name: &str, operation: &str| {
        let label = turns::label(name, operation);
        words.is_empty() || words.iter().any(|word| label.contains(word))
    };
    let mut clusters = Vec::new();
    for (name, store, peers, operations) in stores {
        let operations: Vec<_> = operations.iter().filter(|(_, says)| wanted(name, says)).collect();
        if !operations.is_empty() {
            let started = cluster::start(name, program, directory, (store.clone(), peers)).await;
            clusters.push((started, operations));
        }
    }
    let of_bare = [(CallKind::Put, "put"), (CallKind::Get, "get")];
    let of_bare = of_bare.iter().filter(|(_, says)| wanted(&bare.name, says));
    let mut runs: Vec<Run<'_>> = of_bare.map(|(kind, says)| Run::new(&bare, *kind, says)).collect();
    for ((_, subject), operations) in &clusters {
        runs.extend(operations.iter().map(|(kind, says)| Run::new(subject, *kind, says)));
    }
    let all = turns::in_turn(runs, rounds, length).await;
    for ((nodes, _), _) in clusters {
        nodes.stop().await;
    }
    let _ = server.stop();

    turns::print(&all);
    let mut bars = Bars::default();
    let mut at_most = |label: &str, other: &str, bar| {
        let cost = |label| all.iter().find(|run| run.label == label).map(|run| run.turn.server_us);
        if let (Some(cost), Some(others)) = (cost(label), cost(other)) {
            bars.at_most(&format!("server us: {label} ({other})"), cost, others, bar);
        }
    };
    at_most("memory, put", "bare server, put", 4.5);
    at_most("commit, put", "bare server, put", 9.5);
    at_most("commit, get R=2", "bare server, get", 3.2);
    at_most("linearizable, get", "bare server, get", 4.0);
    at_most("commit, peers in TLS, put", "commit, put", 1.15);
    at_most("commit, peers in TLS, get R=2", "commit, get R=2", 1.15);
    bars.print()
}

/// A bare server, which is this bench once more.
fn start_bare(directory: &Path) -> (Server, Subject) {
    let mut command = std::process::Command::new(myself());
    command.arg("--bare").arg(directory).stdin(std::process::Stdio::piped());
    let server = Server::spawn(command);
    let url = format!("https://127.0.0.1:{}", server.port);
    let target = cluster::target(&[url], &directory.join(bare::CA_FILE));
    let subject = Subject::new("bare server", vec![server.pid()], target);
    (server, subject)
}
