//! The models beside registers: locks, strings, several registers at once, sets.

use std::collections::BTreeMap;

use super::verdict::Decided;
use super::{Options, budget};
use crate::deadline::Deadline;
use crate::history::{Entry, Function, History, Id, NONE, Outcome, Value};
use crate::linearizable::clusters::Scratch;
use crate::linearizable::machine::{
    Access, Digest, Machine, NO_STRING, Register, Registers, StringStep, Text, digest,
};
use crate::linearizable::rounds::{self, Part};
use crate::linearizable::{NOT_FOUND, Op, Step, tokens};
use crate::report::{Model, Report};
use crate::sets;

fn op<S>(number: u32, entry: &Entry, step: S) -> Op<S> {
    Op { number, process: entry.process, call: entry.invoke, ret: entry.ret, step }
}

fn search<M: Machine + Clone>(
    decided: &mut Decided<'_>,
    history: &History,
    parts: &[Part<M>],
    (options, deadline): (&Options, &Deadline),
    report: &mut Report,
) {
    for (part, finding) in parts.iter().zip(rounds::search(history, parts, &budget(options, deadline))) {
        decided.take(part.key, finding, report);
    }
}

/// A lock: free or held; whoever releases it need not be who acquired it.
pub(super) fn check_mutex(
    history: &History,
    options: &Options,
    deadline: &Deadline,
    mut report: Report,
) -> Report {
    const FREE: Id = 0;
    const HELD: Id = 1;
    let parts: Vec<Part<Register>> = (0..history.keys())
        .map(|key| {
            let happened = |number: &u32| history.entry(*number).outcome != Outcome::Fail;
            let ops = history.of_key(key).iter().copied().filter(happened).map(|number| {
                let entry = history.entry(number);
                let acquires = entry.f == Function::Acquire;
                op(number, entry, if acquires { Step::Cas(FREE, HELD) } else { Step::Cas(HELD, FREE) })
            });
            Part { key, machine: Register, ops: ops.collect(), initial: FREE }
        })
        .collect();
    let mut decided = Decided::new(history, options, deadline);
    search(&mut decided, history, &parts, (options, deadline), &mut report);
    "search".clone_into(&mut report.algorithm);
    decided.finish(options, Model::Mutex, &mut report);
    report
}

/// Strings that are put, appended to and read: by tokens where those are unique, else by the search.
pub(super) fn check_kv(
    history: &History,
    options: &Options,
    deadline: &Deadline,
    mut report: Report,
) -> Report {
    let mut decided = Decided::new(history, options, deadline);
    let mut digests: Vec<Option<(Digest, Digest)>> = vec![None; history.value_count()];
    let initial = options.initial.as_ref().map(ToString::to_string);
    let mut parts = Vec::new();
    let mut by_tokens = false;
    let mut scratch = Scratch::new(history, deadline);
    for key in 0..history.keys() {
        if decided.stops_before(key, &mut report) {
            break;
        }
        if let Some(finding) = tokens::judge(history, key, initial.as_deref(), &mut scratch) {
            by_tokens = true;
            decided.take_in_time(key, finding, &mut report);
            continue;
        }
        let mut digest_of = |id: Id| {
            *digests[id as usize].get_or_insert_with(|| match history.value(id) {
                Value::Text(text) => digest(text),
                other => digest(&other.to_string()),
            })
        };
        let mut ops = Vec::new();
        for &number in history.of_key(key) {
            let entry = history.entry(number);
            let step = match (entry.f, entry.outcome) {
                (_, Outcome::Fail) | (Function::Get, Outcome::Info) => continue,
                (Function::Get, _) if history.is_raw(number) => continue,
                (Function::Get, _) => match history.values_of(number) {
                    [] => StringStep::Read(NO_STRING),
                    // Several values are no string that anybody could have put.
                    several @ [_, _, ..] => StringStep::Read((u64::MAX, several.len() as u64)),
                    [one] => StringStep::Read(digest_of(*one).0),
                },
                (Function::Append, _) => {
                    let (tail, shift) = digest_of(entry.value);
                    StringStep::Append(tail, shift)
                }
                (Function::Delete, _) => StringStep::Write(NO_STRING),
                _ => StringStep::Write(digest_of(entry.value).0),
            };
            ops.push(op(number, entry, step));
        }
        let initial = initial.as_deref().map_or(NO_STRING, |text| digest(text).0);
        parts.push(Part { key, machine: Text, ops, initial });
    }
    search(&mut decided, history, &parts, (options, deadline), &mut report);
    report.algorithm = match (by_tokens, parts.is_empty()) {
        (true, true) => "tokens",
        (true, false) => "search+tokens",
        (false, _) => "search",
    }
    .to_owned();
    decided.finish(options, Model::Kv, &mut report);
    report
}

