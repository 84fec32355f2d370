//! The file of a backup: a head, entries, and an end that says how many there were.
//!
//! ```text
//! magic, 16 bytes | format, u32 | frames until the end
//! frame: kind, u8 | length, u32 | payload | checksum, u64
//! ```
//!
//! Numbers are little-endian. A checksum (XXH3) covers the frame's place in the file, its kind, its
//! length and its payload, so a byte that changed, a frame that is missing and two that changed places
//! are all found; the end finds a file that was cut off between two frames. It guards against accidents,
//! not against whoever can write the file.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use twox_hash::XxHash3_64;

use super::{Entry, decode, encode};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8; 16] = b"quorate backup\r\n";
const HEAD: u8 = b'H';
const ENTRIES: u8 = b'E';
const END: u8 = b'Z';
/// Longest payload that is believed: entries are written a portion at a time.
const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The store's definition, as `GET /cluster` shows it: another version may have other settings.
    pub store: Value,
    /// The view that it was begun under.
    pub view: String,
    /// The program that took it.
    pub taken_by: String,
    /// When it was begun, in seconds since 1970 by the clock of whoever took it.
    pub taken_at: u64,
}

/// What a backup ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Keys in it, deleted ones included.
    pub entries: u64,
    /// Bytes of keys and records.
    pub bytes: u64,
    /// Nodes that did not say all, and of how many partitions: too many of them if `is_partial`.
    pub lacking: BTreeMap<String, u32>,
    /// Whether writes that were acknowledged may be missing.
    pub is_partial: bool,
}

/// Why a backup cannot be read. All of it is to be thrown away then, and another one used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Not by the operating system.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It begins otherwise.
    #[error("is no backup: `quorate cluster backup` makes one")]
    NotABackup,
    /// A later version wrote it.
    #[error(
        "has format {found}, and this version reads formats up to {FORMAT}: restore it with the version that took it, or a later one"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It ends before its end.
    #[error(
        "is cut off after {bytes} bytes, in the middle: it was not copied whole; copy it again, or use another backup"
    )]
    CutOff {
        /// How many there are.
        bytes: u64,
    },
    /// Some of it is not as it was written.
    #[error("is damaged at byte {at} ({what}): copy it again, or use another backup")]
    Damaged {
        /// Where the frame begins.
        at: u64,
        /// What does not fit.
        what: &'static str,
    },
}

/// Writes a backup.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    mark: Mark,
}

/// A place in a backup between two frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    frames: u64,
    /// Bytes of the file up to it.
    pub at: u64,
    /// Entries in it so far.
    pub entries: u64,
    /// Bytes of those.
    pub bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(mut out: W, header: &Header) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&FORMAT.to_le_bytes())?;
        let mut writer = Self { out, mark: Mark { at: MAGIC.len() as u64 + 4, ..Mark::default() } };
        writer.frame(HEAD, &serde_json::to_vec(header)?)?;
        Ok(writer)
    }

    /// Adds entries.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn add(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.frame(ENTRIES, &encode(&entries))?;
        self.mark.entries += entries.len() as u64;
        self.mark.bytes += entries.iter().map(Entry::bytes).sum::<u64>();
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// What it writes to.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Goes on from a place that was passed. Whoever calls this cuts what is written to off there.
    pub fn go_back(&mut self, mark: Mark) {
        self.mark = mark;
    }

    /// Ends it, and gives back what it wrote to. The counts of `end` are filled in.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self, end: End) -> io::Result<(W, End)> {
        let end = End { entries: self.mark.entries, bytes: self.mark.bytes, ..end };
        self.frame(END, &serde_json::to_vec(&end)?)?;
        self.out.flush()?;
        Ok((self.out, end))
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a portion is too long for a backup");
        let length = u32::try_from(payload.len()).map_err(too_long)?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(payload)?;
        self.out.write_all(&checksum(self.mark.frames, kind, payload).to_le_bytes())?;
        self.mark.frames += 1;
        self.mark.at += payload.len() as u64 + 13;
        Ok(())
    }
}

fn checksum(place: u64, kind: u8, payload: &[u8]) -> u64 {
    // The place and the kind are few bits: as a seed they change every bit of the sum.
    let seed = (place << 8) | u64::from(kind);
    XxHash3_64::oneshot_with_seed(seed, payload) ^ (payload.len() as u64).rotate_left(40)
}

/// Reads a backup.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    mark: Mark,
}

