//! The end of the log: appends whole batches, takes back what failed, begins new segments.

use std::sync::Arc;

use quorate_env::{Disk, DiskFile};

use super::hint::Hint;
use super::index::{Entry, Kind};
use super::manifest::segment_name;
use super::record::{Header, Place, encode};
use crate::store::{Position, StoreError};

/// A segment's number and its file.
pub(super) type OpenSegment = (u64, Arc<dyn DiskFile>);

/// One record to append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending<'a> {
    pub(super) header: Header,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    /// What the index shall say of it.
    pub(super) kind: Kind,
}

/// The active segment.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    segment: u64,
    file: Arc<dyn DiskFile>,
    end: u64,
    /// The number of the segment after this one. Not always one more: numbers of segments that
    /// were given up are never used again, though the files after them may have vanished.
    next_segment: u64,
    next_sequence: u64,
    /// Full segments that are not known to be durable.
    unsynced: Vec<OpenSegment>,
    /// What the active segment tells.
    hint: Hint,
    /// Full segments whose hints are not written yet, with their lengths.
    full: Vec<(u64, u64, Arc<Hint>)>,
    buffer: Vec<u8>,
    /// Why no more is written, if so.
    stopped: Option<String>,
}

impl Writer {
    /// Goes on at `end` of a segment that told this much so far.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        (segment, file): OpenSegment,
        (end, hint): (u64, Hint),
        next_segment: u64,
        next_sequence: u64,
    ) -> Self {
        Self {
            disk,
            segment,
            file,
            end,
            next_segment,
            next_sequence,
            unsynced: Vec::new(),
            hint,
            full: Vec::new(),
            buffer: Vec::new(),
            stopped: None,
        }
    }

    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The end of all that was appended.
    pub(super) fn position(&self) -> Position {
        Position { segment: self.segment, offset: self.end }
    }

    /// The files that a sync of everything up to [`Writer::position`] has to sync.
    pub(super) fn unsynced(&self) -> Vec<OpenSegment> {
        let mut files = self.unsynced.clone();
        files.push((self.segment, Arc::clone(&self.file)));
        files
    }

    /// Takes note that everything up to `position` is durable.
    pub(super) fn synced(&mut self, position: Position) {
        self.unsynced.retain(|(segment, _)| *segment >= position.segment);
    }

    /// A full segment that wants a hint, and its length.
    pub(super) fn take_full(&mut self) -> Option<(u64, u64, Arc<Hint>)> {
        self.full.pop()
    }

    /// What a full segment tells whose hint is not written yet, and its length.
    pub(super) fn hint_of(&self, segment: u64) -> Option<(u64, Arc<Hint>)> {
        let full = self.full.iter().find(|(number, _, _)| *number == segment)?;
        Some((full.1, Arc::clone(&full.2)))
    }

    /// Refuses all further appends.
    pub(super) fn stop(&mut self, reason: String) {
        self.stopped.get_or_insert(reason);
    }

    /// Begins a new segment if this one has `segment_bytes`, and returns it.
    pub(super) fn roll(&mut self, segment_bytes: u64) -> Result<Option<OpenSegment>, StoreError> {
        if self.end < segment_bytes || self.stopped.is_some() {
            return Ok(None);
        }
        let next = self.next_segment;
        let file = self.disk.open(&segment_name(next)).map_err(|e| StoreError::io(segment_name(next), e))?;
        // Not synced here, because nobody may wait for it: the next sync covers both.
        self.unsynced.push((self.segment, std::mem::replace(&mut self.file, Arc::clone(&file))));
        self.full.push((self.segment, self.end, Arc::new(std::mem::take(&mut self.hint))));
        self.segment = next;
        self.next_segment = next + 1;
        self.end = 0;
        Ok(Some((next, file)))
    }

    /// Appends all records or, on error, none.
    pub(super) fn append(&mut self, records: &[Pending<'_>]) -> Result<Vec<Entry>, StoreError> {
        if let Some(reason) = &self.stopped {
            return Err(StoreError::Stopped { reason: reason.clone() });
        }
        self.buffer.clear();
        let mut entries = Vec::with_capacity(records.len());
        let mut sequence_next = self.next_sequence;
        for record in records {
            let place = Place { segment: self.segment, offset: self.end + self.buffer.len() as u64 };
            encode(&mut self.buffer, place, record.header, record.key, record.value);
            sequence_next = sequence_next.max(record.header.sequence + 1);
            entries.push(Entry {
                place,
                sequence: record.header.sequence,
                value_len: u32::try_from(record.value.len()).expect("lengths are checked before"),
                value_crc: record.header.value_crc,
                kind: record.kind,
                older: 0,
            });
        }
        let name = segment_name(self.segment);
        match self.file.append(&self.buffer) {
            Ok(offset) => assert_eq!(offset, self.end, "{name} is written by nobody else"),
            Err(error) => {
                if let Err(stuck) = self.file.truncate(self.end) {
                    // A later batch behind half a batch would be read as part of it.
                    self.stop(format!(
                        "{name}: an append failed ({error}) and could not be taken back ({stuck})"
                    ));
                }
                return Err(StoreError::io(name, error));
            }
        }
        for (record, entry) in records.iter().zip(&entries) {
            self.hint.add(record.key, entry);
        }
        self.end += self.buffer.len() as u64;
        self.next_sequence = sequence_next;
        Ok(entries)
    }
}
