//! Deleted keys: telling of them, and forgetting them once nobody can bring back what was deleted.
//!
//! When that is so is not decided here, but in `transfer::collection`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Decision, Replica, ReplicaError, keys, lock};
use crate::config::NodeId;
use crate::membership::View;
use crate::quorum::ReadReply;
use crate::store::{Promise, StoreError};
use crate::version::Record;

/// Records looked at for one answer.
const PAGE: usize = 512;

/// What tells the record of a deleted key from all others: the first half of a SHA-256 of its bytes.
pub type Fingerprint = [u8; 16];

/// A deleted key and its record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tombstone {
    /// The key.
    pub key: Bytes,
    /// Its record.
    pub record: Fingerprint,
}

/// Some deleted keys of a partition, in the order of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstonePage {
    /// Which.
    pub tombstones: Vec<Tombstone>,
    /// Behind which key to go on; nothing if these were the last.
    pub next: Option<Bytes>,
}

fn fingerprint(record: &Record) -> Fingerprint {
    let mut first = Fingerprint::default();
    first.copy_from_slice(&Sha256::digest(record.encode())[..16]);
    first
}

impl Replica {
    /// The deleted keys among the next few of a partition, from behind `after`. Those whose records
    /// may lack something are left out.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub(super) fn tombstones(
        &self,
        partition: u32,
        after: Option<&[u8]>,
    ) -> Result<TombstonePage, StoreError> {
        let page = self.keys(partition, after, PAGE)?;
        let next = page.last().filter(|_| page.len() == PAGE).cloned();
        let deleted = |key: Bytes| match self.read(partition, &key) {
            ReadReply::Found(record) if record.is_deleted() => {
                Some(Tombstone { key, record: fingerprint(&record) })
            }
            _ => None,
        };
        let tombstones: Vec<Tombstone> = page.into_iter().filter_map(deleted).collect();
        let mut told = lock(&self.tombstones_told);
        let before = if after.is_none() { 0 } else { told.get(&partition).copied().unwrap_or(0) };
        told.insert(partition, before + tombstones.len() as u64);
        Ok(TombstonePage { tombstones, next })
    }

    /// How many deleted keys this node told of when it was last asked, less those forgotten since.
    #[must_use]
    pub fn tombstones_told(&self) -> u64 {
        lock(&self.tombstones_told).values().sum()
    }

    /// Forgets a deleted key unless it was written since it was told of, or `may_forget`, asked
    /// while nobody can write the key, says no; says whether it did.
    ///
    /// # Errors
    /// When the engine fails; the key is then told of again.
    pub(super) async fn forget(
        &self,
        partition: u32,
        tombstone: &Tombstone,
        may_forget: impl FnOnce() -> bool,
    ) -> Result<bool, ReplicaError> {
        let mut forgotten = false;
        // That a delete is forgotten need not survive anything: at worst it is remembered.
        self.write_locked(&keys::data(partition, &tombstone.key), Promise::Memory, |before| {
            let is_same = |record: &Record| record.is_deleted() && fingerprint(record) == tombstone.record;
            forgotten = before.as_deref().is_some_and(is_same) && may_forget();
            Ok(forgotten.then_some(Decision::Delete))
        })
        .await?;
        if forgotten && let Some(told) = lock(&self.tombstones_told).get_mut(&partition) {
            *told = told.saturating_sub(1);
        }
        Ok(forgotten)
    }

    /// Whether something is kept here for others: a hint, or a copy in a partition that `me` does not
    /// own in `view`.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub(super) fn keeps_for_others(&self, me: NodeId, view: &View) -> Result<bool, StoreError> {
        if self.hints_pending() > 0 || !self.engine.keys(keys::HINTS, None, 1)?.is_empty() {
            return Ok(true);
        }
        for partition in 0..view.placement().partitions() {
            let is_foreign = !view.write_owners(partition).contains(&me);
            if is_foreign && !self.engine.keys(&keys::partition_prefix(partition), None, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any record here is damaged, or replaced one that was and waits for all owners.
    pub(super) fn is_damaged(&self) -> bool {
        self.engine.stats().damaged_records > 0 || !lock(&self.damaged).is_empty() || self.quarantined() > 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Arc;

    use quorate_env::SystemClock;

    use super::*;
    use crate::config::StoreDefinition;
    use crate::membership::Holdings;
    use crate::store::MemoryEngine;
    use crate::testing::{member, node};
    use crate::version::{Actor, Context, Dot, HybridClock, Payload, SharedClock, SiblingSet};

    fn dot(counter: u64) -> Dot {
        Dot { actor: Actor { node: node(1), incarnation: 1, epoch: 0 }, counter }
    }

    fn put(counter: u64) -> Arc<Record> {
        Arc::new(Record::Siblings(SiblingSet::put(Context::new(), dot(counter), Payload::bytes("v"))))
    }

    fn delete(counter: u64) -> Arc<Record> {
        let seen = (1..counter).map(dot).collect();
        Arc::new(Record::Siblings(SiblingSet::delete(seen, dot(counter))))
    }

    fn replica() -> Replica {
        let store =
            StoreDefinition { durability: crate::config::Durability::Memory, ..StoreDefinition::default() };
        let holdings = Arc::new(Holdings::in_memory(store.partitions, true));
        let stamps = SharedClock::new(HybridClock::new(1, 0));
        Replica::new(Arc::new(MemoryEngine::new()), Arc::new(SystemClock::new()), &store, holdings, stamps)
            .unwrap()
    }

    async fn store(replica: &Replica, key: &str, record: &Arc<Record>) {
        replica.store(3, key.as_bytes(), record, Promise::Memory).await.unwrap();
    }

    #[tokio::test]
    async fn all_deleted_keys_are_told_of_and_no_others_however_many_there_are() {
        let replica = replica();
        let name = |i: usize| format!("k{i:05}");
        for i in 0..2 * PAGE + 10 {
            store(&replica, &name(i), &if i % 3 == 0 { delete(2) } else { put(1) }).await;
        }
        let (mut told, mut after): (Vec<Bytes>, Option<Bytes>) = (Vec::new(), None);
        loop {
            let page = replica.tombstones(3, after.as_deref()).unwrap();
            told.extend(page.tombstones.into_iter().map(|one| one.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<Bytes> =
            (0..2 * PAGE + 10).filter(|i| i % 3 == 0).map(|i| name(i).into()).collect();
        assert_eq!(told, expected);
        assert_eq!(replica.tombstones_told(), expected.len() as u64);
        assert_eq!(replica.tombstones(4, None).unwrap(), TombstonePage::default());
    }

    #[tokio::test]
    async fn only_a_delete_that_is_still_as_it_was_told_of_is_forgotten() {
        let replica = replica();
        for key in ["a", "b", "c", "d"] {
            store(&replica, key, &delete(2)).await;
        }
        let told = replica.tombstones(3, None).unwrap().tombstones;
        store(&replica, "b", &put(9)).await;
        store(&replica, "c", &delete(5)).await;
        let forgotten = futures_util::future::join_all(told.iter().map(|one| {
            let replica = &replica;
            async move { replica.forget(3, one, || one.key != "d").await.unwrap() }
        }));
        assert_eq!(forgotten.await, [true, false, false, false]);
        let is_there = |key: &str| replica.read(3, key.as_bytes()) != ReadReply::NotFound { complete: true };
        assert_eq!(["a", "b", "c", "d"].map(is_there), [false, true, true, true]);
        assert_eq!(replica.tombstones_told(), 3);
        assert!(!replica.forget(3, &told[0], || true).await.unwrap(), "it is gone");
    }

    #[tokio::test]
    async fn hints_and_copies_that_others_own_are_kept_for_others() {
        let replica = replica();
        let view = View::new((1..=4).map(member).collect(), 256, 3);
        let (me, partition) = (node(1), |owned: bool| {
            (0..256).find(|p| view.write_owners(*p).contains(&node(1)) == owned).unwrap()
        });
        let keeps = || replica.keeps_for_others(me, &view).unwrap();
        replica.store(partition(true), b"k", &put(1), Promise::Memory).await.unwrap();
        assert!(!keeps());
        replica.store(partition(false), b"k", &put(1), Promise::Memory).await.unwrap();
        assert!(keeps());
        assert!(replica.drop_copy(partition(false), b"k", &put(1), || true).await.unwrap());
        assert!(!keeps());
        replica.store_hint(node(2), partition(true), b"k", &put(1), Promise::Memory).await.unwrap();
        assert!(keeps());
    }
}
