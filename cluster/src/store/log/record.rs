//! How one record lies in a segment, and how to find the next one behind a damaged stretch.
//!
//! ```text
//! 0   2  magic "QR"        16  4  index within its batch
//! 2   1  version           20  4  key length
//! 3   1  flags             24  4  value length
//! 4   4  header checksum   28  4  checksum of key and value
//! 8   8  sequence          32     key, then value; all integers little-endian
//! ```
//!
//! The header checksum covers header and key, so that a record whose value rotted still says
//! whose it is. It starts from the record's own place (segment and offset): a value that holds
//! a copy of some record, which anyone may store, is therefore never taken for a record when
//! reading resumes in the middle of a segment, nor is one that the disk wrote to a wrong place.

use crc32fast::Hasher;

use super::index::{Entry, Kind};
use crate::store::engine::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Bytes before the key.
pub(super) const HEADER_LEN: usize = 32;

const MAGIC: [u8; 3] = [b'Q', b'R', 1];
const TOMBSTONE: u8 = 1;
const BATCH_END: u8 = 2;

/// Where a record begins. Part of its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// What a header says, but for the lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether the record forgets its key.
    pub(super) tombstone: bool,
    /// Whether it is the last of its batch.
    pub(super) batch_end: bool,
    /// 0 for the first of a batch.
    pub(super) batch_index: u32,
    /// Grows with every write; copies made by compaction keep it.
    pub(super) sequence: u64,
    /// [`checksum`] of key and value.
    pub(super) value_crc: u32,
}

/// A record as found in a segment. The value may be damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) header: Header,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl Record<'_> {
    pub(super) fn len(&self) -> usize {
        record_len(self.key.len(), self.value.len())
    }

    pub(super) fn is_damaged(&self) -> bool {
        checksum(self.key, self.value) != self.header.value_crc
    }

    /// What an index says of it.
    pub(super) fn entry(&self, place: Place, kind: Kind) -> Entry {
        Entry {
            place,
            sequence: self.header.sequence,
            value_len: u32::try_from(self.value.len()).expect("decode bounds the length"),
            value_crc: self.header.value_crc,
            kind,
            older: 0,
        }
    }
}

/// Bytes of a whole record.
pub(super) fn record_len(key_len: usize, value_len: usize) -> usize {
    HEADER_LEN + key_len + value_len
}

/// The checksum of a stored value: over key and value, so that a value cannot pass for another key's.
#[must_use]
pub(in crate::store) fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// Appends one record to `out`, to be written at `place`.
pub(super) fn encode(out: &mut Vec<u8>, place: Place, header: Header, key: &[u8], value: &[u8]) {
    let start = out.len();
    let flags = if header.tombstone { TOMBSTONE } else { 0 } | if header.batch_end { BATCH_END } else { 0 };
    out.extend_from_slice(&MAGIC);
    out.push(flags);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&header.sequence.to_le_bytes());
    out.extend_from_slice(&header.batch_index.to_le_bytes());
    out.extend_from_slice(&length(key).to_le_bytes());
    out.extend_from_slice(&length(value).to_le_bytes());
    out.extend_from_slice(&header.value_crc.to_le_bytes());
    out.extend_from_slice(key);
    let crc = header_checksum(place, &out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(value);
}

/// The record at `offset` of a whole segment, if there is a sound header and all of its bytes.
pub(super) fn decode(segment: u64, bytes: &[u8], offset: usize) -> Option<Record<'_>> {
    let rest = bytes.get(offset..)?;
    if !rest.starts_with(&MAGIC) || rest.len() < HEADER_LEN {
        return None;
    }
    let flags = rest[3];
    let (key_len, value_len) = (u32_at(rest, 20) as usize, u32_at(rest, 24) as usize);
    if flags > TOMBSTONE | BATCH_END || key_len > KEY_BYTES_MAX || value_len > VALUE_BYTES_MAX {
        return None;
    }
    let value_start = HEADER_LEN + key_len;
    let value = rest.get(value_start..value_start + value_len)?;
    let place = Place { segment, offset: offset as u64 };
    if header_checksum(place, &rest[..value_start]) != u32_at(rest, 4) {
        return None;
    }
    let header = Header {
        tombstone: flags & TOMBSTONE != 0,
        batch_end: flags & BATCH_END != 0,
        batch_index: u32_at(rest, 16),
        sequence: u64::from(u32_at(rest, 8)) | u64::from(u32_at(rest, 12)) << 32,
        value_crc: u32_at(rest, 28),
    };
    Some(Record { header, key: &rest[HEADER_LEN..value_start], value })
}

