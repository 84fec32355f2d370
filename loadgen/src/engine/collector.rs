//! Takes away each second what all lanes recorded, and passes it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::state::LaneState;
use super::{Ended, Interval, IntervalSink, Shared};
use crate::observe::{Phase, Tick};
use crate::recorder::{self, Measure, Recorder};
use crate::target::Outcome;
use crate::trust::{Probed, SystemProbe};

const SECOND_NS: u64 = 1_000_000_000;

/// Offered, sent and dropped so far, in all lanes together.
pub(super) fn counts(lanes: &[Arc<LaneState>]) -> [u64; 3] {
    [sum(lanes, |lane| &lane.offered), sum(lanes, |lane| &lane.sent), sum(lanes, |lane| &lane.dropped)]
}

fn sum(lanes: &[Arc<LaneState>], count: fn(&LaneState) -> &AtomicU64) -> u64 {
    lanes.iter().map(|lane| count(lane).load(Ordering::Relaxed)).sum()
}

/// Memory that was used for the second before.
pub(super) struct Spare {
    recorder: Recorder,
    responses: Histogram<u64>,
}

impl Spare {
    /// Room for latencies up to `max_ns`.
    pub(super) fn with_room(max_ns: u64) -> Self {
        let mut responses = recorder::empty();
        recorder::make_room(&mut responses, max_ns);
        Self { recorder: Recorder::with_room(max_ns), responses }
    }
}

/// Takes away each second what the workers recorded.
pub(super) struct Collector<'a> {
    pub(super) shared: &'a Shared,
    pub(super) lanes: &'a [Arc<LaneState>],
    pub(super) phase: Phase,
    pub(super) started_ns: u64,
    pub(super) planned_ns: u64,
    pub(super) started_wall_ns: u64,
    pub(super) sink: &'a mut dyn IntervalSink,
    pub(super) probe: Option<&'a mut SystemProbe>,
    pub(super) probed: Option<Probed>,
    pub(super) total: Recorder,
    /// Used anew each second: new memory costs the machine time, and that may be a lane's.
    pub(super) spare: Spare,
    /// When the current interval began, from the start of the phase.
    pub(super) start_ns: u64,
    /// Offered, sent and dropped, up to the current interval.
    pub(super) counted: [u64; 3],
    /// How much of the schedule has passed, and what ended in that time, once the schedule is over.
    pub(super) schedule: Option<(u64, Ended)>,
}

impl Collector<'_> {
    fn elapsed_ns(&self) -> u64 {
        self.shared.clock.monotonic_ns() - self.started_ns
    }

    /// How long to the next whole second of the phase, or to the end of its schedule.
    pub(super) fn until_next(&self) -> Duration {
        let mut next_ns = (self.start_ns / SECOND_NS + 1) * SECOND_NS;
        if self.start_ns < self.planned_ns {
            next_ns = next_ns.min(self.planned_ns);
        }
        Duration::from_nanos(next_ns.saturating_sub(self.elapsed_ns()))
    }

    pub(super) fn collect(&mut self) {
        self.take();
        if self.elapsed_ns() >= self.planned_ns {
            self.note_schedule();
        }
    }

    /// Nothing more comes due.
    pub(super) fn end_schedule(&mut self) {
        self.take();
        self.note_schedule();
    }

    fn note_schedule(&mut self) {
        let passed_ns = self.elapsed_ns().min(self.planned_ns);
        self.schedule.get_or_insert_with(|| (passed_ns, Ended::of(&self.total)));
    }

    fn take(&mut self) {
        let elapsed_ns = self.elapsed_ns();
        let mut recorder = std::mem::take(&mut self.spare.recorder);
        self.lanes.iter().for_each(|lane| lane.recorder.take_into(&mut recorder));
        let ended = sum(self.lanes, |lane| &lane.ended);
        let now = counts(self.lanes);
        let [offered, sent, dropped] = std::array::from_fn(|i| now[i] - self.counted[i]);
        if elapsed_ns == self.start_ns && recorder.is_empty() && now == self.counted {
            self.spare.recorder = recorder;
            return;
        }
        let probed = self.probe.as_mut().and_then(|probe| probe.read());
        let interval = Interval {
            phase: self.phase,
            start_ns: self.start_ns,
            start_wall_ns: self.started_wall_ns + self.start_ns,
            duration_ns: elapsed_ns - self.start_ns,
            offered,
            sent,
            dropped,
            backlog: self.lanes.iter().map(|lane| lane.backlog.len()).sum(),
            in_flight: usize::try_from(now[1].saturating_sub(ended)).unwrap_or(usize::MAX),
            machine: probed.zip(self.probed).map(|(now, then)| now.since(&then)),
            recorder,
        };
        self.total.merge(&interval.recorder);
        let tick = self.tick(&interval);
        self.shared.progress.tick(&tick);
        self.sink.interval(&interval);
        self.start_ns = elapsed_ns;
        self.counted = now;
        self.probed = probed.or(self.probed);
        self.spare.recorder = interval.recorder;
        self.spare.recorder.clear();
    }

    fn tick(&mut self, interval: &Interval) -> Tick {
        let seconds = (interval.duration_ns as f64 / 1e9).max(1e-9);
        let ok = interval.recorder.count_all(Outcome::Ok);
        let responses = &mut self.spare.responses;
        responses.reset();
        interval.recorder.merge_into(responses, |series| series.measure == Measure::Response);
        Tick {
            phase: interval.phase,
            elapsed_s: (interval.start_ns + interval.duration_ns) as f64 / 1e9,
            planned_s: self.planned_ns as f64 / 1e9,
            ok_per_s: ok as f64 / seconds,
            not_ok: interval.recorder.finished() - ok,
            backlog: interval.backlog,
            response_p99_ms: responses.value_at_quantile(0.99) as f64 / 1e6,
        }
    }
}
