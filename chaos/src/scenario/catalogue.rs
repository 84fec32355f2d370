//! The scenarios that are built in.

use super::{Scenario, ScenarioError};

/// A built-in scenario.
#[derive(Clone, Copy, Debug)]
pub struct CatalogueEntry {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its file.
    pub toml: &'static str,
}

impl CatalogueEntry {
    /// The scenario.
    ///
    /// # Errors
    /// Never, as a test makes sure; the signature is that of any other scenario.
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        Scenario::from_toml(self.toml, &format!("catalogue: {}", self.name), self.name)
    }
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        const CATALOGUE: &[CatalogueEntry] = &[$(CatalogueEntry {
            name: $name,
            toml: include_str!(concat!("../../scenarios/", $name, ".toml")),
        }),*];
    };
}

built_in!(
    "calm",
    "minority-partition",
    "majority-partition",
    "isolated-client",
    "one-way-partition",
    "kill-restart",
    "power-cut",
    "interval-power-cut",
    "slow-replica",
    "join",
    "leave",
    "replace",
    "wipe",
    "wipe-alone",
    "churn",
    "there-and-back",
    "deletes",
    "rot",
    "hot-key",
    "mixed",
    "weak-lww",
    "held-writes",
    "no-repair",
    "memory-power-cut",
    "forgetful",
);

/// The directed scenarios, which together are run in a few minutes: all but `mixed`.
pub const QUICK_SUITE: &[&str] = &[
    "calm",
    "minority-partition",
    "majority-partition",
    "isolated-client",
    "one-way-partition",
    "kill-restart",
    "power-cut",
    "interval-power-cut",
    "slow-replica",
    "join",
    "leave",
    "replace",
    "wipe",
    "wipe-alone",
    "churn",
    "there-and-back",
    "deletes",
    "rot",
    "hot-key",
    "weak-lww",
    "held-writes",
    "no-repair",
    "memory-power-cut",
    "forgetful",
];

/// All built-in scenarios.
#[must_use]
pub fn catalogue() -> &'static [CatalogueEntry] {
    CATALOGUE
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn every_built_in_scenario_is_valid_and_says_what_it_shows() {
        for entry in catalogue() {
            let scenario = entry.scenario().unwrap();
            assert_eq!(scenario.name, entry.name);
            assert!(scenario.says.ends_with('.'), "{} says nothing", entry.name);
        }
        for name in QUICK_SUITE {
            assert!(catalogue().iter().any(|entry| entry.name == *name), "{name}");
        }
    }

    #[test]
    fn the_table_of_anomalies_is_whole_and_names_what_there_is() {
        let table = include_str!("../../scenarios/README.md");
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with("| A") || line.starts_with("| B"))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        let numbers = (1..=18).map(|n| format!("A{n}")).chain((1..=9).map(|n| format!("B{n}")));
        assert!(rows.iter().map(|row| row[1]).eq(numbers), "every anomaly has its row, in order");
        for row in &rows {
            for word in row[3].split('`').skip(1).step_by(2).filter(|word| *word != "info" && *word != "fail")
            {
                let known = catalogue().iter().any(|entry| entry.name == word);
                assert!(known || word == "always-write", "{}: {word} is not in the catalogue", row[1]);
            }
        }
        for entry in catalogue().iter().filter(|entry| !["isolated-client"].contains(&entry.name)) {
            assert!(table.contains(&format!("`{}`", entry.name)), "{} covers nothing", entry.name);
        }
    }
}
