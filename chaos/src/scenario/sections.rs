//! The sections of a scenario file, each with its defaults and its own checks.

use std::time::Duration;

use quorate_cluster::config::{
    ConfigError, Member, TombstoneCollection, format_duration, nearest, refuse_unknown_keys,
};
use quorate_cluster::marks::Mark;
use quorate_cluster::rpc::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use quorate_processes::NodePlan;
use serde::{Deserialize, Serialize};

use super::{ByProfile, Legs, bad, text};
use crate::expect::{Property, Sight};
use crate::fault::{Direction, FaultKind, FaultSpec, Hosts, Settings, Targets};

/// `[cluster]`: the nodes, called `n1`, `n2`, and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSection {
    /// How many. Default 5: with as many nodes as replicas there is no fallback.
    pub nodes: usize,
    /// How many more there are that are no members until a `join` or `replace` makes them so; their
    /// names follow on. Default 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub spares: usize,
    /// Share of the data of each node, spare ones included, relative to the others. Default: all 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capacities: Vec<u32>,
    /// Zone of each node, spare ones included. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Partitions of the ring, for every profile. Default 16: a simulated cluster is small.
    pub partitions: u32,
    /// Period of anti-entropy, for every profile that has it on, and of the walk that verifies all
    /// records. Default 2s, so that a run need not wait long for copies to agree.
    #[serde(with = "text")]
    pub anti_entropy: Duration,
    /// Whether and how often deletes are collected, for every profile. Default off.
    #[serde(skip_serializing_if = "is_off")]
    pub tombstone_collection: TombstoneCollection,
    /// Whether all nodes begin held back to the oldest peer protocol, until an `upgrade`. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held_back: bool,
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self {
            nodes: 5,
            spares: 0,
            capacities: Vec::new(),
            zones: Vec::new(),
            partitions: 16,
            anti_entropy: Duration::from_secs(2),
            tombstone_collection: TombstoneCollection::Off,
            held_back: false,
        }
    }
}

impl ClusterSection {
    /// The newest peer protocol that nodes speak at first.
    #[must_use]
    pub fn protocol(&self) -> u32 {
        if self.held_back { PROTOCOL_OLDEST } else { PROTOCOL_NEWEST }
    }

    /// The names in order of the nodes that are members at first.
    pub fn node_names(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.nodes).map(|i| format!("n{i}"))
    }

    /// The names in order of those that are not.
    pub fn spare_names(&self) -> impl Iterator<Item = String> + use<> {
        (self.nodes + 1..=self.nodes + self.spares).map(|i| format!("n{i}"))
    }

    /// What each node is like, spare ones last.
    #[must_use]
    pub fn plans(&self) -> Vec<NodePlan> {
        let names = self.node_names().map(|name| (name, false));
        let names = names.chain(self.spare_names().map(|name| (name, true)));
        let plan = |(i, (id, is_spare)): (usize, (String, bool))| NodePlan {
            id,
            capacity: self.capacities.get(i).copied().unwrap_or(1),
            zone: self.zones.get(i).cloned().unwrap_or_default(),
            is_spare,
        };
        names.enumerate().map(plan).collect()
    }

    /// All nodes as they are described to each other, spare ones last. `address` gives the peer and
    /// the API address of a node.
    ///
    /// # Errors
    /// Names a node id that is not one; there is none among `n1`, `n2` and so on.
    pub fn everybody(&self, address: impl Fn(&str) -> (String, String)) -> Result<Vec<Member>, String> {
        let member = |plan: NodePlan| {
            let (peer, api) = address(&plan.id);
            Ok(Member { id: plan.id.parse()?, peer, api, capacity: plan.capacity, zone: plan.zone })
        };
        self.plans().into_iter().map(member).collect()
    }

    /// Those of [`ClusterSection::everybody`] that are members at first.
    ///
    /// # Errors
    /// As there.
    pub fn members(&self, address: impl Fn(&str) -> (String, String)) -> Result<Vec<Member>, String> {
        let mut all = self.everybody(address)?;
        all.truncate(self.nodes);
        Ok(all)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.nodes == 0 || self.nodes.saturating_add(self.spares) > 25 {
            return bad(
                "cluster.nodes",
                &self.nodes,
                "choose 1 to 25, cluster.spares included: the cost of a simulation grows with their cube",
            );
        }
        for (field, given) in
            [("cluster.capacities", self.capacities.len()), ("cluster.zones", self.zones.len())]
        {
            let all = self.nodes + self.spares;
            if given != 0 && given != all {
                return bad(
                    field,
                    &format!("{given} value(s)"),
                    &format!("give one for each of the {all} nodes, spare ones included"),
                );
            }
        }
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn is_off(collection: &TombstoneCollection) -> bool {
    *collection == TombstoneCollection::Off
}

/// `[network]`: the links of the simulated world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSection {
    /// Least one-way latency. Default 1ms.
    #[serde(with = "text")]
    pub latency_min: Duration,
    /// Greatest one-way latency. Default 5ms.
    #[serde(with = "text")]
    pub latency_max: Duration,
    /// The simulator's step, whole milliseconds. Default 2ms. It is part of the scenario: another
    /// tick gives another run.
    #[serde(with = "text")]
    pub tick: Duration,
    /// What messages of quorum operations take on top. Default: nothing.
    #[serde(skip_serializing_if = "Legs::is_empty")]
    pub legs: Legs,
}

