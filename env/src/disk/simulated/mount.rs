//! What a simulated process holds of its disk: the directory and open files, until it crashes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::inode::Inode;
use super::{SharedInode, State, lock};
use crate::BoxFuture;
use crate::disk::{Disk, DiskFile};

/// The disk of one run of one process.
pub(super) struct Mount {
    state: Arc<Mutex<State>>,
    generation: u64,
}

impl Mount {
    pub(super) fn new(state: Arc<Mutex<State>>, generation: u64) -> Self {
        Self { state, generation }
    }

    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        live(&self.state, self.generation)
    }
}

fn live(state: &Mutex<State>, generation: u64) -> io::Result<MutexGuard<'_, State>> {
    let state = lock(state);
    if state.generation == generation {
        Ok(state)
    } else {
        Err(io::Error::other("the process that opened this disk has crashed"))
    }
}

fn plain(name: &str) -> io::Result<()> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not a plain file name"),
        ));
    }
    Ok(())
}

/// How often a stalled disk is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Waits as long as a sync takes, and on while the disk is stalled.
async fn wait(state: &Mutex<State>, generation: u64) -> io::Result<()> {
    let wait = live(state, generation)?.sync_wait();
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    while live(state, generation)?.is_stalled {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn by_chance(name: &str) -> io::Error {
    io::Error::other(format!("{name}: simulated input/output error"))
}

fn full(state: &mut State) -> io::Error {
    state.counters.failures += 1;
    io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
}

impl Disk for Mount {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.live()?.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut state = self.live()?;
        state.counters.reads += 1;
        if state.fails() {
            return Err(by_chance(name));
        }
        let inode = state.names.get(name).ok_or_else(|| missing(name))?;
        Ok(lock(inode).bytes().to_vec())
    }

    fn write_atomic<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            plain(name)?;
            wait(&self.state, self.generation).await?;
            let mut state = self.live()?;
            if state.syncs_to_fail > 0 {
                state.syncs_to_fail -= 1;
                return Err(io::Error::other(format!("{name}: simulated failure of a sync")));
            }
            if state.fails() {
                return Err(by_chance(name));
            }
            if state.capacity.is_some_and(|capacity| state.used() + bytes.len() as u64 > capacity) {
                return Err(full(&mut state));
            }
            state.counters.syncs += 1;
            state.names.insert(name.to_owned(), Arc::new(Mutex::new(Inode::synced(bytes.to_vec()))));
            state.sync_directory();
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.live()?.names.remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        plain(name)?;
        let inode = Arc::clone(self.live()?.names.entry(name.to_owned()).or_default());
        Ok(Arc::new(OpenFile {
            state: Arc::clone(&self.state),
            generation: self.generation,
            name: name.to_owned(),
            inode,
            name_synced: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }))
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name}: no such file"))
}

struct OpenFile {
    state: Arc<Mutex<State>>,
    generation: u64,
    name: String,
    inode: SharedInode,
    /// As on a real disk, the first sync after opening also makes the directory durable.
    name_synced: AtomicBool,
    failed: AtomicBool,
}

impl OpenFile {
    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        live(&self.state, self.generation)
    }

    fn refuse_after_failed_sync(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other(format!("{}: an earlier sync failed; open it again", self.name)));
        }
        Ok(())
    }
}

impl DiskFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        let _state = self.live()?;
        Ok(lock(&self.inode).bytes().len() as u64)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let mut state = self.live()?;
        self.refuse_after_failed_sync()?;
        if state.appends_to_fail > 0 {
            state.appends_to_fail -= 1;
            lock(&self.inode).append(&bytes[..bytes.len() / 2]);
            return Err(io::Error::other(format!("{}: simulated failure of an append", self.name)));
        }
        if state.fails() {
            lock(&self.inode).append(&bytes[..bytes.len() / 2]);
            return Err(by_chance(&self.name));
        }
        if let Some(capacity) = state.capacity {
            let room = capacity.saturating_sub(state.used());
            if room < bytes.len() as u64 {
                let fits = usize::try_from(room).unwrap_or(bytes.len());
                lock(&self.inode).append(&bytes[..fits]);
                return Err(full(&mut state));
            }
        }
        state.counters.appends += 1;
        state.counters.bytes_appended += bytes.len() as u64;
        Ok(lock(&self.inode).append(bytes))
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut state = self.live()?;
        state.counters.reads += 1;
        if state.fails() {
            return Err(by_chance(&self.name));
        }
        let inode = lock(&self.inode);
        let range = usize::try_from(offset).ok().and_then(|from| Some(from..from.checked_add(len)?));
        let bytes = range.and_then(|range| inode.bytes().get(range)).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(bytes.to_vec())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let _state = self.live()?;
        lock(&self.inode).truncate(len)
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        // What counts is what was appended before this call, not before the first poll.
        let begun = self.live().and_then(|_state| {
            self.refuse_after_failed_sync()?;
            Ok(lock(&self.inode).begin_sync())
        });
        Box::pin(async move {
            let mark = begun?;
            wait(&self.state, self.generation).await?;
            let mut state = self.live()?;
            self.refuse_after_failed_sync()?;
            let fails_by_count = state.syncs_to_fail > 0;
            if fails_by_count || state.fails() {
                state.syncs_to_fail -= u32::from(fails_by_count);
                self.failed.store(true, Ordering::Relaxed);
                lock(&self.inode).fail_sync(&mark);
                return Err(io::Error::other(format!("{}: simulated failure of a sync", self.name)));
            }
            lock(&self.inode).end_sync(&mark);
            if !self.name_synced.swap(true, Ordering::Relaxed) {
                state.sync_directory();
            }
            state.counters.syncs += 1;
            Ok(())
        })
    }
}
