//! Operations a second, over time: what is asked for, whatever the store makes of it.
//!
//! A rate is used through its integral: the time at which so many operations have come due. Arrivals of
//! any rate are those of a process of one event a unit, moved to that time (time change of a Poisson
//! process; Çinlar, "Introduction to Stochastic Processes", 1975, section 4.7), so no slot depends on how
//! a run got there.
//!
//! Not here: where events lie (the parent), and how people write a rate ([`super::RateSetting`]).

use std::f64::consts::TAU;
use std::fmt;

use serde::{Serialize, Serializer};

/// A rate over time, in operations a second and seconds, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Rate {
    /// Always the same.
    Constant {
        /// The rate, above 0.
        per_s: f64,
    },
    /// From one rate to another, evenly, then on at that.
    Ramp {
        /// At the beginning.
        from_per_s: f64,
        /// At the end and after it.
        to_per_s: f64,
        /// How long it takes.
        over_s: f64,
    },
    /// One rate after the other, the last for ever. A rate of 0 is a pause.
    Steps {
        /// The rates.
        per_s: Vec<f64>,
        /// How long each lasts.
        each_s: f64,
    },
    /// Up and down around a mean, upwards first.
    Sine {
        /// The mean.
        mean_per_s: f64,
        /// How far it goes up and down, at most the mean.
        swing_per_s: f64,
        /// How long once up and down takes.
        period_s: f64,
    },
}

impl Rate {
    /// The rate at the very beginning; where that is 0, the mean over the first stretch that is not.
    #[must_use]
    pub fn at_first(&self) -> f64 {
        match self {
            Self::Constant { per_s } => *per_s,
            Self::Ramp { from_per_s, to_per_s, .. } => {
                if *from_per_s > 0.0 {
                    *from_per_s
                } else {
                    to_per_s / 2.0
                }
            }
            Self::Steps { per_s, .. } => per_s.iter().copied().find(|rate| *rate > 0.0).unwrap_or_default(),
            Self::Sine { mean_per_s, .. } => *mean_per_s,
        }
    }

    /// The highest that it ever gets.
    #[must_use]
    pub fn peak(&self) -> f64 {
        match self {
            Self::Constant { per_s } => *per_s,
            Self::Ramp { from_per_s, to_per_s, .. } => from_per_s.max(*to_per_s),
            Self::Steps { per_s, .. } => per_s.iter().copied().fold(0.0, f64::max),
            Self::Sine { mean_per_s, swing_per_s, .. } => mean_per_s + swing_per_s,
        }
    }

    /// How many operations have come due after `t` seconds, on average: the integral of the rate.
    #[must_use]
    pub fn due_by(&self, t: f64) -> f64 {
        match self {
            Self::Constant { per_s } => per_s * t,
            Self::Ramp { from_per_s, to_per_s, over_s } => {
                let (within, after) = (t.min(*over_s), (t - over_s).max(0.0));
                from_per_s * within
                    + (to_per_s - from_per_s) / over_s * within * within / 2.0
                    + to_per_s * after
            }
            Self::Steps { per_s, each_s } => {
                let last = per_s.len() - 1;
                let step = ((t / each_s) as usize).min(last);
                per_s[..step].iter().map(|rate| rate * each_s).sum::<f64>()
                    + per_s[step] * (t - step as f64 * each_s)
            }
            Self::Sine { mean_per_s, swing_per_s, period_s } => {
                mean_per_s * t + swing_per_s * period_s / TAU * (1.0 - (TAU * t / period_s).cos())
            }
        }
    }

    /// When `count` operations have come due, in seconds; none if the rate falls to 0 before, for ever.
    #[must_use]
    pub fn time_of(&self, count: f64) -> Option<f64> {
        match self {
            Self::Constant { per_s } => Some(count / per_s),
            Self::Ramp { from_per_s, to_per_s, over_s } => {
                let whole = (from_per_s + to_per_s) / 2.0 * over_s;
                if count >= whole {
                    return (*to_per_s > 0.0).then(|| over_s + (count - whole) / to_per_s);
                }
                // The root of the integral, in the form that loses no digits where the slope is small.
                let slope = (to_per_s - from_per_s) / over_s;
                let root = (from_per_s * from_per_s + 2.0 * slope * count).max(0.0).sqrt();
                Some(if count > 0.0 { 2.0 * count / (from_per_s + root) } else { 0.0 })
            }
            Self::Steps { per_s, each_s } => {
                let (last, before) = per_s.split_last()?;
                let mut left = count;
                for (step, rate) in before.iter().enumerate() {
                    if left < rate * each_s {
                        return Some(step as f64 * each_s + left / rate);
                    }
                    left -= rate * each_s;
                }
                (*last > 0.0).then(|| before.len() as f64 * each_s + left / last)
            }
            Self::Sine { mean_per_s, swing_per_s, period_s } => {
                let in_period = mean_per_s * period_s;
                let periods = (count / in_period).floor();
                let left = (count - periods * in_period).max(0.0);
                Some(periods * period_s + within_period(left, *mean_per_s, *swing_per_s, *period_s))
            }
        }
    }
}

