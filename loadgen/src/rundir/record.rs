//! `run.json`: everything about a run but its raw data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{LoadReport, RunOutcome};
use crate::plan::{LoadPlan, Pace};
use crate::results::Results;
use crate::rundir::utc_rfc3339;
use crate::search::SearchRecord;
use crate::trust::{Figures, MachineInfo, Trust};
use crate::windows::WindowResults;

/// The version of the format. It changes when a reader of the old one would be misled.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole of `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What kind of run it was, such as `bench`.
    pub kind: String,
    /// The run's name, as in its directory.
    pub name: String,
    /// The command that made it, argument by argument.
    pub command_line: Vec<String>,
    /// The seed of all that is random in it.
    pub seed: u64,
    /// The simulator's tick in milliseconds; none in real time.
    pub tick_ms: Option<u64>,
    /// The source revision of the program.
    pub revision: Option<Revision>,
    /// Versions of the program and what it was built with, by name.
    pub versions: BTreeMap<String, String>,
    /// The machine.
    pub machine: MachineInfo,
    /// When the measurement began (UTC, RFC 3339).
    pub started: String,
    /// `open` or `closed`: whether operations came from a schedule or from waiting clients.
    #[serde(rename = "loop")]
    pub load_loop: Option<String>,
    /// The configuration with all defaults filled in: `plan` and whatever the caller adds.
    pub config: serde_json::Map<String, Value>,
    /// Operations a second that were due; none in a closed loop.
    pub offered_per_s: Option<f64>,
    /// Operations a second that were answered in time.
    pub achieved_per_s: Option<f64>,
    /// The load phase.
    pub load: Option<LoadRecord>,
    /// The warm-up, apart from the results.
    pub warmup: Option<Results>,
    /// The measurement.
    pub results: Option<Results>,
    /// What it was like before, while and after something was done to the store; empty if nothing was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowResults>,
    /// The search for the highest rate that an objective allows; everything else is then about the last
    /// trial at the highest rate that was held. None if nothing was searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchRecord>,
    /// How far all of this can be trusted.
    pub trust: Option<Trust>,
    /// Whether the run was stopped before its end, so that this is a part of it.
    pub interrupted: bool,
}

/// A source revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// The commit, in full.
    pub commit: String,
    /// Whether files were changed since.
    pub dirty: bool,
}

/// The load phase in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRecord {
    /// Keys to write.
    pub keys: u64,
    /// Keys whose write was acknowledged.
    pub loaded: u64,
    /// Keys that may or may not be there.
    pub unknown: u64,
    /// Keys that were refused.
    pub failed: u64,
    /// How long it took.
    pub elapsed_s: f64,
    /// The first error, as an example.
    pub first_error: Option<String>,
}

impl From<&LoadReport> for LoadRecord {
    fn from(report: &LoadReport) -> Self {
        Self {
            keys: report.keys,
            loaded: report.loaded,
            unknown: report.unknown,
            failed: report.failed,
            elapsed_s: report.elapsed_ns as f64 / 1e9,
            first_error: report.first_error.clone(),
        }
    }
}

impl Revision {
    /// The commit as directory names have it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.commit.get(..7).unwrap_or(&self.commit)
    }
}

impl RunRecord {
    /// A record of what `outcome` says about a run of `plan`. The caller fills in what only it
    /// knows: command line, revision, versions, more of the configuration.
    #[must_use]
    pub fn of(
        kind: &str,
        name: &str,
        plan: &LoadPlan,
        outcome: &RunOutcome,
        machine: MachineInfo,
        started_wall_ns: u64,
    ) -> Self {
        let results = outcome.measure.as_ref().map(Results::of);
        let figures = outcome.measure.as_ref().map(|report| Figures::of(report, &plan.pace, machine.cores));
        let (load_loop, open) = match plan.pace {
            Pace::Open { .. } => ("open", true),
            Pace::Closed { .. } => ("closed", false),
        };
        let mut config = serde_json::Map::new();
        let plan_json = serde_json::to_value(plan).expect("a plan is plain numbers and names");
        config.insert("plan".to_owned(), plan_json);
        let started_wall_ns = outcome.measure.as_ref().map_or(started_wall_ns, |r| r.started_wall_ns);
        Self {
            schema_version: SCHEMA_VERSION,
            kind: kind.to_owned(),
            name: name.to_owned(),
            command_line: Vec::new(),
            seed: plan.seed,
            tick_ms: None,
            revision: None,
            versions: BTreeMap::new(),
            machine,
            started: utc_rfc3339(started_wall_ns),
            load_loop: Some(load_loop.to_owned()),
            config,
            offered_per_s: results.as_ref().filter(|_| open).map(|r| r.offered_per_s),
            achieved_per_s: results.as_ref().map(|r| r.achieved_per_s),
            load: outcome.load.as_ref().map(LoadRecord::from),
            warmup: outcome.warmup.as_ref().map(Results::of),
            results,
            windows: Vec::new(),
            search: None,
            trust: figures.map(Figures::judge),
            interrupted: outcome.interrupted,
        }
    }

    /// The text of `run.json`.
    ///
    /// # Panics
    /// Never: all of it is plain data.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a record is plain data");
        json.push('\n');
        json
    }
}
