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
use crate::target::Outcome;

/// Lateness of the generator that never matters, in milliseconds.
const LATENESS_FINE_MS: f64 = 1.0;
/// Above that, the part of the 99th percentile response that may be the generator's.
const LATENESS_SHARE_MAX: f64 = 0.1;
/// Share of offered operations that must be answered for the store to be keeping up.
const ACHIEVED_SHARE_MIN: f64 = 0.99;
/// Share of all cores that the generator may use before it may be what limits.
const OWN_CPU_SHARE_MAX: f64 = 0.9;
/// Processor time taken by other guests of the host, in percent.
const STEAL_PERCENT_MAX: f64 = 2.0;
/// Time that threads of the generator waited for a processor, in percent of the run.
const RUN_QUEUE_PERCENT_MAX: f64 = 10.0;

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
    /// Operations a second that got an answer in time.
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
    /// 99th percentile response latency of all operations.
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
    /// Sentences with the figures that decided it; empty when valid.
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
        let timeouts: u64 = crate::workload::OpKind::ALL.iter().map(|op| report.recorder.timeouts(*op)).sum();
        let answered: u64 =
            Outcome::ALL.iter().map(|outcome| report.recorder.count_all(*outcome)).sum::<u64>() - timeouts;
        Self {
            offered_per_s: open.then(|| per_second(report.offered, report.scheduled_ns)),
            achieved_per_s: per_second(answered, report.elapsed_ns),
            dropped: report.dropped,
            backlog_at_end: report.backlog_at_end,
            lateness_p50_ms: quantile(Measure::Lateness, 0.5),
            lateness_p99_ms: quantile(Measure::Lateness, 0.99),
            wait_p99_ms: quantile(Measure::Wait, 0.99),
            response_p99_ms: quantile(Measure::Response, 0.99).unwrap_or_default(),
            cores,
            own_cpu_cores: report.machine.map(|m| m.own_cpu_cores),
            steal_percent: report.machine.and_then(|m| m.steal_percent),
            run_queue_percent: report.machine.and_then(|m| m.run_queue_percent),
        }
    }

    /// The verdict on these figures.
    #[must_use]
    pub fn judge(self) -> Trust {
        let (verdict, reasons) = if let Some(reasons) = self.over_capacity() {
            (Verdict::OverCapacity, reasons)
        } else if let Some(late) = self.late() {
            // Late and kept from running is the machine's fault; late without that is our own.
            let disturbances = self.disturbances();
            if disturbances.is_empty() {
                (Verdict::GeneratorLimited, vec![late])
            } else {
                (Verdict::Disturbed, std::iter::once(late).chain(disturbances).collect())
            }
        } else if let Some(busy) = self.busy() {
            (Verdict::GeneratorLimited, vec![busy])
        } else if let Some(steal) = self.stolen() {
            (Verdict::Disturbed, vec![steal])
        } else {
            (Verdict::Valid, Vec::new())
        };
        Trust { verdict, reasons, figures: self }
    }

    /// The verdict on these figures of a load that has no schedule to miss and leaves the machine mostly
    /// idle: there it takes something else to make its threads wait for a processor.
    #[must_use]
    pub fn judge_light(self) -> Trust {
        let trust = self.judge();
        let disturbances = self.disturbances();
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
        let p99_ms = self.lateness_p99_ms?;
        let bound_ms = LATENESS_FINE_MS.max(LATENESS_SHARE_MAX * self.response_p99_ms);
        (p99_ms > bound_ms).then(|| {
            format!("the generator was {p99_ms:.2} ms late at the 99th percentile (fine is up to {bound_ms:.2} ms)")
        })
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

    fn disturbances(&self) -> Vec<String> {
        let waited = self.run_queue_percent.filter(|p| *p > RUN_QUEUE_PERCENT_MAX);
        let waited = waited.map(|p| format!("its threads waited for a processor for {p:.0} % of the run"));
        self.stolen().into_iter().chain(waited).collect()
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
