//! Which disk the first members of a store know each other by: tells a node's first disk from one
//! that replaced a lost one, and with it votes that were never given from votes that were forgotten.
//!
//! A node on an empty disk cannot know from itself whether it has ever voted on a view. The others
//! can tell: each keeps durably the first disk that it knew every member by. A node that may be new
//! tells its disk to all other first members, keeps what they say of theirs, and votes once all of
//! them have answered and nobody knows anybody by two disks. When nodes of a new store start, and
//! how often, does not matter.
//!
//! Why a node never votes so after it has lost its disk: whoever voted so had told all others its
//! disk, and whoever voted because those others promised it to
//! ([`Views::recover`](super::Views::recover)) owes that to some that had. As long as one of the
//! disks that were told is left, the next disk of the node that was lost meets it among those it
//! must ask, and its answer differs from what somebody says of himself. Only where every first
//! member's disk is lost before one of the new ones could ask an old one, the store is taken to be
//! new. A node that lost a disk and votes again vouches for nobody: what its disk knew is gone.
//!
//! All this concerns the first view only. Whoever hears of a later one while it does not vote has
//! missed the choice of it, and makes up for the votes that it may have given (`administrator`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use crate::config::NodeId;

/// The disks that one node knows the members by, its own among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disks {
    /// The first that each was known by. Each empty disk draws a number of its own.
    known: BTreeMap<NodeId, u64>,
    /// An earlier disk of this node was lost, and what it knew with it.
    lost_one: bool,
}

/// What the others' answers say of a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the only one that the node ever had.
    First,
    /// Somebody knows the node by another.
    Replacement,
    /// That cannot be told: not all have answered, or others lost disks too.
    Unknown,
}

impl Disks {
    /// What node `me` knows on a disk of which it knows nothing else.
    pub(super) fn new(me: NodeId, own: u64, lost_one: bool) -> Self {
        Self { known: BTreeMap::from([(me, own)]), lost_one }
    }

    /// The disk that `node` is known by.
    pub(super) fn of(&self, node: NodeId) -> Option<u64> {
        self.known.get(&node).copied()
    }

    /// Whether an earlier disk was lost.
    pub(super) fn lost_one(&self) -> bool {
        self.lost_one
    }

    /// Vouches for nobody from now on.
    pub(super) fn lose(&mut self) {
        self.lost_one = true;
    }

