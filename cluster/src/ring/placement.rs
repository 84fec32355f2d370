//! Which nodes own which partition, and how one such table follows from the one before.

use quorate_env::random::mix;
use serde::{Deserialize, Serialize};

use super::compact::Compact;
use super::deal::deal;
use super::exchange::{VACANT, exchange};
use super::zones::{Servers, Shares};
use super::{
    PlacementError, PlacementNode, PreferenceList, Rules, ZoneShortfall, equal_partitions, partition_of,
    tokens,
};
use crate::config::{self, NodeId};

/// Which nodes own which partition.
///
/// [`Placement::new`] is a pure function of the members. [`Placement::change`] is one of the
/// placement before and the members, which is what keeps the moves few: so a view carries its
/// placement (it has a compact serde form) instead of every node working it out anew.
///
/// Invariants: the owners of a partition are N distinct nodes. With `quota`, each node owns its
/// quota exactly, within one copy of its fair share after `new`, and every partition has copies
/// in [`Placement::spread`] zones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Compact", into = "Compact")]
pub struct Placement {
    pub(super) rules: Rules,
    /// Sorted by name.
    pub(super) nodes: Vec<PlacementNode>,
    /// N node indexes for each partition, one partition after the other.
    pub(super) owners: Vec<u32>,
    /// The last position of each partition where they are unequal; empty where they are equal.
    pub(super) cuts: Vec<u64>,
    /// Zones that every partition has copies in, at least, by rule.
    pub(super) spread: usize,
}

impl Placement {
    /// Places `partitions` partitions of `replicas` copies on `nodes`, whatever their order, by
    /// quotas.
    ///
    /// # Panics
    /// Where [`Rules::check`] gives an error, as with fewer nodes than replicas.
    #[must_use]
    pub fn new(nodes: &[PlacementNode], partitions: u32, replicas: usize) -> Self {
        Self::by(Rules::quota(partitions, replicas), nodes).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Places by any rules.
    ///
    /// # Errors
    /// As [`Rules::check`].
    pub fn by(rules: Rules, nodes: &[PlacementNode]) -> Result<Self, PlacementError> {
        rules.check(nodes)?;
        let nodes = sorted(nodes);
        Ok(match rules.strategy {
            config::Placement::Quota => Self::dealt(rules, nodes),
            config::Placement::Tokens => tokens::place(rules, nodes),
            config::Placement::TokensEqualPartitions => equal_partitions::place(rules, nodes),
        })
    }

    /// The placement once the members are `nodes`: some joined, left, or changed their capacity or
    /// zone. With `quota` as few copies move as may be: a join moves copies only to who joined, a
    /// leave only the copies of who left, wherever zones permit.
    ///
    /// # Panics
    /// As [`Placement::new`].
    #[must_use]
    pub fn change(&self, nodes: &[PlacementNode]) -> Self {
        self.try_change(nodes).unwrap_or_else(|e| panic!("{e}"))
    }

    /// [`Placement::change`] for members that were not checked.
    ///
    /// # Errors
    /// As [`Rules::check`]; the placement stays as it was.
    pub fn try_change(&self, nodes: &[PlacementNode]) -> Result<Self, PlacementError> {
        if self.rules.strategy != config::Placement::Quota {
            return Self::by(self.rules, nodes);
        }
        self.rules.check(nodes)?;
        Ok(self.exchanged(sorted(nodes)))
    }

    fn dealt(rules: Rules, nodes: Vec<PlacementNode>) -> Self {
        let (servers, n) = (Servers::of(&nodes), rules.replicas as usize);
        let shares = Shares::of(&servers, rules.partitions, n);
        let none = (vec![0; nodes.len()], vec![0.0; nodes.len()]);
        let quotas = shares.quotas(&servers, rules.partitions, n, &none.0, &none.1);
        let owners = deal(&servers, &quotas, rules.partitions, n, shares.spread, seed(&nodes));
        Self::with_owners(rules, nodes, owners, shares.spread)
    }

    fn exchanged(&self, nodes: Vec<PlacementNode>) -> Self {
        let (servers, n) = (Servers::of(&nodes), self.replicas());
        let partitions = self.partitions();
        let shares = Shares::of(&servers, partitions, n);
        let shares_before = Shares::of(&Servers::of(&self.nodes), partitions, n).shares;
        let (mut held, mut before) = (vec![0; nodes.len()], vec![0.0; nodes.len()]);
        let index_now: Vec<u32> = self
            .nodes
            .iter()
            .map(|node| nodes.binary_search_by_key(&node.id, |n| n.id).map_or(VACANT, |i| i as u32))
            .collect();
        let owners: Vec<u32> = self.owners.iter().map(|i| index_now[*i as usize]).collect();
        for owner in owners.iter().filter(|owner| **owner != VACANT) {
            held[*owner as usize] += 1;
        }
        for (i, now) in index_now.iter().enumerate().filter(|(_, now)| **now != VACANT) {
            before[*now as usize] = shares_before[i];
        }
        let quotas = shares.quotas(&servers, partitions, n, &held, &before);
        let owners = exchange(&servers, owners, &quotas, n, shares.spread, seed(&nodes))
            // Every quota can be dealt afresh, at the price of moving nearly everything.
            .unwrap_or_else(|| deal(&servers, &quotas, partitions, n, shares.spread, seed(&nodes)));
        Self::with_owners(self.rules, nodes, owners, shares.spread)
    }

    /// The order of a partition's owners spreads coordination evenly, whoever came first.
    pub(super) fn with_owners(
        rules: Rules,
        nodes: Vec<PlacementNode>,
        mut owners: Vec<u32>,
        spread: usize,
    ) -> Self {
        let names: Vec<u64> = nodes.iter().map(|n| name_hash(n.id)).collect();
        for (partition, row) in owners.chunks_exact_mut(rules.replicas as usize).enumerate() {
            let salt = mix(partition as u64 + 1);
            row.sort_unstable_by_key(|i| (mix(names[*i as usize] ^ salt), *i));
        }
        Self { rules, nodes, owners, cuts: Vec::new(), spread }
    }

    /// Q.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        (self.owners.len() / self.replicas()) as u32
    }

