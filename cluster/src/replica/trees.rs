//! The hash trees of this node's partitions, kept as copies change.
//!
//! A tree is built from what the engine holds while writes go on, and from then on follows every
//! write to its partition. Building again and comparing shows what changed behind the node's back.
//!
//! Invariant: a slot's lock is held from before a write is appended until the tree has taken note
//! of it, so that whoever holds the lock sees tree and engine agree.
//!
//! Memory: see [`Tree`]; nothing for partitions that are not compared.

use std::sync::{Mutex, MutexGuard};

use super::{keys, lock};
use crate::merkle::Tree;
use crate::planted::{Bug, is_planted};

/// One slot for every partition of the store.
pub(super) struct Trees {
    slots: Box<[Mutex<Slot>]>,
}

/// The tree of one partition, if it has one.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) tree: Option<Box<Tree>>,
    build: Option<Box<Build>>,
    builds: u64,
    /// Counts writes to the partition.
    pub(super) changes: u64,
    /// Counts reasons to think that the tree is wrong, and how many of them are dealt with.
    doubts: u64,
    settled: u64,
}

/// A tree in the making.
struct Build {
    number: u64,
    tree: Tree,
    /// All stored keys up to this one are in the tree.
    cursor: Vec<u8>,
    doubts: u64,
}

/// What became of a record: its digests before and after, none for no record.
pub(super) struct Change {
    pub(super) old: Option<u64>,
    pub(super) new: Option<u64>,
}

/// Stored keys of one partition behind each other, with the hashes of keys and the digests of
/// records.
pub(super) struct DigestPage {
    pub(super) digests: Vec<(u64, u64)>,
    /// The last key looked at; none when there was none.
    pub(super) last: Option<Vec<u8>>,
    /// Whether there is nothing behind it.
    pub(super) is_last: bool,
}

/// How a finished tree compares with the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// There was none, or a doubtful one.
    Nothing,
    Same,
    Different,
}

impl Trees {
    pub(super) fn new(partitions: u32) -> Self {
        Self { slots: (0..partitions).map(|_| Mutex::default()).collect() }
    }

    pub(super) fn slot(&self, partition: u32) -> Option<MutexGuard<'_, Slot>> {
        self.slots.get(partition as usize).map(lock)
    }

    /// The slot of a copy's partition; nothing for what is no copy.
    pub(super) fn slot_of(&self, stored: &[u8]) -> Option<MutexGuard<'_, Slot>> {
        self.slot(keys::partition_of_data(stored)?)
    }

    /// Bytes of memory that all trees take.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |slot: &Mutex<Slot>| lock(slot).tree.as_ref().map_or(0, |tree| tree.bytes() as u64);
        self.slots.iter().map(bytes).sum()
    }

    /// Drops the trees of all partitions but those for which `keep` holds.
    pub(super) fn retain(&self, keep: impl Fn(u32) -> bool) {
        for (partition, slot) in (0_u32..).zip(&self.slots) {
            if !keep(partition) {
                let mut slot = lock(slot);
                (slot.tree, slot.build) = (None, None);
            }
        }
    }
}

impl Slot {
    /// The tree, if there is one that nothing speaks against.
    pub(super) fn trusted(&self) -> Option<&Tree> {
        self.tree.as_deref().filter(|_| self.doubts == self.settled)
    }

    /// Something may have changed without a write.
    pub(super) fn doubt(&mut self) {
        self.doubts += u64::from(!is_planted(Bug::TreeFromMemory));
    }

    /// Takes note of a write that was appended.
    pub(super) fn changed(&mut self, stored: &[u8], key_hash: u64, change: &Change) {
        self.changes += 1;
        if self.tree.is_none() && self.build.is_none() {
            return;
        }
        let Change { old, new } = *change;
        if let Some(tree) = &mut self.tree {
            tree.update(key_hash, old, new);
        }
        if let Some(build) = self.build.as_mut().filter(|build| stored <= build.cursor.as_slice()) {
            build.tree.update(key_hash, old, new);
        }
    }

    /// Begins a tree in place of any other that is in the making; its number goes with its pages.
    pub(super) fn begin(&mut self, depth: u8) -> u64 {
        self.builds += 1;
        let build =
            Build { number: self.builds, tree: Tree::new(depth), cursor: Vec::new(), doubts: self.doubts };
        self.build = Some(Box::new(build));
        self.builds
    }

    /// Whether the tree in the making is still the one that was begun under this number.
    pub(super) fn is_building(&self, number: u64) -> bool {
        self.build.as_ref().is_some_and(|build| build.number == number)
    }

