//! What a hot key costs in memory and steps: counted, never timed.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use super::causality::Causality;
use super::tables::Tables;
use crate::deadline::Deadline;
use crate::deadline::tests::counting_looks;
use crate::history::{Argument, Function, History, Operation, Outcome, Value, sort_by_invocation};
use crate::report::{Kind, Model, Report, Verdict};
use crate::testing::{Random, Slot, slots};
use crate::{Options, check};

/// Ten clients that read one key and then write it with what they read, one time in ten a delete, one
/// time in twenty without what they read, of a store that keeps concurrent writes.
fn deletes_and_blind_writes(operations: u64) -> History {
    let mut random = Random(11);
    let slots = slots(&mut random, operations, 10);
    let mut held: Vec<Value> = Vec::new();
    let mut read: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    let mut recorded = Vec::new();
    for (number, Slot { client, call, ret, .. }) in (0_i64..).zip(slots) {
        let mut operation = Operation::invoked(client, Function::Get, "k", call);
        (operation.return_ns, operation.outcome) = (Some(ret), Outcome::Ok);
        if let Some(context) = read.remove(&client) {
            let deletes = random.once_in(10);
            operation.f = if deletes { Function::Delete } else { Function::Put };
            operation.value = Some(Argument::from(number));
            if deletes || !random.once_in(20) {
                held.retain(|value| !context.contains(value));
                operation.context = context;
            }
            held.extend((!deletes).then(|| Value::from(number)));
        } else {
            operation.values = Some(held.clone());
            read.insert(client, held.clone());
        }
        recorded.push(operation);
    }
    sort_by_invocation(&mut recorded);
    History::from_operations(&recorded).unwrap()
}

#[test]
fn pasts_stay_short_although_blind_writes_begin_chains_and_deletes_end_all_branches() {
    let history = deletes_and_blind_writes(200_000);
    let causality = Causality::build(&history, 0, Tables::new(&history, &Deadline::default()))
        .map_err(|(why, _)| why)
        .unwrap();
    let (writes, blocks) = (causality.writes.len(), causality.blocks());
    assert!(blocks < 8 * writes, "{blocks} blocks for the pasts of {writes} writes");
    let (epochs, last_family) = causality.epochs.counts();
    assert!(epochs > 50 && last_family > 1, "{epochs} epochs, the last family from {last_family}");
}

/// One session: a blind put, then a long chain of puts, then a get of all of it, and then gets that miss
/// the very first put.
fn stale_session(puts: u64, gets: u64) -> History {
    let mut recorded: Vec<Operation> = Vec::new();
    let value = |number: u64| Value::from(number.cast_signed());
    for number in 0..puts + gets {
        let is_put = number < puts;
        let f = if is_put { Function::Put } else { Function::Get };
        let mut operation = Operation::invoked(1, f, "k", 10 * number);
        (operation.return_ns, operation.outcome) = (Some(10 * number + 5), Outcome::Ok);
        if is_put {
            operation.value = Some(Argument::One(value(number)));
            operation.context = if number < 2 { Vec::new() } else { vec![value(number - 1)] };
        } else if number == puts {
            operation.values = Some(vec![value(0), value(puts - 1)]);
        } else {
            operation.values = Some(vec![value(puts - 1)]);
        }
        recorded.push(operation);
    }
    History::from_operations(&recorded).unwrap()
}

#[test]
fn a_session_of_many_puts_and_stale_gets_costs_what_it_may_and_no_more() {
    let judged = |puts, gets| {
        let options = Options { model: Some(Model::Siblings), ..Options::default() };
        counting_looks(|| check(&stale_session(puts, gets), &options))
    };
    let unjudged = |report: &Report| report.not_judged.iter().any(|not| not.what == "session");
    let (few, _) = judged(200, 200);
    // Of the five guarantees all but one: no write came after a get.
    assert_eq!((few.count(Kind::Stale), few.count(Kind::Session)), (199, 4 * 199));
    assert!(!unjudged(&few), "{:?}", few.not_judged);
    // To find all, every get would have to look at every put: 400 million looks, of which 20 are allowed.
    let (many, clock) = judged(20_000, 20_000);
    assert_eq!((many.verdict, many.count(Kind::Stale)), (Verdict::Invalid, 19_999));
    assert!(unjudged(&many), "{:?}", many.not_judged);
    assert!(clock < 5_000, "one look at the clock for every few thousand steps: {clock}");
}
