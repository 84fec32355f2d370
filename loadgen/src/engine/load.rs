//! The load phase: every key written once, as fast as the connections allow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::caller::Caller;
use super::lane::Lane;
use super::{LoadReport, Shared};
use crate::observe::Phase;
use crate::plan::LoadPlan;
use crate::target::{Outcome, Target};

/// Attempts at a key that is refused for certain, as by a store that is still starting.
const ATTEMPTS: u32 = 20;
/// Pause between them.
const PAUSE: Duration = Duration::from_millis(250);
/// Keys in a row, for each worker, after which nobody expects the next to go better.
const IN_A_ROW_MAX: u64 = 3;
/// Keys between two words of progress.
const PROGRESS_KEYS: u64 = 100;

#[derive(Default)]
struct Counts {
    next: AtomicU64,
    loaded: AtomicU64,
    unknown: AtomicU64,
    failed: AtomicU64,
    /// Keys since the last that was acknowledged.
    in_a_row: AtomicU64,
    first_error: Mutex<Option<String>>,
}

pub(super) async fn load(shared: &Arc<Shared>, lanes: &[Lane]) -> LoadReport {
    let started_ns = shared.clock.monotonic_ns();
    let counts = Arc::new(Counts::default());
    let mut workers = JoinSet::new();
    for lane in lanes {
        for _ in 0..lane.share(shared.plan.workers(), lanes.len()) {
            let work = work(Arc::clone(shared), Arc::clone(&lane.target), Arc::clone(&counts));
            workers.spawn_on(work, &lane.handle);
        }
    }
    super::phase::join_all(shared, &mut workers).await;
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let report = LoadReport {
        keys: keys_to_load(&shared.plan),
        loaded: read(&counts.loaded),
        unknown: read(&counts.unknown),
        failed: read(&counts.failed),
        given_up: read(&counts.in_a_row) >= in_a_row_max(shared),
        first_error: counts.first_error.lock().unwrap_or_else(PoisonError::into_inner).take(),
        elapsed_ns: shared.clock.monotonic_ns() - started_ns,
    };
    shared.progress.loaded(report.loaded, report.keys);
    report
}

fn in_a_row_max(shared: &Shared) -> u64 {
    IN_A_ROW_MAX * shared.plan.workers() as u64
}

/// The keys that this machine writes.
fn keys_to_load(plan: &LoadPlan) -> u64 {
    plan.part.map_or(plan.keys, |part| {
        let (number, of) = (u64::from(part.number()), u64::from(part.of()));
        plan.keys / of + u64::from(plan.keys % of >= number)
    })
}

async fn work(shared: Arc<Shared>, target: Arc<dyn Target>, counts: Arc<Counts>) {
    let mut caller = Caller::new(Arc::clone(&shared), target, Phase::Load);
    loop {
        let key = counts.next.fetch_add(1, Ordering::Relaxed);
        let is_hopeless = counts.in_a_row.load(Ordering::Relaxed) >= in_a_row_max(&shared);
        if key >= shared.plan.keys || shared.cancel.is_cancelled() || is_hopeless {
            return;
        }
        if shared.plan.part.is_some_and(|part| !part.takes(key)) {
            continue;
        }
        let (count, error) = write(&shared, &mut caller, key, &counts).await;
        let done = count.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(message) = error {
            counts.in_a_row.fetch_add(1, Ordering::Relaxed);
            counts.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
        } else {
            counts.in_a_row.store(0, Ordering::Relaxed);
            if done % PROGRESS_KEYS == 0 {
                shared.progress.loaded(done, keys_to_load(&shared.plan));
            }
        }
    }
}

/// Writes one key; returns what to count it as and what was wrong.
async fn write<'a>(
    shared: &Shared,
    caller: &mut Caller,
    key: u64,
    counts: &'a Counts,
) -> (&'a AtomicU64, Option<String>) {
    let operation = shared.workload.load(key);
    caller.prepare(&operation);
    for attempt in 1.. {
        let completion = caller.perform(&operation).await;
        let message = completion.error.map(|error| error.message);
        match completion.outcome {
            Outcome::Ok => return (&counts.loaded, None),
            // Sending it again could apply it twice.
            Outcome::Info => return (&counts.unknown, message),
            Outcome::Fail if attempt == ATTEMPTS || shared.cancel.is_cancelled() => {
                return (&counts.failed, message);
            }
            Outcome::Fail => {
                tokio::select! {
                    biased;
                    () = shared.cancel.cancelled() => {}
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
    unreachable!("the last attempt returns")
}
