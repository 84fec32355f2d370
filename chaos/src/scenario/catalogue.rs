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
    "upgrade",
    "power-cut",
    "interval-power-cut",
    "slow-replica",
    "join",
    "leave",
    "replace",
    "wipe",
    "wipe-alone",
    "two-disks",
    "churn",
    "owners",
    "there-and-back",
    "two-administrators",
    "orphaned-hints",
    "deletes",
    "collected-deletes",
    "rot",
    "hot-key",
    "shapes",
    "clocks",
    "clocks-far-apart",
    "disks",
    "old-disk",
    "wires",
    "restarts",
    "overload",
    "mixed",
    "storm",
    "weak-lww",
    "held-writes",
    "no-repair",
    "memory-power-cut",
    "forgetful",
);

/// Those whose faults are drawn at random: they show something new with every seed and nothing for certain.
const DRAWN: [&str; 2] = ["mixed", "storm"];

/// The names of the directed scenarios, which together are run in a few minutes: all whose faults are listed.
pub fn quick_suite() -> impl Iterator<Item = &'static str> {
    CATALOGUE.iter().map(|entry| entry.name).filter(|name| !DRAWN.contains(name))
}

/// All built-in scenarios.
#[must_use]
pub fn catalogue() -> &'static [CatalogueEntry] {
    CATALOGUE
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn every_built_in_scenario_is_valid_and_says_what_it_shows() {
        for entry in catalogue() {
            let scenario = entry.scenario().unwrap();
            assert_eq!(scenario.name, entry.name);
            assert!(scenario.says.ends_with('.'), "{} says nothing", entry.name);
        }
        assert_eq!(quick_suite().count() + DRAWN.len(), catalogue().len());
        for name in DRAWN {
            assert!(Scenario::load(name).unwrap().faults.is_some(), "{name} draws nothing");
        }
        for name in quick_suite() {
            assert!(Scenario::load(name).unwrap().faults.is_none(), "{name} draws what it does");
        }
    }

    /// The words between backticks.
    fn words(cell: &str) -> impl Iterator<Item = &str> {
        cell.split('`').skip(1).step_by(2)
    }

    /// Whether the files that a cell names have the tests that it names behind them.
    fn names_tests(cell: &str) -> Result<usize, String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (mut file, mut text, mut tests) = ("", String::new(), 0);
        for word in words(cell) {
            if word.ends_with(".rs") {
                file = word;
                text = std::fs::read_to_string(root.join(word)).map_err(|e| format!("{word}: {e}"))?;
            } else if !word.contains(' ') {
                tests += 1;
                if !text.contains(&format!("fn {word}(")) {
                    return Err(format!("{file} has no `{word}`"));
                }
            }
        }
        Ok(tests)
    }

    /// Whether every scenario of a row of weak settings demands of one of the stores named there, or of
    /// its own, that it shows something.
    fn demands(scenario: &Scenario, cell: &str) -> bool {
        let stores = scenario.stores().unwrap();
        let named = |name: &str| scenario.store.is_some() || words(cell).any(|word| word == name);
        stores
            .iter()
            .any(|store| named(&store.name) && !scenario.expect.must_show_for(&store.name).0.is_empty())
    }

    #[test]
    fn the_storm_draws_all_there_is_and_every_kind_is_described() {
        let storm = Scenario::load("storm").unwrap().faults.unwrap().random;
        let described: Vec<&str> = include_str!("../../scenarios/README.md")
            .lines()
            .filter(|line| line.starts_with("| `"))
            .filter_map(|line| words(line).next())
            .collect();
        assert_eq!(described, FaultKind::NAMES);
        for kind in FaultKind::ALL {
            assert_eq!(storm.contains(kind), kind.is_for_chance() && kind.speaks().is_none(), "{kind}");
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
            let (number, scenarios, last) = (row[1], row[3], row[4]);
            let scenarios = words(scenarios).filter(|word| *word != "info" && *word != "fail");
            let scenarios: Vec<Scenario> = scenarios.map(|name| Scenario::load(name).unwrap()).collect();
            if number.starts_with('A') || scenarios.is_empty() {
                let tests = names_tests(last).unwrap_or_else(|why| panic!("{number}: {why}"));
                assert!(tests > 0 || last.contains("nothing fails by it"), "{number} names no test");
            } else {
                for scenario in scenarios {
                    assert!(demands(&scenario, last), "{number}: {} demands nothing", scenario.name);
                }
            }
        }
        for entry in catalogue().iter().filter(|entry| !["isolated-client"].contains(&entry.name)) {
            assert!(table.contains(&format!("`{}`", entry.name)), "{} covers nothing", entry.name);
        }
    }
}
