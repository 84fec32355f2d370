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
mod pages;
mod quiet;
mod registers;
mod repair;
mod service;
mod summary;
mod throttle;
mod tombstones;
mod trees;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use quorate_env::{BoxFuture, Clock};

use crate::config::{AntiEntropy, Conflict, StoreDefinition};
use crate::membership::{Gap, Holdings, Mark};
use crate::merkle::key_hash;
use crate::quorum::ReadReply;
use crate::store::{Engine, Position, Promise, StoreError, Write};
use crate::version::{HybridClock, KindMismatch, Record, SharedClock, SkewError, Undecodable};

pub use digest::{Listed, Walked};
pub use hints::Hint;
pub use pages::{Page, PageEnd, Paged};
pub use quiet::Quiet;
use registers::Unsynced;
pub(crate) use repair::by_print;
pub use repair::{Keyed, LeafAnswer, LeafAsk, Wanted};
pub use service::ReplicaService;
pub use summary::Summary;
pub use throttle::Throttle;
pub use tombstones::{Fingerprint, Tombstone, TombstonePage};
use trees::{Change, Trees};

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
    /// This owner of a register may have forgotten what it voted.
    #[error(
        "this node casts no vote there: it does not hold all that it voted for until it has merged enough other owners"
    )]
    CastsNoVote,
}

/// This node's copies and hints.
pub struct Replica {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    conflict: Conflict,
    promise: Promise,
    /// Actors that a context keeps.
    actors_max: usize,
    /// Whether anti-entropy will make a record whole again that replaced one that rotted. Where
    /// nothing does, it votes all the same: else it never would again.
    is_repaired: bool,
    locks: Vec<Mutex<()>>,
    hints_pending: AtomicI64,
    /// Writes refused for stamps too far in the future.
    skewed: AtomicU64,
    /// In which partitions an absent record means that none was ever acknowledged here.
    holdings: Arc<Holdings>,
    /// Hears of the stamps that this node is given, so that its own are above.
    stamps: SharedClock,
    /// Keys whose record had rotted and was replaced by something that may hold less.
    quarantined: Mutex<BTreeSet<Vec<u8>>>,
    /// Records known not to be readable, until something is written over them.
    damaged: Mutex<BTreeSet<Vec<u8>>>,
    damage_found: AtomicU64,
    /// Counts every change to a copy or hint.
    changes: AtomicU64,
    trees: Trees,
    /// Deleted keys by partition, as this node last told of them.
    tombstones_told: Mutex<BTreeMap<u32, u64>>,
    /// Accepts that may not be durable yet.
    unsynced: Mutex<Unsynced>,
    /// Registers that only another attempt makes equal on all owners.
    unsettled: Mutex<BTreeSet<(u32, Bytes)>>,
    /// Partitions in which a vote has rotted.
    rotten: Mutex<BTreeSet<u32>>,
    /// The highest number of a ballot that was met here.
    numbers: AtomicU64,
}

