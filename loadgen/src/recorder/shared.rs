//! A recorder that a lane fills while someone else takes its contents away each second.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Recorder, Tally};

/// Two tallies that change places, so that the one who records never waits for the one who takes away. The
/// emptied one is used again, since tallies grow to their size only with time, and that time would be the
/// operations'.
pub(crate) struct SharedRecorder {
    current: Mutex<Tally>,
    spare: Mutex<Tally>,
}

impl SharedRecorder {
    /// As [`Recorder::with_room`].
    pub(crate) fn with_room(max_ns: u64) -> Self {
        let tally = || Mutex::new(Tally::with_room(max_ns));
        Self { current: tally(), spare: tally() }
    }

    /// The one to fill. Nobody else wants it but once a second.
    pub(crate) fn current(&self) -> MutexGuard<'_, Tally> {
        lock(&self.current)
    }

    /// Adds to `all` what was recorded since the last time. Each sample is in exactly one taking.
    pub(crate) fn take_into(&self, all: &mut Recorder) {
        let mut spare = lock(&self.spare);
        std::mem::swap(&mut *self.current(), &mut *spare);
        spare.move_to(all);
    }
}

fn lock(part: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Sample;
    use crate::target::Outcome;
    use crate::workload::OpKind;

    #[test]
    fn every_sample_is_taken_once() {
        let shared = SharedRecorder::with_room(1_000);
        let sample = Sample {
            op: OpKind::Get,
            outcome: Outcome::Fail,
            timed_out: false,
            response_ns: 5,
            service_ns: 5,
            wait_ns: None,
            lateness_ns: None,
        };
        for taking in 0..4 {
            for _ in 0..taking {
                shared.current().record(&sample);
                shared.current().record_error(OpKind::Get, "connect");
            }
            let mut all = Recorder::default();
            shared.take_into(&mut all);
            assert_eq!(all.count(OpKind::Get, Outcome::Fail), taking);
            assert_eq!(all.errors(OpKind::Get).map(|(_, count)| count).sum::<u64>(), taking);
            assert_eq!(all.series().map(|(_, histogram)| histogram.len()).sum::<u64>(), 2 * taking);
        }
    }
}
