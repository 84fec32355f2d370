//! What operation i is: a pure function of (seed, i).
//!
//! Not here: when it is due ([`crate::arrivals`]), who sends it, what the store does with it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::arrivals::Trace;
use crate::draws::{Draws, Purpose};
use crate::keys::{KeyChooser, KeyDistribution};
use crate::plan::{LoadPlan, Pace};
use crate::value::ValueId;

/// The process in the names of values written by the load phase.
pub const LOAD_PROCESS: u32 = 0;

/// The process in the names of values written by warm-up and measurement.
pub const RUN_PROCESS: u32 = 1;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    /// Reads a key.
    Get,
    /// Writes a key, with the newest context seen for it.
    Put,
    /// Removes a key, with the newest context seen for it.
    Delete,
    /// Reads a key, then writes it with what the read gave; measured as one.
    Update,
    /// Writes a key that is new.
    Insert,
}

impl OpKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Delete, Self::Update, Self::Insert];

    /// The name in tags, files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Update => "update",
            Self::Insert => "insert",
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How operations are mixed, by relative weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Weight of gets.
    pub get: f64,
    /// Weight of puts.
    pub put: f64,
    /// Weight of deletes.
    pub delete: f64,
    /// Weight of updates.
    pub update: f64,
}

impl Default for Mix {
    /// Nothing at all, so that a configured mix holds what it names.
    fn default() -> Self {
        Self { get: 0.0, put: 0.0, delete: 0.0, update: 0.0 }
    }
}

impl Mix {
    /// Half gets, half puts.
    #[must_use]
    pub fn half_and_half() -> Self {
        Self { get: 0.5, put: 0.5, ..Self::default() }
    }

    /// The weights in the order of [`OpKind::ALL`].
    #[must_use]
    pub fn weights(&self) -> [f64; 4] {
        [self.get, self.put, self.delete, self.update]
    }

    fn pick(&self, unit: f64) -> OpKind {
        let weights = self.weights();
        let mut left = unit * weights.iter().sum::<f64>();
        let mut last = OpKind::Get;
        for (kind, weight) in OpKind::ALL.into_iter().zip(weights) {
            if weight > 0.0 {
                last = kind;
                if left < weight {
                    return kind;
                }
                left -= weight;
            }
        }
        // Rounding may leave a crumb beyond the end.
        last
    }
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which one of the run.
    pub index: u64,
    /// What it does.
    pub kind: OpKind,
    /// The number of its key.
    pub key: u64,
    /// The name of what it writes, if it does.
    pub value: ValueId,
}

/// The operations of a run.
#[derive(Clone, Debug)]
pub struct Workload {
    seed: u64,
    mix: Mix,
    chooser: KeyChooser,
    trace: Option<Trace>,
}

impl Workload {
    /// The workload of a plan.
    #[must_use]
    pub fn of(plan: &LoadPlan) -> Self {
        let trace = match &plan.pace {
            Pace::Open { schedule } => schedule.trace().cloned(),
            Pace::Closed { .. } => None,
        };
        Self { trace, ..Self::new(plan.seed, plan.mix, plan.distribution, plan.keys) }
    }

    /// A workload over keys 0 to `keys`-1.
    ///
    /// # Panics
    /// If there are no keys; plans are checked before.
    #[must_use]
    pub fn new(seed: u64, mix: Mix, distribution: KeyDistribution, keys: u64) -> Self {
        Self { seed, mix, chooser: KeyChooser::new(distribution, keys, seed), trace: None }
    }

    /// Operation `index`.
    #[must_use]
    pub fn operation(&self, index: u64) -> Operation {
        let mut draws = Draws::new(self.seed, Purpose::Operations, index);
        let kind = self.mix.pick(draws.unit());
        let key = self.chooser.choose(index, &mut draws);
        let line = self.trace.as_ref().and_then(|trace| trace.lines().get(usize::try_from(index).ok()?));
        let kind = line.and_then(|line| line.kind).unwrap_or(kind);
        let key = line.and_then(|line| line.key).unwrap_or(key);
        Operation { index, kind, key, value: ValueId { process: RUN_PROCESS, sequence: index } }
    }

    /// The operation that loads key number `key`.
    #[must_use]
    pub fn load(key: u64) -> Operation {
        Operation {
            index: key,
            kind: OpKind::Put,
            key,
            value: ValueId { process: LOAD_PROCESS, sequence: key },
        }
    }
}

/// The name of key number `key`, as the store sees it: of one length for any likely number.
#[must_use]
pub fn key_name(key: u64) -> String {
    format!("key{key:010}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanSettings;

    /// An operation of a warm-up.
    const WARMUP: u64 = 1 << 40;

    fn workload(distribution: KeyDistribution) -> Workload {
        Workload::new(5, Mix { get: 3.0, put: 1.0, ..Mix::default() }, distribution, 100)
    }

    #[test]
    fn operation_i_is_the_same_whatever_was_asked_before() {
        let first = workload(KeyDistribution::Zipfian { theta: 0.99 });
        let again = workload(KeyDistribution::Zipfian { theta: 0.99 });
        let forward: Vec<_> = (0..1000).map(|i| first.operation(i)).collect();
        let mut backward: Vec<_> = (0..1000).rev().map(|i| again.operation(i)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        let other = Workload::new(6, Mix::half_and_half(), KeyDistribution::Uniform, 100);
        assert_ne!(forward, (0..1000).map(|i| other.operation(i)).collect::<Vec<_>>());
    }

    #[test]
    fn the_mix_is_kept_and_nothing_else_is_drawn() {
        let workload = workload(KeyDistribution::Uniform);
        let gets = (0..100_000).filter(|&i| workload.operation(i).kind == OpKind::Get).count();
        let puts = (0..100_000).filter(|&i| workload.operation(i).kind == OpKind::Put).count();
        assert_eq!(gets + puts, 100_000);
        assert!((74_000..76_000).contains(&gets), "{gets}");
    }

    #[test]
    fn keys_are_in_range_and_sequential_visits_each_in_turn() {
        let sequential = workload(KeyDistribution::Sequential);
        assert!((0..300).all(|i| sequential.operation(i).key == i % 100));
        let zipfian = workload(KeyDistribution::Zipfian { theta: 1.2 });
        assert!((0..10_000).all(|i| zipfian.operation(i).key < 100));
    }

    #[test]
    fn a_trace_says_what_it_wants_to_and_the_rest_is_drawn() {
        let text = "0\n0 delete\n0 - 7\n0 insert 100\n";
        let trace = Trace::parse("t".to_owned(), text.as_bytes()).expect("a trace");
        let plan = PlanSettings { trace: Some(trace), keys: Some(100), ..PlanSettings::default() };
        let traced = Workload::of(&plan.resolve().expect("a plan"));
        let drawn = Workload { trace: None, ..traced.clone() };
        for index in [0, 4, WARMUP] {
            assert_eq!(traced.operation(index), drawn.operation(index));
        }
        let operation = |index| traced.operation(index);
        assert_eq!((operation(1).kind, operation(1).key), (OpKind::Delete, drawn.operation(1).key));
        assert_eq!((operation(2).kind, operation(2).key), (drawn.operation(2).kind, 7));
        assert_eq!((operation(3).kind, operation(3).key), (OpKind::Insert, 100));
    }

    #[test]
    fn every_write_has_a_name_of_its_own() {
        let workload = workload(KeyDistribution::Uniform);
        let mut names: Vec<_> = (0..1000).map(|i| workload.operation(i).value).collect();
        names.extend((0..100).map(|k| Workload::load(k).value));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 1100);
    }
}
