//! Mutation: one event of each kind is put into valid histories of ten thousand operations, and must be
//! reported as what it is, with the operation that shows it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use crate::history::{Argument, Function, History, Operation, Outcome, Value, sort_by_invocation};
use crate::report::{Guarantee, Kind, Model, Report, Verdict};
use crate::testing::{Random, Slot, fuzz, slots};
use crate::{Options, check};

const OPERATIONS: u64 = 10_000;
const CLIENTS: u64 = 10;
const KEYS: u64 = 5;

/// Clients that read, then write what they read or delete it, of a store that applies everything at one
/// moment, keeps what did not read each other, and is read in the end: each copy, then through a quorum.
fn valid(seed: u64) -> Vec<Operation> {
    let mut random = Random(seed);
    let slots = slots(&mut random, OPERATIONS, CLIENTS);
    let end = slots.iter().map(|slot| slot.ret).max().unwrap() + 10;
    let mut held: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    let mut read: BTreeMap<u64, (u64, Vec<Value>)> = BTreeMap::new();
    let mut operations = Vec::new();
    for (number, Slot { client, call, ret, .. }) in (0_i64..).zip(slots) {
        let (key, context) = read.remove(&client).unwrap_or((random.below(KEYS), Vec::new()));
        let mut operation = Operation::invoked(client, Function::Get, key_name(key), call);
        (operation.return_ns, operation.outcome) = (Some(ret), Outcome::Ok);
        let values = held.entry(key).or_default();
        if context.is_empty() && random.below(10) < 7 {
            operation.values = Some(values.clone());
            read.insert(client, (key, values.clone()));
        } else {
            let deletes = random.once_in(12);
            operation.f = if deletes { Function::Delete } else { Function::Put };
            operation.value = Some(Argument::from(number));
            values.retain(|value| !context.contains(value));
            values.extend((!deletes).then(|| Value::from(number)));
            operation.context = context;
        }
        operations.push(operation);
    }
    for copy in 0..3 {
        for key in 0..KEYS {
            let at = end + copy * 100 + key;
            let mut last = Operation::invoked(1_000 + copy, Function::Get, key_name(key), at);
            (last.return_ns, last.outcome, last.r#final) = (Some(at), Outcome::Ok, true);
            last.node = (copy < 2).then(|| (copy as i64).into());
            last.values = Some(held.get(&key).cloned().unwrap_or_default());
            operations.push(last);
        }
    }
    sort_by_invocation(&mut operations);
    operations
}

fn key_name(key: u64) -> Value {
    format!("k{key}").as_str().into()
}

fn judged(operations: &[Operation], model: Model) -> Report {
    let history = History::from_operations(operations).unwrap();
    check(&history, &Options { model: Some(model), violations_max: 10_000, ..Options::default() })
}

fn id(operation: &Operation) -> Option<Value> {
    match &operation.value {
        Some(Argument::One(value)) => Some(value.clone()),
        _ => None,
    }
}

fn is_get(operation: &Operation) -> bool {
    operation.f == Function::Get && operation.outcome == Outcome::Ok
}

fn is_read(operation: &Operation) -> bool {
    is_get(operation) && !operation.r#final
}

/// A random operation that `wanted` picks.
fn pick(random: &mut Random, operations: &[Operation], wanted: impl Fn(usize, &Operation) -> bool) -> usize {
    loop {
        let at = random.below(operations.len() as u64) as usize;
        if wanted(at, &operations[at]) {
            return at;
        }
    }
}

/// Injects, checks that the kind is reported about the operation, and that nothing was before.
fn caught(
    kind: Kind,
    guarantee: Option<Guarantee>,
    mut inject: impl FnMut(&mut Random, &mut Vec<Operation>) -> Option<usize>,
) {
    let (mut injected, mut reported) = (0, 0);
    for seed in 0..fuzz(6, 200) {
        let mut random = Random(seed);
        let mut operations = valid(seed % 20);
        if seed < 2 {
            let before = judged(&operations, Model::Siblings);
            assert_eq!((before.verdict, before.violations), (Verdict::Valid, vec![]), "seed {seed}");
        }
        let Some(at) = inject(&mut random, &mut operations) else { continue };
        injected += 1;
        let report = judged(&operations, Model::Siblings);
        let found = report.violations.iter().any(|v| {
            v.kind == kind && (guarantee.is_none() || v.guarantee == guarantee) && v.operations.contains(&at)
        });
        assert!(found, "{kind:?} {guarantee:?} seed {seed}, operation {at}: {:?}", report.violation_counts);
        assert_eq!(report.verdict, Verdict::Invalid);
        reported += 1;
    }
    println!("{} {guarantee:?}: {injected} injected, {reported} reported", kind.name());
    assert!(injected >= fuzz(4, 150), "{kind:?}: {injected}");
}

/// A get that shows what some earlier get of its key had shown, and misses a put acknowledged since.
fn make_stale(random: &mut Random, operations: &mut [Operation], own: bool) -> Option<(usize, usize)> {
    for _ in 0..5_000 {
        let get = pick(random, operations, |at, o| at > 1_000 && is_read(o));
        let (key, call) = (operations[get].key.clone(), operations[get].invoke_ns);
        let process = operations[get].process;
        let before = |o: &Operation| o.key == key && o.return_ns.is_some_and(|ret| ret < call);
        // Nothing that deletes may hide it: none on this key until the get is over.
        let until = operations[get].return_ns.unwrap();
        let last_delete = operations
            .iter()
            .rposition(|o| o.f == Function::Delete && o.key == key && o.invoke_ns <= until)
            .unwrap_or(0);
        let Some(put) = (last_delete + 1..get).rev().find(|&at| {
            operations[at].f == Function::Put
                && before(&operations[at])
                && (!own || operations[at].process == process)
        }) else {
            continue;
        };
        let put_call = operations[put].invoke_ns;
        let earlier = (0..put).rev().find(|&at| {
            let o = &operations[at];
            is_read(o) && o.key == key && o.return_ns.is_some_and(|ret| ret < put_call)
        });
        if let Some(earlier) = earlier {
            operations[get].values = operations[earlier].values.clone();
            return Some((get, put));
        }
    }
    None
}

#[test]
fn an_injected_stale_read_is_reported() {
    caught(Kind::Stale, None, |random, operations| make_stale(random, operations, false).map(|(get, _)| get));
}

#[test]
fn an_injected_read_of_ones_own_past_is_reported() {
    caught(Kind::Session, Some(Guarantee::ReadYourWrites), |random, operations| {
        make_stale(random, operations, true).map(|(get, _)| get)
    });
}

#[test]
fn an_injected_phantom_is_reported() {
    caught(Kind::Phantom, None, |random, operations| {
        let get = pick(random, operations, |_, o| is_read(o));
        let stranger = match random.below(3) {
            0 => Value::from("never written"),
            1 => {
                // Another key's.
                let key = operations[get].key.clone();
                let put = pick(random, operations, |at, o| at < get && o.f == Function::Put && o.key != key);
                id(&operations[put])?
            }
            _ => {
                // Its put is called only later.
                let (key, ret) = (operations[get].key.clone(), operations[get].return_ns?);
                let later = |o: &&Operation| o.f == Function::Put && o.key == key && o.invoke_ns > ret;
                id(operations.iter().find(later)?)?
            }
        };
        operations[get].values.as_mut()?.push(stranger);
        Some(get)
    });
}

#[test]
fn an_injected_loss_is_reported() {
    caught(Kind::Lost, None, |random, operations| {
        let finals: Vec<usize> = (0..operations.len())
            .filter(|&at| operations[at].r#final && operations[at].node.is_none())
            .collect();
        let last = finals[random.below(finals.len() as u64) as usize];
        let values = operations[last].values.clone()?;
        let lost = values.first()?.clone();
        let key = operations[last].key.clone();
        for operation in operations.iter_mut().filter(|o| o.r#final && o.key == key) {
            operation.values.as_mut()?.retain(|value| *value != lost);
        }
        operations.iter().position(|o| o.f == Function::Put && id(o) == Some(lost.clone()))
    });
}

#[test]
fn an_injected_resurrection_is_reported() {
    caught(Kind::Resurrected, None, |random, operations| {
        let newer = pick(random, operations, |_, o| o.f != Function::Get && !o.context.is_empty());
        let (key, back) = (operations[newer].key.clone(), operations[newer].context[0].clone());
        let newer_id = id(&operations[newer])?;
        for operation in operations.iter_mut().filter(|o| o.r#final && o.key == key) {
            // Beside the value that had read it it would be a false sibling.
            let values = operation.values.as_mut()?;
            if values.contains(&newer_id) {
                return None;
            }
            values.push(back.clone());
        }
        operations.iter().position(|o| o.f == Function::Put && id(o) == Some(back.clone()))
    });
}

#[test]
fn an_injected_false_sibling_is_reported() {
    caught(Kind::FalseSibling, None, |random, operations| {
        let get = pick(random, operations, |at, o| {
            at > 500 && is_read(o) && o.values.as_ref().is_some_and(|v| !v.is_empty())
        });
        let shown = operations[get].values.as_ref()?[0].clone();
        let put = operations.iter().find(|o| o.f == Function::Put && id(o) == Some(shown.clone()))?;
        let older = put.context.first()?.clone();
        operations[get].values.as_mut()?.push(older);
        Some(get)
    });
}

#[test]
fn an_injected_lost_update_is_reported() {
    caught(Kind::LostUpdate, None, |random, operations| {
        (0..2_000).find_map(|_| hide_an_update(random, operations))
    });
}

/// Of two puts made from one context, both acknowledged, hides one from a get that shows both.
fn hide_an_update(random: &mut Random, operations: &mut [Operation]) -> Option<usize> {
    let get = pick(random, operations, |at, o| {
        at > 500 && is_read(o) && o.values.as_ref().is_some_and(|values| values.len() > 1)
    });
    let call = operations[get].invoke_ns;
    let values = operations[get].values.clone()?;
    let put_of =
        |value: &Value| operations.iter().find(|o| o.f == Function::Put && id(o).as_ref() == Some(value));
    let puts: Vec<&Operation> = values.iter().filter_map(put_of).collect();
    let sorted = |o: &Operation| {
        let mut context = o.context.clone();
        context.sort();
        context
    };
    let hidden = puts.iter().find(|put| {
        !put.context.is_empty()
            && put.return_ns.is_some_and(|ret| ret < call)
            && puts.iter().any(|rival| id(rival) != id(put) && sorted(rival) == sorted(put))
    })?;
    // A delete that was called by then may have removed it.
    let (key, put_call, until) = (&hidden.key, hidden.invoke_ns, operations[get].return_ns?);
    let may_remove =
        |o: &Operation| o.f == Function::Delete && o.key == *key && (put_call..=until).contains(&o.invoke_ns);
    if operations.iter().any(may_remove) {
        return None;
    }
    let hidden = id(hidden)?;
    operations[get].values.as_mut()?.retain(|value| *value != hidden);
    operations.iter().position(|o| o.f == Function::Put && id(o) == Some(hidden.clone()))
}

#[test]
fn an_injected_difference_of_copies_is_reported() {
    caught(Kind::NotConverged, None, |random, operations| {
        let copy = pick(random, operations, |_, o| {
            o.r#final && o.node.is_some() && o.values.as_ref().is_some_and(|values| !values.is_empty())
        });
        operations[copy].values.as_mut()?.pop();
        Some(copy)
    });
}

/// A register that really is one.
fn register(seed: u64) -> Vec<Operation> {
    let mut random = Random(seed);
    let slots = slots(&mut random, OPERATIONS, CLIENTS);
    let mut held: Vec<Value> = Vec::new();
    let mut operations = Vec::new();
    for (number, Slot { client, call, ret, .. }) in (0_i64..).zip(slots) {
        let mut operation = Operation::invoked(client, Function::Get, "k", call);
        (operation.return_ns, operation.outcome) = (Some(ret), Outcome::Ok);
        if random.once_in(2) {
            operation.f = Function::Put;
            operation.value = Some(Argument::from(number));
            held = vec![number.into()];
        } else {
            operation.values = Some(held.clone());
        }
        operations.push(operation);
    }
    sort_by_invocation(&mut operations);
    operations
}

#[test]
fn a_stale_read_or_a_phantom_in_a_register_is_the_first_impossible_operation() {
    let mut stale = 0;
    for seed in 0..fuzz(6, 200) {
        let mut random = Random(seed);
        let mut operations = register(seed % 20);
        assert_eq!(judged(&operations, Model::Register).verdict, Verdict::Valid);
        let get = pick(&mut random, &operations, |at, o| at > 1_000 && is_read(o));
        if random.once_in(2) {
            operations[get].values = Some(vec!["never written".into()]);
            let report = judged(&operations, Model::Register);
            assert_eq!((report.verdict, report.count(Kind::Phantom)), (Verdict::Invalid, 1), "seed {seed}");
            assert_eq!(report.first_impossible.map(|first| first.operation), Some(get), "seed {seed}");
            continue;
        }
        // What was put first of all was overwritten long ago.
        let old = operations.iter().find(|o| o.f == Function::Put).and_then(id).unwrap();
        operations[get].values = Some(vec![old]);
        let report = judged(&operations, Model::Register);
        assert_eq!((report.verdict, report.count(Kind::Stale)), (Verdict::Invalid, 1), "seed {seed}");
        assert_eq!(report.first_impossible.map(|first| first.operation), Some(get), "seed {seed}");
        assert!(report.witness.is_some_and(|witness| witness.len() <= 4 && witness.contains(&get)));
        stale += 1;
    }
    assert!(stale > 0, "{stale}");
}
