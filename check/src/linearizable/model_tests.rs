//! Strings, sets, locks, transactions and store versions against brute force over small random
//! histories: whether some order of the operations as they were recorded is legal.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Argument, Function, History, Operation, Outcome, Value, sort_by_invocation};
use crate::report::{Model, Verdict};
use crate::testing::{Random, fuzz};
use crate::{Options, check};

/// What one key holds, or all keys of transactions.
#[derive(Clone, Default)]
struct Object {
    text: Option<String>,
    set: BTreeSet<Value>,
    held: bool,
    registers: BTreeMap<Value, Value>,
    /// The version of a register whose values repeat.
    version: Option<Value>,
}

fn one(operation: &Operation) -> Value {
    match &operation.value {
        Some(Argument::One(value)) => value.clone(),
        _ => Value::Null,
    }
}

impl Object {
    /// Takes a step, if it is legal.
    fn step(&mut self, model: Model, operation: &Operation) -> bool {
        let values = operation.values.as_deref().unwrap_or_default();
        match (model, operation.f) {
            (Model::Register, Function::Get) => {
                operation.version == self.version.clone().or_else(|| Some(Value::from("initial")))
            }
            (Model::Register, _) => {
                self.version.clone_from(&operation.version);
                true
            }
            (Model::Kv, Function::Get) => match values {
                [] => self.text.is_none(),
                [seen] => self.text.as_ref() == Some(&seen.to_string()),
                _ => false,
            },
            (Model::Kv, Function::Append) => {
                self.text.get_or_insert_default().push_str(&one(operation).to_string());
                true
            }
            (Model::Kv, _) => {
                self.text = Some(one(operation).to_string());
                true
            }
            (Model::Set, Function::Add) => {
                self.set.insert(one(operation));
                true
            }
            // An element that is there twice was not added to a set.
            (Model::Set, _) => {
                let distinct: BTreeSet<Value> = values.iter().cloned().collect();
                values.len() == distinct.len() && distinct == self.set
            }
            (Model::Mutex, Function::Acquire) => !std::mem::replace(&mut self.held, true),
            (Model::Mutex, _) => std::mem::replace(&mut self.held, false),
            (Model::MultiRegister, _) => {
                let Some(Argument::Steps(steps)) = &operation.value else { return false };
                steps.iter().all(|(f, key, value)| match f {
                    // What an open transaction would have read nobody was told.
                    Function::Get if operation.outcome != Outcome::Ok => true,
                    Function::Get => self.registers.get(key).unwrap_or(&Value::Null) == value,
                    _ => {
                        self.registers.insert(key.clone(), value.clone());
                        true
                    }
                })
            }
            (Model::CasRegister | Model::Siblings, _) => false,
        }
    }
}

/// Whether some order of what happened, and of some of what may have, is legal.
fn is_legal(model: Model, operations: &[&Operation], object: &Object, placed: u32) -> bool {
    let precedes = |a: usize, b: usize| {
        let (first, second) = (operations[a], operations[b]);
        first.return_ns.is_some_and(|ret| ret < second.invoke_ns)
            || (first.process == second.process && a < b)
    };
    let open = |at: usize| placed & (1 << at) == 0;
    let due = |at: usize| open(at) && operations[at].outcome == Outcome::Ok;
    if !(0..operations.len()).any(due) {
        return true;
    }
    (0..operations.len()).filter(|&at| open(at)).any(|at| {
        let minimal = (0..operations.len()).all(|other| !due(other) || !precedes(other, at));
        let mut next = object.clone();
        minimal && next.step(model, operations[at]) && is_legal(model, operations, &next, placed | 1 << at)
    })
}

