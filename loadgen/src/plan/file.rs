//! A workload from a TOML file.
//!
//! ```toml
//! workload = "ycsb-b"          # start from a named one; everything below is optional too
//! mix = { get = 0.7, put = 0.2, update = 0.05, insert = 0.04, delete = 0.01 }
//! distribution = "hotspot"     # uniform, zipfian, latest, hotspot, exponential, sequential
//! hot_keys = 0.1               # of hotspot and exponential; `theta` of zipfian and latest
//! hot_operations = 0.9
//! keys = 100_000
//! value_bytes = "lognormal:1KiB,0.5"   # or a number, "uniform:100..4KiB", "file:sizes.txt"
//! rate = "ramp:1k..5k"         # or a number; `clients = 32` makes a closed loop
//! arrivals = "poisson"
//! # trace = "arrivals.txt"     # instead of a rate; files are looked for beside this one
//! connections = 64
//! http = 2                     # or 1, of nodes of a Quorate store
//! streams = 8                  # operations at once on each connection, in HTTP/2
//! warmup = "5s"
//! duration = "30s"
//! deadline = "5s"
//! ```

use std::fs;
use std::path::Path;

use quorate_env::words::{nearest, parse_duration};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{DistributionName, Http, PlanSettings};
use crate::arrivals::{ArrivalKind, RateSetting, Trace};
use crate::sizes::ValueSizes;
use crate::workload::{Mix, OpKind, named};

/// The settings that a file may hold.
const KEYS: [&str; 18] = [
    "workload",
    "mix",
    "distribution",
    "theta",
    "hot_keys",
    "hot_operations",
    "keys",
    "value_bytes",
    "rate",
    "arrivals",
    "trace",
    "clients",
    "connections",
    "http",
    "streams",
    "warmup",
    "duration",
    "deadline",
];

/// A workload file that cannot be used: the file, and what is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct WorkloadFileError {
    file: String,
    why: String,
}

/// The file, as it is written.
#[derive(Debug, Deserialize)]
struct WorkloadFile {
    workload: Option<String>,
    mix: Option<Mix>,
    distribution: Option<DistributionName>,
    theta: Option<f64>,
    hot_keys: Option<f64>,
    hot_operations: Option<f64>,
    keys: Option<u64>,
    value_bytes: Option<Size>,
    rate: Option<RateSetting>,
    arrivals: Option<ArrivalKind>,
    trace: Option<String>,
    clients: Option<usize>,
    connections: Option<usize>,
    http: Option<Http>,
    streams: Option<usize>,
    #[serde(default, deserialize_with = "seconds")]
    warmup: Option<f64>,
    #[serde(default, deserialize_with = "seconds")]
    duration: Option<f64>,
    #[serde(default, deserialize_with = "seconds")]
    deadline: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a size such as 1024, \"1KiB\" or \"uniform:100..4KiB\"")]
enum Size {
    Bytes(usize),
    Words(String),
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(|duration| Some(duration.as_secs_f64())).map_err(D::Error::custom)
}

/// Reads the settings of a workload from a file.
///
/// # Errors
/// With the file, the line or setting, and what was expected; for a setting that nobody knows, the
/// nearest that is known.
pub fn read_workload(path: &Path) -> Result<PlanSettings, WorkloadFileError> {
    let file = path.display().to_string();
    let fail = |why: String| WorkloadFileError { file: file.clone(), why };
    let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let name = path.file_stem().map_or_else(|| file.clone(), |name| name.to_string_lossy().into_owned());
    parse(&text, &name, base).map_err(fail)
}

