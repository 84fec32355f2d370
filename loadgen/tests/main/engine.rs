//! The engine on paused time: what is measured from where, and that nothing is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_loadgen::plan::LoadPlan;
use quorate_loadgen::recorder::{Class, Measure};
use quorate_loadgen::trust::{Figures, Verdict};
use quorate_loadgen::{
    Completion, LoadRun, Mix, NullTarget, OpKind, OperationObserver, OperationRecord, Outcome, Phase,
    PhaseReport, PlanSettings, Progress, RateSetting, Recorder, Results, Target, Tick,
};
use tokio_util::sync::CancellationToken;

use crate::support::{Scripted, Store, load_run, run, settings, timed_out};

const MS: f64 = 1e6;

/// A quantile over all operations, in milliseconds.
fn quantile(report: &PhaseReport, measure: Measure, q: f64) -> f64 {
    report.recorder.merged(|s| s.measure == measure).value_at_quantile(q) as f64 / MS
}

fn verdict(report: &PhaseReport, plan: &LoadPlan) -> Verdict {
    Figures::of(report, &plan.pace, Some(2)).judge().verdict
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_charged_to_every_slot_that_had_to_wait_for_it() {
    let mut store = Store::new(Duration::from_millis(1));
    store.stall = (Duration::from_secs(4), Duration::from_secs(5));
    let (outcome, _) = run(&settings(), store).await;
    let report = outcome.measure.unwrap();
    assert_eq!((report.offered, report.sent, report.dropped), (1000, 1000, 0));
    // A hundred of the thousand slots fell into the stalled second, the first of them waiting all of it.
    let response = quantile(&report, Measure::Response, 0.95);
    assert!((450.0..550.0).contains(&response), "half of the second at the 95th percentile: {response}");
    // Only four of them were sent before it ended: to the other 96 the store seemed quick.
    let service = quantile(&report, Measure::Service, 0.95);
    assert!(service < 10.0, "{service}");
    assert!(quantile(&report, Measure::Lateness, 1.0) < 2.0, "the generator itself kept its schedule");
    assert_eq!(Results::of(&report).ops["put"].ok, 1000);
}

#[tokio::test(start_paused = true)]
async fn slots_beyond_the_backlog_are_dropped_and_every_slot_is_accounted_for() {
    let settings = PlanSettings { backlog_max: Some(50), ..settings() };
    // Four connections at 100 ms each take 40 of the 100 a second.
    let (outcome, intervals) = run(&settings, Store::new(Duration::from_millis(100))).await;
    let report = outcome.measure.unwrap();
    assert_eq!(report.offered, 1000);
    assert!(report.dropped > 400, "{}", report.dropped);
    assert_eq!(report.sent + report.dropped, report.offered);
    assert_eq!(report.recorder.finished(), report.sent);
    assert_eq!(intervals.iter().map(|i| i.offered).sum::<u64>(), report.offered);
    assert_eq!(intervals.iter().map(|i| i.sent).sum::<u64>(), report.sent);
    assert_eq!(intervals.iter().map(|i| i.dropped).sum::<u64>(), report.dropped);
    assert_eq!(verdict(&report, &settings.resolve().unwrap()), Verdict::OverCapacity);
}

#[tokio::test(start_paused = true)]
async fn what_still_waits_a_deadline_after_the_end_is_dropped_too() {
    let settings = PlanSettings { deadline_s: Some(1.0), ..settings() };
    let (outcome, _) = run(&settings, Store::new(Duration::from_millis(100))).await;
    let report = outcome.measure.unwrap();
    assert!(report.backlog_at_end > 500, "{}", report.backlog_at_end);
    assert!(report.dropped > 500, "{}", report.dropped);
    assert_eq!(report.sent + report.dropped, 1000);
    assert!(report.elapsed_ns < 11_500_000_000, "{}", report.elapsed_ns);
}

#[tokio::test(start_paused = true)]
async fn the_seconds_of_a_run_add_up_to_the_whole() {
    let (outcome, intervals) = run(&settings(), Store::new(Duration::from_millis(3))).await;
    let mut merged = Recorder::default();
    intervals.iter().for_each(|interval| merged.merge(&interval.recorder));
    assert_eq!(merged, outcome.measure.unwrap().recorder);
    assert!((10..=11).contains(&intervals.len()), "{}", intervals.len());
    assert!(intervals.windows(2).all(|w| w[0].start_ns + w[0].duration_ns == w[1].start_ns));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_is_recorded_apart_and_leaves_no_backlog_behind() {
    let settings = PlanSettings { warmup_s: Some(5.0), ..settings() };
    let mut store = Store::new(Duration::from_millis(1));
    // The store stalls for the last second of the warm-up: its queue is not the measurement's.
    store.stall = (Duration::from_secs(4), Duration::from_millis(5200));
    let (outcome, intervals) = run(&settings, store).await;
    let (warmup, measure) = (outcome.warmup.unwrap(), outcome.measure.unwrap());
    assert_eq!(warmup.offered, 500);
    assert!(warmup.dropped > 80, "{}", warmup.dropped);
    assert_eq!((measure.offered, measure.sent), (1000, 1000));
    assert!(quantile(&measure, Measure::Response, 1.0) < 5.0);
    assert!(intervals.iter().any(|i| i.phase == Phase::Warmup));
    assert_eq!(verdict(&measure, &settings.resolve().unwrap()), Verdict::Valid);
}

#[tokio::test(start_paused = true)]
async fn timeouts_are_lower_bounds_and_not_answers() {
    let script = |n: u64| if n % 10 == 9 { timed_out() } else { Completion::ok() };
    let (outcome, _) = run(&settings(), Scripted(script, AtomicU64::new(0))).await;
    let report = outcome.measure.unwrap();
    let results = Results::of(&report);
    let put = &results.ops["put"];
    assert_eq!((put.ok, put.info, put.timeouts, put.errors["deadline"]), (900, 100, 100, 100));
    assert_eq!(put.latency["all"]["response"].censored, 100);
    assert!(put.latency["all"]["response"].at_least_from_percentile.is_some());
    assert_eq!(put.latency["ok"]["response"].at_least_from_percentile, None);
    assert_eq!(
        report.recorder.merged(|s| s.class == Class::Timeout && s.measure == Measure::Response).len(),
        100
    );
    assert_eq!(results.first_error.as_deref(), Some("no reply"));
    assert!((89.0..91.0).contains(&results.achieved_per_s), "{}", results.achieved_per_s);
}

#[tokio::test(start_paused = true)]
async fn a_closed_loop_sends_as_fast_as_replies_come() {
    let settings =
        PlanSettings { clients: Some(4), rate: None, arrivals: None, connections: None, ..settings() };
    let (outcome, _) = run(&settings, Store::new(Duration::from_millis(100))).await;
    let report = outcome.measure.unwrap();
    assert_eq!((report.sent, report.dropped), (400, 0));
    assert!(report.recorder.merged(|s| s.measure == Measure::Wait).is_empty());
    let figures = Figures::of(&report, &settings.resolve().unwrap().pace, Some(2));
    assert_eq!(figures.offered_per_s, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_offered_each_second_follows_the_schedule_and_the_warm_up_its_beginning() {
    for (rate, offered) in [
        ("ramp:100..300", [110, 130, 150, 170, 190, 210, 230, 250, 270, 290]),
        ("steps:100,0,300/3s", [100, 100, 100, 0, 0, 0, 300, 300, 300, 300]),
        ("sine:200+-100/10s", [230, 280, 298, 280, 230, 170, 120, 102, 120, 170]),
    ] {
        let settings = PlanSettings { rate: Some(rate.parse().unwrap()), warmup_s: Some(2.0), ..settings() };
        let (outcome, intervals) = run(&settings, Store::new(Duration::from_millis(1))).await;
        let seconds = |phase| {
            intervals.iter().filter(|i| i.phase == phase).map(|i| i.offered.cast_signed()).collect::<Vec<_>>()
        };
        let measured = seconds(Phase::Measure);
        assert!(measured.iter().zip(offered).all(|(m, o)| (m - o).abs() <= 1), "{rate}: {measured:?}");
        let first = if rate.starts_with("sine") { 200 } else { 100 };
        assert_eq!(seconds(Phase::Warmup)[..2], [first, first]);
        let report = outcome.measure.unwrap();
        assert_eq!(report.sent + report.dropped, report.offered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_sent_as_it_is_written() {
    let text = "0 put 3\n20ms get 3\n20ms get 99\n1.5s delete 3\n";
    let trace = quorate_loadgen::Trace::parse("t".to_owned(), text.as_bytes()).unwrap();
    let settings =
        PlanSettings { trace: Some(trace), rate: None, arrivals: None, duration_s: None, ..settings() };
    let notes = Arc::new(Notes::default());
    let plan = settings.resolve().unwrap();
    let target = Arc::new(Store::new(Duration::from_millis(1)));
    let outcome = load_run(&plan, target).with_observer(notes.clone()).run(&mut ()).await;
    assert_eq!(outcome.measure.unwrap().offered, 4);
    let records = std::mem::take(&mut *notes.0.lock().unwrap());
    let first = records[0].invoke_ns;
    let mut sent: Vec<_> =
        records.iter().map(|r| ((r.invoke_ns - first) / 1_000_000, r.kind, r.key.as_str())).collect();
    sent.sort_by_key(|(ms, _, key)| (*ms, key.to_owned()));
    use quorate_loadgen::CallKind::{Delete, Get, Put};
    let expected = [
        (0, Put, "key0000000003"),
        (20, Get, "key0000000003"),
        (20, Get, "key0000000099"),
        (1500, Delete, "key0000000003"),
    ];
    assert_eq!(sent, expected);
}

/// Cancels at the third second, and counts what it hears.
struct Impatient(CancellationToken, AtomicU64);

impl Progress for Impatient {
    fn tick(&self, tick: &Tick) {
        self.1.fetch_add(1, Ordering::Relaxed);
        if tick.elapsed_s >= 3.0 {
            self.0.cancel();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_late_reply_at_the_end_makes_no_rate_smaller() {
    // The last of a thousand is answered after half a minute.
    struct Hangs(AtomicU64);
    impl Target for Hangs {
        fn call<'a>(&'a self, _: quorate_loadgen::Call<'a>) -> quorate_env::BoxFuture<'a, Completion> {
            Box::pin(async move {
                if self.0.fetch_add(1, Ordering::Relaxed) == 999 {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
                Completion::ok()
            })
        }
    }
    for closed in [false, true] {
        let settings = if closed {
            PlanSettings {
                rate: None,
                arrivals: None,
                connections: None,
                clients: Some(4),
                duration_s: Some(0.5),
                ..settings()
            }
        } else {
            settings()
        };
        let plan = settings.resolve().unwrap();
        let target: Arc<dyn Target> = if closed {
            Arc::new(Store::new(Duration::from_millis(1)))
        } else {
            Arc::new(Hangs(AtomicU64::new(0)))
        };
        let report = load_run(&plan, target).run(&mut ()).await.measure.unwrap();
        let results = Results::of(&report);
        let expected = if closed { 4000.0 } else { 100.0 };
        for rate in [results.achieved_per_s, results.ok_per_s] {
            assert!((rate / expected - 1.0).abs() < 0.02, "{rate} {closed}");
        }
        assert_eq!(verdict(&report, &plan), Verdict::Valid, "{report:?}");
        assert_eq!(results.elapsed_s > 30.0, !closed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_keeps_what_it_has_and_abandons_what_hangs() {
    let cancel = CancellationToken::new();
    let mut store = Store::new(Duration::from_millis(1));
    // From the third second on nothing is answered for an hour.
    store.stall = (Duration::from_millis(2900), Duration::from_secs(3600));
    let progress = Arc::new(Impatient(cancel.clone(), AtomicU64::new(0)));
    let plan = settings().resolve().unwrap();
    let outcome = load_run(&plan, Arc::new(store))
        .with_cancel(cancel)
        .with_progress(progress.clone())
        .run(&mut ())
        .await;
    assert!(outcome.interrupted);
    let report = outcome.measure.unwrap();
    let put = &Results::of(&report).ops["put"];
    assert!((280..=300).contains(&put.ok), "{}", put.ok);
    assert_eq!((put.info, put.errors["interrupted"]), (4, 4));
    assert_eq!(report.sent + report.dropped, report.offered);
    assert!(report.elapsed_ns <= 3_600_000_000, "{}", report.elapsed_ns);
    // The half second that is left to what hangs is no part of the schedule.
    let offered_per_s = Results::of(&report).offered_per_s;
    assert!((99.0..102.0).contains(&offered_per_s), "{offered_per_s}");
    assert!(progress.1.load(Ordering::Relaxed) >= 3);
}

#[tokio::test(start_paused = true)]
async fn the_load_phase_writes_every_key_once_and_retries_only_what_did_not_happen() {
    let settings = PlanSettings { load: Some(true), keys: Some(50), duration_s: Some(0.01), ..settings() };
    let script = |n: u64| match n {
        0 => Completion::error(Outcome::Fail, "connect", "refused".to_owned()),
        1 => Completion::error(Outcome::Info, "lost", "reply lost".to_owned()),
        _ => Completion::ok(),
    };
    let (outcome, _) = run(&settings, Scripted(script, AtomicU64::new(0))).await;
    let load = outcome.load.unwrap();
    assert_eq!((load.keys, load.loaded, load.unknown, load.failed), (50, 49, 1, 0));
    assert_eq!(load.first_error.as_deref(), Some("reply lost"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_everything_fails_to_load_but_comes_to_an_end() {
    let settings = PlanSettings { load: Some(true), keys: Some(6), duration_s: Some(0.01), ..settings() };
    let refuse = |_| Completion::error(Outcome::Fail, "connect", "refused".to_owned());
    let (outcome, _) = run(&settings, Scripted(refuse, AtomicU64::new(0))).await;
    assert_eq!((outcome.load.unwrap().failed, outcome.interrupted), (6, false));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_dies_while_it_is_loaded_is_given_up_and_not_measured() {
    // Four workers write; the store answers for the first fifty keys.
    let settings = PlanSettings { load: Some(true), keys: Some(100_000), ..settings() };
    let script = |n: u64| if n < 50 { Completion::ok() } else { timed_out() };
    let (outcome, intervals) = run(&settings, Scripted(script, AtomicU64::new(0))).await;
    let load = outcome.load.unwrap();
    assert!(load.given_up && outcome.interrupted);
    assert_eq!(load.loaded, 50);
    assert!((12..=20).contains(&load.unknown), "{}", load.unknown);
    assert!(outcome.measure.is_none() && intervals.is_empty());
}

#[derive(Default)]
struct Notes(Mutex<Vec<OperationRecord>>);

impl OperationObserver for Notes {
    fn observed(&self, record: OperationRecord) {
        self.0.lock().unwrap().push(record);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_every_call_and_processes_retire_after_an_unknown_outcome() {
    let settings = PlanSettings {
        mix: Some(Mix { get: 1.0, update: 1.0, ..Mix::default() }),
        load: Some(true),
        ..settings()
    };
    let script = |n: u64| if n % 7 == 6 { timed_out() } else { Completion::ok() };
    let notes = Arc::new(Notes::default());
    let plan = settings.resolve().unwrap();
    let outcome = load_run(&plan, Arc::new(Scripted(script, AtomicU64::new(0))))
        .with_observer(notes.clone())
        .run(&mut ())
        .await;
    let records = std::mem::take(&mut *notes.0.lock().unwrap());
    let report = outcome.measure.unwrap();
    let updates = report.recorder.count(OpKind::Update, Outcome::Ok);
    let gets = report.recorder.count(OpKind::Get, Outcome::Ok);
    let measured = records.iter().filter(|r| r.phase == Phase::Measure).count() as u64;
    assert!(measured >= gets + 2 * updates, "an update is two calls");
    assert_eq!(records.iter().filter(|r| r.phase == Phase::Load).count(), 100);

    // Of each process: one call at a time, and nothing after an info.
    let mut last = std::collections::BTreeMap::new();
    for record in &records {
        if let Some((end_ns, outcome)) = last.insert(record.process, (record.end_ns, record.outcome)) {
            assert!(record.invoke_ns >= end_ns && outcome != Outcome::Info, "{record:?}");
        }
    }
    let mut written: Vec<_> = records.iter().filter_map(|r| r.value.clone()).collect();
    let writes = written.len();
    written.sort();
    written.dedup();
    assert_eq!(written.len(), writes, "every write has a value of its own");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_sends_the_same_operations() {
    let calls = async |seed| {
        let settings = PlanSettings { seed: Some(seed), mix: None, arrivals: None, ..settings() };
        let notes = Arc::new(Notes::default());
        let plan = settings.resolve().unwrap();
        let target = Arc::new(Store::new(Duration::from_millis(1)));
        load_run(&plan, target).with_observer(notes.clone()).run(&mut ()).await;
        let records = std::mem::take(&mut *notes.0.lock().unwrap());
        records.into_iter().map(|r| (r.invoke_ns, r.end_ns, r.process, r.key, r.value)).collect::<Vec<_>>()
    };
    let first = calls(1).await;
    assert!(first.len() > 900, "{}", first.len());
    assert_eq!(first, calls(1).await);
    assert_ne!(first, calls(2).await);
}

#[tokio::test]
async fn the_null_target_lets_the_generator_run_free_on_the_real_clock() {
    use quorate_env::{Clock, RealPacer, SystemClock};
    let settings = PlanSettings { rate: Some(2000.0.into()), duration_s: Some(0.2), ..settings() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let pacer = Box::new(RealPacer::new(clock.clone()).unwrap());
    let plan = settings.resolve().unwrap();
    let outcome = quorate_loadgen::LoadRun::new(plan, Arc::new(NullTarget), clock, pacer).run(&mut ()).await;
    let report = outcome.measure.unwrap();
    assert_eq!((report.offered, report.sent, report.dropped), (400, 400, 0));
    assert_eq!(report.recorder.count_all(Outcome::Ok), 400);
}

/// A store that is itself on every thread, and counts the threads.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicU64>);

impl Target for Counted {
    fn call<'a>(&'a self, call: quorate_loadgen::Call<'a>) -> quorate_env::BoxFuture<'a, Completion> {
        NullTarget.call(call)
    }

    fn for_thread(&self) -> Option<Arc<dyn Target>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(self.clone()))
    }
}

#[tokio::test]
async fn threads_share_the_work_and_do_all_of_it_once() {
    use quorate_env::SystemClock;
    let sent = async |threads| {
        let settings = PlanSettings {
            threads: Some(threads),
            connections: Some(7),
            rate: Some(RateSetting::Constant(5000.0)),
            duration_s: Some(0.2),
            load: Some(true),
            ..settings()
        };
        let (target, notes) = (Counted::default(), Arc::new(Notes::default()));
        let plan = settings.resolve().unwrap();
        let run = LoadRun::on_threads(plan, Arc::new(target.clone()), Arc::new(SystemClock::new())).unwrap();
        let outcome = run.with_observer(notes.clone()).run(&mut ()).await;
        assert_eq!(outcome.load.unwrap().loaded, 100);
        let report = outcome.measure.unwrap();
        assert_eq!((report.offered, report.sent, report.dropped), (1000, 1000, 0));
        assert_eq!(report.recorder.finished(), 1000);
        assert_eq!(target.0.load(Ordering::Relaxed), threads as u64);
        let records = std::mem::take(&mut *notes.0.lock().unwrap());
        let mut written: Vec<_> = records.into_iter().map(|r| (r.key, r.value)).collect();
        written.sort();
        written
    };
    assert_eq!(sent(1).await, sent(3).await);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_verdict_is_on_all_threads_together() {
    use quorate_env::SystemClock;
    use quorate_loadgen::trust::SystemProbe;
    let settings = PlanSettings {
        threads: Some(4),
        connections: Some(8),
        rate: Some(RateSetting::Constant(8000.0)),
        duration_s: Some(0.5),
        ..settings()
    };
    let plan = settings.resolve().unwrap();
    let run = LoadRun::on_threads(plan.clone(), Arc::new(NullTarget), Arc::new(SystemClock::new())).unwrap();
    let report = run.with_probe(SystemProbe::new()).run(&mut ()).await.measure.unwrap();
    let late = report.recorder.merged(|series| series.measure == Measure::Lateness);
    assert_eq!((late.len(), report.offered, report.dropped), (4000, 4000, 0), "of every thread's slots");
    let trust = Figures::of(&report, &plan.pace, Some(2)).judge();
    let figures = trust.figures;
    assert!(figures.own_cpu_cores.is_some_and(|cores| cores > 0.0), "{figures:?}");
    assert!(figures.run_queue_percent.is_some(), "{figures:?}");
    // Which it is depends on what else the machine does; a doubt is never without its figure.
    assert_eq!(trust.reasons.is_empty(), trust.verdict == Verdict::Valid, "{trust:?}");
}
