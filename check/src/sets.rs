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
use std::hash::BuildHasherDefault;

use crate::deadline::{Deadline, LATE};
use crate::history::{Function, History, Id, NEVER, NONE, Outcome};
use crate::linearizable::search::Folded;
use crate::linearizable::shrink::{self, Rules};
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
pub(crate) fn judge(
    history: &History,
    key: usize,
    scratch: &mut Scratch,
    findings: &mut Findings,
    counts: &mut Counts,
) -> Finding {
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
    let mut elements = Elements::of(history, &ops, scratch);
    let mut impossible = None;
    ops.retain(|op| {
        let phantom = if op.step == Doing::Get { elements.phantom(op.number, counts) } else { None };
        if let Some(value) = phantom {
            findings.add(Kind::Phantom, || elements.say_phantom(key, op.number, value));
            let sooner = |(ret, number): (i64, u32)| (op.ret, op.number) < (ret, number);
            if impossible.is_none_or(sooner) {
                impossible = Some((op.ret, op.number));
            }
        }
        phantom.is_none()
    });
    elements.count(key, findings, counts);
    let deadline = elements.scratch.deadline.clone();
    let finding = match arrange(&elements, &ops) {
        _ if deadline.is_over() => Finding::Unknown(LATE.to_owned()),
        Ok(order) => Finding::Linearizable(order),
        Err(_) => prefix::bisect(
            history,
            &ops,
            &deadline,
            |step| *step == Doing::Get,
            |cut| arrange(&elements, cut).err(),
        ),
    };
    elements.scratch.deadline = deadline.aside();
    let finding = smaller(&elements, &ops, finding);
    elements.scratch.deadline = deadline;
    elements.release();
    match (finding, impossible) {
        (Finding::Linearizable(_), Some((_, number))) => {
            let says = say::unorderable(history, &[number], number);
            Finding::Not { witness: vec![number], first_impossible: number, says }
        }
        (finding, _) => finding,
    }
}