/// Registers that transactions read and write together. Keys that never meet in a transaction, not even
/// by way of others, are searched apart.
pub(super) fn check_multi_register(
    history: &History,
    options: &Options,
    deadline: &Deadline,
    mut report: Report,
) -> Report {
    let initial = super::initial_state(history, options);
    let null = history.find_value(&Value::Null);
    let mut groups = Groups::default();
    for number in 0..u32::try_from(history.entries().len()).unwrap_or(NONE) {
        let keys = history.steps_of(number).iter().map(|step| step.key);
        keys.fold(None, |first, key| Some(groups.join(first.unwrap_or(key), key)));
    }
    // By group: its registers, and its operations.
    let mut members: BTreeMap<Id, (BTreeMap<Id, u32>, Vec<u32>)> = BTreeMap::new();
    for (number, entry) in (0_u32..).zip(history.entries()) {
        let Some(first) = history.steps_of(number).first().filter(|_| entry.outcome != Outcome::Fail) else {
            continue;
        };
        let (registers, operations) = members.entry(groups.find(first.key)).or_default();
        operations.push(number);
        for step in history.steps_of(number) {
            let next = u32::try_from(registers.len()).unwrap_or(NONE);
            registers.entry(step.key).or_insert(next);
        }
    }
    let writes_null = (0..u32::try_from(history.entries().len()).unwrap_or(NONE))
        .flat_map(|number| history.steps_of(number))
        .any(|step| step.f == Function::Put && Some(step.value) == null);
    let parts: Vec<Part<Registers>> = members
        .into_values()
        .map(|(registers, operations)| {
            let mut machine = Registers::default();
            let mut ops = Vec::with_capacity(operations.len());
            for number in operations {
                let entry = history.entry(number);
                let start = machine.accesses.len();
                machine.accesses.extend(history.steps_of(number).iter().filter_map(
                    |step| -> Option<Access> {
                        let reads = step.f == Function::Get;
                        // What was read is known from an answer only.
                        (!reads || entry.outcome == Outcome::Ok).then_some(())?;
                        // Where nobody writes null, to read it is to find nothing.
                        let nothing = reads && Some(step.value) == null && !writes_null;
                        Some((reads, registers[&step.key], if nothing { NOT_FOUND } else { step.value }))
                    },
                ));
                let end = machine.accesses.len();
                let range = |at: usize| u32::try_from(at).unwrap_or(NONE);
                ops.push(op(number, entry, (range(start), range(end))));
            }
            let state = machine.state(vec![initial; registers.len()].into_boxed_slice());
            Part { key: 0, machine, ops, initial: state }
        })
        .collect();
    let mut decided = Decided::new(history, options, deadline);
    search(&mut decided, history, &parts, (options, deadline), &mut report);
    "search".clone_into(&mut report.algorithm);
    // Reads alone make a transaction without steps that say something; it fits anywhere.
    decided.finish(options, Model::MultiRegister, &mut report);
    report
}

/// Which keys belong together.
#[derive(Default)]
struct Groups {
    parent: BTreeMap<Id, Id>,
}

impl Groups {
    fn find(&mut self, key: Id) -> Id {
        let mut root = key;
        while let Some(&parent) = self.parent.get(&root).filter(|&&parent| parent != root) {
            root = parent;
        }
        let mut at = key;
        while at != root {
            at = self.parent.insert(at, root).unwrap_or(root);
        }
        root
    }

    fn join(&mut self, a: Id, b: Id) -> Id {
        let (a, b) = (self.find(a), self.find(b));
        self.parent.insert(b.max(a), a.min(b));
        a.min(b)
    }
}

/// Sets that only grow.
pub(super) fn check_set(
    history: &History,
    options: &Options,
    deadline: &Deadline,
    mut report: Report,
) -> Report {
    let mut decided = Decided::new(history, options, deadline);
    let mut counts = sets::Counts::default();
    let mut scratch = sets::Scratch::new(history, deadline);
    for key in 0..history.keys() {
        if decided.stops_before(key, &mut report) {
            break;
        }
        let finding = sets::judge(history, key, &mut scratch, &mut decided.findings, &mut counts);
        decided.take_in_time(key, finding, &mut report);
    }
    "inclusion".clone_into(&mut report.algorithm);
    report.set = (!deadline.was_missed()).then(|| counts.report());
    decided.finish(options, Model::Set, &mut report);
    report
}
