//! fjall 3 as an engine: a log-structured merge tree, with its own journal.
//!
//! A batch goes to the journal and with it to the operating system before it is visible; a synced one
//! waits for a group commit, as in [`super::log`]. fjall would sync its journal under the lock that
//! writers need, so that one write waited for each sync and nobody could share it; the journal's file
//! is synced from outside instead ([`journal`]). fjall itself syncs a journal before it begins the
//! next, and tables before it drops the journal that they came from.
//!
//! Weaker than the log where bytes rot: a journal with a broken entry is cut off there, and what lay
//! behind is gone. That is found out by looking before and after, and told as
//! [`Stats::unreadable_regions`], so that no absence here is a vote. A rotten block of a table takes
//! the keys in it, for reads, and every scan that crosses it. A write that fails (a full disk) stops
//! all further ones until the node starts again.
//!
//! It runs threads of its own, so it is never used in the simulator.

mod journal;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ::fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode};
use bytes::{Bytes, BytesMut};
use quorate_env::BoxFuture;

use super::commit::GroupCommit;
use super::memory::scan_start;
use super::{Engine, Position, Promise, Stats, StoreError, Write};
use journal::{ActiveJournal, Journals};

/// The name carries the version of what is in it.
const KEYSPACE: &str = "records-1";
const KEYSPACE_PREFIX: &str = "records-";

/// The version file of the format that this fjall writes. Batches in its journal end with it too.
const FORMAT: [u8; 4] = [b'F', b'J', b'L', 3];

/// fjall has no empty key, so every key gets this in front.
const KEY_PREFIX: u8 = b'k';

/// Longest key: fjall has sixteen bits for its length.
const KEY_BYTES_MAX: usize = (1 << 16) - 2;

/// Four bytes of checksum over key and value precede every value.
const CHECKSUM_LEN: usize = 4;

/// A fjall database.
pub struct FjallEngine {
    db: Database,
    records: Keyspace,
    directory: PathBuf,
    commit: GroupCommit,
    commits_max: usize,
    active: Arc<ActiveJournal>,
    batches: AtomicU64,
    syncs: AtomicU64,
    busy: AtomicU64,
    /// Why nothing more is written, if so.
    stopped: Mutex<Option<String>>,
    damaged: Mutex<BTreeSet<Vec<u8>>>,
    unreadable_regions: AtomicU64,
    torn_bytes: u64,
}

impl FjallEngine {
    /// Opens or creates the database in `directory`. As many as `commits_max` writes wait for a sync
    /// at once; more are [`StoreError::Busy`].
    ///
    /// # Errors
    /// [`StoreError::Foreign`] naming both versions for a format of another one;
    /// [`StoreError::Embedded`] with what fjall says when it cannot open the directory.
    pub fn open(directory: &Path, commits_max: usize) -> Result<Self, StoreError> {
        check_format(directory)?;
        let before = Journals::look(directory)?;
        let open = || -> ::fjall::Result<(Database, Keyspace)> {
            let db = Database::builder(directory).open()?;
            let records = db.keyspace(KEYSPACE, KeyspaceCreateOptions::default)?;
            Ok((db, records))
        };
        // On some rot in a journal a debug build of it panics.
        let opened = catch_unwind(open).map_err(|_| "it panicked, as on damaged files".to_owned());
        let opened = opened.and_then(|opened| opened.map_err(|e| explain(&e)));
        let (db, records) = opened.map_err(|why| StoreError::Embedded {
            engine: "fjall",
            says: format!("{} cannot be opened: {why}", directory.display()),
        })?;
        let other = |name: &str| name != KEYSPACE && name.starts_with(KEYSPACE_PREFIX);
        if let Some(name) = db.list_keyspace_names().iter().find(|name| other(name)) {
            return Err(StoreError::Foreign {
                file: directory.display().to_string(),
                says: format!(
                    "found records of format `{name}`, this version reads `{KEYSPACE}`; use the version that wrote them"
                ),
            });
        }
        let lost = before.compare(directory)?;
        if lost.batches_cut {
            tracing::error!("a journal has rotted, and fjall cut it off: what lay behind is lost here");
        }
        // What a read shows from now on must not be lost to a power cut any more.
        db.persist(PersistMode::SyncAll).map_err(|e| embedded(&e))?;
        let unreadable_regions = AtomicU64::new(u64::from(lost.batches_cut));
        Ok(Self {
            db,
            records,
            directory: directory.to_owned(),
            commit: GroupCommit::new(Position::default()),
            commits_max,
            active: Arc::new(ActiveJournal::new(directory)),
            batches: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            stopped: Mutex::new(None),
            damaged: Mutex::new(BTreeSet::new()),
            unreadable_regions,
            torn_bytes: lost.torn_bytes,
        })
    }

