//! The workloads that have a name.
//!
//! YCSB's (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010, table 2): its
//! operations on one field of a record are operations on a whole value here, since the store knows no
//! fields: `update` of YCSB is a put with the newest context seen, its read-modify-write is our update, a
//! record of ten fields of 100 bytes is a value of 1,000. Its zipfian keys are exact here (YCSB's
//! scrambling folds keys onto each other), and over the keys that there are.

use quorate_env::words::nearest;

use super::Mix;
use crate::plan::{DistributionName, PlanSettings};
use crate::sizes::ValueSizes;

/// The names.
pub const WORKLOADS: [&str; 6] = ["mixed", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-f"];

/// A workload that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownWorkload {
    /// YCSB E.
    #[error(
        "the workload `ycsb-e` scans ranges of keys in their order, which this store cannot do: it places keys by \
         their hash; choose ycsb-a, b, c, d or f"
    )]
    Scans,
    /// Something else.
    #[error("there is no workload `{name}`{hint}; known: {}, or a FILE.toml", WORKLOADS.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest that is known.
        hint: String,
    },
}

/// The settings of a workload by its name.
///
/// # Errors
/// If there is none, with the nearest.
pub fn named(name: &str) -> Result<PlanSettings, UnknownWorkload> {
    let half = Mix::half_and_half();
    let (mix, distribution) = match name {
        "mixed" => return Ok(PlanSettings { workload: Some(name.to_owned()), ..PlanSettings::default() }),
        "ycsb-a" => (half, DistributionName::Zipfian),
        "ycsb-b" => (Mix { get: 0.95, put: 0.05, ..Mix::default() }, DistributionName::Zipfian),
        "ycsb-c" => (Mix { get: 1.0, ..Mix::default() }, DistributionName::Zipfian),
        "ycsb-d" => (Mix { get: 0.95, insert: 0.05, ..Mix::default() }, DistributionName::Latest),
        "ycsb-e" => return Err(UnknownWorkload::Scans),
        "ycsb-f" => (Mix { get: 0.5, update: 0.5, ..Mix::default() }, DistributionName::Zipfian),
        other => {
            let hint = nearest(other, &WORKLOADS).map(|near| format!("; did you mean `{near}`?"));
            return Err(UnknownWorkload::Unknown { name: other.to_owned(), hint: hint.unwrap_or_default() });
        }
    };
    Ok(PlanSettings {
        workload: Some(name.to_owned()),
        mix: Some(mix),
        distribution: Some(distribution),
        value_bytes: Some(ValueSizes::Fixed { bytes: 1000 }),
        ..PlanSettings::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::keys::KeyDistribution;

    #[test]
    fn every_name_is_a_plan_and_ycsb_is_as_published() {
        for name in WORKLOADS {
            assert_eq!(named(name).unwrap().resolve().unwrap().workload, name);
        }
        let plan = |name| named(name).unwrap().resolve().unwrap();
        let d = plan("ycsb-d");
        assert_eq!(
            (d.mix.get, d.mix.insert, d.distribution),
            (0.95, 0.05, KeyDistribution::Latest { theta: 0.99 })
        );
        let f = plan("ycsb-f");
        assert_eq!((f.mix.get, f.mix.update, f.mix.put), (0.5, 0.5, 0.0));
        assert_eq!(plan("ycsb-b").distribution, KeyDistribution::Zipfian { theta: 0.99 });
        assert_eq!(plan("ycsb-c").mix.weights(), [1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn scans_are_refused_with_the_reason_and_slips_are_understood() {
        assert!(named("ycsb-e").unwrap_err().to_string().contains("scans ranges"));
        let slip = named("ycbs-a").unwrap_err().to_string();
        assert!(slip.contains("did you mean `ycsb-a`?") && slip.contains("FILE.toml"), "{slip}");
    }
}
