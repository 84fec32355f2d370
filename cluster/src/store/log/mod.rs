//! The default engine: an append-only log in segments, its index in memory.
//!
//! The shape of Riak's Bitcask (Sheehy and Smith, "Bitcask: A Log-Structured Hash Table for Fast
//! Key/Value Data", 2010): a write appends to the newest segment and points the index at it; a
//! read is one positional read, verified; opening reads the segments back, full ones by hint files
//! that leave the values out. Unlike Bitcask a batch
//! is atomic, concurrent writers share one sync, and a rotten value is known as damaged instead
//! of giving way to the older value before it.
//!
//! Invariants: the index points only at appended bytes; a segment is given up only after all
//! that it still tells is durable elsewhere; after a failed sync nothing more is written.
//!
//! Not here: threads, tasks or time. Everything happens in the callers' own polls.

mod compact; // giving up segments that are mostly dead
mod hint; // a full segment without its values
mod index; // key -> newest record
mod manifest; // format, and segments given up
mod open; // a directory -> a log
mod record; // one record's bytes
mod replay; // segments -> index
mod values; // a second place to read from
mod writer; // the end of the log

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use quorate_env::{BoxFuture, Disk, DiskFile};

use super::commit::GroupCommit;
use super::memory::scan_start;
use super::{Engine, Pace, Position, Promise, Stats, StoreError, Write};
use index::{Entry, Index, Kind};
pub(super) use manifest::MANIFEST_NAME as FORMAT_NAME;
use manifest::{Manifest, segment_name};
pub(super) use record::checksum;
use record::{HEADER_LEN, Header};
pub(super) use values::{Changed, Values};
use writer::{Pending, Writer};

/// Sizes of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// A new segment begins when the newest has at least this many bytes. Opening reads one
    /// segment at a time into memory, and compaction needs the space of one. 64 MiB.
    pub segment_bytes: u64,
    /// Compaction begins when more than half of the log and more than these bytes are dead. 16 MiB.
    pub dead_bytes_min: u64,
    /// Writes that may wait for a sync at once; more are [`StoreError::Busy`]. 4,096.
    pub commits_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, dead_bytes_min: 16 << 20, commits_max: 4096 }
    }
}

/// An append-only log over a [`Disk`].
pub struct LogEngine {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    /// Locked before `records`, never after.
    writer: Mutex<Writer>,
    records: RwLock<Records>,
    commit: GroupCommit,
    /// Asked for values before the segments are.
    values: Option<Box<dyn Values>>,
    /// Held through one step of compaction.
    manifest: tokio::sync::Mutex<Manifest>,
    torn_bytes: u64,
    unreadable_regions: AtomicU64,
    appends: AtomicU64,
    syncs: AtomicU64,
    busy: AtomicU64,
}

/// A key, where its record lies, and the file to read it from.
type Indexed = (Box<[u8]>, Entry, Arc<dyn DiskFile>);

/// What reads need.
struct Records {
    index: Index,
    files: BTreeMap<u64, Arc<dyn DiskFile>>,
}

impl LogEngine {
    /// The same log, whose values are also kept in `values` and read from there where they are right.
    pub(super) fn with_values(self, values: Box<dyn Values>) -> Self {
        Self { values: Some(values), ..self }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("a panic while appending is a bug")
    }

    fn records(&self) -> RwLockReadGuard<'_, Records> {
        self.records.read().expect("a panic while indexing is a bug")
    }

    fn records_mut(&self) -> RwLockWriteGuard<'_, Records> {
        self.records.write().expect("a panic while indexing is a bug")
    }

    /// Appends a batch and makes it visible.
    fn append(&self, batch: &[Write]) -> Result<Position, StoreError> {
        batch.iter().try_for_each(Write::check)?;
        // The checksums of the values are the costly part, so they come before the lock.
        let mut pending: Vec<Pending<'_>> =
            batch.iter().enumerate().map(|(at, w)| unsequenced(at, w)).collect();
        if let Some(last) = pending.last_mut() {
            last.header.batch_end = true;
        }
        let mut writer = self.writer();
        if pending.is_empty() {
            return Ok(writer.position());
        }
        self.roll(&mut writer)?;
        for (sequence, record) in (writer.next_sequence()..).zip(&mut pending) {
            record.header.sequence = sequence;
        }
        self.append_and_index(&mut writer, &pending)?;
        let position = writer.position();
        drop(writer);
        self.appends.fetch_add(1, Ordering::Relaxed);
        if let Some(values) = &self.values {
            values.set(&pending.iter().map(Changed::of).collect::<Vec<_>>());
        }
        Ok(position)
    }

    fn roll(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if let Some((segment, file)) = writer.roll(self.options.segment_bytes)? {
            self.records_mut().files.insert(segment, file);
        }
        Ok(())
    }

    fn append_and_index(&self, writer: &mut Writer, pending: &[Pending<'_>]) -> Result<(), StoreError> {
        let entries = writer.append(pending)?;
        let mut records = self.records_mut();
        for (record, entry) in pending.iter().zip(entries) {
            records.index.insert(record.key, entry);
        }
        Ok(())
    }

    async fn make_durable(&self, position: Position) -> Result<(), StoreError> {
        self.commit.wait(position, || self.writer().position(), || self.sync()).await
    }

    /// Syncs all that was appended so far and says how far that is.
    async fn sync(&self) -> Result<Position, StoreError> {
        let (position, files) = {
            let writer = self.writer();
            (writer.position(), writer.unsynced())
        };
        for (segment, file) in files {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = file.sync().await {
                let error = sync_failed(segment, error);
                self.writer().stop(error.to_string());
                self.mark_suspect(segment).await;
                return Err(error);
            }
        }
        self.writer().synced(position);
        Ok(position)
    }

    /// Notes that a later process must not trust what the system shows of this segment. The
    /// kernel calls pages clean that it failed to write, so syncing again would save nothing.
    async fn mark_suspect(&self, segment: u64) {
        let mut suspects = manifest::read_suspects(&*self.disk).unwrap_or_default();
        suspects.insert(segment);
        let text: String = suspects.iter().map(|segment| format!("{segment}\n")).collect();
        if let Err(error) = self.disk.write_atomic(manifest::SUSPECTS_NAME, text.as_bytes()).await {
            // All that can be done: the failed sync itself is told to every writer.
            tracing::error!(segment, %error, "a segment is in doubt and this could not be noted");
        }
    }

    /// The verified value of an entry.
    fn read(&self, file: &dyn DiskFile, key: &[u8], entry: &Entry) -> Result<Bytes, StoreError> {
        if let Some(value) = self.held(key, entry) {
            return Ok(value);
        }
        let name = || segment_name(entry.place.segment);
        let offset = entry.place.offset + (HEADER_LEN + key.len()) as u64;
        match file.read_at(offset, entry.value_len as usize) {
            Ok(value) if checksum(key, &value) == entry.value_crc => {
                if let Some(values) = &self.values {
                    values.set(&[Changed { key, sequence: entry.sequence, value: Some(&value) }]);
                }
                Ok(value.into())
            }
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(StoreError::io(name(), e)),
            _ => {
                self.records_mut().index.mark_damaged(key, entry.place);
                Err(StoreError::damaged(key, name()))
            }
        }
    }

    /// The value of an entry as the second place has it, if that is what was written.
    fn held(&self, key: &[u8], entry: &Entry) -> Option<Bytes> {
        let value = self.values.as_ref()?.get(key, entry.sequence)?;
        (checksum(key, &value) == entry.value_crc).then_some(value)
    }
}

