//! The state of every node that runs under all the faults that are active at once, as [`super::LinkTable`]
//! has it of links.
//!
//! Invariant: delays and parts of what fails add up, and once every fault has ended every node is as it should be.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Effects, NodeEffect};

/// What a node should be like now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Its disk takes so much longer to sync.
    pub sync_delay: Duration,
    /// Its disk has no space left.
    pub is_full: bool,
    /// Of a million operations of its disk so many fail.
    pub errors_ppm: u32,
    /// Every message of a quorum operation waits up to so long there.
    pub reordered: Duration,
    /// It does not get on.
    pub is_paused: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sync_delay: Duration,
    full: u32,
    errors_ppm: u32,
    reordered: Duration,
    paused: u32,
    overloaded: u32,
}

/// Sums of active effects per node.
#[derive(Clone, Debug, Default)]
pub struct NodeTable {
    sums: BTreeMap<String, Sums>,
    /// Nodes touched since the last [`NodeTable::take_changes`], with their state before.
    touched: BTreeMap<String, NodeState>,
}

impl NodeTable {
    /// A fault begins.
    pub fn begin(&mut self, effects: &Effects) {
        for (node, effect) in &effects.nodes {
            let sums = self.touch(node);
            match effect {
                NodeEffect::SlowDisk(by) => sums.sync_delay += *by,
                NodeEffect::FullDisk => sums.full += 1,
                NodeEffect::DiskErrors(ppm) => sums.errors_ppm += *ppm,
                NodeEffect::Reordered(by) => sums.reordered += *by,
                NodeEffect::Paused => sums.paused += 1,
                NodeEffect::Overloaded => sums.overloaded += 1,
            }
        }
    }

    /// A fault that had begun ends.
    ///
    /// # Panics
    /// If it had not begun: the driver has lost count.
    pub fn end(&mut self, effects: &Effects) {
        for (node, effect) in &effects.nodes {
            let sums = self.touch(node);
            let left = match effect {
                NodeEffect::SlowDisk(by) => sums.sync_delay.checked_sub(*by).map(|d| sums.sync_delay = d),
                NodeEffect::FullDisk => sums.full.checked_sub(1).map(|n| sums.full = n),
                NodeEffect::DiskErrors(ppm) => sums.errors_ppm.checked_sub(*ppm).map(|n| sums.errors_ppm = n),
                NodeEffect::Reordered(by) => sums.reordered.checked_sub(*by).map(|d| sums.reordered = d),
                NodeEffect::Paused => sums.paused.checked_sub(1).map(|n| sums.paused = n),
                NodeEffect::Overloaded => sums.overloaded.checked_sub(1).map(|n| sums.overloaded = n),
            };
            assert!(left.is_some(), "a fault on {node} ended that had not begun");
        }
    }

    /// The state of a node.
    #[must_use]
    pub fn state(&self, node: &str) -> NodeState {
        let sums = self.sums.get(node).copied().unwrap_or_default();
        NodeState {
            sync_delay: sums.sync_delay,
            is_full: sums.full > 0,
            errors_ppm: sums.errors_ppm.min(1_000_000),
            reordered: sums.reordered,
            is_paused: sums.paused > 0,
        }
    }

    /// The states to issue: of all nodes whose state is not what it was at the last call.
    pub fn take_changes(&mut self) -> Vec<(String, NodeState)> {
        std::mem::take(&mut self.touched)
            .into_iter()
            .map(|(node, before)| (self.state(&node), before, node))
            .filter(|(now, before, _)| now != before)
            .map(|(now, _, node)| (node, now))
            .collect()
    }

    fn touch(&mut self, node: &str) -> &mut Sums {
        let before = self.state(node);
        self.touched.entry(node.to_owned()).or_insert(before);
        self.sums.entry(node.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_n1(effects: &[NodeEffect]) -> Effects {
        let nodes = effects.iter().map(|effect| ("n1".to_owned(), *effect)).collect();
        Effects { nodes, ..Effects::default() }
    }

    #[test]
    fn the_end_of_one_fault_leaves_another_as_it_is() {
        let ms = Duration::from_millis;
        let one = on_n1(&[
            NodeEffect::SlowDisk(ms(5)),
            NodeEffect::FullDisk,
            NodeEffect::DiskErrors(700_000),
            NodeEffect::Paused,
        ]);
        let other = on_n1(&[
            NodeEffect::SlowDisk(ms(7)),
            NodeEffect::FullDisk,
            NodeEffect::DiskErrors(600_000),
            NodeEffect::Reordered(ms(3)),
            NodeEffect::Overloaded,
        ]);
        let mut table = NodeTable::default();
        table.begin(&one);
        table.begin(&other);
        let both = NodeState {
            sync_delay: ms(12),
            is_full: true,
            errors_ppm: 1_000_000,
            reordered: ms(3),
            is_paused: true,
        };
        assert_eq!(table.take_changes(), [("n1".to_owned(), both)]);
        table.end(&one);
        let left = NodeState {
            sync_delay: ms(7),
            is_full: true,
            errors_ppm: 600_000,
            reordered: ms(3),
            is_paused: false,
        };
        assert_eq!(table.take_changes(), [("n1".to_owned(), left)]);
        table.end(&other);
        assert_eq!(table.take_changes(), [("n1".to_owned(), NodeState::default())]);
        assert!(table.take_changes().is_empty());
    }
}