    /// Notes the disk of `node`, unless it is known by one already. Says whether that was news.
    pub(super) fn note(&mut self, node: NodeId, disk: u64) -> bool {
        match self.known.entry(node) {
            Entry::Vacant(vacant) => {
                vacant.insert(disk);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// What to make of the disk of node `me`, who knows this, once `others` were asked. `answers`
    /// are what those said that answered.
    pub(super) fn verdict(&self, me: NodeId, others: &[NodeId], answers: &BTreeMap<NodeId, Self>) -> Verdict {
        let own = self.of(me);
        if answers.values().any(|answer| answer.of(me).is_some_and(|disk| Some(disk) != own)) {
            return Verdict::Replacement;
        }
        let vouches = |other: &NodeId| {
            answers
                .get(other)
                .is_some_and(|answer| !answer.lost_one && answer.of(*other).is_some() && answer.of(me) == own)
        };
        let mut all = self.clone();
        let agrees = |all: &mut Self, answer: &Self| {
            answer.known.iter().all(|(node, disk)| all.note(*node, *disk) || all.of(*node) == Some(*disk))
        };
        let is_first = !self.lost_one
            && others.iter().all(vouches)
            && answers.values().all(|answer| agrees(&mut all, answer));
        if is_first { Verdict::First } else { Verdict::Unknown }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::node;

    /// Members of a store, each on some disk.
    struct Store {
        nodes: Vec<Disks>,
        disks_made: u64,
    }

    impl Store {
        fn new(nodes: usize) -> Self {
            let nodes: Vec<_> = (0..nodes).map(|n| Disks::new(node(n), n as u64, false)).collect();
            Self { disks_made: nodes.len() as u64, nodes }
        }

        fn wipe(&mut self, at: usize) {
            self.nodes[at] = Disks::new(node(at), self.disks_made, false);
            self.disks_made += 1;
        }

        fn in_use(&self) -> BTreeSet<u64> {
            self.nodes.iter().enumerate().map(|(n, disks)| disks.of(node(n)).unwrap()).collect()
        }

        /// Node `me` asks those others that `hears` says.
        fn ask(&mut self, me: usize, hears: impl Fn(usize) -> bool) -> Verdict {
            let own = self.nodes[me].of(node(me)).unwrap();
            let others: Vec<usize> = (0..self.nodes.len()).filter(|n| *n != me).collect();
            let mut answers = BTreeMap::new();
            for other in others.iter().filter(|other| hears(**other)) {
                self.nodes[*other].note(node(me), own);
                answers.insert(node(*other), self.nodes[*other].clone());
            }
            for (other, answer) in &answers {
                self.nodes[me].note(*other, answer.of(*other).unwrap());
            }
            let others: Vec<NodeId> = others.into_iter().map(node).collect();
            let verdict = self.nodes[me].verdict(node(me), &others, &answers);
            if verdict == Verdict::Replacement {
                self.nodes[me].lose();
            }
            verdict
        }
    }

    #[test]
    fn all_nodes_of_a_new_store_find_so_whenever_they_start() {
        let mut store = Store::new(3);
        assert_eq!(store.ask(0, |_| false), Verdict::Unknown);
        assert_eq!(store.ask(0, |other| other == 1), Verdict::Unknown, "one was not asked yet");
        assert_eq!(store.ask(1, |other| other == 0), Verdict::Unknown);
        for late in [2, 1, 0] {
            assert_eq!(store.ask(late, |_| true), Verdict::First);
        }
    }

    #[test]
    fn whoever_is_known_by_another_disk_has_lost_one_and_vouches_for_nobody() {
        let mut store = Store::new(3);
        for n in 0..3 {
            store.ask(n, |_| true);
        }
        store.wipe(1);
        assert_eq!(store.ask(1, |other| other == 2), Verdict::Replacement, "one witness is enough");
        assert_eq!(store.ask(1, |_| true), Verdict::Replacement);
        assert_eq!(store.ask(0, |_| true), Verdict::Unknown);
    }

    #[test]
    fn those_who_lose_their_disks_together_are_told_apart_by_the_last_one_that_did_not() {
        let mut store = Store::new(3);
        for n in 0..3 {
            store.ask(n, |_| true);
        }
        store.wipe(0);
        store.wipe(1);
        assert_eq!(store.ask(0, |other| other == 1), Verdict::Unknown);
        assert_eq!(store.ask(0, |_| true), Verdict::Replacement);
        // One that never came so far as to vote, and of whom the last one does not know either.
        let mut store = Store::new(3);
        store.ask(0, |_| true);
        store.wipe(0);
        store.wipe(1);
        store.nodes[2].known.remove(&node(1));
        assert_eq!(store.ask(1, |_| true), Verdict::Unknown, "another's disk was lost");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask { me: prop::sample::Index, hears: u8 },
        Wipe(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let ask = (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(me, hears)| Step::Ask { me, hears });
        prop_oneof![3 => ask, 1 => any::<prop::sample::Index>().prop_map(Step::Wipe)]
    }

    proptest! {
        /// A node that was found to be on its first disk is so again on another only where every
        /// disk that was in use then is lost.
        #[test]
        fn no_lost_disk_is_taken_for_a_first_one(
            nodes in 2_usize..5, steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut store = Store::new(nodes);
            let mut found: BTreeMap<(usize, u64), BTreeSet<u64>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Wipe(which) => store.wipe(which.index(nodes)),
                    Step::Ask { me, hears } => {
                        let me = me.index(nodes);
                        if store.ask(me, |other| hears & (1 << other) != 0) != Verdict::First {
                            continue;
                        }
                        let (own, in_use) = (store.nodes[me].of(node(me)).unwrap(), store.in_use());
                        for ((_, disk), then) in found.iter().filter(|((node, _), _)| *node == me) {
                            prop_assert!(*disk == own || then.is_disjoint(&in_use), "{then:?} {in_use:?}");
                        }
                        found.insert((me, own), in_use);
                    }
                }
            }
        }
    }
}
