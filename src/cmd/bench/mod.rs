//! `quorate bench`: measures a store, by default one that it starts itself.
//!
//! Here: the order of things. Flags are in `args`, the measuring itself in `quorate_loadgen`.

mod args;
mod faults;
mod finals;
mod finish;
mod history;
mod merge;
mod progress;
mod saturate;
mod store;
mod target;

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};

use quorate_env::{Clock as _, SystemClock};
use quorate_loadgen::rundir::IntervalsLost;
use quorate_loadgen::trust::SystemProbe;
use quorate_loadgen::{LoadPlan, LoadRun, PhaseReport, RunDirectory, RunOutcome, Target, Workload};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use args::BenchArgs;
pub use finish::colours;

use self::args::Route;
use self::faults::{Deeds, Faulter, Gathered};
use self::finish::Finished;
use self::history::Recording;
use self::saturate::{Saturated, Saturation};
use self::store::Subject;
use self::target::{Opened, client};
use crate::build_info;
use crate::outcome::{Exit, Failure, say};
use crate::signals::{Interrupts, leave_on_interrupt};

/// How far ahead machines agree to begin, in seconds: beyond that it is a mistake, such as milliseconds.
const START_AHEAD_MAX_S: u64 = 86_400;

/// Runs it.
///
/// # Errors
/// If it could not measure.
pub fn run(args: BenchArgs, json: bool) -> Result<Exit, Failure> {
    if !args.merge.is_empty() {
        return merge::run(&args, json);
    }
    let plan = args.plan()?;
    let wanted = store::Wanted::from(&args, &plan)?;
    super::block_on(Box::pin(measure(args, wanted, plan, json)))
}

