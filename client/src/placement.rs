//! Who owns a key, as a node of the store tells it (`GET /cluster`).
//!
//! A client that knows sends each request to an owner, which spares the store a hop (Dynamo,
//! section 6.4: client-driven coordination). What it knows may be old; nothing depends on it but
//! the hop, for any node takes any request.
//!
//! Not here: what a client does about nodes that do not answer (`routing`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::Deserialize;

use crate::http::MalformedReply;

/// Which of a store's views a placement is of: the count of its changes, and how far the newest
/// has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ViewName {
    name: String,
    order: Option<(u64, u8)>,
}

impl ViewName {
    /// Reads a name such as `3-stable`.
    pub(crate) fn new(name: &str) -> Self {
        let order = name.split_once('-').and_then(|(epoch, phase)| {
            let phase = ["copying", "reading-new", "stable"].iter().position(|known| *known == phase)?;
            Some((epoch.parse().ok()?, phase as u8))
        });
        Self { name: name.to_owned(), order }
    }

    /// Whether it comes after `other`; one that cannot be ordered does if it is another.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        match (self.order, other.order) {
            (Some(own), Some(others)) => own > others,
            _ => self.name != other.name,
        }
    }

    /// Whether it is called so, without reading the name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name
    }
}

/// The owners of every partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) view: ViewName,
    /// `host:port` of every node's API; owners are indexes into it.
    pub(crate) nodes: Vec<String>,
    replicas: usize,
    /// As many owners for each partition as there are replicas.
    owners: Vec<u32>,
    /// The last position of each partition; empty where partitions are equal.
    cuts: Vec<u64>,
}

#[derive(Deserialize)]
struct ClusterBody {
    view: String,
    placement: PlacementBody,
}

#[derive(Deserialize)]
struct PlacementBody {
    partitions: u32,
    replicas: u32,
    nodes: Vec<NodeBody>,
    owners: String,
    #[serde(default)]
    cuts: String,
}

#[derive(Deserialize)]
struct NodeBody {
    api: String,
}

/// Reads the owners of all partitions as `GET /cluster` writes them: for each partition as many as
/// there are replicas, each a number among so many `nodes`, in base64: two bytes each, or four where
/// two are not enough, least significant first.
///
/// # Errors
/// If it is of another form or length, or names an owner that there is not.
pub fn read_owners(
    encoded: &str,
    partitions: u32,
    replicas: u32,
    nodes: usize,
) -> Result<Vec<u32>, MalformedReply> {
    let bytes = STANDARD.decode(encoded)?;
    let wanted = partitions as usize * replicas as usize;
    let owners: Vec<u32> = if wanted > 0 && bytes.len() == wanted * 2 {
        bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect()
    } else if wanted > 0 && bytes.len() == wanted * 4 {
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    } else {
        return Err(MalformedReply::BadPlacement("it has not as many owners as it says"));
    };
    if owners.iter().any(|owner| *owner as usize >= nodes) {
        return Err(MalformedReply::BadPlacement("an owner is none of its nodes"));
    }
    Ok(owners)
}

impl Placement {
    /// Reads the body of `GET /cluster`, and takes nothing in it on trust.
    pub(crate) fn read(body: &[u8]) -> Result<Self, MalformedReply> {
        let ClusterBody { view, placement } = serde_json::from_slice(body)?;
        let PlacementBody { partitions, replicas, nodes, owners, cuts } = placement;
        let owners = read_owners(&owners, partitions, replicas, nodes.len())?;
        let word = |b: &[u8]| b.iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
        let cuts: Vec<u64> = STANDARD.decode(cuts)?.chunks(8).map(word).collect();
        if !cuts.is_empty() && (cuts.len() != partitions as usize || !cuts.is_sorted()) {
            return Err(MalformedReply::BadPlacement("its partitions do not follow each other"));
        }
        let nodes = nodes.into_iter().map(|node| node.api).collect();
        Ok(Self { view: ViewName::new(&view), nodes, replicas: replicas as usize, owners, cuts })
    }

    /// The owners of a key, the one to ask first before the others, as indexes of nodes.
    pub(crate) fn owners_of(&self, key: &[u8]) -> &[u32] {
        // The upper half of the digest: exact for any number of partitions.
        let digest: [u8; 16] = Md5::digest(key).into();
        let position = digest[..8].iter().fold(0_u64, |position, byte| (position << 8) | u64::from(*byte));
        let partitions = self.owners.len() / self.replicas;
        let partition = if self.cuts.is_empty() {
            ((u128::from(position) * partitions as u128) >> 64) as usize
        } else {
            self.cuts.partition_point(|cut| *cut < position) % partitions
        };
        &self.owners[partition * self.replicas..(partition + 1) * self.replicas]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    fn body(owners: &[u16], cuts: &[u64]) -> serde_json::Value {
        let owners: Vec<u8> = owners.iter().flat_map(|owner| owner.to_le_bytes()).collect();
        let cuts: Vec<u8> = cuts.iter().flat_map(|cut| cut.to_le_bytes()).collect();
        json!({
            "view": "3-stable",
            "placement": {
                "partitions": 2, "replicas": 2, "nodes": [{ "api": "n1:1" }, { "api": "n2:2" }, { "api": "n3:3" }],
                "owners": STANDARD.encode(owners), "cuts": STANDARD.encode(cuts),
            },
        })
    }

    fn read(body: &serde_json::Value) -> Result<Placement, MalformedReply> {
        Placement::read(body.to_string().as_bytes())
    }

    #[test]
    fn a_key_is_owned_by_where_its_digest_lies() {
        // The digests of `a` and `b` begin with 0c and 92: the first and the second half.
        let equal = read(&body(&[0, 1, 2, 0], &[])).unwrap();
        assert_eq!((equal.owners_of(b"a"), equal.owners_of(b"b")), (&[0, 1][..], &[2, 0][..]));
        // Cut below both: both lie behind the first partition.
        let unequal = read(&body(&[0, 1, 2, 0], &[1 << 56, u64::MAX])).unwrap();
        assert_eq!((unequal.owners_of(b"a"), unequal.owners_of(b"b")), (&[2, 0][..], &[2, 0][..]));
        // Behind the last cut comes the first partition again.
        let around = read(&body(&[0, 1, 2, 0], &[1 << 56, 2 << 56])).unwrap();
        assert_eq!(around.owners_of(b"b"), [0, 1]);
    }

    #[test]
    fn placements_that_cannot_be_are_refused() {
        let refused = |body: serde_json::Value| read(&body).unwrap_err().to_string();
        assert!(refused(body(&[0, 1, 2], &[])).contains("as many owners"));
        assert!(refused(body(&[0, 1, 2, 3], &[])).contains("none of its nodes"));
        assert!(refused(body(&[0, 1, 2, 0], &[9])).contains("follow each other"));
        assert!(refused(body(&[0, 1, 2, 0], &[9, 3])).contains("follow each other"));
        let mut none = body(&[], &[]);
        none["placement"]["partitions"] = 0.into();
        assert!(refused(none).contains("as many owners"));
        assert!(refused(json!({ "view": "3-stable" })).contains("JSON"));
    }

    #[test]
    fn views_follow_each_other() {
        let after = |a: &str, b: &str| ViewName::new(a).is_after(&ViewName::new(b));
        assert!(after("10-copying", "9-stable") && after("9-stable", "9-reading-new"));
        assert!(!after("9-copying", "9-stable") && !after("9-stable", "9-stable"));
        assert!(after("new", "old") && after("old", "new") && !after("old", "old"), "who knows");
    }
}
