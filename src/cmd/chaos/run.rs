//! `quorate chaos run`: scenarios by stores by seeds.

use std::fs;
use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use quorate_chaos::campaign::{
    CampaignOptions, Entry, Outcome, Progress, Shown, Summary, quick_seeds, run_campaign,
};
use quorate_chaos::run::Provenance;
use quorate_chaos::scenario::{Scenario, quick_suite};
use quorate_chaos::swarm;
use quorate_chaos::world::{SimulatedWorld, World};
use quorate_env::{Clock as _, SystemClock};
use quorate_loadgen::RunDirectory;
use quorate_loadgen::trust::MachineInfo;
use quorate_report::{Campaign, PAGE_FILE, RunData, campaign_page, campaign_table, run_page};

use super::super::bench::colours;
use super::process_world;
use super::seeds::parse_seeds;
use crate::build_info;
use crate::outcome::{Exit, Failure, say};
use crate::signals;
use crate::stdout;

/// Failures that are told in full; the summary file has all.
const FAILURES_SHOWN: usize = 10;

/// Run scenarios over many seeds: five nodes, the same node and client code as in production, faults
/// as the scenario says; simulated, or as real processes on this machine. Without a scenario: the
/// quick suite.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate chaos run
  quorate chaos run minority-partition power-cut --profile dynamo --seeds 1..100
  quorate chaos run swarm --seeds 1..1000 --keep-going
  quorate chaos run my-scenario.toml --seed 7 --out my-run
  quorate chaos run join leave replace --world process --profile quorum --seed 1")]
pub struct RunArgs {
    /// Names from the catalogue, or files; `swarm` for one that each seed makes up.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Only these stores (all of each scenario when left out).
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    profile: Vec<String>,
    /// Seeds, both ends included (as many as each scenario needs when left out).
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, conflicts_with = "seed")]
    seeds: Option<RangeInclusive<u64>>,
    /// One seed; its runs are kept whatever they show.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where it happens.
    #[arg(long, value_name = "WORLD", default_value = "sim")]
    world: WorldName,
    /// Simulations at a time (one a processor when left out); real processes get the machine to
    /// themselves.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// The directory of the campaign; must be absent or empty.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Hash what happens second by second, so that a replay can say where it parted.
    #[arg(long)]
    trace: bool,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WorldName {
    /// Simulated time, the same bytes from the same seed.
    Sim,
    /// Real processes on this machine; not all kinds of fault.
    Process,
}

/// Runs it.
///
/// # Errors
/// If a scenario cannot be used, or a directory cannot be written.
pub fn run(args: RunArgs, json: bool) -> Result<Exit, Failure> {
    let world: Arc<dyn World> = match args.world {
        WorldName::Sim => Arc::new(SimulatedWorld),
        WorldName::Process => Arc::new(process_world()?),
    };
    let entries = entries(&args, &*world)?;
    let revision = build_info::revision();
    let directory = match &args.out {
        Some(path) => RunDirectory::at(path),
        None => {
            let short = revision.as_ref().map(|revision| revision.short());
            RunDirectory::under(Path::new("results"), "chaos", SystemClock::new().wall_ns(), short)
        }
    };
    let directory = directory.map_err(Failure::setup)?;
    let options = CampaignOptions {
        entries,
        world,
        profiles: (!args.profile.is_empty()).then(|| args.profile.clone()),
        jobs: args.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
        out: Some(directory.path().to_owned()),
        keep_all: args.seed.is_some(),
        trace: args.trace,
        junit: args.junit.clone(),
        keep_going: args.keep_going,
        provenance: Provenance {
            command: build_info::command_line(),
            revision,
            versions: build_info::versions(),
            machine: Some(MachineInfo::detect()),
        },
    };
    signals::leave_on_interrupt("interrupted: what ran so far is not summed up");
    let summary = {
        let mut told = Told::new();
        run_campaign(&options, &mut told).map_err(Failure::setup)?
    };
    write_pages(directory.path())?;
    if json {
        stdout::line(serde_json::to_string(&summary).map_err(Failure::setup)?)?;
    } else {
        print(&summary, directory.path())?;
    }
    Ok(match summary.exit_code() {
        0 => Exit::Held,
        1 => Exit::Violated,
        _ => Exit::Unknown,
    })
}

fn entries(args: &RunArgs, world: &dyn World) -> Result<Vec<Entry>, Failure> {
    let names: Vec<String> = if args.scenarios.is_empty() {
        quick_suite().map(str::to_owned).collect()
    } else {
        args.scenarios.clone()
    };
    let entry = |argument: String| -> Result<Option<Entry>, Failure> {
        if swarm::is_swarm(&argument) {
            return swarm_entry(args, world, argument).map(Some);
        }
        let scenario = Scenario::load(&argument).map_err(Failure::setup)?;
        if let Some(why) = world.refuses(&scenario) {
            say(format_args!("skipped: scenario `{argument}`, because it {why}"));
            return Ok(None);
        }
        let seeds = match (args.seed, &args.seeds) {
            (Some(seed), _) => seed..=seed,
            (None, Some(seeds)) => seeds.clone(),
            (None, None) => quick_seeds(&scenario),
        };
        Ok(Some(Entry { scenario, argument, is_swarm: false, seeds }))
    };
    let entries: Vec<Entry> =
        names.into_iter().filter_map(|name| entry(name).transpose()).collect::<Result<_, _>>()?;
    if entries.is_empty() {
        return Err(Failure::setup(format_args!("nothing to run in world `{}`", world.name())));
    }
    Ok(entries)
}

