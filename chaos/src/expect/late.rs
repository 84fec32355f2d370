//! Losses that no power cut excuses.
//!
//! Under `interval:T` a node syncs every T what it took since. A power cut may take the writes that
//! were acknowledged less than T before it, and no others.

use std::time::Duration;

use quorate_check::history::{Function, Operation};
use quorate_check::{Kind, Violation};
use quorate_cluster::config::{Durability, StoreDefinition};

use crate::fault::{FaultEvent, FaultKind, Phase};

/// A sync takes time itself, and the next interval begins when it is over.
const SLACK: Duration = Duration::from_millis(50);

/// Of the `violations` that tell of a lost write, those whose write was acknowledged too long before
/// every power cut, by their position. Empty unless the store's durability is an interval.
pub(super) fn late_losses(
    store: &StoreDefinition,
    operations: &[Operation],
    events: &[FaultEvent],
    violations: &[Violation],
) -> Vec<usize> {
    let Durability::Interval(interval) = store.durability else { return Vec::new() };
    let window_ns = u64::try_from((interval + SLACK).as_nanos()).unwrap_or(u64::MAX);
    let cuts: Vec<u64> = events
        .iter()
        .filter(|event| event.kind == FaultKind::PowerCut && event.event == Phase::Begin)
        .map(|event| event.at_ns)
        .collect();
    let is_excused = |write: &Operation| {
        let acknowledged_ns = write.return_ns.unwrap_or(write.invoke_ns);
        cuts.iter().any(|&cut| write.invoke_ns <= cut && cut.saturating_sub(acknowledged_ns) < window_ns)
    };
    let is_late = |violation: &Violation| {
        // The write that is gone: for a value that came back, the last of those that had replaced it.
        let writes = violation.operations.iter().filter_map(|&number| operations.get(number));
        let gone = writes.filter(|op| op.f != Function::Get).max_by_key(|op| op.invoke_ns);
        matches!(violation.kind, Kind::Lost | Kind::Resurrected)
            && gone.is_some_and(|write| !is_excused(write))
    };
    violations.iter().enumerate().filter(|(_, v)| is_late(v)).map(|(position, _)| position).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn only_what_was_acknowledged_just_before_a_cut_may_be_lost() {
        let put = |acknowledged_ms: u64| {
            let mut put = Operation::invoked(1, Function::Put, "k", (acknowledged_ms - 5) * MS);
            put.return_ns = Some(acknowledged_ms * MS);
            put
        };
        let lost = |number| Violation {
            kind: Kind::Lost,
            guarantee: None,
            key: "k".into(),
            operations: vec![number],
            says: String::new(),
            lasting: None,
        };
        let operations = [put(100), put(840), put(940), put(1_002), put(1_010)];
        let violations: Vec<Violation> = (0..operations.len()).map(lost).collect();
        let cut = FaultEvent {
            fault: 0,
            event: Phase::Begin,
            kind: FaultKind::PowerCut,
            targets: vec!["n1".into()],
            at_ns: 1_000 * MS,
            params: Default::default(),
        };
        let late = |durability: &str, events: &[FaultEvent]| {
            let store =
                StoreDefinition { durability: durability.parse().unwrap(), ..StoreDefinition::default() };
            late_losses(&store, &operations, events, &violations)
        };
        assert_eq!(late("interval:100ms", std::slice::from_ref(&cut)), [0, 1, 4]);
        assert_eq!(late("interval:100ms", &[]), [0, 1, 2, 3, 4]);
        assert!(late("commit", &[cut]).is_empty());
    }
}
