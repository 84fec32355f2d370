//! The definitions once more, by plain sets and nested loops, and random histories to hold the fast
//! checks against them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use super::limits::tests::with_tiny_limits;
use crate::history::{Argument, Function, History, Operation, Outcome, Value, sort_by_invocation};
use crate::report::{Guarantee, Kind, Model, Verdict};
use crate::say;
use crate::testing::{Random, fuzz};
use crate::{Options, Violation, check};

type Set = BTreeSet<Value>;

/// The operations of one key and, by value, everything its writer had read.
struct Plain<'o> {
    operations: &'o [Operation],
    past: BTreeMap<Value, Set>,
}

pub(super) fn id(operation: &Operation) -> Option<Value> {
    match &operation.value {
        Some(Argument::One(value)) => Some(value.clone()),
        _ => None,
    }
}

impl<'o> Plain<'o> {
    fn new(operations: &'o [Operation]) -> Self {
        let writes: Vec<&Operation> =
            operations.iter().filter(|o| o.f != Function::Get && o.outcome != Outcome::Fail).collect();
        let known: Set = writes.iter().filter_map(|o| id(o)).collect();
        let mut past: BTreeMap<Value, Set> = writes
            .iter()
            .map(|o| (id(o).unwrap(), o.context.iter().filter(|c| known.contains(c)).cloned().collect()))
            .collect();
        // Warshall without finesse: until nothing changes.
        loop {
            let before = past.clone();
            for set in past.values_mut() {
                for value in set.clone() {
                    set.extend(before[&value].iter().cloned());
                }
            }
            if before == past {
                return Plain { operations, past };
            }
        }
    }

    fn cover(&self, values: &[Value]) -> Set {
        let mut cover: Set = values.iter().filter(|v| self.past.contains_key(v)).cloned().collect();
        for value in values {
            cover.extend(self.past.get(value).cloned().unwrap_or_default());
        }
        cover
    }

    fn precedes(&self, a: usize, b: usize) -> bool {
        let (first, second) = (&self.operations[a], &self.operations[b]);
        first.return_ns.is_some_and(|ret| ret < second.invoke_ns)
            || (first.process == second.process && a < b)
    }

    fn numbers(&self, wanted: impl Fn(&Operation) -> bool) -> Vec<usize> {
        (0..self.operations.len()).filter(|&at| wanted(&self.operations[at])).collect()
    }

    fn reads(&self) -> Vec<usize> {
        self.numbers(|o| o.f == Function::Get && o.outcome == Outcome::Ok && o.node.is_none())
    }

    fn acked_puts(&self) -> Vec<usize> {
        self.numbers(|o| o.f == Function::Put && o.outcome == Outcome::Ok)
    }

    fn values(&self, get: usize) -> &[Value] {
        self.operations[get].values.as_deref().unwrap()
    }

    fn id(&self, operation: usize) -> Value {
        id(&self.operations[operation]).unwrap()
    }

    /// What a get need not show: the past of deletes that may have happened before it returned.
    fn removed(&self, get: usize) -> Set {
        let until = self.operations[get].return_ns.unwrap();
        self.operations
            .iter()
            .filter(|o| o.f == Function::Delete && o.outcome != Outcome::Fail && o.invoke_ns <= until)
            .flat_map(|o| self.past[&id(o).unwrap()].clone())
            .collect()
    }

    fn stale(&self) -> BTreeSet<usize> {
        let deletes = self.numbers(|o| o.f == Function::Delete && o.outcome == Outcome::Ok);
        self.reads()
            .into_iter()
            .filter(|&get| {
                let shown: Set = &self.cover(self.values(get)) | &self.removed(get);
                let missed = self
                    .acked_puts()
                    .into_iter()
                    .any(|put| self.precedes(put, get) && !shown.contains(&self.id(put)));
                let undead = deletes.iter().any(|&delete| {
                    self.precedes(delete, get)
                        && self.values(get).iter().any(|v| self.past[&self.id(delete)].contains(v))
                });
                missed || undead
            })
            .collect()
    }