/// Something in a backup behind its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Entries, and more may come.
    Entries(Vec<Entry>),
    /// The end; nothing is behind it.
    End(End),
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn begin(input: R) -> Result<Self, BackupError> {
        let header = Header { store: Value::Null, view: String::new(), taken_by: String::new(), taken_at: 0 };
        let mut reader = Self { input, header, mark: Mark::default() };
        let magic: [u8; 16] = reader.exactly()?;
        if magic != *MAGIC {
            return Err(BackupError::NotABackup);
        }
        let found = u32::from_le_bytes(reader.exactly()?);
        if found > FORMAT {
            return Err(BackupError::Newer { found });
        }
        let at = reader.mark.at;
        let (kind, payload) = reader.frame()?;
        if kind != HEAD {
            return Err(BackupError::Damaged { at, what: "it does not begin with a head" });
        }
        let unlike = |_| BackupError::Damaged { at, what: "its head is not one" };
        reader.header = serde_json::from_slice(&payload).map_err(unlike)?;
        Ok(reader)
    }

    /// What it is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What comes next.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn next_contents(&mut self) -> Result<Contents, BackupError> {
        let at = self.mark.at;
        let (kind, payload) = self.frame()?;
        match kind {
            ENTRIES => {
                let unlike = |_| BackupError::Damaged { at, what: "what should be entries is not" };
                let entries: Vec<Entry> = decode(&payload).map_err(unlike)?;
                self.mark.entries += entries.len() as u64;
                Ok(Contents::Entries(entries))
            }
            END => {
                let unlike = |_| BackupError::Damaged { at, what: "its end is not one" };
                let end: End = serde_json::from_slice(&payload).map_err(unlike)?;
                if end.entries != self.mark.entries {
                    return Err(BackupError::Damaged { at, what: "its end counts other entries" });
                }
                let mut behind = [0];
                if self.input.read(&mut behind)? != 0 {
                    return Err(BackupError::Damaged { at, what: "something is behind its end" });
                }
                Ok(Contents::End(end))
            }
            _ => Err(BackupError::Damaged { at, what: "this kind of frame is not known" }),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), BackupError> {
        let at = self.mark.at;
        let [kind] = self.exactly()?;
        let length = u32::from_le_bytes(self.exactly()?);
        if length > PAYLOAD_BYTES_MAX {
            return Err(BackupError::Damaged { at, what: "no frame is that long" });
        }
        let mut payload = Vec::new();
        // Grows with what is there, not with what a damaged length claims.
        (&mut self.input).take(u64::from(length)).read_to_end(&mut payload)?;
        self.mark.at += payload.len() as u64;
        if payload.len() < length as usize {
            return Err(BackupError::CutOff { bytes: self.mark.at });
        }
        let sum = u64::from_le_bytes(self.exactly()?);
        if sum != checksum(self.mark.frames, kind, &payload) {
            return Err(BackupError::Damaged { at, what: "its checksum does not fit" });
        }
        self.mark.frames += 1;
        Ok((kind, payload))
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => return Err(BackupError::CutOff { bytes: self.mark.at + filled as u64 }),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.mark.at += N as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn header() -> Header {
        let store = serde_json::json!({ "name": "dynamo", "replicas": 3 });
        Header { store, view: "1-stable".into(), taken_by: "0.1.0".into(), taken_at: 7 }
    }

    fn entry(key: &str) -> Entry {
        Entry { key: key.to_owned().into(), record: format!("record of {key}").into() }
    }

    fn backup() -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), &header()).unwrap();
        writer.add(&[entry("a"), entry("b")]).unwrap();
        writer.add(&[]).unwrap();
        let before = writer.mark();
        writer.add(&[entry("of another view")]).unwrap();
        writer.out().truncate(before.at as usize);
        writer.go_back(before);
        writer.add(&[entry("c")]).unwrap();
        let lacking = [("n2".to_owned(), 9)].into();
        writer.end(End { lacking, ..End::default() }).unwrap().0
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Entry>, End), BackupError> {
        let mut reader = Reader::begin(bytes)?;
        assert_eq!(reader.header(), &header());
        let mut all = Vec::new();
        loop {
            match reader.next_contents()? {
                Contents::Entries(entries) => all.extend(entries),
                Contents::End(end) => return Ok((all, end)),
            }
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let (entries, end) = read(&backup()).unwrap();
        assert_eq!(entries, [entry("a"), entry("b"), entry("c")]);
        assert_eq!((end.entries, end.lacking["n2"]), (3, 9));
        assert_eq!(end.bytes, entries.iter().map(Entry::bytes).sum::<u64>());
    }

    #[test]
    fn a_backup_cut_off_anywhere_is_no_backup() {
        let whole = backup();
        for length in 0..whole.len() {
            let error = read(&whole[..length]).unwrap_err();
            assert!(
                matches!(error, BackupError::CutOff { bytes } if bytes == length as u64),
                "{length}: {error}"
            );
        }
    }

    #[test]
    fn a_byte_that_changed_anywhere_is_noticed() {
        let whole = backup();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            assert!(read(&changed).is_err(), "byte {at}");
        }
        let longer = [whole, vec![0]].concat();
        assert!(read(&longer).unwrap_err().to_string().contains("behind its end"));
    }

    #[test]
    fn frames_that_changed_places_or_are_missing_are_noticed() {
        let mut writer = Writer::begin(Vec::new(), &header()).unwrap();
        let mut ends = vec![writer.mark().at as usize];
        for key in ["a", "b", "c"] {
            writer.add(&[entry(key)]).unwrap();
            ends.push(writer.mark().at as usize);
        }
        let whole = writer.end(End::default()).unwrap().0;
        let frame = |n: usize| &whole[ends[n]..ends[n + 1]];
        let (head, tail) = (&whole[..ends[0]], &whole[ends[3]..]);
        assert!(read(&[head, frame(0), frame(1), frame(2), tail].concat()).is_ok());
        for frames in [vec![frame(1), frame(0), frame(2)], vec![frame(0), frame(1)]] {
            let error = read(&[vec![head], frames, vec![tail]].concat().concat()).unwrap_err();
            assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn a_later_format_and_other_files_are_refused_by_name() {
        let mut later = backup();
        later[16] = 2;
        assert!(read(&later).unwrap_err().to_string().contains("format 2"), "whatever its frames are like");
        assert!(matches!(read(b"something else altogether"), Err(BackupError::NotABackup)));
    }
}
