//! Hash trees over this node's copies, for anti-entropy to compare (Dynamo, section 4.7), and the
//! walk that builds and verifies them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::trees::{DigestPage, Replaced};
use super::{Replica, ReplicaError, Throttle, keys, lock};
use crate::config::Conflict;
use crate::marks::Mark;
use crate::membership::Gap;
use crate::merkle::{FANOUT, Node, Root, Tree, key_hash, record_digest};
use crate::quorum::ReadReply;
use crate::store::StoreError;
use crate::version::Record;

use super::Summary;

/// Records read between two pauses.
const PAGE: usize = 64;

/// Records read while writes to their partition wait, because the writes would not let a page be
/// read between them.
const PAGE_LOCKED: usize = 8;

/// How often a page is read again because its partition was written to meanwhile.
const TRIES: u32 = 3;

/// Keys listed between two pauses.
const KEYS_PAGE: usize = 1024;

/// What a walk through a partition found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Records whose checksums were verified.
    pub records: u64,
    /// Records that turned out to be damaged just now.
    pub damaged: u64,
    /// Whether the stored records are not those that were written: keys are gone or have changed
    /// behind the node's back.
    pub mismatch: bool,
}

/// A key under some node of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Bytes,
    /// Which of the nodes asked about it lies under.
    pub under: Node,
    /// The digest of its record.
    pub digest: u64,
}

impl Replica {
    /// Whether the partition is being filled as a whole from other owners (`transfer::refill`):
    /// comparing it meanwhile would only bring the same a second time. Not while that is stalled: what is
    /// written in the meantime and does not arrive is found by comparing alone.
    #[must_use]
    pub fn is_filling(&self, partition: u32) -> bool {
        let is_filled = self.holdings.gap(partition).is_some_and(|gap| gap != Gap::Doubt);
        is_filled && !self.holdings.is_stalled(partition)
    }

    /// The root of a partition's tree; nothing while there is no tree that can be trusted, or the
    /// partition is being filled.
    #[must_use]
    pub fn root(&self, partition: u32) -> Option<Root> {
        if self.is_filling(partition) {
            return None;
        }
        self.trees.slot(partition)?.trusted().map(Tree::root)
    }

    /// The sums of a node's children; nothing where the tree ends.
    #[must_use]
    pub fn children(&self, node: Node) -> Option<[u64; FANOUT]> {
        if !node.is_valid() {
            return None;
        }
        self.trees.slot(node.partition)?.tree.as_ref()?.children(node)
    }

