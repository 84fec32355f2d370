//! One file a command: arguments, a library call, its answer printed. This one only dispatches.

pub mod bench;
pub mod chaos;
pub mod check;
pub mod cluster;
pub mod delete;
pub mod get;
pub mod put;
pub mod remote;
pub mod report;
pub mod ring;
pub mod serve;
pub mod store;

use std::future::Future;

use crate::cli::{Cli, Command};
use crate::logs::{self, LogFormat};
use crate::outcome::{Exit, Failure};

/// Runs what was asked for.
///
/// # Errors
/// If it could not do its work.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let json = cli.json;
    let (level, format) = match &cli.command {
        Command::Serve(args) => ("info", args.log_format),
        // Nodes that faults are done to have every reason to warn.
        Command::Chaos(_) => ("error", LogFormat::Text),
        _ => ("warn", LogFormat::Text),
    };
    logs::start(level, format);
    match cli.command {
        Command::Bench(args) => bench::run(*args, json),
        Command::Chaos(args) => chaos::run(args, json),
        Command::Check(args) => check::run(args, json),
        Command::Serve(args) => serve::run(args, json),
        Command::Cluster(args) => block_on(cluster::run(args, json)),
        Command::Get(args) => block_on(get::run(args, json)),
        Command::Put(args) => block_on(put::run(args, json)),
        Command::Delete(args) => block_on(delete::run(args, json)),
        Command::Ring(args) => ring::run(args, json),
        Command::Report(args) => report::run(args, json),
    }
}

/// Runs a command's future on a runtime with a thread per core.
fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| Failure::setup(format_args!("cannot start the runtime: {e}")))?.block_on(command)
}
