//! Hints: copies kept for an owner that is away (Dynamo, section 4.6).
//!
//! Invariant: a hint goes only after its owner has acknowledged that very version durably. It
//! lies in the engine like any copy, so it survives what the store promises to survive.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Decision, Replica, ReplicaError, keys, lock, merged};
use crate::config::NodeId;
use crate::marks::Mark;
use crate::quorum::ReadReply;
use crate::store::{Promise, StoreError};
use crate::version::Record;

/// How many hints are read at a time while counting.
const PAGE: usize = 1024;

/// A copy kept for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Where it lies: pass the last one of a page to [`Replica::hints_for`] for the next.
    pub stored: Vec<u8>,
    /// Where its key belongs.
    pub partition: u32,
    /// Its key.
    pub key: Vec<u8>,
    /// What the owner has missed.
    pub record: Arc<Record>,
}

impl Replica {
    /// Keeps `record` for `owner`; as [`Replica::store`] otherwise.
    ///
    /// # Errors
    /// As [`Replica::store`].
    pub async fn store_hint(
        &self,
        owner: NodeId,
        partition: u32,
        key: &[u8],
        record: &Arc<Record>,
        at_least: Promise,
    ) -> Result<(), ReplicaError> {
        let stored = keys::hint(owner, partition, key);
        self.admit(record)?;
        let promise = self.promise.max(at_least).min(self.engine.strongest());
        let mut counted = false;
        let kept = self.write_locked(&stored, promise, |before| {
            let merged = match &before {
                Some(before) => merged(before, record)?,
                None => {
                    self.hints_pending.fetch_add(1, Ordering::AcqRel);
                    counted = true;
                    Arc::clone(record)
                }
            };
            if before.as_ref() == Some(&merged) { Ok(None) } else { Ok(Some(Decision::Put(merged))) }
        });
        let kept = kept.await;
        if counted && matches!(&kept, Err(ReplicaError::Store(error)) if !error.maybe_applied()) {
            // The disk was full or busy: there is no such hint, and nobody will ever deliver it.
            self.hints_pending.fetch_sub(1, Ordering::AcqRel);
        }
        kept
    }

    /// What is kept here of `key` for any of `owners`. An empty answer is never a vote.
    #[must_use]
    pub fn read_hints(&self, owners: &[NodeId], partition: u32, key: &[u8]) -> ReadReply {
        let mut found: Option<Record> = None;
        for owner in owners {
            let Ok(Some((_, record))) = self.verified_record(&keys::hint(*owner, partition, key)) else {
                continue;
            };
            found = match found {
                None => Some(record),
                Some(so_far) => match so_far.clone().merge(record) {
                    Ok(merged) => Some(merged),
                    Err(_) => Some(so_far),
                },
            };
        }
        found.map_or(ReadReply::NotFound { complete: false }, |record| ReadReply::Found(Arc::new(record)))
    }

    /// Up to `limit` hints for `owner`, from behind `after`.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn hints_for(
        &self,
        owner: NodeId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Hint>, StoreError> {
        let page = self.engine.scan(&keys::hint_prefix(owner), after, limit)?;
        let hint = |(stored, bytes): (Vec<u8>, bytes::Bytes)| {
            let record = Arc::new(Record::decode(&bytes).ok()?);
            let (partition, key) = keys::parts_of_hint(&stored)?;
            Some(Hint { partition, key: key.to_vec(), record, stored: stored.clone() })
        };
        Ok(page.into_iter().filter_map(hint).collect())
    }

    /// For whom anything is kept here, members or not.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn hint_owners(&self) -> Result<Vec<NodeId>, StoreError> {
        let mut owners = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        while let Some((stored, _)) = self.engine.scan(keys::HINTS, after.as_deref(), 1)?.pop() {
            let Some(owner) = keys::owner_of_hint(&stored) else { break };
            owners.push(owner);
            after = Some(keys::behind_hints_for(owner));
        }
        Ok(owners)
    }

    /// Drops a delivered hint unless it has grown since; says whether it did.
    ///
    /// # Errors
    /// When the engine fails; the hint is then delivered again, which harms nothing.
    pub async fn drop_hint(&self, delivered: &Hint) -> Result<bool, ReplicaError> {
        let mut dropped = false;
        // That a hint is gone need not survive anything: at worst it is delivered twice.
        self.write_locked(&delivered.stored, Promise::Memory, |before| {
            if before.as_ref() == Some(&delivered.record) {
                self.hints_pending.fetch_sub(1, Ordering::AcqRel);
                dropped = true;
                if lock(&self.hints_found).remove(&delivered.stored) {
                    Mark::HintOutlivedKeeper.hit();
                }
                Ok(Some(Decision::Delete))
            } else {
                Ok(None)
            }
        })
        .await?;
        Ok(dropped)
    }

    /// How many hints wait for their owners.
    #[must_use]
    pub fn hints_pending(&self) -> u64 {
        u64::try_from(self.hints_pending.load(Ordering::Acquire)).unwrap_or(0)
    }

    pub(super) fn count_hints(&self) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.engine.scan(keys::HINTS, after.as_deref(), PAGE)?;
            self.hints_pending.fetch_add(page.len() as i64, Ordering::AcqRel);
            if quorate_env::marks::is_counted() {
                lock(&self.hints_found).extend(page.iter().map(|(stored, _)| stored.clone()));
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.into_iter().next_back().map(|(stored, _)| stored);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Arc;

    use quorate_env::{SimulatedDisk, SystemClock};

    use super::*;
    use crate::config::StoreDefinition;
    use crate::membership::Holdings;
    use crate::store::{LogEngine, LogOptions};
    use crate::version::{Actor, Context, Dot, HybridClock, Payload, SharedClock, SiblingSet};

    #[tokio::test]
    async fn a_hint_that_was_not_kept_is_not_waited_for() {
        // No write may wait for this disk, so none that must be synced is taken.
        let options = LogOptions { commits_max: 0, ..LogOptions::default() };
        let engine = LogEngine::open(SimulatedDisk::new().mount(), options).await.unwrap();
        let clock = Arc::new(SystemClock::new());
        let store = StoreDefinition::default();
        let holdings = Arc::new(Holdings::in_memory(store.partitions, true));
        let stamps = SharedClock::new(HybridClock::new(1, 0));
        let replica = Replica::new(Arc::new(engine), clock, &store, holdings, stamps).unwrap();
        let owner: NodeId = "n2".parse().unwrap();
        let actor = Actor { node: "n1".parse().unwrap(), incarnation: 1, epoch: 0 };
        let payload = Payload::bytes("v".to_owned());
        let set = SiblingSet::put(Context::new(), Dot { actor, counter: 1 }, payload);
        let record = Arc::new(Record::Siblings(set));
        let kept = replica.store_hint(owner, 1, b"k", &record, Promise::Synced).await;
        assert!(matches!(kept, Err(ReplicaError::Store(StoreError::Busy { .. }))), "{kept:?}");
        assert_eq!(replica.hints_pending(), 0);
    }
}
