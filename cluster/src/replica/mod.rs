//! What one node does with its own copies: read, merge, keep hints, compare.
//!
//! Storing is merging: a put, a repair, a delivered hint and a transfer all end here, in any
//! order and any number of times. An acknowledgement is given only once the engine has kept
//! the store's promise.
//!
//! Not here: other nodes, quorums, clients.

mod digest;
mod hints;
mod keys;
mod service;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use quorate_env::{BoxFuture, Clock};

use crate::config::{Conflict, StoreDefinition};
use crate::quorum::ReadReply;
use crate::ring::position;
use crate::store::{Engine, Position, Promise, StoreError, Write};
use crate::version::{HybridClock, KindMismatch, Record, SkewError, Undecodable};

pub use digest::{KeyDigest, PartitionDigest};
pub use hints::Hint;
pub use service::ReplicaService;

/// Keys whose writes may run at the same time; two keys rarely share a lock.
const LOCKS: usize = 256;

/// Why a copy was not stored. Only [`ReplicaError::Store`] may have changed anything.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The engine refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The write's stamp lies too far in the future.
    #[error(transparent)]
    Skew(#[from] SkewError),
    /// The write follows another conflict rule than this store.
    #[error(transparent)]
    Kind(#[from] KindMismatch),
    /// Stored bytes passed their checksum and are no record.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

/// This node's copies and hints.
pub struct Replica {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    conflict: Conflict,
    promise: Promise,
    locks: Vec<Mutex<()>>,
    hints_pending: AtomicI64,
    /// Whether an absent record here means that none was ever acknowledged here.
    complete: AtomicBool,
    /// Keys whose record had rotted and was replaced by something that may hold less.
    quarantined: Mutex<BTreeSet<Vec<u8>>>,
    /// Counts every change to a copy, so that background comparison can tell that nothing changed.
    changes: AtomicU64,
}

impl Replica {
    /// Takes over an opened engine. `complete` is false after a start that may have lost writes
    /// that were acknowledged.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn new(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        store: &StoreDefinition,
        complete: bool,
    ) -> Result<Self, StoreError> {
        let replica = Self {
            promise: store.durability.into(),
            conflict: store.conflict,
            engine,
            clock,
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            hints_pending: AtomicI64::new(0),
            complete: AtomicBool::new(complete),
            quarantined: Mutex::new(BTreeSet::new()),
            changes: AtomicU64::new(0),
        };
        replica.count_hints()?;
        Ok(replica)
    }

    /// The engine underneath.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Whether an absent record here counts as a vote.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        // A stretch of log that cannot be read may have held anything.
        self.complete.load(Ordering::Acquire)
    }

    /// Every other owner's copies were merged since `quarantined_before` was taken: nothing is
    /// missing here that they have.
    pub fn set_complete(&self, quarantined_before: &BTreeSet<Vec<u8>>) {
        self.complete.store(true, Ordering::Release);
        lock(&self.quarantined).retain(|key| !quarantined_before.contains(key));
    }

    /// Keys that cast no vote because their record had rotted.
    #[must_use]
    pub fn quarantined(&self) -> BTreeSet<Vec<u8>> {
        lock(&self.quarantined).clone()
    }

    /// How many changes copies have seen since the start.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// This node's copy as an owner.
    #[must_use]
    pub fn read(&self, partition: u32, key: &[u8]) -> ReadReply {
        let stored = keys::data(partition, key);
        match self.load(&stored) {
            Ok(Some(record)) => ReadReply::Found(record),
            Ok(None) => ReadReply::NotFound {
                complete: self.is_complete() && !lock(&self.quarantined).contains(&stored),
            },
            Err(_) => ReadReply::Damaged,
        }
    }

    /// Merges `record` into this node's copy and returns once the store's promise is kept, or
    /// at least `at_least`.
    ///
    /// # Errors
    /// See [`ReplicaError`]; [`StoreError::maybe_applied`] says whether it may show up.
    pub async fn store(
        &self,
        partition: u32,
        key: &[u8],
        record: &Record,
        at_least: Promise,
    ) -> Result<(), ReplicaError> {
        self.merge_into(keys::data(partition, key), record, at_least).await
    }

    /// Checks a record that came from outside before anything is done with it.
    fn admit(&self, record: &Record) -> Result<(), ReplicaError> {
        match (record, self.conflict) {
            (Record::Siblings(_), Conflict::Siblings) => Ok(()),
            (Record::Latest(latest), Conflict::LastWriteWins) => {
                Ok(HybridClock::check_skew(self.clock.wall_ns(), latest.stamp)?)
            }
            _ => Err(KindMismatch.into()),
        }
    }

    async fn merge_into(
        &self,
        stored: Vec<u8>,
        record: &Record,
        at_least: Promise,
    ) -> Result<(), ReplicaError> {
        self.admit(record)?;
        let promise = self.promise.max(at_least).min(self.engine.strongest());
        self.write_locked(&stored, promise, |before| {
            let merged = match &before {
                Some(before) => before.clone().merge(record.clone())?,
                None => record.clone(),
            };
            // Already there: nothing to write, but the acknowledgement promises what is there.
            if before.as_ref() == Some(&merged) { Ok(None) } else { Ok(Some(Change::Put(merged))) }
        })
        .await
    }

    /// Reads, decides and appends under the key's lock, then waits for the promise without it,
    /// so that writes to one key share a sync.
    async fn write_locked(
        &self,
        stored: &[u8],
        promise: Promise,
        decide: impl FnOnce(Option<Record>) -> Result<Option<Change>, ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let mut decide = Some(decide);
        let mut appended: Option<BoxFuture<'_, Result<Position, StoreError>>> = None;
        poll_fn(|cx| {
            if let Some(decide) = decide.take() {
                let _guard = self.lock_of(stored);
                match self.prepare(stored, promise, decide) {
                    Ok(Some(write)) => appended = Some(write),
                    Ok(None) => return Poll::Ready(Ok(())),
                    Err(error) => return Poll::Ready(Err(error)),
                }
                // The engine appends in the first poll, which this one is, still under the lock.
                return poll_write(appended.as_mut(), cx);
            }
            poll_write(appended.as_mut(), cx)
        })
        .await
    }

    /// The write that `decide` asks for, not yet polled; nothing when there is none to make.
    fn prepare(
        &self,
        stored: &[u8],
        promise: Promise,
        decide: impl FnOnce(Option<Record>) -> Result<Option<Change>, ReplicaError>,
    ) -> Result<Option<BoxFuture<'_, Result<Position, StoreError>>>, ReplicaError> {
        let before = match self.load(stored) {
            Ok(before) => before,
            Err(ReplicaError::Store(StoreError::Damaged { .. }) | ReplicaError::Undecodable(_)) => {
                // What it held is unknown, so what replaces it is no full copy.
                lock(&self.quarantined).insert(stored.to_vec());
                None
            }
            Err(other) => return Err(other),
        };
        let key = stored.to_vec();
        let write = match decide(before)? {
            Some(Change::Put(record)) => Write::Put { key, value: Bytes::from(record.encode()) },
            Some(Change::Delete) => Write::Delete { key },
            // Already as wanted, but perhaps not yet durable: the promise covers that too.
            None if promise == Promise::Synced => return Ok(Some(self.engine.flush())),
            None => return Ok(None),
        };
        self.changes.fetch_add(1, Ordering::AcqRel);
        Ok(Some(self.engine.apply(vec![write], promise)))
    }

    fn load(&self, stored: &[u8]) -> Result<Option<Record>, ReplicaError> {
        let Some(bytes) = self.engine.get(stored)? else { return Ok(None) };
        Ok(Some(Record::decode(&bytes)?))
    }

    fn lock_of(&self, stored: &[u8]) -> MutexGuard<'_, ()> {
        lock(&self.locks[position(stored) as usize % LOCKS])
    }
}

