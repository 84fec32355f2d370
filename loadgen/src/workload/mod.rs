//! What operation i is: a pure function of (seed, i).
//!
//! Warm-up and measurement, and each trial of a search, are stretches of the index of their own
//! ([`STRETCH`]), so that none repeats what another wrote and none depends on how long another was.
//!
//! Not here: when an operation is due ([`crate::arrivals`]), who sends it, what the store does with it.

mod inserts;
mod kind;
mod named;

use crate::arrivals::Trace;
use crate::draws::{Draws, Purpose};
use crate::keys::KeyChooser;
use crate::plan::{LoadPlan, Pace};
use crate::sizes::ValueSizes;
use crate::value::ValueId;
use inserts::Inserts;

pub use kind::{Mix, OpKind};
pub use named::{UnknownWorkload, WORKLOADS, named};

/// The process in the names of values written by the load phase.
pub const LOAD_PROCESS: u32 = 0;

/// The process in the names of values written by warm-up and measurement.
pub const RUN_PROCESS: u32 = 1;

/// Operations in a stretch of the index: more than any phase lasts.
pub const STRETCH: u64 = 1 << 40;

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
    /// The size of what it writes, in bytes; 0 if it writes nothing.
    pub value_bytes: usize,
}

/// The operations of a run.
#[derive(Clone, Debug)]
pub struct Workload {
    seed: u64,
    mix: Mix,
    chooser: KeyChooser,
    inserts: Inserts,
    sizes: ValueSizes,
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
        let inserts = Inserts::new(plan.mix.insert_share(), plan.seed);
        Self {
            seed: plan.seed,
            mix: plan.mix,
            chooser: KeyChooser::new(plan.distribution, plan.keys, plan.seed, inserts.any()),
            inserts,
            sizes: plan.value_bytes.clone(),
            trace,
        }
    }

    /// Operation `index`.
    #[must_use]
    pub fn operation(&self, index: u64) -> Operation {
        let (stretch, within) = (index / STRETCH, index % STRETCH);
        let line = self.trace.as_ref().and_then(|trace| trace.lines().get(usize::try_from(index).ok()?));
        let mut draws = Draws::new(self.seed, Purpose::Operations, index);
        let (mut kind, mut key) = match self.inserts.number(stretch, within) {
            Some(number) => (OpKind::Insert, self.inserted(stretch, number)),
            None => {
                let kind = self.mix.pick_of_others(draws.unit());
                let loaded = self.chooser.keys();
                let key = self.chooser.choose(within, loaded + self.inserts.settled(within), &mut draws);
                (kind, if key < loaded { key } else { self.inserted(stretch, key - loaded) })
            }
        };
        if let Some(line) = line {
            kind = line.kind.unwrap_or(kind);
            key = line.key.unwrap_or(key);
        }
        let value = ValueId { process: RUN_PROCESS, sequence: index };
        let value_bytes = if kind.writes_a_value() { self.sizes.of_operation(self.seed, index) } else { 0 };
        Operation { index, kind, key, value, value_bytes }
    }

    /// The operation that loads key number `key`.
    #[must_use]
    pub fn load(&self, key: u64) -> Operation {
        Operation {
            index: key,
            kind: OpKind::Put,
            key,
            value: ValueId { process: LOAD_PROCESS, sequence: key },
            value_bytes: self.sizes.of_loaded(self.seed, key),
        }
    }

    /// The number of the key that insert `number` of a stretch writes: those of the measurement follow the
    /// loaded ones, others have numbers that no loaded key can have.
    fn inserted(&self, stretch: u64, number: u64) -> u64 {
        if stretch == 0 { self.chooser.keys() + number } else { stretch * (4 * STRETCH) + number }
    }

    /// The numbers of all keys beyond the loaded ones that the first `count` operations from
    /// `first_index` on may have written, in ascending order.
    #[must_use]
    pub fn keys_beyond_loaded(&self, first_index: u64, count: u64) -> Vec<u64> {
        let traced = self.trace.as_ref().map_or(0, |trace| trace.lines().len() as u64);
        if !self.inserts.any() && traced == 0 {
            return Vec::new();
        }
        let operations = (first_index..first_index + count).map(|index| self.operation(index));
        let mut keys: Vec<u64> =
            operations.map(|operation| operation.key).filter(|key| *key >= self.chooser.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// The name of key number `key`, as the store sees it: of one length for any likely number.
#[must_use]
pub fn key_name(key: u64) -> String {
    let mut name = String::new();
    write_key_name(key, &mut name);
    name
}

/// Appends [`key_name`] to `out`.
pub fn write_key_name(key: u64, out: &mut String) {
    // By hand: formatting would cost as much as the look-up of its connection.
    out.push_str("key");
    let digits = key.checked_ilog10().unwrap_or_default().max(9);
    for place in (0..=digits).rev() {
        out.push(char::from(b'0' + (key / 10_u64.pow(place) % 10) as u8));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::plan::{DistributionName, PlanSettings};

    fn workload(seed: u64, mix: Mix, distribution: DistributionName) -> Workload {
        let settings = PlanSettings {
            seed: Some(seed),
            keys: Some(100),
            mix: Some(mix),
            distribution: Some(distribution),
            ..PlanSettings::default()
        };
        Workload::of(&settings.resolve().unwrap())
    }

    fn mostly_gets() -> Mix {
        Mix { get: 3.0, put: 1.0, ..Mix::default() }
    }

    fn growing(insert: f64, distribution: DistributionName) -> Workload {
        workload(5, Mix { get: 1.0 - insert, insert, ..Mix::default() }, distribution)
    }

    #[test]
    fn names_of_keys_are_of_one_length_for_any_likely_number() {
        for key in [0, 7, 123, 9_999_999_999, 10_000_000_000, u64::MAX] {
            assert_eq!(key_name(key), format!("key{key:010}"));
        }
    }

    #[test]
    fn operation_i_is_the_same_whatever_was_asked_before() {
        for make in [
            || workload(5, mostly_gets(), DistributionName::Zipfian),
            || growing(0.1, DistributionName::Latest),
            || growing(0.1, DistributionName::Zipfian),
        ] {
            let (first, again) = (make(), make());
            for start in [0, STRETCH] {
                let forward: Vec<_> = (start..start + 5000).map(|i| first.operation(i)).collect();
                let mut backward: Vec<_> = (start..start + 5000).rev().map(|i| again.operation(i)).collect();
                backward.reverse();
                assert_eq!(forward, backward);
            }
        }
        let operations = |seed| {
            let workload = workload(seed, mostly_gets(), DistributionName::Zipfian);
            (0..1000).map(|i| workload.operation(i)).collect::<Vec<_>>()
        };
        assert_ne!(operations(5), operations(6));
    }

    #[test]
    fn the_mix_is_kept_and_nothing_else_is_drawn() {
        let mix = Mix { get: 6.0, put: 2.0, delete: 1.0, update: 0.5, insert: 0.5 };
        let workload = workload(5, mix, DistributionName::Uniform);
        let mut counts = [0; 5];
        (0..100 * inserts::BLOCK).for_each(|i| counts[workload.operation(i).kind as usize] += 1);
        assert_eq!(counts[OpKind::Insert as usize], 5120, "exactly a twentieth");
        let fit = crate::fit::chi_square(&counts, &[0.6, 0.2, 0.1, 0.05, 0.05]);
        assert!(fit.p > 0.01, "{counts:?} {fit:?}");
        let mut gets = [0; 5];
        let puts = super::Workload {
            mix: Mix { put: 1.0, ..Mix::default() },
            inserts: Inserts::new(0.0, 1),
            ..workload
        };
        (0..1000).for_each(|i| gets[puts.operation(i).kind as usize] += 1);
        assert_eq!(gets, [0, 1000, 0, 0, 0]);
    }

    #[test]
    fn keys_are_in_range_and_sequential_visits_each_in_turn() {
        let sequential = workload(5, mostly_gets(), DistributionName::Sequential);
        assert!((0..300).all(|i| sequential.operation(i).key == i % 100));
        let zipfian = workload(5, mostly_gets(), DistributionName::Zipfian);
        assert!((0..10_000).all(|i| zipfian.operation(i).key < 100));
    }

    #[test]
    fn an_insert_is_of_a_new_key_and_gets_find_only_keys_that_were_inserted_before() {
        for distribution in [DistributionName::Latest, DistributionName::Uniform, DistributionName::Zipfian] {
            let workload = growing(0.05, distribution);
            for (start, first_new) in [(0, 100), (STRETCH, 4 * STRETCH), (2 * STRETCH, 8 * STRETCH)] {
                const COUNT: u64 = 48 * inserts::BLOCK;
                let mut there: std::collections::BTreeSet<u64> = (0..100).collect();
                let mut newest_read = 0;
                for index in start..start + COUNT {
                    let Operation { kind, key, .. } = workload.operation(index);
                    if kind == OpKind::Insert {
                        assert!(key >= first_new && there.insert(key), "{index}: {key} is new");
                    } else {
                        // Inserts of one block come in any order; all are older than what is read.
                        assert!(there.contains(&key), "{index}: {key} is there");
                        newest_read = newest_read.max(key);
                    }
                }
                assert_eq!(there.len(), 100 + 2457);
                assert!(newest_read > first_new + 2300, "{distribution:?}: reads follow: {newest_read}");
                let beyond = workload.keys_beyond_loaded(start, COUNT);
                assert!(beyond.iter().copied().eq(there.into_iter().filter(|key| *key >= 100)));
            }
        }
    }

    #[test]
    fn a_trace_says_what_it_wants_to_and_the_rest_is_drawn() {
        let text = "0\n0 delete\n0 - 7\n0 insert 100\n";
        let trace = Trace::parse("t".to_owned(), text.as_bytes()).unwrap();
        let plan = PlanSettings { trace: Some(trace), keys: Some(100), ..PlanSettings::default() };
        let traced = Workload::of(&plan.resolve().unwrap());
        let drawn = Workload { trace: None, ..traced.clone() };
        for index in [0, 4, STRETCH] {
            assert_eq!(traced.operation(index), drawn.operation(index));
        }
        let operation = |index| traced.operation(index);
        assert_eq!((operation(1).kind, operation(1).key), (OpKind::Delete, drawn.operation(1).key));
        assert_eq!((operation(2).kind, operation(2).key), (drawn.operation(2).kind, 7));
        assert_eq!((operation(3).kind, operation(3).key), (OpKind::Insert, 100));
        assert_eq!(traced.keys_beyond_loaded(0, 4), [100]);
    }

    #[test]
    fn every_write_has_a_name_of_its_own_and_only_writes_have_a_size() {
        let workload = workload(5, mostly_gets(), DistributionName::Uniform);
        let mut names: Vec<_> =
            (0..1000).chain(STRETCH..STRETCH + 1000).map(|i| workload.operation(i).value).collect();
        names.extend((0..100).map(|k| workload.load(k).value));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 2100);
        for index in 0..1000 {
            let operation = workload.operation(index);
            assert_eq!(operation.value_bytes, if operation.kind == OpKind::Get { 0 } else { 1024 });
        }
    }
}