    /// Sees to it that a partition has a tree, at least `depth_min` deep, that fits its keys and
    /// that nothing speaks against.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub async fn ready_tree(
        &self,
        partition: u32,
        depth_min: u8,
        throttle: &mut Throttle,
    ) -> Result<(), StoreError> {
        let is_ready = || {
            let slot = self.trees.slot(partition)?;
            let tree = slot.trusted()?;
            (!tree.is_crowded() && tree.depth() >= depth_min).then_some(())
        };
        if is_ready().is_none() {
            self.walk_partition(partition, depth_min, throttle).await?;
        }
        Ok(())
    }

    /// Reads all of a partition, verifies every checksum, and replaces its tree by one of what is
    /// there. Writes go on meanwhile. Gives way to a walk that began later; what was found until
    /// then is noted.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub async fn walk_partition(
        &self,
        partition: u32,
        depth_min: u8,
        throttle: &mut Throttle,
    ) -> Result<Walked, StoreError> {
        let depth = Tree::depth_for(self.count_keys(partition).await?).max(depth_min);
        let mut walked = Walked::default();
        let Some(number) = self.trees.slot(partition).map(|mut slot| slot.begin(depth)) else {
            return Ok(walked);
        };
        let mut after: Option<Vec<u8>> = None;
        let mut tries = 0;
        loop {
            let changes = self.trees.slot(partition).map_or(0, |slot| slot.changes);
            let read = self.read_page(partition, after.as_deref(), PAGE)?;
            let bytes = read.bytes;
            let Some(added) = self.add_page(partition, number, changes, read, after.as_deref(), tries)?
            else {
                tries += 1;
                tokio::task::yield_now().await;
                continue;
            };
            tries = 0;
            walked.records += added.records;
            walked.damaged += added.damaged;
            match added.next {
                Next::After(last) => after = Some(last),
                Next::Superseded => return Ok(walked),
                Next::Finished(replaced) => {
                    walked.mismatch = replaced == Replaced::Different && walked.damaged == 0;
                    if walked.mismatch {
                        self.cache.forget(|stored| keys::partition_of_data(stored) == Some(partition));
                        // Something acknowledged is gone: until the other owners were asked,
                        // nothing absent here is known never to have been here.
                        if let Err(error) = self.holdings.mark([partition], Gap::Doubt).await {
                            tracing::warn!(partition, %error, "it cannot be noted that records are missing");
                        }
                    }
                    return Ok(walked);
                }
            }
            throttle.spend(bytes).await;
        }
    }

    /// Adds what was read to the tree in the making. Nothing if there were writes meanwhile, unless
    /// that happened too often: then a smaller page is read while writes wait.
    fn add_page(
        &self,
        partition: u32,
        number: u64,
        changes: u64,
        mut read: ReadPage,
        after: Option<&[u8]>,
        tries: u32,
    ) -> Result<Option<Added>, StoreError> {
        let Some(mut slot) = self.trees.slot(partition) else { return Ok(None) };
        let mut next = Next::Superseded;
        if slot.is_building(number) {
            if slot.changes != changes {
                if tries < TRIES {
                    return Ok(None);
                }
                read = self.read_page(partition, after, PAGE_LOCKED)?;
            }
            let last = read.page.last.clone();
            next = match (slot.add(read.page), last) {
                (Some(replaced), _) => Next::Finished(replaced),
                (None, Some(last)) => Next::After(last),
                // A page without keys is the last one.
                (None, None) => Next::Superseded,
            };
        }
        drop(slot);
        let damaged = read.damaged.iter().filter(|stored| self.note_damage(stored, false)).count();
        Ok(Some(Added { next, records: read.records, damaged: damaged as u64 }))
    }

    fn read_page(&self, partition: u32, after: Option<&[u8]>, limit: usize) -> Result<ReadPage, StoreError> {
        let stored = self.engine.keys(&keys::partition_prefix(partition), after, limit)?;
        let is_last = stored.len() < limit;
        let last = stored.last().cloned();
        let (mut digests, mut damaged, mut bytes, records) = (Vec::new(), Vec::new(), 0, stored.len() as u64);
        for stored in stored {
            match self.verified(&stored) {
                Ok(Some(record)) => {
                    bytes += (stored.len() + record.len()) as u64;
                    let hash = key_hash(&stored);
                    digests.push((hash, record_digest(hash, &record)));
                }
                Ok(None) => {}
                Err(error) if is_damage(&error) => damaged.push(stored),
                Err(ReplicaError::Store(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(ReadPage { page: DigestPage { digests, last, is_last }, records, damaged, bytes })
    }

    /// The bytes of a record that can be read as one.
    fn verified(&self, stored: &[u8]) -> Result<Option<Bytes>, ReplicaError> {
        Ok(self.verified_record(stored)?.map(|(bytes, _)| bytes))
    }

    /// A record as the engine has it, and its bytes.
    pub(super) fn verified_record(&self, stored: &[u8]) -> Result<Option<(Bytes, Record)>, ReplicaError> {
        let Some(bytes) = self.engine.get(stored)? else { return Ok(None) };
        let record = Record::decode(&bytes)?;
        Ok(Some((bytes, record)))
    }

    /// Verifies the checksums of all hints. A damaged one is dropped: nobody can be given it, and
    /// its owner gets what it lacks from the other owners.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn walk_hints(&self, throttle: &mut Throttle) -> Result<Walked, ReplicaError> {
        let mut walked = Walked::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.engine.keys(keys::HINTS, after.as_deref(), PAGE)?;
            let mut bytes = 0;
            for stored in &page {
                walked.records += 1;
                match self.verified(stored) {
                    Ok(record) => bytes += record.map_or(0, |record| record.len() as u64),
                    Err(error) if is_damage(&error) => {
                        walked.damaged += u64::from(self.note_damage(stored, false));
                        self.drop_damaged(stored).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
            throttle.spend(bytes).await;
            if page.len() < PAGE {
                return Ok(walked);
            }
            after = page.into_iter().next_back();
        }
    }

    async fn count_keys(&self, partition: u32) -> Result<u64, StoreError> {
        let prefix = keys::partition_prefix(partition);
        let (mut count, mut after) = (0, None::<Vec<u8>>);
        loop {
            let page = self.engine.keys(&prefix, after.as_deref(), KEYS_PAGE)?;
            count += page.len() as u64;
            if page.len() < KEYS_PAGE {
                return Ok(count);
            }
            after = page.into_iter().next_back();
            tokio::task::yield_now().await;
        }
    }

    /// The keys of one partition under any of `nodes` whose records can be read, in key order.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub async fn list(&self, partition: u32, nodes: &BTreeSet<Node>) -> Result<Vec<Listed>, StoreError> {
        let levels: BTreeSet<u8> =
            nodes.iter().filter(|node| node.is_valid()).map(|node| node.level).collect();
        let prefix = keys::partition_prefix(partition);
        let mut listed = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.engine.keys(&prefix, after.as_deref(), KEYS_PAGE)?;
            for stored in &page {
                let hash = key_hash(stored);
                let mut above = levels.iter().map(|level| Node::above(partition, *level, hash));
                let Some(under) = above.find(|node| nodes.contains(node)) else { continue };
                match self.verified(stored) {
                    Ok(Some(record)) => {
                        let key = Bytes::copy_from_slice(keys::key_of_data(stored));
                        listed.push(Listed { key, under, digest: record_digest(hash, &record) });
                    }
                    Err(ReplicaError::Store(error)) if !matches!(error, StoreError::Damaged { .. }) => {
                        return Err(error);
                    }
                    Ok(None) | Err(_) => {}
                }
            }
            if page.len() < KEYS_PAGE {
                return Ok(listed);
            }
            after = page.into_iter().next_back();
            tokio::task::yield_now().await;
        }
    }

    /// What this node's copy of a key has seen; nothing without a copy that can be read.
    #[must_use]
    pub fn summary(&self, partition: u32, key: &[u8]) -> Option<Summary> {
        match self.read(partition, key) {
            ReadReply::Found(record) | ReadReply::Partial(record) => Some(Summary::of(&record)),
            ReadReply::NotFound { .. } | ReadReply::Damaged => None,
        }
    }

    /// Drops the trees of all partitions but those that `keep` names.
    pub fn retain_trees(&self, keep: &BTreeSet<u32>) {
        self.trees.retain(|partition| keep.contains(&partition));
        lock(&self.tombstones_told).retain(|partition, _| keep.contains(partition));
    }

    /// Bytes of memory that all trees take.
    #[must_use]
    pub fn tree_bytes(&self) -> u64 {
        self.trees.bytes()
    }

    /// How many records turned out to be damaged, since the store was opened or before.
    #[must_use]
    pub fn damage_found(&self) -> u64 {
        self.damage_found.load(Ordering::Relaxed)
    }

    /// Takes note that a record cannot be read; says whether that is news. A tree that counts it
    /// is wrong from now on; `doubt` it unless it is being built without the record anyway.
    pub(super) fn note_damage(&self, stored: &[u8], doubt: bool) -> bool {
        self.cache.set(key_hash(stored), stored, None);
        if !lock(&self.damaged).insert(stored.to_vec()) {
            return false;
        }
        self.damage_found.fetch_add(1, Ordering::Relaxed);
        Mark::DamageFound.hit();
        if self.conflict == Conflict::Single {
            self.note_rotten(stored);
        }
        tracing::warn!(key = %stored.escape_ascii(), "a record is damaged; it casts no vote until it is repaired");
        if stored.starts_with(keys::HINTS) {
            // It will never be delivered, so nobody need wait for that.
            self.hints_pending.fetch_sub(1, Ordering::AcqRel);
        }
        if doubt && let Some(mut slot) = self.trees.slot_of(stored) {
            slot.doubt();
        }
        true
    }
}

/// Whether a record is there and cannot be read.
pub(super) fn is_damage(error: &ReplicaError) -> bool {
    matches!(error, ReplicaError::Store(StoreError::Damaged { .. }) | ReplicaError::Undecodable(_))
}

struct ReadPage {
    page: DigestPage,
    records: u64,
    damaged: Vec<Vec<u8>>,
    bytes: u64,
}

struct Added {
    next: Next,
    records: u64,
    damaged: u64,
}

enum Next {
    After(Vec<u8>),
    Finished(Replaced),
    Superseded,
}

#[cfg(test)]
mod tests;
