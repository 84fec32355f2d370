//! The same run again: in the simulated world compared byte for byte, with real processes by what
//! was done and what came of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quorate_loadgen::rundir::Revision;

use super::directory::{DirectoryError, faults_text, history_text, verdict_text};
use super::recorded::{Recorded, read};
use super::{Run, RunError, run_traced};
use crate::fault::{FaultEvent, Phase};
use crate::scenario::ScenarioError;
use crate::trace::{Parting, TRACE_FILE, Trace};
use crate::world::{Seams, World};

/// How a replay compares with what was recorded.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The run as it went this time.
    pub run: Run,
    /// Files that differ, each with where. With real processes only the faults count, without their
    /// times: the rest is never the same twice.
    pub differences: Vec<String>,
    /// Where this run parted from the recorded one, if both were traced and they did.
    pub parting: Option<Parting>,
    /// The revision that recorded it, if it was known.
    pub recorded_revision: Option<Revision>,
    /// Whether that is another than this one. Then differences may be the code's.
    pub other_revision: bool,
}

impl Replay {
    /// Whether everything is the same that can be.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.differences.is_empty() && self.parting.is_none()
    }
}

/// A run that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Its directory cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its scenario is not valid.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// It does not play to its end.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Plays the run of `dir` again in that of `worlds` in which it was played. `revision` is that of this
/// code. A run that was traced is traced again and compared; with `trace` one that was not gets its trace
/// now, for the next replay to compare with.
///
/// # Errors
/// If the directory is not that of a run in one of these worlds, or the run does not play to its end.
pub fn replay(
    worlds: &[&dyn World],
    dir: &Path,
    revision: Option<&Revision>,
    trace: bool,
) -> Result<Replay, ReplayError> {
    let recorded = Recorded::read(dir)?;
    let unknown = || DirectoryError::Content {
        file: dir.join("run.json"),
        why: format!("was played in world `{}`, which is not known here", recorded.world),
    };
    let world = *worlds.iter().find(|world| world.name() == recorded.world).ok_or_else(unknown)?;
    let before = trace_of(dir)?;
    let (scenario, profile, seed) = (&recorded.scenario, &recorded.profile, recorded.seed);
    let again = run_traced(world, scenario, profile, seed, &Seams::default(), trace || before.is_some())?;
    let parting = before.as_ref().zip(again.played.trace.as_ref()).and_then(|(then, now)| then.parting(now));
    if let (None, Some(now)) = (&before, &again.played.trace) {
        let file = dir.join(TRACE_FILE);
        fs::write(&file, now.text()).map_err(|source| DirectoryError::Io { file, source })?;
    }
    let differences =
        if world.is_deterministic() { differing_bytes(dir, &again)? } else { differing_faults(dir, &again)? };
    let other_revision = recorded.revision.as_ref() != revision;
    Ok(Replay { run: again, differences, parting, recorded_revision: recorded.revision, other_revision })
}

/// The trace of the recorded run, if it was traced.
fn trace_of(dir: &Path) -> Result<Option<Trace>, DirectoryError> {
    let file = dir.join(TRACE_FILE);
    if !file.exists() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    Trace::from_text(&text).map(Some).map_err(|why| DirectoryError::Content { file, why })
}

/// Where the files that say what happened differ.
fn differing_bytes(dir: &Path, again: &Run) -> Result<Vec<String>, DirectoryError> {
    let recorded = dir.join("history.jsonl.zst");
    let history = zstd::stream::decode_all(read(&recorded)?.as_slice())
        .map_err(|source| DirectoryError::Io { file: recorded.clone(), source })?;
    let mut differences = Vec::new();
    let mut compare = |file: PathBuf, before: &[u8], now: &[u8]| {
        if let Some(line) = first_difference(before, now) {
            differences.push(format!("{}: differs from line {line} on", file.display()));
        }
    };
    compare(recorded, &history, &history_text(&again.played.operations));
    let faults = dir.join("faults.jsonl");
    compare(faults.clone(), &read(&faults)?, faults_text(&again.played.events).as_bytes());
    let verdict = dir.join("verdict.json");
    compare(verdict.clone(), &read(&verdict)?, verdict_text(again).as_bytes());
    Ok(differences)
}

/// Which faults differ in what was done to whom.
fn differing_faults(dir: &Path, again: &Run) -> Result<Vec<String>, DirectoryError> {
    let file = dir.join("faults.jsonl");
    let text = read(&file)?;
    let mut before = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let event: FaultEvent = serde_json::from_slice(line)
            .map_err(|e| DirectoryError::Content { file: file.clone(), why: e.to_string() })?;
        before.push(event);
    }
    let deeds = |events: &[FaultEvent]| -> BTreeSet<_> {
        events
            .iter()
            .map(|e| (e.fault, e.event == Phase::End, e.kind.to_string(), e.targets.clone()))
            .collect()
    };
    let (before, now) = (deeds(&before), deeds(&again.played.events));
    let told = |only: &str, (fault, ended, kind, targets): &(usize, bool, String, Vec<String>)| {
        let phase = if *ended { "ended" } else { "began" };
        format!("{}: fault {fault} ({kind} of {}) {phase} only {only}", file.display(), targets.join(", "))
    };
    let gone = before.difference(&now).map(|deed| told("then", deed));
    let new = now.difference(&before).map(|deed| told("now", deed));
    Ok(gone.chain(new).collect())
}

/// The first line, from 1, in which two texts differ.
fn first_difference(before: &[u8], now: &[u8]) -> Option<usize> {
    if before == now {
        return None;
    }
    let same =
        before.split(|b| *b == b'\n').zip(now.split(|b| *b == b'\n')).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_by_line() {
        assert_eq!(first_difference(b"a\nb\n", b"a\nb\n"), None);
        assert_eq!(first_difference(b"a\nb\n", b"a\nc\n"), Some(2));
        assert_eq!(first_difference(b"a\n", b"a\nb\n"), Some(2));
    }
}
