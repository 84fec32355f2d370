//! The open loop in one lane: a dispatcher on the schedule, workers behind a backlog.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_env::Pacer;

use super::Shared;
use super::caller::Caller;
use super::state::LaneState;
use crate::arrivals::Schedule;
use crate::observe::Phase;
use crate::recorder::Sample;
use crate::target::Target;

/// Slots dispatched without a pause before others get a turn, when the dispatcher is behind.
const BURST_MAX: u32 = 64;

/// A wait that an interruption need not end, in nanoseconds.
const SHORT_NS: u64 = 1_000_000;

/// Hands on every slot of the lane when it is due, all that are at once. Returns the lane's number and its
/// pacer for the next phase.
pub(super) async fn dispatch(
    shared: Arc<Shared>,
    state: Arc<LaneState>,
    schedule: Schedule,
    mut pacer: Box<dyn Pacer>,
) -> (usize, Box<dyn Pacer>) {
    // Warm-up follows a schedule of its own, so that its length changes nothing afterwards.
    let seed = shared.plan.arrivals_seed(state.phase);
    let arrivals = match state.phase {
        Phase::Measure => schedule.arrivals(seed),
        Phase::Load | Phase::Warmup => schedule.warmup().arrivals(seed),
    };
    // Every lane walks the whole schedule: the slots are the same however many share them.
    let places = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let own = arrivals.slots().skip(places(state.share.first)).step_by(places(state.share.step));
    let (started_ns, planned_ns) = (state.started_ns, state.planned_ns);
    let in_time = own.take_while(move |offset_ns| *offset_ns < planned_ns);
    state.ahead.begin(Box::new((0..).zip(in_time.map(move |offset_ns| started_ns + offset_ns))));
    let mut burst = 0;
    while let Some(slot_ns) = state.ahead.next_ns() {
        let now_ns = shared.clock.monotonic_ns();
        if now_ns + SHORT_NS < slot_ns {
            burst = 0;
            tokio::select! {
                biased;
                () = shared.cancel.cancelled() => break,
                () = pacer.wait_until(slot_ns) => {}
            }
        } else {
            if now_ns < slot_ns {
                // Too short to be worth being interrupted, which would cost more than what is sent next.
                burst = 0;
                pacer.wait_until(slot_ns).await;
            } else {
                burst += 1;
                if burst == BURST_MAX {
                    burst = 0;
                    tokio::task::yield_now().await;
                }
            }
            if shared.cancel.is_cancelled() {
                break;
            }
        }
        let now_ns = shared.clock.monotonic_ns();
        // A worker may have taken it meanwhile.
        if let Some((turn, slot_ns)) = state.ahead.take_due(now_ns) {
            state.offered.fetch_add(1, Ordering::Relaxed);
            if !state.backlog.offer(state.index_of(turn), slot_ns, now_ns) {
                state.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    state.ahead.end();
    // The schedule runs to the end of the phase, not to its last slot.
    if !shared.cancel.is_cancelled() {
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => {}
            () = pacer.wait_until(state.started_ns + state.planned_ns) => {}
        }
    }
    (state.lane, pacer)
}

/// Sends slots until there are no more.
pub(super) async fn work(shared: Arc<Shared>, state: Arc<LaneState>, target: Arc<dyn Target>, worker: usize) {
    let mut caller = Caller::new(Arc::clone(&shared), target, state.phase);
    let mut free_ns = 0;
    loop {
        let due = match state.take_due(free_ns) {
            Some(due) => {
                // A target that never waits would keep the other tasks from running.
                tokio::task::consume_budget().await;
                due
            }
            None => match state.backlog.take(worker).await {
                Some(due) => due,
                None => return,
            },
        };
        let operation = shared.workload.operation(due.index);
        caller.prepare(&operation);
        state.begin();
        let sent_ns = shared.clock.monotonic_ns();
        let completion = caller.perform(&operation).await;
        let done_ns = shared.clock.monotonic_ns();
        free_ns = done_ns;
        let wait_ns = sent_ns.saturating_sub(due.slot_ns);
        let queued_late_ns = due.queued_ns.saturating_sub(due.slot_ns);
        let sample = Sample {
            op: operation.kind,
            outcome: completion.outcome,
            timed_out: completion.timed_out,
            response_ns: done_ns.saturating_sub(due.slot_ns),
            service_ns: done_ns.saturating_sub(sent_ns),
            wait_ns: Some(wait_ns),
            lateness_ns: Some(if due.worker_was_free { wait_ns } else { queued_late_ns }),
        };
        state.end(&sample, completion.error);
    }
}
