//! What a violation names is enough to show it, and nothing of it can be left out: judged once more by the
//! checker itself, on what is named and all that its writers had read.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use super::oracle::{id, random};
use crate::history::{Function, History, Operation, Value};
use crate::report::{Kind, Model, Report};
use crate::testing::fuzz;
use crate::{Options, Violation, check};

fn judged(operations: &[Operation]) -> Report {
    let history = History::from_operations(operations).unwrap();
    let options = Options { model: Some(Model::Siblings), violations_max: 1000, ..Options::default() };
    check(&history, &options)
}

/// The values that an operation names.
fn names(operation: &Operation) -> impl Iterator<Item = &Value> {
    operation.values.iter().flatten().chain(&operation.context)
}

/// Operations with the writers of all that they name, and what those name.
fn closed(operations: &[Operation], of: &[usize]) -> BTreeSet<usize> {
    let writers: BTreeMap<Value, usize> = (0..)
        .zip(operations)
        .filter(|(_, o)| o.f != Function::Get)
        .map(|(at, o)| (id(o).unwrap(), at))
        .collect();
    let mut open = of.to_vec();
    let mut all = BTreeSet::new();
    while let Some(at) = open.pop() {
        if all.insert(at) {
            open.extend(names(&operations[at]).filter_map(|value| writers.get(value)));
        }
    }
    all
}

/// The violations of a part of a history that are of a kind and about the same operation, by their
/// operations' numbers in the whole.
fn again(operations: &[Operation], part: &BTreeSet<usize>, of: &Violation) -> Vec<Vec<usize>> {
    let numbers: Vec<usize> = part.iter().copied().collect();
    let report = judged(&numbers.iter().map(|&at| operations[at].clone()).collect::<Vec<_>>());
    let same = report.violations.iter().filter(|v| (v.kind, v.guarantee) == (of.kind, of.guarantee));
    let named = same.map(|v| v.operations.iter().map(|&at| numbers[at]).collect::<Vec<usize>>());
    named.filter(|found| found.last() == of.operations.last()).collect()
}

#[test]
fn a_violation_names_what_shows_it_and_no_more() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..fuzz(4_000, 40_000) {
        let operations = random(seed, 10);
        for violation in judged(&operations).violations {
            let name = violation.guarantee.map_or(violation.kind.name(), |guarantee| guarantee.name());
            *seen.entry(name).or_default() += 1;
            let whole = closed(&operations, &violation.operations);
            let found = again(&operations, &whole, &violation);
            let context = || format!("seed {seed}, {violation:#?} of {operations:#?}");
            // Of several things missed either may be named.
            let most = violation.operations.len();
            assert!(found.iter().any(|found| found.len() == most), "{found:?} {}", context());
            for &left_out in &violation.operations {
                let mut rest = whole.clone();
                rest.remove(&left_out);
                let named = id(&operations[left_out])
                    .is_some_and(|value| rest.iter().any(|&at| names(&operations[at]).any(|v| *v == value)));
                // A delete is also an excuse for others: without it, something else may be missed.
                if named || operations[left_out].f == Function::Delete {
                    continue;
                }
                // All copies together are the final values, so the last of them is not the whole story.
                let found = again(&operations, &rest, &violation);
                let smaller = found.iter().find(|found| found.len() < violation.operations.len());
                let by_copies = matches!(violation.kind, Kind::Lost | Kind::Resurrected);
                assert!(smaller.is_none() || by_copies, "without {left_out}: {smaller:?} {}", context());
            }
        }
    }
    println!("violations taken apart: {seen:?}");
    assert!(seen.len() >= 10 && seen.values().all(|&count| count > 20), "{seen:?}");
}