    /// N.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.rules.replicas as usize
    }

    /// What it was made by.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The nodes, sorted by name.
    #[must_use]
    pub fn nodes(&self) -> &[PlacementNode] {
        &self.nodes
    }

    /// The distinct zones that every partition has copies in, at least: as many as there are
    /// replicas and zones, unless [`Placement::zone_shortfall`] says why not. The strategies that
    /// throw tokens know no zones and promise 1.
    #[must_use]
    pub fn spread(&self) -> usize {
        self.spread
    }

    /// The zone whose small capacity keeps partitions from spreading over as many zones as there
    /// are replicas and zones, if one does.
    #[must_use]
    pub fn zone_shortfall(&self) -> Option<ZoneShortfall> {
        if self.rules.strategy != config::Placement::Quota {
            return None;
        }
        Shares::of(&Servers::of(&self.nodes), self.rules.partitions, self.replicas()).shortfall
    }

    /// Refuses a placement that spreads less than replicas and zones alone permit.
    ///
    /// # Errors
    /// [`PlacementError::Zone`] naming the zone that is too small.
    pub fn require_zones(self) -> Result<Self, PlacementError> {
        match self.zone_shortfall() {
            Some(shortfall) => Err(shortfall.into()),
            None => Ok(self),
        }
    }

    /// The partition that `key` falls into.
    #[must_use]
    pub fn partition_of(&self, key: &[u8]) -> u32 {
        if self.cuts.is_empty() {
            partition_of(key, self.partitions())
        } else {
            tokens::partition_of(key, &self.cuts)
        }
    }

    /// The last position of each partition (the upper half of the digest) where they are unequal;
    /// empty where they are equal.
    #[must_use]
    pub fn cuts(&self) -> &[u64] {
        &self.cuts
    }

    /// The fraction of the ring that a partition covers.
    #[must_use]
    pub fn width(&self, partition: u32) -> f64 {
        if self.cuts.is_empty() {
            1.0 / f64::from(self.partitions())
        } else {
            tokens::width(partition, &self.cuts)
        }
    }

    /// The N owners of a partition.
    pub fn owners(&self, partition: u32) -> impl Iterator<Item = NodeId> + '_ {
        self.row(partition).iter().map(|i| self.nodes[*i as usize].id)
    }

    pub(super) fn row(&self, partition: u32) -> &[u32] {
        let at = partition as usize * self.replicas();
        &self.owners[at..at + self.replicas()]
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
        let index = self.nodes.binary_search_by_key(&node, |n| n.id).map_or(VACANT, |i| i as u32);
        (0..self.partitions()).filter(move |p| self.row(*p).contains(&index))
    }

    /// Copies held by each node, in the order of [`Placement::nodes`].
    #[must_use]
    pub fn copies(&self) -> Vec<u32> {
        let mut copies = vec![0; self.nodes.len()];
        for owner in &self.owners {
            copies[*owner as usize] += 1;
        }
        copies
    }
}

fn sorted(nodes: &[PlacementNode]) -> Vec<PlacementNode> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by_key(|n| n.id);
    nodes
}

/// Different members are dealt differently.
fn seed(nodes: &[PlacementNode]) -> u64 {
    nodes.iter().fold(0, |seed, node| mix(seed ^ name_hash(node.id)))
}

/// A node's name as a well-spread number.
pub(super) fn name_hash(id: NodeId) -> u64 {
    let (high, low) = id.as_bytes().split_at(8);
    let word = |half: &[u8]| half.iter().fold(0_u64, |w, b| (w << 8) | u64::from(*b));
    mix(word(high) ^ mix(word(low)))
}
