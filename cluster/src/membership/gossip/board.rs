//! What gossip has found, for whoever shows or asks: the API, metrics, tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::Incarnation;
use crate::config::NodeId;

/// What is thought of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It answers somebody's probes.
    Alive,
    /// It did not answer a probe, or has not been heard of yet. Treated as alive.
    Suspect,
    /// It did not answer for long, and nobody denies it.
    Down,
}

impl Liveness {
    /// All, best first.
    pub const ALL: [Self; 3] = [Self::Alive, Self::Suspect, Self::Down];
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
        })
    }
}

/// One member as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is there.
    pub liveness: Liveness,
    /// Its latest life that was heard of; nothing if none was.
    pub incarnation: Option<Incarnation>,
}

/// All members as this node sees them, itself included.
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<NodeId, Seen>>);

impl Board {
    /// What is known of `node`; nothing if it is no member.
    #[must_use]
    pub fn seen(&self, node: NodeId) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }

    /// Everything, by node.
    #[must_use]
    pub fn all(&self) -> BTreeMap<NodeId, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many members are thought to be `liveness`.
    #[must_use]
    pub fn count(&self, liveness: Liveness) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().filter(|s| s.liveness == liveness).count()
    }

    pub(super) fn set(&self, seen: BTreeMap<NodeId, Seen>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}
