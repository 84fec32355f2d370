//! Whether a core of the nodes served while others were away.
//!
//! Whatever came before: once nothing is wrong any more with the nodes of the core and the links between
//! them, they have a while to notice, and from then on everything that is asked through them is answered.
//! Safety alone would be kept by a store that never answers again.

use quorate_check::history::{Function, Operation, Outcome};

use crate::scenario::{CoreSection, WorkloadSection};
use crate::workload::{ERROR_FIELD, STATUS_FIELD};
use crate::world::Played;

/// What clients see of a put or compare-and-set that was answered all the same: it found something else, or
/// others came between.
const ANSWERS: [&str; 2] = ["mismatch", "overtaken"];

/// The operations that the core owed an answer and did not give, in words.
pub(super) fn unserved(core: &CoreSection, workload: &WorkloadSection, played: &Played) -> Vec<String> {
    let ns = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let from_ns = played.load_start_ns.saturating_add(ns(core.from + core.within));
    // Once the load is over everything is healed: what is asked later is answered by more than the core.
    let until_ns =
        played.load_start_ns.saturating_add(ns(workload.duration.saturating_sub(workload.deadline)));
    let is_owed = |op: &&Operation| {
        let via = op.via.as_ref().map(ToString::to_string).unwrap_or_default();
        !op.r#final && core.nodes.contains(&via) && (from_ns..until_ns).contains(&op.invoke_ns)
    };
    let is_served = |op: &Operation| {
        let status = op.extra.get(STATUS_FIELD).and_then(serde_json::Value::as_u64);
        let error = op.extra.get(ERROR_FIELD).and_then(|error| error.as_str()).unwrap_or_default();
        // 409: too many siblings, which is the writer's own doing.
        op.outcome == Outcome::Ok
            || ANSWERS.contains(&error)
            || (status == Some(409) && op.f == Function::Put)
    };
    let told = |op: &Operation| {
        let error = op.extra.get(ERROR_FIELD).and_then(|error| error.as_str()).unwrap_or("unfinished");
        let after_ms = op.invoke_ns.saturating_sub(played.load_start_ns) / 1_000_000;
        let via = op.via.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{} of {} through {via} at {after_ms} ms: {error}", op.f, op.key)
    };
    played.operations.iter().filter(is_owed).filter(|op| !is_served(op)).map(told).collect()
}
