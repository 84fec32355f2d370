//! The end of patience with operations in flight, once a run is cancelled.
//!
//! Operations look at a flag whenever they are polled anyway: a timer or a waiting list for each of them
//! would cost every operation of every run, for the sake of the last few of one that is interrupted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// What operations in flight are given once the run is cancelled.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Whether operations in flight are given up.
#[derive(Default)]
pub(crate) struct Abandonment {
    declared: AtomicBool,
    workers: Mutex<Vec<Waker>>,
}

impl Abandonment {
    /// Notes a worker, to be woken when patience ends. Whoever looks at [`Self::is_declared`] after this
    /// misses nothing.
    pub(super) fn note(&self, worker: &Waker) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker.clone());
    }

    /// Whether patience has ended.
    pub(super) fn is_declared(&self) -> bool {
        self.declared.load(Ordering::Acquire)
    }

    /// Ends it.
    pub(super) fn declare(&self) {
        self.declared.store(true, Ordering::Release);
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        workers.into_iter().for_each(Waker::wake);
    }
}
