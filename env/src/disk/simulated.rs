//! A disk in memory that keeps apart what was written and what was synced.
//!
//! [`SimulatedDisk`] is the machine's side: it cuts the power, fills the disk, rots bytes, lets operations
//! fail by chance or wait, puts an old copy back. The
//! node's side is what [`SimulatedDisk::mount`] gives: after a crash everything mounted before
//! is dead, so that a task of the old process that still runs cannot write to the disk of the
//! new one. No threads, and the same calls with the same random stream give the same bytes.
//!
//! Not modelled: bytes of one file reaching the disk out of order, short reads; listing, opening, removing
//! and truncating files never fail.

mod inode;
mod mount;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::{Rng, RngExt};

use super::Disk;
use crate::RandomStream;
use inode::Inode;

/// A handle on one simulated disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// What a disk was made to do since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Appends that succeeded.
    pub appends: u64,
    /// Bytes that they appended.
    pub bytes_appended: u64,
    /// Syncs that succeeded, atomic replacements among them.
    pub syncs: u64,
    /// Reads of files, whole or in part.
    pub reads: u64,
    /// Operations that failed because they were made to, or because the disk was full.
    pub failures: u64,
}

#[derive(Default)]
struct State {
    /// The directory as processes see it.
    names: BTreeMap<String, SharedInode>,
    /// The directory as it is on stable storage.
    durable_names: BTreeMap<String, SharedInode>,
    /// Counts crashes: a mount of an earlier one is dead.
    generation: u64,
    sync_latency: Duration,
    slow_factor: u32,
    capacity: Option<u64>,
    syncs_to_fail: u32,
    appends_to_fail: u32,
    errors: Option<Errors>,
    is_stalled: bool,
    counters: DiskCounters,
}

/// Operations that fail by chance.
struct Errors {
    /// Of a million operations so many fail.
    ppm: u32,
    random: RandomStream,
}

/// Locked after the [`State`], never before.
type SharedInode = Arc<Mutex<Inode>>;

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| lock(inode).bytes().len() as u64).sum()
    }

    fn sync_directory(&mut self) {
        self.durable_names = self.names.clone();
    }

    /// Whether the next operation fails by chance.
    fn fails(&mut self) -> bool {
        let Some(errors) = &mut self.errors else { return false };
        let fails = errors.random.random_range(0..1_000_000) < errors.ppm;
        self.counters.failures += u64::from(fails);
        fails
    }

    fn sync_wait(&self) -> Duration {
        self.sync_latency.saturating_mul(self.slow_factor.max(1))
    }
}

impl SimulatedDisk {
    /// An empty disk without latency or limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk as a process that starts now sees it, dead after the next crash.
    #[must_use]
    pub fn mount(&self) -> Arc<dyn Disk> {
        let generation = self.lock().generation;
        Arc::new(mount::Mount::new(Arc::clone(&self.state), generation))
    }

    /// The process ends here (kill -9): all it gave to the operating system stays.
    pub fn kill(&self) {
        self.lock().generation += 1;
    }

    /// The power fails here. Of every file the unsynced end is lost but for a prefix of random
    /// length; files whose creation was not synced are gone; removals that were not synced
    /// happened or not, one by one.
    pub fn power_cut(&self, random: &mut impl Rng) {
        let mut state = self.lock();
        state.generation += 1;
        let before = std::mem::take(&mut state.names);
        let durable = std::mem::take(&mut state.durable_names);
        for (name, inode) in durable {
            let was_removed = !before.contains_key(&name);
            if was_removed && random.random_bool(0.5) {
                continue;
            }
            // A copy, so that dead handles cannot see, let alone change, what the disk holds.
            let mut survivor = lock(&inode).clone();
            survivor.power_cut(random);
            state.names.insert(name, Arc::new(Mutex::new(survivor)));
        }
        state.sync_directory();
    }

    /// Another disk that holds what this one holds now.
    #[must_use]
    pub fn copied(&self) -> Self {
        let copy = Self::new();
        let names = {
            let state = self.lock();
            let copied =
                |(name, of): (&String, &SharedInode)| (name.clone(), Arc::new(Mutex::new(lock(of).clone())));
            state.names.iter().map(copied).collect()
        };
        copy.lock().names = names;
        copy.lock().sync_directory();
        copy
    }

    /// What `copy` holds, in place of what this one does. Whoever has it mounted is dead.
    pub fn restore(&self, copy: &Self) {
        let names = copy.copied().lock().names.clone();
        let mut state = self.lock();
        state.generation += 1;
        state.names = names;
        state.sync_directory();
    }

    /// A new, empty disk in place of this one. Whoever has it mounted is dead.
    pub fn wipe(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.names.clear();
        state.durable_names.clear();
    }

    /// Time that a sync takes from now on.
    pub fn set_sync_latency(&self, latency: Duration) {
        self.lock().sync_latency = latency;
    }

    /// Multiplies the time of a sync; 1 is normal.
    pub fn set_slow_factor(&self, factor: u32) {
        self.lock().slow_factor = factor;
    }

    /// Bytes that fit in all files together; `None` has no limit. An append beyond writes what
    /// fits and fails with [`io::ErrorKind::StorageFull`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Bytes in all files together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// The next `count` syncs fail, and the bytes they should have saved are lost at the next
    /// power cut, whatever is synced later.
    pub fn fail_next_syncs(&self, count: u32) {
        self.lock().syncs_to_fail = count;
    }

    /// The next `count` appends fail half way.
    pub fn fail_next_appends(&self, count: u32) {
        self.lock().appends_to_fail = count;
    }

    /// From now on of a million appends, syncs, atomic replacements and reads so many fail, drawn from
    /// `random`; an append fails half way. 0: none.
    pub fn set_errors(&self, ppm: u32, random: RandomStream) {
        self.lock().errors = (ppm > 0).then_some(Errors { ppm, random });
    }

    /// While it is stalled no sync and no atomic replacement comes to an end; what is asked for otherwise
    /// goes on.
    pub fn set_stalled(&self, is_stalled: bool) {
        self.lock().is_stalled = is_stalled;
    }

    /// Rots one byte: all its bits are inverted, on stable storage too.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] without such a file, [`io::ErrorKind::UnexpectedEof`] past its end.
    pub fn flip_byte(&self, name: &str, offset: u64) -> io::Result<()> {
        let state = self.lock();
        let inode = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        lock(inode).flip(offset)
    }

    /// Rots `count` bytes drawn from the files that `picked` names, as [`SimulatedDisk::flip_byte`] does.
    /// Says whether they hold anything.
    pub fn rot(&self, count: u32, picked: impl Fn(&str) -> bool, random: &mut impl Rng) -> bool {
        let state = self.lock();
        let files = state.names.iter().filter(|(name, _)| picked(name));
        let mut files: Vec<(MutexGuard<'_, Inode>, u64)> = files
            .map(|(_, inode)| lock(inode))
            .map(|inode| {
                let bytes = inode.bytes().len() as u64;
                (inode, bytes)
            })
            .collect();
        let all: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        if all == 0 {
            return false;
        }
        for _ in 0..count {
            let mut offset = random.random_range(0..all);
            for (inode, bytes) in &mut files {
                if offset < *bytes {
                    inode.flip(offset).expect("the offset lies within the file");
                    break;
                }
                offset -= *bytes;
            }
        }
        true
    }

    /// What the disk was made to do so far.
    #[must_use]
    pub fn counters(&self) -> DiskCounters {
        self.lock().counters
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while holding this lock")
}

#[cfg(test)]
mod tests;
