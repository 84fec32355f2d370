//! When was what in order? Looks up by time what was played, for judging availability.

use std::time::Duration;

use super::{ClockEffect, Effects, FaultEvent, Phase, Plan};

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

    /// When a fault was on, by `events`, from its first beginning to its last end: for good if one of its
    /// strikes did not end, nothing if none began.
    #[must_use]
    pub fn played(fault: usize, events: &[FaultEvent]) -> Option<Self> {
        Self::strikes(fault, events).into_iter().reduce(|all, next| Self {
            from_ns: all.from_ns.min(next.from_ns),
            until_ns: all.until_ns.max(next.until_ns),
        })
    }

    /// The same for each time that it was on.
    fn strikes(fault: usize, events: &[FaultEvent]) -> Vec<Self> {
        let of_fault = || events.iter().filter(move |event| event.fault == fault);
        let begins = of_fault().filter(|event| event.event == Phase::Begin);
        let strike = |begin: &FaultEvent| {
            let end = of_fault().find(|e| e.event == Phase::End && e.strike() == begin.strike());
            Self { from_ns: begin.at_ns, until_ns: end.map_or(u64::MAX, |end| end.at_ns) }
        };
        begins.map(strike).collect()
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
        let faults = plan.faults.iter().flat_map(|fault| {
            Span::strikes(fault.fault, events).into_iter().enumerate().map(move |(strike, span)| {
                let until_ns = if fault.kind.is_for_good() { u64::MAX } else { span.until_ns };
                (Span { until_ns, ..span }, Effects::of(fault, strike, nodes, clients))
            })
        });
        Self { faults: faults.collect() }
    }

    /// Whether `node` ran, and nothing was wrong with its disk, all through `span`. Its clock may be wrong.
    #[must_use]
    pub fn is_up(&self, node: &str, span: Span) -> bool {
        self.active(span).all(|effects| {
            let mut down = effects.down.iter().chain(&effects.restarting);
            !down.any(|n| n == node) && !effects.nodes.iter().any(|(n, _)| n == node)
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

    /// How far apart the clocks of two nodes can have been at most at any time up to `until_ns`: what was
    /// stamped by a wrong clock stays so when the clock is right again.
    #[must_use]
    pub fn clocks_apart(&self, until_ns: u64) -> Duration {
        let mut apart_ns = 0_u64;
        for (during, effects) in self.faults.iter().filter(|(during, _)| during.from_ns <= until_ns) {
            let wrong_ns = effects.clocks.iter().map(|(_, clock)| match clock {
                ClockEffect::Offset(offset_ns) => offset_ns.unsigned_abs(),
                ClockEffect::Drift(ppm) => {
                    let lasted_ns = during.until_ns.min(until_ns).saturating_sub(during.from_ns);
                    (lasted_ns / 1_000_000).saturating_mul(ppm.unsigned_abs())
                }
            });
            // Whoever is right is as far from one as another that is wrong the other way adds.
            apart_ns = apart_ns.saturating_add(wrong_ns.max().unwrap_or(0));
        }
        Duration::from_nanos(apart_ns)
    }

    fn active(&self, span: Span) -> impl Iterator<Item = &Effects> {
        self.faults.iter().filter(move |(during, _)| during.meets(span)).map(|(_, effects)| effects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Direction, FaultKind, PlannedFault, Settings};
    use std::collections::BTreeMap;

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
            settings: Settings { direction: Some(Direction::In), ..Settings::default() },
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
