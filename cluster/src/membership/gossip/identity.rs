//! Which life of a node speaks: a node that restarts must not be taken for the one that died.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::NodeId;

/// Orders the lives of one node, as far as gossip is concerned. Not the incarnation in dots and
/// stamps, which is random so that it is never given twice; this one only says which is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// How often the node has started on its disk.
    pub starts: u32,
    /// How often since then it began anew: because it was declared down, or had lost touch.
    pub rejoins: u32,
}

impl Incarnation {
    /// The first of a start.
    #[must_use]
    pub fn of_start(start_number: u64) -> Self {
        Self { starts: u32::try_from(start_number).unwrap_or(u32::MAX), rejoins: 0 }
    }

    /// The least above this one that a running node takes.
    #[must_use]
    pub fn next(self) -> Self {
        match self.rejoins.checked_add(1) {
            Some(rejoins) => Self { rejoins, ..self },
            None => Self { starts: self.starts.saturating_add(1), rejoins: 0 },
        }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.starts, self.rejoins)
    }
}

/// One life of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipId {
    /// Who.
    pub node: NodeId,
    /// Which life.
    pub incarnation: Incarnation,
}

impl foca::Identity for GossipId {
    type Addr = NodeId;

    /// Whoever learns that it was declared down comes back at once, as a later life.
    fn renew(&self) -> Option<Self> {
        Some(Self { incarnation: self.incarnation.next(), ..*self })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.incarnation > adversary.incarnation
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use foca::Identity;

    use super::*;

    #[test]
    fn a_later_life_always_wins() {
        let id = |starts, rejoins| GossipId {
            node: "n1".parse().unwrap(),
            incarnation: Incarnation { starts, rejoins },
        };
        assert!(id(2, 0).win_addr_conflict(&id(1, 9)) && !id(1, 9).win_addr_conflict(&id(2, 0)));
        for life in [id(1, 0), id(3, u32::MAX)] {
            let renewed = life.renew().unwrap();
            assert!(renewed.win_addr_conflict(&life) && !life.win_addr_conflict(&renewed));
        }
    }
}
