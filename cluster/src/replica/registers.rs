//! One node's part in linearizable registers: what it has promised and accepted of each key.
//!
//! What was accepted lies where copies lie, so that trees, pages and the scrubber see it; what was
//! promised lies apart and is nobody else's. Both are synced before they are told to anybody: an engine
//! shows a write before it is durable, so whoever reads one that is not waits for the disk too.
//!
//! An owner that may have forgotten a vote casts none (`membership::Holdings`). It takes over what
//! others have accepted, the highest ballot it is given, whatever it may once have promised: its
//! promises were made under views that are sealed by then. An owner that votes takes over a copy only
//! as it would accept the proposer's own message, for it is no more than that which came late.
//!
//! Not here: counting votes (`register`), asking for them (`coordinator`).

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::Bytes;
use quorate_env::BoxFuture;

use super::{Decision, Replica, ReplicaError, digest, keys, lock};
use crate::merkle::key_hash;
use crate::register::{Accepted, Acceptor, Ballot, Vote, Write};
use crate::store::{self, Position, Promise, StoreError};
use crate::version::{Record, Undecodable};

/// Promises that are listed at a time.
const PROMISES_PAGE: usize = 256;

/// Accepts that are visible and perhaps not durable, by stored key: each append has a number.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    appends: u64,
    last: BTreeMap<Vec<u8>, u64>,
}

impl Unsynced {
    fn begin(&mut self, stored: &[u8]) -> u64 {
        self.appends += 1;
        self.last.insert(stored.to_vec(), self.appends);
        self.appends
    }

    /// All up to this append of the key is durable.
    fn end(&mut self, stored: &[u8], append: u64) {
        if self.last.get(stored) == Some(&append) {
            self.last.remove(stored);
        }
    }
}

impl Replica {
    /// What this node has accepted of a key, once it is durable.
    ///
    /// # Errors
    /// [`ReplicaError::CastsNoVote`] where it may have forgotten something; when the disk fails or the
    /// record is damaged.
    pub async fn look(&self, partition: u32, key: &[u8]) -> Result<Option<Accepted>, ReplicaError> {
        let stored = keys::data(partition, key);
        let (accepted, append) = {
            let _guard = self.lock_of(key_hash(&stored));
            self.check_votes(partition)?;
            (self.accepted(&stored)?, lock(&self.unsynced).last.get(&stored).copied())
        };
        if let Some(append) = append {
            self.flush().await?;
            lock(&self.unsynced).end(&stored, append);
        }
        Ok(accepted)
    }

    /// Promises to accept nothing of a key below `ballot`.
    ///
    /// # Errors
    /// As [`Replica::look`].
    pub async fn promise(&self, partition: u32, key: &[u8], ballot: Ballot) -> Result<Vote, ReplicaError> {
        let (stored, promised) = (keys::data(partition, key), keys::promise(partition, key));
        self.observe_number(ballot.number);
        let mut append = None;
        let mut vote = None;
        let mut write: Option<BoxFuture<'_, Result<Position, StoreError>>> = None;
        poll_fn(|cx| {
            if let Some(write) = &mut write {
                return write.as_mut().poll(cx).map(|done| done.map(drop).map_err(ReplicaError::from));
            }
            let _guard = self.lock_of(key_hash(&stored));
            let mut acceptor =
                match self.check_votes(partition).and_then(|()| self.acceptor(&stored, &promised)) {
                    Ok(acceptor) => acceptor,
                    Err(error) => return Poll::Ready(Err(error)),
                };
            let answer = acceptor.prepare(ballot);
            let is_outrun = matches!(answer, Vote::Outrun(_));
            vote = Some(answer);
            if is_outrun {
                return Poll::Ready(Ok(()));
            }
            append = lock(&self.unsynced).last.get(&stored).copied();
            let value = match postcard::to_stdvec(&ballot) {
                Ok(value) => Bytes::from(value),
                Err(error) => return Poll::Ready(Err(Undecodable::of(&error).into())),
            };
            let batch = vec![store::Write::Put { key: promised.clone(), value }];
            let mut applied = self.engine.apply(batch, Promise::Synced);
            // The engine appends in the first poll, which this one is, still under the lock.
            let polled = applied.as_mut().poll(cx);
            write = Some(applied);
            polled.map(|done| done.map(drop).map_err(ReplicaError::from))
        })
        .await?;
        if let Some(append) = append {
            self.flush().await?;
            lock(&self.unsynced).end(&stored, append);
        }
        vote.ok_or(ReplicaError::CastsNoVote)
    }

