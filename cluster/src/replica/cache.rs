//! Records that were used of late, as they lie in the engine: gets and merges of them need no disk.
//!
//! A copy is put here under its key's lock, when it was read or appended, and taken out whenever it is not
//! certain what the engine shows; so both always say the same. What finds rot (the scrubber, comparisons,
//! compaction) reads from the engine, and a record that turns out to be damaged is damaged here too: a
//! node's memory is no place for what it promised to keep.
//!
//! Which records go first depends on nothing but the order in which they were used (the clock algorithm:
//! one that was used since the hand came by is passed over once).
//!
//! Not here: hints and promises, which are read rarely.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{keys, lock};
use crate::merkle::record_digest;
use crate::version::{Fingerprint, Record};

/// Locks, so that threads rarely meet.
const SHARDS: u64 = 16;
/// About what a record takes beside its key and its bytes.
const OVERHEAD_BYTES: usize = 256;

/// A record, and what stands for it where only equality matters.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) record: Arc<Record>,
    pub(super) fingerprint: Fingerprint,
    /// As trees have it.
    pub(super) digest: u64,
    bytes: usize,
}

impl Held {
    /// `record`, whose encoded form is `encoded`, under a key of this hash.
    pub(super) fn new(record: Arc<Record>, encoded: &[u8], key_hash: u64) -> Self {
        Self {
            record,
            fingerprint: Fingerprint::of(encoded),
            digest: record_digest(key_hash, encoded),
            bytes: encoded.len(),
        }
    }
}

/// The records of one node that were used of late.
#[derive(Debug)]
pub(super) struct Cache {
    shards: Vec<Mutex<Shard>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    /// At most about so many bytes; none keeps nothing.
    pub(super) fn new(bytes_max: u64) -> Self {
        let of_shard = usize::try_from(bytes_max / SHARDS).unwrap_or(usize::MAX);
        let shards = if bytes_max == 0 { 0 } else { SHARDS };
        Self {
            shards: (0..shards)
                .map(|_| Mutex::new(Shard { bytes_max: of_shard, ..Shard::default() }))
                .collect(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The record under `stored`, if it is here.
    pub(super) fn get(&self, hash: u64, stored: &[u8]) -> Option<Held> {
        let held = lock(self.shard(hash, stored)?).get(hash, stored);
        let counter = if held.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        held
    }

    /// Takes note of what the engine shows under `stored` from now on; nothing if that is not certain.
    pub(super) fn set(&self, hash: u64, stored: &[u8], held: Option<Held>) {
        let Some(shard) = self.shard(hash, stored) else { return };
        let mut shard = lock(shard);
        match held {
            Some(held) => shard.insert(hash, stored, held),
            None => shard.remove(hash),
        }
    }

    /// Forgets all records for whose keys `is_meant` holds.
    pub(super) fn forget(&self, is_meant: impl Fn(&[u8]) -> bool) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let hashes: Vec<u64> =
                shard.slots.iter().filter(|slot| is_meant(&slot.key)).map(|slot| slot.hash).collect();
            for hash in hashes {
                shard.remove(hash);
            }
        }
    }

    /// How often a record was looked for and found, and how often it was not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Bytes that records take here, about.
    pub(super) fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).bytes as u64).sum()
    }

    fn shard(&self, hash: u64, stored: &[u8]) -> Option<&Mutex<Shard>> {
        // Not the bits that choose a bucket.
        let shard = self.shards.get((hash >> 32) as usize % SHARDS as usize)?;
        keys::partition_of_data(stored).map(|_| shard)
    }
}

/// Some of the records.
#[derive(Debug, Default)]
struct Shard {
    /// By hash of key; of two keys that share one only the last is here. Never iterated.
    places: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    key: Box<[u8]>,
    held: Held,
    was_used: bool,
}

impl Slot {
    fn bytes(&self) -> usize {
        self.key.len() + self.held.bytes + OVERHEAD_BYTES
    }
}

impl Shard {
    fn get(&mut self, hash: u64, stored: &[u8]) -> Option<Held> {
        let slot = &mut self.slots[*self.places.get(&hash)?];
        if *slot.key != *stored {
            return None;
        }
        slot.was_used = true;
        Some(slot.held.clone())
    }

    fn insert(&mut self, hash: u64, stored: &[u8], held: Held) {
        if let Some(at) = self.places.get(&hash) {
            let slot = &mut self.slots[*at];
            // Most writes change little about how long a record is.
            if *slot.key == *stored && held.bytes <= slot.held.bytes {
                self.bytes -= slot.held.bytes - held.bytes;
                slot.held = held;
                return;
            }
            self.remove(hash);
        }
        let slot = Slot { hash, key: stored.into(), held, was_used: false };
        if slot.bytes() > self.bytes_max {
            return;
        }
        while self.bytes + slot.bytes() > self.bytes_max {
            self.drop_one();
        }
        self.bytes += slot.bytes();
        self.places.insert(hash, self.slots.len());
        self.slots.push(slot);
    }

    fn remove(&mut self, hash: u64) {
        let Some(at) = self.places.remove(&hash) else { return };
        let gone = self.slots.swap_remove(at);
        self.bytes -= gone.bytes();
        if let Some(moved) = self.slots.get(at) {
            self.places.insert(moved.hash, at);
        }
    }

    fn drop_one(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.was_used) {
                let hash = slot.hash;
                return self.remove(hash);
            }
            self.hand += 1;
        }
    }
}

/// What is hashed is a hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests;
