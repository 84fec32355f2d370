//! A rate as people write it, and what is wrong with it.

use std::fmt;
use std::str::FromStr;

use quorate_env::words::parse_duration;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

use super::Rate;

/// The most operations a second that a plan may ask for.
const PER_S_MAX: f64 = 1e7;
/// The longest stretch of a schedule.
const SECONDS_MAX: f64 = 1e6;

/// A rate as people write it: `2000`, `2k`, `ramp:1k..5k`, `ramp:1k..5k/20s`, `steps:1k,2k,4k`,
/// `steps:1k,2k,4k/10s`, `sine:2k+-1k/10s`. Times that are left out follow from the length of the
/// measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum RateSetting {
    /// Always the same.
    Constant(f64),
    /// From one to the other, over so many seconds; by default over the whole measurement.
    Ramp(f64, f64, Option<f64>),
    /// One after the other, each for so many seconds; by default equal parts of the measurement.
    Steps(Vec<f64>, Option<f64>),
    /// Mean, swing and period in seconds.
    Sine(f64, f64, f64),
}

impl From<f64> for RateSetting {
    fn from(per_s: f64) -> Self {
        Self::Constant(per_s)
    }
}

impl RateSetting {
    /// The rate it means in a measurement of so many seconds.
    ///
    /// # Errors
    /// What would be accepted, if a part is out of range.
    pub fn over(&self, measured_s: f64) -> Result<Rate, &'static str> {
        let rate = match self {
            Self::Constant(per_s) => Rate::Constant { per_s: *per_s },
            Self::Ramp(from, to, over_s) => {
                Rate::Ramp { from_per_s: *from, to_per_s: *to, over_s: over_s.unwrap_or(measured_s) }
            }
            Self::Steps(per_s, each_s) => {
                let each_s = each_s.unwrap_or(measured_s / per_s.len().max(1) as f64);
                Rate::Steps { per_s: per_s.clone(), each_s }
            }
            Self::Sine(mean, swing, period_s) => {
                Rate::Sine { mean_per_s: *mean, swing_per_s: *swing, period_s: *period_s }
            }
        };
        check(&rate).map_or(Ok(rate), Err)
    }
}

/// What should be otherwise, if anything.
fn check(rate: &Rate) -> Option<&'static str> {
    const RATE: &str = "above 0 and at most 10,000,000 a second";
    const TIME: &str = "made of stretches from 1 ms to 1,000,000 s";
    let possible = |per_s: f64| (0.0..=PER_S_MAX).contains(&per_s);
    let lasts = |seconds: f64| (1e-3..=SECONDS_MAX).contains(&seconds);
    let (rates_fit, time_fits) = match rate {
        Rate::Constant { per_s } => (possible(*per_s), true),
        Rate::Ramp { from_per_s, to_per_s, over_s } => {
            (possible(*from_per_s) && possible(*to_per_s), lasts(*over_s))
        }
        Rate::Steps { per_s, each_s } => (per_s.iter().all(|rate| possible(*rate)), lasts(*each_s)),
        Rate::Sine { mean_per_s, swing_per_s, period_s } => {
            if *swing_per_s > *mean_per_s {
                return Some("of a swing of at most the mean: a rate below 0 means nothing");
            }
            (possible(*mean_per_s) && possible(*swing_per_s) && possible(rate.peak()), lasts(*period_s))
        }
    };
    if !rates_fit || rate.peak() <= 0.0 {
        Some(RATE)
    } else if !time_fits {
        Some(TIME)
    } else {
        None
    }
}

impl FromStr for RateSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((shape, rest)) = text.split_once(':') else { return per_second(text).map(Self::Constant) };
        let (rates, time) = match rest.split_once('/') {
            Some((rates, time)) => (rates, Some(parse_duration(time)?.as_secs_f64())),
            None => (rest, None),
        };
        let form = |example: &str| format!("`{text}` is not of the form {example}");
        let pair = |between: &str, example: &str| {
            let (a, b) = rates.split_once(between).ok_or_else(|| form(example))?;
            Ok::<_, String>((per_second(a)?, per_second(b)?))
        };
        match shape.trim() {
            "ramp" => pair("..", "ramp:1k..5k or ramp:1k..5k/20s").map(|(a, b)| Self::Ramp(a, b, time)),
            "steps" => {
                let rates = rates.split(',').map(per_second).collect::<Result<_, _>>()?;
                Ok(Self::Steps(rates, time))
            }
            "sine" => {
                let example = "sine:2k+-1k/10s";
                let (mean, swing) = pair("+-", example)?;
                Ok(Self::Sine(mean, swing, time.ok_or_else(|| form(example))?))
            }
            other => Err(format!(
                "`{other}` is not a schedule; write a rate such as 2000 or 2k, ramp:1k..5k, steps:1k,2k,4k or \
                 sine:2k+-1k/10s"
            )),
        }
    }
}

