//! Where the newest record of every key lies, and how much of each segment is still needed.
//!
//! A tombstone is remembered only while an older value of its key lies in some segment: with
//! the last of those it can go. Dropping it earlier would bring the key back at the next start.
//! Only values are counted, since a tombstone that went leaves older ones of no consequence.

use std::collections::BTreeMap;

use super::record::{Place, record_len};

/// The newest record of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) sequence: u64,
    pub(super) value_len: u32,
    pub(super) value_crc: u32,
    pub(super) kind: Kind,
    /// Older values of this key in all segments, copies included.
    pub(super) older: u32,
}

/// What the newest record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Value,
    /// A value whose checksum does not fit.
    Damaged,
    Tombstone,
}

impl Entry {
    fn record_len(&self, key: &[u8]) -> u64 {
        record_len(key.len(), self.value_len as usize) as u64
    }
}

/// Bytes of one segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) total: u64,
    /// Of which needed to tell the present state.
    pub(super) live: u64,
    /// Whether some of it cannot be read: such a segment stays as it is, as evidence.
    pub(super) unreadable: bool,
}

/// The newest record of every key.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<Box<[u8]>, Entry>,
    usage: BTreeMap<u64, Usage>,
    records: u64,
    live_bytes: u64,
    damaged: u64,
}

impl Index {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn entries(&self) -> &BTreeMap<Box<[u8]>, Entry> {
        &self.entries
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of keys and values that are not deleted.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    pub(super) fn usage(&self) -> &BTreeMap<u64, Usage> {
        &self.usage
    }

    pub(super) fn usage_mut(&mut self, segment: u64) -> &mut Usage {
        self.usage.entry(segment).or_default()
    }

    /// Takes note of a record that lies in a segment, written just now or found on opening.
    pub(super) fn insert(&mut self, key: &[u8], mut new: Entry) {
        let len = new.record_len(key);
        self.usage_mut(new.place.segment).total += len;
        let old = self.entries.get(key).copied();
        if let Some(old) = old {
            new.older = old.older + u32::from(old.kind != Kind::Tombstone);
            // The good one of two copies of one record is the record.
            let is_worse_copy =
                new.sequence == old.sequence && new.kind == Kind::Damaged && old.kind == Kind::Value;
            if new.sequence < old.sequence || is_worse_copy {
                let is_value = u32::from(new.kind != Kind::Tombstone);
                self.entries.entry(key.into()).and_modify(|entry| entry.older += is_value);
                return;
            }
            self.count_out(key, &old);
        }
        if new.kind == Kind::Tombstone && new.older == 0 {
            return;
        }
        self.count_in(key, &new);
        match self.entries.get_mut(key) {
            Some(entry) => *entry = new,
            None => {
                self.entries.insert(key.into(), new);
            }
        }
    }

    /// Takes note that a value turned out to be damaged, unless it was replaced meanwhile.
    pub(super) fn mark_damaged(&mut self, key: &[u8], place: Place) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.place == place
            && entry.kind == Kind::Value
        {
            entry.kind = Kind::Damaged;
            self.damaged += 1;
        }
    }

    /// Takes note that the segment with this record is gone. A tombstone that hides nothing any more goes
    /// with it.
    pub(super) fn forget(&mut self, key: &[u8], gone: &Entry) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if gone.kind != Kind::Tombstone {
            assert!(entry.place != gone.place, "what is needed of a segment is copied before it goes");
            entry.older =
                entry.older.checked_sub(1).expect("every older value was counted when it was found");
        }
        if entry.kind == Kind::Tombstone && entry.older == 0 {
            let spent = *entry;
            self.count_out(key, &spent);
            self.entries.remove(key);
        }
    }

    pub(super) fn forget_segment(&mut self, segment: u64) {
        self.usage.remove(&segment);
    }

    fn count_in(&mut self, key: &[u8], entry: &Entry) {
        self.usage_mut(entry.place.segment).live += entry.record_len(key);
        if entry.kind != Kind::Tombstone {
            self.records += 1;
            self.live_bytes += key.len() as u64 + u64::from(entry.value_len);
        }
        if entry.kind == Kind::Damaged {
            self.damaged += 1;
        }
    }

    fn count_out(&mut self, key: &[u8], entry: &Entry) {
        if let Some(usage) = self.usage.get_mut(&entry.place.segment) {
            usage.live -= entry.record_len(key);
        }
        if entry.kind != Kind::Tombstone {
            self.records -= 1;
            self.live_bytes -= key.len() as u64 + u64::from(entry.value_len);
        }
        if entry.kind == Kind::Damaged {
            self.damaged -= 1;
        }
    }
}
