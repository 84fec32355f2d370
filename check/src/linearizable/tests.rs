//! Zones, chains and search against brute force over small random histories, and cases that a person
//! can follow.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::clusters::Scratch;
use super::machine::Register;
use super::rounds::{self, Budget, Part};
use super::{Finding, NOT_FOUND, Op, Step, judge, operations};
use crate::deadline::Deadline;
use crate::history::{Argument, Function, History, Operation, Outcome, Value, sort_by_invocation};
use crate::report::{Kind, Model, Verdict};
use crate::testing::{Random, fuzz, history};
use crate::{Options, check};

fn budget() -> Budget {
    Budget { configurations: 100_000, deadline: Deadline::default(), witness_steps: 20_000 }
}

fn search(history: &History, ops: &[Op]) -> Finding {
    let part = Part { key: 0, machine: Register, ops: ops.to_vec(), initial: NOT_FOUND };
    rounds::search(history, &[part], &budget()).pop().unwrap()
}

/// Which values a random history may repeat.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Mix {
    pub(super) unique: bool,
    pub(super) cas: bool,
    pub(super) deletes: bool,
    /// Stamps below this: few stamps make many ties.
    pub(super) stamps: u64,
    /// Processes that call again at once: ties within a process.
    pub(super) back_to_back: bool,
}

/// A random history of at most 8 operations on one key; gets return any value, so many are illegal.
pub(super) fn random(seed: u64, mix: Mix) -> History {
    let mut random = Random(seed);
    let count = 2 + random.below(7);
    let mut clocks = [0_u64; 4];
    let mut process_of = [0_u64, 1, 2, 3];
    let mut fresh = 0_i64;
    let mut operations = Vec::new();
    for _ in 0..count {
        let client = random.below(4) as usize;
        let gap = if mix.back_to_back { random.below(2) } else { 1 + random.below(mix.stamps / 2) };
        let call = clocks[client] + gap;
        let mut operation = Operation::invoked(process_of[client], Function::Get, "k", call);
        let ret = call + random.below(mix.stamps);
        clocks[client] = ret;
        let new = |random: &mut Random, fresh: &mut i64| {
            *fresh += 1;
            if mix.unique { *fresh } else { 1 + random.below(3) as i64 }
        };
        match random.below(8) {
            0..=3 => {
                operation.f = Function::Put;
                operation.value = Some(Argument::One(new(&mut random, &mut fresh).into()));
            }
            4 if mix.deletes => {
                operation.f = Function::Delete;
                operation.value = Some(Argument::One(format!("d{call}-{client}").into()));
            }
            5 if mix.cas => {
                operation.f = Function::Cas;
                let from = if random.once_in(6) {
                    Value::Null
                } else {
                    (1 + random.below(fresh.max(1) as u64) as i64).into()
                };
                operation.value = Some(Argument::Pair(from, new(&mut random, &mut fresh).into()));
            }
            _ => {}
        }
        (operation.outcome, operation.return_ns) = match random.below(10) {
            0 => (Outcome::Fail, Some(ret)),
            1 if operation.f != Function::Get => {
                // Its process is retired; the client goes on under another name.
                process_of[client] += 4;
                (Outcome::Info, None)
            }
            _ => (Outcome::Ok, Some(ret)),
        };
        operations.push(operation);
    }
    let values = fresh.min(if mix.unique { i64::MAX } else { 3 });
    for operation in &mut operations {
        if operation.f == Function::Get && operation.outcome == Outcome::Ok {
            let value = random.below(values as u64 + 1) as i64;
            operation.values = Some(if value == 0 { Vec::new() } else { vec![value.into()] });
        }
    }
    sort_by_invocation(&mut operations);
    History::from_operations(&operations).unwrap()
}

/// Whether some order of the operations, given by their original stamps, is legal: by trying all. A step
/// gives the state after it, if it may be taken.
pub(super) fn some_order<S: Copy>(
    ops: &[Op],
    state: S,
    step: &impl Fn(S, Step) -> Option<S>,
    placed: u32,
) -> bool {
    let precedes =
        |a: usize, b: usize| ops[a].ret < ops[b].call || (ops[a].process == ops[b].process && a < b);
    let open = |op: usize| placed & (1 << op) == 0;
    if (0..ops.len()).all(|op| !open(op) || !ops[op].returned()) {
        return true;
    }
    (0..ops.len()).filter(|&op| open(op)).any(|op| {
        let minimal =
            (0..ops.len()).all(|other| !open(other) || !ops[other].returned() || !precedes(other, op));
        let next = step(state, ops[op].step);
        minimal && next.is_some_and(|next| some_order(ops, next, step, placed | 1 << op))
    })
}

/// Whether some order of the operations is that of a register.
pub(super) fn brute_force(ops: &[Op], state: u32) -> bool {
    let step = |state, step| match step {
        Step::Read(value) => (value == state).then_some(value),
        Step::Write(value) => Some(value),
        Step::Cas(from, to) => (from == state).then_some(to),
    };
    some_order(ops, state, &step, 0)
}

