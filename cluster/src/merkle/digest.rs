//! Digests of keys and records, and the short forms in which digests travel.

use quorate_env::random::mix;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// Where a key belongs in its partition's tree. Takes the key as the engine stores it. The same
/// on every machine and in every release: peers compare by it.
#[must_use]
pub fn key_hash(stored: &[u8]) -> u64 {
    XxHash3_64::oneshot(stored)
}

/// The digest of a record under its key. Two values that changed places differ in both.
#[must_use]
pub fn record_digest(key_hash: u64, record: &[u8]) -> u64 {
    mix(XxHash3_64::oneshot(record) ^ mix(key_hash))
}

/// How digests are shortened to travel in one session.
///
/// Short digests are what keeps repair cheap when little differs: most of what a descent sends
/// are digests of what does not. Two that differ look the same with a chance of 1 in 65,536, but
/// only under one salt, so that what one session misses the next one finds. Where nothing may be
/// missed, because a node's votes depend on it, the session is `exact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salt {
    /// Drawn anew for every session.
    pub salt: u32,
    /// Whether digests travel whole.
    pub exact: bool,
}

impl Salt {
    /// Bytes that a sum takes.
    #[must_use]
    pub fn sum_bytes(self) -> usize {
        if self.exact { 8 } else { 2 }
    }

    /// Bytes that a [`Salt::print`] takes.
    #[must_use]
    pub fn print_bytes(self) -> usize {
        if self.exact { 8 } else { 4 }
    }

    /// The short form of an inner node's sum.
    #[must_use]
    pub fn sum(self, sum: u64) -> u64 {
        self.shortened(sum, self.sum_bytes())
    }

    /// The fingerprint of one key's digest.
    #[must_use]
    pub fn print(self, digest: u64) -> u64 {
        self.shortened(digest, self.print_bytes())
    }

    /// Short forms as they travel, `width` bytes each.
    #[must_use]
    pub fn pack(width: usize, words: impl IntoIterator<Item = u64>) -> Vec<u8> {
        words.into_iter().flat_map(|word| word.to_le_bytes().into_iter().take(width)).collect()
    }

    /// The opposite of [`Salt::pack`]; nothing if the bytes are not a whole number of words.
    #[must_use]
    pub fn unpack(width: usize, bytes: &[u8]) -> Option<Vec<u64>> {
        if !bytes.len().is_multiple_of(width) {
            return None;
        }
        let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        Some(bytes.chunks(width).map(word).collect())
    }

    fn shortened(self, word: u64, bytes: usize) -> u64 {
        mix(word ^ (u64::from(self.salt) << 32 | u64::from(self.salt))) >> (64 - 8 * bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digests_are_the_same_in_every_release() {
        assert_eq!(key_hash(b"d\0\0\0\x07cart"), 14_324_956_384_447_201_444);
        assert_eq!(
            (record_digest(1, b"record"), Salt { salt: 9, exact: false }.sum(77)),
            (10_093_074_608_099_736_073, 46_784)
        );
    }

    #[test]
    fn values_that_changed_places_change_the_sum() {
        let sum =
            |first: &[u8], second: &[u8]| record_digest(1, first).wrapping_add(record_digest(2, second));
        assert_ne!(sum(b"a", b"b"), sum(b"b", b"a"));
    }

    proptest! {
        #[test]
        fn short_forms_travel_unchanged(words in prop::collection::vec(any::<u64>(), 0..20), salt in any::<u32>(), exact in any::<bool>()) {
            let salt = Salt { salt, exact };
            let sums: Vec<u64> = words.iter().map(|word| salt.sum(*word)).collect();
            let packed = Salt::pack(salt.sum_bytes(), sums.iter().copied());
            prop_assert_eq!(packed.len(), words.len() * salt.sum_bytes());
            prop_assert_eq!(Salt::unpack(salt.sum_bytes(), &packed).unwrap(), sums);
            // Whole digests are shuffled but never confused.
            let prints: Vec<u64> = words.iter().map(|word| salt.print(*word)).collect();
            for (a, b) in words.iter().zip(&prints) {
                for (c, d) in words.iter().zip(&prints) {
                    prop_assert!(a != c || b == d);
                    prop_assert!(!exact || a == c || b != d);
                }
            }
        }
    }

    #[test]
    fn torn_short_forms_are_refused() {
        assert_eq!(Salt::unpack(4, &[1, 2, 3]), None);
    }
}
