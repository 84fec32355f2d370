//! Drives a plan against a target: load phase, warm-up, measurement.
//!
//! The load is made in lanes, each with a part of the slots and of the connections. A lane's dispatcher
//! follows the schedule and hands each slot that is due to a free worker, of which there is one for each
//! connection (in HTTP/2, for each operation that may be on one at once); without one it waits in a bounded backlog, in order. The dispatcher never waits for a
//! worker, so every slot ends as sent or as reported dropped, and latency counts from the slot.
//!
//! A real load has its lanes on threads of their own. It can also have the only one on the caller's
//! runtime, and it reads time from the given clock and pacer alone: so all of it runs on simulated time.
//!
//! Not here: where results go ([`IntervalSink`]), what they mean ([`crate::results`],
//! [`crate::trust`]).

mod abandonment; // of what is in flight when a run is interrupted
mod ahead; // slots still to come
mod backlog;
mod caller;
mod closed;
mod collector;
mod lane;
mod load;
mod open;
mod phase;
mod state;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quorate_env::{Clock, Pacer};
use tokio_util::sync::CancellationToken;

use self::abandonment::Abandonment;
use self::lane::Lane;
use crate::observe::{OperationObserver, Phase, Progress, Silent};
use crate::plan::LoadPlan;
use crate::recorder::Recorder;
use crate::target::{Outcome, Target};
use crate::trust::{LoadOnMachine, SystemProbe};
use crate::workload::Workload;

/// Between the end of a warm-up and a start that other machines share: time for what is in flight.
const SETTLE: Duration = Duration::from_millis(500);

/// A load about to be made.
pub struct LoadRun {
    shared: Arc<Shared>,
    place: Place,
    probe: Option<SystemProbe>,
    start_wall_ns: Option<u64>,
}

/// Where a load is made.
enum Place {
    /// On the caller's runtime, in one lane.
    Here(Box<dyn Pacer>),
    /// On threads of its own.
    Threads(Vec<Lane>),
}

/// What every part of a run needs.
pub(crate) struct Shared {
    pub(crate) plan: LoadPlan,
    pub(crate) workload: Workload,
    /// The store as it was given; a lane may have its own way to it.
    pub(crate) target: Arc<dyn Target>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Option<Arc<dyn OperationObserver>>,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) cancel: CancellationToken,
    pub(crate) abandonment: Abandonment,
    /// The next unused logical process.
    pub(crate) processes: AtomicU64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The load phase, if there was one.
    pub load: Option<LoadReport>,
    /// The warm-up, if there was one and it was reached.
    pub warmup: Option<PhaseReport>,
    /// The measurement, if it was reached; partial if the run was interrupted.
    pub measure: Option<PhaseReport>,
    /// Whether it was cancelled before its end.
    pub interrupted: bool,
    /// By how much the moment to begin at was missed, so that nothing was measured.
    pub late_by: Option<Duration>,
}

/// What a load phase came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Keys to write.
    pub keys: u64,
    /// Keys whose write was acknowledged.
    pub loaded: u64,
    /// Keys that may or may not be there.
    pub unknown: u64,
    /// Keys that were refused, again and again.
    pub failed: u64,
    /// Whether the rest was given up, because the store had acknowledged nothing for long.
    pub given_up: bool,
    /// What was wrong with the first that was not acknowledged.
    pub first_error: Option<String>,
    /// How long it took, in nanoseconds.
    pub elapsed_ns: u64,
}

/// Operations that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Those that the store answered in time, whatever it said.
    pub answered: u64,
    /// Those of them that happened.
    pub ok: u64,
}

impl Ended {
    /// Those in `recorder`.
    #[must_use]
    pub fn of(recorder: &Recorder) -> Self {
        Self { answered: recorder.answered(), ok: recorder.count_all(Outcome::Ok) }
    }
}

