//! What a load was like before, while and after something was done to the store, from the seconds
//! of one run: figures that are compared with each other and not with another day's.
//!
//! Seconds are put together as they arrive: a window keeps one histogram, and of each of its seconds
//! three numbers, however long the run is.
//!
//! Not here: doing anything to the store, and judging.

use serde::{Deserialize, Serialize};

use crate::engine::Interval;
use crate::observe::Phase;
use crate::recorder::{Measure, Recorder};
use crate::target::Outcome;

const NS_PER_MS: f64 = 1e6;

/// So many usual seconds in a row mean that a window is back to normal; one may be luck.
pub const NORMAL_IN_A_ROW: usize = 2;

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
    /// How long after its beginning the first [`NORMAL_IN_A_ROW`] seconds in a row began whose 99th
    /// percentiles were all within the worst second of the first window; to its end if there were
    /// none. A single second later on counts for `worst_second_ratio` alone: of seconds that are all
    /// alike, one in eleven exceeds the worst of ten others by chance.
    pub normal_after_s: f64,
}

/// Gathers the seconds of a measurement by what was done meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    stretches: Vec<Stretch>,
    /// The last second. It waits for the next, since a window that began in it may be told of later.
    last: Option<Interval>,
}

#[derive(Clone, Debug)]
struct Stretch {
    window: Window,
    all: Recorder,
    seconds: Vec<Second>,
}

/// What is kept of a second.
#[derive(Clone, Copy, Debug)]
struct Second {
    start_ns: u64,
    end_ns: u64,
    p99_ms: f64,
}

impl Windows {
    /// A window begins, after all those before.
    pub fn begin(&mut self, window: Window) {
        self.stretches.push(Stretch { window, all: Recorder::default(), seconds: Vec::new() });
    }

    /// A second has passed. Without a window nothing of it is kept.
    pub fn add(&mut self, interval: &Interval) {
        if interval.phase == Phase::Measure && !self.stretches.is_empty() {
            let before = self.last.replace(interval.clone());
            before.iter().for_each(|before| self.file(before));
        }
    }

    fn file(&mut self, interval: &Interval) {
        let end_ns = interval.start_ns + interval.duration_ns;
        if let Some(stretch) = self.stretches.iter_mut().rfind(|stretch| stretch.window.from_ns < end_ns) {
            stretch.all.merge(&interval.recorder);
            let p99_ms = response_ms(&interval.recorder, 0.99);
            stretch.seconds.push(Second { start_ns: interval.start_ns, end_ns, p99_ms });
        }
    }

    /// The figures of all windows, in order. Those without a second of their own are left out.
    #[must_use]
    pub fn results(mut self) -> Vec<WindowResults> {
        if let Some(last) = self.last.take() {
            self.file(&last);
        }
        let mut calm: Option<(f64, f64)> = None;
        let mut results = Vec::new();
        for Stretch { window, all, seconds } in &self.stretches {
            let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else { continue };
            let p99_ms = response_ms(all, 0.99);
            let worst = seconds.iter().map(|second| second.p99_ms).fold(0.0, f64::max);
            let (calm_p99_ms, calm_worst_ms) = *calm.get_or_insert((p99_ms, worst));
            let normal_ns = normal_from(seconds, calm_worst_ms).unwrap_or(last.end_ns);
            results.push(WindowResults {
                name: window.name.clone(),
                from_s: window.from_ns as f64 / 1e9,
                seconds: (last.end_ns - first.start_ns) as f64 / 1e9,
                ok: all.count_all(Outcome::Ok),
                not_ok: all.finished() - all.count_all(Outcome::Ok),
                p50_ms: response_ms(all, 0.5),
                p99_ms,
                worst_second_p99_ms: worst,
                p99_ratio: ratio(p99_ms, calm_p99_ms),
                worst_second_ratio: ratio(worst, calm_p99_ms),
                normal_after_s: normal_ns.saturating_sub(window.from_ns) as f64 / 1e9,
            });
        }
        results
    }
}

