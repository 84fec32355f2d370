//! How far a run can be trusted: whether its figures are about the store, or about the
//! generator, the machine, or a queue that only grows.
//!
//! The verdict is a pure function of figures that are published with it.

mod machine;
mod probe;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use machine::MachineInfo;
pub use probe::{LoadOnMachine, Probed, SystemProbe};

use crate::engine::PhaseReport;
use crate::plan::Pace;
use crate::recorder::Measure;

/// Lateness of the generator that never matters, in milliseconds.
const LATENESS_FINE_MS: f64 = 1.0;
/// Above that, the part of a percentile of the response that may be the generator's.
const LATENESS_SHARE_MAX: f64 = 0.1;
/// Share of offered operations that must be answered for the store to be keeping up.
const ACHIEVED_SHARE_MIN: f64 = 0.99;
/// Share of all cores that the generator may use before it may be what limits.
const OWN_CPU_SHARE_MAX: f64 = 0.9;
/// Processor time taken by other guests of the host, in percent.
const STEAL_PERCENT_MAX: f64 = 2.0;
/// Time that threads of the generator waited for a processor, in percent of the run.
const RUN_QUEUE_PERCENT_MAX: f64 = 10.0;
/// The part of the time they wanted one, from which on a late generator was late because it waited.
const RUN_QUEUE_SHARE_MAX: f64 = 0.1;
/// Waiting that explains no lateness, in percent of the run.
const RUN_QUEUE_PERCENT_FINE: f64 = 1.0;

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The figures are about the store.
    Valid,
    /// The generator could not keep its own schedule.
    GeneratorLimited,
    /// Something else on the machine got in the way.
    Disturbed,
    /// More was asked than the store could answer: the queue grows for as long as the run
    /// lasts, and percentiles say how long that was.
    OverCapacity,
}

impl Verdict {
    /// The name in files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::GeneratorLimited => "generator-limited",
            Self::Disturbed => "disturbed",
            Self::OverCapacity => "over-capacity",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the verdict is based on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Operations a second that were due; none in a closed loop.
    pub offered_per_s: Option<f64>,
    /// Operations a second that the store answered in time.
    pub achieved_per_s: f64,
    /// Slots never sent.
    pub dropped: u64,
    /// Slots waiting when the schedule ended.
    pub backlog_at_end: u64,
    /// Median lateness of the generator, in milliseconds; none in a closed loop.
    pub lateness_p50_ms: Option<f64>,
    /// 99th percentile of it.
    pub lateness_p99_ms: Option<f64>,
    /// 99th percentile of the wait for a connection.
    pub wait_p99_ms: Option<f64>,
    /// Median response latency of all operations.
    #[serde(default)]
    pub response_p50_ms: f64,
    /// 99th percentile of it.
    pub response_p99_ms: f64,
    /// Cores of the machine.
    pub cores: Option<usize>,
    /// Cores' worth of time the generator used.
    pub own_cpu_cores: Option<f64>,
    /// Percent of processor time taken by other guests.
    pub steal_percent: Option<f64>,
    /// Time that the generator's threads waited for a processor, in percent of the run.
    pub run_queue_percent: Option<f64>,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// The verdict.
    pub verdict: Verdict,
    /// Sentences with the figures that decided it, then whatever else was doubtful; empty when valid.
    pub reasons: Vec<String>,
    /// All figures.
    pub figures: Figures,
}

impl Figures {
    /// The figures of a measurement.
    #[must_use]
    pub fn of(report: &PhaseReport, pace: &Pace, cores: Option<usize>) -> Self {
        let quantile = |measure, q| {
            let merged = report.recorder.merged(|series| series.measure == measure);
            (!merged.is_empty()).then(|| merged.value_at_quantile(q) as f64 / 1e6)
        };
        let open = matches!(pace, Pace::Open { .. });
        Self {
            offered_per_s: open.then(|| per_second(report.offered, report.scheduled_ns)),
            achieved_per_s: per_second(report.in_schedule.answered, report.scheduled_ns),
            dropped: report.dropped,
            backlog_at_end: report.backlog_at_end,
            lateness_p50_ms: quantile(Measure::Lateness, 0.5),
            lateness_p99_ms: quantile(Measure::Lateness, 0.99),
            wait_p99_ms: quantile(Measure::Wait, 0.99),
            response_p50_ms: quantile(Measure::Response, 0.5).unwrap_or_default(),
            response_p99_ms: quantile(Measure::Response, 0.99).unwrap_or_default(),
            cores,
            own_cpu_cores: report.machine.map(|m| m.own_cpu_cores),
            steal_percent: report.machine.and_then(|m| m.steal_percent),
            run_queue_percent: report.machine.and_then(|m| m.run_queue_percent),
        }
    }

