//! What a node says of its own copies, from memory where it can.

use std::sync::Arc;

use super::cache::Held;
use super::{Replica, ReplicaError, digest, keys, lock};
use crate::merkle::key_hash;
use crate::quorum::ReadReply;
use crate::version::{Fingerprint, Record};

impl Replica {
    /// This node's copy as an owner.
    #[must_use]
    pub fn read(&self, partition: u32, key: &[u8]) -> ReadReply {
        let stored = keys::data(partition, key);
        let hash = key_hash(&stored);
        // Whoever goes through all copies leaves what clients use in memory.
        let found = match self.cache.get(hash, &stored) {
            Some(held) => Ok(Some(held)),
            None => self.load(&stored, hash),
        };
        self.reply(partition, &stored, found).0
    }

    /// As [`Replica::read`], for a client, who may come again; with what stands for the copy.
    pub(super) fn read_for_client(&self, partition: u32, key: &[u8]) -> (ReadReply, Option<Fingerprint>) {
        let stored = keys::data(partition, key);
        let hash = key_hash(&stored);
        let found = match self.cache.get(hash, &stored) {
            Some(held) => Ok(Some(held)),
            None => {
                let _guard = self.lock_of(hash);
                self.load_and_keep(&stored, hash)
            }
        };
        self.reply(partition, &stored, found)
    }

    /// What this node says of its copy as an owner.
    fn reply(
        &self,
        partition: u32,
        stored: &[u8],
        found: Result<Option<Held>, ReplicaError>,
    ) -> (ReadReply, Option<Fingerprint>) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                if digest::is_damage(&error) {
                    self.note_damage(stored, true);
                }
                return (ReadReply::Damaged, None);
            }
        };
        let whole = self.holdings.is_whole(partition);
        let complete = whole && !lock(&self.quarantined).contains(stored);
        let fingerprint = found.as_ref().map(|held| held.fingerprint);
        let reply = match found {
            Some(held) if complete || (whole && !self.is_repaired) => ReadReply::Found(held.record),
            Some(held) => ReadReply::Partial(held.record),
            None => ReadReply::NotFound { complete },
        };
        (reply, fingerprint)
    }

    /// What the engine shows.
    pub(super) fn load(&self, stored: &[u8], hash: u64) -> Result<Option<Held>, ReplicaError> {
        let Some(bytes) = self.engine.get(stored)? else { return Ok(None) };
        Ok(Some(Held::new(Arc::new(Record::decode(&bytes)?), &bytes, hash)))
    }

    /// As [`Replica::load`], to be called under the key's lock; it is in memory from then on.
    pub(super) fn load_and_keep(&self, stored: &[u8], hash: u64) -> Result<Option<Held>, ReplicaError> {
        let loaded = self.load(stored, hash)?;
        self.cache.set(hash, stored, loaded.clone());
        Ok(loaded)
    }
}
