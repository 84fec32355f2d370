//! A put: one copy for every owner, on the owner or on a fallback that keeps it for them.
//!
//! While a partition moves there are two sets of owners, and W must be met in each: quorums of
//! the old placement and of the new one would not meet otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::Fallbacks;
use crate::config::NodeId;
use crate::planted::{Bug, is_planted};
use crate::ring::PreferenceList;

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutEffect {
    /// Have `to` store the write, as a hint for `hint_for` if that is somebody.
    Send {
        /// The node that stores.
        to: NodeId,
        /// The owner it stands in for.
        hint_for: Option<NodeId>,
    },
    /// W distinct nodes have stored it: tell the client.
    Acknowledge,
    /// W can no longer be reached: tell the client. Some copies may exist.
    Fail,
    /// Every owner's copy is stored somewhere or given up: nothing is left to do.
    Done,
}

/// What has become of one owner's copy.
#[derive(Debug, PartialEq, Eq)]
enum Copy {
    /// Asked of this node, which has not answered; handed over once it was silent too long.
    Asked(NodeId),
    /// Stored.
    Stored,
    /// Nobody is left to ask.
    GivenUp,
}

/// Counts the copies of one put. W counts distinct nodes: a fallback that keeps hints for two
/// owners is one node.
#[derive(Debug)]
pub struct PutQuorum {
    needed: usize,
    sloppy: bool,
    coordinator: NodeId,
    suspected: BTreeSet<NodeId>,
    copies: Vec<(NodeId, Copy)>,
    fallbacks: Fallbacks,
    /// The owner sets in each of which W must be met: one, or two while the partition moves.
    owner_sets: Vec<Vec<NodeId>>,
    /// The owners that each asked node would count for.
    asked_for: BTreeMap<NodeId, BTreeSet<NodeId>>,
    stored_on: BTreeSet<NodeId>,
    /// Sends that nobody has answered yet, slow ones included: a late answer still counts.
    unanswered: usize,
    answered_client: bool,
    done: bool,
}

impl PutQuorum {
    /// A put to the owners of `list` that needs `needed` nodes in each of `owner_sets` (which
    /// together hold the owners of `list`), and its first effects. `suspected` owners are
    /// replaced at once when the quorum is sloppy.
    #[must_use]
    pub fn start(
        list: &PreferenceList,
        owner_sets: Vec<Vec<NodeId>>,
        needed: usize,
        sloppy: bool,
        coordinator: NodeId,
        suspected: &BTreeSet<NodeId>,
    ) -> (Self, Vec<PutEffect>) {
        let mut put = Self {
            needed,
            sloppy,
            coordinator,
            suspected: suspected.clone(),
            copies: list.primaries.iter().map(|owner| (*owner, Copy::Asked(*owner))).collect(),
            fallbacks: Fallbacks::new(list, suspected),
            owner_sets,
            asked_for: BTreeMap::new(),
            stored_on: BTreeSet::new(),
            unanswered: 0,
            answered_client: false,
            done: false,
        };
        let mut effects = Vec::new();
        for at in 0..put.copies.len() {
            let owner = put.copies[at].0;
            if sloppy && suspected.contains(&owner) {
                put.hand_over(at, &mut effects);
            } else {
                put.send(owner, None, &mut effects);
            }
        }
        put.settle(&mut effects);
        (put, effects)
    }

    /// `from` has stored the write, durably as the store promises.
    pub fn stored(&mut self, from: NodeId) -> Vec<PutEffect> {
        let mut effects = Vec::new();
        self.unanswered = self.unanswered.saturating_sub(1);
        self.stored_on.insert(from);
        for (owner, copy) in &mut self.copies {
            // An owner that was too slow and was handed over has its copy after all.
            if *copy == Copy::Asked(from) || *owner == from {
                *copy = Copy::Stored;
            }
        }
        self.settle(&mut effects);
        effects
    }

