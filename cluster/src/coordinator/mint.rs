//! Mints dots. A dot is never minted twice.
//!
//! The counter of a key is kept in memory alone. The record on disk would not do: within one
//! run it may be damaged and refilled by an older copy, handed over with a hint, or collected,
//! and its counter would then be given again for another write (Riak's kv679 family). A key
//! whose counter is no longer known gets a new epoch, which costs an actor in its context and
//! is always safe.

use std::collections::{BTreeMap, VecDeque};

use crate::config::NodeId;
use crate::version::{Actor, Dot};

/// Keys whose counters are remembered; beyond it the oldest are forgotten.
const KEYS_MAX: usize = 1 << 18;

/// One node's mint during one run.
#[derive(Debug)]
pub struct Mint {
    node: NodeId,
    incarnation: u64,
    epoch: u32,
    /// By position of the key on the ring. Two keys that share a position share counters, which
    /// is harmless: dots are compared within one key only.
    counters: BTreeMap<u128, (u32, u64)>,
    /// Oldest first.
    order: VecDeque<u128>,
    keys_max: usize,
}

impl Mint {
    /// The mint of one run of `node`.
    #[must_use]
    pub fn new(node: NodeId, incarnation: u64) -> Self {
        Self {
            node,
            incarnation,
            epoch: 0,
            counters: BTreeMap::new(),
            order: VecDeque::new(),
            keys_max: KEYS_MAX,
        }
    }

    /// The next dot for the key at `position`.
    ///
    /// # Panics
    /// After 2^32 epochs: more than four thousand million forgotten keys in one run.
    pub fn next(&mut self, position: u128) -> Dot {
        let entry = self.counters.get_mut(&position).map(|(epoch, counter)| {
            *counter += 1;
            (*epoch, *counter)
        });
        let (epoch, counter) = entry.unwrap_or_else(|| self.begin(position));
        Dot { actor: Actor { node: self.node, incarnation: self.incarnation, epoch }, counter }
    }

    fn begin(&mut self, position: u128) -> (u32, u64) {
        if self.order.len() >= self.keys_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.counters.remove(&oldest);
            // Whoever comes next may be a key that was forgotten: which they were is forgotten too.
            self.epoch = self.epoch.checked_add(1).expect("fewer than 2^32 epochs in one run");
        }
        let epoch = self.epoch;
        self.order.push_back(position);
        self.counters.insert(position, (epoch, 1));
        (epoch, 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_stays_known_counts_up_under_one_actor() {
        let mut mint = Mint::new("n1".parse().unwrap(), 7);
        let (first, second) = (mint.next(5), mint.next(5));
        assert_eq!(first.actor, second.actor);
        assert_eq!((first.counter, second.counter), (1, 2));
        assert_eq!(mint.next(6).actor, first.actor);
    }

    proptest! {
        #[test]
        fn no_dot_is_minted_twice_however_many_keys_are_forgotten(keys in prop::collection::vec(0_u128..6, 0..200)) {
            let mut mint = Mint { keys_max: 3, ..Mint::new("n1".parse().unwrap(), 7) };
            let mut seen = BTreeSet::new();
            for key in keys {
                prop_assert!(seen.insert((key, mint.next(key))));
                prop_assert!(mint.counters.len() <= 3 && mint.order.len() == mint.counters.len());
            }
        }
    }
}
