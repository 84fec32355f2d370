//! What load to make: typed, checked as a whole before anything starts.
//!
//! [`PlanSettings`] is what people write, with everything optional; [`LoadPlan`] is what runs.

mod file;
mod http;
mod part;
mod settings;

use std::time::Duration;

use quorate_env::random::mix;
use serde::Serialize;

pub use file::{WorkloadFileError, read_workload};
pub use http::{Http, NoSuchHttp};
pub use part::{NotAPart, Part};
pub use settings::{DistributionName, PlanSettings};

use crate::arrivals::{ArrivalKind, Rate, Schedule};
use crate::keys::KeyDistribution;
use crate::observe::Phase;
use crate::sizes::ValueSizes;
use crate::workload::{Mix, STRETCH};

/// Where operations come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "loop", rename_all = "kebab-case")]
pub enum Pace {
    /// From a schedule, whatever the store does: latency includes the wait for a connection.
    Open {
        /// When operations are due.
        #[serde(flatten)]
        schedule: Schedule,
    },
    /// From so many clients, each waiting for its reply before the next operation. A slow store
    /// slows the load down, so these latencies must not be compared with those of an open loop.
    Closed {
        /// How many clients.
        clients: usize,
    },
}

/// A whole load, checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadPlan {
    /// Seed of arrivals, operations and the spread of popular keys.
    pub seed: u64,
    /// What the workload is called.
    pub workload: String,
    /// Number of keys that are loaded, from 0.
    pub keys: u64,
    /// Sizes of values, in bytes.
    pub value_bytes: ValueSizes,
    /// Kinds of operations.
    pub mix: Mix,
    /// Popularity of keys.
    pub distribution: KeyDistribution,
    /// Open or closed loop.
    pub pace: Pace,
    /// Which part of the schedule is taken, if other machines take the rest.
    pub part: Option<Part>,
    /// In which HTTP nodes of a Quorate store are spoken to.
    pub http: Http,
    /// Connections at most; of a store of several nodes, to each.
    pub connections: usize,
    /// Operations in flight at once on each connection, so that `connections` times this are in flight at
    /// most. More than 1 only in HTTP/2. A connection is shared only when as many as may be are in use.
    pub streams: usize,
    /// Threads of the generator. Each has its part of the slots, of the connections and of the backlog.
    pub threads: usize,
    /// Slots that may wait for a connection. Beyond that, slots are dropped, and reported.
    pub backlog_max: usize,
    /// Whether every key is written first.
    pub load: bool,
    /// Load before the measurement that is recorded apart.
    #[serde(rename = "warmup_s", serialize_with = "seconds")]
    pub warmup: Duration,
    /// Length of the measurement.
    #[serde(rename = "duration_s", serialize_with = "seconds")]
    pub duration: Duration,
    /// How long one operation may take.
    #[serde(rename = "deadline_s", serialize_with = "seconds")]
    pub deadline: Duration,
    /// Which measurement of one store it is, from 0: operations and arrivals of each are its own.
    #[serde(skip)]
    pub trial: u64,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// A plan that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two settings that exclude each other.
    #[error("{a} ({a_value}) and {b} ({b_value}) clash: {why}")]
    Clash {
        /// One setting.
        a: &'static str,
        /// As given.
        a_value: String,
        /// The other setting.
        b: &'static str,
        /// As given.
        b_value: String,
        /// Why, and what to do.
        why: &'static str,
    },
    /// A value outside its range.
    #[error("{field} ({value}) must be {allowed}")]
    OutOfRange {
        /// The setting.
        field: &'static str,
        /// As given.
        value: String,
        /// What would be accepted.
        allowed: &'static str,
    },
}

impl LoadPlan {
    /// The load of `quorate bench` without arguments.
    ///
    /// # Panics
    /// Never: a test holds the defaults to be valid.
    #[must_use]
    pub fn default_bench() -> Self {
        PlanSettings::default().resolve().expect("the defaults are valid")
    }

    /// Whether its operations are gets and nothing else, once the keys are loaded.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        let Mix { get: _, put, delete, update, insert } = self.mix;
        let has_trace = matches!(&self.pace, Pace::Open { schedule } if schedule.trace().is_some());
        !has_trace && [put, delete, update, insert].iter().all(|weight| *weight == 0.0)
    }

    /// The index of a phase's first operation: warm-up and measurement of each trial have a stretch of
    /// the index of their own, so that none changes with the length of another.
    #[must_use]
    pub fn first_index(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Load | Phase::Measure => 2 * self.trial * STRETCH,
            Phase::Warmup => (2 * self.trial + 1) * STRETCH,
        }
    }

    /// The same load at another rate, as trial number `trial` of a search: an open loop, without loading the
    /// keys again after the first.
    #[must_use]
    pub fn at_rate(&self, per_s: f64, trial: u64) -> Self {
        let arrivals = match &self.pace {
            Pace::Open { schedule: Schedule::Rate { arrivals, .. } } => *arrivals,
            Pace::Open { schedule: Schedule::Trace { .. } } | Pace::Closed { .. } => ArrivalKind::default(),
        };
        let schedule = Schedule::Rate { arrivals, rate: Rate::Constant { per_s } };
        let pace = Pace::Open { schedule };
        let backlog_max = self.backlog_max.max(pace.backlog());
        Self { pace, backlog_max, load: self.load && trial == 0, trial, ..self.clone() }
    }

    /// The seed of a phase's arrivals.
    #[must_use]
    pub fn arrivals_seed(&self, phase: Phase) -> u64 {
        let seed = if self.trial == 0 { self.seed } else { mix(self.seed ^ mix(self.trial)) };
        match phase {
            Phase::Load | Phase::Measure => seed,
            Phase::Warmup => mix(seed),
        }
    }

    /// The most operations in flight.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self.pace {
            Pace::Open { .. } => self.connections * self.streams,
            Pace::Closed { clients } => clients,
        }
    }

    /// The most connections to one node, of each thread: threads share none.
    #[must_use]
    pub fn connections_per_thread(&self) -> usize {
        match self.pace {
            // Where connections carry several operations, threads have equally many of them.
            Pace::Open { .. } => self.connections.div_ceil(self.threads),
            Pace::Closed { clients } => clients.div_ceil(self.threads),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gets_are_only_reads() {
        let with = |mix| LoadPlan { mix, ..LoadPlan::default_bench() }.only_reads();
        let gets = Mix { get: 1.0, ..Mix::default() };
        assert!(with(gets));
        for mix in [
            Mix::half_and_half(),
            Mix { delete: 0.1, ..gets },
            Mix { update: 0.1, ..gets },
            Mix { insert: 0.1, ..gets },
        ] {
            assert!(!with(mix), "{mix:?}");
        }
    }

    #[test]
    fn trials_differ_in_operations_and_arrivals_but_not_in_what_is_asked_for() {
        let plan = LoadPlan::default_bench();
        let [first, second] = [0, 1].map(|trial| plan.at_rate(500.0, trial));
        assert!(first.load && !second.load);
        assert_eq!((&first.mix, first.keys), (&second.mix, second.keys));
        let phases = [Phase::Warmup, Phase::Measure];
        let indexes: Vec<u64> =
            [&first, &second].iter().flat_map(|plan| phases.map(|phase| plan.first_index(phase))).collect();
        assert_eq!(indexes, [STRETCH, 0, 3 * STRETCH, 2 * STRETCH]);
        let mut seeds: Vec<u64> =
            [&first, &second].iter().flat_map(|plan| phases.map(|phase| plan.arrivals_seed(phase))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 4);
        assert_eq!(first.arrivals_seed(Phase::Measure), plan.seed);
    }
}
