//! How large the values are that operations write: each a function of (seed, index).
//!
//! Not here: what is in a value ([`crate::value`]).

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use quorate_env::words::parse_bytes;
use serde::{Serialize, Serializer};

use crate::draws::{Draws, Purpose};

/// Room for the name of any value that a run of plausible length writes.
pub const VALUE_BYTES_MIN: usize = 16;
/// The largest value that a plan may ask for.
pub const VALUE_BYTES_MAX: usize = 1 << 30;
/// A lognormal size is cut off this many sigmas above its median: one in 3.5 million is.
const SIGMAS_MAX: f64 = 5.0;

/// The sizes of values, in bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueSizes {
    /// All the same.
    Fixed {
        /// The size.
        bytes: usize,
    },
    /// Each size from one to the other, both included, equally likely.
    Uniform {
        /// The smallest.
        min: usize,
        /// The largest.
        max: usize,
    },
    /// Mostly small, some very large, as files and messages are.
    Lognormal {
        /// Half of all values are larger.
        median: usize,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// From a file.
    Weighted(WeightedSizes),
}

/// Sizes with a weight each.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedSizes {
    name: String,
    /// Sizes in the order of the file, each with the sum of weights up to it.
    up_to: Arc<[(usize, f64)]>,
}

impl From<usize> for ValueSizes {
    fn from(bytes: usize) -> Self {
        Self::Fixed { bytes }
    }
}

impl ValueSizes {
    /// Reads `1KiB`, `uniform:100..4KiB`, `lognormal:1KiB,0.5` (median and sigma) or `file:PATH`, a path
    /// that does not begin with a slash being relative to `base`.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let bytes = |text: &str| parse_bytes(text).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let Some((kind, rest)) = text.split_once(':') else { return Ok(Self::Fixed { bytes: bytes(text)? }) };
        let form = |example: &str| format!("`{text}` is not of the form {example}");
        match kind.trim() {
            "uniform" => {
                let (min, max) = rest.split_once("..").ok_or_else(|| form("uniform:100..4KiB"))?;
                Ok(Self::Uniform { min: bytes(min)?, max: bytes(max)? })
            }
            "lognormal" => {
                let (median, sigma) = rest.split_once(',').ok_or_else(|| form("lognormal:1KiB,0.5"))?;
                let sigma = sigma.trim().parse().map_err(|_| form("lognormal:1KiB,0.5"))?;
                Ok(Self::Lognormal { median: bytes(median)?, sigma })
            }
            "file" => WeightedSizes::read(&base.join(rest.trim())).map(Self::Weighted),
            other => Err(format!(
                "`{other}` is not a way to draw sizes; write a size such as 1KiB, uniform:100..4KiB, \
                 lognormal:1KiB,0.5 or file:PATH"
            )),
        }
    }

    /// What should be otherwise, if anything.
    pub(crate) fn objection(&self) -> Option<&'static str> {
        let fits = |bytes: usize| (VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&bytes);
        match self {
            Self::Uniform { min, max } if min > max => Some("from a smaller to a larger size"),
            Self::Lognormal { sigma, .. } if !(0.0..=3.0).contains(sigma) => Some("of a sigma from 0 to 3"),
            Self::Lognormal { median, .. } if !fits(*median) => Some(ALLOWED),
            // What it draws below the smallest is raised to it.
            Self::Lognormal { .. } if !fits(self.largest()) => Some(ALLOWED),
            Self::Fixed { .. } | Self::Uniform { .. } | Self::Weighted(_)
                if !(fits(self.smallest()) && fits(self.largest())) =>
            {
                Some(ALLOWED)
            }
            _ => None,
        }
    }

    /// The size of what operation `index` writes.
    #[must_use]
    pub fn of_operation(&self, seed: u64, index: u64) -> usize {
        self.draw(|| Draws::new(seed, Purpose::Sizes, index))
    }

    /// The size of what key number `key` is loaded with.
    #[must_use]
    pub fn of_loaded(&self, seed: u64, key: u64) -> usize {
        self.draw(|| Draws::new(seed, Purpose::LoadedSizes, key))
    }

    fn draw(&self, draws: impl FnOnce() -> Draws) -> usize {
        match self {
            Self::Fixed { bytes } => *bytes,
            Self::Uniform { min, max } => min + draws().below((max - min) as u64 + 1) as usize,
            Self::Lognormal { median, sigma } => {
                let bytes = *median as f64 * (sigma * draws().normal()).exp();
                (bytes.round() as usize).clamp(VALUE_BYTES_MIN, self.largest())
            }
            Self::Weighted(sizes) => sizes.pick(draws().unit()),
        }
    }

    /// The smallest size it ever gives.
    #[must_use]
    pub fn smallest(&self) -> usize {
        match self {
            Self::Fixed { bytes } => *bytes,
            Self::Uniform { min, .. } => *min,
            Self::Lognormal { .. } => VALUE_BYTES_MIN,
            Self::Weighted(sizes) => sizes.up_to.iter().map(|(bytes, _)| *bytes).min().unwrap_or_default(),
        }
    }

    /// The largest size it ever gives.
    #[must_use]
    pub fn largest(&self) -> usize {
        match self {
            Self::Fixed { bytes } => *bytes,
            Self::Uniform { max, .. } => *max,
            Self::Lognormal { median, sigma } => (*median as f64 * (sigma * SIGMAS_MAX).exp()) as usize,
            Self::Weighted(sizes) => sizes.up_to.iter().map(|(bytes, _)| *bytes).max().unwrap_or_default(),
        }
    }
}

