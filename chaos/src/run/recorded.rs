//! What the directory of a run says it was.

use std::fs;
use std::path::Path;

use quorate_loadgen::rundir::Revision;
use serde::Deserialize;

use super::directory::DirectoryError;
use super::replay::ReplayError;
use crate::expect::RunVerdict;
use crate::scenario::Scenario;

/// A run that was made once.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The scenario with nothing left to draw.
    pub scenario: Scenario,
    /// The store.
    pub profile: String,
    /// The seed.
    pub seed: u64,
    /// The world, as [`crate::world::World::name`] has it.
    pub world: String,
    /// The revision that made it, if it was known.
    pub revision: Option<Revision>,
}

impl Recorded {
    /// Reads what the run in `dir` was.
    ///
    /// # Errors
    /// If it is not the directory of a chaos run.
    pub fn read(dir: &Path) -> Result<Self, ReplayError> {
        let file = dir.join("run.json");
        let bad = |why: String| DirectoryError::Content { file: file.clone(), why };
        let json: serde_json::Value =
            serde_json::from_slice(&read(&file)?).map_err(|e| bad(e.to_string()))?;
        let field = |name: &str| {
            let missing = || bad(format!("has no usable `{name}`; is it the directory of a chaos run?"));
            json.get(name).cloned().ok_or_else(missing)
        };
        let text = |name: &str| field(name).map(|v| v.as_str().unwrap_or_default().to_owned());
        let (profile, world) = (text("profile")?, text("world")?);
        let revision = Option::<Revision>::deserialize(field("revision")?)
            .map_err(|e| bad(format!("`revision`: {e}")))?;
        let seed = field("seed")?.as_u64().ok_or_else(|| bad("`seed` is not a whole number".into()))?;
        let scenario = Scenario::read(&dir.join("scenario.toml"))?;
        Ok(Self { scenario, profile, seed, world, revision })
    }

    /// Reads what became of the run in `dir`.
    ///
    /// # Errors
    /// If its verdict cannot be read.
    pub fn verdict(dir: &Path) -> Result<RunVerdict, DirectoryError> {
        let file = dir.join("verdict.json");
        serde_json::from_slice(&read(&file)?)
            .map_err(|e| DirectoryError::Content { file: file.clone(), why: e.to_string() })
    }
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, DirectoryError> {
    fs::read(file).map_err(|source| DirectoryError::Io { file: file.to_owned(), source })
}
