//! What comes after a view: the next phase of a change, or the view after another change, which its
//! members must choose. Choosing is the business of `decree`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Phase, Previous, View, ViewVersion, nodes_of};
use crate::config::{self, Member, NodeId};
use crate::ring::{Placement, PlacementError};

/// One administrator's wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node joins.
    Join(Member),
    /// A node hands its copies over and goes.
    Leave(NodeId),
    /// A node is gone for good and hands nothing over.
    Remove(NodeId),
    /// A member votes on registers as another disk from now on: it may have forgotten what it voted
    /// before. Nothing moves.
    Name {
        /// Which.
        node: NodeId,
        /// The name of the disk.
        disk: u64,
    },
}

/// Why a change was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// One change at a time.
    #[error("the cluster is still moving data for an earlier change (view {0}); wait until it is stable")]
    UnderWay(ViewVersion),
    /// The name is taken.
    #[error("node {0} is a member already")]
    Known(NodeId),
    /// There is no such member.
    #[error("node {0} is not a member")]
    Unknown(NodeId),
    /// Token placement renumbers its partitions whenever a node comes or goes.
    #[error(
        "a store placed by `tokens` cannot change its members while it serves: its partitions are numbered by the tokens; use placement = \"quota\""
    )]
    Renumbers,
    /// Two nodes cannot be reached at one address.
    #[error("{address} is an address of node {of}; give node {id} addresses of its own")]
    AddressTaken {
        /// Which.
        address: String,
        /// Whose it is.
        of: NodeId,
        /// Who was to get it.
        id: NodeId,
    },
    /// Votes are not made up for by copies.
    #[error(
        "what the lost owners of a linearizable store had chosen cannot be told from what is left; back up what there is (`quorate cluster backup --partial`) and restore it into a new store"
    )]
    VotesLost,
    /// Too few nodes would be left.
    #[error("{left} node(s) would be left for {replicas} copies; add a node first")]
    TooFew {
        /// Members after the change.
        left: usize,
        /// N.
        replicas: usize,
    },
    /// The partitions cannot be placed so.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}

impl View {
    /// The same members, one phase further.
    #[must_use]
    pub fn advanced(&self) -> Self {
        let mut next = self.clone();
        match self.version.phase {
            Phase::Copying => next.version.phase = Phase::ReadingNew,
            Phase::ReadingNew | Phase::Stable => {
                next.version.phase = Phase::Stable;
                let Some(previous) = next.previous.take().filter(|_| next.collects) else { return next };
                let left = previous.departing.into_iter().filter(|m| !previous.removed.contains(&m.id));
                next.departed.extend(left);
            }
        }
        next
    }

