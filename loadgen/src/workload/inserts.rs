//! Which operations are inserts, and how many keys there are by then: a key space that grows, while every
//! operation stays a function of (seed, index) alone.
//!
//! Drawn one by one, the number of inserts before an index could only be had by counting. So each block of
//! 1,024 operations holds a number of them that is fixed by the share and the block, at places drawn for
//! the block. An operation counts on the keys that were inserted up to the end of the last block but
//! one: whatever the order in which workers get to it, such an insert is at least 1,024 operations older.
//! (YCSB counts on what was acknowledged, which no two runs agree on.) If a store takes longer for an
//! insert than those operations take to come due, a get may meet a key that is not there yet: an answer
//! like any other, not an error.

use crate::draws::{Draws, Purpose};
use crate::keys::permutation::Permutation;

/// Operations in a block.
pub(super) const BLOCK: u64 = 1024;

/// The inserts of a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inserts {
    share: f64,
    seed: u64,
}

impl Inserts {
    /// So large a share (0 to 1) of all operations.
    pub(super) fn new(share: f64, seed: u64) -> Self {
        Self { share, seed }
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.share > 0.0
    }

    /// Inserts in all blocks before this one.
    fn before(&self, block: u64) -> u64 {
        (block as f64 * BLOCK as f64 * self.share) as u64
    }

    /// Which of the inserts of its stretch operation `within` of stretch number `stretch` is; none if it
    /// is something else.
    pub(super) fn number(&self, stretch: u64, within: u64) -> Option<u64> {
        if !self.any() {
            return None;
        }
        let block = within / BLOCK;
        let (first, next) = (self.before(block), self.before(block + 1));
        let mut draws = Draws::new(self.seed ^ stretch, Purpose::Inserts, block);
        let place = Permutation::new(BLOCK, draws.next_u64()).apply(within % BLOCK);
        (place < next - first).then_some(first + place)
    }

    /// How many inserts of its stretch an operation counts on.
    pub(super) fn settled(&self, within: u64) -> u64 {
        self.before((within / BLOCK).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn every_insert_has_a_number_of_its_own_and_they_are_as_many_as_wanted() {
        for share in [0.05, 0.001, 0.3333, 0.999, 1.0] {
            let inserts = Inserts::new(share, 7);
            let mut numbers: Vec<u64> = (0..50 * BLOCK).filter_map(|i| inserts.number(0, i)).collect();
            let expected = share * (50 * BLOCK) as f64;
            assert!((numbers.len() as f64 - expected).abs() <= 1.0, "{share}: {}", numbers.len());
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{share}: without a gap");
        }
        assert!((0..1000).all(|i| Inserts::new(0.0, 7).number(0, i).is_none()));
    }

    #[test]
    fn whatever_is_counted_on_was_inserted_a_block_before() {
        let inserts = Inserts::new(0.05, 3);
        let mut at = std::collections::BTreeMap::new();
        for index in 0..20 * BLOCK {
            for number in 0..inserts.settled(index) {
                assert!(index - at[&number] >= BLOCK, "{number} at {index}");
            }
            inserts.number(0, index).map(|number| at.insert(number, index));
        }
        assert_eq!(inserts.settled(20 * BLOCK), (19.0 * 1024.0 * 0.05) as u64);
    }

    #[test]
    fn inserts_are_spread_over_their_block_and_stretches_differ() {
        let inserts = Inserts::new(0.25, 3);
        let places =
            |stretch| (0..BLOCK).filter(|i| inserts.number(stretch, *i).is_some()).collect::<Vec<_>>();
        let quarter = places(0).iter().filter(|place| **place < BLOCK / 4).count();
        assert!((40..90).contains(&quarter), "64 expected in the first quarter: {quarter}");
        assert_ne!(places(0), places(1));
    }
}
