//! Counts votes until there is a majority in every owner set, or there can be none.

use std::collections::BTreeSet;

use crate::config::NodeId;

/// Who voted for and who against, among one or two sets of owners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tally {
    sets: Vec<BTreeSet<NodeId>>,
    yes: BTreeSet<NodeId>,
    no: BTreeSet<NodeId>,
}

impl Tally {
    /// Nobody has voted yet.
    pub(super) fn new(sets: &[BTreeSet<NodeId>]) -> Self {
        Self { sets: sets.to_vec(), yes: BTreeSet::new(), no: BTreeSet::new() }
    }

    /// Takes a vote. Of two votes of one node the first counts.
    pub(super) fn on(&mut self, from: NodeId, yes: bool) {
        let (side, other) = if yes { (&mut self.yes, &self.no) } else { (&mut self.no, &self.yes) };
        if !other.contains(&from) {
            side.insert(from);
        }
    }

    /// Whether a majority of every set voted for it.
    pub(super) fn is_met(&self) -> bool {
        self.sets.iter().all(|set| set.intersection(&self.yes).count() >= majority(set))
    }

    /// Whether all of every set voted for it.
    pub(super) fn is_unanimous(&self) -> bool {
        self.sets.iter().all(|set| set.is_subset(&self.yes))
    }

    /// Whether somebody voted against it.
    pub(super) fn is_opposed(&self) -> bool {
        self.sets.iter().any(|set| !set.is_disjoint(&self.no))
    }

    /// Whether too many voted against it for that to come.
    pub(super) fn is_out_of_reach(&self) -> bool {
        self.sets.iter().any(|set| set.len() - set.intersection(&self.no).count() < majority(set))
    }
}

fn majority(set: &BTreeSet<NodeId>) -> usize {
    set.len() / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn a_majority_of_both_sets_is_needed_and_each_node_votes_once() {
        let sets = [[1, 2, 3], [1, 2, 4]].map(|set| set.into_iter().map(node).collect());
        let mut tally = Tally::new(&sets);
        tally.on(node(1), true);
        tally.on(node(1), true);
        tally.on(node(3), true);
        assert!(!tally.is_met(), "two of the old set, one of the new");
        tally.on(node(4), false);
        tally.on(node(4), true);
        assert!(!tally.is_met() && !tally.is_out_of_reach(), "node 2 may still vote");
        let mut refused = tally.clone();
        refused.on(node(2), false);
        assert!(refused.is_out_of_reach() && !refused.is_met());
        tally.on(node(2), true);
        assert!(tally.is_met() && tally.is_opposed() && !tally.is_unanimous());
        let mut all = Tally::new(&sets);
        (1..=4).for_each(|n| all.on(node(n), true));
        assert!(all.is_unanimous() && !all.is_opposed());
    }
}