    /// The view after `change`, to be proposed to the members.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn successor(&self, change: &Change) -> Result<Self, ChangeError> {
        if self.version.phase != Phase::Stable {
            return Err(ChangeError::UnderWay(self.version));
        }
        if self.placement.rules().strategy == config::Placement::Tokens {
            return Err(ChangeError::Renumbers);
        }
        let mut members = self.members.clone();
        let mut departed = self.departed.clone();
        let mut departing = Vec::new();
        let mut removed = BTreeSet::new();
        match change {
            Change::Join(member) => {
                if self.member(member.id).is_some() {
                    return Err(ChangeError::Known(member.id));
                }
                if let Some((address, of)) = member.address_shared_with(&members) {
                    return Err(ChangeError::AddressTaken { address: address.to_owned(), of, id: member.id });
                }
                members.push(member.clone());
                departed.retain(|left| left.id != member.id);
                members.sort_by_key(|m| m.id);
            }
            // It left, and will not come back to say that it keeps nothing.
            Change::Remove(node) if departed.iter().any(|left| left.id == *node) => {
                departed.retain(|left| left.id != *node);
            }
            Change::Name { node, .. } => {
                self.member(*node).ok_or(ChangeError::Unknown(*node))?;
            }
            Change::Leave(node) | Change::Remove(node) => {
                let at = members.iter().position(|m| m.id == *node).ok_or(ChangeError::Unknown(*node))?;
                departing.push(members.remove(at));
                if matches!(change, Change::Remove(_)) {
                    removed.insert(*node);
                }
            }
        }
        let replicas = self.placement.replicas();
        if members.len() < replicas {
            return Err(ChangeError::TooFew { left: members.len(), replicas });
        }
        let placement = if members == self.members {
            self.placement.clone()
        } else {
            self.placement.try_change(&nodes_of(&members))?
        };
        Ok(Self {
            lineage: self.lineage,
            version: ViewVersion { epoch: self.version.epoch + 1, phase: Phase::Copying, fence: 0 },
            owned_since: if self.is_linearizable { self.owned_since_in(&placement) } else { BTreeMap::new() },
            placement,
            members,
            previous: Some(Previous { placement: self.placement.clone(), departing, removed }),
            collects: self.collects,
            is_linearizable: self.is_linearizable,
            disks: self.disks.clone(),
            namings: self.namings + u64::from(matches!(change, Change::Name { .. })),
            departed,
            collected: self.collected,
        })
        .map(|next| match change {
            Change::Name { node, disk } => next.naming(*node, Some(*disk)),
            Change::Join(_) | Change::Leave(_) | Change::Remove(_) => next,
        })
    }

    /// The view after so many members were `lost` for good that the rest cannot choose one: without them,
    /// and with those that `join`. It is chosen by nobody but whoever orders it, so it must be ordered
    /// once, and those that were lost must not come back on their disks.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn without_lost(&self, lost: &BTreeSet<NodeId>, join: &[Member]) -> Result<Self, ChangeError> {
        if self.is_linearizable {
            return Err(ChangeError::VotesLost);
        }
        if self.version.phase != Phase::Stable {
            return Err(ChangeError::UnderWay(self.version));
        }
        if self.placement.rules().strategy == config::Placement::Tokens {
            return Err(ChangeError::Renumbers);
        }
        if let Some(stranger) = lost.iter().find(|node| self.member(**node).is_none()) {
            return Err(ChangeError::Unknown(*stranger));
        }
        let is_lost = |member: &Member| lost.contains(&member.id);
        let (departing, mut members): (Vec<Member>, Vec<Member>) =
            self.members.iter().cloned().partition(is_lost);
        for member in join {
            if self.has_part(member.id) || members.iter().any(|m| m.id == member.id) {
                return Err(ChangeError::Known(member.id));
            }
            if let Some((address, of)) = member.address_shared_with(&members) {
                return Err(ChangeError::AddressTaken { address: address.to_owned(), of, id: member.id });
            }
            members.push(member.clone());
        }
        members.sort_by_key(|m| m.id);
        let replicas = self.placement.replicas();
        if members.len() < replicas {
            return Err(ChangeError::TooFew { left: members.len(), replicas });
        }
        Ok(Self {
            version: ViewVersion { epoch: self.version.epoch + 1, phase: Phase::Copying, fence: 0 },
            placement: self.placement.try_change(&nodes_of(&members))?,
            members,
            previous: Some(Previous { placement: self.placement.clone(), departing, removed: lost.clone() }),
            departed: self.departed.iter().filter(|left| !is_lost(left)).cloned().collect(),
            ..self.clone()
        })
    }

    /// Of how many partitions no owner is left without `lost`, and of how many so few that a write
    /// which W owners acknowledged may be on none of them.
    #[must_use]
    pub fn losses(&self, lost: &BTreeSet<NodeId>, write_quorum: usize) -> (u32, u32) {
        let (mut all, mut some) = (0, 0);
        for partition in 0..self.placement.partitions() {
            let owners: Vec<NodeId> = self.placement.owners(partition).collect();
            let gone = owners.iter().filter(|owner| lost.contains(owner)).count();
            all += u32::from(gone == owners.len());
            some += u32::from(gone >= write_quorum.min(owners.len()));
        }
        (all, some)
    }

    /// As [`View::owned_since`], in the view after this one. Owners before it are kept until the next.
    fn owned_since_in(&self, next: &Placement) -> BTreeMap<(u32, NodeId), u64> {
        let mut since = BTreeMap::new();
        for partition in 0..next.partitions() {
            let old: Vec<NodeId> = self.placement.owners(partition).collect();
            for owner in next.owners(partition).filter(|owner| !old.contains(owner)) {
                since.insert((partition, owner), self.version.epoch + 1);
            }
            for owner in old {
                if let Some(epoch) = self.owned_since.get(&(partition, owner)) {
                    since.insert((partition, owner), *epoch);
                }
            }
        }
        since
    }
}
