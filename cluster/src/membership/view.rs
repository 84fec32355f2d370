//! A view: the members at one point of the cluster's history, who owns what, and what is moving.
//!
//! Views form one chain. Each has exactly one successor, chosen by its members (`decree`), and
//! then passes through phases that every node may take by itself once the evidence is in:
//!
//! | phase | get asks | put needs W in |
//! |---|---|---|
//! | copying | the old owners | the old and the new owners |
//! | reading new | the new owners | the old and the new owners |
//! | stable | the owners | the owners |
//!
//! Two phases that follow each other may be in use at the same time: whatever one acknowledges
//! the other reads. Phases further apart may not; a node therefore refuses requests sent under
//! another view than its own, and a phase ends only when too few nodes are left in the one
//! before to meet a quorum there.

mod change;
mod fence;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{Member, NodeId, StoreDefinition};
use crate::ring::{Placement, PlacementNode, PreferenceList, Rules};

pub use change::{Change, ChangeError};

/// How far the change that made a view has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// New owners merge what the old ones hold.
    Copying,
    /// New owners hold all of it and are read.
    ReadingNew,
    /// The old owners are no longer needed.
    Stable,
}

/// Orders all views of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewVersion {
    /// Counts changes of the members; the first members are epoch 1.
    pub epoch: u64,
    /// How far the change has come.
    pub phase: Phase,
    /// Counts the fences of a stable view (`fence`): they change nothing, but what was sent under
    /// one view is refused under the next.
    pub fence: u64,
}

impl ViewVersion {
    /// Before every view.
    pub const NONE: Self = Self { epoch: 0, phase: Phase::Copying, fence: 0 };
}

impl fmt::Display for ViewVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Copying => "copying",
            Phase::ReadingNew => "reading-new",
            Phase::Stable => "stable",
        };
        write!(f, "{}-{phase}", self.epoch)
    }
}

/// The members, their placement, and what is moving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// A digest of the first members and of how the ring is cut.
    lineage: u64,
    version: ViewVersion,
    members: Vec<Member>,
    placement: Placement,
    /// Where the data comes from while it moves.
    previous: Option<Previous>,
    /// Whether the store forgets deletes: then those that left are remembered.
    collects: bool,
    /// Whether its keys are registers: then nobody is taken at anybody else's word.
    is_linearizable: bool,
    /// As which disk nodes vote on registers; those that are not named as the first they had.
    disks: BTreeMap<NodeId, u64>,
    /// How many changes did nothing but name a disk.
    namings: u64,
    /// Of registers: the epoch in which an owner of a partition became one, if that was not the first.
    owned_since: BTreeMap<(u32, NodeId), u64>,
    /// Members that left and may still keep something, or work on it. Nobody without `collects`.
    departed: Vec<Member>,
    /// The fence that everybody was behind before deletes were last forgotten.
    collected: ViewVersion,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Previous {
    placement: Placement,
    /// Members that go with this change; still asked while data moves.
    departing: Vec<Member>,
    /// Of those, who hands nothing over.
    removed: BTreeSet<NodeId>,
}

impl View {
    /// The first view of a cluster, placed by quotas.
    ///
    /// # Panics
    /// As [`View::by`].
    #[must_use]
    pub fn new(members: Vec<Member>, partitions: u32, replicas: usize) -> Self {
        Self::by(members, Rules::quota(partitions, replicas))
    }

    /// The first view of a cluster, placed as the store's definition says.
    ///
    /// # Panics
    /// As [`View::by`].
    #[must_use]
    pub fn of_store(members: Vec<Member>, store: &StoreDefinition) -> Self {
        Self {
            collects: store.collects_tombstones(),
            is_linearizable: store.is_linearizable(),
            ..Self::by(members, Rules::of_store(store))
        }
    }