/// A random history of at most 7 operations: who answers and when, without what.
fn skeleton(random: &mut Random, functions: &[Function]) -> Vec<Operation> {
    let count = 2 + random.below(6);
    let stamps = 2 + random.below(12);
    let mut clocks = [0_u64; 3];
    let mut process_of = [0_u64, 1, 2];
    let mut operations: Vec<Operation> = Vec::new();
    for _ in 0..count {
        let client = random.below(3) as usize;
        let call = clocks[client] + random.below(stamps);
        let ret = call + random.below(stamps);
        clocks[client] = ret;
        let f = functions[random.below(functions.len() as u64) as usize];
        let mut operation = Operation::invoked(process_of[client], f, "k", call);
        (operation.outcome, operation.return_ns) = match random.below(12) {
            0 => (Outcome::Fail, Some(ret)),
            1 if f != Function::Get => {
                process_of[client] += 3;
                (Outcome::Info, None)
            }
            _ => (Outcome::Ok, Some(ret)),
        };
        operations.push(operation);
    }
    sort_by_invocation(&mut operations);
    operations
}

/// Compares so many histories; what was filled in decides what is legal.
fn compare(
    model: Model,
    functions: &[Function],
    histories: u64,
    mut fill: impl FnMut(&mut Random, &mut [Operation]),
) -> BTreeMap<String, u64> {
    let (mut illegal, mut algorithms) = (0, BTreeMap::new());
    for seed in 0..histories {
        let mut random = Random(seed);
        let mut operations = skeleton(&mut random, functions);
        fill(&mut random, &mut operations);
        let history = History::from_operations(&operations).unwrap();
        let report = check(&history, &Options { model: Some(model), ..Options::default() });
        let said =
            |o: &&Operation| o.outcome == Outcome::Ok || (o.outcome == Outcome::Info && o.f != Function::Get);
        let recorded: Vec<&Operation> = operations.iter().filter(said).collect();
        let legal = is_legal(model, &recorded, &Object::default(), 0);
        let expected = if legal { Verdict::Valid } else { Verdict::Invalid };
        assert_eq!(report.verdict, expected, "seed {seed}: {operations:#?}\n{report:#?}");
        assert_eq!(report.certified.is_some(), legal, "seed {seed}: a valid verdict carries its proof");
        illegal += u64::from(!legal);
        *algorithms.entry(report.algorithm).or_default() += 1;
    }
    println!("{}: {histories} histories, {illegal} illegal, {algorithms:?}", model.name());
    assert!(
        illegal > histories / 5 && illegal < histories * 9 / 10,
        "{} of {histories}: {illegal}",
        model.name()
    );
    algorithms
}

#[test]
fn strings_agree_with_brute_force() {
    for unique in [true, false] {
        let functions = [Function::Append, Function::Append, Function::Get, Function::Get, Function::Put];
        let algorithms = compare(Model::Kv, &functions, fuzz(6_000, 60_000), |random, operations| {
            let mut tokens: Vec<String> = Vec::new();
            for operation in operations.iter_mut().filter(|o| o.f != Function::Get) {
                let token = if unique { tokens.len() as u64 } else { random.below(2) };
                tokens.push(format!("{token};"));
                operation.value = Some(Argument::One(tokens.last().unwrap().as_str().into()));
            }
            // Mostly what was written in order of the calls: random strings are never legal.
            let mut text = String::new();
            for operation in operations {
                match operation.f {
                    Function::Get if operation.outcome == Outcome::Ok => {
                        let mut seen = text.clone();
                        if random.once_in(2) && seen.len() >= 2 {
                            seen.truncate(seen.len() - 2);
                        }
                        operation.values =
                            Some(if seen.is_empty() { Vec::new() } else { vec![seen.as_str().into()] });
                    }
                    Function::Put if operation.outcome != Outcome::Fail => text = one(operation).to_string(),
                    Function::Append
                        if operation.outcome == Outcome::Ok
                            || operation.outcome == Outcome::Info && random.once_in(2) =>
                    {
                        text.push_str(&one(operation).to_string());
                    }
                    _ => {}
                }
            }
        });
        assert_eq!(algorithms.contains_key("tokens"), unique || algorithms.len() > 1, "{algorithms:?}");
    }
}