    fn same_session(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.operations[a], &self.operations[b]);
        match (&a.session, &b.session) {
            (None, None) => a.process == b.process,
            (a, b) => a == b,
        }
    }

    /// Gets that break a guarantee, straight from its definition.
    fn broken(&self, guarantee: Guarantee) -> BTreeSet<usize> {
        let acked = |f: Function| self.numbers(|o| o.f == f && o.outcome == Outcome::Ok);
        let (puts, deletes, reads) = (acked(Function::Put), acked(Function::Delete), self.reads());
        let writes = self.numbers(|o| o.f != Function::Get && o.outcome != Outcome::Fail);
        let before = |a: usize, b: usize| self.same_session(a, b) && self.precedes(a, b);
        let is_broken = |get: usize| {
            let cover = self.cover(self.values(get));
            let shown: Set = &cover | &self.removed(get);
            let shows = |write: usize| shown.contains(&self.id(write));
            let misses_read = |read: usize| !self.cover(self.values(read)).is_subset(&shown);
            let has = |write: usize| cover.contains(&self.id(write));
            match guarantee {
                Guarantee::ReadYourWrites => {
                    puts.iter().any(|&put| before(put, get) && !shows(put))
                        || deletes.iter().any(|&delete| {
                            let past = &self.past[&self.id(delete)];
                            before(delete, get) && self.values(get).iter().any(|v| past.contains(v))
                        })
                }
                Guarantee::MonotonicReads => reads.iter().any(|&read| before(read, get) && misses_read(read)),
                Guarantee::MonotonicWrites => writes
                    .iter()
                    .filter(|&&write| has(write))
                    .any(|&write| puts.iter().any(|&put| before(put, write) && !shows(put))),
                Guarantee::WritesFollowReads => writes
                    .iter()
                    .filter(|&&write| has(write))
                    .any(|&write| reads.iter().any(|&read| before(read, write) && misses_read(read))),
                Guarantee::ReadsGoBack => {
                    reads.iter().any(|&read| self.precedes(read, get) && misses_read(read))
                }
            }
        };
        reads.iter().copied().filter(|&get| is_broken(get)).collect()
    }

    fn lost_updates(&self) -> BTreeSet<usize> {
        let context = |at: usize| self.operations[at].context.iter().cloned().collect::<Set>();
        let writes = self.numbers(|o| o.f != Function::Get && o.outcome != Outcome::Fail);
        self.acked_puts()
            .into_iter()
            .filter(|&put| !context(put).is_empty())
            .filter(|&put| {
                self.reads().into_iter().any(|get| {
                    let cover = self.cover(self.values(get));
                    self.precedes(put, get)
                        && !cover.contains(&self.id(put))
                        && !self.removed(get).contains(&self.id(put))
                        && writes.iter().any(|&rival| {
                            rival != put && context(rival) == context(put) && cover.contains(&self.id(rival))
                        })
                })
            })
            .collect()
    }

    fn false_siblings(&self) -> BTreeSet<usize> {
        self.numbers(|o| o.f == Function::Get && o.outcome == Outcome::Ok)
            .into_iter()
            .filter(|&get| {
                let values = self.values(get);
                values.iter().any(|newer| {
                    values.iter().any(|older| self.past.get(newer).is_some_and(|past| past.contains(older)))
                })
            })
            .collect()
    }

    fn final_values(&self) -> Option<Set> {
        let last = self
            .numbers(|o| o.r#final && o.outcome == Outcome::Ok && o.node.is_none())
            .into_iter()
            .next_back()?;
        Some(self.values(last).iter().cloned().collect())
    }

    /// Straight from the definition: accounted for if there, or read by something accounted for.
    fn accounted(&self, value: &Value, finals: &Set) -> bool {
        finals.contains(value)
            || self.operations.iter().any(|o| {
                o.f != Function::Get
                    && o.outcome != Outcome::Fail
                    && o.context.contains(value)
                    && (o.f == Function::Delete || self.accounted(&id(o).unwrap(), finals))
            })
    }

    fn lost(&self) -> BTreeSet<usize> {
        let Some(finals) = self.final_values() else { return BTreeSet::new() };
        self.acked_puts().into_iter().filter(|&put| !self.accounted(&self.id(put), &finals)).collect()
    }

    fn resurrected(&self) -> Set {
        let finals = self.final_values().unwrap_or_default();
        let acked = self.numbers(|o| o.f != Function::Get && o.outcome == Outcome::Ok);
        finals
            .iter()
            .filter(|value| {
                acked.iter().any(|&newer| {
                    self.past[&self.id(newer)].contains(value) && !finals.contains(&self.id(newer))
                })
            })
            .cloned()
            .collect()
    }
}

