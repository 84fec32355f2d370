//! What one node does with its own copies: read, merge, keep hints, compare.
//!
//! Storing is merging: a put, a repair, a delivered hint and a transfer all end here, in any
//! order and any number of times. An acknowledgement is given only once the engine has kept
//! the store's promise.
//!
//! Not here: other nodes, quorums, clients.

mod cache;
mod digest;
mod hints;
mod keys;
mod pages;
mod quiet;
mod reading;
mod registers;
mod repair;
mod service;
mod summary;
mod throttle;
mod tombstones;
mod trees;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_env::Clock;

use crate::config::{AntiEntropy, Conflict, StoreDefinition};
use crate::membership::{Gap, Holdings, Mark};
use crate::planted::{Bug, is_planted};
use crate::store::{Engine, Promise, StoreError};
use crate::version::{HybridClock, KindMismatch, Record, SharedClock, SkewError, Undecodable};

use cache::Cache;
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
use trees::Trees;
use writing::{Decision, merged};

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
    cache: Cache,
    hints_pending: AtomicI64,
    /// Hints that an earlier run left here, where marks are counted.
    hints_found: Mutex<BTreeSet<Vec<u8>>>,
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
            cache: Cache::new(0),
            hints_pending: AtomicI64::new(0),
            hints_found: Mutex::default(),
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

    /// The same replica, which keeps the records that were used of late in memory, of at most about so many
    /// bytes.
    #[must_use]
    pub fn with_cache(self, bytes_max: u64) -> Self {
        Self { cache: Cache::new(bytes_max), ..self }
    }

    /// How often a copy was found in memory, and how often it was looked for there in vain.
    #[must_use]
    pub fn cache_counts(&self) -> (u64, u64) {
        self.cache.counts()
    }

    /// Bytes that copies in memory take, about.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes()
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

    /// Merges `record` into this node's copy and returns once the store's promise is kept, or
    /// at least `at_least`.
    ///
    /// # Errors
    /// See [`ReplicaError`]; [`StoreError::maybe_applied`] says whether it may show up.
    pub async fn store(
        &self,
        partition: u32,
        key: &[u8],
        record: &Arc<Record>,
        at_least: Promise,
    ) -> Result<(), ReplicaError> {
        let mut promise = self.promise.max(at_least).min(self.engine.strongest());
        if is_planted(Bug::AcknowledgedBeforeSync) {
            promise = Promise::Memory;
        }
        self.merge_into(keys::data(partition, key), record, promise).await
    }

    /// Puts `record` in the place of whatever is here, for [`Bug::ReadRepairWritesOlder`].
    async fn overwrite(&self, partition: u32, key: &[u8], record: &Arc<Record>) -> Result<(), ReplicaError> {
        let decide = |_| Ok(Some(Decision::Put(Arc::clone(record))));
        self.write_locked(&keys::data(partition, key), self.promise, decide).await
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
        self.merge_into(stored, &Arc::new(Record::decode(record)?), promise).await?;
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
            dropped = before.as_deref() == Some(handed_over) && is_foreign();
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

/// No code panics while it holds one of these locks, so a poisoned one is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
