//! The form in which a placement travels inside a view and lies on disk.
//!
//! Owners are indexes into the sorted list of nodes, two bytes each up to 65,535 nodes and four
//! beyond, in one run of bytes: formats that spell numbers out one by one would need up to three
//! for each small one. Tokens follow from names and are not shipped.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Placement, PlacementError, PlacementNode, Rules};
use crate::config;

/// Nodes that two bytes can tell apart.
const NARROW_NODES_MAX: usize = u16::MAX as usize;

#[derive(Serialize, Deserialize)]
pub(super) struct Compact {
    rules: Rules,
    spread: u8,
    nodes: Vec<PlacementNode>,
    owners: Bytes,
}

impl Placement {
    /// Bytes that this placement takes inside a view, as peers send it.
    #[must_use]
    pub fn view_bytes(&self) -> usize {
        postcard::to_stdvec(self).expect("a placement has a binary form").len()
    }
}

impl From<Placement> for Compact {
    fn from(placement: Placement) -> Self {
        let owners = match placement.rules.strategy {
            config::Placement::Quota if placement.nodes.len() <= NARROW_NODES_MAX => {
                placement.owners.iter().flat_map(|i| (*i as u16).to_le_bytes()).collect()
            }
            config::Placement::Quota => placement.owners.iter().flat_map(|i| i.to_le_bytes()).collect(),
            config::Placement::Tokens | config::Placement::TokensEqualPartitions => Vec::new(),
        };
        let spread = u8::try_from(placement.spread).unwrap_or(u8::MAX);
        Self { rules: placement.rules, spread, nodes: placement.nodes, owners: Bytes(owners) }
    }
}

impl TryFrom<Compact> for Placement {
    type Error = PlacementError;

    /// Takes nothing on trust: the bytes may come from a peer or a damaged disk.
    fn try_from(compact: Compact) -> Result<Self, PlacementError> {
        let Compact { rules, spread, nodes, owners: Bytes(bytes) } = compact;
        rules.check(&nodes)?;
        let damaged = |what| Err(PlacementError::Damaged(what));
        if !nodes.is_sorted_by_key(|n| n.id) {
            return damaged("its nodes are not in the order of their names");
        }
        if rules.strategy != config::Placement::Quota {
            return Self::by(rules, &nodes);
        }
        let owners: Vec<u32> = if nodes.len() <= NARROW_NODES_MAX {
            bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect()
        } else {
            bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let width = if nodes.len() <= NARROW_NODES_MAX { 2 } else { 4 };
        let wanted = rules.partitions as usize * rules.replicas as usize;
        if owners.len() != wanted || bytes.len() != wanted * width {
            return damaged("it has not as many owners as partitions times replicas");
        }
        if owners.iter().any(|i| *i as usize >= nodes.len()) {
            return damaged("an owner is none of its nodes");
        }
        for row in owners.chunks_exact(rules.replicas as usize) {
            if row.iter().enumerate().any(|(i, owner)| row[..i].contains(owner)) {
                return damaged("a node owns two copies of one partition");
            }
        }
        let spread = usize::from(spread);
        let placement = Self { rules, nodes, owners, cuts: Vec::new(), spread };
        if placement.zones_met() < spread {
            return damaged("a partition is in fewer zones than it says");
        }
        Ok(placement)
    }
}

/// A run of bytes, not a list of numbers.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }

            /// JSON has no bytes and spells them as numbers.
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }
        d.deserialize_byte_buf(Visitor)
    }
}
