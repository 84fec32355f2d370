//! The load generator against its bars: processor time and requests a second beside wrk, lateness beside the
//! least that a paced generator can be, latencies of a stalling server beside theory, and recording.
//!
//! One table in the end. With `QUORATE_BARS` (`just bench-load`) a bar that is missed is exit code 1; without
//! it the same runs are short, and no bar counts. Arguments choose rows by parts of their names. What other
//! tools do on the machine meanwhile moves every absolute figure; ratios are of runs taken in turn.

use std::process::ExitCode;

use quorate_benches::load::child::{self, CLIENT_CORE, Server, figure, myself, on_core};
use quorate_benches::load::drive::{CONNECTIONS, Job};
use quorate_benches::load::server::Manner;
use quorate_benches::load::theory::{Queue, quantile};
use quorate_benches::load::{bare, recording, server};
use quorate_loadgen::ArrivalKind;
use quorate_loadgen::arrivals::{Rate, Schedule};

/// The seed of plans that name none.
const SEED: u64 = 1;

/// A line of the table.
struct Row {
    figure: String,
    ours: f64,
    /// What it is held against, if it is a ratio.
    other: Option<f64>,
    /// None for what is only shown.
    bar: Option<f64>,
    at_least: bool,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.other.map_or(self.ours, |other| self.ours / other)
    }

    fn is_missed(&self) -> bool {
        self.bar.is_some_and(|bar| if self.at_least { self.ratio() < bar } else { self.ratio() > bar })
    }
}

/// How long and how often.
struct Bench {
    seconds: u64,
    tries: usize,
    wanted: Vec<String>,
    directory: tempfile::TempDir,
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", ca_file, manner] => {
            server::serve((ca_file != "-").then_some(ca_file), Manner::named(manner));
            return ExitCode::SUCCESS;
        }
        ["--bare", port, rate, seconds] => {
            let number = |text: &str| text.parse::<f64>().expect("a number");
            bare::run(number(port) as u16, slots(number(rate), number(seconds)));
            return ExitCode::SUCCESS;
        }
        ["--drive", ..] => {
            Job::from_arguments(&arguments[1..]).run();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let bars = std::env::var_os("QUORATE_BARS").is_some();
    let (seconds, tries) = if bars { (5, 5) } else { (2, 1) };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut bench = Bench { seconds, tries, wanted: arguments, directory, rows: Vec::new() };
    bench.recording();
    bench.saturation("http");
    bench.saturation("https");
    bench.lateness();
    for (scheme, threads) in [("http", 1), ("https", 1), ("http", 2)] {
        bench.stalls(5_000.0, scheme, threads);
        bench.stalls(20_000.0, scheme, threads);
    }
    let missed = bench.table();
    if bars && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn slots(rate: f64, seconds: f64) -> impl Iterator<Item = u64> {
    let end_ns = (seconds * 1e9) as u64;
    let rate = Rate::Constant { per_s: rate };
    let schedule = Schedule::Rate { arrivals: ArrivalKind::Poisson, rate };
    schedule.arrivals(SEED).slots().take_while(move |slot| *slot < end_ns)
}

/// Runs our generator on its core; what it printed, and its processor time in nanoseconds.
fn drive(job: &Job, first: bool) -> (String, f64) {
    let mut command = on_core(CLIENT_CORE, first, &myself());
    command.arg("--drive").args(job.arguments());
    child::run(command)
}

fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}

