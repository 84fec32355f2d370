//! `quorate chaos shrink`: the smallest scenario that still fails.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use quorate_chaos::expect::Property;
use quorate_chaos::fault::Targets;
use quorate_chaos::run::{Provenance, write};
use quorate_chaos::shrink::{
    Case, Limits, ShrinkError, ShrinkOptions, Shrunk, Size, Told, failed, shrink, written,
};
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_cluster::config::{nearest, parse_duration};
use quorate_env::{Clock as _, SystemClock};
use quorate_loadgen::RunDirectory;
use quorate_loadgen::rundir::Revision;
use quorate_loadgen::trust::MachineInfo;
use quorate_report::{PAGE_FILE, RunData, run_page};
use serde_json::json;

use super::named;
use crate::build_info;
use crate::outcome::{Exit, Failure, say};
use crate::signals;
use crate::stdout;

/// Find the smallest scenario that still fails like a run in the simulated world did: fewer and shorter
/// faults, fewer clients, operations and nodes. Exit code 0 if nothing more can go, 1 if the bound on runs was
/// reached before, 2 if the run no longer fails.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate chaos shrink results/latest/power-cut/dynamo/17
  quorate chaos shrink results/latest/mixed/quorum/8 --budget 10m --out small")]
pub struct ShrinkArgs {
    /// The directory of one run that failed.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// How much to try: so many runs, or for so long. What is found does not depend on the machine unless
    /// it is a time that runs out.
    #[arg(long, value_name = "RUNS or TIME", default_value = "1000", value_parser = parse_budget)]
    budget: Budget,
    /// Seeds to try every smaller scenario with.
    #[arg(long, value_name = "N", default_value = "3")]
    tries: NonZeroUsize,
    /// The promise that must stay broken (the first broken one when left out).
    #[arg(long, value_name = "NAME", value_parser = parse_property)]
    property: Option<Property>,
    /// Runs at a time (one a processor when left out).
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Where `shrunk.toml` and the directory of the smallest run go; must be absent or empty.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Budget {
    Runs(u64),
    Time(Duration),
}

fn parse_budget(text: &str) -> Result<Budget, String> {
    let wrong = || format!("`{text}` is neither a number of runs nor a time, such as 500 or 10m");
    let budget = text.parse().map(Budget::Runs).or_else(|_| parse_duration(text).map(Budget::Time));
    match budget.map_err(|_| wrong())? {
        Budget::Runs(0) | Budget::Time(Duration::ZERO) => Err("nothing can be tried with that".to_owned()),
        budget => Ok(budget),
    }
}

fn parse_property(text: &str) -> Result<Property, String> {
    let known = Property::ALL.iter().find(|property| property.as_str() == text).copied();
    known.ok_or_else(|| match nearest(text, Property::NAMES) {
        Some(near) => format!("no property `{text}`; did you mean `{near}`?"),
        None => format!("no property `{text}`; there are {}", Property::NAMES.join(", ")),
    })
}

/// Runs it.
///
/// # Errors
/// If there is no failed run to shrink, or something cannot be written.
pub fn run(args: &ShrinkArgs, json: bool) -> Result<Exit, Failure> {
    let revision = build_info::revision();
    let world = SimulatedWorld;
    let (recorded, symptom) = failed(&args.run, &world, args.property).map_err(Failure::setup)?;
    let directory = match &args.out {
        Some(path) => RunDirectory::at(path),
        None => {
            let short = revision.as_ref().map(|revision| revision.short());
            RunDirectory::under(Path::new("results"), "shrink", SystemClock::new().wall_ns(), short)
        }
    };
    let directory = directory.map_err(Failure::setup)?;
    let clock = SystemClock::new();
    let (runs, until_ns) = match args.budget {
        Budget::Runs(runs) => (runs, u64::MAX),
        Budget::Time(time) => {
            let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            (u64::MAX, clock.monotonic_ns().saturating_add(ns))
        }
    };
    let is_over = || clock.monotonic_ns() >= until_ns;
    let options = ShrinkOptions {
        world: &world,
        seams: &Seams::default(),
        jobs: args.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
        tries: args.tries.get() as u64,
        limits: Limits { runs, is_over: Some(&is_over) },
    };
    signals::leave_on_interrupt("interrupted: the smallest so far is not written");
    say(format_args!("shrinking what broke {symptom}"));
    let mut tried = 0;
    let mut told = |told: Told<'_, Case>| match told {
        Told::Tried(runs) => {
            tried = runs;
            if runs.is_multiple_of(50) {
                say(format_args!("{runs} runs"));
            }
        }
        Told::Smaller(case) => say(format_args!("{tried} runs: still fails with {}", in_words(case))),
    };
    let shrunk = match shrink(&recorded, symptom, &options, &mut told) {
        Ok(shrunk) => shrunk,
        Err(error @ ShrinkError::Gone { .. }) => {
            return Err(Failure::unknown(format_args!(
                "{}: {error}{}",
                args.run.display(),
                blame(recorded.revision.as_ref(), revision.as_ref())
            )));
        }
        Err(error) => return Err(Failure::setup(error)),
    };
    let dir = directory.path();
    let file = dir.join("shrunk.toml");
    let again = format!(
        "quorate chaos run {} --profile {} --seed {}",
        file.display(),
        recorded.profile,
        shrunk.case.seed
    );
    write_all(dir, &file, &shrunk, &args.run, &again, revision)?;
    if json {
        let json = json!({
            "run": args.run,
            "property": shrunk.symptom.property,
            "kinds": shrunk.symptom.kinds,
            "before": shrunk.before,
            "after": shrunk.after,
            "seed": shrunk.case.seed,
            "runs": shrunk.runs,
            "minimal": shrunk.is_minimal,
            "scenario": file,
            "directory": dir.join(RUN),
            "reproduce": again,
        });
        stdout::line(json)?;
    } else {
        print(&shrunk, dir, &again)?;
    }
    Ok(if shrunk.is_minimal { Exit::Held } else { Exit::Violated })
}

