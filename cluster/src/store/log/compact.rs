//! Compaction: gives up one mostly dead segment at a time.
//!
//! What the segment still tells is copied to the end of the log, with its old sequence, and
//! synced; then the format file says that the segment counts no more; then its file goes. A
//! crash at any point leaves either the segment, with copies that say the same, or the copies.
//! Dropping the future half way does the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::hint;
use super::index::Kind;
use super::manifest::{Manifest, list_segments, segment_name};
use super::record::{Place, Record, decode};
use super::replay::read_segment;
use super::writer::Pending;
use super::{LogEngine, Records};
use crate::store::{Pace, StoreError, Unhurried};

/// Bytes copied while other writers wait, as one batch.
const CHUNK_BYTES: usize = 256 << 10;

/// How badly space is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    Usual,
    /// More than four fifths of the log are dead.
    Pressing,
}

type Located<'a> = (Place, Record<'a>);

impl LogEngine {
    /// Gives up the segment with most dead bytes, if enough of the log is dead. When most of it
    /// is, `pace` is not asked: yielding to writes that fill the disk would serve nobody.
    pub(super) async fn compact_one(&self, pace: &dyn Pace) -> Result<bool, StoreError> {
        let mut manifest = self.manifest.lock().await;
        let Some((segment, urgency)) = self.choose() else { return self.write_hint().await };
        let pace = if urgency == Urgency::Pressing { &Unhurried } else { pace };
        self.give_up(segment, CHUNK_BYTES, &mut manifest, pace).await.map(|()| true)
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
                self.give_up(*segment, usize::MAX, &mut manifest, &Unhurried).await?;
            }
        }
        Ok(())
    }

    async fn give_up(
        &self,
        segment: u64,
        chunk_bytes: usize,
        manifest: &mut Manifest,
        pace: &dyn Pace,
    ) -> Result<(), StoreError> {
        // A copy must not become durable before the rest of its batch: the batch comes first.
        let position = self.writer().position();
        self.make_durable(position).await?;
        let file = Arc::clone(&self.records().files[&segment]);
        let name = segment_name(segment);
        let bytes = read_segment(&*file, &name)?;
        let Some(records) = locate(segment, &bytes) else {
            // Rotted since it was opened. Kept: what cannot be read cannot be copied.
            self.records_mut().index.usage_mut(segment).unreadable = true;
            self.unreadable_regions.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let mut values: BTreeMap<&[u8], u32> = BTreeMap::new();
        for (_, record) in records.iter().filter(|(_, record)| !record.header.tombstone) {
            *values.entry(record.key).or_default() += 1;
        }
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let in_chunk = rest.iter().take_while(|(_, record)| {
                let fits = bytes < chunk_bytes;
                bytes += record.len();
                fits
            });
            let (chunk, later) = rest.split_at(in_chunk.count());
            rest = later;
            self.copy(chunk, &values)?;
            pace.spend(bytes as u64).await;
        }
        let position = self.writer().position();
        self.make_durable(position).await?;

        let next = manifest.with_retired(segment, &list_segments(&*self.disk)?);
        next.write(&*self.disk).await?;
        *manifest = next;
        self.forget(segment, &records);
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

    /// Copies those records of a chunk that are still the newest of their keys.
    fn copy(&self, chunk: &[Located<'_>], values: &BTreeMap<&[u8], u32>) -> Result<(), StoreError> {
        let mut writer = self.writer();
        self.roll(&mut writer)?;
        let mut pending: Vec<Pending<'_>> = {
            let mut records = self.records_mut();
            let pending = chunk.iter().filter_map(|located| still_needed(&mut records, located, values));
            pending.collect()
        };
        let Some(last) = pending.len().checked_sub(1) else { return Ok(()) };
        for (at, record) in pending.iter_mut().enumerate() {
            record.header.batch_index = u32::try_from(at).expect("a segment has fewer records");
            record.header.batch_end = at == last;
        }
        self.append_and_index(&mut writer, &pending)
    }

    fn forget(&self, segment: u64, located: &[Located<'_>]) {
        let mut records = self.records_mut();
        for (place, record) in located.iter().filter(|(_, record)| !record.header.tombstone) {
            records.index.forget(record.key, *place);
        }
        for (place, record) in located {
            records.index.drop_spent_tombstone(record.key);
            let entry = records.index.get(record.key);
            assert!(entry.is_none_or(|entry| entry.place != *place), "segment {segment} was copied whole");
        }
        records.index.forget_segment(segment);
        records.files.remove(&segment);
    }
}

/// All records of a segment, if it is sound from end to end.
fn locate(segment: u64, bytes: &[u8]) -> Option<Vec<Located<'_>>> {
    let mut located = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let record = decode(segment, bytes, at)?;
        located.push((Place { segment, offset: at as u64 }, record));
        at += record.len();
    }
    Some(located)
}

/// The copy to make of a record, if any. A value that rotted is copied as it is, so that its key
/// stays known as damaged instead of becoming absent.
fn still_needed<'a>(
    records: &mut Records,
    (place, record): &Located<'a>,
    values: &BTreeMap<&[u8], u32>,
) -> Option<Pending<'a>> {
    if record.is_damaged() {
        records.index.mark_damaged(record.key, *place);
    }
    let entry = records.index.get(record.key).filter(|entry| entry.place == *place)?;
    // All that this tombstone hides goes with the segment, and so may the tombstone.
    let is_spent =
        entry.kind == Kind::Tombstone && entry.older == values.get(record.key).copied().unwrap_or(0);
    (!is_spent).then_some(Pending {
        header: record.header,
        key: record.key,
        value: record.value,
        kind: entry.kind,
    })
}
