//! The smallest scenario that still fails like a run that failed.
//!
//! A run is data: named faults, numbers of the load, a seed. So it can be repeated with less of everything,
//! and what is left is what the failure takes. [`minimise`] does that to anything, [`reduce()`] knows what less
//! of a scenario is, [`Trials`] runs candidates on several threads with the same outcome as on one,
//! [`Symptom`] says which failures are alike.
//!
//! Only in the simulated world: where the same run may fail one time and hold another, nothing that was
//! left out was shown not to matter.

mod minimise;
mod reduce;
mod symptom;
mod trials;
mod written;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use minimise::{Oracle, Pass, Spent, descend, fixpoint, leave_out, towards};
pub use reduce::{Case, reduce};
pub use symptom::Symptom;
pub use trials::{Limits, Told, Trials};
pub use written::written;

use crate::expect::{Property, RunVerdict};
use crate::run::{DirectoryError, Recorded, ReplayError, Run, RunError, run};
use crate::scenario::Scenario;
use crate::world::{Seams, World};

/// How to shrink.
pub struct ShrinkOptions<'a> {
    /// Where runs are repeated. Must be deterministic.
    pub world: &'a dyn World,
    /// Bugs to plant, for tests.
    pub seams: &'a Seams,
    /// Runs at a time. The outcome does not depend on it.
    pub jobs: NonZeroUsize,
    /// Seeds that each candidate is tried with.
    pub tries: u64,
    /// How much may be tried.
    pub limits: Limits<'a>,
}

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Faults.
    pub faults: usize,
    /// Clients.
    pub clients: usize,
    /// Operations of clients, final reads not included.
    pub operations: usize,
    /// Keys.
    pub keys: usize,
    /// Nodes, spare ones included.
    pub nodes: usize,
    /// How long the load lasts, in milliseconds.
    pub load_ms: u64,
}

impl Size {
    /// The size of a run.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        let operations = run.played.operations.iter().filter(|op| !op.r#final).count();
        Self::with(&run.explicit, operations)
    }

    fn with(scenario: &Scenario, operations: usize) -> Self {
        let Scenario { workload, cluster, fault, .. } = scenario;
        Self {
            faults: fault.len(),
            clients: workload.clients,
            operations,
            keys: workload.keys,
            nodes: cluster.nodes + cluster.spares,
            load_ms: u64::try_from(workload.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// How the run failed, and the smallest does.
    pub symptom: Symptom,
    /// The size of the run that was given.
    pub before: Size,
    /// That of the smallest.
    pub after: Size,
    /// The smallest.
    pub case: Case,
    /// What became of it.
    pub run: Run,
    /// Different candidates that were tried.
    pub runs: u64,
    /// Whether nothing more can go; else the bound was reached before.
    pub is_minimal: bool,
}

/// A run that cannot be shrunk.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// Its directory cannot be read, or it does not play to its end.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// It was made where nothing is the same twice.
    #[error("{}: played in world `{world}`; only simulated runs are the same twice, and can be shrunk", .dir.display())]
    World {
        /// The directory.
        dir: PathBuf,
        /// The world.
        world: String,
    },
    /// Nothing was wrong.
    #[error("{}: {what}: there is nothing to shrink", .dir.display())]
    DidNotFail {
        /// The directory.
        dir: PathBuf,
        /// What did not fail.
        what: String,
    },
    /// It fails no more.
    #[error("the run no longer fails by {symptom}")]
    Gone {
        /// How it failed once.
        symptom: Symptom,
        /// Its verdict now.
        now: Box<RunVerdict>,
    },
    /// The same case failed and then did not: some part of it is not deterministic.
    #[error("seed {seed} of the smallest scenario failed once and holds now: it is not deterministic")]
    Unstable {
        /// The seed.
        seed: u64,
    },
}

impl From<RunError> for ShrinkError {
    fn from(error: RunError) -> Self {
        Self::Replay(error.into())
    }
}

impl From<DirectoryError> for ShrinkError {
    fn from(error: DirectoryError) -> Self {
        Self::Replay(error.into())
    }
}

/// Reads the failed run in `dir`, and how it failed.
///
/// # Errors
/// If it is not the directory of a run in `world` that failed; by `property`, if one is named.
pub fn failed(
    dir: &Path,
    world: &dyn World,
    property: Option<Property>,
) -> Result<(Recorded, Symptom), ShrinkError> {
    let recorded = Recorded::read(dir)?;
    if recorded.world != world.name() {
        return Err(ShrinkError::World { dir: dir.to_owned(), world: recorded.world });
    }
    let verdict = Recorded::verdict(dir)?;
    let symptom = Symptom::of(&verdict, property).ok_or_else(|| ShrinkError::DidNotFail {
        dir: dir.to_owned(),
        what: match property {
            Some(property) => format!("{property} was not broken, or not promised"),
            None => "no promise was broken".to_owned(),
        },
    })?;
    Ok((recorded, symptom))
}

/// Finds the smallest case that fails like `recorded` did, by `symptom`. `told` is told how it gets on.
///
/// # Errors
/// [`ShrinkError::Gone`] if it fails no more, and if a run does not play to its end.
pub fn shrink(
    recorded: &Recorded,
    symptom: Symptom,
    options: &ShrinkOptions<'_>,
    told: &mut dyn FnMut(Told<'_, Case>),
) -> Result<Shrunk, ShrinkError> {
    let play = |case: &Case| run(options.world, &case.scenario, &recorded.profile, case.seed, options.seams);
    let mut best = Case { scenario: alone(&recorded.scenario), seed: recorded.seed };
    let first = play(&best)?;
    if !symptom.is_in(&first.verdict) {
        return Err(ShrinkError::Gone { symptom, now: Box::new(first.verdict) });
    }
    // One that does not play to its end fails otherwise.
    let fails = |case: &Case| play(case).is_ok_and(|run| symptom.is_in(&run.verdict));
    let mut trials = Trials::new(&fails, Case::name, options.jobs, options.limits, told);
    let is_minimal = reduce(&mut best, options.tries, &mut trials).is_ok();
    let runs = trials.counted();
    let last = play(&best)?;
    if !symptom.is_in(&last.verdict) {
        return Err(ShrinkError::Unstable { seed: best.seed });
    }
    let (before, after) = (Size::of(&first), Size::of(&last));
    Ok(Shrunk { symptom, before, after, case: best, run: last, runs, is_minimal })
}

/// The scenario under a name of its own, without what is a matter of many seeds.
fn alone(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    if !scenario.name.ends_with(SUFFIX) {
        scenario.name.push_str(SUFFIX);
    }
    scenario.expect.must_show.clear();
    scenario.expect.within = None;
    for expect in scenario.expect.profile.values_mut() {
        expect.must_show.clear();
        expect.within = None;
    }
    scenario.expect.profile.retain(|_, expect| !expect.holds.is_empty());
    scenario
}

const SUFFIX: &str = "-shrunk";
