//! Witnesses: each must be impossible by itself, by brute force, and nothing of it may be left over.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::tests::{Mix, brute_force, random};
use super::{NOT_FOUND, Op, Step, operations};
use crate::report::{Kind, Model};
use crate::testing::{fuzz, history};
use crate::{Options, check};

/// The operations of a witness as they were when the first impossible one returned.
fn recorded(ops: &[Op], witness: &[usize], first: usize) -> Vec<Op> {
    let last = ops.iter().position(|op| op.number as usize == first).unwrap();
    let end = (ops[last].ret, last);
    let chosen = ops.iter().enumerate().filter(|(_, op)| witness.contains(&(op.number as usize)));
    chosen
        .map(|(at, op)| Op { ret: if (op.ret, at) > end { i64::MAX } else { op.ret }, ..*op })
        .filter(|op| op.returned() || !matches!(op.step, Step::Read(_)))
        .collect()
}

#[test]
fn a_witness_is_impossible_by_itself_and_loses_no_operation() {
    let zones = Mix { unique: true, cas: false, deletes: false, stamps: 12, back_to_back: false };
    let mixes = [
        zones,
        Mix { cas: true, ..zones },
        Mix { unique: false, ..zones },
        Mix { unique: false, cas: true, deletes: true, ..zones },
    ];
    let (mut checked, mut sizes) = (0, [0_u64; 9]);
    for seed in 0..fuzz(10_000, 200_000) {
        for mix in mixes {
            let history = random(seed, mix);
            let options = Options { model: Some(Model::CasRegister), ..Options::default() };
            let report = check(&history, &options);
            let (Some(witness), Some(first)) = (report.witness, report.first_impossible) else { continue };
            // What a phantom read nobody wrote; it is a contradiction by itself.
            if witness.len() == 1 || !report.violations.iter().all(|v| v.kind != Kind::Phantom) {
                continue;
            }
            let ops = recorded(&operations(&history, 0, |_| false), &witness, first.operation);
            // A get that saw the future: its put is no part of what was called by then.
            if ops.len() < witness.len() {
                assert_eq!(witness.len(), 2, "seed {seed}");
                continue;
            }
            checked += 1;
            sizes[witness.len()] += 1;
            assert!(witness.contains(&first.operation), "seed {seed}: {witness:?}");
            assert!(!brute_force(&ops, NOT_FOUND), "seed {seed}: {witness:?} can be ordered: {ops:?}");
            for left_out in 0..ops.len() {
                let mut rest = ops.clone();
                let gone = rest.remove(left_out);
                let may_see = |op: &Op| match (op.step, gone.step) {
                    (Step::Read(seen) | Step::Cas(seen, _), Step::Write(new) | Step::Cas(_, new)) => {
                        seen == new
                    }
                    _ => false,
                };
                let needed = rest.iter().any(may_see) || brute_force(&rest, NOT_FOUND);
                assert!(needed, "seed {seed}: {gone:?} can be left out of {ops:?}");
            }
        }
    }
    println!("witnesses by size: {sizes:?}");
    assert!(checked > 2_000, "{checked}");
}

#[test]
fn what_an_operation_proves_by_itself_needs_no_second() {
    // By the rule of zones the get of b stands in for its put; the put alone says as much.
    let report = check(
        &history("1 put a 0-10\n 2 put b 20-30\n 2 get b 40-50\n 3 get a 100-110"),
        &Options::default(),
    );
    assert_eq!(report.witness, Some(vec![0, 1, 3]), "{report:#?}");
}

#[test]
fn strings_transactions_and_sets_get_small_witnesses_too() {
    let strings = r#"{"process":1,"f":"append","key":"k","value":"1;","invoke_ns":1,"return_ns":2,"outcome":"ok"}
{"process":1,"f":"append","key":"k","value":"2;","invoke_ns":3,"return_ns":4,"outcome":"ok"}
{"process":1,"f":"append","key":"k","value":"3;","invoke_ns":5,"return_ns":6,"outcome":"ok"}
{"process":2,"f":"get","key":"k","values":["1;2;3;"],"invoke_ns":7,"return_ns":8,"outcome":"ok"}
{"process":2,"f":"get","key":"k","values":["1;"],"invoke_ns":9,"return_ns":10,"outcome":"ok"}
"#;
    let transactions = r#"{"process":1,"f":"txn","key":null,"value":[["put","x",1]],"invoke_ns":1,"return_ns":2,"outcome":"ok"}
{"process":1,"f":"txn","key":null,"value":[["put","y",1],["get","x",1]],"invoke_ns":3,"return_ns":4,"outcome":"ok"}
{"process":1,"f":"txn","key":null,"value":[["put","x",2]],"invoke_ns":5,"return_ns":6,"outcome":"ok"}
{"process":1,"f":"txn","key":null,"value":[["get","y",1]],"invoke_ns":7,"return_ns":8,"outcome":"ok"}
{"process":1,"f":"txn","key":null,"value":[["get","x",1]],"invoke_ns":9,"return_ns":10,"outcome":"ok"}
"#;
    let sets = r#"{"process":1,"f":"add","key":"k","value":1,"invoke_ns":1,"return_ns":2,"outcome":"ok"}
{"process":1,"f":"add","key":"k","value":2,"invoke_ns":3,"return_ns":4,"outcome":"ok"}
{"process":2,"f":"get","key":"k","values":[1,2],"invoke_ns":5,"return_ns":6,"outcome":"ok"}
{"process":2,"f":"get","key":"k","values":[2],"invoke_ns":7,"return_ns":8,"outcome":"ok"}
"#;
    for (lines, expected) in [(strings, vec![0, 1, 4]), (transactions, vec![0, 2, 4]), (sets, vec![0, 1, 3])]
    {
        let history = crate::history::History::from_jsonl(lines.as_bytes(), "example").unwrap();
        let report = check(&history, &Options::default());
        assert_eq!(report.witness, Some(expected), "{report:#?}");
    }
}