    /// Writes all that is in memory to tables and begins a new journal, and waits for it.
    #[cfg(test)]
    pub(super) fn write_tables(&self) {
        self.records.rotate_memtable_and_wait().expect("the test's disk works");
    }

    fn position(&self) -> Position {
        Position { segment: 0, offset: self.batches.load(Ordering::Acquire) }
    }

    /// Hands a batch to fjall, which gives it to the operating system and makes it visible.
    fn append(&self, batch: &[Write]) -> Result<Position, StoreError> {
        batch.iter().try_for_each(check)?;
        if let Some(reason) = &*lock(&self.stopped) {
            return Err(StoreError::Stopped { reason: reason.clone() });
        }
        if batch.is_empty() {
            return Ok(self.position());
        }
        let mut changes = self.db.batch().durability(Some(PersistMode::Buffer));
        for write in batch {
            let key = stored_key(write.key());
            match write {
                Write::Put { key: plain, value } => {
                    let mut stored = BytesMut::with_capacity(CHECKSUM_LEN + value.len());
                    stored.extend_from_slice(&super::log::checksum(plain, value).to_le_bytes());
                    stored.extend_from_slice(value);
                    changes.insert(&self.records, key, stored.freeze());
                }
                Write::Delete { .. } => changes.remove(&self.records, key),
            }
        }
        changes.commit().map_err(|e| self.stop(embedded(&e)))?;
        {
            let mut damaged = lock(&self.damaged);
            if !damaged.is_empty() {
                for write in batch {
                    damaged.remove(write.key());
                }
            }
        }
        Ok(Position { segment: 0, offset: self.batches.fetch_add(1, Ordering::AcqRel) + 1 })
    }

    fn stop(&self, error: StoreError) -> StoreError {
        lock(&self.stopped).get_or_insert(error.to_string());
        error
    }

    async fn make_durable(&self, position: Position) -> Result<(), StoreError> {
        self.commit.wait(position, || self.position(), || self.sync()).await
    }

    async fn sync(&self) -> Result<Position, StoreError> {
        let position = self.position();
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let active = Arc::clone(&self.active);
        let synced = tokio::task::spawn_blocking(move || active.sync()).await;
        let synced = synced.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        synced.map_err(|e| {
            let file = self.directory.display().to_string();
            self.stop(StoreError::SyncFailed { file, source: e.into() })
        })?;
        Ok(position)
    }

    /// The value without its checksum, if that fits.
    fn verified(&self, key: &[u8], stored: &Bytes) -> Result<Bytes, StoreError> {
        if let Some((crc, value)) = stored.split_first_chunk::<CHECKSUM_LEN>()
            && u32::from_le_bytes(*crc) == super::log::checksum(key, value)
        {
            return Ok(stored.slice(CHECKSUM_LEN..));
        }
        Err(self.is_damaged(key))
    }

    fn is_damaged(&self, key: &[u8]) -> StoreError {
        lock(&self.damaged).insert(key.to_vec());
        StoreError::damaged(key, self.directory.display().to_string())
    }

    /// Notes that a block rotted whose keys cannot be told.
    fn scan_failed(&self, error: &::fjall::Error) -> StoreError {
        if is_rot(error) {
            self.unreadable_regions.fetch_max(1, Ordering::Relaxed);
        }
        embedded(error)
    }

