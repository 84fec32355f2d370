//! Making a witness smaller: operation by operation is left out as long as what remains still cannot be
//! ordered (delta debugging, Zeller and Hildebrandt 2002, down to single operations).
//!
//! Leaving out must never make a contradiction of its own. A read may always be left out: it changes
//! nothing for the others. A write may be left out if nothing that remains may have seen what it wrote: in
//! any order of the whole it is then overwritten before the next read, so the rest stays as legal as it
//! was. And as in [`super::prefix`] what returned after the first impossible operation counts as open, so
//! that one always remains.

use super::machine::Machine;
use super::search::{Progress, Search};
use super::{Finding, Op};
use crate::deadline::Deadline;
use crate::history::History;
use crate::say;

/// Steps to spend where a rule, not a search, found a handful of operations; and on any witness, unless
/// the options say otherwise.
pub(crate) const STEPS: u64 = 20_000;

/// Of more operations only reads are left out: who saw whom is a question of every pair.
const PAIRS_MAX: usize = 256;

/// A witness of a rule with the writes that it saw has at most so many operations, or stays as it is.
const CLOSED_MAX: usize = 64;

/// Of so many operations on a key a witness is sought among all, if the rule's is none by itself.
const PREFIX_MAX: usize = 4_096;

/// What must be known of an object.
pub(crate) trait Rules<S> {
    fn is_read(&self, step: &S) -> bool;

    /// Whether the first may have seen what the second wrote.
    fn may_see(&self, reader: &Op<S>, writer: &Op<S>) -> bool;

    /// Whether these certainly cannot be ordered.
    fn is_impossible(&mut self, ops: &[Op<S>]) -> bool;
}

/// Whether there is an order is up to the search.
pub(crate) struct BySearch<'a, M: Machine> {
    pub(crate) machine: &'a M,
    pub(crate) initial: M::State,
    pub(crate) deadline: &'a Deadline,
}

/// Configurations that one search may look at.
const CONFIGURATIONS: usize = 1 << 14;

impl<M: Machine + Clone> Rules<M::Step> for BySearch<'_, M> {
    fn is_read(&self, step: &M::Step) -> bool {
        self.machine.is_read(*step)
    }

    fn may_see(&self, reader: &Op<M::Step>, writer: &Op<M::Step>) -> bool {
        self.machine.may_see(reader.step, writer.step)
    }

    fn is_impossible(&mut self, ops: &[Op<M::Step>]) -> bool {
        let mut search = Search::new(self.machine.clone(), ops, self.initial);
        matches!(search.run(CONFIGURATIONS, self.deadline), Progress::Impossible(_))
    }
}

/// The operations up to the return of the first impossible one (a position), as they were then.
fn until<S: Copy>(ops: &[Op<S>], first: usize, is_read: impl Fn(&S) -> bool) -> impl Iterator<Item = Op<S>> {
    let end = (ops[first].ret, first);
    ops.iter().enumerate().filter(move |(_, op)| op.call <= end.0).filter_map(move |(position, op)| {
        let open = (op.ret, position) > end;
        let ret = if open { i64::MAX } else { op.ret };
        (!open || !is_read(&op.step)).then_some(Op { ret, ..*op })
    })
}

/// The operations up to the first impossible one (a position), without those that are not needed.
pub(crate) fn all<S: Copy>(ops: &[Op<S>], first: usize, rules: &mut impl Rules<S>, steps: u64) -> Vec<Op<S>> {
    let kept = until(ops, first, |step| rules.is_read(step)).collect();
    fewer(kept, ops[first].number, rules, steps)
}

/// What a rule found, with a smaller witness if there is one, in plain words.
pub(crate) fn finding<S: Copy>(
    history: &History,
    ops: &[Op<S>],
    found: Finding,
    rules: &mut impl Rules<S>,
) -> Finding {
    let Finding::Not { witness, first_impossible, .. } = &found else { return found };
    let Some(kept) = smaller(ops, witness, *first_impossible, rules) else { return found };
    let witness: Vec<u32> = kept.iter().map(|op| op.number).collect();
    let says = say::unorderable(history, &witness, *first_impossible);
    Finding::Not { witness, first_impossible: *first_impossible, says }
}

