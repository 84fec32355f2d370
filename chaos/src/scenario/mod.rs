//! A scenario: the cluster, the load, the faults and what is expected, as one TOML file.
//!
//! A scenario says nothing of seeds: the same file runs for any number of them, and what it leaves
//! open (which minority, when exactly) is drawn from the seed. [`Scenario::to_toml`] writes a file
//! that reads back the same, so that a run can keep the explicit form of what it did.
//!
//! Not here: resolving targets and times ([`crate::fault`]), judging ([`crate::expect`]).

mod catalogue;
mod error;
mod legs;
mod sections;
pub(crate) mod text;

use std::collections::BTreeMap;
use std::path::Path;

use quorate_cluster::config::{
    AntiEntropy, ConfigError, EngineKind, PROFILES, StoreDefinition, format_duration, refuse_unknown_keys,
};
use serde::{Deserialize, Serialize};

pub use catalogue::{CatalogueEntry, catalogue, quick_suite};
pub use error::ScenarioError;
pub use legs::{Component, Exponential, Legs, Lognormal, Pareto, Uniform};
pub use sections::{
    ClusterSection, CoreSection, Expect, ExpectProfile, Mix, NetworkSection, RandomFaults, WorkloadSection,
};

use crate::fault::{FaultKind, FaultSpec, Hosts, Targets};

/// One scenario file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name; the file's without `.toml` unless it gives one.
    #[serde(default)]
    pub name: String,
    /// What it shows, in one sentence.
    #[serde(default)]
    pub says: String,
    /// The profiles it is run for; empty with a `[store]` of its own. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// The nodes.
    #[serde(default)]
    pub cluster: ClusterSection,
    /// The network between them, in the simulated world.
    #[serde(default)]
    pub network: NetworkSection,
    /// What clients do.
    #[serde(default)]
    pub workload: WorkloadSection,
    /// Faults drawn from the seed, beside those listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<RandomFaults>,
    /// Nodes that must serve alone near the end, if there are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<CoreSection>,
    /// What must hold and what must be seen, on top of the promise table.
    #[serde(default)]
    pub expect: Expect,
    /// The one store it is run for, in place of profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreDefinition>,
    /// The faults, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fault: Vec<FaultSpec>,
}

impl Scenario {
    /// Finds a scenario by catalogue name or by file.
    ///
    /// # Errors
    /// If there is neither, or what is there is not a valid scenario.
    pub fn load(name_or_file: &str) -> Result<Self, ScenarioError> {
        if let Some(entry) = catalogue().iter().find(|entry| entry.name == name_or_file) {
            return entry.scenario();
        }
        let path = Path::new(name_or_file);
        if path.is_file() || path.extension().is_some_and(|e| e == "toml") {
            return Self::read(path);
        }
        Err(ScenarioError::unknown(name_or_file))
    }