const ALLOWED: &str = "from 16 (a value holds its own unique name) to 2^30";

impl WeightedSizes {
    /// Reads a file of sizes: a line each, `BYTES [WEIGHT]`, such as `4KiB 2.5`; without a weight 1. Text
    /// after a `#` and empty lines are passed over.
    ///
    /// # Errors
    /// With file, line and what was expected there.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        Self::parse(name, &text)
    }

    fn parse(name: String, text: &str) -> Result<Self, String> {
        let mut sum = 0.0;
        let mut up_to = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let say = |why: String| format!("{name}, line {}: {why}", number + 1);
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(bytes) = words.next() else { continue };
            let bytes = parse_bytes(bytes).map_err(say)?;
            let bytes =
                usize::try_from(bytes).ok().filter(|b| (VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(b));
            let bytes = bytes.ok_or_else(|| say(format!("expected a size {ALLOWED}")))?;
            let weight = match words.next() {
                None => 1.0,
                Some(word) => word
                    .parse::<f64>()
                    .ok()
                    .filter(|weight| weight.is_finite() && *weight >= 0.0)
                    .ok_or_else(|| {
                        say(format!("`{word}` is not a weight; expected a number of at least 0"))
                    })?,
            };
            if let Some(more) = words.next() {
                return Err(say(format!("`{more}` is too much; expected a size (4KiB) and a weight")));
            }
            sum += weight;
            if weight > 0.0 {
                up_to.push((bytes, sum));
            }
        }
        if !sum.is_finite() {
            return Err(format!("{name}: the weights add up to more than a number holds; give smaller ones"));
        }
        if up_to.is_empty() {
            return Err(format!("{name}: no sizes; expected a line for each, such as `4KiB 2.5`"));
        }
        Ok(Self { name, up_to: up_to.into() })
    }

    fn pick(&self, unit: f64) -> usize {
        let last = self.up_to.len() - 1;
        let wanted = unit * self.up_to[last].1;
        // Rounding may leave a crumb beyond the end.
        self.up_to[self.up_to.partition_point(|(_, sum)| *sum <= wanted).min(last)].0
    }
}

/// As [`ValueSizes::parse`] reads it.
impl fmt::Display for ValueSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { bytes } => write!(f, "{bytes}"),
            Self::Uniform { min, max } => write!(f, "uniform:{min}..{max}"),
            Self::Lognormal { median, sigma } => write!(f, "lognormal:{median},{sigma}"),
            Self::Weighted(sizes) => write!(f, "file:{}", sizes.name),
        }
    }
}