    /// Walks records in key order for as long as `visit` returns true.
    fn walk(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut visit: impl FnMut(Guard) -> ::fjall::Result<bool>,
    ) -> Result<(), StoreError> {
        let start = match scan_start(prefix, after) {
            Bound::Excluded(key) => Bound::Excluded(stored_key(key)),
            Bound::Included(key) => Bound::Included(stored_key(key)),
            Bound::Unbounded => Bound::Unbounded,
        };
        for record in self.records.range((start, Bound::Unbounded)) {
            if !visit(record).map_err(|e| self.scan_failed(&e))? {
                break;
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while holding this lock")
}

/// Cut to what there can be: only a scan may begin behind a longer key, and then it begins at the same.
fn stored_key(key: &[u8]) -> Vec<u8> {
    let key = &key[..key.len().min(KEY_BYTES_MAX)];
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(KEY_PREFIX);
    stored.extend_from_slice(key);
    stored
}

fn check(write: &Write) -> Result<(), StoreError> {
    write.check()?;
    match write.key().len() {
        bytes if bytes > KEY_BYTES_MAX => Err(StoreError::TooLarge { bytes, max: KEY_BYTES_MAX }),
        _ => Ok(()),
    }
}

/// Refuses a directory that another fjall wrote, before anything touches it.
fn check_format(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join("version");
    let file = || path.display().to_string();
    match std::fs::read(&path) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => Err(StoreError::Foreign {
            file: file(),
            says: format!(
                "found format `{}`, this version reads `{}`; use the version that wrote it",
                found.escape_ascii(),
                FORMAT.escape_ascii()
            ),
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StoreError::io(file(), e)),
    }
}

/// Whether bytes are not those that were written.
fn is_rot(error: &::fjall::Error) -> bool {
    match error {
        ::fjall::Error::Storage(LsmError::Io(_)) | ::fjall::Error::Io(_) => false,
        ::fjall::Error::Storage(_)
        | ::fjall::Error::JournalRecovery(_)
        | ::fjall::Error::Decompress(_)
        | ::fjall::Error::InvalidTrailer
        | ::fjall::Error::InvalidTag(_) => true,
        _ => false,
    }
}

fn explain(error: &::fjall::Error) -> String {
    match error {
        error if is_rot(error) => format!(
            "its files are damaged ({error}); start with an empty directory, and the other owners fill it"
        ),
        ::fjall::Error::Poisoned => "it takes no more writes after an earlier failure".into(),
        ::fjall::Error::Locked => "another process has it open".into(),
        error => error.to_string(),
    }
}

fn embedded(error: &::fjall::Error) -> StoreError {
    StoreError::Embedded { engine: "fjall", says: explain(error) }
}

impl Engine for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        match self.records.get(stored_key(key)) {
            Ok(None) => Ok(None),
            Ok(Some(stored)) => self.verified(key, &stored.into()).map(Some),
            Err(error) if is_rot(&error) => Err(self.is_damaged(key)),
            Err(error) => Err(embedded(&error)),
        }
    }

    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            if promise < Promise::Synced {
                return self.append(&batch);
            }
            let _place = self.commit.queue(self.commits_max).inspect_err(|_| {
                self.busy.fetch_add(1, Ordering::Relaxed);
            })?;
            let position = self.append(&batch)?;
            drop(batch);
            self.make_durable(position).await?;
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
        self.walk(prefix, after, |record| {
            let (stored, value) = record.into_inner()?;
            let key = &stored[1..];
            if found.len() == limit || !key.starts_with(prefix) {
                return Ok(false);
            }
            if let Ok(value) = self.verified(key, &value.into()) {
                found.push((key.to_vec(), value));
            }
            Ok(true)
        })?;
        Ok(found)
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        self.walk(prefix, after, |record| {
            let stored = record.key()?;
            let key = &stored[1..];
            let is_wanted = keys.len() < limit && key.starts_with(prefix);
            if is_wanted {
                keys.push(key.to_vec());
            }
            Ok(is_wanted)
        })?;
        Ok(keys)
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async {
            let position = self.position();
            self.make_durable(position).await?;
            Ok(position)
        })
    }

    fn damaged(&self) -> Vec<Vec<u8>> {
        lock(&self.damaged).iter().cloned().collect()
    }

    fn strongest(&self) -> Promise {
        Promise::Synced
    }

    /// `records` is 0 exactly where there are none, and otherwise counts what was written over or
    /// deleted until fjall has compacted it; `live_bytes` is not known.
    fn stats(&self) -> Stats {
        let is_empty = self.records.is_empty().unwrap_or(false);
        let about = self.records.approximate_len().max(1) as u64;
        Stats {
            records: if is_empty { 0 } else { about },
            log_bytes: self.db.disk_space().unwrap_or(0),
            segments: self.db.journal_count() as u64,
            appends: self.batches.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed),
            damaged_records: lock(&self.damaged).len() as u64,
            unreadable_regions: self.unreadable_regions.load(Ordering::Relaxed),
            torn_bytes: self.torn_bytes,
            ..Stats::default()
        }
    }
}
