//! Why a scenario cannot be run. Nothing was started.

use quorate_cluster::config::{ConfigError, nearest};

use super::catalogue;

/// A scenario that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("{origin}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        origin: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    #[error("{origin}: {source}")]
    Invalid {
        /// The file, or `catalogue: NAME`.
        origin: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// Neither a name of the catalogue nor a file.
    #[error("no scenario `{name}`{hint}")]
    Unknown {
        /// As given.
        name: String,
        /// `: did you mean ...?`, or the catalogue.
        hint: String,
    },
}

impl ScenarioError {
    pub(super) fn unknown(name: &str) -> Self {
        let names: Vec<&str> = catalogue().iter().map(|entry| entry.name).collect();
        let hint = match nearest(name, &names) {
            Some(near) => format!(": did you mean `{near}`?"),
            None => format!(" in the catalogue ({}), and no such file", names.join(", ")),
        };
        Self::Unknown { name: name.to_owned(), hint }
    }
}