impl Default for NetworkSection {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { latency_min: ms(1), latency_max: ms(5), tick: ms(2), legs: Legs::default() }
    }
}

impl NetworkSection {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.tick.is_zero() || !self.tick.subsec_nanos().is_multiple_of(1_000_000) {
            return bad(
                "network.tick",
                &format_duration(self.tick),
                "use whole milliseconds, at least 1ms: timers have no finer grain",
            );
        }
        if self.latency_min > self.latency_max {
            return Err(ConfigError::Clash {
                first: format!("network.latency_min = {}", format_duration(self.latency_min)),
                second: format!("latency_max = {}", format_duration(self.latency_max)),
                why: "the least latency cannot exceed the greatest".into(),
            });
        }
        self.legs.validate()
    }
}

/// `mix` of `[workload]`: relative weights of what clients do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// Reads. Default 0.5.
    pub get: f64,
    /// Writes. Default 0.45.
    pub put: f64,
    /// Removals. Default 0.05.
    pub delete: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Self { get: 0.5, put: 0.45, delete: 0.05 }
    }
}

/// `[workload]`: clients that think, then read, write what they read, or remove it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkloadSection {
    /// How many clients, on the hosts `c1` and `c2` by turns. Default 6.
    pub clients: usize,
    /// How long they go on. Default 12s.
    #[serde(with = "text")]
    pub duration: Duration,
    /// Mean of the exponential pause between two operations of one client. Default 60ms.
    #[serde(with = "text")]
    pub think_time: Duration,
    /// How many keys, `k1`, `k2`, and so on, all equally likely. Default 12.
    pub keys: usize,
    /// Part of the puts that are blind: without the context of a read. Default 0.1.
    pub blind: f64,
    /// Part of the puts that replace what was read that compare and set, where the store can. Default 0.5.
    pub cas: f64,
    /// Bytes of a value. Default 64.
    pub value_bytes: usize,
    /// After so many operations a client does no more. Default: as many as there is time for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
    /// How long a client waits for an answer. Default 4s.
    #[serde(with = "text")]
    pub deadline: Duration,
    /// What clients do.
    pub mix: Mix,
}

impl Default for WorkloadSection {
    fn default() -> Self {
        Self {
            clients: 6,
            duration: Duration::from_secs(12),
            think_time: Duration::from_millis(60),
            keys: 12,
            blind: 0.1,
            cas: 0.5,
            value_bytes: 64,
            operations: None,
            deadline: Duration::from_secs(4),
            mix: Mix::default(),
        }
    }
}