/// When the first usual seconds in a row begin: fewer than [`NORMAL_IN_A_ROW`] where the window ends.
fn normal_from(seconds: &[Second], usual_ms: f64) -> Option<u64> {
    let usual = |row: &[Second]| row.iter().all(|second| second.p99_ms <= usual_ms);
    let row = |from: usize| &seconds[from..seconds.len().min(from + NORMAL_IN_A_ROW)];
    (0..seconds.len()).find(|&from| usual(row(from))).map(|from| seconds[from].start_ns)
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

    fn window(name: &str, from_ns: u64) -> Window {
        Window { name: name.into(), from_ns }
    }

    #[test]
    fn a_second_counts_for_the_later_of_two_windows_and_all_are_compared_with_the_first() {
        let ok = Outcome::Ok;
        let mut windows = Windows::default();
        windows.begin(window("calm", 0));
        windows.add(&second(0, Phase::Warmup, 900, ok));
        windows.add(&second(0, Phase::Measure, 2, ok));
        windows.add(&second(1, Phase::Measure, 4, ok));
        windows.add(&second(2, Phase::Measure, 12, Outcome::Fail));
        // Told of only after the second in which it began.
        windows.begin(window("kill", 2 * SECOND_NS + 5));
        windows.add(&second(3, Phase::Measure, 3, ok));
        windows.begin(window("none", 4 * SECOND_NS + 1));
        windows.add(&second(4, Phase::Measure, 1, ok));
        let results = windows.results();
        let close = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.01;
        let names: Vec<_> = results.iter().map(|r| (r.name.as_str(), r.ok, r.not_ok)).collect();
        assert_eq!(names, [("calm", 200, 0), ("kill", 100, 100), ("none", 100, 0)]);
        assert!(close(results[0].p99_ms, 4.0) && close(results[1].p99_ms, 12.0), "{results:?}");
        assert!(close(results[1].worst_second_ratio, 3.0) && close(results[2].p99_ratio, 0.25));
        assert!(close(results[1].normal_after_s, 1.0), "3 ms is within what is usual: {results:?}");
        assert!(results[2].normal_after_s.abs() < 1e-9);
    }

    #[test]
    fn normal_again_means_two_usual_seconds_in_a_row_and_one_unusual_second_later_is_chance() {
        let after = |latencies_ms: &[u64]| {
            let mut windows = Windows::default();
            windows.begin(window("calm", 0));
            windows.add(&second(0, Phase::Measure, 4, Outcome::Ok));
            windows.begin(window("kill", SECOND_NS));
            for (number, &latency_ms) in (1..).zip(latencies_ms) {
                windows.add(&second(number, Phase::Measure, latency_ms, Outcome::Ok));
            }
            windows.results()[1].normal_after_s
        };
        for (latencies_ms, expected_s) in [
            (&[3, 3, 9, 3][..], 0.0),
            (&[9, 3, 3, 9, 3], 1.0),
            (&[9, 3, 9, 9, 3, 3], 4.0),
            (&[9, 9, 3], 2.0),
            (&[9, 9], 2.0),
            (&[3, 9, 3, 9], 4.0),
        ] {
            assert!((after(latencies_ms) - expected_s).abs() < 1e-9, "{latencies_ms:?}");
        }
    }

    #[test]
    fn what_was_not_reached_is_left_out_and_without_a_window_nothing_is_kept() {
        let mut windows = Windows::default();
        windows.add(&second(0, Phase::Measure, 1, Outcome::Ok));
        assert!(windows.last.is_none(), "a run that nothing is done to costs nothing");
        assert!(windows.clone().results().is_empty());
        windows.begin(window("calm", 0));
        windows.begin(window("late", 9 * SECOND_NS));
        windows.add(&second(0, Phase::Measure, 1, Outcome::Ok));
        assert_eq!(windows.results().len(), 1);
    }
}