/// What a warm-up or measurement came to.
#[derive(Clone, Debug)]
pub struct PhaseReport {
    /// Which of the two.
    pub phase: Phase,
    /// When it began, in nanoseconds since the Unix epoch.
    pub started_wall_ns: u64,
    /// When it began, in nanoseconds of the run's clock.
    pub started_ns: u64,
    /// From its beginning to the last reply, in nanoseconds: longer than planned when a
    /// backlog had to be worked off.
    pub elapsed_ns: u64,
    /// How much of the schedule passed, in nanoseconds: as planned, unless interrupted.
    pub scheduled_ns: u64,
    /// What ended in that time: rates are of this, because the last reply of all may take any time.
    pub in_schedule: Ended,
    /// Slots that came due; in a closed loop, operations sent.
    pub offered: u64,
    /// Operations sent.
    pub sent: u64,
    /// Slots that were never sent, because the backlog was full or had to be given up.
    pub dropped: u64,
    /// Slots still waiting when the schedule ended.
    pub backlog_at_end: u64,
    /// Counts and latencies of all that was sent.
    pub recorder: Recorder,
    /// An error to show, if there was any.
    pub first_error: Option<String>,
    /// The machine's state over the phase, where it could be read.
    pub machine: Option<LoadOnMachine>,
}

/// One second of a phase; the last may be shorter.
#[derive(Clone, Debug)]
pub struct Interval {
    /// The phase.
    pub phase: Phase,
    /// When it began, in nanoseconds since the phase began.
    pub start_ns: u64,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start_wall_ns: u64,
    /// Its length in nanoseconds.
    pub duration_ns: u64,
    /// Slots that came due.
    pub offered: u64,
    /// Operations sent.
    pub sent: u64,
    /// Slots dropped.
    pub dropped: u64,
    /// Slots waiting at its end.
    pub backlog: usize,
    /// Operations without a reply at its end.
    pub in_flight: usize,
    /// What ended in it.
    pub recorder: Recorder,
    /// The machine's state, where it could be read.
    pub machine: Option<LoadOnMachine>,
}

/// Takes the seconds of a run as they pass. Called from the runtime: it must not block.
pub trait IntervalSink: Send {
    /// A second is over.
    fn interval(&mut self, interval: &Interval);
}

/// A sink that keeps nothing.
impl IntervalSink for () {
    fn interval(&mut self, _: &Interval) {}
}

/// A sink that keeps everything, for tests and small runs.
impl IntervalSink for Vec<Interval> {
    fn interval(&mut self, interval: &Interval) {
        self.push(interval.clone());
    }
}

impl LoadRun {
    /// A run of `plan` against `target` on the caller's runtime, where everything happens in one lane
    /// however many threads are planned. `pacer` must be on `clock`.
    #[must_use]
    pub fn new(
        plan: LoadPlan,
        target: Arc<dyn Target>,
        clock: Arc<dyn Clock>,
        pacer: Box<dyn Pacer>,
    ) -> Self {
        Self {
            shared: Shared::new(plan, target, clock),
            place: Place::Here(pacer),
            probe: None,
            start_wall_ns: None,
        }
    }

    /// A run of `plan` against `target` on threads of its own, as many as planned. `clock` must be a real
    /// one.
    ///
    /// # Errors
    /// If the system gives no threads or no timers.
    pub fn on_threads(plan: LoadPlan, target: Arc<dyn Target>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let lane = |number| Lane::on_thread(number, &target, &clock);
        let lanes = (0..plan.threads).map(lane).collect::<io::Result<_>>()?;
        Ok(Self {
            shared: Shared::new(plan, target, clock),
            place: Place::Threads(lanes),
            probe: None,
            start_wall_ns: None,
        })
    }