/// An order of the operations, by number, or some that have none. No get is a phantom's.
fn arrange(elements: &Elements<'_>, ops: &[Op<Doing>]) -> Result<Vec<u32>, Vec<u32>> {
    let history = elements.history;
    let mut gets: Vec<(usize, usize)> = ops
        .iter()
        .enumerate()
        .filter(|(_, op)| op.step == Doing::Get)
        .map(|(at, op)| (history.values_of(op.number).len(), at))
        .collect();
    gets.sort_unstable();
    // Levels: gets of the same set share an odd one; what it adds to the set before has the even one
    // below it.
    let mut level = vec![0_u32; ops.len()];
    let mut level_of = vec![NONE; elements.list.len()];
    let mut current = 1;
    let mut before: Option<(usize, usize)> = None;
    for &(len, at) in &gets {
        let (known, other) = before.unwrap_or((0, at));
        if before.is_some() && len > known {
            current += 2;
        }
        // What has a level is in the set before, and in this one if that is a part of it.
        let mut common = 0;
        for &value in history.values_of(ops[at].number) {
            if elements.scratch.deadline.step() {
                return Err(Vec::new());
            }
            let slot = &mut level_of[elements.place(value)];
            common += usize::from(*slot != NONE);
            *slot = (*slot).min(current - 1);
        }
        if common < known {
            return Err(vec![ops[other].number, ops[at].number]);
        }
        level[at] = current;
        before = Some((len, at));
    }
    let unseen = current + 1;
    // Of several adds of one element any may be the one that counts; the others may be later.
    let mut blocked = vec![(NONE, NONE); elements.list.len()];
    let mut provided = vec![false; elements.list.len()];
    for (at, op) in ops.iter().enumerate() {
        if let Doing::Add(value) = op.step {
            let own = level_of[elements.place(value)];
            level[at] = if own == NONE { unseen } else { own };
        }
    }
    let mut returns: Vec<(i64, usize)> =
        ops.iter().enumerate().filter(|(_, op)| op.returned()).map(|(at, op)| (op.ret, at)).collect();
    returns.sort_unstable();
    let (mut next, mut highest): (usize, Option<usize>) = (0, None);
    // Only asked, never walked. A process's own order counts among equal stamps, too.
    let mut last_of_process: HashMap<u32, usize, BuildHasherDefault<Folded>> = HashMap::default();
    for (at, op) in ops.iter().enumerate() {
        while let Some(&(_, done)) = returns.get(next).filter(|(ret, _)| *ret < op.call) {
            if highest.is_none_or(|highest| level[highest] < level[done]) {
                highest = Some(done);
            }
            next += 1;
        }
        let own = last_of_process.insert(op.process, at);
        let earlier = highest.into_iter().chain(own).max_by_key(|&earlier| level[earlier]);
        let higher = earlier.filter(|&earlier| level[earlier] > level[at]);
        match (op.step, higher) {
            (Doing::Get, None) => {}
            (Doing::Get, Some(higher)) => return Err(vec![ops[higher].number, op.number]),
            (Doing::Add(value), None) => provided[elements.place(value)] = true,
            (Doing::Add(value), Some(higher)) => {
                level[at] = level[higher];
                blocked[elements.place(value)] = (ops[higher].number, op.number);
            }
        }
    }
    let missing = (0..level_of.len()).find(|&place| level_of[place] != NONE && !provided[place]);
    if let Some(place) = missing {
        let (higher, add) = blocked[place];
        let shows = |get: u32| history.values_of(get).contains(&elements.list[place].value);
        let get = gets.iter().map(|&(_, at)| ops[at].number).find(|&get| shows(get));
        let mut witness: Vec<u32> = [higher, add].into_iter().chain(get).filter(|&op| op != NONE).collect();
        witness.sort_unstable();
        witness.dedup();
        return Err(witness);
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

/// A contradiction with the adds that it is about and without what is not needed; as it is, if its gets
/// show a lot.
fn smaller(elements: &Elements<'_>, ops: &[Op<Doing>], finding: Finding) -> Finding {
    const SHOWN_MAX: usize = 64;
    let history = elements.history;
    let Finding::Not { witness, .. } = &finding else { return finding };
    if witness.iter().map(|&op| history.values_of(op).len()).sum::<usize>() > SHOWN_MAX {
        return finding;
    }
    shrink::finding(history, ops, finding, &mut ByInclusion { elements })
}

/// What may be left out of a contradiction.
struct ByInclusion<'e, 'h> {
    elements: &'e Elements<'h>,
}

impl Rules<Doing> for ByInclusion<'_, '_> {
    fn is_read(&self, step: &Doing) -> bool {
        *step == Doing::Get
    }

    fn may_see(&self, reader: &Op<Doing>, writer: &Op<Doing>) -> bool {
        match (reader.step, writer.step) {
            (Doing::Get, Doing::Add(value)) => {
                self.elements.history.values_of(reader.number).contains(&value)
            }
            (Doing::Add(_), _) | (_, Doing::Get) => false,
        }
    }

    fn is_impossible(&mut self, ops: &[Op<Doing>]) -> bool {
        arrange(self.elements, ops).is_err() && !self.elements.scratch.deadline.was_missed()
    }
}

/// Where the elements of a key are, by value; kept from key to key.
pub(crate) struct Scratch {
    of_value: Vec<u32>,
    deadline: Deadline,
}

impl Scratch {
    pub(crate) fn new(history: &History, deadline: &Deadline) -> Self {
        Scratch { of_value: vec![NONE; history.value_count()], deadline: deadline.clone() }
    }
}

/// What is known of one element.
#[derive(Debug, Clone, Copy)]
struct Element {
    value: Id,
    first_call: i64,
    /// When it was known to be there.
    known: i64,
    add: u32,
    /// The last get looked at that shows it.
    mark: u32,
    /// The latest get that shows it, and how many of the latest gets do without a gap.
    last_present: u32,
    run: u32,
}

struct Elements<'h> {
    history: &'h History,
    scratch: &'h mut Scratch,
    /// In order of their adds.
    list: Vec<Element>,
    /// Gets in order of their calls.
    gets: Vec<u32>,
}

impl<'h> Elements<'h> {
    fn of(history: &'h History, ops: &[Op<Doing>], scratch: &'h mut Scratch) -> Elements<'h> {
        let (mut list, mut gets): (Vec<Element>, Vec<u32>) = (Vec::new(), Vec::new());
        for op in ops {
            let Doing::Add(value) = op.step else {
                gets.push(op.number);
                continue;
            };
            let slot = &mut scratch.of_value[value as usize];
            if *slot == NONE {
                *slot = u32::try_from(list.len()).unwrap_or(NONE);
                list.push(Element {
                    value,
                    first_call: op.call,
                    known: NEVER,
                    add: op.number,
                    mark: NONE,
                    last_present: NONE,
                    run: 0,
                });
            }
            let element = &mut list[*slot as usize];
            element.known = element.known.min(op.ret);
        }
        Elements { history, scratch, list, gets }
    }

    /// Where an element that somebody added is.
    fn place(&self, value: Id) -> usize {
        self.scratch.of_value[value as usize] as usize
    }

    fn release(self) {
        for element in &self.list {
            self.scratch.of_value[element.value as usize] = NONE;
        }
    }

    /// The first element of a get that is a phantom: never added, not yet, or shown twice.
    fn phantom(&mut self, get: u32, counts: &mut Counts) -> Option<Id> {
        let ret = self.history.entry(get).ret;
        let (mut unknown, mut twice) = (None, None);
        let mut strangers: Vec<Id> = Vec::new();
        for &value in self.history.values_of(get) {
            if self.scratch.deadline.step() {
                return None;
            }
            let place = self.place(value);
            let Some(element) = self.list.get_mut(place) else {
                unknown = unknown.or(Some(value));
                strangers.push(value);
                continue;
            };
            if element.first_call > ret {
                unknown = unknown.or(Some(value));
            }
            if std::mem::replace(&mut element.mark, get) == get {
                twice = twice.or(Some(value));
            }
        }
        let listed = strangers.len();
        strangers.sort_unstable();
        let twins = strangers.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        strangers.dedup();
        twice = twice.or(twins.filter(|_| strangers.len() < listed));
        counts.report.unexpected += strangers.len() as u64;
        counts.report.duplicated += u64::from(twice.is_some());
        unknown.or(twice)
    }

    fn say_phantom(&self, key: usize, get: u32, value: Id) -> Violation {
        let history = self.history;
        let name = say::value(history, value);
        let what = match self.list.get(self.place(value)) {
            None => format!("shows {name}, which nobody added"),
            Some(element) if element.first_call > history.entry(get).ret => {
                format!("shows {name} before it was added")
            }
            Some(_) => format!("shows {name} more than once"),
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

    fn count(&mut self, key: usize, findings: &mut Findings, counts: &mut Counts) {
        let history = self.history;
        let count = u32::try_from(self.gets.len()).unwrap_or(NONE);
        // From the latest get down, so that the run without a gap is known when it ends.
        for (from_end, &get) in (0_u32..).zip(self.gets.iter().rev()) {
            let ret = history.entry(get).ret;
            for &value in history.values_of(get) {
                // What is known by half tells what happened to no element.
                if self.scratch.deadline.step() {
                    return;
                }
                let place = self.place(value);
                let Some(element) = self.list.get_mut(place) else { continue };
                element.known = element.known.min(ret);
                element.run += u32::from(element.run == from_end);
                if element.last_present == NONE {
                    element.last_present = count - 1 - from_end;
                }
            }
        }
        let call = |place: u32| history.entry(self.gets[place as usize]).invoke;
        for element in &self.list {
            if self.scratch.deadline.step() {
                return;
            }
            let report = &mut counts.report;
            report.attempts += 1;
            let known = element.known;
            let last_absent = count.checked_sub(element.run + 1);
            let last_present = (element.last_present != NONE).then_some(element.last_present);
            if last_present.is_some() && last_present > last_absent {
                report.stable += 1;
                let latency = last_absent.map_or(0, |place| (call(place) + 1).saturating_sub(known).max(0));
                counts.stable_ns.push(latency.unsigned_abs());
                if let Some(place) = last_absent.filter(|_| latency > 0) {
                    report.stale += 1;
                    let get = self.gets[place as usize];
                    findings.add(Kind::Stale, || self.absent(key, Kind::Stale, element, get));
                }
            } else if let Some(place) = last_absent.filter(|&place| known != NEVER && call(place) > known) {
                report.lost += 1;
                let until = last_present.map_or(known, |place| call(place) + 1);
                counts.lost_ns.push(until.saturating_sub(known).max(0).unsigned_abs());
                let get = self.gets[place as usize];
                findings.add(Kind::Lost, || self.absent(key, Kind::Lost, element, get));
            } else {
                report.never_read += 1;
            }
        }
    }

    fn absent(&self, key: usize, kind: Kind, element: &Element, get: u32) -> Violation {
        let history = self.history;
        let end = if kind == Kind::Lost { "never shown again" } else { "shown again later" };
        Violation {
            kind,
            guarantee: None,
            key: history.key(key).clone(),
            operations: vec![element.add as usize, get as usize],
            says: format!(
                "{} was known to be in the set before the get by process {} at {} began, which misses it; it is {end}",
                say::value(history, element.value),
                history.process_of(get as usize),
                say::time(history.entry(get).invoke)
            ),
            lasting: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use crate::report::{Kind, Model, Report, Verdict};
    use crate::testing::history;
    use crate::{Options, check};

    fn judged(text: &str) -> Report {
        check(&history(text), &Options { model: Some(Model::Set), ..Options::default() })
    }

    #[test]
    fn elements_are_counted_as_jepsens_set_full_counts_them() {
        let report = judged(
            "1 add 1 0-10
             2 add 2 0-10
             3 add 3 20-?
             4 add 4 20-30
             5 get 1,2 40-50
             5 get 1,4 60-70
             5 get 1,4 80-90",
        );
        let set = report.set.unwrap();
        assert_eq!((set.attempts, set.stable, set.lost, set.never_read), (4, 2, 1, 1));
        assert_eq!((set.stale, set.duplicated, set.unexpected), (1, 0, 0));
        assert_eq!(report.verdict, Verdict::Invalid, "what was shown is gone");
    }

    #[test]
    fn duplicates_and_strangers_are_reported() {
        let report = judged("1 add 1 0-10\n 2 get 1,1 20-30\n 2 get 1,9 40-50\n 2 get 1 60-70");
        let set = report.set.unwrap();
        assert_eq!((set.duplicated, set.unexpected, report.count(Kind::Phantom)), (1, 1, 2));
        assert_eq!(report.violations[1].says, "the get by process 2 at 20 ns shows 1 more than once");
        assert_eq!(report.violations[2].says, "the get by process 2 at 40 ns shows 9, which nobody added");
    }

    #[test]
    fn any_of_several_adds_may_be_the_one_that_counts() {
        // Process 1 adds only after its get; process 2's add explains what that shows.
        assert_eq!(judged("1 get 0 1-2\n 1 add 0 2-?\n 2 add 0 2-2").verdict, Verdict::Valid);
        assert_eq!(judged("1 get 0 1-2\n 1 add 0 2-?").verdict, Verdict::Invalid);
    }
}