impl WorkloadSection {
    /// The hosts that clients run on. They may stand in partitions beside nodes.
    pub fn hosts(&self) -> impl Iterator<Item = String> + use<> {
        ["c1", "c2"].into_iter().map(str::to_owned)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.clients == 0 || self.clients > 1_000 {
            return bad("workload.clients", &self.clients, "choose 1 to 1000");
        }
        if self.keys == 0 || self.keys > 1_000_000 {
            return bad("workload.keys", &self.keys, "choose 1 to 1000000");
        }
        if self.operations == Some(0) {
            return bad("workload.operations", &0, "choose at least 1 for each client, or leave it out");
        }
        if self.duration.is_zero() || self.duration > Duration::from_secs(3_600) {
            return bad(
                "workload.duration",
                &format_duration(self.duration),
                "choose more than 0s, at most 3600s",
            );
        }
        if self.deadline < Duration::from_millis(10) {
            return bad(
                "workload.deadline",
                &format_duration(self.deadline),
                "no answer comes within that; choose at least 10ms",
            );
        }
        if !(0.0..=1.0).contains(&self.blind) {
            return bad("workload.blind", &self.blind, "a part of all puts, 0 to 1");
        }
        if !(0.0..=1.0).contains(&self.cas) {
            return bad("workload.cas", &self.cas, "a part of the puts that are not blind, 0 to 1");
        }
        let Mix { get, put, delete } = self.mix;
        let sum = get + put + delete;
        if !([get, put, delete].iter().all(|w| *w >= 0.0) && sum.is_finite() && sum > 0.0) {
            return bad(
                "workload.mix",
                &format!("{get}, {put}, {delete}"),
                "weights are 0 or more, and one of them more than 0",
            );
        }
        if self.value_bytes < 24 {
            return bad(
                "workload.value_bytes",
                &self.value_bytes,
                "a value holds its own name, up to 24 bytes",
            );
        }
        Ok(())
    }
}

/// `[faults]`: faults drawn from the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomFaults {
    /// The kinds to draw from.
    pub random: Vec<FaultKind>,
    /// How many. Default 5.
    #[serde(default = "RandomFaults::count_default")]
    pub count: usize,
    /// Shortest. Default 500ms.
    #[serde(default = "RandomFaults::shortest_default", with = "text")]
    pub for_min: Duration,
    /// Longest. Default 4s.
    #[serde(default = "RandomFaults::longest_default", with = "text")]
    pub for_max: Duration,
    /// All are over by then, from the start of the load. Default: with the load.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::optional")]
    pub until: Option<Duration>,
}

impl RandomFaults {
    fn count_default() -> usize {
        5
    }

    fn shortest_default() -> Duration {
        Duration::from_millis(500)
    }

    fn longest_default() -> Duration {
        Duration::from_secs(4)
    }

    /// When the last is over, at the latest.
    #[must_use]
    pub fn over(&self, load: Duration) -> Duration {
        self.until.map_or(load, |until| until.min(load))
    }

    pub(super) fn validate(&self, hosts: &Hosts<'_>, load: Duration) -> Result<(), ConfigError> {
        if self.random.is_empty() {
            return bad("faults.random", &"[]", "name at least one kind of fault");
        }
        for kind in &self.random {
            if !kind.is_for_chance() {
                return bad("faults.random", kind, "is not drawn at random; list it as a [[fault]]");
            }
            // Too few nodes for the shape of one, say.
            FaultSpec::new(*kind, Targets::Random, Duration::ZERO, self.for_max).validate(hosts, load)?;
        }
        if self.for_min > self.for_max || self.for_min.is_zero() {
            let both = format!("{} and {}", format_duration(self.for_min), format_duration(self.for_max));
            return bad(
                "faults.for_min and for_max",
                &both,
                "the shortest is more than 0s and not above the longest",
            );
        }
        if let Some(until) = self.until
            && self.for_max >= until
        {
            return Err(ConfigError::Clash {
                first: format!("faults.for_max = {}", format_duration(self.for_max)),
                second: format!("faults.until = {}", format_duration(until)),
                why: "a fault must fit before that".into(),
            });
        }
        if self.for_max >= load {
            return Err(ConfigError::Clash {
                first: format!("faults.for_max = {}", format_duration(self.for_max)),
                second: format!("workload.duration = {}", format_duration(load)),
                why: "a fault must fit into the load".into(),
            });
        }
        Ok(())
    }
}

