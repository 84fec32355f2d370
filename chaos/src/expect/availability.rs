//! Which puts were owed success, and which of those did not get it.
//!
//! A put is owed success if everything it needs was in order from [`settle`] before its call to its
//! client's deadline: its entry node up on a disk of normal speed, the link between client and
//! entry node in order, and, by the kind of store, enough nodes up and linked to the entry node
//! (for a strict store: owners of the key). While the members change, all this must be so by every
//! view that some node may have acted by. This asks for more than the promise does, since a
//! store may well succeed while faults come and go; it never blames a store for what it could not
//! know yet.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_check::Violation;
use quorate_check::availability::{Window, WindowReport, by_window, unavailable};
use quorate_check::history::{Function, History, Operation, Outcome};
use quorate_cluster::config::{Conflict, QuorumKind, StoreDefinition, Timing};
use quorate_cluster::version::SKEW_MAX;
use serde::{Deserialize, Serialize};

use super::Column;
use crate::fault::{Span, Timeline};
use crate::members::Era;
use crate::workload::{ERROR_FIELD, HOST_FIELD, STATUS_FIELD};

/// How long a fault must be over before success is owed again: a call that hangs on a dead
/// connection is noticed after `hand_over`, the next attempt to reach the peer waits `probe`, and
/// its connection takes up to `connect`.
fn settle_ns(timing: &Timing) -> u64 {
    u64::try_from((timing.hand_over + timing.probe + timing.connect).as_nanos()).unwrap_or(u64::MAX)
}

/// How far apart clocks may be while a store where the last write wins owes anything. Stamps from further
/// ahead than [`SKEW_MAX`] are refused; a node that starts again gives some from 10 s ahead of its clock.
const CLOCKS_APART_MAX: Duration = SKEW_MAX.saturating_sub(Duration::from_secs(15));

/// The store's own code for a write that another one of the same register came between.
const OVERTAKEN: &str = "overtaken";

/// What a put must find in order.
pub struct Owed<'a> {
    /// The store.
    pub store: &'a StoreDefinition,
    /// How long its nodes wait for what.
    pub timing: Timing,
    /// The faults.
    pub timeline: &'a Timeline,
    /// Who was a member and owned what when.
    pub eras: &'a [Era],
    /// The partition of a key.
    pub partition_of: &'a dyn Fn(&str) -> u32,
    /// The clients' deadline in nanoseconds.
    pub deadline_ns: u64,
}

impl Owed<'_> {
    /// Whether `put` was owed success.
    #[must_use]
    pub fn is_owed(&self, put: &Operation) -> bool {
        let (Some(via), Some(host)) = (&put.via, put.extra.get(HOST_FIELD).and_then(|h| h.as_str())) else {
            return false;
        };
        let via = via.to_string();
        let span = Span {
            from_ns: put.invoke_ns.saturating_sub(settle_ns(&self.timing)),
            until_ns: put.invoke_ns.saturating_add(self.deadline_ns),
        };
        let eras: Vec<&Era> = self.eras.iter().filter(|era| era.span.meets(span)).collect();
        let is_member = |node: &String| eras.iter().all(|era| era.members.contains(node));
        // A node that is no member yet, or no longer, serves as well as it can and owes nothing.
        if !is_member(&via) {
            return false;
        }
        if !self.timeline.is_up(&via, span) || !self.timeline.is_linked(host, &via, span) {
            return false;
        }
        let clocks_apart = || self.timeline.clocks_apart(span.until_ns);
        if self.store.conflict == Conflict::LastWriteWins && clocks_apart() > CLOCKS_APART_MAX {
            return false;
        }
        let reachable = |node: &String| {
            *node == via || (self.timeline.is_up(node, span) && self.timeline.is_linked(&via, node, span))
        };
        let needed = self.store.w();
        let strict = self.store.quorum == QuorumKind::Strict;
        match Column::of(self.store) {
            Column::AlwaysWrite if needed == 1 && !strict => true,
            _ if strict => {
                let partition = (self.partition_of)(&put.key.to_string());
                eras.iter()
                    .all(|era| era.owners_of(partition).iter().filter(|n| reachable(n)).count() >= needed)
            }
            Column::AlwaysWrite
            | Column::Dynamo
            | Column::Quorum
            | Column::LastWriteWins
            | Column::Linearizable => {
                let members = eras.first().map_or(&[][..], |era| &era.members);
                members.iter().filter(|n| is_member(n) && reachable(n)).count() >= needed
            }
        }
    }
}

