//! A keyed bijection on 0..n, to spread popular keys over the key space.
//!
//! A hash modulo n, as YCSB uses, folds ranks onto each other: some keys get the weight of
//! several, some none, and the law is no longer the one asked for. A bijection keeps it exactly.
//! A Feistel network on the next power of four; results outside are walked on until they are
//! inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).

use quorate_env::random::mix;

use crate::draws::{Draws, Purpose};

const ROUNDS: usize = 4;

/// A bijection on 0..n.
#[derive(Clone, Debug)]
pub struct Permutation {
    n: u64,
    half_bits: u32,
    round_keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of 0..n for `seed`.
    ///
    /// # Panics
    /// If `n` is 0 or above 2^62.
    #[must_use]
    pub fn new(n: u64, seed: u64) -> Self {
        assert!(n > 0 && n <= 1 << 62, "a permutation needs 1 to 2^62 elements");
        let mut draws = Draws::new(seed, Purpose::Permutation, 0);
        Self { n, half_bits: half_bits(n), round_keys: std::array::from_fn(|_| draws.next_u64()) }
    }

    /// The same permutation with room to grow to `n` elements: up to there, one more element sends few others
    /// elsewhere.
    #[must_use]
    pub fn with_room_for(self, n: u64) -> Self {
        Self { half_bits: self.half_bits.max(half_bits(n)), ..self }
    }

    /// The permutation of 0..n, which is not much different while there is room for n.
    #[must_use]
    pub fn over(&self, n: u64) -> Self {
        Self { n, half_bits: self.half_bits.max(half_bits(n)), round_keys: self.round_keys }
    }

    /// Where `x` goes.
    ///
    /// # Panics
    /// If `x` is not below n.
    #[must_use]
    pub fn apply(&self, x: u64) -> u64 {
        assert!(x < self.n, "{x} is not among 0..{}", self.n);
        // The domain is less than four times n, so this takes few steps on average, and it ends
        // because a permutation's cycles return to where they began.
        let mut x = self.encrypt(x);
        while x >= self.n {
            x = self.encrypt(x);
        }
        x
    }

    fn encrypt(&self, x: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.round_keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// Half the bits of the domain: that of the next power of four.
fn half_bits(n: u64) -> u32 {
    (u64::BITS - n.saturating_sub(1).leading_zeros()).div_ceil(2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_element_more_sends_few_others_elsewhere_while_there_is_room() {
        let permutation = Permutation::new(1000, 3).with_room_for(2000);
        for n in 1000..1500 {
            let (before, after) = (permutation.over(n), permutation.over(n + 1));
            let moved = (0..n).filter(|x| before.apply(*x) != after.apply(*x)).count();
            assert!(moved <= 1, "{moved} at {n}");
            let mut hit: Vec<u64> = (0..n).map(|x| before.apply(x)).collect();
            hit.sort_unstable();
            assert!(hit.into_iter().eq(0..n), "a bijection");
        }
    }

    #[test]
    fn every_size_is_a_bijection() {
        for n in (1..=70).chain([255, 256, 257, 1000, 10_000]) {
            let permutation = Permutation::new(n, 9);
            let mut seen = vec![false; n as usize];
            for x in 0..n {
                let y = permutation.apply(x) as usize;
                assert!(!seen[y], "n={n}: {y} is hit twice");
                seen[y] = true;
            }
        }
    }

    #[test]
    fn neighbours_are_spread_and_the_seed_matters() {
        let image = |seed| (0..100).map(|x| Permutation::new(10_000, seed).apply(x)).collect::<Vec<_>>();
        assert_ne!(image(1), image(2));
        let mean = image(1).iter().sum::<u64>() / 100;
        assert!((3_500..6_500).contains(&mean), "the first hundred land all over: {mean}");
    }
}
