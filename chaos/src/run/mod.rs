//! One run: a scenario, a store and a seed, played, judged, and written down.

mod directory;
mod recorded;
mod replay;

use quorate_check::history::LineError;
use quorate_cluster::config::{ConfigError, StoreDefinition};
use quorate_cluster::membership::View;
use quorate_env::Random;

pub use directory::{DirectoryError, Provenance, faults_text, history_text, write};
pub use recorded::Recorded;
pub use replay::{Replay, ReplayError, replay};

use crate::expect::{RunVerdict, judge};
use crate::fault::Plan;
use crate::members::Era;
use crate::scenario::Scenario;
use crate::world::{Play, Played, Seams, World, WorldError};

/// One run that was played and judged.
#[derive(Clone, Debug)]
pub struct Run {
    /// The scenario with nothing left to draw: its faults are those of this run.
    pub explicit: Scenario,
    /// The store.
    pub store: StoreDefinition,
    /// The seed.
    pub seed: u64,
    /// The world that it was played in, as [`World::name`] has it.
    pub world: &'static str,
    /// Whether that world gives the same bytes from the same seed, however busy the machine is.
    pub is_deterministic: bool,
    /// What happened.
    pub played: Played,
    /// What it means.
    pub verdict: RunVerdict,
}

/// A run about which nothing can be said.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// The scenario does not run the store, or a setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It could not be played to its end.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The history breaks a rule of its own format: a bug of the recorder.
    #[error("operation {position} (from 0) of the history: {reason}")]
    History {
        /// The operation.
        position: usize,
        /// The rule.
        reason: LineError,
    },
}

/// Plays and judges one run.
///
/// # Errors
/// If it cannot be played to its end, or was not asked for sensibly. A broken promise is no error.
pub fn run(
    world: &dyn World,
    scenario: &Scenario,
    profile: &str,
    seed: u64,
    seams: &Seams,
) -> Result<Run, RunError> {
    run_traced(world, scenario, profile, seed, seams, false)
}

/// As [`run`], and hashes what happens second by second if `trace` is asked for and the world can tell.
///
/// # Errors
/// As [`run`].
pub fn run_traced(
    world: &dyn World,
    scenario: &Scenario,
    profile: &str,
    seed: u64,
    seams: &Seams,
    trace: bool,
) -> Result<Run, RunError> {
    let store = scenario.store_named(profile)?;
    // Who owns what is a matter of names, capacities and zones; addresses are for the world to give.
    let members = scenario.cluster.members(|name| (name.to_owned(), name.to_owned()));
    let members = members.map_err(WorldError::SetUp)?;
    let view = View::of_store(members, &store);
    let first = Era::first(&view);
    let partition_of = |key: &str| view.placement().partition_of(key.as_bytes());
    let owners_of = |key: &str| first.owners_of(partition_of(key)).to_vec();
    let plan = Plan::draw(scenario, Random::from_seed(seed), &owners_of);
    let played = world.play(&Play {
        scenario,
        store: &store,
        plan: &plan,
        seed,
        first: &first,
        partition_of: &partition_of,
        seams,
        trace,
    })?;
    let verdict = judge(scenario, &store, seed, &plan, &played, &partition_of)
        .map_err(|(position, reason)| RunError::History { position, reason })?;
    let mut explicit = scenario.clone();
    explicit.fault = plan.to_specs();
    explicit.faults = None;
    if explicit.store.is_none() {
        explicit.profiles = vec![profile.to_owned()];
        explicit.expect.profile.retain(|name, _| name == profile);
    }
    let is_deterministic = world.is_deterministic();
    Ok(Run { explicit, store, seed, world: world.name(), is_deterministic, played, verdict })
}