/// `[core]`: near the end of the load only these nodes are sure to be in order, and must serve alone.
///
/// It breaks and heals nothing: which faults keep the others away is for the scenario to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreSection {
    /// The nodes.
    pub nodes: Vec<String>,
    /// From when on they are in order, from the start of the load.
    #[serde(with = "text")]
    pub from: Duration,
    /// How long they may take until they serve everything. Default 5s.
    #[serde(default = "CoreSection::within_default", with = "text")]
    pub within: Duration,
}

impl CoreSection {
    fn within_default() -> Duration {
        Duration::from_secs(5)
    }

    pub(super) fn validate(&self, nodes: &[String], load: Duration) -> Result<(), ConfigError> {
        if self.nodes.is_empty() {
            return bad("core.nodes", &"[]", "name at least one node");
        }
        if let Some(node) = self.nodes.iter().find(|node| !nodes.contains(node)) {
            return bad("core.nodes", node, &format!("no such member; there are {}", nodes.join(", ")));
        }
        if self.from + self.within >= load {
            return Err(ConfigError::Clash {
                first: format!("core.from and within: {}", format_duration(self.from + self.within)),
                second: format!("workload.duration = {}", format_duration(load)),
                why: "nobody asks anything any more by then".into(),
            });
        }
        Ok(())
    }
}

/// `[expect]`: on top of the promise table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Expect {
    /// Properties that must hold for every store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Property>,
    /// What every store must show, at least once over a campaign.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub must_show: Vec<Sight>,
    /// Rare states that the nodes of every store must reach, at least once over a campaign.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// After so many seeds, unseen means failed. Default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<u64>,
    /// The same, for one store each.
    #[serde(flatten)]
    pub profile: ByProfile,
}

/// `[expect.<profile>]`: for one store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpectProfile {
    /// Properties that must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Property>,
    /// What it must show, at least once over a campaign.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub must_show: Vec<Sight>,
    /// Rare states that its nodes must reach, at least once over a campaign.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// After so many seeds, unseen means failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<u64>,
}

/// Seeds after which something unseen counts as absent.
const WITHIN_DEFAULT: u64 = 20;

// Serde finds the section by hand in `Scenario::parse`; this only satisfies the derive there.
impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(d)?;
        Self::from_table(&table).map_err(serde::de::Error::custom)
    }
}

impl Expect {
    pub(super) fn from_table(table: &toml::Table) -> Result<Self, ConfigError> {
        let (sections, own): (toml::Table, toml::Table) =
            table.clone().into_iter().partition(|(_, value)| value.is_table());
        refuse_unknown_keys(&own, "[expect]", &["holds", "must_show", "marks", "within"])?;
        let read = |table: toml::Table, section: &str| -> Result<ExpectProfile, ConfigError> {
            refuse_unknown_keys(&table, section, &["holds", "must_show", "marks", "within"])?;
            refuse_unknown_words(&table, section, "holds", Property::NAMES)?;
            refuse_unknown_words(&table, section, "must_show", Sight::NAMES)?;
            refuse_unknown_words(&table, section, "marks", Mark::NAMES)?;
            table
                .try_into()
                .map_err(|e: toml::de::Error| ConfigError::Syntax(format!("{section}: {}", e.message())))
        };
        let ExpectProfile { holds, must_show, marks, within } = read(own, "[expect]")?;
        let mut profile = ByProfile::new();
        for (name, value) in sections {
            if let toml::Value::Table(table) = value {
                let section = format!("[expect.{name}]");
                profile.insert(name, read(table, &section)?);
            }
        }
        Ok(Self { holds, must_show, marks, within, profile })
    }

    /// What must hold for `store` beyond the promise table.
    #[must_use]
    pub fn holds_for(&self, store: &str) -> Vec<Property> {
        let own = self.profile.get(store).map(|p| p.holds.as_slice()).unwrap_or_default();
        self.holds.iter().chain(own).copied().collect()
    }

