//! One phase: starts dispatchers and workers in their lanes, collects what they record each second, and sees
//! to it that the phase ends.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_env::Pacer;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::abandonment::GRACE;
use super::ahead::Ahead;
use super::backlog::Backlog;
use super::collector::{Collector, Spare, counts};
use super::lane::Lane;
use super::state::{LaneState, Share};
use super::{IntervalSink, PhaseReport, Shared, closed, open};
use crate::observe::Phase;
use crate::plan::Pace;
use crate::recorder::{Recorder, SharedRecorder};
use crate::trust::SystemProbe;

/// Runs a phase to its end.
pub(super) async fn run(
    shared: &Arc<Shared>,
    phase: Phase,
    lanes: &mut [Lane],
    mut probe: Option<&mut SystemProbe>,
    sink: &mut dyn IntervalSink,
) -> PhaseReport {
    let plan = &shared.plan;
    let planned = if phase == Phase::Warmup { plan.warmup } else { plan.duration };
    let planned_ns = u64::try_from(planned.as_nanos()).unwrap_or(u64::MAX);
    let started_wall_ns = shared.clock.wall_ns();
    shared.progress.phase(phase);
    let longest_ns = u64::try_from(plan.deadline.as_nanos()).unwrap_or(u64::MAX);
    let (total, spare) = (Recorder::with_room(longest_ns), Spare::with_room(longest_ns));
    let probed_at_start = probe.as_mut().and_then(|probe| probe.read());
    let started_ns = shared.clock.monotonic_ns();
    let count = lanes.len();
    let state = |lane: &Lane| LaneState {
        phase,
        lane: lane.number,
        share: Share::of(plan.part, lane.number, count),
        first_index: plan.first_index(phase),
        started_ns,
        planned_ns,
        ahead: Ahead::default(),
        backlog: Backlog::new(lane.share(plan.workers(), count), plan.backlog_max.div_ceil(count)),
        offered: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        recorder: SharedRecorder::with_room(longest_ns),
        first_error: Mutex::default(),
    };
    let states: Vec<Arc<LaneState>> = lanes.iter().map(|lane| Arc::new(state(lane))).collect();

    // Sets, so that nothing keeps running if this future is dropped.
    let mut dispatchers = JoinSet::new();
    let mut workers = JoinSet::new();
    for (lane, state) in lanes.iter_mut().zip(&states) {
        for worker in 0..lane.share(plan.workers(), count) {
            let (shared, state, target) = (Arc::clone(shared), Arc::clone(state), Arc::clone(&lane.target));
            match &plan.pace {
                Pace::Open { .. } => {
                    workers.spawn_on(open::work(shared, state, target, worker), &lane.handle)
                }
                Pace::Closed { .. } => workers.spawn_on(closed::work(shared, state, target), &lane.handle),
            };
        }
        // In a closed loop the pacer has a holiday.
        if let Pace::Open { schedule } = &plan.pace {
            let pacer = lane.pacer.take().expect("a lane has its pacer between phases");
            let dispatch = open::dispatch(Arc::clone(shared), Arc::clone(state), schedule.clone(), pacer);
            dispatchers.spawn_on(dispatch, &lane.handle);
        }
    }

    let mut collector = Collector {
        shared,
        lanes: &states,
        phase,
        started_ns,
        planned_ns,
        started_wall_ns,
        sink,
        probe,
        probed: probed_at_start,
        total,
        spare,
        start_ns: 0,
        counted: [0; 3],
        schedule: None,
    };
    let mut backlog_at_end = 0;
    // Whatever still waits this long after the schedule is given up, and reported as dropped.
    let give_up = tokio::time::sleep(Duration::MAX);
    // Whatever is still in flight this long after an interruption is given up, and reported as unknown.
    let grace = tokio::time::sleep(Duration::MAX);
    tokio::pin!(give_up, grace);
    let mut interrupted = false;
    loop {
        let tick = tokio::time::sleep(collector.until_next());
        tokio::select! {
            biased;
            Some(ended) = dispatchers.join_next() => {
                let (number, pacer): (usize, Box<dyn Pacer>) = finished(ended);
                lanes[number].pacer = Some(pacer);
                let state = &states[number];
                backlog_at_end += state.backlog.len() as u64;
                state.backlog.close();
                // The next phase must not pay for this one's queue.
                if phase == Phase::Warmup || shared.cancel.is_cancelled() {
                    state.discard();
                } else {
                    give_up.as_mut().reset(Instant::now() + plan.deadline);
                }
            }
            ended = workers.join_next() => match ended {
                Some(ended) => finished(ended),
                None => break,
            },
            () = shared.cancel.cancelled(), if !interrupted => {
                interrupted = true;
                states.iter().for_each(|state| state.discard());
                collector.end_schedule();
                grace.as_mut().reset(Instant::now() + GRACE);
            }
            () = grace.as_mut(), if interrupted && !shared.abandonment.is_declared() => {
                shared.abandonment.declare();
            }
            () = give_up.as_mut() => {
                states.iter().for_each(|state| state.discard());
                give_up.as_mut().reset(Instant::now() + plan.deadline);
            }
            () = tick => collector.collect(),
        }
    }
    // Workers of an open loop end only after their dispatcher has closed the backlog.
    collector.end_schedule();
    let Collector { total, probed, schedule, .. } = collector;
    let (scheduled_ns, in_schedule) = schedule.unwrap_or_default();
    let elapsed_ns = shared.clock.monotonic_ns() - started_ns;
    let [offered, sent, dropped] = counts(&states);
    let first_error =
        |state: &Arc<LaneState>| state.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
    PhaseReport {
        phase,
        started_wall_ns,
        started_ns,
        elapsed_ns,
        scheduled_ns,
        in_schedule,
        offered,
        sent,
        dropped,
        backlog_at_end,
        recorder: total,
        first_error: states.iter().find_map(first_error),
        machine: probed.zip(probed_at_start).map(|(now, then)| now.since(&then)),
    }
}

/// Waits for all tasks of a set, which get no more than their grace once the run is cancelled.
pub(super) async fn join_all(shared: &Shared, tasks: &mut JoinSet<()>) {
    let out_of_grace = async {
        shared.cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
        shared.abandonment.declare();
        std::future::pending().await
    };
    tokio::pin!(out_of_grace);
    loop {
        tokio::select! {
            biased;
            ended = tasks.join_next() => match ended {
                Some(ended) => finished(ended),
                None => return,
            },
            never = &mut out_of_grace => never,
        }
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
