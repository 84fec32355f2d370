//! `[network.legs]`: how long messages of quorum operations take, by the leg they travel (PBS, VLDB
//! 2012, section 3). Every message draws its own delay, the coordinator's to itself too.

use std::time::Duration;

use quorate_cluster::config::ConfigError;
use quorate_env::{Leg, RandomStream};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use super::bad;

/// Nobody waits longer for one message. A distribution may have a tail without end.
const DELAY_MAX_MS: f64 = 60_000.0;

/// Delays by leg, each a weighted mixture; an empty one adds nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Legs {
    /// A write on its way to a replica.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<Component>,
    /// Its acknowledgement.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ack: Vec<Component>,
    /// A read on its way to a replica.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Component>,
    /// Its answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response: Vec<Component>,
}

/// One of several distributions that a delay may come from. Exactly one of the shapes is given; all
/// are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Component {
    /// How often it is chosen, relative to the others.
    pub weight: f64,
    /// Always the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant: Option<f64>,
    /// Anything in between, equally likely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uniform: Option<Uniform>,
    /// Of mean `1 / rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential: Option<Exponential>,
    /// At least `scale`, with a tail that is the lighter the greater `shape` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pareto: Option<Pareto>,
    /// Whose logarithm is normal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lognormal: Option<Lognormal>,
}

/// `uniform`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uniform {
    /// Least.
    pub low: f64,
    /// Greatest.
    pub high: f64,
}

/// `exponential`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// One over the mean.
    pub rate: f64,
}

/// `pareto`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pareto {
    /// Least.
    pub scale: f64,
    /// Exponent of the tail.
    pub shape: f64,
}

/// `lognormal`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lognormal {
    /// Median.
    pub median: f64,
    /// Standard deviation of the logarithm.
    pub sigma: f64,
}

impl Legs {
    /// Whether no message takes longer for it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, components)| components.is_empty())
    }

    /// The delay of one message; none if the leg adds nothing.
    #[must_use]
    pub fn draw(&self, leg: Leg, random: &mut RandomStream) -> Option<Duration> {
        let components = match leg {
            Leg::Write => &self.write,
            Leg::Ack => &self.ack,
            Leg::Read => &self.read,
            Leg::Response => &self.response,
        };
        let sum: f64 = components.iter().map(|component| component.weight).sum();
        let mut chosen = random.random_range(0.0..1.0) * sum;
        let component = components.iter().find(|component| {
            chosen -= component.weight;
            chosen < 0.0
        });
        let ms = component.or(components.last())?.draw_ms(random).clamp(0.0, DELAY_MAX_MS);
        Some(Duration::from_secs_f64(ms / 1e3))
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        for (leg, components) in self.all() {
            for component in components {
                component.validate(leg)?;
            }
        }
        Ok(())
    }

    fn all(&self) -> [(&'static str, &[Component]); 4] {
        [
            ("network.legs.write", &self.write),
            ("network.legs.ack", &self.ack),
            ("network.legs.read", &self.read),
            ("network.legs.response", &self.response),
        ]
    }
}

impl Component {
    fn validate(&self, leg: &'static str) -> Result<(), ConfigError> {
        let above_0 = |value: f64| value > 0.0 && value.is_finite();
        if !above_0(self.weight) {
            return bad(leg, &format!("weight = {}", self.weight), "give every part a weight above 0");
        }
        let shapes = [
            self.constant.map(|ms| ms >= 0.0 && ms.is_finite()),
            self.uniform.map(|u| u.low >= 0.0 && u.low < u.high && u.high.is_finite()),
            self.exponential.map(|e| above_0(e.rate)),
            self.pareto.map(|p| above_0(p.scale) && above_0(p.shape)),
            self.lognormal.map(|l| above_0(l.median) && l.sigma >= 0.0 && l.sigma.is_finite()),
        ];
        match shapes.iter().flatten().collect::<Vec<_>>().as_slice() {
            [true] => Ok(()),
            [_] => bad(
                leg,
                &format!("{self:?}"),
                "use milliseconds: none below 0, low below high, and rate, scale, shape and median above 0",
            ),
            _ => bad(
                leg,
                &format!("weight = {}", self.weight),
                "give every part one of constant, uniform, exponential, pareto and lognormal",
            ),
        }
    }