    /// Adds a page that nothing was written to since it was read. With the last one the new tree
    /// replaces the old.
    pub(super) fn add(&mut self, page: DigestPage) -> Option<Replaced> {
        let mut build = self.build.take()?;
        for (key_hash, digest) in page.digests {
            build.tree.update(key_hash, None, Some(digest));
        }
        if let Some(last) = page.last {
            build.cursor = last;
        }
        if !page.is_last {
            self.build = Some(build);
            return None;
        }
        let replaced = match self.trusted() {
            None => Replaced::Nothing,
            Some(old) if old.depth() == build.tree.depth() && *old == build.tree => Replaced::Same,
            Some(old) if old.depth() != build.tree.depth() && old.root().is_same(&build.tree.root()) => {
                Replaced::Same
            }
            Some(_) if is_planted(Bug::TreeFromMemory) => return Some(Replaced::Same),
            Some(_) => Replaced::Different,
        };
        self.settled = build.doubts;
        self.tree = Some(Box::new(build.tree));
        Some(replaced)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::BTreeMap;

    use super::*;
    use crate::merkle::{key_hash, record_digest};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn page(records: &BTreeMap<Vec<u8>, Bytes>, after: &[u8], limit: usize) -> DigestPage {
        let read: Vec<(&Vec<u8>, &Bytes)> =
            records.iter().filter(|(key, _)| key.as_slice() > after).take(limit).collect();
        let digest = |(key, bytes): &(&Vec<u8>, &Bytes)| {
            let hash = key_hash(key);
            (hash, record_digest(hash, bytes))
        };
        DigestPage {
            digests: read.iter().map(digest).collect(),
            last: read.last().map(|(key, _)| (*key).clone()),
            is_last: read.len() < limit,
        }
    }

    fn built(records: &BTreeMap<Vec<u8>, Bytes>, depth: u8) -> Tree {
        let mut slot = Slot::default();
        slot.begin(depth);
        assert_eq!(slot.add(page(records, &[], usize::MAX)), Some(Replaced::Nothing));
        *slot.tree.unwrap()
    }

    proptest! {
        /// Writes before, between and after the pages of a build; none that was missed, none twice.
        #[test]
        fn a_tree_built_among_writes_is_the_tree_of_what_is_stored(
            steps in prop::collection::vec(prop::collection::vec((0_u8..12, prop::option::of(0_u8..9)), 0..6), 1..12),
            limit in 1_usize..4,
        ) {
            let mut records: BTreeMap<Vec<u8>, Bytes> = BTreeMap::new();
            let mut slot = Slot::default();
            let mut after = Vec::new();
            let mut begun = false;
            for writes in steps {
                for (key, value) in writes {
                    let stored = vec![key + 1];
                    let new = value.map(|v| Bytes::from(vec![v]));
                    let old = match &new {
                        Some(bytes) => records.insert(stored.clone(), bytes.clone()),
                        None => records.remove(&stored),
                    };
                    let hash = key_hash(&stored);
                    let digest = |bytes: Option<Bytes>| bytes.map(|bytes| record_digest(hash, &bytes));
                    slot.changed(&stored, hash, &Change { old: digest(old), new: digest(new) });
                }
                if !std::mem::replace(&mut begun, true) {
                    slot.begin(1);
                } else if slot.build.is_some() {
                    let page = page(&records, &after, limit);
                    after = page.last.clone().unwrap_or(after);
                    slot.add(page);
                }
            }
            while slot.build.is_some() {
                let page = page(&records, &after, limit);
                after = page.last.clone().unwrap_or(after);
                slot.add(page);
            }
            prop_assert_eq!(slot.trusted().unwrap(), &built(&records, 1));
        }
    }

    #[test]
    fn what_changed_behind_the_nodes_back_shows_in_the_next_build() {
        let mut records: BTreeMap<Vec<u8>, Bytes> =
            (1..9).map(|key| (vec![key], Bytes::from(vec![key]))).collect();
        let mut slot = Slot { tree: Some(Box::new(built(&records, 0))), ..Slot::default() };
        slot.begin(1);
        assert_eq!(slot.add(page(&records, &[], 100)), Some(Replaced::Same), "depth is no difference");
        records.remove(&vec![3]);
        slot.begin(1);
        assert_eq!(slot.add(page(&records, &[], 100)), Some(Replaced::Different));
        slot.doubt();
        assert!(slot.trusted().is_none());
        records.remove(&vec![4]);
        slot.begin(1);
        assert_eq!(slot.add(page(&records, &[], 100)), Some(Replaced::Nothing), "it was expected");
        assert_eq!(slot.trusted(), Some(&built(&records, 1)));
    }

    #[test]
    fn a_doubt_that_comes_during_a_build_outlives_it() {
        let mut slot = Slot::default();
        slot.begin(0);
        slot.doubt();
        slot.add(page(&BTreeMap::new(), &[], 1));
        assert!(slot.trusted().is_none() && slot.tree.is_some());
    }
}
