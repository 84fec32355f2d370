//! Who owns a key: the MD5 ring, its equal partitions, and their placement on unequal nodes.
//!
//! Dynamo, section 4.2 (consistent hashing) and section 6.2. The placement stores use is after
//! its strategy 3 (equal partitions, placement apart from partitioning), with quotas by capacity
//! and zones as a constraint; strategies 1 and 2 are there to be compared. Pure: the same
//! members, and the same placement before them, give the same ring everywhere.
//!
//! In reading order: `quota` (how much each node should hold), `zones` (what spreading changes
//! about that), `deal` (a first placement), `exchange` (the next one, with few moves),
//! `placement` (the table itself), `moves` and `balance` (what it costs and how even it is),
//! `tokens` and `equal_partitions` (the other strategies), `compact` (how it travels).
//!
//! Not here: who is alive. A preference list names nodes; whether they answer is found out
//! by asking them.

mod balance;
mod compact;
mod deal;
mod equal_partitions;
mod exchange;
mod moves;
mod node;
mod placement;
mod quota;
mod tokens;
mod zones;
#[cfg(test)]
mod tests;

use md5::{Digest, Md5};

use crate::config::NodeId;

pub use balance::{Balance, NodeLoad};
pub use moves::Move;
pub use node::{PlacementError, PlacementNode, Rules, TOKENS_PER_CAPACITY, ZoneShortfall};
pub use placement::Placement;
pub use quota::{fair_shares, quotas};

/// A key's position on the ring: its MD5 digest as a 128-bit number (Dynamo, section 4.2).
#[must_use]
pub fn position(key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

/// The partition that `key` falls into when the ring is cut into `partitions` equal ones.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    // The top 64 bits scaled by Q: exact for every Q, not only for powers of two.
    let top = position(key) >> 64;
    u32::try_from((top * u128::from(partitions)) >> 64).expect("a 64-bit fraction of a u32 is a u32")
}

/// Whether an entry of a preference list owns the key or stands in for somebody who does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// One of the N owners.
    Primary,
    /// Takes part only while an owner is away (Dynamo, section 4.6).
    Fallback,
}

/// Distinct nodes in the order in which they are asked for a key: owners, then fallbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferenceList {
    /// The N owners.
    pub primaries: Vec<NodeId>,
    /// The nodes met next when walking the ring clockwise.
    pub fallbacks: Vec<NodeId>,
}

impl PreferenceList {
    /// How `node` stands in this list, or nothing if it is not in it.
    #[must_use]
    pub fn standing(&self, node: NodeId) -> Option<Standing> {
        if self.primaries.contains(&node) {
            Some(Standing::Primary)
        } else if self.fallbacks.contains(&node) {
            Some(Standing::Fallback)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod position_tests {
    use super::*;

    #[test]
    fn partitions_are_equal_and_cover_the_ring() {
        for partitions in [1, 3, 7, 256, 65_536] {
            let mut hits = vec![0_u32; partitions as usize];
            for i in 0..20_000_u32 {
                hits[partition_of(&i.to_be_bytes(), partitions) as usize] += 1;
            }
            if partitions <= 256 {
                let mean = 20_000 / partitions;
                assert!(hits.iter().all(|h| *h > mean / 3 && *h < mean * 3), "{partitions}: {hits:?}");
            }
        }
    }

    #[test]
    fn a_keys_position_is_its_md5_digest() {
        assert_eq!(position(b""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
    }
}