/// What a write does to the record under a key.
enum Change {
    Put(Record),
    Delete,
}

fn poll_write(
    write: Option<&mut BoxFuture<'_, Result<Position, StoreError>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ReplicaError>> {
    match write {
        Some(write) => write.as_mut().poll(cx).map(|done| done.map(|_| ()).map_err(ReplicaError::from)),
        None => Poll::Ready(Ok(())),
    }
}

/// No code panics while it holds one of these locks, so a poisoned one is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_env::SystemClock;

    use super::*;
    use crate::config::NodeId;
    use crate::store::MemoryEngine;
    use crate::version::{Actor, Context as Seen, Dot, Payload, SiblingSet, Stamp, Stamped};

    fn replica() -> Replica {
        let store =
            StoreDefinition { durability: crate::config::Durability::Memory, ..StoreDefinition::default() };
        Replica::new(Arc::new(MemoryEngine::new()), Arc::new(SystemClock::new()), &store, true).unwrap()
    }

    fn put(counter: u64) -> Record {
        let actor = Actor { node: "n1".parse().unwrap(), incarnation: 1, epoch: 0 };
        Record::Siblings(SiblingSet::put(Seen::new(), Dot { actor, counter }, Payload::bytes("v")))
    }

    fn values(reply: ReadReply) -> usize {
        match reply {
            ReadReply::Found(record) => record.payloads().len(),
            ReadReply::NotFound { .. } | ReadReply::Damaged => 0,
        }
    }

    #[tokio::test]
    async fn storing_merges_and_storing_again_changes_nothing() {
        let replica = replica();
        for counter in [1, 2, 1] {
            replica.store(0, b"k", &put(counter), Promise::Memory).await.unwrap();
        }
        assert_eq!(values(replica.read(0, b"k")), 2);
        assert_eq!(replica.changes(), 2);
        assert_eq!(
            replica.read(1, b"k"),
            ReadReply::NotFound { complete: true },
            "keys live under their partition"
        );
    }

    #[tokio::test]
    async fn a_hint_is_dropped_only_if_it_is_still_what_was_delivered() {
        let replica = replica();
        let owner: NodeId = "n2".parse().unwrap();
        replica.store_hint(owner, 0, b"k", &put(1), Promise::Memory).await.unwrap();
        assert_eq!(replica.hints_pending(), 1);
        let delivered = replica.hints_for(owner, None, 10).unwrap().remove(0);
        replica.store_hint(owner, 0, b"k", &put(2), Promise::Memory).await.unwrap();
        assert!(!replica.drop_hint(&delivered).await.unwrap(), "the hint has grown since");
        assert_eq!(values(replica.read_hints(&[owner], 0, b"k")), 2);
        let grown = replica.hints_for(owner, None, 10).unwrap().remove(0);
        assert!(replica.drop_hint(&grown).await.unwrap());
        assert_eq!(replica.hints_pending(), 0);
        assert_eq!(replica.read_hints(&[owner], 0, b"k"), ReadReply::NotFound { complete: false });
    }

    #[tokio::test]
    async fn a_record_of_another_conflict_rule_is_refused() {
        let foreign = Record::Latest(Stamped { stamp: Stamp::default(), payload: None });
        let error = replica().store(0, b"k", &foreign, Promise::Memory).await.unwrap_err();
        assert!(matches!(error, ReplicaError::Kind(_)));
    }

    #[tokio::test]
    async fn digests_tell_which_keys_differ_whatever_the_order_of_arrival() {
        let (a, b) = (replica(), replica());
        for (replica, order) in [(&a, [1, 2, 3]), (&b, [3, 1, 2])] {
            for key in order {
                replica.store(7, &[key], &put(u64::from(key)), Promise::Memory).await.unwrap();
            }
        }
        assert_eq!(a.partition_digest(7).await.unwrap(), b.partition_digest(7).await.unwrap());
        b.store(7, &[2], &put(9), Promise::Memory).await.unwrap();
        assert_ne!(a.partition_digest(7).await.unwrap(), b.partition_digest(7).await.unwrap());
        let digests = |keys: Vec<KeyDigest>| keys.into_iter().map(|k| (k.key, k.digest)).collect::<Vec<_>>();
        let (of_a, of_b) =
            (digests(a.key_digests(7, None, 10).unwrap()), digests(b.key_digests(7, None, 10).unwrap()));
        let differing: Vec<&[u8]> =
            of_a.iter().zip(&of_b).filter(|(x, y)| x != y).map(|(x, _)| &x.0[..]).collect();
        assert_eq!(differing, [&[2]]);
    }
}
