//! Hint files: what a full segment tells, without its values, so that opening need not read it.
//!
//! After Bitcask's. A hint is written beside its segment once that is full and durable, and is never
//! the truth: one that is missing, damaged, of another version or that does not fit its segment is
//! passed over, and the segment is read instead. It is written only for a segment that is sound from
//! end to end, and lists every record of it, superseded ones too: what compaction counts on
//! ([`super::index::Entry::older`]) comes out the same either way.
//!
//! ```text
//! 0   3  magic "QRH"          then each record, in the order of the segment:
//! 3   1  version               8  sequence             4  key length
//! 4   4  checksum of the rest  4  value length         1  whether it is a tombstone
//! 8   8  segment               4  checksum of value       the key
//! 16  8  length of the segment all integers little-endian
//! ```
//!
//! Not here: whether values are what they were. A value that rotted is found when it is read.

use std::io;

use crc32fast::hash;
use quorate_env::{Disk, DiskFile};

use super::index::{Entry, Index, Kind};
use super::manifest::{HINT_SUFFIX, hint_name, numbered};
use super::record::{Place, begins_with, record_len};
use super::replay::Replayed;
use crate::store::StoreError;

const MAGIC: [u8; 4] = [b'Q', b'R', b'H', 1];
const HEADER_LEN: usize = 24;
const FIXED_LEN: usize = 21;

/// A record as its segment tells of it: whose it is, and where its value lies.
pub(super) type Told<'a> = (&'a [u8], Entry);

/// What a segment told so far.
#[derive(Debug, Default)]
pub(super) struct Hint {
    records: Vec<u8>,
    /// Bytes of the segment that are told of.
    covered: u64,
    /// Whether something of it cannot be told in a hint.
    is_unfit: bool,
}

impl Hint {
    /// Takes note of the next record of the segment.
    pub(super) fn add(&mut self, key: &[u8], entry: &Entry) {
        // A hint says nothing of damage: reading the segment does.
        self.is_unfit |= entry.kind == Kind::Damaged;
        self.covered += record_len(key.len(), entry.value_len as usize) as u64;
        self.records.extend_from_slice(&entry.sequence.to_le_bytes());
        self.records.extend_from_slice(&entry.value_len.to_le_bytes());
        self.records.extend_from_slice(&entry.value_crc.to_le_bytes());
        let key_len = u32::try_from(key.len()).expect("lengths are checked before");
        self.records.extend_from_slice(&key_len.to_le_bytes());
        self.records.push(u8::from(entry.kind == Kind::Tombstone));
        self.records.extend_from_slice(key);
    }

    /// All records of a segment with `len` bytes, if it tells all of it.
    pub(super) fn told(&self, segment: u64, len: u64) -> Option<Vec<Told<'_>>> {
        records(segment, &self.records).filter(|(_, covered)| *covered == len).map(|(told, _)| told)
    }

    /// Writes the hint of a segment with `len` bytes, if it tells all of it. Failing costs nothing
    /// but time at the next opening, so it is no error.
    pub(super) async fn write(&self, disk: &dyn Disk, segment: u64, len: u64) {
        if self.is_unfit || self.covered != len || self.records.is_empty() {
            return;
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.records.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&segment.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&self.records);
        let crc = hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        if let Err(error) = disk.write_atomic(&hint_name(segment), &bytes).await {
            tracing::warn!(segment, %error, "no hint could be written; the next start reads the whole segment");
        }
    }
}

/// Reads a segment into the index by its hint. `None`, with the index as it was, where there is no
/// hint that fits.
pub(super) fn replay(
    disk: &dyn Disk,
    segment: u64,
    file: &dyn DiskFile,
    index: &mut Index,
) -> Option<Replayed> {
    let bytes = read(disk, segment)?;
    let entries = told(segment, &bytes, file)?;
    let sequence_max = entries.iter().map(|(_, entry)| entry.sequence).max()?;
    for (key, entry) in entries {
        index.insert(key, entry);
    }
    Some(Replayed { end: file.len().ok()?, sequence_max, ..Replayed::default() })
}

/// The hint file of a segment, if there is one.
pub(super) fn read(disk: &dyn Disk, segment: u64) -> Option<Vec<u8>> {
    disk.read(&hint_name(segment)).ok()
}

/// All records of a segment, as a hint file tells that fits it.
pub(super) fn told<'a>(segment: u64, bytes: &'a [u8], file: &dyn DiskFile) -> Option<Vec<Told<'a>>> {
    let told = parse(segment, bytes).filter(|told| fits(file, told));
    if told.is_none() {
        tracing::warn!(segment, "the hint does not fit its segment, which is read instead");
    }
    told
}

/// Removes the hints of segments that are no part of the log.
pub(super) fn remove_strays(disk: &dyn Disk, segments: &[u64]) -> Result<(), StoreError> {
    for segment in numbered(disk, HINT_SUFFIX)? {
        if segments.binary_search(&segment).is_err() {
            remove(disk, segment)?;
        }
    }
    Ok(())
}

/// Removes the hint of a segment, if there is one.
pub(super) fn remove(disk: &dyn Disk, segment: u64) -> Result<(), StoreError> {
    match disk.remove(&hint_name(segment)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io(hint_name(segment), e)),
        _ => Ok(()),
    }
}

/// All records of a hint, if it is whole and of this segment.
fn parse(segment: u64, bytes: &[u8]) -> Option<Vec<Told<'_>>> {
    let (header, rest) = bytes.split_at_checked(HEADER_LEN)?;
    let is_ours =
        header[..4] == MAGIC && u32_at(header, 4) == hash(&bytes[8..]) && u64_at(header, 8) == segment;
    let (told, len) = is_ours.then(|| records(segment, rest)).flatten()?;
    (len == u64_at(header, 16)).then_some(told)
}

/// The records of a segment and where the last one ends.
fn records(segment: u64, mut rest: &[u8]) -> Option<(Vec<Told<'_>>, u64)> {
    let (mut told, mut offset) = (Vec::new(), 0);
    while !rest.is_empty() {
        let (fixed, more) = rest.split_at_checked(FIXED_LEN)?;
        let (key, more) = more.split_at_checked(u32_at(fixed, 16) as usize)?;
        let entry = Entry {
            place: Place { segment, offset },
            sequence: u64_at(fixed, 0),
            value_len: u32_at(fixed, 8),
            value_crc: u32_at(fixed, 12),
            kind: if fixed[20] == 0 { Kind::Value } else { Kind::Tombstone },
            older: 0,
        };
        offset += record_len(key.len(), entry.value_len as usize) as u64;
        told.push((key, entry));
        rest = more;
    }
    Some((told, offset))
}

/// Whether the segment is as long as the hint says, and ends in the record that the hint ends in.
/// Sequences are given once, so no other segment does.
fn fits(file: &dyn DiskFile, entries: &[Told<'_>]) -> bool {
    let Some((key, last)) = entries.last() else { return false };
    let end = last.place.offset + record_len(key.len(), last.value_len as usize) as u64;
    let head = file.read_at(last.place.offset, super::HEADER_LEN + key.len());
    file.len().is_ok_and(|len| len == end) && head.is_ok_and(|head| begins_with(&head, key, last))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
