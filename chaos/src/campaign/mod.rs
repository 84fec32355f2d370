//! Many runs: scenarios by stores by seeds, over several threads, one simulation a thread at a time.
//!
//! The result depends on the runs alone, not on how many threads there were or which was first.

mod junit;
mod summary;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use quorate_cluster::config::nearest;

pub use summary::{Failure, MustReach, MustShow, Row, Shown, Summary};

use crate::expect::RunVerdict;
use crate::run::{DirectoryError, Provenance, Run, RunError, run_traced, write};
use crate::scenario::Scenario;
use crate::swarm;
use crate::world::{Seams, World};

/// A scenario of a campaign.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The scenario; of a swarm that of its first seed.
    pub scenario: Scenario,
    /// Whether every seed makes up a scenario of its own ([`crate::swarm`]).
    pub is_swarm: bool,
    /// How the command line names it: in the catalogue, or its file.
    pub argument: String,
    /// The seeds, both ends included.
    pub seeds: RangeInclusive<u64>,
}

impl Entry {
    /// The scenario that is run with `seed`.
    fn scenario_of(&self, seed: u64) -> Cow<'_, Scenario> {
        if self.is_swarm { Cow::Owned(swarm::scenario(seed)) } else { Cow::Borrowed(&self.scenario) }
    }

    /// Names of all stores that it may run.
    fn stores(&self) -> Vec<String> {
        if self.is_swarm {
            return swarm::stores();
        }
        self.scenario.stores().unwrap_or_default().into_iter().map(|store| store.name).collect()
    }
}

/// What to run, and what to keep of it.
#[derive(Clone, Debug)]
pub struct CampaignOptions {
    /// What to run.
    pub entries: Vec<Entry>,
    /// Where it happens.
    pub world: Arc<dyn World>,
    /// Only these stores; none: all of each scenario.
    pub profiles: Option<Vec<String>>,
    /// Threads; fewer if the world can not do with so many.
    pub jobs: NonZeroUsize,
    /// Where run directories and the summary go; none: nowhere.
    pub out: Option<PathBuf>,
    /// Keep the directory of every run, not only of those that failed.
    pub keep_all: bool,
    /// Hash what happens second by second, in the runs that are kept too.
    pub trace: bool,
    /// Where a JUnit report goes.
    pub junit: Option<PathBuf>,
    /// Go on after a failure.
    pub keep_going: bool,
    /// Written into every run directory.
    pub provenance: Provenance,
}

/// Is told how a campaign gets on, from the thread that called [`run_campaign`].
pub trait Progress {
    /// So many runs will be made.
    fn begins(&mut self, runs: usize) {
        let _ = runs;
    }

    /// A run is over, in the order in which they end.
    fn ran(&mut self, outcome: &Outcome) {
        let _ = outcome;
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// What became of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The store's.
    pub profile: String,
    /// The seed.
    pub seed: u64,
    /// Its verdict, or why there is none.
    pub result: Result<RunVerdict, RunError>,
    /// Its directory, if it was kept.
    pub directory: Option<PathBuf>,
    argument: String,
    world: &'static str,
}

impl Outcome {
    /// The command that makes this run again.
    #[must_use]
    pub fn reproduce(&self) -> String {
        let world = if self.world == "sim" { String::new() } else { format!(" --world {}", self.world) };
        format!("quorate chaos run {} --profile {} --seed {}{world}", self.argument, self.profile, self.seed)
    }

    /// Whether the run broke a promise or did not get to its end.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match &self.result {
            Ok(verdict) => verdict.violated().next().is_some(),
            Err(_) => true,
        }
    }
}

/// A campaign that could not be made or written down.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// A directory or file could not be written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is no scenario, or none with a seed.
    #[error("nothing to run: no scenario, or no seed, was given")]
    Nothing,
    /// No scenario runs a store that was asked for.
    #[error("no scenario given runs a store called `{profile}`{hint}")]
    NoSuchStore {
        /// As given.
        profile: String,
        /// `; did you mean ...?`, or what they run.
        hint: String,
    },
    /// Two scenarios that could not be told apart.
    #[error("two scenarios are called `{0}`; give one of them another `name`")]
    SameName(String),
}

struct Task<'a> {
    entry: &'a Entry,
    profile: String,
    seed: u64,
}