    /// The verdict on these figures. What else was doubtful is said too: a queue that grows does not make a
    /// machine quiet.
    #[must_use]
    pub fn judge(self) -> Trust {
        let (over, late, busy) = (self.over_capacity(), self.late(), self.busy());
        let stolen = self.stolen();
        let waited = if late.is_some() { self.waited_when_late() } else { self.waited() };
        let verdict = if over.is_some() {
            Verdict::OverCapacity
        } else if late.is_some() {
            // Late and kept from running is the machine's fault, unless it was its own threads that kept each
            // other from it; late without that is our own.
            let is_kept = stolen.is_some() || (waited.is_some() && busy.is_none());
            if is_kept { Verdict::Disturbed } else { Verdict::GeneratorLimited }
        } else if busy.is_some() {
            Verdict::GeneratorLimited
        } else if stolen.is_some() {
            Verdict::Disturbed
        } else {
            Verdict::Valid
        };
        let mut reasons = over.unwrap_or_default();
        if verdict != Verdict::Valid {
            reasons.extend([late, busy, stolen, waited].into_iter().flatten());
        }
        Trust { verdict, reasons, figures: self }
    }

    /// Whether other guests of the host had so much of the processor that a slow store may be their doing. That
    /// threads waited for a processor does not tell: a busy store on the same machine makes them wait.
    pub(crate) fn is_robbed(&self) -> bool {
        self.stolen().is_some()
    }

    /// The verdict on these figures of a load that has no schedule to miss and leaves the machine mostly
    /// idle: there it takes something else to make its threads wait for a processor.
    #[must_use]
    pub fn judge_light(self) -> Trust {
        let trust = self.judge();
        let disturbances: Vec<String> = self.stolen().into_iter().chain(self.waited()).collect();
        if trust.verdict == Verdict::Valid && !disturbances.is_empty() {
            return Trust { verdict: Verdict::Disturbed, reasons: disturbances, ..trust };
        }
        trust
    }

    fn over_capacity(&self) -> Option<Vec<String>> {
        let offered = self.offered_per_s?;
        let behind = self.achieved_per_s < offered * ACHIEVED_SHARE_MIN;
        // Slots that waited because the generator itself was late are not the store's doing.
        let queued = self.wait_p99_ms.unwrap_or_default() > 10.0 * self.lateness_p99_ms.unwrap_or_default();
        if !((behind || self.dropped > 0) && queued) {
            return None;
        }
        let mut reasons =
            vec![format!("{:.0} of {offered:.0} operations/s were answered", self.achieved_per_s)];
        if self.dropped > 0 {
            reasons.push(format!("{} slots were dropped because the backlog was full", self.dropped));
        }
        Some(reasons)
    }

    fn late(&self) -> Option<String> {
        let too_late = |late_ms: Option<f64>, response_ms: f64, place: &str| {
            let (late_ms, bound_ms) = (late_ms?, LATENESS_FINE_MS.max(LATENESS_SHARE_MAX * response_ms));
            (late_ms > bound_ms).then(|| {
                format!("the generator was {late_ms:.2} ms late at {place} (fine is up to {bound_ms:.2} ms)")
            })
        };
        // A few operations that took long excuse no lateness of all the others.
        too_late(self.lateness_p99_ms, self.response_p99_ms, "the 99th percentile")
            .or_else(|| too_late(self.lateness_p50_ms, self.response_p50_ms, "the median"))
    }

    fn busy(&self) -> Option<String> {
        let (used, cores) = (self.own_cpu_cores?, self.cores?);
        (used > OWN_CPU_SHARE_MAX * cores as f64)
            .then(|| format!("the generator used {used:.1} of {cores} cores"))
    }

    fn stolen(&self) -> Option<String> {
        let percent = self.steal_percent.filter(|p| *p > STEAL_PERCENT_MAX)?;
        Some(format!("{percent:.1} % of processor time went to other guests of the host"))
    }

    fn waited(&self) -> Option<String> {
        self.waited_above(RUN_QUEUE_PERCENT_MAX)
    }

    /// Waiting that may be why the generator was late: it takes little of a run to make one slot in a hundred
    /// late, so what counts is how often a thread that wanted to run could not.
    fn waited_when_late(&self) -> Option<String> {
        let wanted = 100.0 * self.own_cpu_cores.unwrap_or_default() + self.run_queue_percent?;
        self.waited_above((RUN_QUEUE_SHARE_MAX * wanted).clamp(RUN_QUEUE_PERCENT_FINE, RUN_QUEUE_PERCENT_MAX))
    }

    fn waited_above(&self, bound: f64) -> Option<String> {
        let percent = self.run_queue_percent.filter(|p| *p > bound)?;
        Some(format!("the generator's threads waited for a processor for {percent:.0} % of the run"))
    }
}

