//! Who is hit, as a scenario file says it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who is hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// One node, drawn.
    One,
    /// As many nodes as leave a majority, drawn.
    Minority,
    /// The least majority of the nodes, drawn.
    Majority,
    /// Half of the nodes, the lesser half of an odd number, drawn.
    Halves,
    /// All nodes.
    All,
    /// The owners of a key: `primaries-of k1`.
    PrimariesOf(String),
    /// The nodes of a zone: `zone east`.
    Zone(String),
    /// These nodes and client hosts.
    Names(Vec<String>),
    /// Any number of nodes up to a minority, drawn; for network faults perhaps a client host too.
    Random,
}

impl Serialize for Targets {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One => s.serialize_str("one"),
            Self::Minority => s.serialize_str("minority"),
            Self::Majority => s.serialize_str("majority"),
            Self::Halves => s.serialize_str("halves"),
            Self::All => s.serialize_str("all"),
            Self::PrimariesOf(key) => s.serialize_str(&format!("primaries-of {key}")),
            Self::Zone(zone) => s.serialize_str(&format!("zone {zone}")),
            Self::Names(names) => names.serialize(s),
            Self::Random => s.serialize_str("random"),
        }
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a word in quotes or a list of names")]
        enum Shape {
            Word(String),
            Names(Vec<String>),
        }
        let word = match Shape::deserialize(d)? {
            Shape::Names(names) => return Ok(Self::Names(names)),
            Shape::Word(word) => word,
        };
        Ok(match word.split_once(' ').map_or((word.as_str(), ""), |(first, rest)| (first, rest.trim())) {
            ("one", "") => Self::One,
            ("minority", "") => Self::Minority,
            ("majority", "") => Self::Majority,
            ("halves", "") => Self::Halves,
            ("all", "") => Self::All,
            ("random", "") => Self::Random,
            ("primaries-of", key) => Self::PrimariesOf(key.to_owned()),
            ("zone", zone) => Self::Zone(zone.to_owned()),
            _ => {
                return Err(serde::de::Error::custom(format!(
                    "targets `{word}`: choose one, minority, majority, halves, all, random, \"primaries-of KEY\", \
                     \"zone NAME\" or a list of names"
                )));
            }
        })
    }
}