/// Runs everything and sums it up. Without `keep_going` it stops at the first failure in the order
/// of scenario, store and seed, and sums up the runs up to it.
///
/// # Errors
/// If there is nothing to run, or a directory cannot be written. A failed run is no error.
pub fn run_campaign(
    options: &CampaignOptions,
    progress: &mut dyn Progress,
) -> Result<Summary, CampaignError> {
    refuse_nonsense(options)?;
    let tasks = tasks(options);
    if tasks.is_empty() {
        return Err(CampaignError::Nothing);
    }
    progress.begins(tasks.len());
    let jobs = options.world.runs_at_a_time().map_or(options.jobs, |most| most.min(options.jobs));
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let mut outcomes: Vec<Option<Outcome>> = tasks.iter().map(|_| None).collect();
    std::thread::scope(|scope| -> Result<(), DirectoryError> {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..jobs.get().min(tasks.len()) {
            let (sender, tasks, next, stop) = (sender.clone(), &tasks, &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(i) else { return };
                    if sender.send((i, carry_out(task, options))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut first_error = Ok(());
        for (i, outcome) in receiver {
            match outcome {
                Ok(outcome) => {
                    progress.ran(&outcome);
                    if outcome.is_failure() && !options.keep_going {
                        stop.store(true, Ordering::Relaxed);
                    }
                    outcomes[i] = Some(outcome);
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    first_error = first_error.and(Err(error));
                }
            }
        }
        first_error
    })?;
    // Tasks are taken in order, so all before the first failure were run; those after it that other
    // threads had begun do not count, or the summary would depend on how many threads there were.
    let mut counted = Vec::new();
    for outcome in outcomes.into_iter().flatten() {
        let last = outcome.is_failure() && !options.keep_going;
        counted.push(outcome);
        if last {
            break;
        }
    }
    let summary = Summary::of(&options.entries, &counted);
    if let Some(out) = &options.out {
        let text = serde_json::to_string_pretty(&summary).expect("a summary has a JSON form");
        write_file(&out.join("summary.json"), &format!("{text}\n"))?;
    }
    if let Some(file) = &options.junit {
        write_file(file, &junit::render(&summary, &counted))?;
    }
    Ok(summary)
}

fn refuse_nonsense(options: &CampaignOptions) -> Result<(), CampaignError> {
    let mut names = BTreeSet::new();
    if let Some(entry) = options.entries.iter().find(|entry| !names.insert(&entry.scenario.name)) {
        return Err(CampaignError::SameName(entry.scenario.name.clone()));
    }
    let known: BTreeSet<String> = options.entries.iter().flat_map(Entry::stores).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match options.profiles.iter().flatten().find(|profile| !known.contains(&profile.as_str())) {
        None => Ok(()),
        Some(profile) => {
            let hint = match nearest(profile, &known) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; they run {}", known.join(", ")),
            };
            Err(CampaignError::NoSuchStore { profile: profile.clone(), hint })
        }
    }
}

fn tasks(options: &CampaignOptions) -> Vec<Task<'_>> {
    let mut tasks = Vec::new();
    for entry in &options.entries {
        let wanted = |name: &String| options.profiles.as_ref().is_none_or(|profiles| profiles.contains(name));
        if entry.is_swarm {
            for seed in entry.seeds.clone() {
                let stores = entry.scenario_of(seed).stores().unwrap_or_default();
                let named = stores.into_iter().map(|store| store.name).filter(wanted);
                tasks.extend(named.map(|profile| Task { entry, profile, seed }));
            }
            continue;
        }
        for profile in entry.stores().into_iter().filter(wanted) {
            tasks.extend(entry.seeds.clone().map(|seed| Task { entry, profile: profile.clone(), seed }));
        }
    }
    tasks
}

fn carry_out(task: &Task<'_>, options: &CampaignOptions) -> Result<Outcome, DirectoryError> {
    let scenario = task.entry.scenario_of(task.seed);
    let (seams, trace) = (Seams::default(), options.trace);
    let result = run_traced(&*options.world, &scenario, &task.profile, task.seed, &seams, trace);
    let failed = result.as_ref().map_or(true, |run| run.verdict.violated().next().is_some());
    let directory = match (&options.out, &result) {
        (Some(out), Ok(run)) if failed || options.keep_all => Some(keep(out, run, options)?),
        _ => None,
    };
    Ok(Outcome {
        scenario: scenario.name.clone(),
        profile: task.profile.clone(),
        seed: task.seed,
        result: result.map(|run| run.verdict),
        directory,
        argument: task.entry.argument.clone(),
        world: options.world.name(),
    })
}

fn keep(out: &std::path::Path, run: &Run, options: &CampaignOptions) -> Result<PathBuf, DirectoryError> {
    let dir = out.join(&run.explicit.name).join(&run.store.name).join(run.seed.to_string());
    write(&dir, run, &options.provenance)?;
    Ok(dir)
}

fn write_file(file: &std::path::Path, text: &str) -> Result<(), DirectoryError> {
    let io = |source| DirectoryError::Io { file: file.to_owned(), source };
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    std::fs::write(file, text).map_err(io)
}

/// The seeds for which the quick suite runs a scenario: enough to see what it must show.
#[must_use]
pub fn quick_seeds(scenario: &Scenario) -> RangeInclusive<u64> {
    let stores = scenario.stores().unwrap_or_default();
    let most = stores.iter().filter_map(|store| {
        let (sights, within) = scenario.expect.must_show_for(&store.name);
        let is_needed = !sights.is_empty() || !scenario.expect.marks_for(&store.name).is_empty();
        is_needed.then_some(within)
    });
    1..=most.max().unwrap_or(QUICK_SEEDS)
}

/// Seeds of the quick suite for a scenario that must show nothing.
const QUICK_SEEDS: u64 = 5;
