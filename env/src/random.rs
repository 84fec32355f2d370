//! Named, independent random streams from one seed.
//!
//! A stream depends on the seed and its path of names alone, so that drawing more in one
//! place, or removing one fault, changes nothing elsewhere.

use std::convert::Infallible;
use std::sync::Arc;

use rand::rngs::SysRng;
use rand::{Rng, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;

use crate::watch::{self, Meter};

/// A node in the tree of random streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    seed: u64,
}

/// One stream of random numbers. Implements [`rand::Rng`].
#[derive(Clone, Debug)]
pub struct RandomStream {
    inner: ChaCha8Rng,
    /// Counts what is drawn, where somebody watches.
    meter: Option<Arc<Meter>>,
}

impl Random {
    /// The root of all streams of one run.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { seed }
    }

    /// A root seeded by the operating system, for real nodes.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: nothing safe can be done without.
    #[must_use]
    pub fn from_system() -> Self {
        let seed = SysRng.try_next_u64().expect("the operating system gives random numbers");
        Self { seed }
    }

    /// The seed of this node of the tree.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The subtree called `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let seed = self.seed_of(name);
        watch::note_child(self.seed, seed, name);
        Self { seed }
    }

    fn seed_of(&self, name: &str) -> u64 {
        // FNV-1a over the name, then SplitMix64's finaliser so that near seeds do not give near children.
        let name_hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        mix(self.seed ^ mix(name_hash))
    }

    /// The stream called `name`.
    #[must_use]
    pub fn stream(&self, name: &str) -> RandomStream {
        let inner = ChaCha8Rng::seed_from_u64(self.seed_of(name));
        RandomStream { inner, meter: watch::meter(self.seed, name) }
    }
}

impl TryRng for RandomStream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let drawn = self.inner.next_u32();
        self.note(u64::from(drawn));
        Ok(drawn)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let drawn = self.inner.next_u64();
        self.note(drawn);
        Ok(drawn)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.inner.fill_bytes(bytes);
        // How many there were and the last of them; what comes next depends on all.
        self.note(bytes.iter().fold(bytes.len() as u64, |h, b| h.rotate_left(8) ^ u64::from(*b)));
        Ok(())
    }
}

impl RandomStream {
    fn note(&self, drawn: u64) {
        if let Some(meter) = &self.meter {
            meter.draws(drawn);
        }
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014): a bijection that spreads every bit.
#[must_use]
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(random: Random, name: &str) -> u64 {
        random.stream(name).next_u64()
    }

    #[test]
    fn a_stream_depends_on_seed_and_path_alone() {
        let root = Random::from_seed(7);
        assert_eq!(first(root, "faults"), first(Random::from_seed(7), "faults"));
        assert_ne!(first(root, "faults"), first(root, "network"));
        assert_ne!(first(root, "faults"), first(Random::from_seed(8), "faults"));
        assert_ne!(first(root.child("node-1"), "dots"), first(root.child("node-2"), "dots"));
        let mut drained = root.stream("network");
        drained.next_u64();
        assert_eq!(first(root, "faults"), first(Random::from_seed(7), "faults"));
    }
}