    /// Tells `observer` of every call.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn OperationObserver>) -> Self {
        self.configure().observer = Some(observer);
        self
    }

    /// Tells `progress` how it gets on.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.configure().progress = progress;
        self
    }

    /// Stops early, with what there is, once `cancel` is cancelled. Operations in flight are
    /// given half a second.
    #[must_use]
    pub fn with_cancel(mut self, cancel: CancellationToken) -> Self {
        self.configure().cancel = cancel;
        self
    }

    /// Watches the machine through `probe`, for the verdict on trust.
    #[must_use]
    pub fn with_probe(mut self, probe: SystemProbe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Begins the measurement at `wall_ns` (nanoseconds since the Unix epoch), as other machines do,
    /// and the warm-up as much before as it takes. If that is past once the keys are loaded, nothing
    /// is measured and the outcome says so.
    #[must_use]
    pub fn with_start(mut self, wall_ns: u64) -> Self {
        self.start_wall_ns = Some(wall_ns);
        self
    }

    fn configure(&mut self) -> &mut Shared {
        Arc::get_mut(&mut self.shared).expect("nothing else holds it before the run")
    }

    /// Runs to the end, or until cancelled. Needs a tokio runtime with time.
    pub async fn run(self, sink: &mut dyn IntervalSink) -> RunOutcome {
        let Self { shared, place, mut probe, start_wall_ns } = self;
        let mut lanes = match place {
            Place::Here(pacer) => vec![Lane::here(&shared.target, pacer)],
            Place::Threads(lanes) => lanes,
        };
        let plan = &shared.plan;
        let mut outcome =
            RunOutcome { load: None, warmup: None, measure: None, interrupted: false, late_by: None };
        if plan.load {
            shared.progress.phase(Phase::Load);
            let report = load::load(&shared, &lanes).await;
            let given_up = report.given_up;
            outcome.load = Some(report);
            if given_up {
                // There is nothing to measure, and a run directory that says why.
                outcome.interrupted = true;
                return outcome;
            }
        }
        if let Some(start_ns) = start_wall_ns {
            let before = if plan.warmup.is_zero() { Duration::ZERO } else { plan.warmup + SETTLE };
            let before_ns = u64::try_from(before.as_nanos()).unwrap_or(u64::MAX);
            outcome.late_by = until_wall(&shared, start_ns.saturating_sub(before_ns)).await.err();
            if outcome.late_by.is_some() {
                return outcome;
            }
        }
        if !plan.warmup.is_zero() && !shared.cancel.is_cancelled() {
            let report = phase::run(&shared, Phase::Warmup, &mut lanes, probe.as_mut(), sink).await;
            outcome.warmup = Some(report);
        }
        if let (Some(start_ns), Some(_)) = (start_wall_ns, &outcome.warmup) {
            // What was still in flight may have taken longer than that; then it begins at once.
            let _ = until_wall(&shared, start_ns).await;
        }
        if !shared.cancel.is_cancelled() {
            let report = phase::run(&shared, Phase::Measure, &mut lanes, probe.as_mut(), sink).await;
            outcome.measure = Some(report);
        }
        outcome.interrupted = shared.cancel.is_cancelled();
        outcome
    }
}

impl Shared {
    fn new(plan: LoadPlan, target: Arc<dyn Target>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let workload = Workload::of(&plan);
        Arc::new(Self {
            plan,
            workload,
            target,
            clock,
            observer: None,
            progress: Arc::new(Silent),
            cancel: CancellationToken::new(),
            abandonment: Abandonment::default(),
            processes: AtomicU64::new(0),
        })
    }
}

/// Waits until the wall clock shows `wall_ns`, or the run is cancelled.
///
/// # Errors
/// By how much it is past.
async fn until_wall(shared: &Shared, wall_ns: u64) -> Result<(), Duration> {
    let now_ns = shared.clock.wall_ns();
    let Some(left_ns) = wall_ns.checked_sub(now_ns) else {
        return Err(Duration::from_nanos(now_ns - wall_ns));
    };
    tokio::select! {
        biased;
        () = shared.cancel.cancelled() => {}
        () = tokio::time::sleep(Duration::from_nanos(left_ns)) => {}
    }
    Ok(())
}
