//! The store definition: replicas, quorums, conflicts, disk promise. Fixed when a store is made.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::choices::{
    ANTI_ENTROPY_DEFAULT, AntiEntropy, Compression, Conflict, Consistency, Durability, EngineKind, Placement,
    QuorumKind, TombstoneCollection, anti_entropy_text, durability_text,
};
use super::{ConfigError, parse_bytes, refuse_unknown_keys};

/// Names of the built-in profiles that this version can serve.
pub const PROFILES: [&str; 5] = ["always-write", "dynamo", "quorum", "lww", "linearizable"];

/// Least time between two rounds of collection: each lists all records and takes three views.
const COLLECTION_PERIOD_MIN: Duration = Duration::from_millis(100);

/// What a store promises; fixed when it is made. Defaults are those of the `dynamo` profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreDefinition {
    /// Name of the store. Default `default`.
    pub name: String,
    /// N: copies of every key. Default 3.
    pub replicas: u8,
    /// R: votes a get waits for. With R + W > N a strict get meets the latest acknowledged
    /// put; a sloppy one may not. Default 2.
    pub read_quorum: u8,
    /// W: distinct nodes that must have stored a put before it is acknowledged. Default 2.
    pub write_quorum: u8,
    /// Whether fallbacks count. Default `sloppy`.
    pub quorum: QuorumKind,
    /// Default `eventual`.
    pub consistency: Consistency,
    /// Default `siblings`.
    pub conflict: Conflict,
    /// Default `commit`.
    #[serde(with = "durability_text")]
    pub durability: Durability,
    /// Default `log`.
    pub engine: EngineKind,
    /// Default `none`. A value that would not get smaller is stored as it is.
    pub compression: Compression,
    /// Q: equal partitions of the ring, 1 to 65,536. Default 256.
    pub partitions: u32,
    /// Default `quota`.
    pub placement: Placement,
    /// Whether a get writes what it merged back to replicas that lacked it. Default true.
    pub read_repair: bool,
    /// Whether a fallback delivers what it keeps for an owner. Default true; without effect in a
    /// linearizable store, where nothing is kept for others.
    pub hinted_handoff: bool,
    /// Default `on` (every 10 s).
    #[serde(with = "anti_entropy_text")]
    pub anti_entropy: AntiEntropy,
    /// How often deletes that every owner has and nobody can undo any more are forgotten: `off`,
    /// or a period such as `1h`. It needs every member, and waits while one is away. Default `off`.
    pub tombstone_collection: TombstoneCollection,
    /// Siblings of one key from which a blind put is refused with 409. Default 64.
    pub sibling_limit: u32,
    /// Actors kept in one key's context, beside those of its siblings; 0 keeps all, the only
    /// setting that never makes a false sibling or brings back what was deleted. Default 0.
    pub actor_limit: u32,
    /// Longest key in bytes. Default 1024.
    pub key_bytes_max: u64,
    /// Longest value in bytes. Default 1 MiB.
    pub value_bytes_max: u64,
}

impl Default for StoreDefinition {
    fn default() -> Self {
        Self {
            name: "default".into(),
            replicas: 3,
            read_quorum: 2,
            write_quorum: 2,
            quorum: QuorumKind::Sloppy,
            consistency: Consistency::Eventual,
            conflict: Conflict::Siblings,
            durability: Durability::Commit,
            engine: EngineKind::Log,
            compression: Compression::None,
            partitions: 256,
            placement: Placement::Quota,
            read_repair: true,
            hinted_handoff: true,
            anti_entropy: AntiEntropy::Every(ANTI_ENTROPY_DEFAULT),
            tombstone_collection: TombstoneCollection::Off,
            sibling_limit: 64,
            actor_limit: 0,
            key_bytes_max: 1024,
            value_bytes_max: 1 << 20,
        }
    }
}

const KEYS: [&str; 20] = [
    "name",
    "replicas",
    "read_quorum",
    "write_quorum",
    "quorum",
    "consistency",
    "conflict",
    "durability",
    "engine",
    "compression",
    "partitions",
    "placement",
    "read_repair",
    "hinted_handoff",
    "anti_entropy",
    "tombstone_collection",
    "sibling_limit",
    "actor_limit",
    "key_bytes_max",
    "value_bytes_max",
];

