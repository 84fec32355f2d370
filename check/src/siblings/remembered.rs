//! What sessions must respect: lists of operations that share their tails, and when an operation need not
//! be remembered any more. Walking lists is what the session guarantees cost, so it is counted and ends
//! at a bound.

use super::causality::Causality;
use super::cover::{Grown, View};
use super::walk::Scene;
use crate::deadline::Deadline;
use crate::history::{Function, History, NONE};

/// Looks into the past that a key may cost, for each of its operations.
const LOOKS_PER_OPERATION: u64 = 400;

/// An operation that later ones must respect, and those before it that it does not cover.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) op: u32,
    pub(super) before: u32,
}

/// All lists of one key.
pub(super) struct Lists {
    nodes: Vec<Node>,
    looks_left: u64,
    deadline: Deadline,
}

impl Lists {
    pub(super) fn new(operations: usize, deadline: &Deadline) -> Self {
        let looks_left = LOOKS_PER_OPERATION * (operations as u64 + 10_000);
        Lists { nodes: Vec::new(), looks_left, deadline: deadline.clone() }
    }

    /// No look is left, or no time: what was found since means nothing.
    pub(super) fn exhausted(&self) -> bool {
        self.looks_left == 0
    }

    pub(super) fn look(&mut self, times: usize) {
        let late = self.deadline.steps(times);
        self.looks_left = if late { 0 } else { self.looks_left.saturating_sub(times as u64) };
    }

    /// How many looks are left.
    pub(super) fn looks_left(&self) -> usize {
        usize::try_from(self.looks_left).unwrap_or(usize::MAX)
    }

    pub(super) fn node(&self, at: u32) -> Option<Node> {
        self.nodes.get(at as usize).copied()
    }

    pub(super) fn push(&mut self, op: u32, before: u32) -> u32 {
        self.nodes.push(Node { op, before });
        u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
    }

    /// The list from `head` on without its first nodes that `covered` says are covered.
    pub(super) fn without(&mut self, mut head: u32, covered: impl Fn(u32) -> bool) -> u32 {
        while let Some(node) = self.node(head) {
            self.look(1);
            if self.exhausted() || !covered(node.op) {
                break;
            }
            head = node.before;
        }
        head
    }
}

/// What a write or get knows, with what deletes called by then may have removed: who is shown it, or what
/// comes of it, misses none of that.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) history: &'a History,
    pub(super) causality: &'a Causality,
    pub(super) past: View<'a>,
    pub(super) buried: &'a Grown,
}

impl Known<'_> {
    fn has(&self, index: u32) -> bool {
        self.causality.covers(self.past, index) || self.buried.covers(&self.causality.writes[index as usize])
    }

    pub(super) fn put(&self, put: u32) -> bool {
        self.causality.write_of_op(put).is_none_or(|index| self.has(index))
    }

    /// Everything that a get showed.
    pub(super) fn shown_by(&self, get: u32) -> bool {
        let values = self.history.values_of(get).iter();
        values.filter_map(|&value| self.causality.write_of(value)).all(|index| self.has(index))
    }
}

pub(super) fn is_delete(history: &History, op: u32) -> bool {
    history.entry(op).f == Function::Delete
}

pub(super) fn missed_put(causality: &Causality, scene: &Scene<'_>, put: u32) -> bool {
    causality.write_of_op(put).is_some_and(|index| !scene.settles(causality, index))
}

/// The write of a value that an earlier get showed and this one misses.
pub(super) fn missed_write(
    history: &History,
    causality: &Causality,
    scene: &Scene<'_>,
    earlier: u32,
) -> Option<u32> {
    let mut writes = history.values_of(earlier).iter().filter_map(|&value| causality.write_of(value));
    writes.find(|&index| !scene.settles(causality, index))
}

/// [`missed_write`] as the operation that it is.
pub(super) fn missed_read(
    history: &History,
    causality: &Causality,
    scene: &Scene<'_>,
    earlier: u32,
) -> Option<u32> {
    missed_write(history, causality, scene, earlier).map(|index| causality.writes[index as usize].op)
}
