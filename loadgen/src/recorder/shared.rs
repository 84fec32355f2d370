//! Recorders that workers fill while someone else takes them away each second.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Recorder;

/// One recorder for each few workers: a lock nobody waits for costs nanoseconds, and a full
/// set of histograms for each of hundreds of connections would cost the merge too much.
const SHARDS_MAX: usize = 8;

/// A recorder in several parts.
pub(crate) struct SharedRecorder {
    shards: Vec<Mutex<Recorder>>,
}

impl SharedRecorder {
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: (0..workers.clamp(1, SHARDS_MAX)).map(|_| Mutex::default()).collect() }
    }

    /// The part that worker number `worker` fills.
    pub(crate) fn of_worker(&self, worker: usize) -> MutexGuard<'_, Recorder> {
        lock(&self.shards[worker % self.shards.len()])
    }

    /// Takes all that was recorded since the last time. Each sample is in exactly one taking.
    pub(crate) fn take(&self) -> Recorder {
        let mut all = Recorder::default();
        for shard in &self.shards {
            let part = std::mem::take(&mut *lock(shard));
            all.merge(&part);
        }
        all
    }
}

fn lock(shard: &Mutex<Recorder>) -> MutexGuard<'_, Recorder> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::OpKind;

    #[test]
    fn every_sample_is_taken_once() {
        let shared = SharedRecorder::new(20);
        for worker in 0..20 {
            shared.of_worker(worker).record_error(OpKind::Get, "connect");
        }
        assert_eq!(shared.take().errors(OpKind::Get).collect::<Vec<_>>(), [("connect", 20)]);
        assert_eq!(shared.take(), Recorder::default());
    }
}