/// Whether `head`, read from where `entry` says that its record begins, is the beginning of that
/// record: its sequence, key, length and checksum. Its place is taken on trust.
pub(super) fn begins_with(head: &[u8], key: &[u8], entry: &Entry) -> bool {
    head.len() == HEADER_LEN + key.len()
        && head.starts_with(&MAGIC)
        && head[8..16] == entry.sequence.to_le_bytes()
        && head[20..24] == length(key).to_le_bytes()
        && head[24..28] == entry.value_len.to_le_bytes()
        && head[28..32] == entry.value_crc.to_le_bytes()
        && head[HEADER_LEN..] == *key
}

/// The offset of the first sound record at or after `from`.
pub(super) fn find(segment: u64, bytes: &[u8], from: usize) -> Option<usize> {
    let windows = bytes.get(from..)?.windows(MAGIC.len());
    let mut candidates = windows.enumerate().filter(|(_, window)| *window == MAGIC).map(|(at, _)| from + at);
    candidates.find(|at| decode(segment, bytes, *at).is_some())
}

/// `from_place` is the checksum's start; the checksum field itself is left out.
fn header_checksum(place: Place, header_and_key: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&place.segment.to_le_bytes());
    hasher.update(&place.offset.to_le_bytes());
    hasher.update(&header_and_key[..4]);
    hasher.update(&header_and_key[8..]);
    hasher.finalize()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("lengths are checked before a batch is encoded")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn sample(place: Place) -> Vec<u8> {
        let (key, value) = (b"key".as_slice(), b"value".as_slice());
        let value_crc = checksum(key, value);
        let header =
            Header { tombstone: false, batch_end: true, batch_index: 3, sequence: 1 << 40, value_crc };
        let mut out = Vec::new();
        encode(&mut out, place, header, key, value);
        let record = decode(place.segment, &out, 0);
        if place.offset == 0 {
            assert_eq!(record.unwrap().header, header);
        }
        out
    }

    #[test]
    fn a_record_with_any_byte_changed_is_refused_or_known_to_be_damaged() {
        let bytes = sample(Place { segment: 7, offset: 0 });
        let record = decode(7, &bytes, 0).unwrap();
        assert_eq!(
            (record.key, record.value, record.len()),
            (b"key".as_slice(), b"value".as_slice(), bytes.len())
        );
        assert!(!record.is_damaged());
        for at in 0..bytes.len() {
            let mut rotten = bytes.clone();
            rotten[at] ^= 0x40;
            let read = decode(7, &rotten, 0);
            assert_eq!(read.is_some(), at >= HEADER_LEN + 3, "byte {at}");
            assert!(read.is_none_or(|record| record.is_damaged()), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(decode(7, &bytes[..len], 0).is_none(), "cut to {len} bytes");
        }
    }

    #[test]
    fn reading_resumes_at_a_record_in_its_own_place_only() {
        let stored_copy = sample(Place { segment: 7, offset: 0 });
        let mut bytes = vec![b'Q'; 10];
        bytes.extend_from_slice(&stored_copy);
        let at = bytes.len();
        bytes.extend_from_slice(&sample(Place { segment: 7, offset: at as u64 }));
        assert_eq!(find(7, &bytes, 0), Some(at), "the copy at 10 belongs to offset 0");
        assert_eq!(find(8, &bytes, 0), None, "another segment");
    }
}
