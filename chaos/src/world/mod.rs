//! Where a scenario is played out. [`World`] is the contract, [`sim`] the simulated one, [`process`]
//! that of real processes.
//!
//! A world is given a plan that leaves nothing open and gives back what happened; it neither chooses
//! faults nor judges.

pub mod process;
mod script;
pub mod sim;
mod stage;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use quorate_check::history::Operation;
use quorate_cluster::config::StoreDefinition;
use quorate_cluster::planted::Bug;
use quorate_cluster::store::Engine;
use quorate_env::Disk;
use quorate_loadgen::trust::LoadOnMachine;

use crate::fault::{FaultEvent, Plan};
use crate::members::Era;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::workload::{Rest, Tamper};

pub use process::{Deed, ProcessFaults, ProcessWorld, Step};
pub use sim::SimulatedWorld;

/// Everything that a world needs to play one run.
pub struct Play<'a> {
    /// Nodes, network and load.
    pub scenario: &'a Scenario,
    /// The store.
    pub store: &'a StoreDefinition,
    /// The faults.
    pub plan: &'a Plan,
    /// Root of all randomness.
    pub seed: u64,
    /// The members at the start, and what they own.
    pub first: &'a Era,
    /// The partition of a key.
    pub partition_of: &'a dyn Fn(&str) -> u32,
    /// Bugs to plant, for tests of the harness itself.
    pub seams: &'a Seams,
    /// Whether to hash what happens second by second.
    pub trace: bool,
}

/// Wraps what a node gets from outside. Given the node's name.
pub type Wrap<T> = Arc<dyn Fn(&str, Arc<T>) -> Arc<T> + Send + Sync>;

/// Places where a test may put something broken between two parts. Empty in every real run.
#[derive(Clone, Default)]
pub struct Seams {
    /// Between a node and its disk.
    pub disk: Option<Wrap<dyn Disk>>,
    /// Between a node and its engine.
    pub engine: Option<Wrap<dyn Engine>>,
    /// Between a client and the context token that it says it sends.
    pub token: Option<Tamper>,
    /// In the nodes' own code.
    pub bug: Option<Bug>,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Played {
    /// What clients called and were told, in order of invocation.
    pub operations: Vec<Operation>,
    /// What was done to the world.
    pub events: Vec<FaultEvent>,
    /// When the load began, on the clock of the history.
    pub load_start_ns: u64,
    /// How long the run was, in the world's own time.
    pub elapsed_ns: u64,
    /// Whether the store came to rest after healing.
    pub rest: Rest,
    /// A change of the members that was not over in time after everything was healed, and why.
    pub stuck_change: Option<String>,
    /// Why a store that forgets deletes still kept some after everything was healed.
    pub uncollected: Option<String>,
    /// Final reads that never succeeded.
    pub final_reads_failed: Vec<String>,
    /// Who owned what when.
    pub eras: Vec<Era>,
    /// What the machine was like while the load lasted, where that matters and could be read.
    pub machine: Option<LoadOnMachine>,
    /// What each node printed last, if it is a process of its own.
    pub logs: Vec<(String, String)>,
    /// How often each rare state of the nodes was reached; none where nobody can count.
    pub marks: Option<BTreeMap<String, u64>>,
    /// What happened second by second, if the world could tell and was asked to.
    pub trace: Option<Trace>,
}

/// A run that could not be played to its end. Nothing can be said about the store, but that.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WorldError {
    /// A node, a client or the harness panicked.
    #[error("panicked at {at_ms} ms: {message}")]
    Panicked {
        /// When, in the world's own time.
        at_ms: u64,
        /// What and where.
        message: String,
    },
    /// A node stopped, or could not start.
    #[error("stopped at {at_ms} ms: {message}")]
    Stopped {
        /// When, in the world's own time.
        at_ms: u64,
        /// What it said.
        message: String,
    },
    /// The set-up is not one that a node takes.
    #[error("cannot be set up: {0}")]
    SetUp(String),
}

/// Plays runs.
pub trait World: fmt::Debug + Send + Sync {
    /// How the command line and run directories call it.
    fn name(&self) -> &'static str;

    /// Whether the same seed gives the same bytes.
    fn is_deterministic(&self) -> bool;

    /// Why it cannot play the scenario, if it cannot.
    fn refuses(&self, scenario: &Scenario) -> Option<String>;

    /// How many runs may go on at a time without one changing what another shows; none: any number.
    fn runs_at_a_time(&self) -> Option<NonZeroUsize>;

    /// Plays one run to its end.
    ///
    /// # Errors
    /// If it cannot be played to its end.
    fn play(&self, play: &Play<'_>) -> Result<Played, WorldError>;
}