/// How puts fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Availability {
    /// Puts in all.
    pub puts: u64,
    /// Those that were acknowledged.
    pub acknowledged: u64,
    /// Those that were owed success.
    pub owed: u64,
    /// Those that were owed success and did not get it.
    pub denied: u64,
    /// Those that failed, by what their client saw: the HTTP status and the store's own code where
    /// there is one. 409 and 507 are never owed: the put was out of bounds, or the disk full.
    pub errors: BTreeMap<String, u64>,
    /// Of the puts that failed, those that the store refused for want of a quorum (503, 504).
    pub refused: u64,
    /// What became of operations while each fault was on.
    pub windows: Vec<WindowReport>,
}

/// Judges all puts of a history. `Unavailable` for each that was owed success in vain.
#[must_use]
pub fn judge_availability(
    operations: &[Operation],
    history: &History,
    windows: &[Window],
    owed: &Owed<'_>,
) -> (Availability, Vec<Violation>) {
    let mut seen = Availability { windows: by_window(history, windows), ..Availability::default() };
    let status = |op: &Operation| op.extra.get(STATUS_FIELD).and_then(serde_json::Value::as_u64);
    // Nobody is owed that others leave a register alone.
    let is_overtaken = |op: &Operation| op.extra.get(ERROR_FIELD).is_some_and(|error| error == OVERTAKEN);
    let is_owed = |op: &Operation| {
        op.f == Function::Put
            && !matches!(status(op), Some(409 | 507))
            && !is_overtaken(op)
            && owed.is_owed(op)
    };
    for put in operations.iter().filter(|op| op.f == Function::Put) {
        seen.puts += 1;
        let succeeded = put.outcome == Outcome::Ok;
        if succeeded {
            seen.acknowledged += 1;
        } else {
            let error = put.extra.get(ERROR_FIELD).and_then(|e| e.as_str()).unwrap_or("unfinished");
            let name = status(put).map_or_else(|| error.to_owned(), |status| format!("{status} {error}"));
            *seen.errors.entry(name).or_default() += 1;
            seen.refused += u64::from(matches!(status(put), Some(503 | 504)));
        }
        if is_owed(put) {
            seen.owed += 1;
            seen.denied += u64::from(!succeeded);
        }
    }
    let settle_s = settle_ns(&owed.timing) as f64 / 1e9;
    let violations = unavailable(history, |number, _| {
        let via = operations.get(number).filter(|op| is_owed(op))?.via.as_ref()?;
        Some(format!("{via} and all else it needed was in order from {settle_s:.1} s before to its deadline"))
    });
    (seen, violations)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::fault::{FaultEvent, FaultKind, Phase, Plan, PlannedFault, Settings};

    const S: u64 = 1_000_000_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    fn is_owed(profile: &str, kind: FaultKind, targets: &[&str], via: &str, at_s: u64) -> bool {
        let nodes = names(&["n1", "n2", "n3", "n4", "n5"]);
        let era = |from_s: u64, until_s: u64, members: &[&str], owners: &[&str]| Era {
            span: Span { from_ns: from_s * S, until_ns: until_s * S },
            members: names(members),
            owners: vec![names(owners)],
        };
        let eras = [
            era(0, 60, &["n1", "n2", "n3", "n4", "n5"], &["n1", "n2", "n3"]),
            era(50, 100, &["n1", "n2", "n3", "n5"], &["n2", "n3", "n5"]),
        ];
        let settings = Settings { add: Some(Duration::from_secs(50)), ..Settings::default() };
        let plan = Plan {
            faults: vec![PlannedFault {
                fault: 0,
                kind,
                targets: names(targets),
                joining: Vec::new(),
                from_ms: 20_000,
                until_ms: 30_000,
                settings,
            }],
        };
        let event = |event, at_s: u64| FaultEvent {
            fault: 0,
            event,
            kind,
            targets: names(targets),
            at_ns: at_s * S,
            params: Default::default(),
        };
        let events = [event(Phase::Begin, 20), event(Phase::End, 30)];
        let timeline = Timeline::played(&plan, &events, &nodes, &names(&["c1", "c2"]));
        let mut put = Operation::invoked(1, Function::Put, "k1", at_s * S);
        put.via = Some(via.into());
        put.extra.insert(HOST_FIELD.into(), "c1".into());
        Owed {
            store: &StoreDefinition::profile(profile).unwrap(),
            timing: Timing::default(),
            timeline: &timeline,
            eras: &eras,
            partition_of: &|_| 0,
            deadline_ns: 4 * S,
        }
        .is_owed(&put)
    }

    #[test]
    fn what_is_owed_follows_from_the_faults_and_the_kind_of_store() {
        let partition = FaultKind::Partition;
        for (owed, profile, kind, targets, via, at_s) in [
            (true, "always-write", partition, &["n1"][..], "n1", 22),
            (true, "dynamo", partition, &["n1", "n2"], "n1", 22),
            (false, "dynamo", partition, &["n1"], "n1", 22),
            (true, "dynamo", partition, &["n1"], "n2", 22),
            (true, "quorum", partition, &["n1", "n4"], "n2", 22),
            (false, "quorum", partition, &["n1", "n4"], "n4", 22),
            (true, "quorum", partition, &["n1", "n2"], "n1", 22),
            (false, "always-write", partition, &["n2", "c2"], "n2", 17),
            (true, "always-write", partition, &["n1", "c1"], "n1", 17),
            (false, "always-write", FaultKind::Kill, &["n1"], "n1", 22),
            (true, "always-write", FaultKind::Kill, &["n1"], "n2", 22),
            (false, "always-write", FaultKind::SlowNode, &["n1"], "n1", 22),
            // Not yet, too soon after, and long after.
            (true, "dynamo", partition, &["n1"], "n1", 10),
            (false, "dynamo", partition, &["n1"], "n1", 31),
            (true, "dynamo", partition, &["n1"], "n1", 40),
            // Two of the old owners are reachable, then also of the new ones; n4 goes.
            (true, "quorum", FaultKind::Remove, &["n1"], "n2", 52),
            (true, "quorum", FaultKind::Remove, &["n2"], "n1", 70),
            (false, "quorum", FaultKind::Wipe, &["n3"], "n3", 28),
            (true, "always-write", FaultKind::Kill, &["n1"], "n4", 40),
            (false, "always-write", FaultKind::Kill, &["n1"], "n4", 52),
            (false, "dynamo", FaultKind::Remove, &["n1"], "n1", 70),
            // Beyond the skew bound a store of stamps refuses, also what comes after; others do not care.
            (true, "lww", FaultKind::ClockSkew, &["n1"], "n2", 10),
            (false, "lww", FaultKind::ClockSkew, &["n1"], "n2", 22),
            (false, "lww", FaultKind::ClockSkew, &["n1"], "n2", 45),
            (true, "quorum", FaultKind::ClockSkew, &["n1"], "n1", 22),
        ] {
            assert_eq!(
                is_owed(profile, kind, targets, via, at_s),
                owed,
                "{profile} {kind} {targets:?} {via} {at_s}"
            );
        }
    }
}
