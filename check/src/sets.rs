//! Sets that only grow: linearizable by inclusion, and element by element as Jepsen's set-full checker
//! counts.
//!
//! In a set that only grows, what gets returned must form a chain by inclusion, and the chain says where
//! each element was added: after the last get without it and before the first with it. So an order
//! exists if and only if no operation that comes later in the chain was over before one that comes
//! earlier began. O(n log n) beside the total size of what was read, without a search.
//!
//! Beside the verdict: an element is lost if it was known (its add acknowledged, or some get over that
//! showed it) and is absent from the latest get, called after that; it is stale if it is there in the end,
//! but was absent from a get that was called after it was known. An element that one get shows twice is a
//! phantom: nobody added it to a set that has it.

use std::collections::HashMap;

use crate::history::{Function, History, Id, NEVER, NONE, Outcome};
use crate::linearizable::{Finding, Op, prefix};
use crate::report::{Distribution, Findings, Kind, SetReport, Violation};
use crate::say;

/// What became of the elements of all keys.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    report: SetReport,
    stable_ns: Vec<u64>,
    lost_ns: Vec<u64>,
}

impl Counts {
    pub(crate) fn report(mut self) -> SetReport {
        SetReport {
            stable_latency_ms: Distribution::of(&mut self.stable_ns, 1e-6),
            lost_latency_ms: Distribution::of(&mut self.lost_ns, 1e-6),
            ..self.report
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Add(Id),
    Get,
}

/// Judges one key.
pub(crate) fn judge(history: &History, key: usize, findings: &mut Findings, counts: &mut Counts) -> Finding {
    let mut ops: Vec<Op<Doing>> = Vec::new();
    for &number in history.of_key(key) {
        let entry = history.entry(number);
        let step = match (entry.f, entry.outcome) {
            (_, Outcome::Fail) | (Function::Get, Outcome::Info) => continue,
            (Function::Get, _) if history.is_raw(number) => continue,
            (Function::Get, _) => Doing::Get,
            _ => Doing::Add(entry.value),
        };
        ops.push(Op { number, process: entry.process, call: entry.invoke, ret: entry.ret, step });
    }
    let elements = Elements::of(history, key, &ops);
    elements.count(history, key, findings, counts);
    let mut impossible = None;
    ops.retain(|op| {
        let phantom = op.step == Doing::Get && elements.phantom(history, op.number).is_some();
        if phantom {
            let violation = elements.say_phantom(history, key, op.number);
            findings.add(Kind::Phantom, || violation);
            let sooner = |(ret, number): (i64, u32)| (op.ret, op.number) < (ret, number);
            if impossible.is_none_or(sooner) {
                impossible = Some((op.ret, op.number));
            }
        }
        !phantom
    });
    let finding = match arrange(history, &ops) {
        Ok(order) => Finding::Linearizable(order),
        Err(_) => {
            prefix::bisect(history, &ops, |step| *step == Doing::Get, |cut| arrange(history, cut).err())
        }
    };
    match (finding, impossible) {
        (Finding::Linearizable(_), Some((_, number))) => {
            let says = say::unorderable(history, &[number], number);
            Finding::Not { witness: vec![number], first_impossible: number, says }
        }
        (finding, _) => finding,
    }
}

/// What a get returned, each element once, sorted.
fn distinct(history: &History, number: u32) -> Vec<Id> {
    let mut values = history.values_of(number).to_vec();
    values.sort_unstable();
    values.dedup();
    values
}

/// An order of the operations, by number, or some that have none.
fn arrange(history: &History, ops: &[Op<Doing>]) -> Result<Vec<u32>, Vec<u32>> {
    let mut gets: Vec<(Vec<Id>, usize)> = ops
        .iter()
        .enumerate()
        .filter(|(_, op)| op.step == Doing::Get)
        .map(|(at, op)| (distinct(history, op.number), at))
        .collect();
    gets.sort_by_key(|(values, at)| (values.len(), *at));
    // Levels: gets of the same set share an odd one; what it adds to the set before has the even one
    // below it.
    let mut level = vec![0_u32; ops.len()];
    let mut level_of: HashMap<Id, u32> = HashMap::new();
    let mut current = 1;
    let mut before: Option<&(Vec<Id>, usize)> = None;
    for get in &gets {
        let (values, at) = get;
        let known: &[Id] = before.map_or(&[], |(values, _)| values);
        if before.is_some() && known != values {
            current += 2;
        }
        let mut rest = known.iter().copied().peekable();
        for &value in values {
            if rest.next_if_eq(&value).is_none() {
                level_of.insert(value, current - 1);
            }
        }
        if rest.next().is_some() {
            let other = before.map_or(*at, |(_, other)| *other);
            return Err(vec![ops[other].number, ops[*at].number]);
        }
        level[*at] = current;
        before = Some(get);
    }
    let unseen = current + 1;
    // Of several adds of one element the one called first is the one that counts.
    let mut first: HashMap<Id, usize> = HashMap::new();
    for (at, op) in ops.iter().enumerate() {
        if let Doing::Add(value) = op.step {
            first.entry(value).or_insert(at);
            level[at] = level_of.get(&value).copied().unwrap_or(unseen);
        }
    }
    let mut returns: Vec<(i64, usize)> =
        ops.iter().enumerate().filter(|(_, op)| op.returned()).map(|(at, op)| (op.ret, at)).collect();
    returns.sort_unstable();
    let (mut next, mut highest): (usize, Option<usize>) = (0, None);
    for (at, op) in ops.iter().enumerate() {
        while let Some(&(_, done)) = returns.get(next).filter(|(ret, _)| *ret < op.call) {
            if highest.is_none_or(|highest| level[highest] < level[done]) {
                highest = Some(done);
            }
            next += 1;
        }
        let Some(highest) = highest.filter(|&highest| level[highest] > level[at]) else { continue };
        match op.step {
            // Adding once more what is there already may be later than the element's first add.
            Doing::Add(value) if first[&value] != at => level[at] = level[highest],
            _ => return Err(vec![ops[highest].number, op.number]),
        }
    }
    let mut order: Vec<(u32, usize)> = ops
        .iter()
        .enumerate()
        .filter(|(at, op)| op.returned() || level[*at] < unseen)
        .map(|(at, _)| (level[at], at))
        .collect();
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, at)| ops[at].number).collect())
}

