//! When was what in order? Looks up by time what was played, for judging availability.

use super::{Effects, FaultEvent, Phase, Plan};

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

    /// When a fault was on, by `events`: for good if it did not end, nothing if it did not begin.
    #[must_use]
    pub fn played(fault: usize, events: &[FaultEvent]) -> Option<Self> {
        let at = |phase| events.iter().find(|e| e.fault == fault && e.event == phase).map(|e| e.at_ns);
        Some(Self { from_ns: at(Phase::Begin)?, until_ns: at(Phase::End).unwrap_or(u64::MAX) })
    }
}

/// What was done in a run by host and by link.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    faults: Vec<(Span, Effects)>,
}

impl Timeline {
    /// The timeline of the faults of `plan` as `events` say that they were played: how long one lasted
    /// is known only afterwards, since a process takes its time to start. One that never began does not
    /// count, one that never ended lasts for good.
    #[must_use]
    pub fn played(plan: &Plan, events: &[FaultEvent], nodes: &[String], clients: &[String]) -> Self {
        let faults = plan.faults.iter().filter_map(|fault| {
            let span = Span::played(fault.fault, events)?;
            let until_ns = if fault.kind.is_for_good() { u64::MAX } else { span.until_ns };
            Some((Span { until_ns, ..span }, Effects::of(fault, nodes, clients)))
        });
        Self { faults: faults.collect() }
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
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::fault::{Direction, FaultKind, PlannedFault};

    #[test]
    fn a_link_is_in_order_outside_its_faults_only() {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let fault = |kind, number| PlannedFault {
            fault: number,
            kind,
            targets: names(&["n1"]),
            joining: Vec::new(),
            from_ms: 1,
            until_ms: 2,
            add: Duration::from_millis(1),
            direction: Direction::In,
        };
        let at = |fault: usize, event, at_ms: u64| FaultEvent {
            fault,
            event,
            kind: FaultKind::Kill,
            targets: Vec::new(),
            at_ns: at_ms * 1_000_000,
            params: BTreeMap::new(),
        };
        let plan = Plan { faults: vec![fault(FaultKind::OneWay, 0), fault(FaultKind::Kill, 1)] };
        // Planned for other times: what counts is when it was done.
        let events = [at(0, Phase::Begin, 10), at(0, Phase::End, 20), at(1, Phase::Begin, 30)];
        let killed_for_good = Timeline::played(&plan, &events, &names(&["n1", "n2", "n3"]), &names(&["c1"]));
        let events = [&events[..], &[at(1, Phase::End, 40)]].concat();
        let timeline = Timeline::played(&plan, &events, &names(&["n1", "n2", "n3"]), &names(&["c1"]));
        let span = |from_ms: u64, until_ms: u64| Span {
            from_ns: from_ms * 1_000_000,
            until_ns: until_ms * 1_000_000,
        };
        assert!(timeline.is_linked("n1", "n2", span(1, 9)));
        assert!(!timeline.is_linked("n1", "n2", span(5, 11)));
        assert!(!timeline.is_linked("n2", "n1", span(19, 22)));
        assert!(timeline.is_linked("n2", "n3", span(0, 50)));
        assert!(timeline.is_linked("n1", "c1", span(0, 25)));
        assert!(timeline.is_up("n1", span(0, 29)) && !timeline.is_up("n1", span(39, 41)));
        assert!(timeline.is_up("n1", span(41, 100)) && !killed_for_good.is_up("n1", span(41, 100)));
        assert!(timeline.is_up("n2", span(0, 100)));

        let plan = Plan { faults: vec![fault(FaultKind::Remove, 0), fault(FaultKind::Kill, 1)] };
        // That the change is over does not bring the node back; and the kill never came.
        let events = [at(0, Phase::Begin, 50), at(0, Phase::End, 60)];
        let timeline = Timeline::played(&plan, &events, &names(&["n1", "n2"]), &[]);
        assert!(timeline.is_up("n1", span(0, 49)) && !timeline.is_up("n1", span(900, 901)));
    }
}
