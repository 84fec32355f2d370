//! Dynamo's strategy 1 (section 6.2): T random tokens a node, partition by token value.
//!
//! Every node throws T tokens on the ring for each unit of its capacity. A token ends a
//! partition, which reaches back to the token before it; its owners are the token's node and the
//! next distinct nodes clockwise. Partitioning and placement are one thing here, so partitions
//! are unequal, and a node that joins splits those of others: partition numbers do not outlive
//! a change of the members, and what a partition holds must be scanned for key by key. That is
//! what the paper left it for; it is here to be compared, and for clusters whose members stay.
//!
//! Tokens follow from the node's name. Zones are not looked at.

use quorate_env::random::mix;

use super::placement::name_hash;
use super::{Placement, PlacementNode, Rules, position};

/// The tokens of all nodes in the order of the ring: position and node.
pub(super) fn thrown(rules: Rules, nodes: &[PlacementNode]) -> Vec<(u64, u32)> {
    let mut thrown: Vec<(u64, u32)> = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let name = name_hash(node.id);
        let count = u64::from(rules.tokens) * u64::from(node.capacity);
        thrown.extend((1..=count).map(|token| (mix(name ^ mix(token)), i as u32)));
    }
    thrown.sort_unstable();
    // Two tokens in one place (once in 2^64 throws of two) would make an empty partition.
    thrown.dedup_by_key(|(at, _)| *at);
    thrown
}

/// The first `replicas` distinct nodes from the token at `first` clockwise, which may be one past
/// the last: that is the first again.
pub(super) fn clockwise(thrown: &[(u64, u32)], first: usize, replicas: usize, owners: &mut Vec<u32>) {
    let row = owners.len();
    for step in 0..thrown.len() {
        if owners.len() == row + replicas {
            return;
        }
        let (_, node) = thrown[(first + step) % thrown.len()];
        if !owners[row..].contains(&node) {
            owners.push(node);
        }
    }
}

pub(super) fn place(rules: Rules, nodes: Vec<PlacementNode>) -> Placement {
    let thrown = thrown(rules, &nodes);
    let mut owners = Vec::with_capacity(thrown.len() * rules.replicas as usize);
    for first in 0..thrown.len() {
        clockwise(&thrown, first, rules.replicas as usize, &mut owners);
    }
    let cuts = thrown.into_iter().map(|(at, _)| at).collect();
    Placement { rules, nodes, owners, cuts, spread: 1 }
}

/// The partition that ends at the first token at or after the key's position.
pub(super) fn partition_of(key: &[u8], cuts: &[u64]) -> u32 {
    let at = (position(key) >> 64) as u64;
    (cuts.partition_point(|cut| *cut < at) % cuts.len()) as u32
}

/// The fraction of the ring from the token before to this one; the first reaches back around.
pub(super) fn width(partition: u32, cuts: &[u64]) -> f64 {
    if cuts.len() == 1 {
        return 1.0;
    }
    let i = partition as usize;
    let before = cuts[(i + cuts.len() - 1) % cuts.len()];
    cuts[i].wrapping_sub(before) as f64 / 2.0_f64.powi(64)
}
