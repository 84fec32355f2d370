//! sled 0.34 behind the log, for comparison.
//!
//! sled alone cannot keep a promise about disks. Its `flush` hands the data to the operating system
//! (`sync_file_range`) and never reaches stable storage, its files for large values are not synced at
//! all, and there are open reports of databases that do not open again after an abrupt stop. Syncing
//! its files from outside does not help either: between two such syncs it writes new pages over
//! segments that it freed by the same weak flush, so that a power cut may take what the last sync had
//! saved. The log in front can therefore never be cut off behind a "durable" sled.
//!
//! So the log stays whole and is the truth, with all it promises, and sled is the second place for
//! its values ([`super::log`]): written to after the log, read first, and believed only where the
//! log's index agrees. A sled that cannot be opened is begun anew and fills as values are read.
//! The price is that every value is on disk twice, and that every key is in memory.
//!
//! It is never told to flush: the log has what that would save, and on a full disk a flush may never
//! return and keep all writers waiting. For the same reason closing it is given up after a while.
//!
//! It runs threads of its own, so it is never used in the simulator.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use quorate_env::Disk;

use super::log::{Changed, FORMAT_NAME, LogEngine, LogOptions, Values};
use super::{Engine, StoreError};

/// The name carries the version of what is in it; trees of other versions are left alone.
const TREE: &str = "values-1";

/// Instead of its default of a gigabyte: files are in the system's cache already.
const CACHE_BYTES: u64 = 64 << 20;

/// How long closing it may take. On a full disk its last flush has been seen to wait for ever.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Eight bytes of sequence precede every value.
const SEQUENCE_LEN: usize = 8;

/// Opens the log on `disk` and sled below `directory`.
///
/// # Errors
/// As [`LogEngine::open`]; [`StoreError::Foreign`] for a sled directory without a log, which an
/// earlier version may have left. What is wrong with sled itself is logged and is no error.
pub(super) async fn open(
    disk: Arc<dyn Disk>,
    directory: &Path,
    options: LogOptions,
) -> Result<Arc<dyn Engine>, StoreError> {
    let home = directory.join("sled");
    if home.exists() && disk.read(FORMAT_NAME).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Err(StoreError::Foreign {
            file: home.display().to_string(),
            says: format!(
                "a sled database without {FORMAT_NAME}, the log that this version keeps beside it; use the version that wrote it, or move it away to start empty"
            ),
        });
    }
    let log = LogEngine::open(disk, options).await?;
    Ok(match open_or_begin(&home) {
        Some(tree) => {
            let tree = Some(tree);
            Arc::new(log.with_values(Box::new(SledValues { tree, failed: AtomicBool::new(false) })))
        }
        None => Arc::new(log),
    })
}

fn open_or_begin(home: &Path) -> Option<::sled::Tree> {
    let open = || {
        // No timer: what it would save, the log has.
        let config = ::sled::Config::new().path(home).flush_every_ms(None).cache_capacity(CACHE_BYTES);
        let db = config.open()?;
        db.open_tree(TREE)
    };
    // Its recovery is known to panic on what an abrupt stop left.
    let attempt = || match catch_unwind(open) {
        Ok(Ok(tree)) => Ok(tree),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it panicked".to_owned()),
    };
    let why = match attempt() {
        Ok(tree) => return Some(tree),
        Err(why) => why,
    };
    tracing::warn!(%why, "sled cannot be opened and begins anew; the log has everything");
    let removed = std::fs::remove_dir_all(home).map_err(|e| e.to_string());
    match removed.and_then(|()| attempt()) {
        Ok(tree) => Some(tree),
        Err(why) => {
            tracing::error!(%why, "sled cannot be opened; values are read from the log alone");
            None
        }
    }
}

/// Values in sled.
struct SledValues {
    /// There until it is closed.
    tree: Option<::sled::Tree>,
    /// Set by the first error: from then on the log is read alone.
    failed: AtomicBool,
}

impl SledValues {
    fn attempt<T>(&self, what: impl FnOnce(&::sled::Tree) -> ::sled::Result<T>) -> Option<T> {
        let tree = self.tree.as_ref().filter(|_| !self.failed.load(Ordering::Relaxed))?;
        let why = match catch_unwind(AssertUnwindSafe(|| what(tree))) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        if !self.failed.swap(true, Ordering::Relaxed) {
            tracing::error!(%why, "sled failed; values are read from the log alone until the next start");
        }
        None
    }
}

impl Drop for SledValues {
    fn drop(&mut self) {
        let tree = self.tree.take();
        let (closed, is_closed) = mpsc::channel();
        std::thread::spawn(move || {
            drop(tree);
            // Nobody may wait any more.
            let _ = closed.send(());
        });
        if is_closed.recv_timeout(CLOSING_MAX).is_err() {
            tracing::error!("sled cannot be closed and is left as it is; the log has everything");
        }
    }
}

impl Values for SledValues {
    fn get(&self, key: &[u8], sequence: u64) -> Option<Bytes> {
        let stored = self.attempt(|tree| tree.get(key))??;
        let (written_as, value) = stored.split_first_chunk::<SEQUENCE_LEN>()?;
        (u64::from_le_bytes(*written_as) == sequence).then(|| Bytes::copy_from_slice(value))
    }

    fn set(&self, changes: &[Changed<'_>]) {
        let mut batch = ::sled::Batch::default();
        for change in changes {
            match change.value {
                Some(value) => {
                    let mut stored = Vec::with_capacity(SEQUENCE_LEN + value.len());
                    stored.extend_from_slice(&change.sequence.to_le_bytes());
                    stored.extend_from_slice(value);
                    batch.insert(change.key, stored);
                }
                None => batch.remove(change.key),
            }
        }
        self.attempt(|tree| tree.apply_batch(batch));
    }
}
