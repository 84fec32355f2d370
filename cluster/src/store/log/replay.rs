//! Reads the segments of a log back into an index, and says what a crash or rot took.

use quorate_env::DiskFile;

use super::hint::Hint;
use super::index::{Index, Kind};
use super::record::{Place, Record, decode, find};
use crate::store::StoreError;

/// What reading one segment found.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Where the good part ends.
    pub(super) end: u64,
    /// Bytes after that, which belong to no whole batch.
    pub(super) torn: u64,
    /// Stretches between good records that are none.
    pub(super) unreadable_regions: u64,
    /// Greatest sequence seen.
    pub(super) sequence_max: u64,
    /// What a hint of the segment would tell; empty where it was read by its hint.
    pub(super) hint: Hint,
}

/// All of a segment. Segments are small enough to be held in memory while they are read.
pub(super) fn read_segment(file: &dyn DiskFile, name: &str) -> Result<Vec<u8>, StoreError> {
    let read = || {
        let len = file.len()?;
        file.read_at(0, usize::try_from(len).map_err(std::io::Error::other)?)
    };
    read().map_err(|e| StoreError::io(name, e))
}

/// Reads a segment into the index.
///
/// A batch whose end is missing because the segment ends is no batch. One with a damaged
/// stretch inside was whole once, since something follows it: what can be read of it counts.
pub(super) fn replay(segment: u64, bytes: &[u8], index: &mut Index) -> Replayed {
    let mut replayed = Replayed::default();
    let mut pending: Vec<(usize, Record<'_>)> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Some(record) = decode(segment, bytes, at) else {
            // Either the end that a crash tore off, or rot with good records behind it.
            let Some(next) = find(segment, bytes, at + 1) else { break };
            replayed.unreadable_regions += 1;
            at = next;
            continue;
        };
        if record.header.batch_index == 0 {
            // The end of the batch before this one was unreadable.
            pending.drain(..).for_each(|(at, record)| note(segment, at, &record, index, &mut replayed.hint));
        }
        pending.push((at, record));
        replayed.sequence_max = replayed.sequence_max.max(record.header.sequence);
        at += record.len();
        if record.header.batch_end {
            pending.drain(..).for_each(|(at, record)| note(segment, at, &record, index, &mut replayed.hint));
            replayed.end = at as u64;
        }
    }
    replayed.torn = bytes.len() as u64 - replayed.end;
    replayed
}

fn note(segment: u64, at: usize, record: &Record<'_>, index: &mut Index, hint: &mut Hint) {
    let kind = match (record.header.tombstone, record.is_damaged()) {
        (true, _) => Kind::Tombstone,
        (false, true) => Kind::Damaged,
        (false, false) => Kind::Value,
    };
    let entry = record.entry(Place { segment, offset: at as u64 }, kind);
    hint.add(record.key, &entry);
    index.insert(record.key, entry);
}
