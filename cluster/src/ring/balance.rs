//! How evenly a placement loads its nodes.

use super::zones::{Servers, Shares};
use super::{Placement, fair_shares};
use crate::config::{self, NodeId};

/// What one node holds, and what it should.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeLoad {
    /// Its name.
    pub id: NodeId,
    /// Copies of partitions that it holds.
    pub partitions: u32,
    /// Those copies as a fraction of all keys: 1 holds a copy of everything.
    pub load: f64,
    /// Its fair share, as the same fraction: water-filled by capacity, and by zones where the
    /// placement spreads over them.
    pub fair: f64,
}

impl NodeLoad {
    /// 1 is fair, more is too much. A node that should hold nothing and does not has 1 too.
    #[must_use]
    pub fn over_fair(&self) -> f64 {
        if self.fair > 0.0 {
            self.load / self.fair
        } else if self.load > 0.0 {
            f64::INFINITY
        } else {
            1.0
        }
    }
}

/// How evenly a placement loads its nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// By node, sorted by name.
    pub nodes: Vec<NodeLoad>,
}

impl Balance {
    /// The most loaded node's load over its fair share.
    #[must_use]
    pub fn max_over_fair(&self) -> f64 {
        self.nodes.iter().map(NodeLoad::over_fair).fold(0.0, f64::max)
    }

    /// The least loaded node's load over its fair share.
    #[must_use]
    pub fn min_over_fair(&self) -> f64 {
        self.nodes.iter().map(NodeLoad::over_fair).fold(f64::INFINITY, f64::min)
    }

    /// Load-balancing efficiency (Dynamo, section 6.2): the average load over the highest, each
    /// relative to the node's fair share, with every key asked for alike. 1 is perfect.
    #[must_use]
    pub fn efficiency(&self) -> f64 {
        1.0 / self.max_over_fair()
    }
}

impl Placement {
    /// What each node holds, and what it should.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let (partitions, replicas) = (self.rules.partitions, self.replicas());
        let servers = Servers::of(&self.nodes);
        let fair = match self.rules.strategy {
            config::Placement::Quota => Shares::of(&servers, partitions, replicas).shares,
            _ => fair_shares(&servers.capacities, partitions, replicas),
        };
        let mut loads = vec![0.0; self.nodes.len()];
        for partition in 0..self.partitions() {
            for owner in self.row(partition) {
                loads[*owner as usize] += self.width(partition);
            }
        }
        let copies = self.copies();
        let load = |(i, load): (usize, f64)| NodeLoad {
            id: self.nodes[i].id,
            partitions: copies[i],
            // Counted where it can be, not summed, so that what is even comes out even.
            load: if self.cuts.is_empty() { f64::from(copies[i]) / f64::from(partitions) } else { load },
            fair: fair[i] / f64::from(partitions),
        };
        Balance { nodes: loads.into_iter().enumerate().map(load).collect() }
    }

    /// The fewest distinct zones that any partition has copies in.
    #[must_use]
    pub fn zones_met(&self) -> usize {
        let zone_of = Servers::of(&self.nodes).zone_of;
        let distinct = |row: &[u32]| {
            let zone = |i: u32| zone_of[i as usize];
            (0..row.len()).filter(|i| row[..*i].iter().all(|before| zone(*before) != zone(row[*i]))).count()
        };
        self.owners.chunks_exact(self.replicas()).map(distinct).min().unwrap_or(0)
    }

    /// Bytes of memory that the tables of this placement take, names and zones included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(|n| size_of_val(n) + n.zone.capacity()).sum();
        nodes + size_of_val(&self.owners[..]) + size_of_val(&self.cuts[..])
    }
}