impl Replica {
    /// Takes over an opened engine. `holdings` says where acknowledged writes may be missing.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn new(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        store: &StoreDefinition,
        holdings: Arc<Holdings>,
        stamps: SharedClock,
    ) -> Result<Self, StoreError> {
        let damaged: BTreeSet<Vec<u8>> = engine.damaged().into_iter().collect();
        let replica = Self {
            promise: store.durability.into(),
            actors_max: if store.actor_limit == 0 { usize::MAX } else { store.actor_limit as usize },
            is_repaired: store.anti_entropy != AntiEntropy::Off,
            conflict: store.conflict,
            engine,
            clock,
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            hints_pending: AtomicI64::new(0),
            skewed: AtomicU64::new(0),
            holdings,
            stamps,
            quarantined: Mutex::new(BTreeSet::new()),
            damage_found: AtomicU64::new(damaged.len() as u64),
            damaged: Mutex::new(damaged),
            changes: AtomicU64::new(0),
            trees: Trees::new(store.partitions),
            tombstones_told: Mutex::default(),
            unsynced: Mutex::default(),
            unsettled: Mutex::default(),
            rotten: Mutex::default(),
            numbers: AtomicU64::new(0),
        };
        if store.is_linearizable() {
            lock(&replica.damaged).iter().for_each(|stored| replica.note_rotten(stored));
        }
        replica.count_hints()?;
        Ok(replica)
    }

    /// The engine underneath.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Which partitions are whole here.
    #[must_use]
    pub fn holdings(&self) -> &Arc<Holdings> {
        &self.holdings
    }

    /// Every other owner's copies of the partitions for which `is_merged` holds were merged since
    /// `lacking` was taken: nothing is missing there that they have, unless more was lost meanwhile.
    pub async fn repaired(&self, lacking: &Lacking, is_merged: impl Fn(u32) -> bool) {
        let mut closed = false;
        for (partition, mark) in lacking.doubts.iter().filter(|(partition, _)| is_merged(**partition)) {
            self.holdings.close(*partition, *mark);
            closed = true;
        }
        if closed && let Err(error) = self.holdings.save().await {
            tracing::warn!(%error, "what is whole cannot be noted; it is asked for again after a restart");
        }
        let is_done = |stored: &Vec<u8>| {
            lacking.quarantined.contains(stored) && keys::partition_of_data(stored).is_none_or(&is_merged)
        };
        lock(&self.quarantined).retain(|stored| !is_done(stored));
    }

    /// What comparing copies with all other owners makes up for. Gaps of other kinds are filled by
    /// whoever knows from whom to take.
    #[must_use]
    pub fn lacking(&self) -> Lacking {
        let mut doubts = self.holdings.gaps();
        doubts.retain(|_, mark| mark.why == Gap::Doubt);
        Lacking { quarantined: lock(&self.quarantined).clone(), doubts }
    }

    /// Keys whose record had rotted and was written over before all owners were asked.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        lock(&self.quarantined).len()
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
            Ok(found) => {
                let whole = self.holdings.is_whole(partition);
                let complete = whole && !lock(&self.quarantined).contains(&stored);
                match found {
                    Some(record) if complete || (whole && !self.is_repaired) => ReadReply::Found(record),
                    Some(record) => ReadReply::Partial(record),
                    None => ReadReply::NotFound { complete },
                }
            }
            Err(error) => {
                if digest::is_damage(&error) {
                    self.note_damage(&stored, true);
                }
                ReadReply::Damaged
            }
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
        let promise = self.promise.max(at_least).min(self.engine.strongest());
        self.merge_into(keys::data(partition, key), record, promise).await
    }

    /// Merges `record`, which somebody else holds too, without waiting for the disk: nobody may be
    /// told that it is here before [`Replica::flush`] has returned. Whether it was not here yet as it is.
    ///
    /// # Errors
    /// As [`Replica::store`].
    pub async fn take(&self, partition: u32, key: &[u8], record: &[u8]) -> Result<bool, ReplicaError> {
        let stored = keys::data(partition, key);
        // Equal records have equal bytes: of a second owner most are here already.
        if self.engine.get(&stored).is_ok_and(|here| here.is_some_and(|here| here == record)) {
            return Ok(false);
        }
        let promise = Promise::OsBuffered.min(self.engine.strongest());
        self.merge_into(stored, &Record::decode(record)?, promise).await?;
        Ok(true)
    }

    /// Waits until all that was merged so far is as durable as the engine makes it.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.engine.flush().await.map(drop)
    }

    /// Up to `limit` keys of a partition behind `after`, in order; fewer when there are no more.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub(crate) fn keys(
        &self,
        partition: u32,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let after = after.map(|key| keys::data(partition, key));
        let page = self.engine.keys(&keys::partition_prefix(partition), after.as_deref(), limit)?;
        Ok(page.iter().map(|stored| Bytes::copy_from_slice(keys::key_of_data(stored))).collect())
    }

    /// Forgets a copy that every owner has acknowledged, unless it has grown since or this node
    /// has come to own it (`is_foreign`, asked while nobody can write the key); says whether it
    /// did.
    ///
    /// # Errors
    /// When the engine fails; the copy is then handed over again, which harms nothing.
    pub async fn drop_copy(
        &self,
        partition: u32,
        key: &[u8],
        handed_over: &Record,
        is_foreign: impl FnOnce() -> bool,
    ) -> Result<bool, ReplicaError> {
        let mut dropped = false;
        self.write_locked(&keys::data(partition, key), Promise::Memory, |before| {
            dropped = before.as_ref() == Some(handed_over) && is_foreign();
            Ok(dropped.then_some(Decision::Delete))
        })
        .await?;
        Ok(dropped)
    }

    /// Checks a record that came from outside before anything is done with it, and lets this
    /// node's clock know its stamp: whatever way it came, later stamps of this node are above it.
    fn admit(&self, record: &Record) -> Result<(), ReplicaError> {
        match (record, self.conflict) {
            (Record::Siblings(_), Conflict::Siblings) => Ok(()),
            (Record::Latest(latest), Conflict::LastWriteWins) => {
                let wall_ns = self.clock.wall_ns();
                HybridClock::check_skew(wall_ns, latest.stamp).inspect_err(|_| {
                    self.skewed.fetch_add(1, Ordering::Relaxed);
                })?;
                self.stamps.observe(wall_ns, latest.stamp);
                Ok(())
            }
            (Record::Single(_), Conflict::Single) => Ok(()),
            _ => Err(KindMismatch.into()),
        }
    }

    /// How many writes were refused because their stamps lie too far in the future.
    #[must_use]
    pub fn skewed(&self) -> u64 {
        self.skewed.load(Ordering::Relaxed)
    }

    async fn merge_into(
        &self,
        stored: Vec<u8>,
        record: &Record,
        promise: Promise,
    ) -> Result<(), ReplicaError> {
        self.admit(record)?;
        if let Record::Single(copy) = record {
            return self.adopt(&stored, copy, promise).await;
        }
        self.write_locked(&stored, promise, |before| {
            let merged = match &before {
                Some(before) => before.clone().merge(record.clone())?,
                None => record.clone(),
            }
            .with_actors_at_most(self.actors_max);
            // Already there: nothing to write, but the acknowledgement promises what is there.
            if before.as_ref() == Some(&merged) { Ok(None) } else { Ok(Some(Decision::Put(merged))) }
        })
        .await
    }

    /// Forgets a record that cannot be read, unless something was written over it meanwhile.
    async fn drop_damaged(&self, stored: &[u8]) -> Result<(), ReplicaError> {
        self.write_locked(stored, Promise::Memory, |before| Ok(before.is_none().then_some(Decision::Delete)))
            .await
    }

    /// Reads, decides and appends under the key's lock, then waits for the promise without it,
    /// so that writes to one key share a sync.
    async fn write_locked(
        &self,
        stored: &[u8],
        promise: Promise,
        decide: impl FnOnce(Option<Record>) -> Result<Option<Decision>, ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let mut decide = Some(decide);
        let mut appended: Option<BoxFuture<'_, Result<Position, StoreError>>> = None;
        poll_fn(|cx| {
            let Some(decide) = decide.take() else { return poll_write(appended.as_mut(), cx) };
            let hash = key_hash(stored);
            let _guard = self.lock_of(hash);
            let prepared = match self.prepare(stored, promise, decide) {
                Ok(Some(prepared)) => prepared,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            };
            let mut slot = prepared.change.as_ref().and_then(|_| self.trees.slot_of(stored));
            appended = Some(prepared.write);
            // The engine appends in the first poll, which this one is, still under the locks.
            let polled = poll_write(appended.as_mut(), cx);
            let (is_appended, in_doubt) = match &polled {
                Poll::Pending | Poll::Ready(Ok(())) => (true, false),
                Poll::Ready(Err(ReplicaError::Store(error))) => (false, error.maybe_applied()),
                Poll::Ready(Err(_)) => (false, false),
            };
            if let (Some(slot), Some(change)) = (&mut slot, &prepared.change) {
                if is_appended {
                    slot.changed(stored, hash, change);
                } else if in_doubt {
                    slot.doubt();
                }
            }
            if is_appended && prepared.was_damaged {
                lock(&self.damaged).remove(stored);
            }
            polled
        })
        .await
    }

    /// The write that `decide` asks for, not yet polled; nothing when there is none to make.
    fn prepare(
        &self,
        stored: &[u8],
        promise: Promise,
        decide: impl FnOnce(Option<Record>) -> Result<Option<Decision>, ReplicaError>,
    ) -> Result<Option<Prepared<'_>>, ReplicaError> {
        let mut was_damaged = false;
        let (old, before) = match self.load_whole(stored) {
            Ok(Some((bytes, record))) => (Some(bytes), Some(record)),
            Ok(None) => (None, None),
            Err(error) if digest::is_damage(&error) => {
                self.note_damage(stored, true);
                if self.conflict == Conflict::Single {
                    // Nobody votes over a vote that is forgotten.
                    if keys::partition_of_data(stored).is_none_or(|p| self.holdings.votes_on(p)) {
                        return Err(error);
                    }
                } else {
                    // What it held is unknown, so what replaces it is no full copy.
                    lock(&self.quarantined).insert(stored.to_vec());
                }
                was_damaged = true;
                (None, None)
            }
            Err(other) => return Err(other),
        };
        let key = stored.to_vec();
        let (batch, new) = match decide(before)? {
            Some(Decision::Put(record)) => {
                let value = Bytes::from(record.encode());
                (vec![Write::Put { key, value: value.clone() }], Some(value))
            }
            Some(Decision::Delete) => (vec![Write::Delete { key }], None),
            Some(Decision::DeleteWith(other)) => {
                (vec![Write::Delete { key }, Write::Delete { key: other }], None)
            }
            // Already as wanted, but perhaps not yet durable: the promise covers that too.
            None if promise == Promise::Synced => {
                let write = self.engine.flush();
                return Ok(Some(Prepared { write, change: None, was_damaged: false }));
            }
            None => return Ok(None),
        };
        self.changes.fetch_add(1, Ordering::AcqRel);
        let write = self.engine.apply(batch, promise);
        Ok(Some(Prepared { write, change: Some(Change { old, new }), was_damaged }))
    }

    fn load(&self, stored: &[u8]) -> Result<Option<Record>, ReplicaError> {
        Ok(self.load_whole(stored)?.map(|(_, record)| record))
    }

    /// The record and the bytes it was read from.
    fn load_whole(&self, stored: &[u8]) -> Result<Option<(Bytes, Record)>, ReplicaError> {
        let Some(bytes) = self.engine.get(stored)? else { return Ok(None) };
        let record = Record::decode(&bytes)?;
        Ok(Some((bytes, record)))
    }

    fn lock_of(&self, key_hash: u64) -> MutexGuard<'_, ()> {
        lock(&self.locks[key_hash as usize % LOCKS])
    }
}

/// What may be missing at one moment, for [`Replica::repaired`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    quarantined: BTreeSet<Vec<u8>>,
    doubts: BTreeMap<u32, Mark>,
}

impl Lacking {
    /// Whether nothing is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.doubts.is_empty() && self.quarantined.is_empty()
    }
}

/// What a write does to the record under a key.
enum Decision {
    Put(Record),
    Delete,
    /// Forgets what lies under another key, too.
    DeleteWith(Vec<u8>),
}

/// A write that was decided on and not yet polled.
struct Prepared<'a> {
    write: BoxFuture<'a, Result<Position, StoreError>>,
    /// None when the record stays as it is.
    change: Option<Change>,
    was_damaged: bool,
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
mod tests;
