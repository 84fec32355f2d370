//! The closed loop: each client sends when its last reply is there.
//!
//! There is no slot to measure from, so response and service time are the same and wait is
//! not recorded; results are labelled `closed`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::caller::Caller;
use super::state::LaneState;
use crate::recorder::Sample;
use crate::target::Target;

/// Sends until the phase is over.
pub(super) async fn work(shared: Arc<Shared>, state: Arc<LaneState>, target: Arc<dyn Target>) {
    let mut caller = Caller::new(Arc::clone(&shared), target, state.phase);
    let end_ns = state.started_ns + state.planned_ns;
    let mut now_ns = shared.clock.monotonic_ns();
    while now_ns < end_ns && !shared.cancel.is_cancelled() {
        let index = state.index_of(state.offered.fetch_add(1, Ordering::Relaxed));
        let operation = shared.workload.operation(index);
        caller.prepare(&operation);
        state.begin();
        let sent_ns = shared.clock.monotonic_ns();
        let completion = caller.perform(&operation).await;
        now_ns = shared.clock.monotonic_ns();
        let service_ns = now_ns.saturating_sub(sent_ns);
        let sample = Sample {
            op: operation.kind,
            outcome: completion.outcome,
            timed_out: completion.timed_out,
            response_ns: service_ns,
            service_ns,
            wait_ns: None,
            lateness_ns: None,
        };
        state.end(&sample, completion.error);
        // A target that never waits would keep the other tasks from running.
        tokio::task::consume_budget().await;
    }
}