    /// `from` will not answer: it refused, or the connection to it is gone.
    pub fn failed(&mut self, from: NodeId) -> Vec<PutEffect> {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.suspected.insert(from);
        self.replace(from)
    }

    /// `from` has been silent for the hand-over time. It may still answer.
    pub fn silent(&mut self, from: NodeId) -> Vec<PutEffect> {
        self.suspected.insert(from);
        if self.sloppy { self.replace(from) } else { Vec::new() }
    }

    /// How many distinct nodes have stored the write, in the owner set where they are fewest.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let counts_for = |node: &NodeId, owners: &[NodeId]| {
            self.asked_for
                .get(node)
                .is_some_and(|stands_for| owners.iter().any(|owner| stands_for.contains(owner)))
        };
        let copies_on = |node: &NodeId| match self.asked_for.get(node) {
            Some(stands_for) if is_planted(Bug::OneNodeCountsTwice) => stands_for.len(),
            _ => 1,
        };
        let stored_in = |owners: &Vec<NodeId>| {
            self.stored_on.iter().filter(|n| counts_for(n, owners)).map(copies_on).sum::<usize>()
        };
        self.owner_sets.iter().map(stored_in).min().unwrap_or(0)
    }

    /// Whether any node at all has stored the write.
    #[must_use]
    pub fn is_stored_anywhere(&self) -> bool {
        !self.stored_on.is_empty()
    }

    fn send(&mut self, to: NodeId, hint_for: Option<NodeId>, effects: &mut Vec<PutEffect>) {
        self.asked_for.entry(to).or_default().insert(hint_for.unwrap_or(to));
        self.unanswered += 1;
        effects.push(PutEffect::Send { to, hint_for });
    }

    fn replace(&mut self, from: NodeId) -> Vec<PutEffect> {
        let mut effects = Vec::new();
        for at in 0..self.copies.len() {
            if self.copies[at].1 == Copy::Asked(from) {
                self.hand_over(at, &mut effects);
            }
        }
        self.settle(&mut effects);
        effects
    }

    /// Asks the next fallback for the copy of the owner at `at`.
    fn hand_over(&mut self, at: usize, effects: &mut Vec<PutEffect>) {
        let owner = self.copies[at].0;
        // With no sign of life from anybody the coordinator may be the one who is cut off. It is
        // then the fallback that is sure to answer: without this rule an isolated node would
        // wait for every other in turn before an always-writeable put succeeds.
        let alone = self.stored_on.is_empty() && self.copies.iter().all(|(_, c)| !self.asked_of_healthy(c));
        let counts_twice = is_planted(Bug::OneNodeCountsTwice)
            && self.asked_for.get(&self.coordinator).is_some_and(|stands_for| !stands_for.contains(&owner));
        let next = if !self.sloppy {
            None
        } else if counts_twice {
            Some(self.coordinator)
        } else if alone && let Some(own) = self.fallbacks.take(self.coordinator) {
            Some(own)
        } else {
            self.fallbacks.next()
        };
        match next {
            Some(to) => {
                self.copies[at].1 = Copy::Asked(to);
                self.send(to, Some(owner), effects);
            }
            None => self.copies[at].1 = Copy::GivenUp,
        }
    }

    fn asked_of_healthy(&self, copy: &Copy) -> bool {
        matches!(copy, Copy::Asked(node) if !self.suspected.contains(node))
    }

    fn settle(&mut self, effects: &mut Vec<PutEffect>) {
        if !self.answered_client && self.acknowledged() >= self.needed {
            self.answered_client = true;
            effects.push(PutEffect::Acknowledge);
        }
        if !self.answered_client && self.unanswered == 0 {
            self.answered_client = true;
            // While a partition moves, a few nodes that are cut off together may not find a
            // stand-in for each of the two sets. The promise of a sloppy quorum is W distinct
            // nodes, and the copy of none of them is dropped before the owners have it.
            let enough = self.sloppy && self.stored_on.len() >= self.needed;
            effects.push(if enough { PutEffect::Acknowledge } else { PutEffect::Fail });
        }
        let settled = self.copies.iter().all(|(_, copy)| matches!(copy, Copy::Stored | Copy::GivenUp));
        if !self.done && self.answered_client && (settled || self.unanswered == 0) {
            self.done = true;
            effects.push(PutEffect::Done);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::PutEffect::{Acknowledge, Done, Fail};
    use super::*;
    use crate::testing::node;

    fn list() -> PreferenceList {
        PreferenceList { primaries: vec![node(1), node(2), node(3)], fallbacks: vec![node(4), node(5)] }
    }

    fn start(
        needed: usize,
        sloppy: bool,
        coordinator: usize,
        suspected: &[usize],
    ) -> (PutQuorum, Vec<PutEffect>) {
        PutQuorum::start(
            &list(),
            vec![list().primaries],
            needed,
            sloppy,
            node(coordinator),
            &suspected.iter().map(|n| node(*n)).collect(),
        )
    }

    fn send(to: usize) -> PutEffect {
        PutEffect::Send { to: node(to), hint_for: None }
    }

    fn hint(to: usize, owner: usize) -> PutEffect {
        PutEffect::Send { to: node(to), hint_for: Some(node(owner)) }
    }

    #[test]
    fn the_client_hears_at_w_and_the_rest_goes_on() {
        let (mut put, effects) = start(2, true, 1, &[]);
        assert_eq!(effects, [send(1), send(2), send(3)]);
        assert_eq!(put.stored(node(1)), []);
        assert_eq!(put.stored(node(3)), [Acknowledge]);
        assert_eq!(put.stored(node(2)), [Done]);
    }

    #[test]
    fn a_silent_owners_copy_is_handed_over_and_its_late_answer_counts() {
        let (mut put, _) = start(2, true, 1, &[]);
        assert_eq!(put.stored(node(1)), []);
        assert_eq!(put.silent(node(2)), [hint(4, 2)]);
        assert_eq!(put.stored(node(2)), [Acknowledge]);
        assert_eq!(put.stored(node(4)), []);
        assert_eq!(put.stored(node(3)), [Done]);
        assert_eq!(put.acknowledged(), 4);
    }

    #[test]
    fn what_a_fallback_keeps_needs_no_answer_of_the_owner() {
        let (mut put, _) = start(2, true, 1, &[]);
        assert!(!put.is_stored_anywhere());
        assert_eq!(put.stored(node(1)), []);
        assert!(put.is_stored_anywhere());
        assert_eq!(put.silent(node(2)), [hint(4, 2)]);
        assert_eq!(put.stored(node(3)), [Acknowledge]);
        assert_eq!(put.stored(node(4)), [Done], "the owner of the second copy was never heard");
    }

    #[test]
    fn suspected_owners_are_replaced_at_once() {
        let (_, effects) = start(2, true, 1, &[2]);
        assert_eq!(effects, [send(1), hint(4, 2), send(3)]);
    }

    #[test]
    fn fallbacks_under_suspicion_come_last() {
        let (_, effects) = start(2, true, 1, &[2, 4]);
        assert_eq!(effects, [send(1), hint(5, 2), send(3)]);
    }

    #[test]
    fn a_cut_off_coordinator_is_its_own_fallback_first() {
        let (mut put, _) = start(1, true, 5, &[]);
        assert_eq!(put.silent(node(1)), [hint(4, 1)]);
        assert_eq!(put.silent(node(2)), [hint(5, 2)], "no healthy owner is left but n3, and n4 is unproven");
        assert_eq!(put.stored(node(5)), [Acknowledge]);
        let (_, effects) = start(1, true, 5, &[1, 2, 3, 4]);
        assert_eq!(effects, [hint(5, 1), hint(4, 2)]);
        // Not only because the other fallback is under suspicion.
        let (_, effects) = start(1, true, 5, &[1, 2, 3]);
        assert_eq!(effects[..2], [hint(5, 1), hint(4, 2)]);
    }

    #[test]
    fn one_node_that_keeps_two_copies_counts_once() {
        let list = PreferenceList { primaries: vec![node(1), node(2)], fallbacks: vec![node(3)] };
        let (mut put, effects) = PutQuorum::start(
            &list,
            vec![list.primaries.clone()],
            2,
            true,
            node(3),
            &BTreeSet::from([node(1), node(2)]),
        );
        assert_eq!(effects, [hint(3, 1)]);
        assert_eq!(put.stored(node(3)), [Fail, Done]);
        assert_eq!(put.acknowledged(), 1);
    }

    #[test]
    fn strict_quorums_ask_owners_only_and_wait_for_silent_ones() {
        let (mut put, effects) = start(2, false, 4, &[2]);
        assert_eq!(effects, [send(1), send(2), send(3)]);
        assert_eq!(put.silent(node(2)), []);
        assert_eq!(put.failed(node(1)), []);
        assert_eq!(put.stored(node(3)), []);
        assert_eq!(put.stored(node(2)), [Acknowledge, Done]);
    }

    #[test]
    fn a_strict_put_fails_as_soon_as_w_is_out_of_reach() {
        let (mut put, _) = start(2, false, 4, &[]);
        assert_eq!(put.stored(node(1)), []);
        assert_eq!(put.failed(node(2)), []);
        assert_eq!(put.failed(node(3)), [Fail, Done]);
    }

    #[test]
    fn while_a_partition_moves_w_must_be_met_in_both_owner_sets() {
        let list =
            PreferenceList { primaries: vec![node(1), node(2), node(3), node(4)], fallbacks: vec![node(5)] };
        let sets = vec![vec![node(1), node(2), node(3)], vec![node(2), node(3), node(4)]];
        let (mut put, _) = PutQuorum::start(&list, sets.clone(), 2, true, node(1), &BTreeSet::new());
        assert_eq!(put.stored(node(1)), []);
        assert_eq!(put.stored(node(4)), [], "one in each set");
        assert_eq!(put.stored(node(2)), [Acknowledge]);
        let (mut put, _) = PutQuorum::start(&list, sets, 2, true, node(1), &BTreeSet::new());
        assert_eq!(put.stored(node(1)), []);
        assert_eq!(put.stored(node(2)), []);
        assert_eq!(put.silent(node(4)), [hint(5, 4)]);
        assert_eq!(put.stored(node(5)), [Acknowledge], "a fallback counts where its owner would");
    }

    #[test]
    fn while_a_partition_moves_w_nodes_are_enough_when_nobody_else_can_be_asked() {
        let list =
            PreferenceList { primaries: vec![node(1), node(2), node(3), node(4)], fallbacks: vec![node(5)] };
        let sets = vec![vec![node(1), node(2), node(3)], vec![node(2), node(3), node(4)]];
        let away = BTreeSet::from([node(2), node(3), node(4)]);
        for sloppy in [true, false] {
            let (mut put, effects) = PutQuorum::start(&list, sets.clone(), 2, sloppy, node(1), &away);
            // n5 stands in for an owner of both sets, so only n1 is missing in the second one.
            let handed_over = effects.contains(&hint(5, 2));
            assert_eq!(handed_over, sloppy);
            assert_eq!(put.stored(node(1)), []);
            for lost in [2, 3, 4].into_iter().filter(|n| effects.contains(&send(*n))) {
                let more = put.failed(node(lost));
                assert_eq!(more.contains(&Fail), !sloppy && lost == 4, "n{lost}");
            }
            if sloppy {
                assert_eq!(put.stored(node(5)), [Acknowledge, Done]);
                assert_eq!(put.acknowledged(), 1);
            }
        }
    }
}
