//! When operations are due: the schedule, fixed by (seed, index) before the run begins.
//!
//! A constant rate hides queueing, since arrivals never meet; Poisson arrivals are what many
//! independent clients look like, and the default. Either follows any [`Rate`] over time.
//!
//! Not here: waiting (the engine does, with a pacer).

mod rate;
mod setting;
mod trace;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use rate::Rate;
pub use setting::RateSetting;
pub use trace::{Trace, TraceError, TraceLine};

use crate::draws::{Draws, Purpose};

/// Parts of an event that gaps are counted in.
const PARTS: f64 = 1e12;

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

impl FromStr for ArrivalKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "constant" => Ok(Self::Constant),
            "poisson" => Ok(Self::Poisson),
            other => Err(format!("`{other}`: choose constant (evenly spaced) or poisson")),
        }
    }
}

/// When the operations of a run are due, but for the seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Schedule {
    /// At a rate.
    Rate {
        /// How they are spaced.
        arrivals: ArrivalKind,
        /// How many, over time.
        rate: Rate,
    },
    /// As they once were.
    Trace {
        /// From this file.
        trace: Trace,
    },
}

/// A schedule with its seed. Endless, unless it is that of a trace or of a rate that falls to 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    schedule: Schedule,
    seed: u64,
}

/// The slots of a schedule in order, in nanoseconds from its start.
#[derive(Clone, Debug)]
pub struct Slots {
    arrivals: Arrivals,
    index: u64,
    /// Sum of the gaps so far, in parts of an event: integers, so that no error builds up and
    /// slot i is the same however far it was streamed from.
    elapsed: u128,
    last_ns: u64,
}

impl Schedule {
    /// The schedule of a warm-up: at the rate the measurement begins with; of a trace, at its mean rate.
    #[must_use]
    pub fn warmup(&self) -> Self {
        let (arrivals, per_s) = match self {
            Self::Rate { arrivals, rate } => (*arrivals, rate.at_first()),
            Self::Trace { trace } => (ArrivalKind::Poisson, trace.mean_per_s()),
        };
        Self::Rate { arrivals, rate: Rate::Constant { per_s } }
    }

    /// The schedule for a seed.
    #[must_use]
    pub fn arrivals(&self, seed: u64) -> Arrivals {
        Arrivals { schedule: self.clone(), seed }
    }

    /// The trace, if it is one.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        match self {
            Self::Rate { .. } => None,
            Self::Trace { trace } => Some(trace),
        }
    }
}

impl Arrivals {
    /// All slots from the first.
    ///
    /// At a rate, slot i is when the rate has made so many operations due: i of them if they are evenly
    /// spaced, else the sum of exponential gaps 0 to i, of which gap i is a function of (seed, i) alone.
    /// Random access costs a pass over the gaps before (some 20 ns each), which nothing needs: a
    /// schedule is always walked. The logarithm is the platform's, so another build may differ in the
    /// last picosecond.
    #[must_use]
    pub fn slots(self) -> Slots {
        Slots { arrivals: self, index: 0, elapsed: 0, last_ns: 0 }
    }
}

impl Slots {
    /// When slot `index` is due, the sum of gaps up to it being in `elapsed`.
    fn due_ns(&mut self) -> Option<u64> {
        let (arrivals, rate) = match &self.arrivals.schedule {
            Schedule::Trace { trace } => {
                return trace.lines().get(usize::try_from(self.index).ok()?).map(|line| line.slot_ns);
            }
            Schedule::Rate { arrivals, rate } => (*arrivals, rate),
        };
        let count = match arrivals {
            ArrivalKind::Constant => self.index as f64,
            ArrivalKind::Poisson => {
                let unit = Draws::new(self.arrivals.seed, Purpose::Arrivals, self.index).unit();
                self.elapsed += (-(-unit).ln_1p() * PARTS) as u128;
                self.elapsed as f64 / PARTS
            }
        };
        let ns = rate.time_of(count)? * 1e9;
        (ns < u64::MAX as f64).then_some(ns as u64)
    }
}

impl Iterator for Slots {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // Solving for the time may round two near slots the wrong way round.
        self.last_ns = self.due_ns()?.max(self.last_ns);
        self.index += 1;
        Some(self.last_ns)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn slots(arrivals: ArrivalKind, rate: &str, seed: u64) -> Slots {
        let rate = rate.parse::<RateSetting>().unwrap().over(10.0).unwrap();
        Schedule::Rate { arrivals, rate }.arrivals(seed).slots()
    }

    #[test]
    fn constant_slots_are_evenly_spaced() {
        let slots: Vec<_> = slots(ArrivalKind::Constant, "1k", 1).take(4).collect();
        assert_eq!(slots, [0, 1_000_000, 2_000_000, 3_000_000]);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        const COUNT: usize = 200_000;
        let rate = 2000.0;
        let slots: Vec<_> = slots(ArrivalKind::Poisson, "2k", 42).take(COUNT).collect();
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
        for rate in ["50", "ramp:0..100", "steps:10,0,100/100ms", "sine:50+-50/1s"] {
            let slots = |seed| slots(ArrivalKind::Poisson, rate, seed).take(1000).collect::<Vec<_>>();
            assert_eq!(slots(1), slots(1));
            assert_ne!(slots(1), slots(2));
            assert!(slots(1).is_sorted());
        }
    }

    #[test]
    fn arrivals_of_a_changing_rate_are_as_many_in_every_stretch_as_it_asks_for() {
        for text in ["ramp:500..5k/10s", "steps:1k,4k,500/3s", "sine:2k+-2k/4s"] {
            let rate = text.parse::<RateSetting>().unwrap().over(10.0).unwrap();
            for (arrivals, spread) in [(ArrivalKind::Constant, 0.0), (ArrivalKind::Poisson, 5.0)] {
                let mut counts = [0_u32; 40];
                let all = slots(arrivals, text, 3).take_while(|slot| *slot < 10_000_000_000);
                all.for_each(|slot| counts[(slot / 250_000_000) as usize] += 1);
                for (i, count) in counts.into_iter().enumerate() {
                    let t = i as f64 / 4.0;
                    let expected = rate.due_by(t + 0.25) - rate.due_by(t);
                    // A Poisson count strays by the root of its mean.
                    let allowed = 1.5 + spread * expected.sqrt();
                    assert!(
                        (f64::from(count) - expected).abs() <= allowed,
                        "{text} {arrivals:?} at {t} s: {count}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_trace_is_played_as_it_was_and_ends() {
        let trace = Trace::parse("t".to_owned(), "1ms\n1ms\n5ms\n".as_bytes()).unwrap();
        let schedule = Schedule::Trace { trace };
        let slots: Vec<_> = schedule.arrivals(9).slots().collect();
        assert_eq!(slots, [1_000_000, 1_000_000, 5_000_000]);
        let Schedule::Rate { rate: Rate::Constant { per_s }, .. } = schedule.warmup() else { panic!() };
        assert_eq!(per_s, 3.0);
    }
}
