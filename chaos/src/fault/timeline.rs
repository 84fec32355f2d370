//! When was what in order? Looks a plan up by time, for judging availability.

use super::{Effects, Plan};

/// A closed interval on the clock of the history, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First instant.
    pub from_ns: u64,
    /// Last instant.
    pub until_ns: u64,
}

impl Span {
    /// Whether the two have an instant in common.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.from_ns <= other.until_ns && other.from_ns <= self.until_ns
    }
}

/// The plan of a run by host and by link.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    faults: Vec<(Span, Effects)>,
}

impl Timeline {
    /// The timeline of `plan`, whose load began at `start_ns`. Faults are done and undone up to
    /// `slack_ns` late: the simulator's tick.
    #[must_use]
    pub fn new(plan: &Plan, nodes: &[String], clients: &[String], start_ns: u64, slack_ns: u64) -> Self {
        let at = |ms: u64| start_ns + ms * 1_000_000;
        let faults = plan
            .faults
            .iter()
            .map(|fault| {
                let until_ns =
                    if fault.kind.is_for_good() { u64::MAX } else { at(fault.until_ms) + slack_ns };
                let span = Span { from_ns: at(fault.from_ms), until_ns };
                (span, Effects::of(fault, nodes, clients))
            })
            .collect();
        Self { faults }
    }

    /// Whether `node` ran, on a disk of normal speed, all through `span`.
    #[must_use]
    pub fn is_up(&self, node: &str, span: Span) -> bool {
        self.active(span).all(|effects| {
            !effects.down.iter().any(|n| n == node) && !effects.slow_disks.iter().any(|(n, _)| n == node)
        })
    }

    /// Whether messages went both ways between two hosts, at normal speed, all through `span`.
    #[must_use]
    pub fn is_linked(&self, one: &str, other: &str, span: Span) -> bool {
        self.active(span).all(|effects| {
            !effects
                .links
                .iter()
                .any(|(from, to, _)| (from == one && to == other) || (from == other && to == one))
        })
    }

    fn active(&self, span: Span) -> impl Iterator<Item = &Effects> {
        self.faults.iter().filter(move |(during, _)| during.meets(span)).map(|(_, effects)| effects)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::{Direction, FaultKind, PlannedFault};

    #[test]
    fn a_link_is_in_order_outside_its_faults_only() {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let fault = |kind, from_ms, until_ms| PlannedFault {
            fault: 0,
            kind,
            targets: names(&["n1"]),
            joining: Vec::new(),
            from_ms,
            until_ms,
            add: Duration::from_millis(1),
            direction: Direction::In,
        };
        let plan = Plan { faults: vec![fault(FaultKind::OneWay, 10, 20), fault(FaultKind::Kill, 30, 40)] };
        let timeline = Timeline::new(&plan, &names(&["n1", "n2", "n3"]), &names(&["c1"]), 1_000_000, 0);
        let span = |from_ms: u64, until_ms: u64| Span {
            from_ns: from_ms * 1_000_000,
            until_ns: until_ms * 1_000_000,
        };
        assert!(timeline.is_linked("n1", "n2", span(1, 10)));
        assert!(!timeline.is_linked("n1", "n2", span(5, 11)));
        assert!(!timeline.is_linked("n2", "n1", span(21, 22)));
        assert!(timeline.is_linked("n2", "n3", span(0, 50)));
        assert!(timeline.is_linked("n1", "c1", span(0, 25)));
        assert!(timeline.is_up("n1", span(0, 30)) && !timeline.is_up("n1", span(35, 36)));
        assert!(timeline.is_up("n2", span(0, 100)));

        let plan = Plan { faults: vec![fault(FaultKind::Remove, 50, 50)] };
        let timeline = Timeline::new(&plan, &names(&["n1", "n2"]), &[], 1_000_000, 0);
        assert!(timeline.is_up("n1", span(0, 50)) && !timeline.is_up("n1", span(900, 901)));
    }
}
