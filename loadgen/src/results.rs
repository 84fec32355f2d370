//! A phase's figures as `run.json` holds them: counts, rates, percentiles in milliseconds.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::engine::PhaseReport;
use crate::recorder::{Class, Measure};
use crate::target::Outcome;
use crate::workload::OpKind;

const NS_PER_MS: f64 = 1e6;

/// A phase in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// From the beginning to the last reply.
    pub elapsed_s: f64,
    /// How much of the schedule passed.
    pub scheduled_s: f64,
    /// Slots that came due; in a closed loop, operations sent.
    pub offered: u64,
    /// Operations sent.
    pub sent: u64,
    /// Slots never sent. `offered` is `sent` plus `dropped`.
    pub dropped: u64,
    /// Slots waiting when the schedule ended.
    pub backlog_at_end: u64,
    /// `offered` over `scheduled_s`.
    pub offered_per_s: f64,
    /// Operations that the store answered in time, and before the schedule was over, over `scheduled_s`.
    /// A connection that was refused or lost is no answer.
    pub achieved_per_s: f64,
    /// Those of them that ended `ok`, over `scheduled_s`.
    pub ok_per_s: f64,
    /// By kind of operation; kinds that did not occur are left out.
    pub ops: BTreeMap<String, OpResults>,
    /// How late the generator itself was; none in a closed loop.
    pub lateness: Option<Percentiles>,
    /// The first error, as an example.
    pub first_error: Option<String>,
}

/// One kind of operation in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpResults {
    /// Operations that happened.
    pub ok: u64,
    /// Operations that certainly did not; also gets without an answer.
    pub fail: u64,
    /// Operations that may have.
    pub info: u64,
    /// Those of `fail` and `info` that were given up at their deadline.
    pub timeouts: u64,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// Latency by how operations ended (`all`, `ok`, `fail`, `info`, `timeout`), then by what
    /// was measured (`response`, `service`, `wait`).
    pub latency: BTreeMap<String, BTreeMap<String, Percentiles>>,
}

/// A distribution of times in milliseconds, to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// Smallest.
    pub min_ms: f64,
    /// Mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 90 % are at most this.
    pub p90_ms: f64,
    /// 95 % are at most this.
    pub p95_ms: f64,
    /// 99 % are at most this.
    pub p99_ms: f64,
    /// 99.9 % are at most this.
    pub p999_ms: f64,
    /// 99.99 % are at most this.
    pub p9999_ms: f64,
    /// Largest.
    pub max_ms: f64,
    /// How many values are of operations that were given up: they would have taken longer.
    pub censored: u64,
    /// If any are: from this percentile on, figures are lower bounds (read "at least").
    pub at_least_from_percentile: Option<f64>,
}

impl Percentiles {
    /// The distribution in `all`, of which `censored` were cut short; none if it is empty.
    #[must_use]
    pub fn of(all: &Histogram<u64>, censored: Option<&Histogram<u64>>) -> Option<Self> {
        if all.is_empty() {
            return None;
        }
        let ms = |q| all.value_at_quantile(q) as f64 / NS_PER_MS;
        let censored = censored.filter(|c| !c.is_empty());
        Some(Self {
            count: all.len(),
            min_ms: all.min() as f64 / NS_PER_MS,
            mean_ms: all.mean() / NS_PER_MS,
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            p9999_ms: ms(0.9999),
            max_ms: all.max() as f64 / NS_PER_MS,
            censored: censored.map_or(0, Histogram::len),
            at_least_from_percentile: censored.map(|c| match c.min().checked_sub(1) {
                // What is below the smallest censored value is known exactly.
                Some(below) => all.percentile_below(below),
                None => 0.0,
            }),
        })
    }
}

impl Results {
    /// The figures of a phase.
    #[must_use]
    pub fn of(report: &PhaseReport) -> Self {
        let recorder = &report.recorder;
        let per_second = |count: u64, ns: u64| if ns == 0 { 0.0 } else { count as f64 / (ns as f64 / 1e9) };
        let lateness = recorder.merged(|series| series.measure == Measure::Lateness);
        Self {
            elapsed_s: report.elapsed_ns as f64 / 1e9,
            scheduled_s: report.scheduled_ns as f64 / 1e9,
            offered: report.offered,
            sent: report.sent,
            dropped: report.dropped,
            backlog_at_end: report.backlog_at_end,
            offered_per_s: per_second(report.offered, report.scheduled_ns),
            achieved_per_s: per_second(report.in_schedule.answered, report.scheduled_ns),
            ok_per_s: per_second(report.in_schedule.ok, report.scheduled_ns),
            ops: OpKind::ALL
                .into_iter()
                .filter_map(|op| Some((op.name().to_owned(), OpResults::of(report, op)?)))
                .collect(),
            lateness: Percentiles::of(&lateness, None),
            first_error: report.first_error.clone(),
        }
    }
}

impl OpResults {
    /// The figures of one kind of operation; none if there was none.
    fn of(report: &PhaseReport, op: OpKind) -> Option<Self> {
        let recorder = &report.recorder;
        let [ok, fail, info] = Outcome::ALL.map(|outcome| recorder.count(op, outcome));
        if ok + fail + info == 0 {
            return None;
        }
        let mut latency: BTreeMap<String, BTreeMap<String, Percentiles>> = BTreeMap::new();
        let classes = [Class::Ok, Class::Fail, Class::Info, Class::Timeout].map(Some);
        for class in classes.into_iter().chain([None]) {
            for measure in [Measure::Response, Measure::Service, Measure::Wait] {
                let of_op = |wanted: Option<Class>| {
                    recorder.merged(|s| {
                        s.op == op && s.measure == measure && wanted.is_none_or(|class| s.class == class)
                    })
                };
                // Only the end of an operation is cut short by its deadline, not its wait.
                let censored = matches!(class, None | Some(Class::Timeout)) && measure != Measure::Wait;
                let cut_short = censored.then(|| of_op(Some(Class::Timeout)));
                if let Some(percentiles) = Percentiles::of(&of_op(class), cut_short.as_ref()) {
                    let name = class.map_or("all", Class::name).to_owned();
                    latency.entry(name).or_default().insert(measure.name().to_owned(), percentiles);
                }
            }
        }
        let errors = recorder.errors(op).map(|(kind, count)| (kind.to_owned(), count)).collect();
        Some(Self { ok, fail, info, timeouts: recorder.timeouts(op), errors, latency })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn histogram(values_ms: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        values_ms.into_iter().for_each(|ms| histogram.record(ms * 1_000_000).unwrap());
        histogram
    }

    #[test]
    fn percentiles_are_in_milliseconds() {
        let p = Percentiles::of(&histogram(1..=1000), None).unwrap();
        for (figure, expected) in
            [(p.min_ms, 1.0), (p.p50_ms, 500.0), (p.p99_ms, 990.0), (p.max_ms, 1000.0), (p.mean_ms, 500.5)]
        {
            assert!((figure / expected - 1.0).abs() < 0.002, "{figure} is not {expected}");
        }
        assert_eq!((p.count, p.censored, p.at_least_from_percentile), (1000, 0, None));
        assert_eq!(Percentiles::of(&histogram([]), None), None);
    }

    #[test]
    fn percentiles_beyond_the_first_censored_value_are_lower_bounds() {
        // 95 answers within 95 ms, 5 given up at 5 s.
        let all = histogram((1..=95).chain([5000; 5]));
        let p = Percentiles::of(&all, Some(&histogram([5000; 5]))).unwrap();
        assert_eq!(p.censored, 5);
        assert_eq!(p.at_least_from_percentile, Some(95.0));
    }
}
