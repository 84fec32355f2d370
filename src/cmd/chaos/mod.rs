//! `quorate chaos`: shakes a store and says what held.

mod run;
mod seeds;
mod shrink;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_chaos::run::replay;
use quorate_chaos::scenario::catalogue;
use quorate_chaos::swarm;
use quorate_chaos::world::{ProcessWorld, SimulatedWorld, World as _};
use quorate_check::Verdict;
use quorate_loadgen::rundir::Revision;
use quorate_processes::own_program;
use serde_json::json;

use crate::build_info;
use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// Shake a store: scenarios with faults, judged by checkers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate chaos list
  quorate chaos run minority-partition --profile dynamo --seeds 1..100")]
pub struct ChaosArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run scenarios over many seeds.
    Run(run::RunArgs),
    /// The scenarios that are built in.
    #[command(after_help = "Example:\n  quorate chaos list --json")]
    List,
    /// Run one again and compare: byte for byte in the simulated world.
    #[command(after_help = "Example:\n  quorate chaos replay results/latest/power-cut/dynamo/17")]
    Replay(ReplayArgs),
    /// Find the smallest scenario that still fails.
    Shrink(shrink::ShrinkArgs),
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The directory of one run. If it was traced, the first second that differs is named.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Trace a run that was not: what happens is hashed second by second, and kept for the next replay.
    #[arg(long)]
    trace: bool,
}

/// Runs it.
///
/// # Errors
/// If something cannot be read, run or written.
pub fn run(args: ChaosArgs, json: bool) -> Result<Exit, Failure> {
    match args.action {
        Action::Run(args) => run::run(args, json),
        Action::List => list(json),
        Action::Replay(args) => again(&args, json),
        Action::Shrink(args) => shrink::run(&args, json),
    }
}

fn list(json: bool) -> Result<Exit, Failure> {
    let mut listed = Vec::new();
    for entry in catalogue() {
        let scenario = entry.scenario().map_err(Failure::setup)?;
        listed.push((entry.name, scenario.says));
    }
    listed.push((swarm::NAME, swarm::SAYS.to_owned()));
    if json {
        let listed: Vec<_> =
            listed.iter().map(|(name, says)| json!({ "name": name, "says": says })).collect();
        stdout::line(serde_json::Value::Array(listed))?;
    } else {
        let width = listed.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, says) in listed {
            stdout::line(format_args!("{name:width$}  {says}"))?;
        }
    }
    Ok(Exit::Held)
}

/// Nodes that run this program.
fn process_world() -> Result<ProcessWorld, Failure> {
    Ok(ProcessWorld { program: own_program()? })
}

/// A revision for people.
fn named(revision: Option<&Revision>) -> String {
    revision.map_or_else(
        || "unknown".to_owned(),
        |r| format!("{}{}", r.short(), if r.dirty { " with changes" } else { "" }),
    )
}

fn again(args: &ReplayArgs, json: bool) -> Result<Exit, Failure> {
    let revision = build_info::revision();
    let processes = process_world()?;
    let replay = replay(&[&SimulatedWorld, &processes], &args.run, revision.as_ref(), args.trace)
        .map_err(Failure::setup)?;
    let verdict = replay.run.verdict.verdict;
    if replay.other_revision {
        say(format_args!(
            "note: recorded by revision {}, this is {}; differences may be the code's",
            named(replay.recorded_revision.as_ref()),
            named(revision.as_ref())
        ));
    }
    if json {
        stdout::line(json!({
            "run": args.run,
            "same": replay.is_same(),
            "differences": replay.differences,
            "parting": replay.parting,
            "verdict": verdict,
            "world": replay.run.world,
            "other_revision": replay.other_revision,
        }))?;
    } else {
        replay.differences.iter().try_for_each(stdout::line)?;
        if let Some(parting) = &replay.parting {
            stdout::line(format_args!(
                "the runs part in simulated second {}: {}",
                parting.second,
                parting.components.join(", ")
            ))?;
        }
        let same = match replay.is_same() {
            true if replay.run.world == SimulatedWorld.name() => "the same, byte for byte",
            true => "the same faults; with real processes the rest is never the same twice",
            false => "different",
        };
        stdout::line(format_args!("{}: {same}; verdict {verdict}", args.run.display()))?;
    }
    Ok(match verdict {
        _ if !replay.is_same() => Exit::Violated,
        Verdict::Valid => Exit::Held,
        Verdict::Invalid => Exit::Violated,
        Verdict::Unknown | Verdict::Error => Exit::Unknown,
    })
}
