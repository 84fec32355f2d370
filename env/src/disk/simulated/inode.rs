//! The bytes of one simulated file: as written, and as stable storage has them.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use rand::{Rng, RngExt};

/// One file's bytes. `bytes[..synced]` then `cut` is what stable storage holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    synced: usize,
    /// Synced bytes that were truncated since: until the next sync they may come back.
    cut: Vec<u8>,
    /// How often the file was truncated.
    truncations: u64,
    /// Ranges that a failed sync gave up: the kernel calls them clean, the disk never got them.
    given_up: Vec<Range<usize>>,
    /// Lengths that syncs under way will make durable.
    under_way: Vec<Weak<AtomicUsize>>,
}

/// What a sync promised when it began.
#[derive(Debug)]
pub(super) struct SyncMark {
    len: Arc<AtomicUsize>,
    truncations: u64,
}

impl Inode {
    /// A file that is wholly on stable storage.
    pub(super) fn synced(bytes: Vec<u8>) -> Self {
        Self { synced: bytes.len(), bytes, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> u64 {
        let offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        offset
    }

    pub(super) fn truncate(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.bytes.len()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "truncate cannot make a file longer")
        })?;
        if len < self.synced {
            self.cut.splice(0..0, self.bytes[len..self.synced].iter().copied());
            self.synced = len;
        }
        self.bytes.truncate(len);
        self.truncations += 1;
        self.given_up.retain_mut(|range| {
            range.end = range.end.min(len);
            range.start < range.end
        });
        self.under_way.retain(|mark| {
            let mark = mark.upgrade();
            if let Some(mark) = &mark {
                mark.fetch_min(len, Ordering::Relaxed);
            }
            mark.is_some()
        });
        Ok(())
    }

    pub(super) fn begin_sync(&mut self) -> SyncMark {
        let len = Arc::new(AtomicUsize::new(self.bytes.len()));
        self.under_way.retain(|mark| mark.strong_count() > 0);
        self.under_way.push(Arc::downgrade(&len));
        SyncMark { len, truncations: self.truncations }
    }

    pub(super) fn end_sync(&mut self, mark: &SyncMark) {
        let len = mark.len.load(Ordering::Relaxed);
        // Bytes cut before the sync began are gone for good; those cut since, which lowered the
        // mark to what was synced already, may still come back.
        if mark.truncations == self.truncations || len > self.synced {
            self.cut.clear();
        }
        self.synced = self.synced.max(len);
    }

    pub(super) fn fail_sync(&mut self, mark: &SyncMark) {
        let len = mark.len.load(Ordering::Relaxed);
        if self.synced < len {
            self.given_up.push(self.synced..len);
        }
        self.end_sync(mark);
    }

    pub(super) fn flip(&mut self, offset: u64) -> io::Result<()> {
        let byte = usize::try_from(offset).ok().and_then(|at| self.bytes.get_mut(at));
        *byte.ok_or(io::ErrorKind::UnexpectedEof)? ^= 0xff;
        Ok(())
    }

    /// Keeps what a power cut leaves: the synced bytes, some of those after them, and zeros for
    /// what a failed sync gave up.
    pub(super) fn power_cut(&mut self, random: &mut impl Rng) {
        if !self.cut.is_empty() && random.random_bool(0.5) {
            self.bytes.truncate(self.synced);
            self.bytes.append(&mut self.cut);
        } else {
            let kept = random.random_range(self.synced..=self.bytes.len());
            self.bytes.truncate(kept);
        }
        for range in std::mem::take(&mut self.given_up) {
            let end = range.end.min(self.bytes.len());
            if range.start < end {
                self.bytes[range.start..end].fill(0);
            }
        }
        *self = Self::synced(std::mem::take(&mut self.bytes));
    }
}
