//! What a store promises ([`StoreDefinition`]) and how one node is set up ([`Config`]).
//!
//! A store definition is fixed for the life of a store. Its digest is kept in every data
//! directory and exchanged when peers connect. Errors name every value that clashes and what
//! to do about it.
//!
//! Not here: reading files or sockets (callers hand in text).

mod choices;
mod definition;
mod limits;
mod node;

pub use choices::{
    AntiEntropy, Compression, Conflict, Consistency, Durability, EngineKind, Placement, QuorumKind,
    TombstoneCollection,
};
pub use definition::{PROFILES, StoreDefinition};
pub use limits::Limits;
pub use node::{Administration, Config, Member, NodeId, NodeSection, PeerTraffic, Timing, TlsSection};
pub use quorate_env::words::{format_bytes, format_duration, nearest, parse_bytes, parse_duration};

/// Why a configuration was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not TOML, or a value has the wrong type.
    #[error("not a valid configuration: {0}")]
    Syntax(String),
    /// A key nobody knows.
    #[error("unknown setting `{key}` in {section}{hint}")]
    UnknownKey {
        /// The section it stands in, such as `[store]`.
        section: String,
        /// The key as given.
        key: String,
        /// `; did you mean ...?`, or what is known.
        hint: String,
    },
    /// One value that cannot be.
    #[error("{field} = {value}: {why}")]
    BadValue {
        /// The setting.
        field: &'static str,
        /// Its value as given.
        value: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// Two values that cannot stand together.
    #[error("{first} clashes with {second}: {why}")]
    Clash {
        /// `field = value` of the first.
        first: String,
        /// `field = value` of the second.
        second: String,
        /// Why, and what to do.
        why: String,
    },
}

/// Refuses keys of `table` that are not among `known`, naming the nearest.
///
/// # Errors
/// [`ConfigError::UnknownKey`] for the first such key.
pub fn refuse_unknown_keys(table: &toml::Table, section: &str, known: &[&str]) -> Result<(), ConfigError> {
    for key in table.keys() {
        if !known.contains(&key.as_str()) {
            let hint = match nearest(key, known) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; known: {}", known.join(", ")),
            };
            return Err(ConfigError::UnknownKey { section: section.to_owned(), key: key.clone(), hint });
        }
    }
    Ok(())
}