/// What is known of one element.
#[derive(Debug, Clone, Copy)]
struct Element {
    first_call: i64,
    /// When it was known to be there.
    known: i64,
    add: u32,
}

struct Elements {
    /// Only asked by value.
    by_value: HashMap<Id, Element>,
    /// In order of their adds.
    values: Vec<Id>,
    /// Gets in order of their calls.
    gets: Vec<u32>,
}

impl Elements {
    fn of(history: &History, key: usize, ops: &[Op<Doing>]) -> Elements {
        let mut elements = Elements { by_value: HashMap::new(), values: Vec::new(), gets: Vec::new() };
        for op in ops {
            match op.step {
                Doing::Get => elements.gets.push(op.number),
                Doing::Add(value) => {
                    let element = elements.by_value.entry(value).or_insert_with(|| {
                        elements.values.push(value);
                        Element { first_call: op.call, known: NEVER, add: op.number }
                    });
                    element.known = element.known.min(op.ret);
                }
            }
        }
        debug_assert!(history.keys() > key, "the key is one of the history");
        elements
    }

    /// The first element of a get that is a phantom: never added, not yet, or shown twice.
    fn phantom(&self, history: &History, get: u32) -> Option<Id> {
        let values = history.values_of(get);
        let ret = history.entry(get).ret;
        let unknown = values.iter().find(|value| self.by_value.get(value).is_none_or(|e| e.first_call > ret));
        unknown.copied().or_else(|| twice(values))
    }

