//! Simulated time and targets with a will of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_env::{BoxFuture, Clock, TimerPacer};
use quorate_loadgen::{
    Call, Completion, Interval, LoadPlan, LoadRun, Mix, Outcome, PlanSettings, RunOutcome, Target,
};
use tokio::time::Instant;

/// Tokio's own time, which a paused runtime moves. Wall time is 2023.
pub struct TokioClock(Instant);

impl TokioClock {
    pub fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TokioClock {
    fn wall_ns(&self) -> u64 {
        1_700_000_000_000_000_000 + self.monotonic_ns()
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap()
    }
}

/// A store that takes `service` for each call, and answers nothing between `stall.0` and
/// `stall.1`, counted from its start.
pub struct Store {
    pub started: Instant,
    pub service: Duration,
    pub stall: (Duration, Duration),
    pub calls: AtomicU64,
}

impl Store {
    pub fn new(service: Duration) -> Self {
        Self { started: Instant::now(), service, stall: Default::default(), calls: AtomicU64::new(0) }
    }
}

impl Target for Store {
    fn call<'a>(&'a self, _: Call<'a>) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let now = self.started.elapsed();
            if (self.stall.0..self.stall.1).contains(&now) {
                tokio::time::sleep(self.stall.1 - now).await;
            }
            tokio::time::sleep(self.service).await;
            Completion::ok()
        })
    }
}

/// A store that answers as a function of the number of the call.
pub struct Scripted<F>(pub F, pub AtomicU64);

impl<F: Fn(u64) -> Completion + Send + Sync + 'static> Target for Scripted<F> {
    fn call<'a>(&'a self, _: Call<'a>) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            let number = self.1.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
            (self.0)(number)
        })
    }
}

/// A call that ran into its deadline.
pub fn timed_out() -> Completion {
    let mut completion = Completion::error(Outcome::Info, "deadline", "no reply".to_owned());
    completion.timed_out = true;
    completion
}

/// Ten seconds at a hundred puts a second, at even distances, without load phase or warm-up.
pub fn settings() -> PlanSettings {
    PlanSettings {
        keys: Some(100),
        value_bytes: Some(32.into()),
        mix: Some(Mix { put: 1.0, ..Mix::default() }),
        rate: Some(100.0.into()),
        arrivals: Some(quorate_loadgen::ArrivalKind::Constant),
        connections: Some(4),
        load: Some(false),
        warmup_s: Some(0.0),
        duration_s: Some(10.0),
        ..PlanSettings::default()
    }
}

pub fn load_run(plan: &LoadPlan, target: Arc<dyn Target>) -> LoadRun {
    let clock = TokioClock::start();
    let pacer = Box::new(TimerPacer::new(clock.clone()));
    LoadRun::new(plan.clone(), target, clock, pacer)
}

pub async fn run(settings: &PlanSettings, target: impl Target) -> (RunOutcome, Vec<Interval>) {
    let mut intervals = Vec::new();
    let outcome = load_run(&settings.resolve().unwrap(), Arc::new(target)).run(&mut intervals).await;
    (outcome, intervals)
}
