//! Which key an operation goes to.

pub mod permutation;
pub mod zipf;

use serde::{Deserialize, Serialize};

use crate::draws::Draws;
use permutation::Permutation;
use zipf::Zipf;

/// How popular keys are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum KeyDistribution {
    /// All equally.
    Uniform,
    /// The k-th most popular with weight 1/k^theta, popular keys spread over the key space.
    Zipfian {
        /// The exponent, above 0: 0.99 is YCSB's; the larger, the hotter the hottest key.
        theta: f64,
    },
    /// One after the other, again and again.
    Sequential,
}

/// Chooses among the keys 0 to n-1.
#[derive(Clone, Debug)]
pub struct KeyChooser {
    keys: u64,
    chooser: Chooser,
}

#[derive(Clone, Debug)]
enum Chooser {
    Uniform,
    Zipfian { zipf: Zipf, spread: Permutation },
    Sequential,
}

impl KeyChooser {
    /// A chooser among `keys` keys; `seed` says which are the popular ones.
    ///
    /// # Panics
    /// If there are no keys or the exponent is not positive; plans are checked before.
    #[must_use]
    pub fn new(distribution: KeyDistribution, keys: u64, seed: u64) -> Self {
        assert!(keys > 0, "there must be a key to choose");
        let chooser = match distribution {
            KeyDistribution::Uniform => Chooser::Uniform,
            KeyDistribution::Zipfian { theta } => {
                Chooser::Zipfian { zipf: Zipf::new(keys, theta), spread: Permutation::new(keys, seed) }
            }
            KeyDistribution::Sequential => Chooser::Sequential,
        };
        Self { keys, chooser }
    }

    /// The key of operation `index`, whose random numbers are `draws`.
    pub fn choose(&self, index: u64, draws: &mut Draws) -> u64 {
        match &self.chooser {
            Chooser::Uniform => draws.below(self.keys),
            Chooser::Zipfian { zipf, spread } => spread.apply(zipf.rank(draws) - 1),
            Chooser::Sequential => index % self.keys,
        }
    }
}