    fn say_phantom(&self, history: &History, key: usize, get: u32) -> Violation {
        let value = self.phantom(history, get).unwrap_or(NONE);
        let name = say::value(history, value);
        let what = if self.by_value.contains_key(&value) {
            format!("shows {name} more than once, or before it was added")
        } else {
            format!("shows {name}, which nobody added")
        };
        let entry = history.entry(get);
        let process = history.process_of(get as usize);
        Violation {
            kind: Kind::Phantom,
            guarantee: None,
            key: history.key(key).clone(),
            operations: vec![get as usize],
            says: format!("the get by process {process} at {} {what}", say::time(entry.invoke)),
            lasting: None,
        }
    }

    fn count(&self, history: &History, key: usize, findings: &mut Findings, counts: &mut Counts) {
        let report = &mut counts.report;
        // By element: the gets that show it, by place.
        let mut shown: HashMap<Id, Vec<u32>> = HashMap::new();
        let mut known: HashMap<Id, i64> = HashMap::new();
        for (place, &get) in (0_u32..).zip(&self.gets) {
            let values = history.values_of(get);
            report.duplicated += u64::from(twice(values).is_some());
            for value in distinct(history, get) {
                match self.by_value.get(&value) {
                    None => report.unexpected += 1,
                    Some(element) => {
                        let known = known.entry(value).or_insert(element.known);
                        *known = (*known).min(history.entry(get).ret);
                        shown.entry(value).or_default().push(place);
                    }
                }
            }
        }
        let call = |place: u32| history.entry(self.gets[place as usize]).invoke;
        for value in &self.values {
            report.attempts += 1;
            let element = self.by_value[value];
            let known = known.get(value).copied().unwrap_or(element.known);
            let present: &[u32] = shown.get(value).map_or(&[], Vec::as_slice);
            // From the latest get down: the first that does not show it.
            let count = u32::try_from(self.gets.len()).unwrap_or(NONE);
            let trailing = present.iter().rev().zip((0..count).rev()).take_while(|(a, b)| **a == *b).count();
            let last_absent = count.checked_sub(u32::try_from(trailing).unwrap_or(count) + 1);
            let last_present = present.last().copied();
            if last_present.is_some() && last_present > last_absent {
                report.stable += 1;
                let latency = last_absent.map_or(0, |place| (call(place) + 1).saturating_sub(known).max(0));
                counts.stable_ns.push(latency.unsigned_abs());
                if let Some(place) = last_absent.filter(|_| latency > 0) {
                    report.stale += 1;
                    let get = self.gets[place as usize];
                    findings.add(Kind::Stale, || self.absent(history, key, Kind::Stale, *value, get));
                }
            } else if let Some(place) = last_absent.filter(|&place| known != NEVER && call(place) > known) {
                report.lost += 1;
                let until = last_present.map_or(known, |place| call(place) + 1);
                counts.lost_ns.push(until.saturating_sub(known).max(0).unsigned_abs());
                let get = self.gets[place as usize];
                findings.add(Kind::Lost, || self.absent(history, key, Kind::Lost, *value, get));
            } else {
                report.never_read += 1;
            }
        }
    }

    fn absent(&self, history: &History, key: usize, kind: Kind, value: Id, get: u32) -> Violation {
        let add = self.by_value[&value].add;
        let end = if kind == Kind::Lost { "never shown again" } else { "shown again later" };
        Violation {
            kind,
            guarantee: None,
            key: history.key(key).clone(),
            operations: vec![add as usize, get as usize],
            says: format!(
                "{} was known to be in the set before the get by process {} at {} began, which misses it; it is {end}",
                say::value(history, value),
                history.process_of(get as usize),
                say::time(history.entry(get).invoke)
            ),
            lasting: None,
        }
    }
}

/// An element that a get shows more than once.
fn twice(values: &[Id]) -> Option<Id> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
