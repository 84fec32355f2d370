//! Linearizability (Herlihy and Wing 1990) of registers, key by key.
//!
//! A history is linearizable if and only if it is so on each key alone. Where each value is written
//! once, [`zones`] decide in O(n log n). Repeated values, and "not found" where keys are deleted (all
//! deletes write the same "not found"), need the [`search`], which may run out of budget and then says
//! so. In front of the search the zones judge what remains without the ambiguous gets: taking gets away
//! never makes a history worse, so what they refuse is refused for good.
//!
//! Order is real time with closed intervals: equal stamps are concurrent, except within one process.
//! Not here: how far from linearizable ([`crate::staleness`]).

pub(crate) mod chains;
pub(crate) mod clusters;
pub(crate) mod machine;
pub(crate) mod prefix;
pub(crate) mod quick;
pub(crate) mod rounds;
pub(crate) mod search;
pub(crate) mod shrink;
pub(crate) mod stamps;
pub(crate) mod tokens;
pub(crate) mod versions;
pub(crate) mod zones;

#[cfg(test)]
mod distance_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod witness_tests;

use crate::deadline::LATE;
use crate::history::{Function, History, Id, NONE, Outcome};
use clusters::{Clusters, Scratch};
use machine::Register;
use shrink::BySearch;

/// "Not found", as a state beside the values of the history: no value has this number.
pub(crate) const NOT_FOUND: Id = NONE - 1;

/// What a register does, as the checkers of this module see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Saw this state.
    Read(Id),
    /// Wrote this state.
    Write(Id),
    /// Saw the first and wrote the second.
    Cas(Id, Id),
}

/// One operation on one key. `ret` is `i64::MAX` if it may take effect at any later time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op<S = Step> {
    pub(crate) number: u32,
    pub(crate) process: u32,
    pub(crate) call: i64,
    pub(crate) ret: i64,
    pub(crate) step: S,
}

impl<S> Op<S> {
    /// Whether its answer came: it must be placed.
    pub(crate) fn returned(&self) -> bool {
        self.ret != i64::MAX
    }
}

/// What was found out about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// In this order, by operation number.
    Linearizable(Vec<u32>),
    /// These operations cannot be ordered.
    Not { witness: Vec<u32>, first_impossible: u32, says: String },
    /// Undecided, and why.
    Unknown(String),
}

/// The finding and the method that led to it; none if only the search can tell.
pub(crate) struct Judged {
    pub(crate) finding: Option<Finding>,
    pub(crate) algorithm: &'static str,
}

/// The operations of one key that say something about its register. Gets without an answer and writes
/// that certainly did not happen say nothing; neither does what `is_left_out`, such as gets of phantoms.
pub(crate) fn operations(history: &History, key: usize, is_left_out: impl Fn(u32) -> bool) -> Vec<Op> {
    let null = history.find_value(&crate::history::Value::Null);
    let of_key = history.of_key(key);
    let writes_null = null.is_some()
        && of_key.iter().any(|&number| {
            let entry = history.entry(number);
            matches!(entry.f, Function::Put | Function::Cas) && Some(entry.value) == null
        });
    let mut ops = Vec::with_capacity(of_key.iter().filter(|&&number| !is_left_out(number)).count());
    for &number in of_key {
        if is_left_out(number) {
            continue;
        }
        let entry = history.entry(number);
        let step = match (entry.f, entry.outcome) {
            (_, Outcome::Fail) | (Function::Get, Outcome::Info) => continue,
            // A raw copy of one node is no answer of the store.
            (Function::Get, Outcome::Ok) if history.is_raw(number) => continue,
            (Function::Get, Outcome::Ok) => {
                Step::Read(history.values_of(number).first().copied().unwrap_or(NOT_FOUND))
            }
            (Function::Put, _) => Step::Write(entry.value),
            (Function::Delete, _) => Step::Write(NOT_FOUND),
            // Where nobody writes null, a cas from null can only mean "create it".
            (Function::Cas, _) if Some(history.source_of(number)) == null && !writes_null => {
                Step::Cas(NOT_FOUND, entry.value)
            }
            (Function::Cas, _) => Step::Cas(history.source_of(number), entry.value),
            (Function::Append | Function::Add | Function::Acquire | Function::Release | Function::Txn, _) => {
                continue;
            }
        };
        ops.push(Op { number, process: entry.process, call: entry.invoke, ret: entry.ret, step });
    }
    ops
}

