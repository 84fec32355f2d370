//! What the dispatcher and the workers of a lane share with the collector during a phase.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::ahead::Ahead;
use super::backlog::{Backlog, Due};
use crate::observe::Phase;
use crate::plan::Part;
use crate::recorder::{Sample, SharedRecorder};
use crate::target::CallError;

/// Every how-manieth slot of a schedule, from which on: machines share it by number, and the lanes of a
/// machine what is left to it, so that none has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) first: u64,
    pub(super) step: u64,
}

impl Share {
    pub(super) fn of(part: Option<Part>, lane: usize, lanes: usize) -> Self {
        let (number, of) = part.map_or((1, 1), |part| (u64::from(part.number()), u64::from(part.of())));
        Self { first: number - 1 + lane as u64 * of, step: lanes as u64 * of }
    }
}

/// A lane's part of a phase.
pub(super) struct LaneState {
    pub(super) phase: Phase,
    /// Which lane it is.
    pub(super) lane: usize,
    /// Which slots it takes.
    pub(super) share: Share,
    /// The first operation of the phase, whosoever it is.
    pub(super) first_index: u64,
    pub(super) started_ns: u64,
    pub(super) planned_ns: u64,
    /// What is still to come due.
    pub(super) ahead: Ahead,
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
        self.first_index + self.share.first + turn * self.share.step
    }

    /// The next slot, if it is due by `now_ns` and nothing waits before it. It is the caller's to send: whoever
    /// has become free looks for one, because the dispatcher may have to wait for its turn behind all that
    /// came in at the same time.
    pub(super) fn take_due(&self, now_ns: u64) -> Option<Due> {
        if self.backlog.len() > 0 {
            return None;
        }
        let (turn, slot_ns) = self.ahead.take_due(now_ns)?;
        self.offered.fetch_add(1, Ordering::Relaxed);
        Some(Due { index: self.index_of(turn), slot_ns, queued_ns: now_ns, worker_was_free: true })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn every_slot_is_of_one_lane_of_one_machine_and_no_lane_is_idle() {
        let mut taken = Vec::new();
        for part in ["1/2", "2/2"] {
            for lane in 0..2 {
                let share = Share::of(Some(part.parse().unwrap()), lane, 2);
                let own: Vec<u64> = (0..25).map(|turn| share.first + turn * share.step).collect();
                assert!(own.iter().all(|slot| part.parse::<Part>().unwrap().takes(*slot)), "{part} {own:?}");
                taken.extend(own);
            }
        }
        taken.sort_unstable();
        assert_eq!(taken, (0..100).collect::<Vec<u64>>());
        assert_eq!(Share::of(None, 1, 3), Share { first: 1, step: 3 });
    }
}