fn per_second(count: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { count as f64 / (ns as f64 / 1e9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Figures {
        Figures {
            offered_per_s: Some(2000.0),
            achieved_per_s: 1999.0,
            lateness_p50_ms: Some(0.01),
            lateness_p99_ms: Some(0.1),
            wait_p99_ms: Some(0.1),
            response_p50_ms: 1.0,
            response_p99_ms: 5.0,
            cores: Some(2),
            own_cpu_cores: Some(0.3),
            steal_percent: Some(0.0),
            run_queue_percent: Some(1.0),
            ..Figures::default()
        }
    }

    fn verdict(change: impl FnOnce(&mut Figures)) -> Verdict {
        let mut figures = quiet();
        change(&mut figures);
        let trust = figures.judge();
        assert_eq!(
            trust.reasons.is_empty(),
            trust.verdict == Verdict::Valid,
            "a doubt has reasons: {trust:?}"
        );
        trust.verdict
    }

    #[test]
    fn each_doubt_has_its_verdict() {
        assert_eq!(verdict(|_| {}), Verdict::Valid);
        assert_eq!(verdict(|f| f.lateness_p99_ms = Some(3.0)), Verdict::GeneratorLimited);
        assert_eq!(verdict(|f| f.own_cpu_cores = Some(1.9)), Verdict::GeneratorLimited);
        assert_eq!(verdict(|f| f.steal_percent = Some(9.0)), Verdict::Disturbed);
        let late_and_waiting = |f: &mut Figures| {
            f.lateness_p99_ms = Some(3.0);
            f.run_queue_percent = Some(40.0);
        };
        assert_eq!(verdict(late_and_waiting), Verdict::Disturbed);
        let swamped = |f: &mut Figures| {
            f.achieved_per_s = 900.0;
            f.wait_p99_ms = Some(4000.0);
            f.response_p99_ms = 4005.0;
        };
        assert_eq!(verdict(swamped), Verdict::OverCapacity);
    }

    fn reasons(change: impl FnOnce(&mut Figures)) -> (Verdict, String) {
        let mut figures = quiet();
        change(&mut figures);
        let trust = figures.judge();
        (trust.verdict, trust.reasons.join("; "))
    }

    #[test]
    fn a_disturbed_machine_is_said_also_when_the_queue_grows() {
        let (verdict, reasons) = reasons(|f| {
            f.achieved_per_s = 900.0;
            f.wait_p99_ms = Some(4000.0);
            f.steal_percent = Some(20.0);
            f.run_queue_percent = Some(60.0);
        });
        assert_eq!(verdict, Verdict::OverCapacity);
        for part in ["900 of 2000 operations/s", "20.0 % of processor time", "for a processor for 60 %"] {
            assert!(reasons.contains(part), "{reasons}");
        }
    }

    #[test]
    fn threads_that_wait_for_each_other_are_the_generators_doing() {
        let late = |cpu: f64, steal: f64| {
            reasons(|f| {
                f.lateness_p99_ms = Some(30.0);
                f.run_queue_percent = Some(250.0);
                f.own_cpu_cores = Some(cpu);
                f.steal_percent = Some(steal);
            })
        };
        let (verdict, said) = late(1.95, 0.0);
        assert_eq!(verdict, Verdict::GeneratorLimited, "eight threads on two cores");
        assert!(said.contains("used 1.9") && said.contains("250 %"), "{said}");
        assert_eq!(late(0.9, 0.0).0, Verdict::Disturbed, "something else had the other core");
        assert_eq!(late(1.95, 30.0).0, Verdict::Disturbed, "the host had it");
    }

    #[test]
    fn a_generator_that_often_had_to_wait_was_late_because_of_that() {
        let late = |run_queue: f64| {
            reasons(|f| {
                f.lateness_p99_ms = Some(3.4);
                f.own_cpu_cores = Some(0.2);
                f.run_queue_percent = Some(run_queue);
            })
        };
        assert_eq!(late(9.6).0, Verdict::Disturbed, "it waited a third of the time it wanted to run");
        assert_eq!(late(1.5), (Verdict::GeneratorLimited, late(0.0).1), "it hardly waited");
    }

    #[test]
    fn a_few_slow_operations_excuse_no_lateness_of_the_others() {
        let (verdict, said) = reasons(|f| {
            f.response_p99_ms = 5000.0;
            f.lateness_p99_ms = Some(400.0);
            f.lateness_p50_ms = Some(300.0);
            f.response_p50_ms = 302.0;
        });
        assert_eq!(verdict, Verdict::GeneratorLimited);
        assert!(said.contains("300.00 ms late at the median"), "{said}");
    }

    #[test]
    fn lateness_is_fine_while_it_is_a_small_part_of_the_response() {
        let slow_store = |f: &mut Figures| {
            f.lateness_p99_ms = Some(3.0);
            f.response_p99_ms = 80.0;
        };
        assert_eq!(verdict(slow_store), Verdict::Valid);
    }

    #[test]
    fn a_closed_loop_has_no_schedule_to_miss() {
        let closed = |f: &mut Figures| {
            f.offered_per_s = None;
            f.lateness_p50_ms = None;
            f.lateness_p99_ms = None;
            f.wait_p99_ms = None;
        };
        assert_eq!(verdict(closed), Verdict::Valid);
        let mut figures = quiet();
        closed(&mut figures);
        assert_eq!(figures.judge_light().verdict, Verdict::Valid);
        figures.run_queue_percent = Some(40.0);
        assert_eq!(
            figures.judge().verdict,
            Verdict::Valid,
            "as it must be where it loads the machine itself"
        );
        let trust = figures.judge_light();
        assert_eq!((trust.verdict, trust.reasons.len()), (Verdict::Disturbed, 1));
    }
}
