//! Get and put as small machines: replies in, decisions out.
//!
//! Dynamo, section 4.5 (R, W, N) and 4.6 (sloppy quorum). No clock, no socket, no randomness:
//! the request's own task in `coordinator` drives them and tests assert every effect.

mod get;
mod put;

pub use get::{GetEffect, GetQuorum, ReadReply};
pub use put::{PutEffect, PutQuorum};

use std::collections::BTreeSet;

use crate::config::NodeId;
use crate::ring::PreferenceList;

/// Deals fallbacks out in preference order, each once.
#[derive(Debug)]
struct Fallbacks {
    left: std::collections::VecDeque<NodeId>,
}

impl Fallbacks {
    /// Fallbacks that are thought alive first, suspects last: a suspicion may be wrong.
    fn new(list: &PreferenceList, suspected: &BTreeSet<NodeId>) -> Self {
        let (suspects, healthy): (Vec<NodeId>, Vec<NodeId>) =
            list.fallbacks.iter().partition(|n| suspected.contains(n));
        Self { left: healthy.into_iter().chain(suspects).collect() }
    }

    fn next(&mut self) -> Option<NodeId> {
        self.left.pop_front()
    }

    /// Takes `node` out of its turn.
    fn take(&mut self, node: NodeId) -> Option<NodeId> {
        let at = self.left.iter().position(|n| *n == node)?;
        self.left.remove(at)
    }
}