/// The directory of the smallest run, in that of the shrinking.
const RUN: &str = "run";

fn write_all(
    dir: &Path,
    file: &Path,
    shrunk: &Shrunk,
    from: &Path,
    again: &str,
    revision: Option<Revision>,
) -> Result<(), Failure> {
    let put = |file: &Path, text: &str| {
        fs::write(file, text)
            .map_err(|e| Failure::setup(format_args!("{}: cannot write: {e}", file.display())))
    };
    put(file, &written(shrunk, &from.display().to_string(), again))?;
    let run = dir.join(RUN);
    let provenance = Provenance {
        command: build_info::command_line(),
        revision,
        versions: build_info::versions(),
        machine: Some(MachineInfo::detect()),
    };
    write(&run, &shrunk.run, &provenance).map_err(Failure::setup)?;
    put(&run.join(PAGE_FILE), &run_page(&RunData::read(&run).map_err(Failure::setup)?))
}

fn print(shrunk: &Shrunk, dir: &Path, again: &str) -> Result<(), Failure> {
    let says = shrunk.symptom.example(&shrunk.run.verdict).unwrap_or_default();
    stdout::line(format_args!("breaks {}: {says}", shrunk.symptom))?;
    type Figure = fn(&Size) -> u64;
    let rows: [(&str, Figure); 6] = [
        ("faults", |size| size.faults as u64),
        ("clients", |size| size.clients as u64),
        ("operations", |size| size.operations as u64),
        ("keys", |size| size.keys as u64),
        ("nodes", |size| size.nodes as u64),
        ("load (ms)", |size| size.load_ms),
    ];
    stdout::line(format_args!("{:10}  {:>7}  {:>7}", "", "before", "after"))?;
    for (name, figure) in rows {
        stdout::line(format_args!("{name:10}  {:>7}  {:>7}", figure(&shrunk.before), figure(&shrunk.after)))?;
    }
    for fault in &shrunk.case.scenario.fault {
        let for_ms = fault.lasts.as_millis();
        let names = match &fault.targets {
            Targets::Names(names) => names.join(", "),
            other => format!("{other:?}"),
        };
        let at_ms = fault.at.as_millis();
        stdout::line(format_args!("  {} of {names} at {at_ms} ms for {for_ms} ms", fault.kind))?;
    }
    let end = if shrunk.is_minimal { "nothing more can go" } else { "the bound was reached first" };
    stdout::line(format_args!("{} runs; {end}", shrunk.runs))?;
    stdout::line(format_args!("again: {again}"))?;
    stdout::line(format_args!("run: {}", dir.join(RUN).display()))
}

fn in_words(case: &Case) -> String {
    let workload = &case.scenario.workload;
    let operations = workload.operations.map(|n| format!(" of at most {n} operations")).unwrap_or_default();
    format!(
        "{} fault(s), {} client(s){operations}, {} key(s), {} ms",
        case.scenario.fault.len(),
        workload.clients,
        workload.keys,
        workload.duration.as_millis()
    )
}

/// What may be to blame for a run that is another one now.
fn blame(recorded: Option<&Revision>, now: Option<&Revision>) -> String {
    if recorded == now {
        "; it was recorded by this very revision, so replay it".to_owned()
    } else {
        format!("; it was recorded by revision {}, this is {}", named(recorded), named(now))
    }
}
