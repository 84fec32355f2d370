//! The one way in which a copy or hint changes: read, decide and append under the key's lock.
//!
//! Tree and cache take note of a change before anybody else can see it.
//!
//! Not here: what is decided, but for merging.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use quorate_env::BoxFuture;

use super::cache::Held;
use super::trees::Change;
use super::{Replica, ReplicaError, digest, keys, lock};
use crate::config::Conflict;
use crate::merkle::key_hash;
use crate::store::{Position, Promise, StoreError, Write};
use crate::version::{KindMismatch, Record};

impl Replica {
    pub(super) async fn merge_into(
        &self,
        stored: Vec<u8>,
        record: &Arc<Record>,
        promise: Promise,
    ) -> Result<(), ReplicaError> {
        self.admit(record)?;
        if let Record::Single(copy) = &**record {
            return self.adopt(&stored, copy, promise).await;
        }
        self.write_locked(&stored, promise, |before| {
            let merged = match &before {
                Some(before) => merged(before, record)?,
                None => Arc::clone(record),
            };
            let merged = if merged.actors() <= self.actors_max {
                merged
            } else {
                Arc::new(Arc::unwrap_or_clone(merged).with_actors_at_most(self.actors_max))
            };
            // Already there: nothing to write, but the acknowledgement promises what is there.
            if before.as_ref() == Some(&merged) { Ok(None) } else { Ok(Some(Decision::Put(merged))) }
        })
        .await
    }

    /// Forgets a record that cannot be read, unless something was written over it meanwhile.
    pub(super) async fn drop_damaged(&self, stored: &[u8]) -> Result<(), ReplicaError> {
        self.write_locked(stored, Promise::Memory, |before| Ok(before.is_none().then_some(Decision::Delete)))
            .await
    }

    /// Reads, decides and appends under the key's lock, then waits for the promise without it,
    /// so that writes to one key share a sync.
    pub(super) async fn write_locked(
        &self,
        stored: &[u8],
        promise: Promise,
        decide: impl FnOnce(Option<Arc<Record>>) -> Result<Option<Decision>, ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let mut decide = Some(decide);
        let mut appended: Option<BoxFuture<'_, Result<Position, StoreError>>> = None;
        poll_fn(|cx| {
            let Some(decide) = decide.take() else { return poll_write(appended.as_mut(), cx) };
            let hash = key_hash(stored);
            let _guard = self.lock_of(hash);
            let prepared = match self.prepare((stored, hash), promise, decide) {
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
            if let Some(change) = &prepared.change {
                self.cache.set(hash, stored, prepared.new.filter(|_| is_appended));
                match &mut slot {
                    Some(slot) if is_appended => slot.changed(stored, hash, change),
                    Some(slot) if in_doubt => slot.doubt(),
                    _ => {}
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
        (stored, hash): (&[u8], u64),
        promise: Promise,
        decide: impl FnOnce(Option<Arc<Record>>) -> Result<Option<Decision>, ReplicaError>,
    ) -> Result<Option<Prepared<'_>>, ReplicaError> {
        let mut was_damaged = false;
        let found = match self.cache.get(hash, stored) {
            Some(held) => Ok(Some(held)),
            None => self.load(stored, hash),
        };
        let (old, before) = match found {
            Ok(Some(held)) => (Some(held.digest), Some(held.record)),
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
                let new = Held::new(record, &value, hash);
                (vec![Write::Put { key, value }], Some(new))
            }
            Some(Decision::Delete) => (vec![Write::Delete { key }], None),
            Some(Decision::DeleteWith(other)) => {
                (vec![Write::Delete { key }, Write::Delete { key: other }], None)
            }
            // Already as wanted, but perhaps not yet durable: the promise covers that too.
            None if promise == Promise::Synced => {
                let write = self.engine.flush();
                return Ok(Some(Prepared { write, change: None, new: None, was_damaged: false }));
            }
            None => return Ok(None),
        };
        self.changes.fetch_add(1, Ordering::AcqRel);
        let write = self.engine.apply(batch, promise);
        let change = Some(Change { old, new: new.as_ref().map(|held| held.digest) });
        Ok(Some(Prepared { write, change, new, was_damaged }))
    }
}

/// What a write does to the record under a key.
pub(super) enum Decision {
    Put(Arc<Record>),
    Delete,
    /// Forgets what lies under another key, too.
    DeleteWith(Vec<u8>),
}

/// A write that was decided on and not yet polled.
struct Prepared<'a> {
    write: BoxFuture<'a, Result<Position, StoreError>>,
    /// None when the record stays as it is.
    change: Option<Change>,
    /// What is there then.
    new: Option<Held>,
    was_damaged: bool,
}

/// Both of two records; one of them as it is where it holds all of the other.
pub(super) fn merged(before: &Arc<Record>, record: &Arc<Record>) -> Result<Arc<Record>, KindMismatch> {
    if record.holds_all_of(before) {
        return Ok(Arc::clone(record));
    }
    if before.holds_all_of(record) {
        return Ok(Arc::clone(before));
    }
    (**before).clone().merge((**record).clone()).map(Arc::new)
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
