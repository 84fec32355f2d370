//! What an operation costs the reference cluster, in processor time of all its nodes, beside what a request
//! costs a bare server of hyper and rustls: three nodes, N=3, R=2, W=2, values of 1 KiB, 64 connections, and
//! the generator on the same cores.
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
use quorate_cluster::config::{Durability, EngineKind, StoreDefinition};
use quorate_loadgen::CallKind;

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
    let missed = runtime.block_on(measure(&program, rounds, length));
    if bars && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure(program: &Path, rounds: usize, length: Duration) -> usize {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let (server, bare) = start_bare(&directory.join("bare"));
    let commit = StoreDefinition::profile("quorum").expect("a profile");
    let memory =
        StoreDefinition { engine: EngineKind::Memory, durability: Durability::Memory, ..commit.clone() };
    let (memory_nodes, memory) = cluster::start("memory", program, directory, memory).await;
    let (commit_nodes, commit) = cluster::start("commit", program, directory, commit).await;
    let runs = vec![
        Run::new(&bare, CallKind::Put, "put"),
        Run::new(&bare, CallKind::Get, "get"),
        Run::new(&memory, CallKind::Put, "put"),
        Run::new(&commit, CallKind::Put, "put"),
        Run::new(&commit, CallKind::Get, "get R=2"),
    ];
    let all = turns::in_turn(runs, rounds, length).await;
    memory_nodes.stop().await;
    commit_nodes.stop().await;
    let _ = server.stop();

    turns::print(&all);
    let cost: Vec<f64> = all.iter().map(|run| run.turn.server_us).collect();
    let mut bars = Bars::default();
    bars.at_most("server us a put, memory (bare server)", cost[2], cost[0], 4.5);
    bars.at_most("server us a put, commit (bare server)", cost[3], cost[0], 9.5);
    bars.at_most("server us a get, R=2 (bare server)", cost[4], cost[1], 3.2);
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