impl Bench {
    fn wants(&self, figure: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| figure.contains(part.as_str()))
    }

    fn add(&mut self, figure: &str, ours: f64, other: Option<f64>, bar: f64, at_least: bool) {
        self.rows.push(Row { figure: figure.to_owned(), ours, other, bar: Some(bar), at_least });
    }

    /// Where a server of that scheme leaves its authority's certificate.
    fn ca_file(&self, scheme: &str) -> Option<String> {
        (scheme == "https").then(|| self.directory.path().join("ca.pem").display().to_string())
    }

    fn recording(&mut self) {
        if self.wants("recording") {
            self.add("recording, ns an operation", recording::nanoseconds(), None, 25.0, false);
        }
    }

    /// As fast as 64 connections go, beside wrk, in turn.
    fn saturation(&mut self, scheme: &str) {
        if !self.wants(&format!("wrk {scheme}")) {
            return;
        }
        let ca_file = self.ca_file(scheme);
        let mut server = Server::start(ca_file.as_deref(), Manner::Awake);
        let url = format!("{scheme}://127.0.0.1:{}", server.port);
        let job = Job { url: url.clone(), ca_file, rate: None, seconds: self.seconds as f64, threads: 1 };
        let (mut rates, mut costs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..self.tries {
            let path = format!("{url}/kv/key0000000001");
            let Some((rate, cost)) = child::wrk(&path, self.seconds, CONNECTIONS) else {
                println!("skipped: wrk is not installed (apt-get install wrk)");
                return;
            };
            rates[1].push(rate);
            costs[1].push(cost);
            let before = server.idle_ns();
            let (text, cpu_ns) = drive(&job, true);
            let after = server.idle_ns();
            let requests = figure(&text, "ok");
            rates[0].push(requests / figure(&text, "elapsed") * 1e9);
            costs[0].push(cpu_ns / requests);
            println!(
                "{scheme}: ours {:.0}/s at {:.2} us, wrk {rate:.0}/s at {:.2} us; the server {:.0} % busy with ours",
                rates[0][rates[0].len() - 1],
                cpu_ns / requests / 1e3,
                cost / 1e3,
                100.0 - (after.0 - before.0) / (after.1 - before.1) * 100.0
            );
        }
        let _ = server.stop();
        let (cost, rate) = if scheme == "http" { (1.05, 1.0) } else { (0.75, 1.3) };
        let [ours, wrk] = costs.map(median);
        self.add(&format!("{scheme}, CPU ns a request (wrk)"), ours, Some(wrk), cost, false);
        let [ours, wrk] = rates.map(median);
        self.add(&format!("{scheme}, requests/s (wrk)"), ours, Some(wrk), rate, true);
    }

    /// How late requests are sent at 20,000 a second, beside the least that is possible, in turn.
    fn lateness(&mut self) {
        if !self.wants("lateness") {
            return;
        }
        let server = Server::start(None, Manner::Calm);
        let (rate, seconds) = (20_000.0, self.seconds as f64);
        let url = format!("http://127.0.0.1:{}", server.port);
        let job = Job { url, ca_file: None, rate: Some(rate), seconds, threads: 1 };
        let mut median_ns = Vec::new();
        let mut p99_ns = [Vec::new(), Vec::new()];
        for _ in 0..self.tries {
            let (text, cpu_ns) = drive(&job, true);
            median_ns.push(figure(&text, "lateness-p50"));
            p99_ns[0].push(figure(&text, "lateness-p99"));
            let mut command = on_core(CLIENT_CORE, true, &myself());
            command.args(["--bare", &server.port.to_string(), &rate.to_string(), &seconds.to_string()]);
            let (bare, _) = child::run(command);
            p99_ns[1].push(figure(&bare, "lateness-p99"));
            println!(
                "lateness p50, p99, p99.9 in us: ours {:.1} {:.1} {:.1} with {:.0} % of a core, bare loop {:.1} {:.1} {:.1}",
                figure(&text, "lateness-p50") / 1e3,
                figure(&text, "lateness-p99") / 1e3,
                figure(&text, "lateness-p999") / 1e3,
                cpu_ns / seconds / 1e7,
                figure(&bare, "lateness-p50") / 1e3,
                figure(&bare, "lateness-p99") / 1e3,
                figure(&bare, "lateness-p999") / 1e3,
            );
        }
        let _ = server.stop();
        self.add("lateness at 20k/s, median us", median(median_ns) / 1e3, None, 10.0, false);
        let [ours, bare] = p99_ns.map(|values| median(values) / 1e3);
        self.add("lateness at 20k/s, p99 us (bare loop)", ours, Some(bare), 1.5, false);
    }

    /// Latencies of a server that stalls, beside theory, which gets its constants from a calm one.
    fn stalls(&mut self, rate: f64, scheme: &str, threads: usize) {
        let of_threads = if threads == 1 { "" } else { " from 2 threads" };
        let name = format!("{scheme} stalls at {}k/s{of_threads}", rate / 1e3);
        if !self.wants(&name) {
            return;
        }
        let seconds = 2.0 * self.seconds as f64 + 2.0;
        let ca_file = self.ca_file(scheme);
        let job = |server: &Server, rate, seconds| Job {
            url: format!("{scheme}://127.0.0.1:{}", server.port),
            ca_file: ca_file.clone(),
            rate,
            seconds,
            threads,
        };
        let mut errors = [Vec::new(), Vec::new()];
        let (mut ours, mut theory) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let mut unaccounted = 0.0;
        for _ in 0..self.tries.min(3) {
            let server = Server::start(ca_file.as_deref(), Manner::Calm);
            let (fast, _) = drive(&job(&server, None, 2.0), true);
            let service_ns = figure(&fast, "elapsed") / figure(&fast, "ok");
            let (calm, _) = drive(&job(&server, Some(rate), 2.0), true);
            let base_ns = figure(&calm, "response-p50") - service_ns;
            let _ = server.stop();

            let server = Server::start(ca_file.as_deref(), Manner::Stalling);
            let (text, _) = drive(&job(&server, Some(rate), seconds), true);
            let started_ns = figure(&text, "started");
            let stalls: Vec<_> =
                server.stop().into_iter().map(|(from, to)| (from - started_ns, to - started_ns)).collect();
            let queue = Queue { service_ns, base_ns, stalls: &stalls };
            let mut latencies = queue.latencies(slots(rate, seconds).map(|slot| slot as f64));
            let due = latencies.len() as f64;
            unaccounted += (due - figure(&text, "offered")).abs()
                + (figure(&text, "offered") - figure(&text, "sent") - figure(&text, "dropped")).abs();
            println!(
                "{name}: service {:.1} us, base {:.1} us, {} stalls, lateness p99 {:.1} us, run queue {:.2} %",
                service_ns / 1e3,
                base_ns / 1e3,
                stalls.len(),
                figure(&text, "lateness-p99") / 1e3,
                figure(&text, "run-queue")
            );
            for (n, (figure_name, q)) in
                [("response-p99", 0.99), ("response-p999", 0.999)].into_iter().enumerate()
            {
                let (measured, expected) =
                    (figure(&text, figure_name) / 1e6, quantile(&mut latencies, q) / 1e6);
                println!("{name}: {figure_name} {measured:.2} ms, theory {expected:.2} ms");
                ours[n].push(measured);
                theory[n].push(expected);
                errors[n].push((measured / expected - 1.0).abs() * 100.0);
            }
        }
        for (n, quantile) in ["p99", "p99.9"].into_iter().enumerate() {
            let ours = median(errors[n].clone());
            let figure = format!("{name}, {quantile} off theory, %");
            // Threads that share one core keep each other waiting: what that costs is shown.
            let bar = (threads == 1).then_some(1.0);
            self.rows.push(Row { figure, ours, other: None, bar, at_least: false });
        }
        self.add(&format!("{name}, slots unaccounted for"), unaccounted, None, 0.0, false);
    }

    /// Prints all; returns how many bars were missed.
    fn table(&self) -> usize {
        println!("\n{:<52} {:>12} {:>12} {:>8} {:>10}", "figure", "ours", "other", "ratio", "bar");
        for row in &self.rows {
            let other = row.other.map_or(String::new(), |other| format!("{other:.2}"));
            let ratio = row.other.map_or(String::new(), |_| format!("{:.3}", row.ratio()));
            let bar = row.bar.map_or(String::new(), |bar| {
                let verdict = if row.is_missed() { "MISSED" } else { "met" };
                format!("{} {bar:>7}  {verdict}", if row.at_least { ">=" } else { "<=" })
            });
            println!("{:<52} {:>12.2} {other:>12} {ratio:>8} {bar}", row.figure, row.ours);
        }
        self.rows.iter().filter(|row| row.is_missed()).count()
    }
}
