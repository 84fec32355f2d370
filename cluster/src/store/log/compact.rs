//! Compaction: gives up one mostly dead segment at a time.
//!
//! What the segment still tells is copied to the end of the log, with its old sequence, and
//! synced; then the format file says that the segment counts no more; then its file goes. A
//! crash at any point leaves either the segment, with copies that say the same, or the copies.
//! Dropping the future half way does the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_env::DiskFile;

use super::hint::{self, Told};
use super::index::{Entry, Kind};
use super::manifest::{Manifest, list_segments, segment_name};
use super::record::{HEADER_LEN, Header, Place, checksum, decode, record_len};
use super::replay::read_segment;
use super::writer::Pending;
use super::{LogEngine, Records};
use crate::store::{Pace, StoreError, Unhurried};

/// What is done between two looks at how fast it may go.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Records looked at.
    records: usize,
    /// Bytes copied while other writers wait, as one batch.
    bytes: usize,
}

impl Step {
    const USUAL: Self = Self { records: 1024, bytes: 256 << 10 };
    /// In one batch.
    const ALL: Self = Self { records: usize::MAX, bytes: usize::MAX };
}

/// Keys whose records are taken out of account at a time.
const FORGOTTEN_AT_ONCE: usize = 1024;

/// How badly space is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    Usual,
    /// More than four fifths of the log are dead.
    Pressing,
}

impl LogEngine {
    /// Gives up the segment with most dead bytes, if enough of the log is dead. When most of it
    /// is, `pace` is not asked: yielding to writes that fill the disk would serve nobody.
    pub(super) async fn compact_one(&self, pace: &dyn Pace) -> Result<bool, StoreError> {
        let mut manifest = self.manifest.lock().await;
        let Some((segment, urgency)) = self.choose() else { return self.write_hint().await };
        let pace = if urgency == Urgency::Pressing { &Unhurried } else { pace };
        self.give_up(segment, Step::USUAL, &mut manifest, pace).await.map(|()| true)
    }

    /// Writes the hint of one full segment, if any wants one.
    async fn write_hint(&self) -> Result<bool, StoreError> {
        let (full, position) = {
            let mut writer = self.writer();
            (writer.take_full(), writer.position())
        };
        let Some((segment, len, hint)) = full else { return Ok(false) };
        // Never before its segment is durable: what is lost of a segment could be written anew,
        // as long, with the same sequence at its end.
        self.make_durable(position).await?;
        if self.records().files.contains_key(&segment) {
            hint.write(&*self.disk, segment, len).await;
        }
        Ok(true)
    }

    /// Gives up the segments in which a failed sync may have left bytes that the system shows
    /// but no sync will ever write. They were marked by [`LogEngine::mark_suspect`].
    pub(super) async fn give_up_suspects(&self, suspects: &BTreeSet<u64>) -> Result<(), StoreError> {
        let mut manifest = self.manifest.lock().await;
        for segment in suspects {
            if self.records().files.contains_key(segment) {
                // In one batch: parts of what is in doubt may vanish while it is written anew.
                self.give_up(*segment, Step::ALL, &mut manifest, &Unhurried).await?;
            }
        }
        Ok(())
    }

    async fn give_up(
        &self,
        segment: u64,
        step: Step,
        manifest: &mut Manifest,
        pace: &dyn Pace,
    ) -> Result<(), StoreError> {
        // A copy must not become durable before the rest of its batch: the batch comes first.
        let position = self.writer().position();
        self.make_durable(position).await?;
        let file = Arc::clone(&self.records().files[&segment]);
        let name = segment_name(segment);
        // Most of a segment that is given up is dead: by its hint only what lives is read.
        let fresh = self.writer().hint_of(segment);
        let (kept, whole);
        let told = match &fresh {
            Some((len, hint)) => hint.told(segment, *len),
            None => {
                kept = hint::read(&*self.disk, segment);
                kept.as_deref().and_then(|bytes| hint::told(segment, bytes, &*file))
            }
        };
        let told = match told {
            Some(told) => told,
            None => {
                whole = read_segment(&*file, &name)?;
                let Some(told) = told_by(segment, &whole) else {
                    // Rotted since it was opened. Kept: what cannot be read cannot be copied.
                    self.records_mut().index.usage_mut(segment).unreadable = true;
                    self.unreadable_regions.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                };
                told
            }
        };
        let values = values_under_tombstones(&told);
        let mut rest = told.as_slice();
        while !rest.is_empty() {
            let (looked_at, alive) = self.alive(rest, step, &values);
            let (chunk, later) = rest.split_at(looked_at);
            rest = later;
            self.copy(&*file, &name, &alive)?;
            let key_bytes: usize = chunk.iter().map(|(key, _)| key.len()).sum();
            let value_bytes: u64 = alive.iter().map(|(_, entry)| u64::from(entry.value_len)).sum();
            pace.spend((key_bytes + looked_at * HEADER_LEN) as u64 + value_bytes).await;
        }
        let position = self.writer().position();
        self.make_durable(position).await?;

        let next = manifest.with_retired(segment, &list_segments(&*self.disk)?);
        next.write(&*self.disk).await?;
        *manifest = next;
        self.forget(segment, &told).await;
        hint::remove(&*self.disk, segment)?;
        self.disk.remove(&name).map_err(|e| StoreError::io(name, e))
    }