    /// Accepts `write`, unless a higher ballot was promised.
    ///
    /// # Errors
    /// As [`Replica::look`]. It may show up all the same if [`StoreError::maybe_applied`] says so.
    pub async fn accept(
        &self,
        partition: u32,
        key: &[u8],
        ballot: Ballot,
        write: Write,
    ) -> Result<Vote, ReplicaError> {
        let (stored, promised) = (keys::data(partition, key), keys::promise(partition, key));
        self.observe_number(ballot.number);
        let mut vote = None;
        let mut append = 0;
        self.write_locked(&stored, Promise::Synced, |before| {
            self.check_votes(partition)?;
            let mut acceptor = self.acceptor_from(before, &promised)?;
            let answer = acceptor.accept(ballot, write);
            let is_accepted = answer == Vote::Accepted;
            vote = Some(answer);
            append = lock(&self.unsynced).begin(&stored);
            let accepted = acceptor.accepted().filter(|_| is_accepted);
            Ok(accepted.map(|accepted| Decision::Put(Arc::new(Record::Single(accepted.clone())))))
        })
        .await?;
        lock(&self.unsynced).end(&stored, append);
        vote.ok_or(ReplicaError::CastsNoVote)
    }

    /// Takes over what another owner has accepted.
    ///
    /// # Errors
    /// When the disk fails or what is here is damaged.
    pub(super) async fn adopt(
        &self,
        stored: &[u8],
        copy: &Accepted,
        promise: Promise,
    ) -> Result<(), ReplicaError> {
        let Some(partition) = keys::partition_of_data(stored) else { return Ok(()) };
        let key = keys::key_of_data(stored);
        let promised = keys::promise(partition, key);
        let mut append = 0;
        self.write_locked(stored, promise, |before| {
            let here = match before.as_deref() {
                Some(Record::Single(here)) => Some(here.ballot),
                _ => None,
            };
            if here >= Some(copy.ballot) {
                return Ok(None);
            }
            if self.holdings.votes_on(partition)
                && matches!(
                    self.acceptor_from(before, &promised)?.accept(copy.ballot, copy.value.clone()),
                    Vote::Outrun(_)
                )
            {
                // Nothing but another attempt brings the owners together.
                lock(&self.unsettled).insert((partition, Bytes::copy_from_slice(key)));
                return Ok(None);
            }
            append = lock(&self.unsynced).begin(stored);
            Ok(Some(Decision::Put(Arc::new(Record::Single(copy.clone())))))
        })
        .await?;
        if promise == Promise::Synced {
            lock(&self.unsynced).end(stored, append);
        }
        Ok(())
    }

