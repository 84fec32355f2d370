//! Reads store definitions for commands that start clusters.

use std::path::Path;

use quorate_cluster::config::{StoreDefinition, refuse_unknown_keys};

use crate::outcome::Failure;

/// The profile that is used when nothing is said.
pub const DEFAULT_PROFILE: &str = "dynamo";

/// A store definition by profile or file; the default profile when neither is given.
///
/// # Errors
/// If the profile is unknown, or the file unreadable or wrong.
pub fn store_from(profile: Option<&str>, file: Option<&Path>) -> Result<StoreDefinition, Failure> {
    let Some(file) = file else {
        return StoreDefinition::profile(profile.unwrap_or(DEFAULT_PROFILE)).map_err(Failure::setup);
    };
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::setup(format_args!("{name}: cannot read: {e}")))?;
    from_text(&text).map_err(|why| Failure::setup(format_args!("{name}: {why}")))
}

/// A file holds a `[store]` section, or the settings of one without a section.
fn from_text(text: &str) -> Result<StoreDefinition, String> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| format!("not valid TOML: {e}"))?;
    let store = match table.get("store") {
        Some(toml::Value::Table(store)) => {
            refuse_unknown_keys(&table, "the store file", &["store"]).map_err(|e| e.to_string())?;
            store
        }
        Some(_) => return Err("`store` must be a section: write [store]".into()),
        None => &table,
    };
    StoreDefinition::from_table(store).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_file_is_a_section_or_its_settings() {
        let with =
            from_text("[store]\nprofile = \"quorum\"\nreplicas = 5\nread_quorum = 3\nwrite_quorum = 3\n")
                .unwrap();
        let without =
            from_text("profile = \"quorum\"\nreplicas = 5\nread_quorum = 3\nwrite_quorum = 3\n").unwrap();
        assert_eq!(with, without);
        assert_eq!(with.replicas, 5);
        assert!(from_text("[store]\n[stroe]\n").unwrap_err().contains("did you mean `store`"));
        assert!(from_text("store = 3").unwrap_err().contains("[store]"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = store_from(None, Some(Path::new("/nowhere/store.toml"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/store.toml"), "{error}");
        assert!(store_from(Some("dynmo"), None).unwrap_err().to_string().contains("did you mean `dynamo`"));
    }
}