    /// What `store` must show over a campaign, and within how many seeds.
    #[must_use]
    pub fn must_show_for(&self, store: &str) -> (Vec<Sight>, u64) {
        let own = self.profile.get(store);
        let shown = own.map(|p| p.must_show.as_slice()).unwrap_or_default();
        let within = own.and_then(|p| p.within).or(self.within).unwrap_or(WITHIN_DEFAULT);
        (self.must_show.iter().chain(shown).copied().collect(), within)
    }

    /// The rare states that the nodes of `store` must reach over a campaign.
    #[must_use]
    pub fn marks_for(&self, store: &str) -> Vec<Mark> {
        let own = self.profile.get(store).map(|p| p.marks.as_slice()).unwrap_or_default();
        self.marks.iter().chain(own).copied().collect()
    }
}

/// Refuses keys and words that nobody knows, naming the nearest that is known.
pub(super) fn refuse_unknown(table: &toml::Table) -> Result<(), ConfigError> {
    let cluster = [
        "nodes",
        "spares",
        "capacities",
        "zones",
        "partitions",
        "anti_entropy",
        "tombstone_collection",
        "held_back",
    ];
    let known: [(&str, &str, &[&str]); 4] = [
        ("core", "[core]", &["nodes", "from", "within"]),
        ("cluster", "[cluster]", &cluster),
        ("network", "[network]", &["latency_min", "latency_max", "tick", "legs"]),
        ("faults", "[faults]", &["random", "count", "for_min", "for_max", "until"]),
    ];
    for (key, section, known) in known {
        if let Some(toml::Value::Table(table)) = table.get(key) {
            refuse_unknown_keys(table, section, known)?;
        }
    }
    if let Some(legs) =
        table.get("network").and_then(|network| network.get("legs")).and_then(toml::Value::as_table)
    {
        refuse_unknown_keys(legs, "[network.legs]", &["write", "ack", "read", "response"])?;
    }
    if let Some(toml::Value::Table(workload)) = table.get("workload") {
        refuse_unknown_keys(
            workload,
            "[workload]",
            &[
                "clients",
                "duration",
                "think_time",
                "keys",
                "blind",
                "cas",
                "value_bytes",
                "operations",
                "deadline",
                "mix",
            ],
        )?;
        if let Some(toml::Value::Table(mix)) = workload.get("mix") {
            refuse_unknown_keys(mix, "workload.mix", &["get", "put", "delete"])?;
        }
    }
    if let Some(toml::Value::Table(faults)) = table.get("faults") {
        refuse_unknown_words(faults, "[faults]", "random", FaultKind::NAMES)?;
    }
    if let Some(toml::Value::Array(faults)) = table.get("fault") {
        for fault in faults.iter().filter_map(toml::Value::as_table) {
            let own = ["kind", "targets", "at", "for"];
            let keys: Vec<&str> = own.iter().chain(Settings::NAMES).copied().collect();
            refuse_unknown_keys(fault, "[[fault]]", &keys)?;
            if fault.get("kind").and_then(toml::Value::as_str) == Some("duplicate") {
                let why = "[[fault]]: kind: there is no `duplicate`: TCP delivers every byte once; use reorder or \
                           restart-storm for what makes nodes send something again";
                return Err(ConfigError::Syntax(why.into()));
            }
            refuse_unknown_words(fault, "[[fault]]", "kind", FaultKind::NAMES)?;
            refuse_unknown_words(fault, "[[fault]]", "direction", Direction::NAMES)?;
        }
    }
    Ok(())
}

/// Refuses words under `key` (one, or a list) that are not among `known`.
fn refuse_unknown_words(
    table: &toml::Table,
    section: &str,
    key: &str,
    known: &[&str],
) -> Result<(), ConfigError> {
    let words: Vec<&str> = match table.get(key) {
        Some(toml::Value::String(word)) => vec![word],
        Some(toml::Value::Array(words)) => words.iter().filter_map(toml::Value::as_str).collect(),
        _ => Vec::new(),
    };
    for word in words {
        if !known.contains(&word) {
            let hint = match nearest(word, known) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; known: {}", known.join(", ")),
            };
            return Err(ConfigError::Syntax(format!("{section}: {key}: `{word}` is not known{hint}")));
        }
    }
    Ok(())
}
