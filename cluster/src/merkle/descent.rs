//! Finds the leaves in which the trees of two owners differ: asks in, answers out.
//!
//! Level by level over many partitions at once, so that a whole session takes as many round
//! trips as the deepest tree has levels, whatever differs.

use std::collections::VecDeque;

use super::{FANOUT, Node, Salt};

/// Descends from the roots of partitions that are known to differ.
#[derive(Clone, Debug)]
pub struct Descent {
    salt: Salt,
    /// Nodes that differ and may have children to compare.
    frontier: VecDeque<Node>,
    leaves: Vec<Node>,
}

impl Descent {
    /// A descent into `partitions`.
    #[must_use]
    pub fn new(salt: Salt, partitions: impl IntoIterator<Item = u32>) -> Self {
        Self { salt, frontier: partitions.into_iter().map(Node::root).collect(), leaves: Vec::new() }
    }

    /// Up to `max` nodes whose children to ask the other side for; none when the descent is over.
    #[must_use]
    pub fn ask(&mut self, max: usize) -> Vec<Node> {
        let count = max.min(self.frontier.len());
        self.frontier.drain(..count).collect()
    }

    /// Compares the children of an asked node: `theirs` as [`Salt::sum`] made them and `mine` as
    /// they are; nothing where a tree ends.
    pub fn answered(&mut self, node: Node, theirs: Option<&[u64]>, mine: Option<[u64; FANOUT]>) {
        match (theirs, mine) {
            (Some(theirs), Some(mine)) if theirs.len() == FANOUT => {
                let both = node.children().zip(theirs.iter().zip(mine));
                let differ = both.filter(|(_, (theirs, mine))| **theirs != self.salt.sum(*mine));
                self.frontier.extend(differ.map(|(child, _)| child));
            }
            // One of the trees ends here: what lies below is compared key by key.
            _ => self.leaves.push(node),
        }
    }

    /// The nodes under which to compare key by key, in order.
    #[must_use]
    pub fn into_leaves(self) -> Vec<Node> {
        let mut leaves = self.leaves;
        leaves.sort_unstable();
        leaves
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::merkle::Tree;
    use proptest::prelude::*;
    use quorate_env::random::mix;

    type Records = BTreeMap<u64, u64>;

    fn tree(records: &Records, depth: u8) -> Tree {
        let mut tree = Tree::new(depth);
        for (hash, digest) in records {
            tree.update(*hash, None, Some(*digest));
        }
        tree
    }

    /// Keys that a descent leads to, and how many nodes were asked for.
    fn descend(mine: (&Records, u8), theirs: (&Records, u8), salt: Salt) -> (BTreeSet<u64>, usize) {
        let (my_tree, their_tree) = (tree(mine.0, mine.1), tree(theirs.0, theirs.1));
        let mut descent = Descent::new(salt, [5]);
        let mut asked = 0;
        loop {
            let nodes = descent.ask(7);
            if nodes.is_empty() {
                break;
            }
            asked += nodes.len();
            for node in nodes {
                let children = their_tree.children(node).map(|sums| sums.map(|sum| salt.sum(sum)));
                descent.answered(node, children.as_ref().map(|sums| &sums[..]), my_tree.children(node));
            }
        }
        let leaves = descent.into_leaves();
        let all = mine.0.keys().chain(theirs.0.keys());
        (all.filter(|hash| leaves.iter().any(|leaf| leaf.contains(**hash))).copied().collect(), asked)
    }

    fn difference(a: &Records, b: &Records) -> BTreeSet<u64> {
        a.keys().chain(b.keys()).filter(|hash| a.get(hash) != b.get(hash)).copied().collect()
    }

    fn records() -> impl Strategy<Value = Records> {
        let record = (0_u64..60, 0_u64..3).prop_map(|(key, version)| (mix(key), mix(mix(key) ^ version)));
        prop::collection::vec(record, 0..60).prop_map(Records::from_iter)
    }

    proptest! {
        #[test]
        fn a_descent_leads_to_every_key_that_differs(
            a in records(), b in records(), depths in (0..=3_u8, 0..=3_u8), salt in any::<u32>(),
        ) {
            let truth = difference(&a, &b);
            let exact = Salt { salt, exact: true };
            let (found, _) = descend((&a, depths.0), (&b, depths.1), exact);
            prop_assert!(found.is_superset(&truth));
            // Short sums may hide something under one salt, never under all.
            let mut found = BTreeSet::new();
            for round in 0..3 {
                let salt = Salt { salt: salt.wrapping_add(round), exact: false };
                found.extend(descend((&a, depths.0), (&b, depths.1), salt).0);
            }
            prop_assert!(found.is_superset(&truth));
        }
    }

    #[test]
    fn a_single_difference_among_many_keys_costs_one_node_a_level() {
        let a: Records = (0..2_000_u64).map(|i| (mix(i), i)).collect();
        let mut b = a.clone();
        b.insert(mix(77), 0);
        let (found, asked) = descend((&a, 2), (&b, 2), Salt { salt: 1, exact: true });
        assert_eq!(asked, 3, "the root, one node below it, one leaf");
        assert!(found.contains(&mix(77)) && found.len() < 30, "{} keys to compare", found.len());
    }

    #[test]
    fn an_answer_that_is_cut_short_proves_nothing() {
        let salt = Salt { salt: 1, exact: false };
        let mut descent = Descent::new(salt, [5]);
        let root = descent.ask(1)[0];
        descent.answered(root, Some(&[salt.sum(0); FANOUT - 1]), Some([0; FANOUT]));
        assert_eq!(descent.ask(1), []);
        assert_eq!(descent.into_leaves(), [root], "it is compared key by key");
    }
}