/// Judges one key, given its operations in order of invocation, whose ties it draws apart.
pub(crate) fn judge(history: &History, ops: &mut [Op], initial: Id, scratch: &mut Scratch) -> Judged {
    let exact = stamps::separate_ties(ops, scratch);
    let clusters = Clusters::build(ops, initial, scratch);
    // From here on only what is at least n log n.
    if scratch.deadline.is_over() {
        return Judged { finding: Some(Finding::Unknown(LATE.to_owned())), algorithm: "zones" };
    }
    if let Some(judged) = judge_early(history, ops, &clusters, initial, scratch) {
        return judged;
    }
    let decidable = clusters.ambiguous.is_none() && exact;
    let numbers = |order: Vec<u32>| order.into_iter().map(|op| ops[op as usize].number).collect();
    if !clusters.repeated && !clusters.has_cas {
        if zones::find_conflict(&clusters.list).is_some() {
            // With gets left out, an earlier one of them may be impossible too. The verdict stands all
            // the same, and the operation named is impossible in any case.
            let finding = prefix::by_sweep(history, ops, clusters, &scratch.deadline);
            let finding = smaller(history, ops, initial, finding, scratch);
            return Judged { finding: Some(finding), algorithm: "zones" };
        }
        if decidable {
            let order = zones::order(&clusters.list, ops, &clusters.of_op);
            return Judged { finding: Some(Finding::Linearizable(numbers(order))), algorithm: "zones" };
        }
    }
    if !clusters.repeated && clusters.has_cas && decidable {
        let finding = match chains::order(ops, &clusters) {
            Ok(order) => Finding::Linearizable(numbers(order)),
            Err(_) => {
                let finding = prefix::by_bisection(history, ops, initial, scratch);
                smaller(history, ops, initial, finding, scratch)
            }
        };
        return Judged { finding: Some(finding), algorithm: "zones with cas chains" };
    }
    Judged { finding: None, algorithm: "search" }
}

/// If gets were over before the write that they read was called: the first of those, unless what remains
/// without them has an operation that is impossible before it. Zones compare ends and would not see it.
fn judge_early(
    history: &History,
    ops: &[Op],
    clusters: &Clusters,
    initial: Id,
    scratch: &mut Scratch,
) -> Option<Judged> {
    if clusters.repeated {
        return None;
    }
    let is_early = |position: usize| {
        let put_call = clusters.list.get(clusters.of_op[position] as usize).map(|cluster| cluster.put_call);
        matches!(ops[position].step, Step::Read(_)) && put_call.is_some_and(|call| ops[position].ret < call)
    };
    let early = (0..ops.len()).filter(|&position| is_early(position));
    let first = early.min_by_key(|&position| (ops[position].ret, position))?;
    let put = clusters.list[clusters.of_op[first] as usize].put;
    let mut rest: Vec<Op> =
        (0..ops.len()).filter(|&position| !is_early(position)).map(|position| ops[position]).collect();
    let judged = judge(history, &mut rest, initial, scratch);
    let returned = |number: u32| (history.entry(number).ret, number);
    let get = ops[first].number;
    if let Some(Finding::Not { first_impossible, .. }) = &judged.finding
        && returned(*first_impossible) < returned(get)
    {
        return Some(judged);
    }
    let witness = vec![get, ops[put as usize].number];
    let says = crate::say::unorderable(history, &witness, get);
    let finding = Finding::Not { witness, first_impossible: get, says };
    Some(Judged { finding: Some(finding), algorithm: judged.algorithm })
}

/// A contradiction that a rule found, with the writes that it is about and without what is not needed.
fn smaller(history: &History, ops: &[Op], initial: Id, finding: Finding, scratch: &mut Scratch) -> Finding {
    let Finding::Not { witness, first_impossible, .. } = &finding else { return finding };
    let deadline = scratch.deadline.aside();
    let mut rules = BySearch { machine: &Register, initial, deadline: &deadline };
    let Some(kept) = shrink::smaller(ops, witness, *first_impossible, &mut rules) else { return finding };
    let whole = std::mem::replace(&mut scratch.deadline, deadline);
    let witness: Vec<u32> = kept.iter().map(|op| op.number).collect();
    // In words about what is left; where no two zones tell it, about the whole.
    let clusters = Clusters::build(&kept, initial, scratch);
    let pair = zones::find_conflict(&clusters.list).filter(|_| !clusters.has_cas && !clusters.repeated);
    let says = match pair {
        Some(zones::Conflict { a, b }) => {
            let (a, b) = (&clusters.list[a as usize], &clusters.list[b as usize]);
            crate::say::conflict(history, &kept, a, b, *first_impossible)
        }
        None => crate::say::unorderable(history, &witness, *first_impossible),
    };
    scratch.deadline = whole;
    Finding::Not { witness, first_impossible: *first_impossible, says }
}