    /// Forgets what was accepted and promised of a key, if this node no longer owns it (`is_foreign`,
    /// asked while nobody can vote on it).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_register(
        &self,
        partition: u32,
        key: &[u8],
        is_foreign: impl FnOnce() -> bool,
    ) -> Result<bool, ReplicaError> {
        let mut dropped = false;
        self.write_locked(&keys::data(partition, key), Promise::Memory, |_| {
            dropped = is_foreign();
            Ok(dropped.then(|| Decision::DeleteWith(keys::promise(partition, key))))
        })
        .await?;
        Ok(dropped)
    }

    /// Keys of a partition of which this node has promised something, not all at once.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn promised_keys(&self, partition: u32) -> Result<Vec<Bytes>, StoreError> {
        let stored = self.engine.keys(&keys::promise(partition, b""), None, PROMISES_PAGE)?;
        Ok(stored.iter().map(|stored| Bytes::copy_from_slice(keys::key_of_data(stored))).collect())
    }

    /// Forgets the votes of a partition that cannot be read, while this node casts none there: those of
    /// the others were merged, and what they know nothing of was never chosen.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn forget_rotten(&self, partition: u32) -> Result<(), ReplicaError> {
        let of_partition = |stored: &&Vec<u8>| keys::partition_of_vote(stored) == Some(partition);
        let damaged: Vec<Vec<u8>> = lock(&self.damaged).iter().filter(of_partition).cloned().collect();
        for stored in damaged {
            if self.holdings.votes_on(partition) {
                return Ok(());
            }
            if keys::partition_of_data(&stored).is_some() {
                self.drop_damaged(&stored).await?;
            } else {
                self.engine
                    .apply(vec![store::Write::Delete { key: stored.clone() }], Promise::Memory)
                    .await?;
            }
            lock(&self.damaged).remove(&stored);
        }
        Ok(())
    }

    /// Keys of which this node was given a copy that it had promised not to accept, up to `limit`; they
    /// are handed out once.
    #[must_use]
    pub fn take_unsettled(&self, limit: usize) -> Vec<Bytes> {
        let mut unsettled = lock(&self.unsettled);
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some((_, key)) = unsettled.pop_first()
        {
            taken.push(key);
        }
        taken
    }

    /// Partitions in which a vote was found to have rotted; they are handed out once.
    #[must_use]
    pub fn take_rotten(&self) -> Vec<u32> {
        std::mem::take(&mut *lock(&self.rotten)).into_iter().collect()
    }

    /// A number for an attempt, above `above` and all that this node has met.
    #[must_use]
    pub fn next_number(&self, above: u64) -> u64 {
        self.observe_number(above);
        self.numbers.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn observe_number(&self, number: u64) {
        self.numbers.fetch_max(number, Ordering::AcqRel);
    }

    fn check_votes(&self, partition: u32) -> Result<(), ReplicaError> {
        if self.holdings.votes_on(partition) { Ok(()) } else { Err(ReplicaError::CastsNoVote) }
    }

    fn acceptor(&self, stored: &[u8], promised: &[u8]) -> Result<Acceptor, ReplicaError> {
        let accepted = self.accepted(stored)?;
        self.acceptor_of(accepted, promised)
    }

    /// The acceptor that has accepted `record` and promised what is stored under `promised`.
    fn acceptor_from(&self, record: Option<Arc<Record>>, promised: &[u8]) -> Result<Acceptor, ReplicaError> {
        self.acceptor_of(single(record)?, promised)
    }

    fn acceptor_of(&self, accepted: Option<Accepted>, promised: &[u8]) -> Result<Acceptor, ReplicaError> {
        let noted = self.promised(promised).inspect_err(|error| {
            if digest::is_damage(error) {
                self.note_damage(promised, false);
            }
        })?;
        let promised = noted.max(accepted.as_ref().map(|accepted| accepted.ballot));
        Ok(promised.map_or_else(Acceptor::default, |promised| Acceptor::recovered(promised, accepted)))
    }

    fn promised(&self, promised: &[u8]) -> Result<Option<Ballot>, ReplicaError> {
        let Some(bytes) = self.engine.get(promised)? else { return Ok(None) };
        Ok(Some(postcard::from_bytes(&bytes).map_err(|error| Undecodable::of(&error))?))
    }

    fn accepted(&self, stored: &[u8]) -> Result<Option<Accepted>, ReplicaError> {
        let hash = key_hash(stored);
        if let Some(held) = self.cache.get(hash, stored) {
            return single(Some(held.record));
        }
        let found = self.load_and_keep(stored, hash).inspect_err(|error| {
            if digest::is_damage(error) {
                self.note_damage(stored, true);
            }
        });
        single(found?.map(|held| held.record))
    }

    /// A vote that was cast cannot be read any more: this node casts none in its partition once that is
    /// noted for good.
    pub(super) fn note_rotten(&self, stored: &[u8]) {
        lock(&self.rotten).extend(keys::partition_of_vote(stored));
    }
}

fn single(record: Option<Arc<Record>>) -> Result<Option<Accepted>, ReplicaError> {
    match record.as_deref() {
        None => Ok(None),
        Some(Record::Single(accepted)) => Ok(Some(accepted.clone())),
        Some(Record::Siblings(_) | Record::Latest(_)) => Err(crate::version::KindMismatch.into()),
    }
}