fn parse(text: &str, name: &str, base: &Path) -> Result<PlanSettings, String> {
    let said = |error: toml::de::Error| error.to_string().trim_end().to_owned();
    let table: toml::Table = toml::from_str(text).map_err(said)?;
    refuse_unknown(&table, "setting", &KEYS)?;
    if let Some(toml::Value::Table(mix)) = table.get("mix") {
        refuse_unknown(mix, "operation in mix", &OpKind::ALL.map(OpKind::name))?;
    }
    // Once more from the text, because its errors name lines.
    let file: WorkloadFile = toml::from_str(text).map_err(said)?;
    let from = file.workload.as_deref().map(named).transpose().map_err(|error| error.to_string())?;
    let value_bytes = match file.value_bytes {
        None => None,
        Some(Size::Bytes(bytes)) => Some(ValueSizes::Fixed { bytes }),
        Some(Size::Words(text)) => Some(ValueSizes::parse(&text, base)?),
    };
    let trace = file.trace.map(|trace| Trace::read(&base.join(trace))).transpose();
    let settings = PlanSettings {
        workload: Some(name.to_owned()),
        mix: file.mix,
        distribution: file.distribution,
        theta: file.theta,
        hot_keys: file.hot_keys,
        hot_operations: file.hot_operations,
        keys: file.keys,
        value_bytes,
        rate: file.rate,
        arrivals: file.arrivals,
        trace: trace.map_err(|error| error.to_string())?,
        clients: file.clients,
        connections: file.connections,
        http: file.http,
        streams: file.streams,
        warmup_s: file.warmup,
        duration_s: file.duration,
        deadline_s: file.deadline,
        ..PlanSettings::default()
    };
    let settings = settings.or(from.unwrap_or_default());
    // What is wrong with the file alone is better said with its name.
    settings.resolve().map_err(|error| error.to_string())?;
    Ok(settings)
}

fn refuse_unknown(table: &toml::Table, what: &str, known: &[&str]) -> Result<(), String> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(match nearest(key, known) {
            Some(near) => format!("unknown {what} `{key}`; did you mean `{near}`?"),
            None => format!("unknown {what} `{key}`; known: {}", known.join(", ")),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::keys::KeyDistribution;

    fn read(text: &str) -> Result<PlanSettings, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("arrivals.txt"), "0\n1s\n").unwrap();
        fs::write(dir.path().join("sizes.txt"), "100\n1KiB 2\n").unwrap();
        let path = dir.path().join("cart.toml");
        fs::write(&path, text).unwrap();
        read_workload(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_the_documentation_is_a_workload() {
        let example: Vec<&str> = include_str!("file.rs")
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//!"))
            .collect();
        assert!(example.len() > 10);
        let plan = read(&example.join("\n")).unwrap().resolve().unwrap();
        assert_eq!((plan.workload.as_str(), plan.keys), ("cart", 100_000));
        assert_eq!(plan.distribution, KeyDistribution::Hotspot { hot_keys: 0.1, hot_operations: 0.9 });
        assert_eq!(plan.value_bytes, ValueSizes::Lognormal { median: 1024, sigma: 0.5 });
        assert!((plan.mix.delete - 0.01).abs() < 1e-12);
        let listed = example.join("\n");
        assert!(KEYS.iter().all(|key| listed.contains(key)), "every setting is in the example");
    }

    #[test]
    fn files_are_looked_for_beside_it_and_what_is_left_out_comes_from_the_named_one() {
        let text = "workload = \"ycsb-d\"\ntrace = \"arrivals.txt\"\nvalue_bytes = \"file:sizes.txt\"\n";
        let plan = read(text).unwrap().resolve().unwrap();
        assert_eq!((plan.mix.insert, plan.value_bytes.largest()), (0.05, 1024));
        assert_eq!(plan.duration.as_millis(), 1001);
    }

    #[test]
    fn errors_name_the_file_and_the_nearest_known_setting_or_the_line() {
        for (text, part) in [
            ("distrbution = \"uniform\"", "unknown setting `distrbution`; did you mean `distribution`?"),
            ("colour = 1", "known: workload, mix"),
            ("mix = { gets = 1 }", "unknown operation in mix `gets`; did you mean `get`?"),
            ("keys = 5\nrate = \"rmap:1..2\"", "line 2"),
            ("value_bytes = \"1KB\"", "KiB"),
            ("value_bytes = true", "expected a size"),
            ("distribution = \"zipfain\"", "line 1"),
            ("workload = \"ycsb-e\"", "scans"),
            ("duration = \"10\"", "is not a duration"),
            ("trace = \"absent.txt\"", "absent.txt"),
            ("theta = 0.5\ndistribution = \"uniform\"", "theta (0.5) clash"),
            ("streams = 2", "streams (2) and http (1) clash"),
            ("http = 3", "version 1 or 2"),
            ("rate = -5", "rate (-5) must be above 0"),
            ("mix = { get = 1", "line 1"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains("cart.toml: ") && why.contains(part), "{text}: {why}");
        }
        assert!(
            read_workload(Path::new("/absent.toml")).unwrap_err().to_string().starts_with("/absent.toml: ")
        );
    }
}