/// Solves for the time in the first period of a sine by Newton's method, kept within a bracket that
/// shrinks with every step: where the rate touches 0 its steps alone would overshoot.
fn within_period(count: f64, mean: f64, swing: f64, period: f64) -> f64 {
    const STEPS_MAX: u32 = 60;
    let (mut low, mut high) = (0.0, period);
    let mut t = count / mean;
    for _ in 0..STEPS_MAX {
        let (sin, cos) = (TAU * t / period).sin_cos();
        let excess = mean * t + swing * period / TAU * (1.0 - cos) - count;
        if excess > 0.0 {
            high = t;
        } else {
            low = t;
        }
        let newton = t - excess / (mean + swing * sin);
        let next = if newton > low && newton < high { newton } else { f64::midpoint(low, high) };
        // A tenth of a nanosecond.
        if (next - t).abs() < 1e-10 {
            return next;
        }
        t = next;
    }
    t
}

/// As [`super::RateSetting`] reads it.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { per_s } => write!(f, "{per_s}"),
            Self::Ramp { from_per_s, to_per_s, over_s } => {
                write!(f, "ramp:{from_per_s}..{to_per_s}/{over_s}s")
            }
            Self::Steps { per_s, each_s } => {
                let rates: Vec<String> = per_s.iter().map(f64::to_string).collect();
                write!(f, "steps:{}/{each_s}s", rates.join(","))
            }
            Self::Sine { mean_per_s, swing_per_s, period_s } => {
                write!(f, "sine:{mean_per_s}+-{swing_per_s}/{period_s}s")
            }
        }
    }
}

/// A number where it is one, else as people write it.
impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant { per_s } => serializer.serialize_f64(*per_s),
            changing => serializer.collect_str(changing),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn rates() -> Vec<Rate> {
        vec![
            Rate::Constant { per_s: 250.0 },
            Rate::Ramp { from_per_s: 100.0, to_per_s: 900.0, over_s: 10.0 },
            Rate::Ramp { from_per_s: 0.0, to_per_s: 500.0, over_s: 4.0 },
            Rate::Ramp { from_per_s: 900.0, to_per_s: 100.0, over_s: 10.0 },
            Rate::Ramp { from_per_s: 300.0, to_per_s: 300.000_001, over_s: 10.0 },
            Rate::Steps { per_s: vec![100.0, 0.0, 400.0, 200.0], each_s: 3.0 },
            Rate::Sine { mean_per_s: 200.0, swing_per_s: 150.0, period_s: 7.0 },
            Rate::Sine { mean_per_s: 200.0, swing_per_s: 200.0, period_s: 2.0 },
        ]
    }

    #[test]
    fn the_time_of_a_count_is_when_so_many_are_due() {
        for rate in rates() {
            for count in 0..8000 {
                let count = f64::from(count) * 0.73;
                let t = rate.time_of(count).unwrap();
                assert!(
                    (rate.due_by(t) - count).abs() < 1e-6,
                    "{rate}: {count} at {t}, not {}",
                    rate.due_by(t)
                );
            }
        }
    }

    #[test]
    fn the_integral_is_that_of_the_stated_rate() {
        let ramp = Rate::Ramp { from_per_s: 100.0, to_per_s: 900.0, over_s: 10.0 };
        assert_eq!([0.0, 5.0, 10.0, 12.0].map(|t| ramp.due_by(t)), [0.0, 1500.0, 5000.0, 6800.0]);
        let steps = Rate::Steps { per_s: vec![100.0, 0.0, 400.0], each_s: 3.0 };
        assert_eq!([3.0, 5.0, 6.0, 20.0].map(|t| steps.due_by(t)), [300.0, 300.0, 300.0, 5900.0]);
        let sine = Rate::Sine { mean_per_s: 200.0, swing_per_s: 150.0, period_s: 8.0 };
        let up = 4.0 * 200.0 + 2.0 * 150.0 * 8.0 / TAU;
        assert!((sine.due_by(4.0) - up).abs() < 1e-9 && (sine.due_by(8.0) - 1600.0).abs() < 1e-9);
        assert_eq!((ramp.peak(), steps.peak(), sine.peak()), (900.0, 400.0, 350.0));
    }

    #[test]
    fn a_rate_that_falls_to_nothing_ends() {
        let down = Rate::Ramp { from_per_s: 100.0, to_per_s: 0.0, over_s: 10.0 };
        assert!((9.0..10.0).contains(&down.time_of(499.0).unwrap()));
        assert_eq!(down.time_of(500.0), None);
        let stop = Rate::Steps { per_s: vec![10.0, 0.0], each_s: 1.0 };
        assert_eq!((stop.time_of(9.0), stop.time_of(10.0)), (Some(0.9), None));
    }
}
