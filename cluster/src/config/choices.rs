//! The settings of a store that are one of a few words, and how each is written.
//!
//! Not here: which of them go together (`definition`).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{format_duration, parse_duration};

/// Whether a write may land on a fallback when an owner is away (Dynamo, section 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuorumKind {
    /// The first healthy nodes of the preference list count.
    Sloppy,
    /// Only the owners of the key count.
    Strict,
}

/// What a client may observe about order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Replicas converge; quorums decide how soon a read sees a write.
    Eventual,
    /// Every operation takes effect at one instant between call and return.
    Linearizable,
}

/// What becomes of concurrent writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conflict {
    /// All are kept and returned together (Dynamo, section 4.4).
    Siblings,
    /// The highest stamp of a hybrid logical clock stays; the others are lost.
    LastWriteWins,
    /// There are none: a linearizable store has one value a key.
    Single,
}

/// What an acknowledgement promises about disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced on every counted replica before it answers: survives a power cut.
    Commit,
    /// Given to the operating system before the answer (survives `kill -9`), synced this often.
    Interval(Duration),
    /// Held in memory.
    Memory,
}

/// Where records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// An append-only log with its index in memory, the shape of Riak's Bitcask.
    Log,
    /// Nothing on disk.
    Memory,
    /// The `fjall` crate, a log-structured merge tree: for more keys than fit in memory.
    Fjall,
    /// The `sled` crate behind our log, because its own flush does not reach the disk.
    Sled,
}

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// As they are.
    None,
    /// By LZ4: cheap.
    Lz4,
    /// By zstd: smaller.
    Zstd,
}

/// How partitions are dealt to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Equal partitions, each node's quota by its capacity (after Dynamo's strategy 3, section 6.2).
    Quota,
    /// Unequal partitions that end at random tokens (strategy 1). Members must stay as they are:
    /// every change cuts the ring anew. `partitions` has no effect.
    Tokens,
    /// Equal partitions, placed by random tokens (strategy 2).
    TokensEqualPartitions,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quota => "quota",
            Self::Tokens => "tokens",
            Self::TokensEqualPartitions => "tokens-equal-partitions",
        })
    }
}

/// Whether and how often replicas compare what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AntiEntropy {
    /// Never.
    Off,
    /// A round with every peer in about this time.
    Every(Duration),
}

/// Whether and how often deletes that everybody has are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TombstoneCollection {
    /// Never: a deleted key and its context are kept for ever.
    Off,
    /// A round in about this time.
    Every(Duration),
}

/// The period behind `anti_entropy = "on"`.
pub(super) const ANTI_ENTROPY_DEFAULT: Duration = Duration::from_secs(10);

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit => f.write_str("commit"),
            Self::Interval(every) => write!(f, "interval:{}", format_duration(*every)),
            Self::Memory => f.write_str("memory"),
        }
    }
}

impl std::str::FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "commit" => Ok(Self::Commit),
            None if text == "memory" => Ok(Self::Memory),
            Some(("interval", every)) => parse_duration(every).map(Self::Interval),
            _ => Err(format!("durability `{text}` is not known; choose commit, interval:100ms or memory")),
        }
    }
}

impl fmt::Display for AntiEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(period) => f.write_str(&format_duration(*period)),
        }
    }
}

impl std::str::FromStr for AntiEntropy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::Every(ANTI_ENTROPY_DEFAULT)),
            _ => parse_duration(text)
                .map(Self::Every)
                .map_err(|why| format!("anti_entropy is on, off or a period: {why}")),
        }
    }
}

impl fmt::Display for TombstoneCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(period) => f.write_str(&format_duration(*period)),
        }
    }
}

impl TryFrom<String> for TombstoneCollection {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TombstoneCollection> for String {
    fn from(collection: TombstoneCollection) -> Self {
        collection.to_string()
    }
}

impl std::str::FromStr for TombstoneCollection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => parse_duration(text)
                .map(Self::Every)
                .map_err(|why| format!("tombstone_collection is off or a period: {why}")),
        }
    }
}

/// Serde by `Display` and `FromStr`.
macro_rules! as_text {
    ($module:ident, $type:ty) => {
        pub(super) mod $module {
            use serde::{Deserialize, Deserializer, Serializer};

            pub fn serialize<S: Serializer>(value: &$type, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(value)
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(durability_text, super::Durability);
as_text!(anti_entropy_text, super::AntiEntropy);