    /// By inversion; the lognormal after Box and Muller, "A Note on the Generation of Random Normal
    /// Deviates" (1958).
    fn draw_ms(&self, random: &mut RandomStream) -> f64 {
        // Above 0, so that there is a logarithm; 1 is in.
        let mut unit = || 1.0 - random.random_range(0.0..1.0);
        if let Some(ms) = self.constant {
            ms
        } else if let Some(Uniform { low, high }) = self.uniform {
            low + (high - low) * unit()
        } else if let Some(Exponential { rate }) = self.exponential {
            -f64::ln(unit()) / rate
        } else if let Some(Pareto { scale, shape }) = self.pareto {
            scale * f64::powf(unit(), -1.0 / shape)
        } else if let Some(Lognormal { median, sigma }) = self.lognormal {
            let normal = f64::sqrt(-2.0 * f64::ln(unit())) * f64::cos(std::f64::consts::TAU * unit());
            median * f64::exp(sigma * normal)
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_env::Random;

    use super::*;

    /// The example of the scenario format.
    const EXAMPLE: &str = r"
write = [{ weight = 0.9122, pareto = { scale = 0.235, shape = 10.0 } }, { weight = 0.0878, exponential = { rate = 1.66 } }]
ack = [{ weight = 1.0, constant = 0.5 }]
read = [{ weight = 1.0, uniform = { low = 0.1, high = 0.9 } }]
response = [{ weight = 1.0, lognormal = { median = 0.4, sigma = 0.3 } }]
";

    /// Mean in milliseconds of many draws, and how many lie below the value given.
    fn sample(legs: &Legs, leg: Leg, below_ms: f64) -> (f64, f64) {
        let mut random = Random::from_seed(1).stream("legs");
        let drawn: Vec<f64> =
            (0..40_000).map(|_| legs.draw(leg, &mut random).unwrap().as_secs_f64() * 1e3).collect();
        let below = drawn.iter().filter(|ms| **ms < below_ms).count();
        (drawn.iter().sum::<f64>() / drawn.len() as f64, below as f64 / drawn.len() as f64)
    }

    #[test]
    fn delays_are_distributed_as_named() {
        let legs: Legs = toml::from_str(EXAMPLE).unwrap();
        legs.validate().unwrap();
        // Pareto's mean is scale * shape / (shape - 1), the exponential's 1 / rate.
        let mixture = 0.9122 * 0.235 * 10.0 / 9.0 + 0.0878 / 1.66;
        for (leg, mean, below, part) in [
            (Leg::Write, mixture, 0.235, 0.0878 * (1.0 - f64::exp(-1.66 * 0.235))),
            (Leg::Ack, 0.5, 0.5, 0.0),
            (Leg::Read, 0.5, 0.3, 0.25),
            (Leg::Response, 0.4 * f64::exp(0.045), 0.4, 0.5),
        ] {
            let (got_mean, got_part) = sample(&legs, leg, below);
            assert!((got_mean / mean - 1.0).abs() < 0.03, "{leg}: mean {got_mean}, not {mean}");
            assert!((got_part - part).abs() < 0.01, "{leg}: {got_part} below {below}, not {part}");
        }
        assert_eq!(Legs::default().draw(Leg::Write, &mut Random::from_seed(1).stream("legs")), None);
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        for (text, word) in [
            ("write = [{ weight = 0.0, constant = 1.0 }]", "weight"),
            ("ack = [{ weight = 1.0 }]", "one of constant"),
            ("ack = [{ weight = 1.0, constant = 1.0, exponential = { rate = 1.0 } }]", "one of constant"),
            ("read = [{ weight = 1.0, uniform = { low = 2.0, high = 1.0 } }]", "low below high"),
            ("response = [{ weight = 1.0, constant = -1.0 }]", "none below 0"),
        ] {
            let error = toml::from_str::<Legs>(text).unwrap().validate().unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("network.legs"), "{text}: {error}");
        }
        assert!(toml::from_str::<Legs>("write = [{ weight = 1.0, normal = 1.0 }]").is_err());
    }
}