async fn measure(
    args: BenchArgs,
    wanted: store::Wanted,
    plan: LoadPlan,
    json: bool,
) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::listen().map_err(Failure::setup)?;
    let clock = Arc::new(SystemClock::new());
    let started_wall_ns = clock.wall_ns();
    announce_start(args.start_wall_ns(), started_wall_ns)?;
    let directory = run_directory(args.out.as_deref(), started_wall_ns)?;

    let starting = async {
        let subject = Subject::start(&wanted, &plan, directory.path(), Arc::clone(&clock)).await?;
        let target = target::open(&wanted, &subject, &plan, &args, Arc::clone(&clock)).await?;
        Ok::<_, Failure>((subject, target))
    };
    let started = tokio::select! {
        biased;
        () = interrupts.wait() => None,
        started = Box::pin(starting) => Some(started?),
    };
    let Some((mut subject, Opened { target, version })) = started else {
        // The nodes went with the future that started them; what they had written may go too.
        let _ = std::fs::remove_dir_all(directory.file("cluster"));
        return Err(Failure::unknown("interrupted before the store was up"));
    };

    let cancel = CancellationToken::new();
    if let Some(objective) = args.objective() {
        let saturation = Saturation {
            target,
            plan: &plan,
            objective: &objective,
            directory: &directory,
            clock,
            cancel: cancel.clone(),
        };
        let saturated = until_interrupted(Box::pin(saturation.run()), &mut interrupts, &cancel).await;
        let troubles = stopped(subject, args.keep).await;
        let Saturated { search, plan, outcome, lost } = saturated?;
        let finished = Finished {
            outcome,
            plan,
            search: Some(search),
            target_version: version,
            route: args.route,
            directory,
            wanted,
            recording: None,
            started_wall_ns,
            troubles,
            lost,
            planned: faults::plan(&[]),
            faults: Vec::new(),
            windows: Vec::new(),
        };
        return finished.write_and_print(json);
    }
    let recording = args.check.then(|| Arc::new(Recording::default()));
    let watched = Arc::new(Mutex::new(Deeds::default()));
    let (beginning, measuring) = oneshot::channel();
    let loading = Load {
        target,
        plan: &plan,
        directory: &directory,
        clock: Arc::clone(&clock),
        recording: recording.clone(),
        cancel: cancel.clone(),
        start_wall_ns: args.start_wall_ns(),
        beginning,
        deeds: Arc::clone(&watched),
    };
    let loading = Box::pin(loading.run());
    let planned = faults::plan(&args.fault);
    let faulting = async {
        if subject.own().is_none() {
            return Ok(());
        }
        let asking = client(&subject, &plan, Route::Any, Arc::clone(&clock), &[])?;
        let Some(cluster) = subject.own() else { return Ok(()) };
        let (plan, deeds) = (planned.clone(), Arc::clone(&watched));
        Faulter { cluster, client: asking, plan, clock: Arc::clone(&clock), deeds }.run(measuring).await
    };
    let outcome = until_interrupted(Box::pin(with_faults(loading, faulting)), &mut interrupts, &cancel).await;
    if let (Some(recording), Ok((outcome @ RunOutcome { interrupted: false, .. }, _))) =
        (&recording, &outcome)
    {
        let keys = written_keys(&plan, outcome);
        let reading = Box::pin(read_finally(&subject, &plan, &keys, clock, recording));
        let read = tokio::select! {
            biased;
            () = interrupts.wait() => Err(Failure::unknown("interrupted")),
            read = reading => read,
        };
        if let Err(why) = read {
            say(format_args!("warning: no final reads, so what was lost is not judged: {why}"));
        }
    }
    let troubles = stopped(subject, args.keep).await;
    let Deeds { events, windows } = std::mem::take(&mut *faults::locked(&watched));
    let (outcome, lost) = outcome?;
    if let Some(late_by) = outcome.late_by {
        return Err(Failure::setup(format_args!(
            "--start-at was missed by {:.1} s once keys were loaded and the warm-up had its time: give a \
             later moment, or load the keys before and add --no-load",
            late_by.as_secs_f64()
        )));
    }
    let finished = Finished {
        outcome,
        plan,
        search: None,
        target_version: version,
        route: args.route,
        directory,
        wanted,
        recording,
        started_wall_ns,
        troubles,
        lost,
        planned,
        faults: events,
        windows: windows.results(),
    };
    // Checking may take long, and is pure computation: the runtime has nothing else to do by now.
    leave_on_interrupt(
        "interrupted: what was measured is in the run directory, but not all was written or judged",
    );
    finished.write_and_print(json)
}

/// Refuses a beginning that nobody means, and says how long there is to wait.
fn announce_start(start_wall_ns: Option<u64>, now_ns: u64) -> Result<(), Failure> {
    let Some(left_ns) = start_wall_ns.and_then(|start_ns| start_ns.checked_sub(now_ns)) else {
        return Ok(());
    };
    let left_s = left_ns / 1_000_000_000;
    if left_s > START_AHEAD_MAX_S {
        return Err(Failure::setup(format_args!(
            "--start-at is {} days ahead: it is in seconds since the Unix epoch, as `date +%s` prints them, and at \
             most a day ahead",
            left_s / 86_400
        )));
    }
    say(format_args!("the measurement begins in {left_s} s"));
    Ok(())
}

/// Stops what was measured, and says and returns what a reader of the results should know.
async fn stopped(subject: Subject, keep: bool) -> Vec<String> {
    let troubles = subject.stop(keep).await;
    troubles.iter().for_each(|trouble| say(format_args!("warning: {trouble}")));
    troubles
}

/// A load about to be put on the store.
struct Load<'a> {
    target: Arc<dyn Target>,
    plan: &'a LoadPlan,
    directory: &'a RunDirectory,
    clock: Arc<SystemClock>,
    recording: Option<Arc<Recording>>,
    cancel: CancellationToken,
    /// When the measurement begins, if that is agreed upon.
    start_wall_ns: Option<u64>,
    /// Is told when the measurement begins, in nanoseconds of `clock`.
    beginning: oneshot::Sender<u64>,
    /// Where seconds are gathered by what was done meanwhile.
    deeds: Arc<Mutex<Deeds>>,
}

