//! Who is in the cluster: a versioned view that placement is a function of.
//!
//! The members are given at start. Not here: who is alive, which only requests find out
//! (`rpc::peers` keeps what they found).

use sha2::{Digest, Sha256};

use crate::config::{Member, NodeId, StoreDefinition};
use crate::ring::{Placement, PlacementNode, Rules};

/// The members at one point of the cluster's history, and the placement that follows.
#[derive(Clone, Debug)]
pub struct View {
    version: u64,
    members: Vec<Member>,
    placement: Placement,
}

impl View {
    /// The view of `members`, placed by quotas.
    ///
    /// # Panics
    /// As [`View::by`].
    #[must_use]
    pub fn new(members: Vec<Member>, partitions: u32, replicas: usize) -> Self {
        Self::by(members, Rules::quota(partitions, replicas))
    }

    /// The view of `members`, placed as the store's definition says.
    ///
    /// # Panics
    /// As [`View::by`].
    #[must_use]
    pub fn of_store(members: Vec<Member>, store: &StoreDefinition) -> Self {
        Self::by(members, Rules::of_store(store))
    }

    /// The view of `members`, sorted by id. Its version is a digest of who they are, what they
    /// hold and how the ring is cut, so nodes that were told different members notice.
    ///
    /// # Panics
    /// If the rules cannot place them (`Rules::check`), which a `Config` has made sure of.
    #[must_use]
    pub fn by(mut members: Vec<Member>, rules: Rules) -> Self {
        members.sort_by_key(|m| m.id);
        let nodes: Vec<PlacementNode> = members.iter().map(PlacementNode::from).collect();
        let mut hash = Sha256::new();
        hash.update(format!("{rules:?}"));
        for member in &members {
            hash.update(member.id.as_bytes());
            hash.update(member.capacity.to_be_bytes());
            hash.update((member.zone.len() as u64).to_be_bytes());
            hash.update(member.zone.as_bytes());
        }
        let version = hash.finalize().iter().take(8).fold(0, |v, b| (v << 8) | u64::from(*b));
        let placement = Placement::by(rules, &nodes).unwrap_or_else(|e| panic!("{e}"));
        Self { version, members, placement }
    }

    /// Travels with every message between peers.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All nodes, sorted by id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The node called `id`.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.binary_search_by_key(&id, |m| m.id).ok().map(|at| &self.members[at])
    }

    /// Who owns which partition.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn member(id: &str, capacity: u32) -> Member {
        Member {
            id: id.parse().unwrap(),
            peer: String::new(),
            api: String::new(),
            capacity,
            zone: String::new(),
        }
    }

    #[test]
    fn nodes_told_different_members_have_different_versions() {
        let view = |members: &[Member]| View::new(members.to_vec(), 8, 1).version();
        let (a, b) = (member("a", 1), member("b", 1));
        assert_eq!(view(&[a.clone(), b.clone()]), view(&[b.clone(), a.clone()]));
        assert_ne!(view(&[a.clone(), b.clone()]), view(&[a.clone(), member("b", 2)]));
        assert_ne!(
            view(&[a.clone(), b.clone()]),
            view(&[a.clone(), Member { zone: "z".into(), ..b.clone() }])
        );
        assert_ne!(view(&[a.clone(), b]), view(&[a]));
    }
}
