//! A second place for the values of a log: asked first, always checked, never needed.
//!
//! The log stays the truth. Its index says which write of a key is the newest (the sequence, which is
//! given once) and what its checksum is; what the second place says counts only if both fit, and
//! anything else is read from the log and told to the second place. So it may lose, forget or mix up
//! what it likes, at any time, and be thrown away.

use bytes::Bytes;

use super::index::Kind;
use super::writer::Pending;

/// Where else values are kept. Failures stay inside: a value that cannot be had is `None`.
pub(in crate::store) trait Values: Send + Sync {
    /// The value of `key` as written with this sequence.
    fn get(&self, key: &[u8], sequence: u64) -> Option<Bytes>;

    /// Keeps changes, as far as it can.
    fn set(&self, changes: &[Changed<'_>]);
}

/// What became of one key.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Changed<'a> {
    pub(in crate::store) key: &'a [u8],
    pub(in crate::store) sequence: u64,
    /// `None` when it was deleted.
    pub(in crate::store) value: Option<&'a [u8]>,
}

impl<'a> Changed<'a> {
    pub(super) fn of(record: &Pending<'a>) -> Self {
        let value = (record.kind != Kind::Tombstone).then_some(record.value);
        Self { key: record.key, sequence: record.header.sequence, value }
    }
}
