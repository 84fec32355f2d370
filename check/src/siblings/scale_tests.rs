//! What a hot key costs in memory and steps: counted, never timed.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use super::causality::Causality;
use super::tables::Tables;
use crate::history::{Argument, Function, History, Operation, Outcome, Value, sort_by_invocation};
use crate::testing::Random;

/// Ten clients that read one key and then write it with what they read, one time in ten a delete, one
/// time in twenty without what they read, of a store that keeps concurrent writes.
fn deletes_and_blind_writes(operations: u64) -> History {
    let mut random = Random(11);
    let mut slots: Vec<(u64, u64, u64, u64)> = Vec::new();
    for client in 0..10 {
        let mut now = random.below(10_000);
        for _ in 0..operations / 10 {
            let ret = now + 1_000 + random.below(20_000);
            slots.push((now + random.below(ret - now + 1), client, now, ret));
            now = ret + 1 + random.below(100);
        }
    }
    slots.sort_unstable();
    let mut held: Vec<Value> = Vec::new();
    let mut read: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    let mut recorded = Vec::new();
    for (number, (_, client, call, ret)) in (0_i64..).zip(slots) {
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
    let causality = Causality::build(&history, 0, Tables::new(&history)).map_err(|(why, _)| why).unwrap();
    let (writes, blocks) = (causality.writes.len(), causality.blocks());
    assert!(blocks < 8 * writes, "{blocks} blocks for the pasts of {writes} writes");
    let (epochs, last_family) = causality.epochs.counts();
    assert!(epochs > 50 && last_family > 1, "{epochs} epochs, the last family from {last_family}");
}