/// A witness (numbers) that a rule found, with the writes that it saw and without what is not needed of
/// both. If it is none by itself, one of all operations up to the first impossible one; none if they are
/// too many.
pub(crate) fn smaller<S: Copy>(
    ops: &[Op<S>],
    found: &[u32],
    first: u32,
    rules: &mut impl Rules<S>,
) -> Option<Vec<Op<S>>> {
    let position = ops.iter().position(|op| op.number == first)?;
    if let Some(kept) = closed(ops, found, position, rules) {
        return Some(fewer(kept, first, rules, STEPS));
    }
    if ops.len() > PREFIX_MAX || found.iter().all(|&number| number == first) {
        return None;
    }
    let kept: Vec<Op<S>> = until(ops, position, |step| rules.is_read(step)).collect();
    let is_whole = found.iter().all(|&number| kept.iter().any(|op| op.number == number));
    (is_whole && rules.is_impossible(&kept)).then(|| fewer(kept, first, rules, STEPS))
}

/// A witness with all writes that it saw, if that is not too much and cannot be ordered.
fn closed<S: Copy>(
    ops: &[Op<S>],
    found: &[u32],
    position: usize,
    rules: &mut impl Rules<S>,
) -> Option<Vec<Op<S>>> {
    let mut chosen: Vec<u32> = found.to_vec();
    chosen.push(ops[position].number);
    chosen.sort_unstable();
    chosen.dedup();
    let (mut kept, mut looked_at): (Vec<Op<S>>, usize) = (Vec::new(), 0);
    loop {
        kept.clear();
        let prefix = until(ops, position, |step| rules.is_read(step));
        kept.extend(prefix.filter(|op| chosen.binary_search(&op.number).is_ok()));
        // Something of the future is part of it, or of no concern to the object.
        if kept.len() < chosen.len() || kept.len() > CLOSED_MAX {
            return None;
        }
        if looked_at == kept.len() {
            break;
        }
        looked_at = kept.len();
        let seen =
            |op: &Op<S>| !rules.is_read(&op.step) && kept.iter().any(|reader| rules.may_see(reader, op));
        let unknown = |op: &Op<S>| chosen.binary_search(&op.number).is_err();
        let prefix = until(ops, position, |step| rules.is_read(step));
        let writers: Vec<u32> =
            prefix.filter(|op| unknown(op) && seen(op)).map(|op| op.number).take(CLOSED_MAX + 1).collect();
        chosen.extend(writers);
        chosen.sort_unstable();
    }
    rules.is_impossible(&kept).then_some(kept)
}

/// Leaves out in halves, quarters and so on, from the newest to the oldest, and in the end one by one until
/// nothing can be left out any more, or until so many operations were looked at.
fn fewer<S: Copy>(mut kept: Vec<Op<S>>, first: u32, rules: &mut impl Rules<S>, mut steps: u64) -> Vec<Op<S>> {
    let mut size = kept.len();
    while size > 0 {
        let before = kept.len();
        let mut until = kept.len();
        while until > 0 && steps > 0 {
            let from = until.saturating_sub(size);
            let rest = without(&kept, from..until, first, rules);
            if rest.len() < kept.len() {
                // Making a search ready costs about as much again.
                steps = steps.saturating_sub(3 * rest.len() as u64);
                if rules.is_impossible(&rest) {
                    kept = rest;
                }
            }
            until = from;
        }
        if steps == 0 || size == 1 && kept.len() == before {
            break;
        }
        size = (size / 2).max(1);
    }
    kept
}

/// The operations without those in a range that may be left out.
fn without<S: Copy>(
    kept: &[Op<S>],
    range: std::ops::Range<usize>,
    first: u32,
    rules: &impl Rules<S>,
) -> Vec<Op<S>> {
    let mut stays = vec![true; kept.len()];
    for at in range.clone().filter(|&at| kept[at].number != first) {
        stays[at] = !rules.is_read(&kept[at].step);
    }
    if kept.len() <= PAIRS_MAX {
        for at in range.rev().filter(|&at| kept[at].number != first) {
            let others = kept.iter().enumerate().filter(|&(other, _)| other != at && stays[other]);
            stays[at] = stays[at] && others.into_iter().any(|(_, reader)| rules.may_see(reader, &kept[at]));
        }
    }
    kept.iter().zip(stays).filter(|(_, stays)| *stays).map(|(op, _)| *op).collect()
}
