//! A run directory, read: what is there, typed as far as it is shown.

mod campaign;
pub mod fault;
mod history;
mod hlog;
mod operations;
mod search;
mod timeseries;
mod truth;
mod verdict;
mod window;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use campaign::{Campaign, CampaignFailure, CampaignRow, CampaignRun, MustShow};
pub use fault::FaultSpan;
pub use hlog::Latencies;
pub use operations::{OperationRow, QUANTILES, operations};
pub use search::{BoundRow, TrialRow};
pub use timeseries::Timeseries;
pub use truth::AllRow;
pub use verdict::{NotJudged, PropertyVerdict, Staleness, Verdict, Violation};
pub use window::WindowRow;

/// A run directory, or a file in it, that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not a run.
    #[error("{}: not a run directory: it holds no run.json", .0.display())]
    NotARun(PathBuf),
    /// A file that refuses.
    #[error("{}: cannot read: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file with something else in it.
    #[error("{}: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct RunData {
    /// Its directory.
    pub dir: PathBuf,
    /// `run.json`.
    pub run: Value,
    /// `latency.hlog`.
    pub latencies: Option<Latencies>,
    /// `timeseries.csv`, or what `history.jsonl.zst` says instead of it.
    pub timeseries: Option<Timeseries>,
    /// `faults.jsonl`.
    pub faults: Vec<FaultSpan>,
    /// `verdict.json`: each with its name, which may be empty.
    pub verdicts: Vec<(String, Verdict)>,
}

impl RunData {
    /// Reads a run directory. Only `run.json` must be there.
    ///
    /// # Errors
    /// With the file that is missing, unreadable or damaged.
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let run = read(dir, "run.json", |text| serde_json::from_str(text).map_err(|e| e.to_string()))?;
        let Some(run) = run else { return Err(ReadError::NotARun(dir.to_owned())) };
        let log = dir.join("latency.hlog");
        let latencies = match fs::read(&log) {
            Ok(bytes) => Some(Latencies::parse(&bytes).map_err(|why| ReadError::Damaged { path: log, why })?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ReadError::File { path: log, source }),
        };
        Ok(Self {
            dir: dir.to_owned(),
            run,
            latencies,
            timeseries: match read(dir, "timeseries.csv", Timeseries::parse)? {
                Some(series) => Some(series),
                None => of_history(dir)?,
            },
            faults: read(dir, "faults.jsonl", fault::parse)?.unwrap_or_default(),
            verdicts: read(dir, "verdict.json", verdict::parse)?.unwrap_or_default(),
        })
    }

    /// A field of `run.json` by its path, such as `["trust", "verdict"]`.
    #[must_use]
    pub fn field(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.run, |value, name| value.get(name)).filter(|value| !value.is_null())
    }

    /// A field as text: words as they are, anything else as JSON.
    #[must_use]
    pub fn text(&self, path: &[&str]) -> Option<String> {
        self.field(path).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// What the run is called: by what was run where a seed makes it again, else by its directory,
    /// which is named after the time.
    #[must_use]
    pub fn name(&self) -> String {
        let [name, profile, seed, kind] =
            ["name", "profile", "seed", "kind"].map(|field| self.text(&[field]));
        if let (Some(name), Some(profile), Some(seed)) = (name, profile, seed) {
            return format!("{name}, {profile}, seed {seed}");
        }
        let directory = self.directory_name();
        kind.map_or_else(|| directory.clone(), |kind| format!("{kind} {directory}"))
    }

    fn directory_name(&self) -> String {
        let path = fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        path.file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    }
}

fn of_history(dir: &Path) -> Result<Option<Timeseries>, ReadError> {
    let path = dir.join("history.jsonl.zst");
    if !path.exists() {
        return Ok(None);
    }
    history::read(&path).map_err(|why| ReadError::Damaged { path, why })
}

/// Reads one file as text and understands it; none if it is not there.
fn read<T>(
    dir: &Path,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ReadError> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).map(Some).map_err(|why| ReadError::Damaged { path, why }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReadError::File { path, source }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_run_is_called_by_what_it_was() {
        let name = |dir: &str, run: &str| {
            let run = serde_json::from_str(run).unwrap();
            RunData { dir: dir.into(), run, ..RunData::default() }.name()
        };
        let chaos = r#"{"kind":"chaos","name":"mixed","profile":"dynamo","seed":5}"#;
        assert_eq!(name("/absent/mixed/dynamo/5", chaos), "mixed, dynamo, seed 5");
        let bench = r#"{"kind":"bench","name":"bench","seed":1}"#;
        assert_eq!(name("/absent/20231114T221320Z-abc1234", bench), "bench 20231114T221320Z-abc1234");
        assert_eq!(name("/absent/a", "{}"), "a");
    }

    #[test]
    fn only_run_json_must_be_there_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RunData::read(dir.path()).unwrap_err().to_string().contains("run.json"));
        fs::write(dir.path().join("run.json"), r#"{"seed":7,"trust":{"verdict":"valid"}}"#).unwrap();
        let run = RunData::read(dir.path()).unwrap();
        assert_eq!(run.text(&["trust", "verdict"]).unwrap(), "valid");
        assert_eq!(run.text(&["seed"]).unwrap(), "7");
        assert!(run.latencies.is_none() && run.verdicts.is_empty());
        fs::write(dir.path().join("faults.jsonl"), "{").unwrap();
        let error = RunData::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("faults.jsonl: line 1"), "{error}");
    }
}
