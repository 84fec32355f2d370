//! How far from linearizable: delta, gamma, definite staleness, 2-atomicity and t-visibility, each against
//! its definition by brute force.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::tests::{Mix, brute_force, random, some_order};
use super::{NOT_FOUND, Op, Step, operations};
use crate::report::{Kind, Report, Verdict};
use crate::testing::fuzz;
use crate::{Options, check};

/// The smallest shift of all gets' calls that brute force finds legal, and the definite bounds counted
/// by nested loops.
#[test]
fn the_distance_from_linearizable_agrees_with_its_definitions() {
    let mix = Mix { unique: true, cas: false, deletes: false, stamps: 12, back_to_back: false };
    let mut measured = 0;
    let (mut by_force, mut undecided) = ([0_u64; 2], 0_u64);
    let histories = fuzz(20_000, 1_000_000);
    for seed in 0..histories {
        let history = random(seed, mix);
        let report = check(&history, &Options::default());
        if report.count(Kind::Phantom) > 0 {
            continue;
        }
        let ops = operations(&history, 0, |_| false);
        assert_eq!(visibility(&report), plain_visibility(&ops), "t-visibility, seed {seed}: {ops:?}");
        if report.verdict != Verdict::Invalid {
            continue;
        }
        measured += 1;
        let enough = two_are_enough(&ops);
        by_force[usize::from(enough)] += 1;
        match report.staleness.as_ref().unwrap().two_atomic {
            Some(two_atomic) => assert_eq!(two_atomic, enough, "two values, seed {seed}: {ops:?}"),
            None => undecided += 1,
        }
        let shifted = |delta: i64| -> Vec<Op> {
            let shift = |op: &Op| if matches!(op.step, Step::Read(_)) { op.call - delta } else { op.call };
            // Each its own process: with calls moved back, a process's operations overlap.
            (0..).zip(&ops).map(|(process, op)| Op { call: shift(op), process, ..*op }).collect()
        };
        let delta = (0..200).find(|&delta| brute_force(&shifted(delta), NOT_FOUND));
        let stretched = |gamma: i64| -> Vec<Op> {
            let stretch = |at: i64, by: i64| if at == i64::MAX { at } else { 2 * at + by };
            let one = |(process, op): (u32, &Op)| Op {
                call: stretch(op.call, -gamma),
                ret: stretch(op.ret, gamma),
                process,
                ..*op
            };
            (0..).zip(&ops).map(one).collect()
        };
        let gamma = (0..400).find(|&gamma| brute_force(&stretched(gamma), NOT_FOUND));
        let staleness = report.staleness.clone().unwrap();
        let gamma_ns = staleness.gamma_ms_max.map(|ms| (ms * 1e6).round() as i64);
        assert_eq!(gamma_ns, gamma, "gamma, seed {seed}: {ops:?}");
        let measured_ns = staleness.delta_ms_max.map(|ms| (ms * 1e6).round() as i64);
        assert_eq!(measured_ns, delta, "delta, seed {seed}: {ops:?}");

        let write_ret = |value: u32| {
            ops.iter().find(|op| op.step == Step::Write(value)).map_or(i64::MIN, |write| write.ret)
        };
        let behind = |get: &Op, value: u32| {
            let between = |op: &&Op| {
                matches!(op.step, Step::Write(_)) && op.call > write_ret(value) && op.ret < get.call
            };
            ops.iter().filter(between).count() as u64
        };
        let gets: Vec<u64> = ops
            .iter()
            .filter_map(|op| match op.step {
                Step::Read(value) => Some(behind(op, value)),
                Step::Write(_) | Step::Cas(..) => None,
            })
            .collect();
        assert_eq!(staleness.k_at_least, gets.iter().max().map(|most| most + 1), "seed {seed}: {ops:?}");
        let stale = gets.iter().filter(|&&behind| behind > 0).count();
        assert_eq!(report.count(Kind::Stale), stale as u64, "seed {seed}: {ops:?}");
    }
    println!(
        "distances: {histories} histories, {measured} not linearizable and measured; of those two values \
         are enough for {}, not for {}, undecided {undecided}",
        by_force[1], by_force[0]
    );
    assert!(measured > histories / 7, "{measured}");
    assert!(
        undecided < measured / 10 && by_force.iter().all(|&count| count > 10),
        "{undecided} {by_force:?}"
    );
}

/// Whether some order has every get return one of the latest two values.
fn two_are_enough(ops: &[Op]) -> bool {
    let step = |(newest, before), step| match step {
        Step::Read(value) => (value == newest || value == before).then_some((newest, before)),
        Step::Write(value) => Some((value, newest)),
        Step::Cas(..) => None,
    };
    some_order(ops, (NOT_FOUND, NOT_FOUND), &step, 0)
}

fn visibility(report: &Report) -> Vec<(Option<u64>, u64, u64)> {
    let staleness = report.staleness.as_ref().unwrap();
    let ns = |ms: f64| (ms * 1e6).round() as u64;
    staleness.t_visibility.iter().map(|v| (v.below_ms.map(ns), v.reads, v.fresh)).collect()
}

/// Every get against the last write acknowledged before it. All fall into the first bucket: stamps here
/// are far less than ten microseconds.
fn plain_visibility(ops: &[Op]) -> Vec<(Option<u64>, u64, u64)> {
    let (mut reads, mut fresh) = (0, 0);
    for get in ops {
        let Step::Read(value) = get.step else { continue };
        let writes = || ops.iter().filter(|op| matches!(op.step, Step::Write(_)));
        let Some(last) = writes().filter(|op| op.ret < get.call).max_by_key(|op| (op.ret, op.call)) else {
            continue;
        };
        reads += 1;
        let shown = writes().find(|op| op.step == Step::Write(value)).map_or(i64::MIN, |op| op.ret);
        fresh += u64::from(shown >= last.call);
    }
    if reads == 0 { Vec::new() } else { vec![(Some(10_000), reads, fresh)] }
}
