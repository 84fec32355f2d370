//! One phase: starts dispatcher and workers, collects what they record each second, and sees
//! to it that the phase ends.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_env::Pacer;
use tokio::task::JoinSet;

use super::backlog::Backlog;
use super::{Interval, IntervalSink, PhaseReport, Shared, closed, open};
use crate::observe::{Phase, Tick};
use crate::plan::Pace;
use crate::recorder::{Measure, Recorder, Sample, SharedRecorder};
use crate::target::{CallError, Outcome};
use crate::trust::{Probed, SystemProbe};

const SECOND_NS: u64 = 1_000_000_000;

/// What dispatcher, workers and collector share during a phase.
pub(super) struct PhaseState {
    pub(super) phase: Phase,
    pub(super) first_index: u64,
    pub(super) started_ns: u64,
    pub(super) planned_ns: u64,
    pub(super) backlog: Backlog,
    pub(super) offered: AtomicU64,
    pub(super) dropped: AtomicU64,
    sent: AtomicU64,
    in_flight: AtomicUsize,
    recorder: SharedRecorder,
    first_error: Mutex<Option<String>>,
}

impl PhaseState {
    /// An operation is being sent.
    pub(super) fn begin(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// An operation has ended.
    pub(super) fn end(&self, worker: usize, sample: &Sample, error: Option<CallError>) {
        let mut recorder = self.recorder.of_worker(worker);
        recorder.record(sample);
        if let Some(error) = &error {
            recorder.record_error(sample.op, &error.kind);
        }
        drop(recorder);
        if let Some(error) = error {
            self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.message);
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a phase to its end. Gives the pacer back for the next.
pub(super) async fn run(
    shared: &Arc<Shared>,
    phase: Phase,
    pacer: Box<dyn Pacer>,
    mut probe: Option<&mut SystemProbe>,
    sink: &mut dyn IntervalSink,
) -> (PhaseReport, Box<dyn Pacer>) {
    let plan = &shared.plan;
    let planned = if phase == Phase::Warmup { plan.warmup } else { plan.duration };
    let workers = plan.workers();
    let started_wall_ns = shared.clock.wall_ns();
    let state = Arc::new(PhaseState {
        phase,
        first_index: plan.first_index(phase),
        started_ns: shared.clock.monotonic_ns(),
        planned_ns: u64::try_from(planned.as_nanos()).unwrap_or(u64::MAX),
        backlog: Backlog::new(plan.backlog_max),
        offered: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        in_flight: AtomicUsize::new(0),
        recorder: SharedRecorder::new(workers),
        first_error: Mutex::default(),
    });
    shared.progress.phase(phase);
    let probed_at_start = probe.as_mut().and_then(|probe| probe.read());

    // Sets, so that nothing keeps running if this future is dropped.
    let mut dispatcher = JoinSet::new();
    let mut worker_tasks = JoinSet::new();
    // In a closed loop the pacer has a holiday.
    let mut pacer_back = None;
    match &plan.pace {
        Pace::Open { schedule } => {
            for worker in 0..workers {
                worker_tasks.spawn(open::work(Arc::clone(shared), Arc::clone(&state), worker));
            }
            dispatcher.spawn(open::dispatch(Arc::clone(shared), Arc::clone(&state), schedule.clone(), pacer));
        }
        Pace::Closed { .. } => {
            for worker in 0..workers {
                worker_tasks.spawn(closed::work(Arc::clone(shared), Arc::clone(&state), worker));
            }
            pacer_back = Some(pacer);
        }
    }

    let mut collector = Collector {
        shared,
        state: &state,
        started_wall_ns,
        sink,
        probe,
        probed: probed_at_start,
        total: Recorder::default(),
        start_ns: 0,
        counted: [0; 3],
    };
    let mut backlog_at_end = 0;
    // Whatever still waits this long after the schedule is given up, and reported as dropped.
    let give_up = tokio::time::sleep(Duration::MAX);
    tokio::pin!(give_up);
    let mut interrupted = false;
    loop {
        let tick = tokio::time::sleep(collector.until_next());
        tokio::select! {
            biased;
            Some(ended) = dispatcher.join_next() => {
                pacer_back = Some(finished(ended));
                backlog_at_end = state.backlog.len() as u64;
                state.backlog.close(workers);
                // The next phase must not pay for this one's queue.
                if phase == Phase::Warmup || shared.cancel.is_cancelled() {
                    state.dropped.fetch_add(state.backlog.discard(), Ordering::Relaxed);
                } else {
                    give_up.as_mut().reset(tokio::time::Instant::now() + plan.deadline);
                }
            }
            ended = worker_tasks.join_next() => match ended {
                Some(ended) => finished(ended),
                None => break,
            },
            () = shared.cancel.cancelled(), if !interrupted => {
                interrupted = true;
                state.dropped.fetch_add(state.backlog.discard(), Ordering::Relaxed);
            }
            () = give_up.as_mut() => {
                state.dropped.fetch_add(state.backlog.discard(), Ordering::Relaxed);
                give_up.as_mut().reset(tokio::time::Instant::now() + plan.deadline);
            }
            () = tick => collector.collect(),
        }
    }
    collector.collect();
    let Collector { total, probed, .. } = collector;
    let elapsed_ns = shared.clock.monotonic_ns() - state.started_ns;
    let report = PhaseReport {
        phase,
        started_wall_ns,
        started_ns: state.started_ns,
        elapsed_ns,
        scheduled_ns: elapsed_ns.min(state.planned_ns),
        offered: state.offered.load(Ordering::Relaxed),
        sent: state.sent.load(Ordering::Relaxed),
        dropped: state.dropped.load(Ordering::Relaxed),
        backlog_at_end,
        recorder: total,
        first_error: state.first_error.lock().unwrap_or_else(PoisonError::into_inner).take(),
        machine: probed.zip(probed_at_start).map(|(now, then)| now.since(&then)),
    };
    (report, pacer_back.expect("workers of an open loop end only after the dispatcher has"))
}

/// Waits for all tasks of a set.
pub(super) async fn join_all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        finished(ended);
    }
}

/// What a task returned. A panic in it goes on here: a run with a worker missing is no result.
fn finished<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    match ended {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("tasks are only aborted when the whole run is dropped"),
        },
    }
}