fn unsequenced(at: usize, write: &Write) -> Pending<'_> {
    let (key, value, kind) = match write {
        Write::Put { key, value } => (key, value.as_ref(), Kind::Value),
        Write::Delete { key } => (key, [].as_slice(), Kind::Tombstone),
    };
    let header = Header {
        tombstone: kind == Kind::Tombstone,
        batch_end: false,
        batch_index: u32::try_from(at).expect("a batch is held in memory, with more than a byte each"),
        sequence: 0,
        value_crc: checksum(key, value),
    };
    Pending { header, key, value, kind }
}

fn sync_failed(segment: u64, error: io::Error) -> StoreError {
    StoreError::SyncFailed { file: segment_name(segment), source: error.into() }
}

impl Engine for LogEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let (entry, file) = {
            let records = self.records();
            match records.index.get(key) {
                None => return Ok(None),
                Some(entry) => match entry.kind {
                    Kind::Tombstone => return Ok(None),
                    Kind::Damaged => {
                        let damaged = || StoreError::damaged(key, segment_name(entry.place.segment));
                        return self.held(key, entry).map(Some).ok_or_else(damaged);
                    }
                    Kind::Value => (*entry, Arc::clone(&records.files[&entry.place.segment])),
                },
            }
        };
        // Compaction may remove the file meanwhile; an open file can still be read.
        self.read(&*file, key, &entry).map(Some)
    }

    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            if promise < Promise::Synced {
                return self.append(&batch);
            }
            // Before anything is appended: who finds the queue full has written nothing.
            let _place = self.commit.queue(self.options.commits_max).inspect_err(|_| {
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
        let mut after = after.map(<[u8]>::to_vec);
        // Again only if some records turned out to be damaged.
        while found.len() < limit {
            let wanted = limit - found.len();
            let page: Vec<Indexed> = {
                let records = self.records();
                let start = scan_start(prefix, after.as_deref());
                let range = records.index.entries().range::<[u8], _>((start, Bound::Unbounded));
                range
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .filter(|(_, entry)| entry.kind == Kind::Value)
                    .take(wanted)
                    .map(|(key, entry)| {
                        (key.clone(), *entry, Arc::clone(&records.files[&entry.place.segment]))
                    })
                    .collect()
            };
            let is_last = page.len() < wanted;
            for (key, entry, file) in page {
                match self.read(&*file, &key, &entry) {
                    Ok(value) => found.push((key.to_vec(), value)),
                    Err(StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
                after = Some(key.into());
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let records = self.records();
        let range = records
            .index
            .entries()
            .range::<[u8], _>((scan_start(prefix, after), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        let present = range.filter(|(_, entry)| entry.kind != Kind::Tombstone);
        Ok(present.take(limit).map(|(key, _)| key.to_vec()).collect())
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async {
            let position = self.writer().position();
            self.make_durable(position).await?;
            Ok(position)
        })
    }

    fn damaged(&self) -> Vec<Vec<u8>> {
        let records = self.records();
        if records.index.damaged() == 0 {
            return Vec::new();
        }
        let damaged = records.index.entries().iter().filter(|(_, entry)| entry.kind == Kind::Damaged);
        damaged.map(|(key, _)| key.to_vec()).collect()
    }

    fn compact_step<'a>(&'a self, pace: &'a dyn Pace) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.compact_one(pace))
    }

    fn strongest(&self) -> Promise {
        Promise::Synced
    }

    fn stats(&self) -> Stats {
        let records = self.records();
        Stats {
            records: records.index.records(),
            live_bytes: records.index.live_bytes(),
            log_bytes: records.index.usage().values().map(|usage| usage.total).sum(),
            segments: records.files.len() as u64,
            appends: self.appends.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed),
            damaged_records: records.index.damaged(),
            unreadable_regions: self.unreadable_regions.load(Ordering::Relaxed),
            torn_bytes: self.torn_bytes,
        }
    }
}