impl Load<'_> {
    /// Loads the store as planned, writing what is measured as it is measured.
    async fn run(self) -> Result<(RunOutcome, Option<IntervalsLost>), Failure> {
        let Self { target, plan, directory, clock, recording, cancel, start_wall_ns, beginning, deeds } =
            self;
        let mut files = directory.interval_files(clock.wall_ns()).map_err(Failure::setup)?;
        let shown = progress::until_measuring(progress::shown(), Arc::clone(&clock), beginning);
        let mut run = LoadRun::on_threads(plan.clone(), target, clock)
            .map_err(|e| Failure::setup(format_args!("a thread of the load: {e}")))?
            .with_progress(shown)
            .with_cancel(cancel)
            .with_probe(SystemProbe::new());
        if let Some(recording) = recording {
            run = run.with_observer(recording);
        }
        if let Some(start_wall_ns) = start_wall_ns {
            run = run.with_start(start_wall_ns);
        }
        let outcome = run.run(&mut Gathered { sink: &mut files, deeds: &deeds }).await;
        Ok((outcome, files.finish().err()))
    }
}

/// Runs both until the load is over, or a fault cannot be done.
async fn with_faults<T>(
    mut loading: impl Future<Output = Result<T, Failure>> + Unpin,
    faulting: impl Future<Output = Result<(), Failure>>,
) -> Result<T, Failure> {
    let failed = async {
        match faulting.await {
            Ok(()) => std::future::pending().await,
            Err(failure) => failure,
        }
    };
    tokio::select! {
        biased;
        loaded = &mut loading => loaded,
        failure = failed => Err(failure),
    }
}

/// The numbers of all keys that a run may have written.
fn written_keys(plan: &LoadPlan, outcome: &RunOutcome) -> Vec<u64> {
    let workload = Workload::of(plan);
    let beyond =
        |report: &PhaseReport| workload.keys_beyond_loaded(plan.first_index(report.phase), report.offered);
    let phases = outcome.warmup.iter().chain(&outcome.measure);
    (0..plan.keys).chain(phases.flat_map(beyond)).collect()
}

/// Waits until a cluster of our own is at rest and records what it then holds.
async fn read_finally(
    subject: &Subject,
    plan: &LoadPlan,
    keys: &[u64],
    clock: Arc<SystemClock>,
    recording: &Recording,
) -> Result<(), Failure> {
    let Some(config) = subject.config()? else { return Ok(()) };
    say("waiting until the store is at rest, then reading every copy");
    let client = client(subject, plan, Route::Any, Arc::clone(&clock), &[])?;
    let read = finals::read_all(&client, &config, keys, clock).await.map_err(Failure::unknown)?;
    read.into_iter().for_each(|operation| recording.push(operation));
    Ok(())
}

/// Runs to the end, or stops early with what there is. Asked twice, it leaves at once.
async fn until_interrupted<T>(
    mut work: impl Future<Output = Result<T, Failure>> + Unpin,
    interrupts: &mut Interrupts,
    cancel: &CancellationToken,
) -> Result<T, Failure> {
    loop {
        tokio::select! {
            biased;
            () = interrupts.wait() => {
                if cancel.is_cancelled() {
                    return Err(Failure::unknown("interrupted twice: left at once"));
                }
                say("interrupted: stopping with what there is (again: at once)");
                cancel.cancel();
            }
            result = &mut work => return result,
        }
    }
}

fn run_directory(out: Option<&Path>, wall_ns: u64) -> Result<RunDirectory, Failure> {
    let directory = match out {
        Some(path) => RunDirectory::at(path),
        None => {
            let revision = build_info::revision();
            RunDirectory::under(Path::new("results"), "bench", wall_ns, revision.as_ref().map(|r| r.short()))
        }
    };
    directory.map_err(Failure::setup)
}
