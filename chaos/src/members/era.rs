//! Who owned what when, as far as anybody outside can know.

use quorate_client::read_owners;
use quorate_cluster::membership::View;
use serde::Deserialize;

use crate::fault::Span;

/// A time in which some node may have acted by one and the same view. Eras overlap: the next begins
/// when the first request for its change is sent, the one before ends when every member was seen
/// past it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Era {
    /// When.
    pub span: Span,
    /// Names of the members, in order.
    pub members: Vec<String>,
    /// The owners of every partition.
    pub owners: Vec<Vec<String>>,
}

impl Era {
    /// The era of the members that the cluster was started with. It has no end yet.
    #[must_use]
    pub fn first(view: &View) -> Self {
        let placement = view.placement();
        let row = |partition| placement.owners(partition).map(|id| id.to_string()).collect();
        Self {
            span: Span { from_ns: 0, until_ns: u64::MAX },
            members: view.members().iter().map(|m| m.id.to_string()).collect(),
            owners: (0..placement.partitions()).map(row).collect(),
        }
    }

    /// The owners of a partition; nobody for one that there is not.
    #[must_use]
    pub fn owners_of(&self, partition: u32) -> &[String] {
        usize::try_from(partition).ok().and_then(|row| self.owners.get(row)).map_or(&[], Vec::as_slice)
    }
}

/// What a node says of its view at `GET /cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ViewSeen {
    /// `<epoch>-<phase>`.
    pub view: String,
    /// Changes of a linearizable store that nobody asked for: members' disks that were named.
    #[serde(default)]
    namings: u64,
    members: Vec<MemberSeen>,
    placement: PlacementSeen,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PlacementSeen {
    partitions: u32,
    replicas: u32,
    nodes: Vec<MemberSeen>,
    owners: String,
    /// While data moves: where to.
    next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct MemberSeen {
    id: String,
}

impl ViewSeen {
    /// Whether `node` is a member.
    #[must_use]
    pub fn has(&self, node: &str) -> bool {
        self.members.iter().any(|m| m.id == node)
    }

    /// Which view, counted from 1 by the changes that somebody asked for. Nothing if the text is not of
    /// the known form.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        let epoch: u64 = self.view.split_once('-')?.0.parse().ok()?;
        epoch.checked_sub(self.namings)
    }

    /// Whether no data moves.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.view.ends_with("-stable")
    }

    /// Whether it is the next view after `era`, the `count`th, with no other change than that `node`
    /// came (or went, unless it `joins`).
    #[must_use]
    pub fn follows(&self, era: &Era, count: usize, node: &str, joins: bool) -> bool {
        self.epoch() == u64::try_from(count + 1).ok()
            && self.has(node) == joins
            && era.members.iter().any(|member| member == node) != joins
    }

    /// Whether its members are those of `era`. Two views of one count with different members would be a
    /// ring that has forked.
    #[must_use]
    pub fn is_of(&self, era: &Era) -> bool {
        self.members.len() == era.members.len() && era.members.iter().all(|member| self.has(member))
    }

    /// The era of this view, which began at `from_ns` at the earliest.
    #[must_use]
    pub fn era(&self, from_ns: u64) -> Era {
        Era {
            span: Span { from_ns, until_ns: u64::MAX },
            members: self.members.iter().map(|m| m.id.clone()).collect(),
            owners: self.placement.settled_owners(),
        }
    }
}

impl PlacementSeen {
    /// The owners once nothing moves any more; nobody for what is not in the known form.
    fn settled_owners(&self) -> Vec<Vec<String>> {
        let told = self.next.as_ref().unwrap_or(&self.owners);
        let owners = read_owners(told, self.partitions, self.replicas, self.nodes.len());
        let (Ok(owners), 1..) = (owners, self.replicas) else { return Vec::new() };
        let name = |owner: &u32| self.nodes[*owner as usize].id.clone();
        owners.chunks(self.replicas as usize).map(|row| row.iter().map(name).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_view_is_read_as_nodes_tell_it() {
        let told = r#"{"node":"n1","view":"12-reading-new","members":[{"id":"n1","suspected":false},{"id":"n6"}],
                       "placement":{"partitions":2,"replicas":2,"nodes":[{"id":"n1"},{"id":"n2"},{"id":"n6"}],
                                    "owners":"AAABAAIAAAA=","next":"AAACAAIAAAA="}}"#;
        let seen: ViewSeen = serde_json::from_str(told).unwrap();
        assert_eq!(
            (seen.epoch(), seen.is_stable(), seen.has("n6"), seen.has("n2")),
            (Some(12), false, true, false)
        );
        let none = told.replace(r#""replicas":2"#, r#""replicas":0"#);
        let senseless: ViewSeen = serde_json::from_str(&none).unwrap();
        assert!(senseless.era(7).owners_of(0).is_empty());
        let era = seen.era(7);
        assert_eq!(era.owners_of(0), ["n1", "n6"], "where data moves to, not where it is read");
        assert_eq!(era.owners_of(1), ["n6", "n1"]);
        assert!(era.owners_of(2).is_empty());
        assert_eq!(era.span, Span { from_ns: 7, until_ns: u64::MAX });

        assert!(seen.is_of(&era));
        assert!(!seen.is_of(&Era { members: vec!["n1".into(), "n2".into()], ..era.clone() }));
        let before = |members: &[&str]| Era {
            members: members.iter().map(|&m| m.to_owned()).collect(),
            ..Era { owners: Vec::new(), ..era.clone() }
        };
        assert!(seen.follows(&before(&["n1"]), 11, "n6", true));
        assert!(!seen.follows(&before(&["n1"]), 12, "n6", true), "the view of another change");
        assert!(!seen.follows(&before(&["n1"]), 11, "n2", false), "it was no member before");
        assert!(seen.follows(&before(&["n1", "n2", "n6"]), 11, "n2", false));
    }
}