impl StoreDefinition {
    /// A built-in profile by name; it carries that name.
    ///
    /// # Errors
    /// [`ConfigError::BadValue`] for a name that is not among [`PROFILES`].
    pub fn profile(name: &str) -> Result<Self, ConfigError> {
        let base = Self { name: name.to_owned(), ..Self::default() };
        match name {
            "dynamo" => Ok(base),
            "always-write" => Ok(Self { read_quorum: 1, write_quorum: 1, ..base }),
            "quorum" => Ok(Self { quorum: QuorumKind::Strict, ..base }),
            "lww" => Ok(Self { conflict: Conflict::LastWriteWins, ..base }),
            "linearizable" => Ok(Self {
                quorum: QuorumKind::Strict,
                consistency: Consistency::Linearizable,
                conflict: Conflict::Single,
                hinted_handoff: false,
                ..base
            }),
            _ => {
                let near = super::nearest(name, &PROFILES).map(|n| format!("did you mean `{n}`? "));
                let why =
                    format!("no such profile; {}known: {}", near.unwrap_or_default(), PROFILES.join(", "));
                Err(ConfigError::BadValue { field: "profile", value: format!("\"{name}\""), why })
            }
        }
    }

    /// Reads a `[store]` table. A `profile` key names what the other keys change.
    ///
    /// # Errors
    /// The first thing that is wrong; the definition is validated as a whole.
    pub fn from_table(table: &toml::Table) -> Result<Self, ConfigError> {
        let mut known = vec!["profile"];
        known.extend(KEYS);
        refuse_unknown_keys(table, "[store]", &known)?;
        let mut table = table.clone();
        let base = match table.remove("profile") {
            Some(toml::Value::String(name)) => Self::profile(&name)?,
            Some(other) => {
                return Err(ConfigError::BadValue {
                    field: "profile",
                    value: other.to_string(),
                    why: "a profile is given by its name in quotes".into(),
                });
            }
            None => Self::default(),
        };
        let mut merged = toml::Table::try_from(&base).map_err(|e| ConfigError::Syntax(e.to_string()))?;
        for (key, value) in table {
            let value = match (key.as_str(), &value) {
                ("key_bytes_max" | "value_bytes_max", toml::Value::String(text)) => {
                    let bytes = parse_bytes(text).map_err(|why| ConfigError::BadValue {
                        field: if key == "key_bytes_max" { "key_bytes_max" } else { "value_bytes_max" },
                        value: format!("\"{text}\""),
                        why,
                    })?;
                    toml::Value::Integer(i64::try_from(bytes).unwrap_or(i64::MAX))
                }
                ("anti_entropy", toml::Value::Boolean(on)) => {
                    toml::Value::String(if *on { "on" } else { "off" }.to_owned())
                }
                ("tombstone_collection", toml::Value::Boolean(false)) => {
                    toml::Value::String("off".to_owned())
                }
                ("read_repair" | "hinted_handoff", toml::Value::String(text))
                    if text == "on" || text == "off" =>
                {
                    toml::Value::Boolean(text == "on")
                }
                _ => value,
            };
            merged.insert(key, value);
        }
        let definition: Self = merged
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError::Syntax(format!("[store]: {}", e.message())))?;
        definition.validate()?;
        Ok(definition)
    }

    /// Checks the definition as a whole.
    ///
    /// # Errors
    /// The first value that cannot be, or the first two that clash, both named.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bad = |field, value: &dyn fmt::Display, why: &str| {
            Err(ConfigError::BadValue { field, value: value.to_string(), why: why.to_owned() })
        };
        let clash = |first: String, second: String, why: &str| {
            Err(ConfigError::Clash { first, second, why: why.to_owned() })
        };
        if self.name.is_empty() || self.name.len() > 64 {
            return bad("name", &format!("\"{}\"", self.name), "a store's name has 1 to 64 bytes");
        }
        if self.replicas == 0 {
            return bad("replicas", &self.replicas, "a key needs at least one copy");
        }
        for (field, value) in [("read_quorum", self.read_quorum), ("write_quorum", self.write_quorum)] {
            if value == 0 {
                return bad(field, &value, "at least one node must answer");
            }
            if value > self.replicas {
                return clash(
                    format!("{field} = {value}"),
                    format!("replicas = {}", self.replicas),
                    "a quorum cannot be larger than the number of copies; lower the one or raise the other",
                );
            }
        }
        if self.partitions == 0 || self.partitions > 65_536 {
            return bad("partitions", &self.partitions, "choose 1 to 65536");
        }
        if let Some((first, second, why)) = self.unlike_a_register() {
            return clash(first, second, why);
        }
        if self.durability == Durability::Commit && self.engine == EngineKind::Memory {
            return clash(
                "durability = \"commit\"".into(),
                "engine = \"memory\"".into(),
                "the memory engine writes nothing to sync; choose engine = \"log\" or durability = \"memory\"",
            );
        }
        if matches!(self.durability, Durability::Interval(_)) && self.engine == EngineKind::Memory {
            return clash(
                format!("durability = \"{}\"", self.durability),
                "engine = \"memory\"".into(),
                "the memory engine writes nothing to sync; choose durability = \"memory\"",
            );
        }
        if let Durability::Interval(every) = self.durability
            && every.is_zero()
        {
            return bad("durability", &self.durability, "an interval of 0 is `commit`; say so");
        }
        if let AntiEntropy::Every(period) = self.anti_entropy
            && period < Duration::from_millis(10)
        {
            return bad("anti_entropy", &self.anti_entropy, "a round takes at least 10ms");
        }
        if let TombstoneCollection::Every(period) = self.tombstone_collection {
            if period < COLLECTION_PERIOD_MIN {
                return bad(
                    "tombstone_collection",
                    &self.tombstone_collection,
                    "a round takes at least 100ms; collecting seldom is as good: `1h`",
                );
            }
            if let Some((with, why)) = self.forbids_collection() {
                return clash(format!("tombstone_collection = \"{}\"", self.tombstone_collection), with, why);
            }
        }
        if self.sibling_limit == 0 {
            return bad("sibling_limit", &self.sibling_limit, "a key must be able to hold one value");
        }
        if self.actor_limit != 0 && self.conflict != Conflict::Siblings {
            return clash(
                format!("actor_limit = {}", self.actor_limit),
                format!("conflict = \"{:?}\"", self.conflict).to_lowercase(),
                "only siblings have contexts to shorten; leave actor_limit at 0",
            );
        }
        if self.key_bytes_max == 0 || self.key_bytes_max > 8192 {
            return bad(
                "key_bytes_max",
                &self.key_bytes_max,
                "choose 1 to 8192: keys travel in the request line",
            );
        }
        if self.value_bytes_max == 0 || self.value_bytes_max > 64 << 20 {
            return bad(
                "value_bytes_max",
                &self.value_bytes_max,
                "choose 1 byte to 64 MiB: a value is held in memory",
            );
        }
        Ok(())
    }

    /// Whether every key is one linearizable register.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        self.consistency == Consistency::Linearizable
    }

    /// The two settings of which one makes keys registers and the other does not let them be, and why.
    fn unlike_a_register(&self) -> Option<(String, String, &'static str)> {
        let text = |field: &str, value: serde_json::Result<String>| {
            format!("{field} = {}", value.unwrap_or_default())
        };
        let consistency = text("consistency", serde_json::to_string(&self.consistency));
        let conflict = text("conflict", serde_json::to_string(&self.conflict));
        if (self.consistency == Consistency::Linearizable) != (self.conflict == Conflict::Single) {
            let why = "one value a key and linearizable go together; take profile = \"linearizable\"";
            return Some((consistency, conflict, why));
        }
        if !self.is_linearizable() {
            return None;
        }
        let majority = self.replicas / 2 + 1;
        let clash = |with: String, why| Some((consistency.clone(), with, why));
        if self.quorum != QuorumKind::Strict {
            let quorum = text("quorum", serde_json::to_string(&self.quorum));
            return clash(
                quorum,
                "a fallback knows nothing of what owners voted; choose quorum = \"strict\"",
            );
        }
        for (field, votes) in [("read_quorum", self.read_quorum), ("write_quorum", self.write_quorum)] {
            if votes != majority {
                return clash(format!("{field} = {votes}"), "owners decide by majority: 2 of 3, 3 of 5");
            }
        }
        if self.durability != Durability::Commit {
            let why = "an owner that forgets what it voted breaks its word; choose durability = \"commit\"";
            return clash(format!("durability = \"{}\"", self.durability), why);
        }
        if self.collects_tombstones() {
            let why = "what an owner accepted is never forgotten, deletes included; choose \"off\"";
            return clash(format!("tombstone_collection = \"{}\"", self.tombstone_collection), why);
        }
        None
    }

    /// Whether deletes are ever forgotten.
    #[must_use]
    pub fn collects_tombstones(&self) -> bool {
        self.tombstone_collection != TombstoneCollection::Off
    }

    /// The setting under which forgetting a delete would bring something back or never come about,
    /// and why.
    fn forbids_collection(&self) -> Option<(String, &'static str)> {
        if self.anti_entropy == AntiEntropy::Off {
            return Some((
                "anti_entropy = \"off\"".into(),
                "a delete is collected once all owners hold it, and nothing would bring it to those that missed it",
            ));
        }
        if !self.hinted_handoff {
            return Some((
                "hinted_handoff = false".into(),
                "nothing is collected while any hint is kept, and none would ever be delivered",
            ));
        }
        (self.actor_limit != 0).then(|| {
            (
                format!("actor_limit = {}", self.actor_limit),
                "a shortened context no longer says what was deleted; leave actor_limit at 0",
            )
        })
    }

    /// Identifies the definition: equal exactly when every field is.
    ///
    /// # Panics
    /// Never: a definition always has a JSON form.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let json = serde_json::to_vec(self).expect("a definition has a JSON form");
        let hash = Sha256::digest(&json);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash[..16]);
        digest
    }

    /// Names of the fields in which `self` and `other` differ.
    #[must_use]
    pub fn differing_fields(&self, other: &Self) -> Vec<String> {
        let (Ok(serde_json::Value::Object(a)), Ok(serde_json::Value::Object(b))) =
            (serde_json::to_value(self), serde_json::to_value(other))
        else {
            return Vec::new();
        };
        a.iter().filter(|(key, value)| b.get(*key) != Some(value)).map(|(key, _)| key.clone()).collect()
    }

    /// N as a count.
    #[must_use]
    pub fn n(&self) -> usize {
        usize::from(self.replicas)
    }

    /// R as a count.
    #[must_use]
    pub fn r(&self) -> usize {
        usize::from(self.read_quorum)
    }

    /// W as a count.
    #[must_use]
    pub fn w(&self) -> usize {
        usize::from(self.write_quorum)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use expect_test::{Expect, expect};

    fn check_refused(toml: &str, expected: Expect) {
        let error = StoreDefinition::from_table(&toml.parse().unwrap()).unwrap_err();
        expected.assert_eq(&error.to_string());
    }

    #[test]
    fn every_profile_is_valid_and_carries_its_name() {
        for name in PROFILES {
            let profile = StoreDefinition::profile(name).unwrap();
            profile.validate().unwrap();
            assert_eq!(profile.name, name);
        }
    }

    #[test]
    fn a_table_changes_its_profile() {
        let toml = "profile = \"quorum\"\nanti_entropy = \"off\"\nvalue_bytes_max = \"64 KiB\"\ndurability = \"interval:100ms\"";
        let store = StoreDefinition::from_table(&toml.parse().unwrap()).unwrap();
        assert_eq!(store.quorum, QuorumKind::Strict);
        assert_eq!(store.anti_entropy, AntiEntropy::Off);
        assert_eq!(store.value_bytes_max, 65_536);
        assert_eq!(store.durability, Durability::Interval(Duration::from_millis(100)));
    }

    #[test]
    fn clashes_name_both_values() {
        check_refused(
            "read_quorum = 4",
            expect![
                "read_quorum = 4 clashes with replicas = 3: a quorum cannot be larger than the number of copies; lower the one or raise the other"
            ],
        );
        check_refused(
            "engine = \"memory\"",
            expect![[
                r#"durability = "commit" clashes with engine = "memory": the memory engine writes nothing to sync; choose engine = "log" or durability = "memory""#
            ]],
        );
    }

    #[test]
    fn every_engine_that_writes_can_promise_commit_with_any_compression() {
        for engine in ["log", "fjall", "sled"] {
            for compression in ["none", "lz4", "zstd"] {
                let toml = format!("engine = \"{engine}\"\ncompression = \"{compression}\"");
                let store = StoreDefinition::from_table(&toml.parse().unwrap()).unwrap();
                assert_eq!(store.durability, Durability::Commit);
                let is_default = engine == "log" && compression == "none";
                assert_eq!(store.digest() == StoreDefinition::default().digest(), is_default);
            }
        }
        check_refused(
            "compression = \"snappy\"",
            expect![
                "not a valid configuration: [store]: unknown variant `snappy`, expected one of `none`, `lz4`, `zstd`"
            ],
        );
    }

    #[test]
    fn deletes_are_collected_only_where_they_stay_deleted_and_ever_can_be() {
        let collects =
            StoreDefinition::from_table(&"tombstone_collection = \"1h\"".parse().unwrap()).unwrap();
        assert_eq!(collects.tombstone_collection, TombstoneCollection::Every(Duration::from_secs(3600)));
        assert!(collects.collects_tombstones() && !StoreDefinition::default().collects_tombstones());
        assert_ne!(collects.digest(), StoreDefinition::default().digest());
        let clash = |with: &str| {
            let toml = format!("tombstone_collection = \"1h\"\n{with}").parse().unwrap();
            let error = StoreDefinition::from_table(&toml).unwrap_err().to_string();
            let named =
                format!("tombstone_collection = \"3600s\" clashes with {}", with.lines().last().unwrap());
            assert!(error.starts_with(&named), "{error}");
        };
        clash("anti_entropy = \"off\"");
        clash("hinted_handoff = false");
        clash("actor_limit = 3");
        check_refused(
            "tombstone_collection = \"10ms\"",
            expect![
                "tombstone_collection = 10ms: a round takes at least 100ms; collecting seldom is as good: `1h`"
            ],
        );
        check_refused(
            "tombstone_collection = \"on\"",
            expect![
                "not a valid configuration: [store]: tombstone_collection is off or a period: `on` is not a duration; write a number and a unit, such as 100ms, 10s or 2m"
            ],
        );
    }

    #[test]
    fn what_cannot_be_a_register_is_refused_by_both_names() {
        let clash = |with: &str, starts: &str| {
            let toml = format!("profile = \"linearizable\"\n{with}").parse().unwrap();
            let error = StoreDefinition::from_table(&toml).unwrap_err().to_string();
            assert!(error.starts_with(starts), "{error}");
        };
        clash(
            "conflict = \"siblings\"",
            "consistency = \"linearizable\" clashes with conflict = \"siblings\"",
        );
        clash("consistency = \"eventual\"", "consistency = \"eventual\" clashes with conflict = \"single\"");
        for with in [
            "quorum = \"sloppy\"",
            "read_quorum = 1",
            "write_quorum = 3",
            "durability = \"interval:1s\"",
            "durability = \"memory\"",
            "tombstone_collection = \"3600s\"",
        ] {
            clash(with, &format!("consistency = \"linearizable\" clashes with {with}"));
        }
        let five = "profile = \"linearizable\"\nreplicas = 5\nread_quorum = 3\nwrite_quorum = 3";
        assert!(StoreDefinition::from_table(&five.parse().unwrap()).unwrap().is_linearizable());
    }

    #[test]
    fn slips_of_the_pen_are_named() {
        check_refused(
            "read_qorum = 1",
            expect!["unknown setting `read_qorum` in [store]; did you mean `read_quorum`?"],
        );
        check_refused(
            "profile = \"dinamo\"",
            expect![[
                r#"profile = "dinamo": no such profile; did you mean `dynamo`? known: always-write, dynamo, quorum, lww, linearizable"#
            ]],
        );
        check_refused(
            "durability = \"sometimes\"",
            expect![
                "not a valid configuration: [store]: durability `sometimes` is not known; choose commit, interval:100ms or memory"
            ],
        );
    }

    #[test]
    fn the_digest_tells_definitions_apart() {
        let a = StoreDefinition::default();
        let b = StoreDefinition { read_quorum: 1, ..a.clone() };
        assert_eq!(a.digest(), StoreDefinition::default().digest());
        assert_ne!(a.digest(), b.digest());
        assert_eq!(a.differing_fields(&b), ["read_quorum"]);
    }
}