fn swarm_entry(args: &RunArgs, world: &dyn World, argument: String) -> Result<Entry, Failure> {
    if !world.is_deterministic() {
        return Err(Failure::setup("the swarm runs in the simulated world only"));
    }
    let seeds = match (args.seed, &args.seeds) {
        (Some(seed), _) => seed..=seed,
        (None, seeds) => seeds.clone().unwrap_or(SWARM_SEEDS),
    };
    Ok(Entry { scenario: swarm::scenario(*seeds.start()), argument, is_swarm: true, seeds })
}

/// Seeds of a swarm when none are named.
const SWARM_SEEDS: RangeInclusive<u64> = 1..=100;

/// The page of the campaign, and one for every run that was kept.
fn write_pages(dir: &Path) -> Result<(), Failure> {
    let Some(campaign) = Campaign::read(dir).map_err(Failure::setup)? else { return Ok(()) };
    let write = |dir: &Path, page: &str| {
        let file = dir.join(PAGE_FILE);
        fs::write(&file, page)
            .map_err(|e| Failure::setup(format_args!("{}: cannot write: {e}", file.display())))
    };
    for run in &campaign.runs {
        let dir = dir.join(&run.path);
        write(&dir, &run_page(&RunData::read(&dir).map_err(Failure::setup)?))?;
    }
    write(dir, &campaign_page(&campaign))
}

fn print(summary: &Summary, dir: &Path) -> Result<(), Failure> {
    if let Some(campaign) = Campaign::read(dir).map_err(Failure::setup)? {
        stdout::line(campaign_table(&campaign, colours()))?;
    }
    print_marks(summary)?;
    for failure in summary.failures.iter().take(FAILURES_SHOWN) {
        stdout::line(format_args!(
            "{} {} seed {}: {}",
            failure.scenario, failure.profile, failure.seed, failure.says
        ))?;
        stdout::line(format_args!("  again: {}", failure.reproduce))?;
    }
    if summary.failures.len() > FAILURES_SHOWN {
        stdout::line(format_args!(
            "and {} more failures in summary.json",
            summary.failures.len() - FAILURES_SHOWN
        ))?;
    }
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    stdout::line(format_args!("run: {}", dir.display()))
}

/// Rare states of the nodes: which were reached and how often, and which never.
fn print_marks(summary: &Summary) -> Result<(), Failure> {
    let (never, reached): (Vec<_>, Vec<_>) = summary.marks.iter().partition(|(_, count)| **count == 0);
    if !reached.is_empty() {
        let told: Vec<String> = reached.iter().map(|(mark, count)| format!("{mark} {count}")).collect();
        stdout::line(format_args!("marks: {}", told.join(", ")))?;
    }
    if !never.is_empty() {
        let told: Vec<&str> = never.iter().map(|(mark, _)| mark.as_str()).collect();
        stdout::line(format_args!("marks never reached: {}", told.join(", ")))?;
    }
    for row in &summary.rows {
        for reach in row.must_reach.iter().filter(|reach| reach.state != Shown::Shown) {
            let (scenario, profile, mark) = (&row.scenario, &row.profile, reach.mark);
            stdout::line(format_args!("{scenario} {profile}: {mark}: {}, and must be reached", reach.state))?;
        }
    }
    Ok(())
}

/// Tells how it gets on: a bar on a terminal, failures everywhere.
struct Told {
    bar: Option<ProgressBar>,
    runs: usize,
    over: usize,
}

impl Told {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::no_length);
        if let (Some(bar), Ok(style)) =
            (&bar, ProgressStyle::with_template("[{bar:40}] {pos}/{len} runs, {eta} left"))
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, runs: 0, over: 0 }
    }
}

impl Progress for Told {
    fn begins(&mut self, runs: usize) {
        self.runs = runs;
        match &self.bar {
            Some(bar) => bar.set_length(runs as u64),
            None => say(format_args!("{runs} runs")),
        }
    }

    fn ran(&mut self, outcome: &Outcome) {
        self.over += 1;
        let failed = outcome
            .is_failure()
            .then(|| format!("failed: {} {} seed {}", outcome.scenario, outcome.profile, outcome.seed));
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                failed.iter().for_each(|line| bar.println(line));
            }
            None => {
                failed.iter().for_each(say);
                if self.over.is_multiple_of(100) {
                    say(format_args!("{} of {} runs", self.over, self.runs));
                }
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
