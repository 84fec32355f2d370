//! Which key an operation goes to: one of those that are there when it is due.
//!
//! Keys are counted in the order in which they came: 0 is the first that was loaded, the last one the
//! newest. Not here: how many there are by then, and the numbers of those that were inserted
//! ([`crate::workload`]).

pub mod permutation;
pub mod zipf;

use serde::{Deserialize, Serialize};

use crate::draws::{Draws, Purpose};
use crate::fit::{self, Fit};
use permutation::Permutation;
use zipf::Zipf;

/// How popular keys are. Shares are parts of 1.
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
    /// The k-th newest with weight 1/k^theta.
    Latest {
        /// The exponent, above 0.
        theta: f64,
    },
    /// Some keys share most of the operations, all others the rest; either part equally. The hot ones
    /// are spread over the key space.
    Hotspot {
        /// The share of keys that is hot.
        hot_keys: f64,
        /// The share of operations that goes to them.
        hot_operations: f64,
    },
    /// The k-th newest with weight e^(-ck).
    Exponential {
        /// The share of keys, from the newest, that
        hot_keys: f64,
        /// this share of operations goes to (of an exponential that is not cut off at the oldest key).
        hot_operations: f64,
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
    Latest { zipf: Zipf },
    Hotspot { hot_keys: f64, hot_operations: f64, spread: Permutation },
    Exponential { hot_keys: f64, hot_operations: f64 },
    Sequential,
}

impl KeyChooser {
    /// A chooser among `keys` keys, to which others come if they `grow`; `seed` says which are the popular
    /// ones.
    ///
    /// # Panics
    /// If there are no keys or the exponent is not positive; plans are checked before.
    #[must_use]
    pub fn new(distribution: KeyDistribution, keys: u64, seed: u64, grow: bool) -> Self {
        assert!(keys > 0, "there must be a key to choose");
        let spread = || {
            let spread = Permutation::new(keys, seed);
            // Popular keys stay popular until there are twice as many keys.
            if grow { spread.with_room_for(2 * keys) } else { spread }
        };
        let chooser = match distribution {
            KeyDistribution::Uniform => Chooser::Uniform,
            KeyDistribution::Zipfian { theta } => {
                Chooser::Zipfian { zipf: Zipf::new(keys, theta), spread: spread() }
            }
            KeyDistribution::Latest { theta } => Chooser::Latest { zipf: Zipf::new(keys, theta) },
            KeyDistribution::Hotspot { hot_keys, hot_operations } => {
                Chooser::Hotspot { hot_keys, hot_operations, spread: spread() }
            }
            KeyDistribution::Exponential { hot_keys, hot_operations } => {
                Chooser::Exponential { hot_keys, hot_operations }
            }
            KeyDistribution::Sequential => Chooser::Sequential,
        };
        Self { keys, chooser }
    }

    /// The key of operation `index`, whose random numbers are `draws`, when there are `keys` of them, at
    /// least as many as at the beginning.
    pub fn choose(&self, index: u64, keys: u64, draws: &mut Draws) -> u64 {
        match &self.chooser {
            Chooser::Uniform => draws.below(keys),
            Chooser::Zipfian { zipf, spread } => {
                let rank = zipf.over(keys).rank(draws) - 1;
                spread.over(keys).apply(rank)
            }
            Chooser::Latest { zipf } => keys - zipf.over(keys).rank(draws),
            Chooser::Hotspot { hot_keys, hot_operations, spread } => {
                let hot = hot(*hot_keys, keys);
                let rank = if hot == keys || draws.unit() < *hot_operations {
                    draws.below(hot)
                } else {
                    hot + draws.below(keys - hot)
                };
                spread.over(keys).apply(rank)
            }
            Chooser::Exponential { hot_keys, hot_operations } => {
                let decay = decay(*hot_keys, *hot_operations, keys);
                // Only as much of the unit as falls to keys that there are.
                let inside = -(-decay * keys as f64).exp_m1();
                let age = (-(-draws.unit() * inside).ln_1p() / decay) as u64;
                keys - 1 - age.min(keys - 1)
            }
            Chooser::Sequential => index % keys,
        }
    }

    /// The exact probability of each key when there are `keys` of them, for tests of fit.
    #[must_use]
    pub fn law(&self, keys: u64) -> Vec<f64> {
        let by_rank = |weight: &dyn Fn(f64) -> f64, place: &dyn Fn(u64) -> u64| {
            let sum: f64 = (0..keys).map(|rank| weight(rank as f64)).sum();
            let mut law = vec![0.0; keys as usize];
            (0..keys).for_each(|rank| law[place(rank) as usize] = weight(rank as f64) / sum);
            law
        };
        let newest = |rank: u64| keys - 1 - rank;
        match &self.chooser {
            Chooser::Uniform | Chooser::Sequential => by_rank(&|_| 1.0, &|rank| rank),
            Chooser::Zipfian { zipf, spread } => {
                by_rank(&|rank| (rank + 1.0).powf(-zipf.theta()), &|rank| spread.over(keys).apply(rank))
            }
            Chooser::Latest { zipf } => by_rank(&|rank| (rank + 1.0).powf(-zipf.theta()), &newest),
            Chooser::Hotspot { hot_keys, hot_operations, spread } => {
                let hot = hot(*hot_keys, keys);
                let (in_hot, in_cold) =
                    if hot == keys { (1.0, 0.0) } else { (*hot_operations, 1.0 - hot_operations) };
                let weight = |rank: f64| {
                    if rank < hot as f64 { in_hot / hot as f64 } else { in_cold / (keys - hot) as f64 }
                };
                by_rank(&weight, &|rank| spread.over(keys).apply(rank))
            }
            Chooser::Exponential { hot_keys, hot_operations } => {
                let decay = decay(*hot_keys, *hot_operations, keys);
                by_rank(&|rank| (-decay * rank).exp(), &newest)
            }
        }
    }

