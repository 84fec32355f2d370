//! The directory that answers for a run alone: what was run, where, and what came of it.
//!
//! Files: `run.json` ([`RunRecord`]), `latency.hlog`, `timeseries.csv`, `faults.jsonl`
//! ([`FaultRecord`]); others add histories, verdicts, logs and the report. JSON Schemas are in
//! `schemas/`.
//!
//! Not here: what the figures mean, or what `history.jsonl.zst` holds.

mod faults;
mod hlog;
mod merge;
mod record;
mod timeseries;
mod utc;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use faults::{FaultEvent, FaultRecord, write_faults};
pub use merge::{MergeError, Merged, merge};
pub use record::{LoadRecord, Revision, RunRecord, SCHEMA_VERSION};
pub use utc::{utc_compact, utc_rfc3339};
pub use writer::{IntervalFiles, IntervalsLost};

/// The JSON Schema of what `run.json` says of every kind of run, of chaos too.
pub const RUN_HEAD_SCHEMA: &str = include_str!("../../schemas/run-head.schema.json");
/// The JSON Schema of `run.json` of a run that put load on a store.
pub const RUN_SCHEMA: &str = include_str!("../../schemas/run.schema.json");
/// The JSON Schema of one line of `faults.jsonl`.
pub const FAULT_SCHEMA: &str = include_str!("../../schemas/fault.schema.json");

/// A run directory that exists and was empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDirectory {
    path: PathBuf,
}

/// A run directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirectoryError {
    /// It holds something, which a run must not mix with.
    #[error("{} is not empty: give another directory, or remove it first", .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// It is a file, say.
    #[error("{} is not a directory", .path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be made, read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl RunDirectory {
    /// Uses `path`, which must be absent or an empty directory.
    ///
    /// # Errors
    /// If it is neither, or cannot be made.
    pub fn at(path: &Path) -> Result<Self, RunDirectoryError> {
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(RunDirectoryError::NotEmpty { path: path.to_owned() });
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path).map_err(|source| failed(path, source))?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                return Err(RunDirectoryError::NotADirectory { path: path.to_owned() });
            }
            Err(source) => return Err(failed(path, source)),
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Makes `<results>/<name>/<UTC time>-<revision>/` and points `<results>/latest` at it.
    /// `wall_ns` is the time, in nanoseconds since the Unix epoch; without a `revision` it is
    /// called `nogit`. Two runs of one second get different directories.
    ///
    /// # Errors
    /// If it cannot be made. That `latest` could not be moved is not an error: it is a
    /// convenience, and not every file system has symbolic links.
    pub fn under(
        results: &Path,
        name: &str,
        wall_ns: u64,
        revision: Option<&str>,
    ) -> Result<Self, RunDirectoryError> {
        let stem = format!("{}-{}", utc_compact(wall_ns), revision.unwrap_or("nogit"));
        let parent = results.join(name);
        fs::create_dir_all(&parent).map_err(|source| failed(&parent, source))?;
        for attempt in 1.. {
            let leaf = if attempt == 1 { stem.clone() } else { format!("{stem}-{attempt}") };
            let path = parent.join(&leaf);
            match fs::create_dir(&path) {
                Ok(()) => {
                    point_latest(results, &Path::new(name).join(&leaf));
                    return Ok(Self { path });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(failed(&path, source)),
            }
        }
        unreachable!("some number is free")
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of it is.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a whole file of it. What was written of one that does not fit is removed: half of it
    /// would look damaged, and take room that another file could have.
    ///
    /// # Errors
    /// If that fails.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirectoryError> {
        let path = self.file(name);
        fs::write(&path, bytes).map_err(|source| {
            let _ = fs::remove_file(&path);
            failed(&path, source)
        })
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// If that fails.
    pub fn write_record(&self, record: &RunRecord) -> Result<(), RunDirectoryError> {
        self.write("run.json", record.to_json().as_bytes())
    }

    /// Writes `faults.jsonl`.
    ///
    /// # Errors
    /// If that fails.
    pub fn write_faults(&self, faults: &[FaultRecord]) -> Result<(), RunDirectoryError> {
        let mut bytes = Vec::new();
        write_faults(faults, &mut bytes).map_err(|source| failed(&self.file("faults.jsonl"), source))?;
        self.write("faults.jsonl", &bytes)
    }

    /// Opens `latency.hlog` and `timeseries.csv`, to be filled while the run lasts.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn interval_files(&self, started_wall_ns: u64) -> Result<IntervalFiles, RunDirectoryError> {
        IntervalFiles::create(&self.path, started_wall_ns).map_err(|source| failed(&self.path, source))
    }
}

fn failed(path: &Path, source: io::Error) -> RunDirectoryError {
    RunDirectoryError::Io { path: path.to_owned(), source }
}

/// Moves the link in one step, so that nobody finds it missing.
fn point_latest(results: &Path, target: &Path) {
    #[cfg(unix)]
    {
        let aside = results.join(format!(".latest-{}", std::process::id()));
        let made = std::os::unix::fs::symlink(target, &aside);
        if made.is_ok() && fs::rename(&aside, results.join("latest")).is_err() {
            // Something that is no link is in the way: leave it.
            let _ = fs::remove_file(&aside);
        }
    }
    #[cfg(not(unix))]
    let _ = (results, target);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const NOON_NS: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn directories_are_named_after_time_and_revision_and_latest_is_the_newest() {
        let results = tempfile::tempdir().unwrap();
        let first = RunDirectory::under(results.path(), "bench", NOON_NS, Some("abc1234")).unwrap();
        assert_eq!(first.path(), results.path().join("bench/20231114T221320Z-abc1234"));
        let second = RunDirectory::under(results.path(), "bench", NOON_NS, None).unwrap();
        assert_eq!(second.path(), results.path().join("bench/20231114T221320Z-nogit"));
        let third = RunDirectory::under(results.path(), "bench", NOON_NS, None).unwrap();
        assert_eq!(third.path(), results.path().join("bench/20231114T221320Z-nogit-2"));
        third.write("run.json", b"{}").unwrap();
        assert_eq!(fs::read(results.path().join("latest/run.json")).unwrap(), b"{}");
    }

    #[test]
    fn a_given_directory_must_be_empty_or_absent() {
        let parent = tempfile::tempdir().unwrap();
        let absent = parent.path().join("a/b");
        let made = RunDirectory::at(&absent).unwrap();
        RunDirectory::at(&absent).unwrap();
        made.write("file", b"").unwrap();
        let message = RunDirectory::at(&absent).unwrap_err().to_string();
        assert!(message.contains("a/b is not empty"), "{message}");
        let file = RunDirectory::at(&absent.join("file")).unwrap_err();
        assert!(matches!(file, RunDirectoryError::NotADirectory { .. }), "{file}");
    }
}