    /// Reads a scenario file.
    ///
    /// # Errors
    /// If it cannot be read or is not a valid scenario; the error names the file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Unreadable { origin: origin.clone(), source })?;
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Self::from_toml(&text, &origin, &stem)
    }

    /// Reads a scenario from text. `origin` names the text in errors, `name` the scenario if the
    /// text does not.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_toml(text: &str, origin: &str, name: &str) -> Result<Self, ScenarioError> {
        Self::parse(text, name).map_err(|source| ScenarioError::Invalid { origin: origin.to_owned(), source })
    }

    fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
        refuse_unknown_keys(
            &table,
            "the scenario file",
            &[
                "name", "says", "profiles", "cluster", "network", "workload", "faults", "core", "expect",
                "store", "fault",
            ],
        )?;
        let store = match table.remove("store") {
            Some(toml::Value::Table(store)) => {
                let name = store.get("name").cloned();
                let mut store = StoreDefinition::from_table(&store)?;
                if name.is_none() {
                    store.name = "store".to_owned();
                }
                Some(store)
            }
            Some(_) => return Err(ConfigError::Syntax("[store] must be a table".into())),
            None => None,
        };
        sections::refuse_unknown(&table)?;
        let expect = match table.remove("expect") {
            Some(toml::Value::Table(expect)) => Expect::from_table(&expect)?,
            Some(_) => return Err(ConfigError::Syntax("[expect] must be a table".into())),
            None => Expect::default(),
        };
        let mut scenario: Self =
            table.try_into().map_err(|e: toml::de::Error| ConfigError::Syntax(e.message().to_owned()))?;
        if scenario.name.is_empty() {
            name.clone_into(&mut scenario.name);
        }
        scenario.expect = expect;
        if store.is_some() && !scenario.profiles.is_empty() {
            return Err(ConfigError::Clash {
                first: format!("profiles = {:?}", scenario.profiles),
                second: "[store]".into(),
                why: "a scenario names profiles or brings a store of its own, not both".into(),
            });
        }
        if store.is_none() && scenario.profiles.is_empty() {
            scenario.profiles = PROFILES.iter().map(|&p| p.to_owned()).collect();
        }
        scenario.store = store;
        scenario.validate()?;
        Ok(scenario)
    }

    /// Checks the scenario as a whole.
    ///
    /// # Errors
    /// The first value that cannot be, or the first two that clash.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.name.is_empty()
            || !self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            return bad(
                "name",
                &format!("\"{}\"", self.name),
                "use a-z, 0-9, `-`, `_` and `.`: it names directories",
            );
        }
        self.cluster.validate()?;
        self.network.validate()?;
        self.workload.validate()?;
        for store in self.stores()? {
            store.validate()?;
            if self.cluster.nodes < store.n() {
                return Err(ConfigError::Clash {
                    first: format!("cluster.nodes = {}", self.cluster.nodes),
                    second: format!("replicas = {} of {}", store.replicas, store.name),
                    why: "no node holds two copies of a key; add nodes or lower replicas".into(),
                });
            }
        }
        let nodes: Vec<String> = self.cluster.node_names().collect();
        let spares: Vec<String> = self.cluster.spare_names().collect();
        let clients: Vec<String> = self.workload.hosts().collect();
        let hosts = Hosts { nodes: &nodes, spares: &spares, clients: &clients, zones: &self.cluster.zones };
        for fault in &self.fault {
            fault.validate(&hosts, self.workload.duration)?;
        }
        self.validate_disks()?;
        self.validate_changes(&spares)?;
        if let Some(random) = &self.faults {
            random.validate(&hosts, self.workload.duration)?;
        }
        if let Some(core) = &self.core {
            let members: Vec<String> = self.cluster.node_names().collect();
            core.validate(&members, self.workload.duration)?;
        }
        for profile in self.expect.profile.keys() {
            let names: Vec<String> = self.stores()?.into_iter().map(|s| s.name).collect();
            if !names.contains(profile) {
                return bad(
                    "expect",
                    &profile,
                    &format!("this scenario runs no such store; it runs {}", names.join(", ")),
                );
            }
        }
        Ok(())
    }

    /// Checks that there is something on the disks that faults are about, in files of ours.
    fn validate_disks(&self) -> Result<(), ConfigError> {
        let listed =
            self.fault.iter().map(|fault| (fault.kind, format!(" at {}", format_duration(fault.at))));
        let drawn = self.faults.iter().flat_map(|faults| &faults.random);
        let mut all = listed.chain(drawn.map(|kind| (*kind, " of [faults]".to_owned())));
        let Some((kind, at)) = all.find(|(kind, _)| kind.is_of_disks()) else { return Ok(()) };
        match self.stores()?.iter().find(|store| store.engine != EngineKind::Log) {
            Some(store) => Err(ConfigError::Clash {
                first: format!("the {kind}{at}"),
                second: format!("engine {:?} of {}", store.engine, store.name).to_lowercase(),
                why: "it keeps nothing in files whose checksums are looked at; choose engine log".into(),
            }),
            None => Ok(()),
        }
    }

    /// Checks that there are spare nodes for all who join, and always enough members.
    fn validate_changes(&self, spares: &[String]) -> Result<(), ConfigError> {
        let mut changes: Vec<&FaultSpec> = self.fault.iter().filter(|f| f.kind.changes_members()).collect();
        changes.sort_by_key(|change| change.at);
        let (mut members, mut starting) = (self.cluster.nodes, 0);
        let least = self.stores()?.iter().map(StoreDefinition::n).max().unwrap_or(1);
        for change in changes {
            let (named, going) = match &change.targets {
                Targets::Names(names) => {
                    let is_new = |name: &&String| change.kind.starts_spares() && spares.contains(name);
                    let named = names.iter().filter(is_new).count();
                    (named, names.len() - named)
                }
                _ => (0, usize::from(change.kind != FaultKind::Join)),
            };
            let joining = if change.kind.starts_spares() { named.max(going).max(1) } else { 0 };
            starting += joining;
            // A replacement goes before it comes: so many members there must be in between.
            members = members.saturating_sub(going);
            if members < least {
                return Err(ConfigError::Clash {
                    first: format!("the {} at {}", change.kind, format_duration(change.at)),
                    second: format!("replicas = {least}"),
                    why: format!("{members} member(s) would be left; add nodes first"),
                });
            }
            members += joining;
        }
        if starting > spares.len() {
            return Err(ConfigError::Clash {
                first: format!("cluster.spares = {}", spares.len()),
                second: format!("{starting} node(s) that join"),
                why: "every node that joins is a spare one at first; give the cluster more".into(),
            });
        }
        Ok(())
    }

    /// The stores the scenario is run for, each named like its profile, with the settings that
    /// the scenario gives all of them (`cluster.partitions`, `cluster.anti_entropy` and
    /// `cluster.tombstone_collection`): they decide what a run costs, how soon copies agree and deletes
    /// are forgotten, not what is promised of values.
    ///
    /// # Errors
    /// For a profile that does not exist, or that cannot be given them.
    pub fn stores(&self) -> Result<Vec<StoreDefinition>, ConfigError> {
        let mut stores = match &self.store {
            Some(store) => vec![store.clone()],
            None => self.profiles.iter().map(|p| StoreDefinition::profile(p)).collect::<Result<_, _>>()?,
        };
        if self.store.is_none() {
            for store in &mut stores {
                store.partitions = self.cluster.partitions;
                if matches!(store.anti_entropy, AntiEntropy::Every(_)) {
                    store.anti_entropy = AntiEntropy::Every(self.cluster.anti_entropy);
                }
                store.tombstone_collection = self.cluster.tombstone_collection;
                store.validate()?;
            }
        }
        Ok(stores)
    }

    /// The store called `profile` among [`Scenario::stores`].
    ///
    /// # Errors
    /// If the scenario does not run it; the error lists what it runs.
    pub fn store_named(&self, profile: &str) -> Result<StoreDefinition, ConfigError> {
        let stores = self.stores()?;
        let names: Vec<String> = stores.iter().map(|s| s.name.clone()).collect();
        stores.into_iter().find(|s| s.name == profile).ok_or_else(|| ConfigError::BadValue {
            field: "profile",
            value: format!("\"{profile}\""),
            why: format!("scenario {} runs {}", self.name, names.join(", ")),
        })
    }

    /// Writes the file that [`Scenario::from_toml`] reads.
    ///
    /// # Panics
    /// Never: every part has a TOML form.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every part of a scenario has a TOML form")
    }
}