    /// How many keys there are at the beginning.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys
    }
}

/// How many keys are hot: at least one.
fn hot(share: f64, keys: u64) -> u64 {
    ((share * keys as f64).round() as u64).clamp(1, keys)
}

/// How fast popularity falls from one key to the next older.
fn decay(hot_keys: f64, hot_operations: f64, keys: u64) -> f64 {
    -(-hot_operations).ln_1p() / (hot_keys * keys as f64)
}

/// Whether so many zipfian choices among 10,000 keys, with a fixed seed, follow the exact law: what tests and
/// the bench of workloads hold this module to.
#[must_use]
pub fn zipfian_fit(theta: f64, draws: u64) -> Fit {
    const KEYS: u64 = 10_000;
    let chooser = KeyChooser::new(KeyDistribution::Zipfian { theta }, KEYS, 1, false);
    let mut counts = vec![0; KEYS as usize];
    for index in 0..draws {
        counts[chooser.choose(index, KEYS, &mut Draws::new(1, Purpose::Operations, index)) as usize] += 1;
    }
    fit::chi_square(&counts, &chooser.law(KEYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 300_000;

    fn distributions() -> Vec<KeyDistribution> {
        let zipfian = [0.5, 0.99, 1.0, 1.2, 1.5].map(|theta| KeyDistribution::Zipfian { theta });
        let latest = [0.99, 1.2].map(|theta| KeyDistribution::Latest { theta });
        let mut all = vec![
            KeyDistribution::Uniform,
            KeyDistribution::Hotspot { hot_keys: 0.2, hot_operations: 0.8 },
            KeyDistribution::Hotspot { hot_keys: 1e-9, hot_operations: 0.5 },
            KeyDistribution::Exponential { hot_keys: 0.857, hot_operations: 0.95 },
            KeyDistribution::Exponential { hot_keys: 0.1, hot_operations: 0.9 },
            KeyDistribution::Sequential,
        ];
        all.extend(zipfian);
        all.extend(latest);
        all
    }

    #[test]
    fn every_distribution_follows_its_exact_law_also_when_keys_were_added() {
        for distribution in distributions() {
            for (keys, live) in [(1000, 1000), (1000, 1777), (1000, 5000)] {
                let chooser = KeyChooser::new(distribution, keys, 5, live > keys);
                let mut counts = vec![0; live as usize];
                for index in 0..DRAWS {
                    let mut draws = Draws::new(11, Purpose::Operations, index);
                    counts[chooser.choose(index, live, &mut draws) as usize] += 1;
                }
                let law = chooser.law(live);
                assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                let fit = fit::chi_square(&counts, &law);
                // Forty tests: one in a hundred would be missed by chance.
                assert!(fit.p > 1e-4, "{distribution:?} of {live}: {fit:?}");
            }
        }
    }

    #[test]
    fn zipfian_keys_of_a_whole_workload_follow_the_exact_law() {
        for theta in [0.5, 0.99, 1.0, 1.2, 1.5] {
            let fit = zipfian_fit(theta, DRAWS);
            assert!(fit.p > 0.01, "theta {theta}: {fit:?}");
        }
    }

    #[test]
    fn newest_keys_are_the_popular_ones_where_that_is_what_was_asked_for() {
        let newest = [
            KeyDistribution::Latest { theta: 0.99 },
            KeyDistribution::Exponential { hot_keys: 0.1, hot_operations: 0.9 },
        ];
        for distribution in newest {
            let law = KeyChooser::new(distribution, 100, 1, true).law(150);
            assert!(law.is_sorted() && law[149] > 10.0 * law[0], "{distribution:?}");
        }
        let hot = KeyDistribution::Hotspot { hot_keys: 0.2, hot_operations: 0.8 };
        let law = KeyChooser::new(hot, 100, 1, false).law(100);
        assert_eq!(law.iter().filter(|p| (**p - 0.04).abs() < 1e-9).count(), 20);
        assert!(law[..20].iter().any(|p| *p < 0.01), "the hot ones are spread");
    }

    #[test]
    fn popular_keys_stay_popular_while_the_key_space_grows() {
        let chooser = KeyChooser::new(KeyDistribution::Zipfian { theta: 0.99 }, 1000, 7, true);
        let hottest = |keys| {
            let law = chooser.law(keys);
            let mut keys: Vec<usize> = (0..law.len()).collect();
            keys.sort_by(|a, b| law[*b].total_cmp(&law[*a]));
            keys.truncate(100);
            keys
        };
        let before = hottest(1000);
        let kept = hottest(1100).into_iter().filter(|key| before.contains(key)).count();
        assert!(kept >= 80, "{kept} of the hundred hottest");
    }

    #[test]
    fn one_key_is_always_chosen() {
        for distribution in distributions() {
            let chooser = KeyChooser::new(distribution, 1, 5, false);
            let mut draws = Draws::new(1, Purpose::Operations, 0);
            assert!((0..100).all(|index| chooser.choose(index, 1, &mut draws) == 0), "{distribution:?}");
        }
    }
}
