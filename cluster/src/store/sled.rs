//! sled 0.34 as an engine, for comparison.
//!
//! Its `flush` hands the data to the operating system (`sync_file_range`) but never reaches
//! stable storage, and its files for large values are not synced at all, so it can promise
//! [`Promise::OsBuffered`] at best and refuses [`Promise::Synced`]. It runs threads of its own,
//! so it is never used in the simulator.

use std::ops::Bound;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_env::BoxFuture;

use super::memory::scan_start;
use super::{Engine, Position, Promise, Stats, StoreError, Write};

/// Four bytes of checksum over key and value precede every value.
const CHECKSUM_LEN: usize = 4;

/// A sled database.
pub struct SledEngine {
    db: ::sled::Db,
    batches: AtomicU64,
    flushes: AtomicU64,
    /// Keeps a batch and the reading of what it replaces together, for the totals.
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    records: u64,
    live_bytes: u64,
}

impl SledEngine {
    /// Opens or creates the database in `directory`.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] naming the directory when sled cannot open it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let foreign = |e| StoreError::Foreign {
            file: directory.display().to_string(),
            says: format!("sled cannot open this directory: {e}"),
        };
        let db = ::sled::Config::new().path(directory).open().map_err(foreign)?;
        let mut totals = Totals::default();
        for record in db.iter() {
            let (key, stored) = record.map_err(foreign)?;
            totals.add(&key, &stored);
        }
        Ok(Self { db, batches: AtomicU64::new(0), flushes: AtomicU64::new(0), totals: Mutex::new(totals) })
    }

    fn insert(&self, batch: &[Write]) -> Result<Position, StoreError> {
        batch.iter().try_for_each(Write::check)?;
        let mut changes = ::sled::Batch::default();
        // The last change of a key is the one that counts.
        let mut last = std::collections::BTreeMap::new();
        for write in batch {
            match write {
                Write::Put { key, value } => {
                    let mut stored = Vec::with_capacity(CHECKSUM_LEN + value.len());
                    stored.extend_from_slice(&super::log::checksum(key, value).to_le_bytes());
                    stored.extend_from_slice(value);
                    last.insert(key.as_slice(), Some(stored.len()));
                    changes.insert(key.as_slice(), stored);
                }
                Write::Delete { key } => {
                    last.insert(key, None);
                    changes.remove(key.as_slice());
                }
            }
        }
        let mut totals = self.totals.lock().expect("no code panics while holding this lock");
        let mut next = Totals { ..*totals };
        for (key, stored_len) in last {
            if let Some(old) = self.db.get(key).map_err(failed)? {
                next.records -= 1;
                next.live_bytes -= (key.len() + old.len().saturating_sub(CHECKSUM_LEN)) as u64;
            }
            if let Some(stored_len) = stored_len {
                next.records += 1;
                next.live_bytes += (key.len() + stored_len - CHECKSUM_LEN) as u64;
            }
        }
        self.db.apply_batch(changes).map_err(failed)?;
        *totals = next;
        Ok(Position { segment: 0, offset: self.batches.fetch_add(1, Ordering::Relaxed) + 1 })
    }

    async fn hand_to_os(&self) -> Result<(), StoreError> {
        self.db.flush_async().await.map_err(failed)?;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Totals {
    fn add(&mut self, key: &[u8], stored: &[u8]) {
        self.records += 1;
        self.live_bytes += (key.len() + stored.len().saturating_sub(CHECKSUM_LEN)) as u64;
    }
}

fn failed(error: ::sled::Error) -> StoreError {
    StoreError::Sled { says: error.to_string() }
}

/// The value without its checksum, if that fits.
fn verified(key: &[u8], stored: &[u8]) -> Option<Bytes> {
    let (crc, value) = stored.split_first_chunk::<CHECKSUM_LEN>()?;
    (u32::from_le_bytes(*crc) == super::log::checksum(key, value)).then(|| Bytes::copy_from_slice(value))
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.db.get(key).map_err(failed)? {
            None => Ok(None),
            Some(stored) => match verified(key, &stored) {
                Some(value) => Ok(Some(value)),
                None => Err(StoreError::damaged(key, "sled")),
            },
        }
    }

    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            if promise > self.strongest() {
                return Err(StoreError::Unsupported {
                    engine: "sled",
                    what: "a synced write (its flush does not reach the disk); use engine = \"log\" for that",
                });
            }
            let position = self.insert(&batch)?;
            if promise == Promise::OsBuffered {
                self.hand_to_os().await?;
            }
            Ok(position)
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let mut found = Vec::new();
        for record in self.db.range::<&[u8], _>((scan_start(prefix, after), Bound::Unbounded)) {
            let (key, stored) = record.map_err(failed)?;
            if found.len() == limit || !key.starts_with(prefix) {
                break;
            }
            if let Some(value) = verified(&key, &stored) {
                found.push((key.to_vec(), value));
            }
        }
        Ok(found)
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        for key in self.db.range::<&[u8], _>((scan_start(prefix, after), Bound::Unbounded)).keys() {
            let key = key.map_err(failed)?;
            if keys.len() == limit || !key.starts_with(prefix) {
                break;
            }
            keys.push(key.to_vec());
        }
        Ok(keys)
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async {
            let position = Position { segment: 0, offset: self.batches.load(Ordering::Relaxed) };
            self.hand_to_os().await?;
            Ok(position)
        })
    }

    fn strongest(&self) -> Promise {
        Promise::OsBuffered
    }

    fn stats(&self) -> Stats {
        let totals = self.totals.lock().expect("no code panics while holding this lock");
        Stats {
            records: totals.records,
            live_bytes: totals.live_bytes,
            // An estimate that reads the directory; zero when it cannot.
            log_bytes: self.db.size_on_disk().unwrap_or(0),
            appends: self.batches.load(Ordering::Relaxed),
            syncs: self.flushes.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }
}