/// A random history of one key: gets return any written values, writers name any values that were
/// called by then. `at_most` operations before the final reads.
pub(super) fn random(seed: u64, at_most: u64) -> Vec<Operation> {
    let mut random = Random(seed);
    let count = 2 + random.below(at_most - 1);
    let stamps = 2 + random.below(20);
    let sessions = random.once_in(3);
    let mut clocks = [0_u64; 4];
    let mut process_of = [0_u64, 1, 2, 3];
    let mut operations: Vec<Operation> = Vec::new();
    for number in 0..count {
        let client = random.below(4) as usize;
        let call = clocks[client] + random.below(stamps);
        let ret = call + random.below(stamps);
        clocks[client] = ret;
        let mut operation = Operation::invoked(process_of[client], Function::Get, "k", call);
        if random.once_in(2) {
            operation.f = if random.once_in(5) { Function::Delete } else { Function::Put };
            operation.value = Some(Argument::One((number as i64).into()));
        }
        if sessions && !random.once_in(4) {
            operation.session = Some((random.below(3) as i64).into());
        }
        (operation.outcome, operation.return_ns) = match random.below(10) {
            0 => (Outcome::Fail, Some(ret)),
            1 if operation.f != Function::Get => {
                process_of[client] += 4;
                (Outcome::Info, None)
            }
            _ => (Outcome::Ok, Some(ret)),
        };
        operations.push(operation);
    }
    let end = clocks.iter().max().unwrap() + 1;
    if !random.once_in(4) {
        for number in 0..1 + random.below(3) {
            let mut last = Operation::invoked(100 + number, Function::Get, "k", end + number);
            (last.outcome, last.return_ns, last.r#final) = (Outcome::Ok, Some(end + number), true);
            last.node = random.once_in(2).then(|| (number as i64).into());
            operations.push(last);
        }
    }
    sort_by_invocation(&mut operations);
    // A few values, of writes that did not fail, called early enough to be no phantoms.
    let few = |random: &mut Random, operations: &[Operation], until: u64, deletes: bool| {
        let mut values: Vec<Value> = operations
            .iter()
            .filter(|o| {
                o.f != Function::Get
                    && (deletes || o.f == Function::Put)
                    && o.outcome != Outcome::Fail
                    && o.invoke_ns < until
            })
            .filter_map(id)
            .collect();
        let keep = random.below(4) as usize;
        while values.len() > keep {
            let out = random.below(values.len() as u64) as usize;
            values.remove(out);
        }
        values
    };
    for at in 0..operations.len() {
        let operation = &operations[at];
        if operation.f == Function::Get && operation.outcome == Outcome::Ok {
            let until = operation.return_ns.unwrap();
            operations[at].values = Some(few(&mut random, &operations, until, false));
        } else if operation.f != Function::Get {
            let until = operation.invoke_ns;
            operations[at].context = few(&mut random, &operations, until, true);
        }
    }
    operations
}

const GUARANTEES: [Guarantee; 5] = [
    Guarantee::ReadYourWrites,
    Guarantee::MonotonicReads,
    Guarantee::MonotonicWrites,
    Guarantee::WritesFollowReads,
    Guarantee::ReadsGoBack,
];

/// Compares one history; the kinds and guarantees that it breaks.
fn compare(seed: u64, operations: &[Operation]) -> BTreeSet<&'static str> {
    let history = History::from_operations(operations).unwrap();
    let options = Options { model: Some(Model::Siblings), violations_max: 1000, ..Options::default() };
    let report = check(&history, &options);
    let plain = Plain::new(operations);
    // The get that a violation is about comes first in its story.
    let last = |of: &dyn Fn(&Violation) -> bool| -> BTreeSet<usize> {
        let found = report.violations.iter().filter(|v| of(v));
        let begins = |v: &Violation, at: usize| v.says.starts_with(&say::operation(&history, at as u32));
        found.map(|v| v.operations.iter().copied().rfind(|&at| begins(v, at)).unwrap()).collect()
    };
    let first = |kind: Kind, wanted: &BTreeSet<usize>| -> BTreeSet<usize> {
        let of_kind = report.violations.iter().filter(|v| v.kind == kind);
        of_kind.flat_map(|v| v.operations.iter().copied()).filter(|at| wanted.contains(at)).collect()
    };
    let context = || format!("seed {seed}\n{operations:#?}\n{:#?}", report.violations);
    assert_eq!(last(&|v| v.kind == Kind::Stale), plain.stale(), "{}", context());
    assert_eq!(last(&|v| v.kind == Kind::FalseSibling), plain.false_siblings(), "{}", context());
    let mut sessions = 0;
    for guarantee in GUARANTEES {
        let expected = plain.broken(guarantee);
        assert_eq!(last(&|v| v.guarantee == Some(guarantee)), expected, "{guarantee:?} {}", context());
        sessions += expected.len() as u64;
    }
    assert_eq!(report.count(Kind::Session), sessions, "each get once a guarantee: {}", context());
    for (kind, expected) in [(Kind::Lost, plain.lost()), (Kind::LostUpdate, plain.lost_updates())] {
        if kind == Kind::Lost && plain.final_values().is_none() {
            continue;
        }
        assert_eq!(report.count(kind), expected.len() as u64, "{kind:?} {}", context());
        assert_eq!(first(kind, &expected), expected, "{kind:?} {}", context());
    }
    if plain.final_values().is_some() {
        let expected = plain.resurrected();
        assert_eq!(report.count(Kind::Resurrected), expected.len() as u64, "{}", context());
    }
    assert_eq!(report.count(Kind::Phantom), 0, "{}", context());
    assert_eq!(report.verdict == Verdict::Valid, report.violation_counts.is_empty(), "{}", context());
    let of_violation = |v: &Violation| v.guarantee.map_or(v.kind.name(), Guarantee::name);
    report.violations.iter().map(of_violation).collect()
}

#[test]
fn the_sibling_and_session_rules_agree_with_plain_sets() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut illegal, histories) = (0, fuzz(25_000, 200_000));
    for seed in 0..histories {
        let operations = random(seed, if seed % 5 == 0 { 30 } else { 10 });
        // Every second history as if it were a long one: with epochs, and with debts that are not all kept.
        let broken = match seed % 4 {
            1 => with_tiny_limits(0, || compare(seed, &operations)),
            3 => with_tiny_limits(1, || compare(seed, &operations)),
            _ => compare(seed, &operations),
        };
        illegal += u64::from(!broken.is_empty());
        for name in broken {
            *seen.entry(name).or_default() += 1;
        }
    }
    println!("siblings and sessions: {histories} histories, {illegal} illegal: {seen:?}");
    assert!(illegal > histories / 5);
    assert!(seen.len() >= 11 && seen.values().all(|&count| count > 100), "every kind must occur: {seen:?}");
}
