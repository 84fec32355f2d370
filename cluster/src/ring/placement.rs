//! Deals every partition to N distinct nodes so that each node meets its quota exactly.

use std::cmp::Reverse;

use quorate_env::random::mix;

use super::{PreferenceList, partition_of, quotas};
use crate::config::NodeId;

/// A node as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementNode {
    /// Its name.
    pub id: NodeId,
    /// Its share of the data relative to the others.
    pub capacity: u32,
}

/// Which nodes own which partition. A pure function of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    nodes: Vec<PlacementNode>,
    replicas: usize,
    /// `replicas` node indexes for each partition, one partition after the other.
    owners: Vec<u16>,
}

impl Placement {
    /// Places `partitions` partitions of `replicas` copies on `nodes`, whatever their order.
    ///
    /// Partition by partition, N nodes are drawn by a hash, weighted by what is left of their
    /// quotas. A node whose quota equals the partitions left must be drawn; since quotas never
    /// exceed the partitions and add up to N times them, at most N nodes must, so this always
    /// ends with every quota met.
    ///
    /// # Panics
    /// If there are fewer nodes than replicas or more than 65,535 nodes.
    #[must_use]
    pub fn new(nodes: &[PlacementNode], partitions: u32, replicas: usize) -> Self {
        assert!(nodes.len() < usize::from(u16::MAX), "{} nodes are more than a placement holds", nodes.len());
        let mut nodes = nodes.to_vec();
        nodes.sort_by_key(|n| n.id);
        let capacities: Vec<u32> = nodes.iter().map(|n| n.capacity).collect();
        let mut left = quotas(&capacities, partitions, replicas);
        let name_hashes: Vec<u64> = nodes.iter().map(|n| name_hash(n.id)).collect();
        let mut owners = Vec::with_capacity(partitions as usize * replicas);
        for partition in 0..partitions {
            let partitions_left = partitions - partition;
            let mut drawn: Vec<(bool, u64, u16)> = (0..nodes.len())
                .filter(|i| left[*i] > 0)
                .map(|i| {
                    let must = left[i] == partitions_left;
                    (must, weighted_draw(name_hashes[i], partition, left[i]), i as u16)
                })
                .collect();
            drawn.sort_unstable_by_key(|(must, draw, i)| (Reverse(*must), *draw, *i));
            drawn.truncate(replicas);
            // Who must be drawn is no reason to come first: the order spreads coordination.
            drawn.sort_unstable_by_key(|(_, draw, i)| (*draw, *i));
            for (_, _, i) in drawn {
                left[usize::from(i)] -= 1;
                owners.push(i);
            }
        }
        Self { nodes, replicas, owners }
    }

    /// Q.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        (self.owners.len() / self.replicas) as u32
    }

    /// The nodes, sorted by name.
    #[must_use]
    pub fn nodes(&self) -> &[PlacementNode] {
        &self.nodes
    }

    /// The partition that `key` falls into.
    #[must_use]
    pub fn partition_of(&self, key: &[u8]) -> u32 {
        partition_of(key, self.partitions())
    }

    /// The N owners of a partition.
    pub fn owners(&self, partition: u32) -> impl Iterator<Item = NodeId> + '_ {
        let at = partition as usize * self.replicas;
        self.owners[at..at + self.replicas].iter().map(|i| self.nodes[usize::from(*i)].id)
    }

    /// The owners, then the distinct nodes met walking the ring clockwise, `nodes_max` in all.
    #[must_use]
    pub fn preference_list(&self, partition: u32, nodes_max: usize) -> PreferenceList {
        let primaries: Vec<NodeId> = self.owners(partition).collect();
        let wanted = nodes_max.min(self.nodes.len()).saturating_sub(primaries.len());
        let mut fallbacks = Vec::with_capacity(wanted);
        let partitions = self.partitions();
        for step in 1..partitions {
            if fallbacks.len() == wanted {
                break;
            }
            for node in self.owners((partition + step) % partitions) {
                if fallbacks.len() < wanted && !primaries.contains(&node) && !fallbacks.contains(&node) {
                    fallbacks.push(node);
                }
            }
        }
        PreferenceList { primaries, fallbacks }
    }

    /// The partitions that `node` owns.
    pub fn partitions_of(&self, node: NodeId) -> impl Iterator<Item = u32> + '_ {
        (0..self.partitions()).filter(move |p| self.owners(*p).any(|n| n == node))
    }
}

fn name_hash(id: NodeId) -> u64 {
    let (high, low) = id.as_bytes().split_at(8);
    let word = |half: &[u8]| half.iter().fold(0_u64, |w, b| (w << 8) | u64::from(*b));
    mix(word(high) ^ mix(word(low)))
}

/// An exponential draw of rate `weight`: the smallest of several falls to each in proportion
/// to its weight (Efraimidis and Spirakis, 2006). Scaled to an integer so that equal inputs
/// give equal orders on every machine.
fn weighted_draw(name_hash: u64, partition: u32, weight: u32) -> u64 {
    let uniform = mix(name_hash ^ mix(u64::from(partition) + 1)) >> 11;
    // -ln(u) by integer arithmetic: floor(2^53 / u) would not be linear, so count in f64 whose
    // ln is the same on all IEEE machines to far more digits than are kept here.
    let exponential = -((uniform as f64 + 0.5) / 9_007_199_254_740_992.0).ln() / f64::from(weight);
    (exponential * 1e12) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use proptest::prelude::*;

    fn nodes(capacities: &[u32]) -> Vec<PlacementNode> {
        let node =
            |(i, c): (usize, &u32)| PlacementNode { id: format!("n{i}").parse().unwrap(), capacity: *c };
        capacities.iter().enumerate().map(node).collect()
    }

    proptest! {
        #[test]
        fn every_quota_is_met_by_distinct_owners(
            capacities in prop::collection::vec(1_u32..9, 3..9), partitions in 1_u32..300, replicas in 1_usize..4,
        ) {
            let nodes = nodes(&capacities);
            let placement = Placement::new(&nodes, partitions, replicas);
            let mut held: BTreeMap<NodeId, u32> = BTreeMap::new();
            for partition in 0..partitions {
                let list = placement.preference_list(partition, 100);
                let all: BTreeSet<NodeId> = list.primaries.iter().chain(&list.fallbacks).copied().collect();
                prop_assert_eq!(list.primaries.len(), replicas);
                prop_assert_eq!(all.len(), list.primaries.len() + list.fallbacks.len());
                for node in list.primaries {
                    *held.entry(node).or_default() += 1;
                }
            }
            let expected = quotas(&capacities, partitions, replicas);
            let held: Vec<u32> = nodes.iter().map(|n| held.get(&n.id).copied().unwrap_or(0)).collect();
            prop_assert_eq!(held, expected);
        }

        #[test]
        fn the_order_of_members_does_not_matter(capacities in prop::collection::vec(1_u32..9, 3..9)) {
            let mut shuffled = nodes(&capacities);
            shuffled.reverse();
            prop_assert_eq!(Placement::new(&nodes(&capacities), 64, 3), Placement::new(&shuffled, 64, 3));
        }
    }

    #[test]
    fn every_other_node_serves_as_a_fallback() {
        let placement = Placement::new(&nodes(&[1; 7]), 64, 3);
        for partition in 0..64 {
            assert_eq!(placement.preference_list(partition, 7).fallbacks.len(), 4);
            assert_eq!(placement.preference_list(partition, 5).fallbacks.len(), 2);
        }
    }
}