    /// The first view of a cluster, of members that all were given the same list.
    ///
    /// # Panics
    /// If the rules cannot place them (`Rules::check`), which a `Config` has made sure of.
    #[must_use]
    pub fn by(mut members: Vec<Member>, rules: Rules) -> Self {
        members.sort_by_key(|m| m.id);
        let placement = Placement::by(rules, &nodes_of(&members)).unwrap_or_else(|e| panic!("{e}"));
        let lineage = lineage_of(&members, rules);
        let version = ViewVersion { epoch: 1, phase: Phase::Stable, fence: 0 };
        let (collects, departed, collected) = (false, Vec::new(), ViewVersion::NONE);
        Self {
            lineage,
            version,
            members,
            placement,
            previous: None,
            collects,
            is_linearizable: false,
            disks: BTreeMap::new(),
            namings: 0,
            owned_since: BTreeMap::new(),
            departed,
            collected,
        }
    }

    /// Tells this chain from that of nodes that were told other first members.
    #[must_use]
    pub fn lineage(&self) -> u64 {
        self.lineage
    }

    /// Where it stands in the chain.
    #[must_use]
    pub fn version(&self) -> ViewVersion {
        self.version
    }

    /// All members, sorted by id; those that are leaving are not among them.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Members, those that are still leaving, and those that left and may still keep something.
    pub fn everybody(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().chain(self.previous.iter().flat_map(|p| &p.departing)).chain(&self.departed)
    }

    /// Whether `node` is one of [`View::everybody`].
    #[must_use]
    pub fn has_part(&self, node: NodeId) -> bool {
        self.everybody().any(|m| m.id == node)
    }

    /// Who was taken out without handing anything over, while that change is under way.
    #[must_use]
    pub fn is_removed(&self, node: NodeId) -> bool {
        self.previous.as_ref().is_some_and(|p| p.removed.contains(&node))
    }