/// Reads `2000`, `2k`, `1.5M`: operations a second.
fn per_second(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (number, scale) = match text.strip_suffix(['k', 'M']) {
        Some(number) if text.ends_with('k') => (number, 1e3),
        Some(number) => (number, 1e6),
        None => (text, 1.0),
    };
    let rate: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is not a rate; write operations a second, such as 500, 2k or 1.5M"))?;
    Ok(rate * scale)
}

impl fmt::Display for RateSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |seconds: &Option<f64>| seconds.map(|s| format!("/{s}s")).unwrap_or_default();
        match self {
            Self::Constant(per_s) => write!(f, "{per_s}"),
            Self::Ramp(from, to, over_s) => write!(f, "ramp:{from}..{to}{}", time(over_s)),
            Self::Steps(per_s, each_s) => {
                let rates: Vec<String> = per_s.iter().map(f64::to_string).collect();
                write!(f, "steps:{}{}", rates.join(","), time(each_s))
            }
            Self::Sine(mean, swing, period_s) => write!(f, "sine:{mean}+-{swing}/{period_s}s"),
        }
    }
}

/// From a number, or from a text as on the command line.
impl<'de> Deserialize<'de> for RateSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = RateSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("operations a second, or a schedule such as \"ramp:1k..5k\"")
            }

            fn visit_f64<E>(self, per_s: f64) -> Result<RateSetting, E> {
                Ok(RateSetting::Constant(per_s))
            }

            fn visit_i64<E>(self, per_s: i64) -> Result<RateSetting, E> {
                Ok(RateSetting::Constant(per_s as f64))
            }

            fn visit_u64<E>(self, per_s: u64) -> Result<RateSetting, E> {
                Ok(RateSetting::Constant(per_s as f64))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RateSetting, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Words).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn rates_read_as_people_write_them_and_read_back() {
        for (text, rate) in [
            ("2000", RateSetting::Constant(2000.0)),
            ("1.5k", RateSetting::Constant(1500.0)),
            ("ramp:1k..5k", RateSetting::Ramp(1000.0, 5000.0, None)),
            ("ramp:0..1M/250ms", RateSetting::Ramp(0.0, 1e6, Some(0.25))),
            ("steps:1k, 2k,4k/10s", RateSetting::Steps(vec![1000.0, 2000.0, 4000.0], Some(10.0))),
            ("sine:2k+-1k/1m", RateSetting::Sine(2000.0, 1000.0, 60.0)),
        ] {
            let read: RateSetting = text.parse().unwrap();
            assert_eq!(read, rate, "{text}");
            assert_eq!(read.to_string().parse::<RateSetting>().unwrap(), rate, "{read}");
        }
        let resolved = "steps:1k,2k,4k/10s".parse::<RateSetting>().unwrap().over(1.0).unwrap();
        assert_eq!(resolved.to_string(), "steps:1000,2000,4000/10s");
    }

    #[test]
    fn what_is_left_out_follows_from_the_measurement() {
        let over = |text: &str| text.parse::<RateSetting>().unwrap().over(30.0);
        assert_eq!(over("ramp:1..2"), Ok(Rate::Ramp { from_per_s: 1.0, to_per_s: 2.0, over_s: 30.0 }));
        assert_eq!(over("steps:1,2,3"), Ok(Rate::Steps { per_s: vec![1.0, 2.0, 3.0], each_s: 10.0 }));
    }

    #[test]
    fn nonsense_is_refused_with_what_to_write_instead() {
        for (text, part) in [
            ("fast", "`fast` is not a rate"),
            ("2K", "`2K` is not a rate"),
            ("rmap:1..2", "`rmap` is not a schedule"),
            ("ramp:1k", "ramp:1k..5k"),
            ("ramp:1..x", "`x` is not a rate"),
            ("sine:2k+-1k", "sine:2k+-1k/10s"),
            ("steps:1,,2", "`` is not a rate"),
            ("steps:1,2/10", "is not a duration"),
        ] {
            let why = text.parse::<RateSetting>().unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn impossible_rates_are_refused_with_what_is_possible() {
        for (setting, part) in [
            (RateSetting::Constant(0.0), "above 0"),
            (RateSetting::Constant(f64::NAN), "above 0"),
            (RateSetting::Constant(2e7), "at most 10,000,000"),
            (RateSetting::Ramp(0.0, 0.0, None), "above 0"),
            (RateSetting::Ramp(-1.0, 5.0, None), "above 0"),
            (RateSetting::Ramp(1.0, 5.0, Some(0.0)), "stretches from"),
            (RateSetting::Steps(vec![], None), "above 0"),
            (RateSetting::Steps(vec![0.0], None), "above 0"),
            (RateSetting::Sine(10.0, 11.0, 1.0), "at most the mean"),
            (RateSetting::Sine(10.0, 1.0, 0.0), "stretches from"),
            (RateSetting::Sine(9e6, 9e6, 1.0), "at most 10,000,000"),
        ] {
            let why = setting.over(30.0).unwrap_err();
            assert!(why.contains(part), "{setting}: {why}");
        }
    }
}