pub(crate) fn bad(field: &'static str, value: &dyn std::fmt::Display, why: &str) -> Result<(), ConfigError> {
    Err(ConfigError::BadValue { field, value: value.to_string(), why: why.to_owned() })
}

/// Expectations by store name.
pub(crate) type ByProfile = BTreeMap<String, ExpectProfile>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const FILE: &str = r#"
says = "Two of five are cut off."
profiles = ["dynamo", "quorum"]
[cluster]
nodes = 5
[workload]
clients = 4
duration = "10s"
[[fault]]
kind = "partition"
targets = ["n1", "c1"]
at = "3s"
for = "4s"
[[fault]]
kind = "kill"
targets = "primaries-of k1"
at = "3500ms"
for = "1s"
[faults]
random = ["latency", "power-cut"]
count = 3
[expect]
must_show = ["stale"]
within = 20
[expect.quorum]
holds = ["no-stale-read"]
"#;

    fn read(text: &str) -> Result<Scenario, ScenarioError> {
        Scenario::from_toml(text, "x.toml", "x")
    }

    #[test]
    fn a_scenario_reads_back_as_written() {
        let scenario = read(FILE).unwrap();
        assert_eq!(scenario.name, "x");
        assert_eq!(scenario.fault.len(), 2);
        let again = Scenario::from_toml(&scenario.to_toml(), "y.toml", "y").unwrap();
        assert_eq!(again, scenario);
        for entry in catalogue() {
            let scenario = entry.scenario().unwrap();
            assert_eq!(
                Scenario::from_toml(&scenario.to_toml(), "y.toml", "y").unwrap(),
                scenario,
                "{}",
                entry.name
            );
        }
    }

    #[test]
    fn errors_name_the_file_the_key_and_the_nearest_known_one() {
        let refused = |from: &str, to: &str| read(&FILE.replace(from, to)).unwrap_err().to_string();
        for (from, to, needles) in [
            ("says", "sasy", &["x.toml", "sasy", "`says`"][..]),
            ("nodes = 5", "noeds = 5", &["x.toml", "[cluster]", "`nodes`"]),
            ("nodes = 5", "nodes = 2", &["cluster.nodes = 2", "replicas = 3"]),
            ("clients = 4", "cleints = 4", &["[workload]", "`clients`"]),
            ("kind = \"kill\"", "kind = \"kil\"", &["[[fault]]", "did you mean `kill`"]),
            ("\"latency\"", "\"latncy\"", &["[faults]", "did you mean `latency`"]),
            ("[\"n1\", \"c1\"]", "[\"n1\", \"n9\"]", &["n9", "n1, n2, n3, n4, n5, c1, c2"]),
            ("at = \"3s\"", "at = \"11s\"", &["fault.at = 11s", "10s"]),
            ("at = \"3s\"", "at = \"3\"", &["x.toml", "not a duration"]),
            ("must_show", "must_shwo", &["[expect]", "`must_show`"]),
            ("[\"stale\"]", "[\"stael\"]", &["did you mean `stale`"]),
            ("no-stale-read", "no-stale-raed", &["did you mean `no-stale-read`"]),
            ("[expect.quorum]", "[expect.quorm]", &["quorm", "dynamo, quorum"]),
            ("\"dynamo\", ", "\"dynamoo\", ", &["did you mean `dynamo`"]),
        ] {
            let message = refused(from, to);
            for needle in needles {
                assert!(message.contains(needle), "{to}: {message} lacks {needle}");
            }
        }
        let change = |kind: &str, rest: &str| {
            let fault = format!("[[fault]]\nkind = \"{kind}\"\nat = \"1s\"\n{rest}\n");
            read(&format!("[cluster]\nspares = 1\n{fault}{fault}{fault}")).unwrap_err().to_string()
        };
        for (kind, rest, needles) in [
            ("join", "targets = \"one\"", &["cluster.spares = 1", "3 node(s) that join"][..]),
            ("join", "targets = [\"n2\"]", &["n2", "only spare nodes join"]),
            ("leave", "targets = \"one\"", &["the leave at 1s", "2 member(s) would be left"]),
            ("leave", "targets = \"minority\"", &["asked for by name"]),
            ("leave", "targets = \"one\"\nfor = \"1s\"", &["fault.for", "not undone"]),
            ("wipe", "targets = \"one\"", &["fault.for", "how long the wipe lasts"]),
        ] {
            let message = change(kind, rest);
            for needle in needles {
                assert!(message.contains(needle), "{kind} {rest}: {message} lacks {needle}");
            }
        }
        let fault = |rest: &str| {
            let fault = format!("[cluster]\nnodes = 5\n[[fault]]\nat = \"1s\"\n{rest}\n");
            read(&fault).unwrap_err().to_string()
        };
        for (rest, needles) in [
            ("kind = \"isolat\"\ntargets = \"one\"\nfor = \"1s\"", &["did you mean `isolate`"][..]),
            ("kind = \"duplicate\"\ntargets = \"one\"\nfor = \"1s\"", &["TCP delivers every byte once"]),
            (
                "kind = \"kill\"\ntargets = \"one\"\nfor = \"1s\"\nevery = \"1s\"",
                &["fault.every", "flapping"],
            ),
            ("kind = \"hold\"\ntargets = \"one\"\nfor = \"1s\"\nadd = \"1s\"", &["fault.add", "latency"]),
            ("kind = \"kill\"\ntargets = \"one\"\nfor = \"1s\"\nevry = \"1s\"", &["`every`"]),
            (
                "kind = \"clock-skew\"\ntargets = \"one\"\nfor = \"1s\"\ndirection = \"in\"",
                &["ahead or behind"],
            ),
            (
                "kind = \"clock-skew\"\ntargets = \"one\"\nfor = \"1s\"\ndirection = \"ahed\"",
                &["did you mean `ahead`"],
            ),
            ("kind = \"clock-drift\"\ntargets = [\"c1\"]\nfor = \"1s\"", &["hits nodes"]),
            (
                "kind = \"flapping\"\ntargets = \"one\"\nfor = \"1s\"\nevery = \"2s\"",
                &["fault.every = 2s", "over before"],
            ),
            ("kind = \"partition\"\ntargets = \"all\"\nfor = \"1s\"", &["all nodes", "the other side"]),
            ("kind = \"partition\"\ntargets = \"zone east\"\nfor = \"1s\"", &["zone east", "cluster.zones"]),
            ("kind = \"bridge\"\ntargets = \"minority\"\nfor = \"1s\"", &["one node is the bridge"]),
            (
                "kind = \"ring\"\ntargets = [\"n1\", \"n2\", \"n3\"]\nfor = \"1s\"",
                &["3 node(s)", "fewer than 4"],
            ),
            ("kind = \"loss\"\ntargets = \"one\"\nfor = \"1s\"\nrate = 0.9", &["fault.rate", "at most 0.5"]),
            ("kind = \"throttle\"\ntargets = \"one\"\nfor = \"1s\"\nbandwidth = 10", &["fault.bandwidth"]),
            ("kind = \"overload\"\ntargets = \"one\"\nfor = \"1s\"\nclients = 0", &["fault.clients"]),
            ("kind = \"rolling-restart\"\ntargets = \"all\"\nfor = \"1s\"", &["leave `for` out"]),
        ] {
            let message = fault(rest);
            for needle in needles {
                assert!(message.contains(needle), "{rest}: {message} lacks {needle}");
            }
        }
        for engine in ["memory", "sled"] {
            let rot = "[[fault]]\nkind = \"rot\"\ntargets = [\"n1\"]\nat = \"1s\"\n";
            let store = format!("[store]\nengine = \"{engine}\"\ndurability = \"memory\"\n");
            let message = read(&format!("{store}{rot}")).unwrap_err().to_string();
            assert!(message.contains("the rot at 1s") && message.contains(engine), "{message}");
            assert!(read(&store).is_ok());
        }
        let drawn = refused("\"power-cut\"]", "\"wipe\"]");
        assert!(drawn.contains("not drawn at random"), "{drawn}");
        let both = format!("{FILE}\n[store]\nprofile = \"lww\"\n");
        assert!(read(&both).unwrap_err().to_string().contains("not both"));
        let missing = Scenario::load("minority-partitoin").unwrap_err().to_string();
        assert!(missing.contains("did you mean `minority-partition`"), "{missing}");
    }
}
