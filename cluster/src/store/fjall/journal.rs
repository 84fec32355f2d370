//! fjall's journal files from outside: syncing the one being written, and seeing what was cut off.
//!
//! Journals are `<number>.jnl`, begun with 64 MiB of zeros and written from the front; each batch
//! ends with the bytes of the format's version. On opening, fjall cuts a journal off at the first
//! entry that it cannot read and says nothing: right after a crash, where that is the torn end, and
//! wrong after rot, where whole batches lie behind it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::FORMAT;
use crate::store::StoreError;

const SUFFIX: &str = ".jnl";
const CHUNK_BYTES: usize = 1 << 20;

/// The numbers of the journals in a directory, in order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number}{SUFFIX}"))
}

/// The journal that is written to.
pub(super) struct ActiveJournal {
    directory: PathBuf,
    open: Mutex<Option<(u64, File)>>,
}

impl ActiveJournal {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), open: Mutex::new(None) }
    }

    /// Brings all that fjall gave to the operating system before this call to stable storage. Blocks.
    ///
    /// Journals before the newest were synced by fjall when it began the next. The file stays open
    /// between calls, so that an error of writing back in between is reported here.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = match &*open {
            // The next one is the next number: one look instead of a listing.
            Some((number, _)) if !path(&self.directory, number + 1).exists() => *number,
            _ => *numbers(&self.directory)?.last().ok_or_else(|| io::Error::other("there is no journal"))?,
        };
        let file = match open.take() {
            Some((number, file)) if number == newest => file,
            _ => File::options().write(true).open(path(&self.directory, newest))?,
        };
        let synced = file.sync_data();
        *open = Some((newest, file));
        synced
    }
}

/// How the journals were before they were opened.
pub(super) struct Journals(BTreeMap<u64, Extent>);

/// What there is in one journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    /// Where the last batch seems to end; 0 where there is none.
    batches_end: u64,
    /// Where the last byte lies that is not zero.
    written_end: u64,
}

/// What opening took from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Bytes at the end that belong to no whole batch, as a crash leaves them.
    pub(super) torn_bytes: u64,
    /// Whether whole batches were cut off with something broken before them.
    pub(super) batches_cut: bool,
}

impl Journals {
    /// Reads all journals of a directory, which may not be there yet.
    pub(super) fn look(directory: &Path) -> Result<Self, StoreError> {
        let look = || -> io::Result<Self> {
            if !directory.exists() {
                return Ok(Self(BTreeMap::new()));
            }
            let extents = numbers(directory)?
                .into_iter()
                .map(|number| Ok((number, extent(File::open(path(directory, number))?)?)));
            extents.collect::<io::Result<_>>().map(Self)
        };
        look().map_err(|e| StoreError::io(directory.display().to_string(), e))
    }

    /// What is gone since. A journal that is gone whole was written out to tables, and is not missed.
    pub(super) fn compare(&self, directory: &Path) -> Result<Lost, StoreError> {
        let mut lost = Lost::default();
        for (number, before) in &self.0 {
            let len = match std::fs::metadata(path(directory, *number)) {
                Ok(metadata) => metadata.len(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(StoreError::io(path(directory, *number).display().to_string(), e)),
            };
            lost.torn_bytes += before.written_end.saturating_sub(len.max(before.batches_end));
            lost.batches_cut |= before.batches_end > len;
        }
        Ok(lost)
    }
}

fn extent(mut file: impl Read) -> io::Result<Extent> {
    let mut found = Extent::default();
    // What was read last of the chunk before stays in front, for ends that lie across two.
    let (mut buffer, mut kept, mut offset) = (vec![0; CHUNK_BYTES], 0, 0_u64);
    loop {
        let read = file.read(&mut buffer[kept..])?;
        if read == 0 {
            return Ok(found);
        }
        let chunk = &buffer[..kept + read];
        if let Some(at) = chunk.iter().rposition(|byte| *byte != 0) {
            found.written_end = offset + at as u64 + 1;
            if let Some(at) = chunk.windows(FORMAT.len()).rposition(|window| window == FORMAT) {
                found.batches_end = offset + (at + FORMAT.len()) as u64;
            }
        }
        let keep = chunk.len().min(FORMAT.len() - 1);
        let from = chunk.len() - keep;
        offset += from as u64;
        buffer.copy_within(from..from + keep, 0);
        kept = keep;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn the_ends_of_a_journal_are_found_wherever_chunks_meet() {
        assert_eq!(extent(&[0; 100][..]).unwrap(), Extent::default());
        for end in [4, 70, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, CHUNK_BYTES + 3, 2 * CHUNK_BYTES] {
            let mut bytes = vec![0; 3 * CHUNK_BYTES];
            bytes[end - 4..end].copy_from_slice(&FORMAT);
            let whole = Extent { batches_end: end as u64, written_end: end as u64 };
            assert_eq!(extent(&bytes[..]).unwrap(), whole);
            bytes[end + 10] = 1;
            let torn = Extent { written_end: end as u64 + 11, ..whole };
            assert_eq!(extent(&bytes[..]).unwrap(), torn);
        }
    }
}
