//! What the dispatcher and the workers of a lane share with the collector during a phase.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::backlog::Backlog;
use crate::observe::Phase;
use crate::recorder::{Sample, SharedRecorder};
use crate::target::CallError;

/// A lane's part of a phase.
pub(super) struct LaneState {
    pub(super) phase: Phase,
    /// Which lane of how many.
    pub(super) lane: usize,
    pub(super) lanes: usize,
    /// The first operation of the phase, whosoever it is.
    pub(super) first_index: u64,
    pub(super) started_ns: u64,
    pub(super) planned_ns: u64,
    pub(super) backlog: Backlog,
    pub(super) offered: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) recorder: SharedRecorder,
    pub(super) first_error: Mutex<Option<String>>,
}

impl LaneState {
    /// The operation whose turn comes `turn`-th in this lane.
    pub(super) fn index_of(&self, turn: u64) -> u64 {
        self.first_index + turn * self.lanes as u64 + self.lane as u64
    }

    /// An operation is being sent.
    pub(super) fn begin(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// An operation has ended.
    pub(super) fn end(&self, sample: &Sample, error: Option<CallError>) {
        let mut recorder = self.recorder.current();
        recorder.record(sample);
        if let Some(error) = &error {
            recorder.record_error(sample.op, &error.kind);
        }
        drop(recorder);
        if let Some(error) = error {
            self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.message);
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Throws away what waits.
    pub(super) fn discard(&self) {
        self.dropped.fetch_add(self.backlog.discard(), Ordering::Relaxed);
    }
}
