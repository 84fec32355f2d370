//! What a load was like before, while and after something was done to the store, from the seconds
//! of one run: figures that are compared with each other and not with another day's.
//!
//! Not here: doing anything to the store, and judging.

use serde::{Deserialize, Serialize};

use crate::engine::Interval;
use crate::observe::Phase;
use crate::recorder::{Measure, Recorder};
use crate::target::Outcome;

const NS_PER_MS: f64 = 1e6;

/// A stretch of the measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What goes on in it.
    pub name: String,
    /// Where it begins, in nanoseconds since the measurement began; it ends where the next one begins.
    pub from_ns: u64,
}

/// A stretch of the measurement in figures. Latencies are of responses, from the intended slot, of
/// all operations however they ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowResults {
    /// What went on in it.
    pub name: String,
    /// Where it begins, from the beginning of the measurement. Second by second: one that belongs to
    /// two windows counts for the later.
    pub from_s: f64,
    /// Its length.
    pub seconds: f64,
    /// Operations that happened.
    pub ok: u64,
    /// Operations that did not, or may not have.
    pub not_ok: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99 % are at most this.
    pub p99_ms: f64,
    /// That of the second in which it was greatest.
    pub worst_second_p99_ms: f64,
    /// `p99_ms` over that of the first window.
    pub p99_ratio: f64,
    /// `worst_second_p99_ms` over `p99_ms` of the first window.
    pub worst_second_ratio: f64,
    /// How long after its beginning the last second ended whose 99th percentile exceeded that of
    /// every second of the first window; 0 if there was none.
    pub normal_after_s: f64,
}

/// The figures of all `windows`, in order. Those without a second of their own are left out.
#[must_use]
pub fn by_window(intervals: &[Interval], windows: &[Window]) -> Vec<WindowResults> {
    let mut seconds: Vec<Vec<&Interval>> = windows.iter().map(|_| Vec::new()).collect();
    for interval in intervals.iter().filter(|interval| interval.phase == Phase::Measure) {
        let end_ns = interval.start_ns + interval.duration_ns;
        if let Some(at) = windows.iter().rposition(|window| window.from_ns < end_ns) {
            seconds[at].push(interval);
        }
    }
    let mut calm: Option<(f64, f64)> = None;
    let mut results = Vec::new();
    for (window, seconds) in windows.iter().zip(&seconds) {
        let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else { continue };
        let mut all = Recorder::default();
        seconds.iter().for_each(|second| all.merge(&second.recorder));
        let p99_ms = response_ms(&all, 0.99);
        let worst = seconds.iter().map(|second| response_ms(&second.recorder, 0.99)).fold(0.0, f64::max);
        let (calm_p99_ms, calm_worst_ms) = *calm.get_or_insert((p99_ms, worst));
        let unusual = seconds.iter().rfind(|second| response_ms(&second.recorder, 0.99) > calm_worst_ms);
        let after_s = |second: &&Interval| {
            let end_ns = second.start_ns + second.duration_ns;
            end_ns.saturating_sub(window.from_ns) as f64 / 1e9
        };
        results.push(WindowResults {
            name: window.name.clone(),
            from_s: window.from_ns as f64 / 1e9,
            seconds: (last.start_ns + last.duration_ns - first.start_ns) as f64 / 1e9,
            ok: all.count_all(Outcome::Ok),
            not_ok: all.finished() - all.count_all(Outcome::Ok),
            p50_ms: response_ms(&all, 0.5),
            p99_ms,
            worst_second_p99_ms: worst,
            p99_ratio: ratio(p99_ms, calm_p99_ms),
            worst_second_ratio: ratio(worst, calm_p99_ms),
            normal_after_s: unusual.map_or(0.0, after_s),
        });
    }
    results
}

fn response_ms(recorder: &Recorder, quantile: f64) -> f64 {
    let responses = recorder.merged(|series| series.measure == Measure::Response);
    if responses.is_empty() { 0.0 } else { responses.value_at_quantile(quantile) as f64 / NS_PER_MS }
}

fn ratio(value: f64, reference: f64) -> f64 {
    if reference > 0.0 { value / reference } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Sample;
    use crate::workload::OpKind;

    const SECOND_NS: u64 = 1_000_000_000;

    fn second(number: u64, phase: Phase, latency_ms: u64, outcome: Outcome) -> Interval {
        let mut recorder = Recorder::default();
        for _ in 0..100 {
            recorder.record(&Sample {
                op: OpKind::Get,
                outcome,
                timed_out: false,
                response_ns: latency_ms * 1_000_000,
                service_ns: 1,
                wait_ns: None,
                lateness_ns: None,
            });
        }
        Interval {
            phase,
            start_ns: number * SECOND_NS,
            start_wall_ns: 0,
            duration_ns: SECOND_NS,
            offered: 100,
            sent: 100,
            dropped: 0,
            backlog: 0,
            in_flight: 0,
            recorder,
            machine: None,
        }
    }

    #[test]
    fn a_second_counts_for_the_later_of_two_windows_and_all_are_compared_with_the_first() {
        let ok = Outcome::Ok;
        let intervals = [
            second(0, Phase::Warmup, 900, ok),
            second(0, Phase::Measure, 2, ok),
            second(1, Phase::Measure, 4, ok),
            second(2, Phase::Measure, 12, Outcome::Fail),
            second(3, Phase::Measure, 3, ok),
            second(4, Phase::Measure, 1, ok),
        ];
        let window = |name: &str, from_ns| Window { name: name.into(), from_ns };
        let windows =
            [window("calm", 0), window("kill", 2 * SECOND_NS + 5), window("none", 4 * SECOND_NS + 1)];
        let results = by_window(&intervals, &windows);
        let close = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.01;
        let names: Vec<_> = results.iter().map(|r| (r.name.as_str(), r.ok, r.not_ok)).collect();
        assert_eq!(names, [("calm", 200, 0), ("kill", 100, 100), ("none", 100, 0)]);
        assert!(close(results[0].p99_ms, 4.0) && close(results[1].p99_ms, 12.0), "{results:?}");
        assert!(close(results[1].worst_second_ratio, 3.0) && close(results[2].p99_ratio, 0.25));
        assert!(close(results[1].normal_after_s, 1.0), "3 ms is within what is usual: {results:?}");
        assert!(results[2].normal_after_s.abs() < 1e-9);
    }

    #[test]
    fn what_was_not_reached_is_left_out() {
        let windows = [
            Window { name: "calm".into(), from_ns: 0 },
            Window { name: "late".into(), from_ns: 9 * SECOND_NS },
        ];
        assert_eq!(by_window(&[second(0, Phase::Measure, 1, Outcome::Ok)], &windows).len(), 1);
        assert!(by_window(&[], &windows).is_empty());
    }
}