/// Takes away each second what the workers recorded.
struct Collector<'a> {
    shared: &'a Shared,
    state: &'a PhaseState,
    started_wall_ns: u64,
    sink: &'a mut dyn IntervalSink,
    probe: Option<&'a mut SystemProbe>,
    probed: Option<Probed>,
    total: Recorder,
    /// When the current interval began, from the start of the phase.
    start_ns: u64,
    /// Offered, sent and dropped, up to the current interval.
    counted: [u64; 3],
}

impl Collector<'_> {
    fn elapsed_ns(&self) -> u64 {
        self.shared.clock.monotonic_ns() - self.state.started_ns
    }

    /// How long to the next whole second of the phase.
    fn until_next(&self) -> Duration {
        let next_ns = (self.start_ns / SECOND_NS + 1) * SECOND_NS;
        Duration::from_nanos(next_ns.saturating_sub(self.elapsed_ns()))
    }

    fn collect(&mut self) {
        let elapsed_ns = self.elapsed_ns();
        let state = self.state;
        let recorder = state.recorder.take();
        let now = [&state.offered, &state.sent, &state.dropped].map(|count| count.load(Ordering::Relaxed));
        let [offered, sent, dropped] = std::array::from_fn(|i| now[i] - self.counted[i]);
        if elapsed_ns == self.start_ns && recorder == Recorder::default() && now == self.counted {
            return;
        }
        let probed = self.probe.as_mut().and_then(|probe| probe.read());
        let interval = Interval {
            phase: state.phase,
            start_ns: self.start_ns,
            start_wall_ns: self.started_wall_ns + self.start_ns,
            duration_ns: elapsed_ns - self.start_ns,
            offered,
            sent,
            dropped,
            backlog: state.backlog.len(),
            in_flight: state.in_flight.load(Ordering::Relaxed),
            machine: probed.zip(self.probed).map(|(now, then)| now.since(&then)),
            recorder,
        };
        self.total.merge(&interval.recorder);
        self.shared.progress.tick(&self.tick(&interval));
        self.sink.interval(&interval);
        self.start_ns = elapsed_ns;
        self.counted = now;
        self.probed = probed.or(self.probed);
    }

    fn tick(&self, interval: &Interval) -> Tick {
        let seconds = (interval.duration_ns as f64 / 1e9).max(1e-9);
        let ok = interval.recorder.count_all(Outcome::Ok);
        let responses = interval.recorder.merged(|series| series.measure == Measure::Response);
        Tick {
            phase: interval.phase,
            elapsed_s: (interval.start_ns + interval.duration_ns) as f64 / 1e9,
            planned_s: self.state.planned_ns as f64 / 1e9,
            ok_per_s: ok as f64 / seconds,
            not_ok: interval.recorder.finished() - ok,
            backlog: interval.backlog,
            response_p99_ms: responses.value_at_quantile(0.99) as f64 / 1e6,
        }
    }
}