    /// The member called `id`.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.binary_search_by_key(&id, |m| m.id).ok().map(|at| &self.members[at])
    }

    /// Whether keys are registers.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        self.is_linearizable
    }

    /// As which disk `node` votes on registers; none if as the first it had.
    #[must_use]
    pub fn disk_of(&self, node: NodeId) -> Option<u64> {
        self.disks.get(&node).copied()
    }

    /// How many of the changes before it did nothing but name a disk: the others are those that
    /// somebody asked for.
    #[must_use]
    pub fn namings(&self) -> u64 {
        self.namings
    }

    /// The same view, in which `node` votes as `disk`.
    #[must_use]
    pub fn naming(mut self, node: NodeId, disk: Option<u64>) -> Self {
        if let Some(disk) = disk {
            self.disks.insert(node, disk);
        }
        self
    }

    /// Who will own what once the change is through.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The owners that a get asks.
    #[must_use]
    pub fn read_owners(&self, partition: u32) -> Vec<NodeId> {
        match &self.previous {
            Some(previous) if self.version.phase == Phase::Copying => {
                previous.placement.owners(partition).collect()
            }
            _ => self.placement.owners(partition).collect(),
        }
    }

    /// The owner sets in each of which a put needs W: one, or two while the partition moves.
    #[must_use]
    pub fn write_sets(&self, partition: u32) -> Vec<Vec<NodeId>> {
        let new: Vec<NodeId> = self.placement.owners(partition).collect();
        match &self.previous {
            Some(previous) if self.version.phase != Phase::Stable => {
                let old: Vec<NodeId> = previous.placement.owners(partition).collect();
                if same_nodes(&old, &new) { vec![new] } else { vec![old, new] }
            }
            _ => vec![new],
        }
    }

    /// Everybody who must get a copy of what is written now.
    #[must_use]
    pub fn write_owners(&self, partition: u32) -> Vec<NodeId> {
        let mut owners: Vec<NodeId> = Vec::new();
        for owner in self.write_sets(partition).into_iter().flatten() {
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        owners
    }

    /// Whom a get asks, in order.
    #[must_use]
    pub fn read_list(&self, partition: u32, nodes_max: usize) -> PreferenceList {
        self.list(self.read_owners(partition), partition, nodes_max)
    }

    /// Whom a put asks, in order.
    #[must_use]
    pub fn write_list(&self, partition: u32, nodes_max: usize) -> PreferenceList {
        self.list(self.write_owners(partition), partition, nodes_max)
    }

    fn list(&self, primaries: Vec<NodeId>, partition: u32, nodes_max: usize) -> PreferenceList {
        let walk = self.placement.preference_list(partition, nodes_max);
        let fallbacks = walk
            .primaries
            .into_iter()
            .chain(walk.fallbacks)
            .filter(|node| !primaries.contains(node))
            .collect();
        PreferenceList { primaries, fallbacks }
    }

    /// How many members are not among the `suspected`, who may be members or not.
    #[must_use]
    pub fn unsuspected(&self, suspected: &BTreeSet<NodeId>) -> usize {
        self.members.iter().filter(|m| !suspected.contains(&m.id)).count()
    }

    /// Whether this may come after `before` in its chain, as far as that can be told by looking at
    /// both, and nothing in it contradicts the rest. Views come from peers.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let fits = |placement: &Placement| {
            placement.rules() == before.placement.rules()
                && placement.partitions() == before.placement.partitions()
        };
        let is_sound = match &self.previous {
            None => self.version.phase == Phase::Stable,
            Some(previous) => {
                let departs = |id: &NodeId| previous.departing.iter().any(|m| m.id == *id);
                let everybody: BTreeSet<NodeId> = self.everybody().map(|m| m.id).collect();
                self.version.phase != Phase::Stable
                    && fits(&previous.placement)
                    && previous.placement.nodes().iter().all(|node| everybody.contains(&node.id))
                    && previous.removed.iter().all(departs)
                    && !previous.departing.iter().any(|m| self.member(m.id).is_some())
            }
        };
        self.lineage == before.lineage
            && self.version > before.version
            // There is always one after it.
            && self.version.epoch < u64::MAX
            && (self.version.phase == Phase::Stable || self.version.fence == 0)
            && (self.version.epoch > before.version.epoch || self.members == before.members)
            && self.collects == before.collects
            && self.is_linearizable == before.is_linearizable
            && fits(&self.placement)
            && self.members.is_sorted_by(|a, b| a.id < b.id)
            && self.placement.nodes() == nodes_of(&self.members)
            && is_sound
    }

    /// Whether the change that led here is the one that leads to `wanted`, however far it has come.
    #[must_use]
    pub fn makes_the_change_of(&self, wanted: &Self) -> bool {
        // In the end it can no longer be told how a member went.
        let same_previous = self.version.phase == Phase::Stable || self.previous == wanted.previous;
        self.version.epoch == wanted.version.epoch
            && self.members == wanted.members
            && self.placement == wanted.placement
            && self.disks == wanted.disks
            && same_previous
    }

    /// The partitions that `node` must have copies of now: those it is written to.
    #[must_use]
    pub fn partitions_written_to(&self, node: NodeId) -> Vec<u32> {
        (0..self.placement.partitions()).filter(|p| self.write_owners(*p).contains(&node)).collect()
    }

    /// The partitions that `node` gains by the change under way.
    #[must_use]
    pub fn gained_by(&self, node: NodeId) -> Vec<u32> {
        let Some(previous) = self.previous.as_ref().filter(|_| self.version.phase == Phase::Copying) else {
            return Vec::new();
        };
        let owns = |placement: &Placement, partition| placement.owners(partition).any(|owner| owner == node);
        (0..self.placement.partitions())
            .filter(|p| owns(&self.placement, *p) && !owns(&previous.placement, *p))
            .collect()
    }

    /// The nodes that gain something by the change under way.
    #[must_use]
    pub fn gaining(&self) -> BTreeSet<NodeId> {
        let Some(previous) = self.previous.as_ref().filter(|_| self.version.phase == Phase::Copying) else {
            return BTreeSet::new();
        };
        let mut gaining = BTreeSet::new();
        for partition in 0..self.placement.partitions() {
            let is_new = |owner: &NodeId| !previous.placement.owners(partition).any(|old| old == *owner);
            gaining.extend(self.placement.owners(partition).filter(is_new));
        }
        gaining
    }

    /// The owners that `node` must merge a partition from which it does not hold whole, and how
    /// many of them: then it has met every write quorum that ever acknowledged there. Nothing if
    /// nobody asks it for the partition, now or in the next phase. `lost` are those that were said
    /// to be gone for good since the change began.
    ///
    /// They are those that gets ask: the old owners while new ones copy. A write that is
    /// acknowledged meanwhile has a quorum among them too.
    #[must_use]
    pub fn sources(
        &self,
        node: NodeId,
        partition: u32,
        write_quorum: usize,
        lost: &BTreeSet<NodeId>,
    ) -> Option<(Vec<NodeId>, usize)> {
        let owners = self.read_owners(partition);
        if !owners.contains(&node) && !self.placement.owners(partition).any(|owner| owner == node) {
            return None;
        }
        let needed = owners.len() + 1 - write_quorum.min(owners.len());
        if self.is_linearizable {
            // With fewer something that was chosen may be missing. Who is said to be gone and answers
            // all the same is as good as any other.
            return Some((owners.into_iter().filter(|owner| *owner != node).collect(), needed));
        }
        let able: Vec<NodeId> = owners
            .into_iter()
            .filter(|owner| *owner != node && !self.is_removed(*owner) && !lost.contains(owner))
            .collect();
        let needed = needed.min(able.len());
        Some((able, needed))
    }

    /// Whether enough nodes are past the copying phase that no get can succeed in it any more:
    /// N-R+1 of the old owners of every partition that moves.
    #[must_use]
    pub fn can_settle(&self, past_copying: &BTreeSet<NodeId>, read_quorum: usize) -> bool {
        let Some(previous) = &self.previous else { return true };
        (0..self.placement.partitions()).filter(|p| self.write_sets(*p).len() > 1).all(|partition| {
            let old: Vec<NodeId> = previous.placement.owners(partition).collect();
            let needed = old.len() + 1 - read_quorum.min(old.len());
            // Who was removed does not answer gets either; but it may still vote.
            let is_gone = |owner: &NodeId| !self.is_linearizable && previous.removed.contains(owner);
            old.iter().filter(|o| past_copying.contains(o) || is_gone(o)).count() >= needed
        })
    }

    /// Whether what moves can be read from its new owners once all but those in `lost` hold what they
    /// gain. Registers need a majority of voters; elsewhere nobody waits for who is lost.
    #[must_use]
    pub fn can_do_without(&self, lost: &BTreeSet<NodeId>) -> bool {
        let Some(previous) = self.previous.as_ref().filter(|_| self.is_linearizable) else { return true };
        (0..self.placement.partitions()).all(|partition| {
            let owners: Vec<NodeId> = self.placement.owners(partition).collect();
            let is_old = |owner: &NodeId| previous.placement.owners(partition).any(|old| old == *owner);
            let voters = owners.iter().filter(|owner| is_old(owner) || !lost.contains(owner)).count();
            voters > owners.len() / 2
        })
    }

    /// The epoch since which `node`, who owns the partition or did until this change, has owned it
    /// without a break. Only kept of registers.
    #[must_use]
    pub fn owned_since(&self, partition: u32, node: NodeId) -> u64 {
        self.owned_since.get(&(partition, node)).copied().unwrap_or(FIRST_EPOCH)
    }

    /// How many partitions each node owns once the change is through.
    #[must_use]
    pub fn partitions_owned(&self) -> BTreeMap<NodeId, u32> {
        let mut owned = BTreeMap::new();
        for partition in 0..self.placement.partitions() {
            for owner in self.placement.owners(partition) {
                *owned.entry(owner).or_default() += 1;
            }
        }
        owned
    }
}

/// The epoch of the first members.
const FIRST_EPOCH: u64 = 1;

fn nodes_of(members: &[Member]) -> Vec<PlacementNode> {
    members.iter().map(PlacementNode::from).collect()
}

fn lineage_of(members: &[Member], rules: Rules) -> u64 {
    let mut hash = Sha256::new();
    hash.update(format!("{rules:?}"));
    for member in members {
        hash.update(member.id.as_bytes());
        hash.update(member.capacity.to_be_bytes());
        hash.update((member.zone.len() as u64).to_be_bytes());
        hash.update(member.zone.as_bytes());
    }
    hash.finalize().iter().take(8).fold(0, |digest, byte| (digest << 8) | u64::from(*byte))
}

fn same_nodes(a: &[NodeId], b: &[NodeId]) -> bool {
    a.len() == b.len() && a.iter().all(|node| b.contains(node))
}

#[cfg(test)]
mod tests;