    fn choose(&self) -> Option<(u64, Urgency)> {
        let active = self.writer().segment();
        let records = self.records();
        let usage = records.index.usage();
        let total: u64 = usage.values().map(|usage| usage.total).sum();
        let dead: u64 = usage.values().map(|usage| usage.total - usage.live).sum();
        if dead <= self.options.dead_bytes_min || dead * 2 <= total {
            return None;
        }
        let candidates = usage.iter().filter(|(segment, usage)| **segment != active && !usage.unreadable);
        let (segment, usage) = candidates.max_by_key(|(_, usage)| usage.total - usage.live)?;
        let urgency = if dead / 4 * 5 > total { Urgency::Pressing } else { Urgency::Usual };
        (usage.total > usage.live).then_some((*segment, urgency))
    }

    /// Looks at the first of these records, as many as make a step; returns how many, and those of them
    /// that are to be copied, as the index has them.
    fn alive<'a>(
        &self,
        told: &[Told<'a>],
        step: Step,
        values: &BTreeMap<&[u8], u32>,
    ) -> (usize, Vec<Told<'a>>) {
        let records = self.records();
        let (mut alive, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
        for (key, entry) in told {
            if looked_at == step.records || bytes >= step.bytes {
                break;
            }
            looked_at += 1;
            if let Some(entry) = still_needed(&records, key, entry.place, values) {
                bytes += record_len(key.len(), entry.value_len as usize);
                alive.push((*key, entry));
            }
        }
        (looked_at, alive)
    }

    /// Copies these records, unless they were written over meanwhile. A value that rotted is copied as it
    /// is, so that its key stays known as damaged instead of becoming absent.
    fn copy(&self, file: &dyn DiskFile, name: &str, alive: &[Told<'_>]) -> Result<(), StoreError> {
        let mut found = Vec::with_capacity(alive.len());
        for (key, entry) in alive {
            let offset = entry.place.offset + (HEADER_LEN + key.len()) as u64;
            let value = file.read_at(offset, entry.value_len as usize);
            let value = value.map_err(|e| StoreError::io(name, e))?;
            if entry.kind == Kind::Value && checksum(key, &value) != entry.value_crc {
                self.records_mut().index.mark_damaged(key, entry.place);
            }
            found.push((*key, *entry, value));
        }
        let mut writer = self.writer();
        self.roll(&mut writer)?;
        let mut pending = Vec::with_capacity(found.len());
        {
            let records = self.records();
            for (key, entry, value) in &found {
                let now = records.index.get(key).filter(|now| now.place == entry.place);
                pending.extend(now.map(|now| copied(key, now, value)));
            }
        }
        let Some(last) = pending.len().checked_sub(1) else { return Ok(()) };
        for (at, record) in pending.iter_mut().enumerate() {
            record.header.batch_index = u32::try_from(at).expect("a segment has fewer records");
            record.header.batch_end = at == last;
        }
        self.append_and_index(&mut writer, &pending)
    }

    /// Takes a segment out of account of which nothing is needed any more.
    async fn forget(&self, segment: u64, told: &[Told<'_>]) {
        {
            let mut records = self.records_mut();
            records.index.forget_segment(segment);
            records.files.remove(&segment);
        }
        for some in told.chunks(FORGOTTEN_AT_ONCE) {
            {
                let mut records = self.records_mut();
                for (key, entry) in some {
                    records.index.forget(key, entry);
                }
            }
            // Requests go first. Whoever gives up in between leaves tombstones to the next start.
            tokio::task::yield_now().await;
        }
    }
}

fn copied<'a>(key: &'a [u8], entry: &Entry, value: &'a [u8]) -> Pending<'a> {
    let header = Header {
        tombstone: entry.kind == Kind::Tombstone,
        batch_end: false,
        batch_index: 0,
        sequence: entry.sequence,
        value_crc: entry.value_crc,
    };
    Pending { header, key, value, kind: entry.kind }
}

/// All records of a segment, if it is sound from end to end.
fn told_by(segment: u64, bytes: &[u8]) -> Option<Vec<Told<'_>>> {
    let mut told = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let record = decode(segment, bytes, at)?;
        let place = Place { segment, offset: at as u64 };
        let kind = if record.header.tombstone { Kind::Tombstone } else { Kind::Value };
        told.push((record.key, record.entry(place, kind)));
        at += record.len();
    }
    Some(told)
}

/// How many values of a key are told of, for those that are deleted here.
fn values_under_tombstones<'a>(told: &[Told<'a>]) -> BTreeMap<&'a [u8], u32> {
    let deleted = told.iter().filter(|(_, entry)| entry.kind == Kind::Tombstone);
    let mut values: BTreeMap<&[u8], u32> = deleted.map(|(key, _)| (*key, 0)).collect();
    if !values.is_empty() {
        for (key, _) in told.iter().filter(|(_, entry)| entry.kind != Kind::Tombstone) {
            values.entry(key).and_modify(|count| *count += 1);
        }
    }
    values
}

/// What the index says of a record, if it must be copied.
fn still_needed(records: &Records, key: &[u8], place: Place, values: &BTreeMap<&[u8], u32>) -> Option<Entry> {
    let entry = records.index.get(key).filter(|entry| entry.place == place)?;
    // All that this tombstone hides goes with the segment, and so may the tombstone.
    let is_spent = entry.kind == Kind::Tombstone && entry.older == values.get(key).copied().unwrap_or(0);
    (!is_spent).then_some(*entry)
}
