//! Opening: reads the segments of a directory back, or begins a log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use quorate_env::Disk;

use super::hint::{self, Hint};
use super::index::Index;
use super::manifest::{self, Manifest, list_segments, segment_name};
use super::replay::{self, Replayed};
use super::writer::Writer;
use super::{LogEngine, LogOptions, Records, sync_failed};
use crate::store::StoreError;
use crate::store::commit::GroupCommit;

/// What the segments told.
#[derive(Default)]
struct Found {
    sequence_max: u64,
    torn_bytes: u64,
    unreadable_regions: u64,
    /// Where the newest segment ends, and what it tells.
    end: u64,
    hint: Hint,
}

impl LogEngine {
    /// Opens the log on `disk`, or begins one. Takes time in proportion to the keys, and to the
    /// bytes of the segments that have no hint: the newest, and those that a crash left without.
    ///
    /// The end of the newest segment that belongs to no whole batch is cut off and counted in
    /// [`crate::store::Stats::torn_bytes`]. All that is left is made durable before this returns, so
    /// that what a read shows cannot be lost to a power cut: segments that a failed sync left in
    /// doubt are written anew.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for a format of another version; otherwise what the disk says.
    pub async fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<Self, StoreError> {
        let listed = list_segments(&*disk)?;
        let manifest = Manifest::open(&*disk, &listed).await?;
        let suspects = manifest::read_suspects(&*disk)?;
        let (retired, segments): (Vec<u64>, Vec<u64>) =
            listed.iter().partition(|segment| manifest.retired.contains(segment));
        for segment in retired {
            let name = segment_name(segment);
            disk.remove(&name).map_err(|e| StoreError::io(name, e))?;
        }
        hint::remove_strays(&*disk, &segments)?;
        let mut records = Records { index: Index::default(), files: BTreeMap::new() };
        let mut found = Found::default();
        for segment in &segments {
            found.read(&disk, *segment, (segments.last(), &suspects), &mut records).await?;
        }
        let mut next_segment =
            listed.iter().chain(&manifest.retired).chain(&suspects).max().map_or(1, |last| last + 1);
        let active = match segments.last() {
            Some(segment) if !suspects.contains(segment) => *segment,
            _ => {
                let name = segment_name(next_segment);
                let file = disk.open(&name).map_err(|e| StoreError::io(name, e))?;
                records.files.insert(next_segment, file);
                (found.end, found.hint) = (0, Hint::default());
                next_segment += 1;
                next_segment - 1
            }
        };
        for (segment, file) in &records.files {
            file.sync().await.map_err(|e| sync_failed(*segment, e))?;
        }
        let active = (active, Arc::clone(&records.files[&active]));
        let so_far = (found.end, found.hint);
        let writer = Writer::new(Arc::clone(&disk), active, so_far, next_segment, found.sequence_max + 1);
        let engine = Self {
            disk,
            options,
            commit: GroupCommit::new(writer.position()),
            writer: Mutex::new(writer),
            records: RwLock::new(records),
            values: None,
            manifest: tokio::sync::Mutex::new(manifest),
            torn_bytes: found.torn_bytes,
            unreadable_regions: AtomicU64::new(found.unreadable_regions),
            appends: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        };
        if !suspects.is_empty() {
            engine.give_up_suspects(&suspects).await?;
            let disk = &engine.disk;
            disk.remove(manifest::SUSPECTS_NAME).map_err(|e| StoreError::io(manifest::SUSPECTS_NAME, e))?;
        }
        Ok(engine)
    }
}

impl Found {
    /// Reads one segment, by its hint if it is a full one. One that has none is given one.
    async fn read(
        &mut self,
        disk: &Arc<dyn Disk>,
        segment: u64,
        (newest, suspects): (Option<&u64>, &BTreeSet<u64>),
        records: &mut Records,
    ) -> Result<(), StoreError> {
        let name = segment_name(segment);
        let file = disk.open(&name).map_err(|e| StoreError::io(&*name, e))?;
        let is_newest = newest == Some(&segment);
        let may_hint = !is_newest && !suspects.contains(&segment);
        let hinted = may_hint.then(|| hint::replay(&**disk, segment, &*file, &mut records.index)).flatten();
        let (replayed, is_hinted) = match hinted {
            Some(replayed) => (replayed, true),
            None => {
                let bytes = replay::read_segment(&*file, &name)?;
                (replay::replay(segment, &bytes, &mut records.index), false)
            }
        };
        let Replayed { end, torn, mut unreadable_regions, sequence_max, hint } = replayed;
        if torn > 0 && is_newest {
            self.torn_bytes = torn;
            file.truncate(end).map_err(|e| StoreError::io(&*name, e))?;
        } else if torn > 0 {
            unreadable_regions += 1;
        }
        self.sequence_max = self.sequence_max.max(sequence_max);
        self.end = end;
        self.unreadable_regions += unreadable_regions;
        records.index.usage_mut(segment).unreadable = unreadable_regions > 0;
        if is_newest {
            self.hint = hint;
        } else if may_hint && !is_hinted && unreadable_regions == 0 {
            // Never before its segment is durable.
            file.sync().await.map_err(|e| sync_failed(segment, e))?;
            hint.write(&**disk, segment, end).await;
        }
        records.files.insert(segment, file);
        Ok(())
    }
}
