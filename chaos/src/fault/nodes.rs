//! The state of every node that runs under all the faults that are active at once, as [`super::LinkTable`]
//! has it of links.
//!
//! Invariant: delays add up, and once every fault has ended every node is as it should be.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Effects, NodeEffect};

/// What a node should be like now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Its disk takes so much longer to sync.
    pub sync_delay: Duration,
}

/// Sums of active effects per node.
#[derive(Clone, Debug, Default)]
pub struct NodeTable {
    states: BTreeMap<String, NodeState>,
    /// Nodes touched since the last [`NodeTable::take_changes`], with their state before.
    touched: BTreeMap<String, NodeState>,
}

impl NodeTable {
    /// A fault begins.
    pub fn begin(&mut self, effects: &Effects) {
        for (node, effect) in &effects.nodes {
            let state = self.touch(node);
            match effect {
                NodeEffect::SlowDisk(by) => state.sync_delay += *by,
            }
        }
    }

    /// A fault that had begun ends.
    ///
    /// # Panics
    /// If it had not begun: the driver has lost count.
    pub fn end(&mut self, effects: &Effects) {
        for (node, effect) in &effects.nodes {
            let state = self.touch(node);
            let left = match effect {
                NodeEffect::SlowDisk(by) => state.sync_delay.checked_sub(*by).map(|d| state.sync_delay = d),
            };
            assert!(left.is_some(), "a fault on {node} ended that had not begun");
        }
    }

    /// The state of a node.
    #[must_use]
    pub fn state(&self, node: &str) -> NodeState {
        self.states.get(node).copied().unwrap_or_default()
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

    fn touch(&mut self, node: &str) -> &mut NodeState {
        let before = self.state(node);
        self.touched.entry(node.to_owned()).or_insert(before);
        self.states.entry(node.to_owned()).or_default()
    }
}
