//! When operations are due: the schedule, fixed by (seed, index) before the run begins.
//!
//! A constant rate hides queueing, since arrivals never meet; Poisson arrivals are what many
//! independent clients look like, and the default.
//!
//! Not here: waiting (the engine does, with a pacer).

use serde::{Deserialize, Serialize};

use crate::draws::{Draws, Purpose};

const PICOSECONDS: f64 = 1e12;

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrivalKind {
    /// Evenly.
    Constant,
    /// With independent, exponentially distributed gaps.
    #[default]
    Poisson,
}

/// An endless schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrivals {
    kind: ArrivalKind,
    rate_per_s: f64,
    seed: u64,
}

/// The slots of a schedule in order, in nanoseconds from its start.
#[derive(Clone, Debug)]
pub struct Slots {
    arrivals: Arrivals,
    index: u64,
    /// Sum of the gaps so far, in whole picoseconds: integers, so that no error builds up and
    /// slot i is the same however far it was streamed from.
    elapsed_ps: u128,
}

impl Arrivals {
    /// A schedule of `rate_per_s` operations a second.
    ///
    /// # Panics
    /// If the rate is not a positive number; plans are checked before.
    #[must_use]
    pub fn new(kind: ArrivalKind, rate_per_s: f64, seed: u64) -> Self {
        assert!(rate_per_s.is_finite() && rate_per_s > 0.0, "a rate is positive");
        Self { kind, rate_per_s, seed }
    }

    /// All slots from the first.
    ///
    /// Slot i is the sum of gaps 0 to i, and gap i a function of (seed, i) alone. Random access
    /// costs a pass over the gaps before (some 20 ns each), which nothing needs: a schedule is
    /// always walked. The logarithm is the platform's, so another build may differ in the last
    /// picosecond.
    #[must_use]
    pub fn slots(self) -> Slots {
        Slots { arrivals: self, index: 0, elapsed_ps: 0 }
    }

    fn poisson_gap_ps(self, index: u64) -> u128 {
        let unit = Draws::new(self.seed, Purpose::Arrivals, index).unit();
        (-(-unit).ln_1p() / self.rate_per_s * PICOSECONDS) as u128
    }
}

impl Iterator for Slots {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let slot_ns = match self.arrivals.kind {
            ArrivalKind::Constant => (self.index as f64 / self.arrivals.rate_per_s * 1e9) as u64,
            ArrivalKind::Poisson => {
                self.elapsed_ps += self.arrivals.poisson_gap_ps(self.index);
                u64::try_from(self.elapsed_ps / 1000).ok()?
            }
        };
        self.index += 1;
        Some(slot_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_slots_are_evenly_spaced() {
        let slots: Vec<_> = Arrivals::new(ArrivalKind::Constant, 1000.0, 1).slots().take(4).collect();
        assert_eq!(slots, [0, 1_000_000, 2_000_000, 3_000_000]);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        const COUNT: usize = 200_000;
        let rate = 2000.0;
        let slots: Vec<_> = Arrivals::new(ArrivalKind::Poisson, rate, 42).slots().take(COUNT).collect();
        let gaps: Vec<f64> = slots.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        // The mean of n gaps strays by 1/sqrt(n) of itself: five times that is beyond chance.
        let bound = 5.0 / (COUNT as f64).sqrt();
        assert!((mean * rate - 1.0).abs() < bound, "{mean}");
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!(
            (variance.sqrt() * rate - 1.0).abs() < 2.0 * bound,
            "an exponential spreads as wide as its mean"
        );
        let below_mean = gaps.iter().filter(|&&g| g < 1.0 / rate).count() as f64 / gaps.len() as f64;
        assert!((below_mean - (1.0 - (-1.0_f64).exp())).abs() < bound, "{below_mean}");
    }

    #[test]
    fn the_same_seed_gives_the_same_slots_and_another_seed_others() {
        let slots =
            |seed| Arrivals::new(ArrivalKind::Poisson, 50.0, seed).slots().take(100).collect::<Vec<_>>();
        assert_eq!(slots(1), slots(1));
        assert_ne!(slots(1), slots(2));
        assert!(slots(1).is_sorted());
    }
}