/// The first operation, by return, whose prefix has no legal order.
fn brute_force_first_impossible(ops: &[Op]) -> Option<u32> {
    let mut returns: Vec<(i64, usize)> =
        ops.iter().enumerate().filter(|(_, op)| op.returned()).map(|(at, op)| (op.ret, at)).collect();
    returns.sort_unstable();
    returns.iter().enumerate().find_map(|(count, &(ret, at))| {
        let done = |op: usize| returns[..=count].iter().any(|&(_, other)| other == op);
        let prefix: Vec<Op> = ops
            .iter()
            .enumerate()
            .filter(|(position, op)| op.call <= ret && (done(*position) || !matches!(op.step, Step::Read(_))))
            .map(|(position, op)| Op { ret: if done(position) { op.ret } else { i64::MAX }, ..*op })
            .collect();
        (!brute_force(&prefix, NOT_FOUND)).then_some(ops[at].number)
    })
}

fn judged(history: &History) -> (Vec<Op>, Finding, &'static str) {
    let original = operations(history, 0, |_| false);
    let mut ops = original.clone();
    let judged = judge(history, &mut ops, NOT_FOUND, &mut Scratch::new(history, &Deadline::default()));
    let finding = judged.finding.unwrap_or_else(|| search(history, &ops));
    (original, finding, judged.algorithm)
}

/// The whole checker, phantoms included, against brute force; returns how often each method was used.
fn compare(mix: Mix, seeds: std::ops::Range<u64>) -> (u64, u64) {
    let (mut illegal, mut by_search) = (0, 0);
    let histories = seeds.end - seeds.start;
    for seed in seeds {
        let history = random(seed, mix);
        let ops = operations(&history, 0, |_| false);
        let expected = brute_force(&ops, NOT_FOUND);
        let options = Options { model: Some(Model::CasRegister), ..Options::default() };
        let report = check(&history, &options);
        let verdict = if expected { Verdict::Valid } else { Verdict::Invalid };
        assert_eq!(report.verdict, verdict, "seed {seed}: {:?}\n{report:#?}", ops);
        let searched = search(&history, &ops);
        assert_eq!(matches!(searched, Finding::Linearizable(_)), expected, "search, seed {seed}: {ops:?}");
        assert_eq!(report.certified.is_some(), expected, "seed {seed}: a valid verdict carries its proof");
        illegal += u64::from(!expected);
        by_search += u64::from(report.algorithm == "search");
    }
    println!("linearizability: {histories} histories, {illegal} illegal, {by_search} by search");
    (illegal, by_search)
}

#[test]
fn zones_agree_with_brute_force_on_unique_writes() {
    let mix = Mix { unique: true, cas: false, deletes: false, stamps: 12, back_to_back: false };
    let (illegal, by_search) = compare(mix, 0..fuzz(40_000, 400_000));
    assert!(illegal > fuzz(40_000, 400_000) / 5, "a fifth must be illegal, {illegal} were");
    assert_eq!(by_search, 0, "unique writes never need the search");
    let (illegal, _) = compare(Mix { stamps: 4, ..mix }, 0..fuzz(20_000, 200_000));
    assert!(illegal > fuzz(20_000, 200_000) / 5, "{illegal}");
}

#[test]
fn ties_within_a_process_keep_its_order() {
    let mix = Mix { unique: true, cas: false, deletes: false, stamps: 2, back_to_back: true };
    let (illegal, by_search) = compare(mix, 0..fuzz(20_000, 200_000));
    assert!(
        illegal > fuzz(20_000, 200_000) / 5 && by_search > 100,
        "{illegal} illegal, {by_search} by search"
    );
}

#[test]
fn cas_chains_agree_with_brute_force() {
    let mix = Mix { unique: true, cas: true, deletes: false, stamps: 12, back_to_back: false };
    let (illegal, _) = compare(mix, 0..fuzz(20_000, 200_000));
    assert!(illegal > fuzz(20_000, 200_000) / 5, "{illegal}");
}

#[test]
fn the_search_agrees_with_brute_force_on_repeated_values_and_deletes() {
    let mix = Mix { unique: false, cas: true, deletes: true, stamps: 12, back_to_back: false };
    let (illegal, by_search) = compare(mix, 0..fuzz(20_000, 200_000));
    let fifth = fuzz(20_000, 200_000) / 5;
    assert!(illegal > fifth && by_search > fifth, "{illegal} illegal, {by_search} by search");
    compare(Mix { unique: true, cas: false, ..mix }, 0..fuzz(10_000, 100_000));
}

