//! This repository's generator, as `quorate bench` runs it, against one server.

use std::path::Path;
use std::sync::Arc;

use quorate_client::{Client, ClientOptions, TlsTrust};
use quorate_env::{Clock, SystemClock, TokioNetwork};
use quorate_loadgen::recorder::Measure;
use quorate_loadgen::trust::SystemProbe;
use quorate_loadgen::{
    KeyDistribution, LoadPlan, LoadRun, Mix, Outcome, PlanSettings, QuorateTarget, RateSetting,
};

use super::child::monotonic_ns;

/// Connections, and clients of a closed loop.
pub const CONNECTIONS: usize = 64;
/// Keys that are asked for, all equally. wrk asks for one: with many more than this, the comparison would
/// be about the memory that contexts of keys take.
const KEYS: u64 = 1_000;

/// What to do: gets for some seconds, at a rate or as fast as 64 clients go.
#[derive(Clone, Debug)]
pub struct Job {
    /// The server's URL.
    pub url: String,
    /// Its authority's certificate, if it is one of HTTPS.
    pub ca_file: Option<String>,
    /// Operations a second; none is a closed loop.
    pub rate: Option<f64>,
    /// How long.
    pub seconds: f64,
    /// Threads that make the load.
    pub threads: usize,
}

impl Job {
    /// As arguments of a process that does it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let rate = self.rate.map_or("-".to_owned(), |rate| rate.to_string());
        let ca_file = self.ca_file.clone().unwrap_or("-".to_owned());
        vec![self.url.clone(), ca_file, rate, self.seconds.to_string(), self.threads.to_string()]
    }

    /// From such arguments.
    ///
    /// # Panics
    /// If they are others.
    #[must_use]
    pub fn from_arguments(arguments: &[String]) -> Self {
        let [url, ca_file, rate, seconds, threads] = arguments else {
            panic!("five arguments, not {arguments:?}")
        };
        Self {
            url: url.clone(),
            ca_file: (ca_file != "-").then(|| ca_file.clone()),
            rate: rate.parse().ok(),
            seconds: seconds.parse().expect("a number of seconds"),
            threads: threads.parse().expect("a number of threads"),
        }
    }

    /// The plan that does it.
    ///
    /// # Panics
    /// If the job cannot be done.
    #[must_use]
    pub fn plan(&self) -> LoadPlan {
        let settings = PlanSettings {
            keys: Some(KEYS),
            mix: Some(Mix { get: 1.0, ..Mix::default() }),
            rate: self.rate.map(RateSetting::Constant),
            clients: self.rate.is_none().then_some(CONNECTIONS),
            connections: self.rate.map(|_| CONNECTIONS),
            load: Some(false),
            warmup_s: Some(0.0),
            duration_s: Some(self.seconds),
            ..PlanSettings::default()
        };
        let plan = settings.resolve().expect("a plan that can be carried out");
        LoadPlan { distribution: KeyDistribution::Uniform, threads: self.threads, ..plan }
    }

    /// Does it in this process, and prints what came of it, `name value` in each line.
    ///
    /// # Panics
    /// If it cannot.
    pub fn run(&self) {
        let plan = self.plan();
        let clock = Arc::new(SystemClock::new());
        let clock_start_ns = monotonic_ns() - clock.monotonic_ns();
        let trust =
            self.ca_file.as_deref().map(|ca| TlsTrust::from_ca_file(Path::new(ca), Arc::clone(&clock) as _));
        let trust = trust.transpose().expect("a certificate");
        let options = ClientOptions {
            deadline: plan.deadline,
            idle_connections_max: CONNECTIONS,
            ..ClientOptions::default()
        };
        let url = self.url.parse().expect("a URL");
        let client = Client::new(Arc::new(TokioNetwork), vec![url], trust, options).expect("a client");
        let target = Arc::new(QuorateTarget::for_reads(client));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let outcome = runtime.block_on(async {
            let run = LoadRun::on_threads(plan, target, clock).expect("a thread and a timer");
            Box::pin(run.with_probe(SystemProbe::new()).run(&mut ())).await
        });
        let report = outcome.measure.expect("it was not interrupted");
        assert_eq!(report.first_error, None, "every request is answered, and well");
        let quantile = |measure, q| {
            report.recorder.merged(|series| series.measure == measure).value_at_quantile(q) as f64
        };
        println!("started {}", report.started_ns + clock_start_ns);
        println!("offered {}", report.offered);
        println!("sent {}", report.sent);
        println!("dropped {}", report.dropped);
        println!("ok {}", report.recorder.count_all(Outcome::Ok));
        println!("elapsed {}", report.elapsed_ns);
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
            println!("response-{name} {}", quantile(Measure::Response, q));
            println!("lateness-{name} {}", quantile(Measure::Lateness, q));
        }
        let waited = report.machine.and_then(|machine| machine.run_queue_percent);
        println!("run-queue {}", waited.unwrap_or_default());
    }
}