/// A number where it is one, else as people write it.
impl Serialize for ValueSizes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed { bytes } => serializer.serialize_u64(*bytes as u64),
            drawn => serializer.collect_str(drawn),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::fit;

    const DRAWS: u64 = 200_000;

    fn parse(text: &str) -> Result<ValueSizes, String> {
        ValueSizes::parse(text, Path::new("/nowhere"))
    }

    fn drawn(sizes: &ValueSizes) -> Vec<usize> {
        (0..DRAWS).map(|index| sizes.of_operation(3, index)).collect()
    }

    #[test]
    fn sizes_read_as_people_write_them_and_read_back() {
        for (text, sizes) in [
            ("1KiB", ValueSizes::Fixed { bytes: 1024 }),
            ("uniform:100..4 KiB", ValueSizes::Uniform { min: 100, max: 4096 }),
            ("lognormal:1KiB,0.5", ValueSizes::Lognormal { median: 1024, sigma: 0.5 }),
        ] {
            assert_eq!(parse(text).unwrap(), sizes);
            assert_eq!(parse(&sizes.to_string()).unwrap(), sizes);
        }
        for (text, part) in [
            ("1KB", "KiB"),
            ("uniform:5", "uniform:100..4KiB"),
            ("lognormal:1KiB", "lognormal:1KiB,0.5"),
            ("gamma:1", "`gamma` is not a way"),
            ("file:sizes.txt", "/nowhere/sizes.txt: "),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn impossible_sizes_are_objected_to() {
        for text in
            ["3", "uniform:1..100", "uniform:200..100", "lognormal:1KiB,4", "lognormal:512MiB,1", "2GiB"]
        {
            assert!(parse(text).unwrap().objection().is_some(), "{text}");
        }
        for text in ["16", "uniform:16..16", "lognormal:16,0", "lognormal:100KiB,1.5"] {
            assert_eq!(parse(text).unwrap().objection(), None, "{text}");
        }
    }

    #[test]
    fn uniform_sizes_are_all_as_likely() {
        let mut counts = vec![0; 101];
        drawn(&ValueSizes::Uniform { min: 100, max: 200 })
            .into_iter()
            .for_each(|size| counts[size - 100] += 1);
        let fit = fit::chi_square(&counts, &[1.0 / 101.0; 101]);
        assert!(fit.p > 0.01, "{fit:?}");
    }

    #[test]
    fn lognormal_sizes_have_their_median_and_spread() {
        let sizes = ValueSizes::Lognormal { median: 1000, sigma: 0.5 };
        let drawn = drawn(&sizes);
        let share = |below: f64| drawn.iter().filter(|s| (**s as f64) < below).count() as f64 / DRAWS as f64;
        // The normal distribution at -1, 0, 1 and 2 sigmas; a share strays by half a permille.
        for (sigmas, expected) in [(-1.0, 0.158_655), (0.0, 0.5), (1.0, 0.841_345), (2.0, 0.977_25)] {
            let at = 1000.0 * (0.5_f64 * sigmas).exp();
            assert!((share(at) - expected).abs() < 0.005, "{sigmas}: {}", share(at));
        }
        assert!(drawn.iter().all(|size| (sizes.smallest()..=sizes.largest()).contains(size)));
    }

    #[test]
    fn sizes_from_a_file_come_by_their_weight() {
        let text = "# bytes weight\n100 1\n1KiB 3 # most\n\n4KiB 0\n64KiB\n";
        let sizes = ValueSizes::Weighted(WeightedSizes::parse("s".to_owned(), text).unwrap());
        let mut counts = [0; 3];
        for size in drawn(&sizes) {
            counts[[100, 1024, 65_536].iter().position(|known| *known == size).unwrap()] += 1;
        }
        let fit = fit::chi_square(&counts, &[0.2, 0.6, 0.2]);
        assert!(fit.p > 0.01, "{fit:?}");
        assert_eq!((sizes.smallest(), sizes.largest()), (100, 65_536));
    }

    #[test]
    fn a_file_of_sizes_with_errors_is_told_with_its_line() {
        for (text, part) in [
            ("100 1\nbig\n", "s, line 2: `big` is not a size"),
            ("3\n", "s, line 1: expected a size from 16"),
            ("100 -1\n", "`-1` is not a weight"),
            ("100 1 1\n", "`1` is too much"),
            ("# none\n100 0\n", "s: no sizes"),
            ("100 1e308\n200 1e308\n", "s: the weights add up"),
        ] {
            let why = WeightedSizes::parse("s".to_owned(), text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn a_size_depends_on_seed_and_index_alone() {
        let sizes = ValueSizes::Uniform { min: 16, max: 1 << 20 };
        assert_eq!(sizes.of_operation(1, 9), sizes.of_operation(1, 9));
        assert_ne!(sizes.of_operation(1, 9), sizes.of_operation(2, 9));
        assert_ne!(sizes.of_operation(1, 9), sizes.of_loaded(1, 9));
    }
}