#[test]
fn the_first_impossible_operation_ends_the_shortest_impossible_prefix() {
    let zones = Mix { unique: true, cas: false, deletes: false, stamps: 12, back_to_back: false };
    let chains = Mix { cas: true, ..zones };
    let repeated = Mix { unique: false, ..zones };
    let mut checked = 0;
    for seed in 0..20_000 {
        for mix in [zones, chains, repeated] {
            let history = random(seed, mix);
            let (ops, finding, algorithm) = judged(&history);
            // Phantoms are judged apart; what reads one is left out by the caller.
            let written = |value: u32| {
                value == NOT_FOUND
                    || ops.iter().any(|op| match op.step {
                        Step::Write(other) | Step::Cas(_, other) => other == value,
                        Step::Read(_) => false,
                    })
            };
            let mut phantom = ops.iter().filter(|op| matches!(op.step, Step::Read(v) if !written(v)));
            if phantom.next().is_some() || check(&history, &Options::default()).count(Kind::Phantom) > 0 {
                continue;
            }
            if let Finding::Not { witness, first_impossible, .. } = finding {
                checked += 1;
                let expected = brute_force_first_impossible(&ops);
                assert_eq!(Some(first_impossible), expected, "{algorithm}, seed {seed}: {ops:?}");
                assert!(!witness.is_empty() && (algorithm != "zones" || witness.len() <= 6));
            }
        }
    }
    assert!(checked > 5_000, "{checked}");
}

#[test]
fn a_stale_read_is_named_with_the_operations_that_prove_it() {
    let history = history(
        "1 put a 10-20
         1 put b 30-40
         2 get a 50-60
         2 get b 70-80",
    );
    let report = check(&history, &Options::default());
    assert_eq!(report.verdict, Verdict::Invalid);
    assert_eq!(report.model, Some(Model::Register));
    assert_eq!(report.algorithm, "zones");
    assert_eq!(report.witness, Some(vec![0, 1, 2]));
    assert_eq!(report.first_impossible.map(|first| first.operation), Some(2));
    let violation = report.violations.iter().find(|v| v.kind == Kind::NotLinearizable).unwrap();
    expect_test::expect!["no order explains this: the put of a by process 1 (10 ns to 20 ns) was over before the put of b by process 1 (30 ns to 40 ns) began, so value a comes before value b; yet the put of b by process 1 (30 ns to 40 ns) was over before the get of a by process 2 (50 ns to 60 ns) began, so value b comes before value a. The first impossible answer is that of the get of a by process 2 (50 ns to 60 ns)"]
        .assert_eq(&violation.says);
    let staleness = report.staleness.unwrap();
    assert_eq!((staleness.delta_ms_max, staleness.k_at_least), (Some(1e-5), Some(2)));
    assert!((staleness.stale_reads - 0.5).abs() < 1e-9);
}

#[test]
fn what_is_open_may_or_may_not_have_happened() {
    let seen = history("1 put a 10-?\n 2 get a 20-30\n 2 get a 40-50");
    assert_eq!(check(&seen, &Options::default()).verdict, Verdict::Valid);
    let taken_back = history("1 put a 10-?\n 2 get a 20-30\n 2 get - 40-50");
    assert_eq!(check(&taken_back, &Options::default()).verdict, Verdict::Invalid);
}

#[test]
fn a_get_of_what_failed_is_a_phantom_and_the_first_impossible_operation() {
    let history = history("1 put! a 10-20\n 2 get a 30-40");
    let report = check(&history, &Options::default());
    assert_eq!((report.verdict, report.count(Kind::Phantom)), (Verdict::Invalid, 1));
    assert_eq!(report.first_impossible.map(|first| first.operation), Some(1));
}

#[test]
fn one_bad_key_among_good_ones_is_found() {
    let history = history(
        "1 put a 10-20 key=x
         1 put a 30-40 key=y
         2 get a 50-60 key=x
         2 get - 70-80 key=y",
    );
    let report = check(&history, &Options::default());
    assert_eq!((report.verdict, report.keys), (Verdict::Invalid, 2));
    assert_eq!(report.violations[0].key, Value::from("y"));
}

#[test]
fn a_search_over_budget_is_unknown_and_says_so() {
    let mut text = String::from("99 get 1 5000-5001\n");
    for process in 0..30 {
        text += &format!("{process} put {} {}-{}\n", process % 3 + 10, 10 + process, 4000 - process);
        text += &format!("{process} put 1 {}-{}\n", 4001 + process, 4500 - process);
    }
    for process in 30..50 {
        text += &format!("{process} get {} {}-{}\n", process % 3 + 10, 10 + process, 4000 - process);
        text += &format!("{process} get 12 4600-4700\n");
    }
    let options = Options { search_configurations_max: 50, ..Options::default() };
    let report = check(&history(&text), &options);
    assert_eq!(report.verdict, Verdict::Unknown, "{report:#?}");
    assert!(report.not_judged[0].why.contains("gave up after 50"), "{:?}", report.not_judged);
}
