//! A directory of runs: `<scenario>/<profile>/<seed>/`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{ReadError, read};

/// How deep runs lie in a campaign.
const DEPTH_MAX: usize = 4;

/// A campaign: its summary, and the runs that were kept.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Its directory.
    pub dir: PathBuf,
    /// `summary.json`, if it has one.
    pub summary: Option<Value>,
    /// The kept runs, by path.
    pub runs: Vec<CampaignRun>,
}

/// A kept run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignRun {
    /// Its directory, relative to the campaign's.
    pub path: PathBuf,
    /// The verdicts in its `verdict.json`, each with its name.
    pub verdicts: Vec<(String, String)>,
}

/// One scenario with one store, over its seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CampaignRow {
    /// The scenario's name.
    pub scenario: String,
    /// The store's.
    pub profile: String,
    /// Seeds run.
    pub seeds: u64,
    /// Runs in which every promise held.
    pub held: u64,
    /// Runs in which a promise was broken.
    pub violated: u64,
    /// Runs of which something could not be judged.
    pub unknown: u64,
    /// Runs that did not get to their end.
    pub errors: u64,
    /// Operations in all.
    pub operations: u64,
    /// Puts that were owed success.
    pub puts_owed: u64,
    /// Those of them that were denied it.
    pub puts_denied: u64,
    /// What must be shown.
    pub must_show: Vec<MustShow>,
}

/// Something that a scenario must show of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MustShow {
    /// What.
    pub sight: String,
    /// Seeds in which it was seen.
    pub seen: u64,
    /// `shown`, `missing` or `too-few-seeds`.
    pub state: String,
}

impl CampaignRow {
    /// What must be shown, and whether it was.
    #[must_use]
    pub fn must_show_text(&self) -> String {
        let one = |shown: &MustShow| match shown.state.as_str() {
            "shown" => format!("{} in {}", shown.sight, shown.seen),
            "missing" => format!("{} NOT SEEN", shown.sight),
            _ => format!("{} not seen yet", shown.sight),
        };
        self.must_show.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// A run that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CampaignFailure {
    /// The scenario's name.
    pub scenario: String,
    /// The store's.
    pub profile: String,
    /// The seed.
    pub seed: u64,
    /// What went wrong, in a sentence.
    pub says: String,
    /// The command that makes the run again.
    pub reproduce: String,
}

impl Campaign {
    /// The rows of the summary.
    #[must_use]
    pub fn rows(&self) -> Vec<CampaignRow> {
        self.list("rows")
    }

    /// The failures in the summary.
    #[must_use]
    pub fn failures(&self) -> Vec<CampaignFailure> {
        self.list("failures")
    }

    /// A list of the summary. What is not as expected is left out: the file itself has it all.
    fn list<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Vec<T> {
        let list = self.summary.as_ref().and_then(|summary| summary.get(name)).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|value| T::deserialize(value).ok()).collect()
    }

    /// Reads a campaign; none if the directory holds no runs below it.
    ///
    /// # Errors
    /// With the file that is unreadable or damaged.
    pub fn read(dir: &Path) -> Result<Option<Self>, ReadError> {
        let summary =
            read(dir, "summary.json", |text| serde_json::from_str(text).map_err(|e| e.to_string()))?;
        let mut runs = Vec::new();
        collect(dir, Path::new(""), DEPTH_MAX, &mut runs)?;
        runs.sort_by(|a, b| a.path.cmp(&b.path));
        if runs.is_empty() && summary.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { dir: dir.to_owned(), summary, runs }))
    }
}

fn collect(root: &Path, below: &Path, depth: usize, runs: &mut Vec<CampaignRun>) -> Result<(), ReadError> {
    let dir = root.join(below);
    let failed = |source| ReadError::File { path: dir.clone(), source };
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_dir() {
            continue;
        }
        let path = below.join(entry.file_name());
        let full = root.join(&path);
        if full.join("run.json").exists() {
            let verdicts = read(&full, "verdict.json", super::verdict::parse)?.unwrap_or_default();
            let verdicts = verdicts.into_iter().map(|(name, verdict)| (name, verdict.verdict)).collect();
            runs.push(CampaignRun { path, verdicts });
        } else if depth > 1 {
            collect(root, &path, depth - 1, runs)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn runs_are_found_where_campaigns_keep_them() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Campaign::read(dir.path()).unwrap().is_none());
        for (seed, verdict) in [(2, "invalid"), (1, "valid")] {
            let run = dir.path().join(format!("calm/dynamo/{seed}"));
            fs::create_dir_all(&run).unwrap();
            fs::write(run.join("run.json"), "{}").unwrap();
            fs::write(run.join("verdict.json"), format!("{{\"verdict\":\"{verdict}\"}}")).unwrap();
        }
        let campaign = Campaign::read(dir.path()).unwrap().unwrap();
        let found: Vec<_> =
            campaign.runs.iter().map(|run| (run.path.as_path(), run.verdicts[0].1.as_str())).collect();
        assert_eq!(found, [(Path::new("calm/dynamo/1"), "valid"), (Path::new("calm/dynamo/2"), "invalid")]);
    }
}