#[test]
fn sets_agree_with_brute_force() {
    compare(Model::Set, &[Function::Add, Function::Get], fuzz(8_000, 80_000), |random, operations| {
        let mut added: Vec<Value> = Vec::new();
        for operation in operations {
            if operation.f == Function::Add {
                let value = Value::from(random.below(4) as i64);
                operation.value = Some(Argument::One(value.clone()));
                if operation.outcome != Outcome::Fail {
                    added.push(value);
                }
            } else if operation.outcome == Outcome::Ok {
                let mut values = added.clone();
                values.sort();
                values.dedup();
                match random.below(8) {
                    0 => values.push(Value::from(random.below(4) as i64)),
                    1 | 2 if !values.is_empty() => {
                        values.remove(random.below(values.len() as u64) as usize);
                    }
                    _ => {}
                }
                operation.values = Some(values);
            }
        }
    });
}

#[test]
fn locks_agree_with_brute_force() {
    compare(Model::Mutex, &[Function::Acquire, Function::Release], fuzz(6_000, 60_000), |_, _| {});
}

#[test]
fn transactions_agree_with_brute_force() {
    compare(Model::MultiRegister, &[Function::Txn], fuzz(6_000, 60_000), |random, operations| {
        for operation in operations {
            let steps = (0..1 + random.below(3)).map(|_| {
                let key = Value::from(["x", "y", "z"][random.below(3) as usize]);
                let value = random.below(3) as i64;
                let reads = random.once_in(2);
                let f = if reads { Function::Get } else { Function::Put };
                let value = if reads && value == 0 { Value::Null } else { value.into() };
                (f, key, value)
            });
            operation.value = Some(Argument::Steps(steps.collect()));
        }
    });
}

#[test]
fn what_an_open_transaction_lists_as_read_is_no_answer() {
    let lines = r#"{"process":1,"f":"txn","key":null,"value":[["get","x",null],["put","y",1]],"invoke_ns":1,"return_ns":null,"outcome":"info"}
{"process":2,"f":"txn","key":null,"value":[["put","x",7]],"invoke_ns":2,"return_ns":3,"outcome":"ok"}
{"process":2,"f":"txn","key":null,"value":[["get","x",7],["get","y",null]],"invoke_ns":4,"return_ns":5,"outcome":"ok"}
{"process":2,"f":"txn","key":null,"value":[["get","y",1]],"invoke_ns":6,"return_ns":7,"outcome":"ok"}
"#;
    let history = History::from_jsonl(lines.as_bytes(), "example").unwrap();
    let report = check(&history, &Options::default());
    assert_eq!((report.verdict, report.certified), (Verdict::Valid, Some(4)), "{report:#?}");
}

#[test]
fn versions_stand_in_for_values_that_repeat() {
    let functions = [Function::Put, Function::Get];
    let algorithms = compare(Model::Register, &functions, fuzz(6_000, 60_000), |random, operations| {
        // Stores give versions with answers, so here every operation has one.
        operations.iter_mut().filter(|o| o.outcome == Outcome::Info).for_each(|o| o.outcome = Outcome::Fail);
        let mut written: Vec<(Value, Value)> = Vec::new();
        for (at, operation) in operations.iter_mut().enumerate().filter(|(_, o)| o.f == Function::Put) {
            let value = Value::from(random.below(2) as i64);
            operation.value = Some(Argument::One(value.clone()));
            if operation.outcome == Outcome::Ok {
                let version = Value::from(format!("version {at}"));
                operation.version = Some(version.clone());
                written.push((value, version));
            }
        }
        let initial = operations.iter().all(|o| o.f != Function::Put);
        for operation in operations.iter_mut().filter(|o| o.f == Function::Get && o.outcome == Outcome::Ok) {
            if initial || written.is_empty() || random.once_in(6) {
                (operation.values, operation.version) = (Some(Vec::new()), Some("initial".into()));
                continue;
            }
            let (value, version) = written[random.below(written.len() as u64) as usize].clone();
            (operation.values, operation.version) = (Some(vec![value]), Some(version));
        }
    });
    assert!(algorithms.contains_key("zones"), "{algorithms:?}");
}
