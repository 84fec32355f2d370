//! The flags of `quorate bench`, and the plan that they mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use quorate_client::NodeChoice;
use quorate_cluster::config::parse_duration;
use quorate_loadgen::plan::{Http, read_workload};
use quorate_loadgen::search::Objective;
use quorate_loadgen::workload::named;
use quorate_loadgen::{ArrivalKind, LoadPlan, Part, PlanSettings, RateSetting, Trace, ValueSizes};

use super::faults::{self, FaultFlag};
use crate::outcome::Failure;

/// The workload when none is named: half gets, half puts, zipfian 0.99.
const WORKLOAD: &str = "mixed";

/// Seconds of warm-up and of measurement of each trial of a search.
const TRIAL_WARMUP_S: f64 = 3.0;
const TRIAL_S: f64 = 10.0;

/// Which node takes an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Route {
    /// One after the other.
    Any,
    /// An owner of the key, as the store tells who they are.
    Owner,
}

impl Route {
    /// The client's name for it.
    pub fn choice(self) -> NodeChoice {
        match self {
            Self::Any => NodeChoice::RoundRobin,
            Self::Owner => NodeChoice::Owner,
        }
    }

    /// The name on the command line and in `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Owner => "owner",
        }
    }
}

/// Measure a store under load. Without arguments: three nodes of the `dynamo` profile as real
/// processes on this machine (HTTPS on loopback, data on disk and synced), 10,000 keys of 1 KiB,
/// half gets and half puts, 2,000 operations a second for 30 s.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate bench
  quorate bench --profile quorum --rate 5000 --duration 60s --check
  quorate bench --workload ycsb-b --rate ramp:500..5k --duration 60s
  quorate bench --saturate --slo 'p99<20ms,errors<0.1%'
  quorate bench --clients 32 --nodes 5 --route owner
  quorate bench --http 2 --connections 4 --streams 16
  quorate bench --fault kill:n3@10s+10s
  quorate bench --target https://127.0.0.1:4001 --ca quorate-cluster/ca.pem
  quorate bench --target redis://127.0.0.1:6379 --rate 20000 --check
  quorate bench --target redis://host:6379 --rate 90000 --part 1/3 --start-at 1767225600 --out part1
  quorate bench --merge part1 part2 part3 --out all")]
pub struct BenchArgs {
    /// A built-in store definition (dynamo unless --store is given).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["store", "target"])]
    pub profile: Option<String>,
    /// A file with a [store] section.
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub store: Option<PathBuf>,
    /// How many nodes to start.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99), conflicts_with = "target")]
    pub nodes: u16,
    /// Which operations: mixed (half gets, half puts, zipfian 0.99), ycsb-a, ycsb-b, ycsb-c, ycsb-d, ycsb-f,
    /// or a FILE.toml. Other flags win over what it says.
    #[arg(long, value_name = "W", default_value = WORKLOAD)]
    workload: String,
    /// How many keys (10,000).
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// The size of values (1 KiB): a size, uniform:100..4KiB, lognormal:1KiB,0.5 (median and sigma), or
    /// file:PATH with a line `SIZE [WEIGHT]` for each.
    #[arg(long, value_name = "SIZE", value_parser = sizes)]
    value_bytes: Option<ValueSizes>,
    /// Open loop: so many operations a second, whatever the store does (2,000). May change over time:
    /// ramp:1k..5k, steps:1k,2k,4k, sine:2k+-1k/10s; with /TIME at the end, ramp over TIME or steps of TIME,
    /// else over the whole measurement.
    #[arg(long, value_name = "OPS")]
    rate: Option<RateSetting>,
    /// How an open loop's arrivals are spaced (poisson): constant or poisson.
    #[arg(long, value_name = "KIND")]
    arrivals: Option<ArrivalKind>,
    /// Arrivals from a file instead of a rate: a line for each, `OFFSET [OPERATION [KEY]]`, such as
    /// `1.5ms get 17`.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Closed loop: so many clients, each waiting for its answer. Not to be compared with --rate.
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// Connections of the open loop (64); of a store of several nodes, at most so many to each.
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// The HTTP in which nodes of Quorate are spoken to (1): 1 or 2. HTTP/2 is agreed on in the TLS handshake;
    /// without TLS it is taken for granted.
    #[arg(long, value_name = "VERSION")]
    http: Option<Http>,
    /// In HTTP/2: operations in flight at once on each connection (1), up to 100. So many times --connections
    /// are in flight at most; a connection is shared only when all are in use.
    #[arg(long, value_name = "N")]
    streams: Option<usize>,
    /// Threads of the generator, each with its part of the connections (1).
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Length of the measurement (30s).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Load before the measurement that does not count (5s).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    warmup: Option<Duration>,
    /// How long one operation may take (5s).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// Do not write every key first.
    #[arg(long)]
    no_load: bool,
    /// Of arrivals, operations and keys.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Find the highest rate that keeps an objective, by trials of 3 s of warm-up and 10 s of measurement
    /// (--warmup, --duration): the rate doubles until it is missed, then the interval is halved, then its
    /// edges are tried again. The results are those of the highest rate that was held.
    #[arg(long, conflicts_with_all = ["rate", "trace", "clients", "check", "fault", "part", "start_at", "merge"])]
    saturate: bool,
    /// What the highest rate must keep: p99<20ms,errors<0.1% unless given. p50, p90, p95, p99, p99.9, p99.99, max
    /// and mean of response latency, or errors; of one operation as get.p99<5ms.
    #[arg(long, value_name = "BOUNDS", requires = "saturate")]
    slo: Option<Objective>,
    /// Measure a store that runs already: the URLs of its nodes, etcd://HOST:PORT,... (or etcds://;
    /// `?serializable` for reads of one member), redis://HOST:PORT, or null for the generator alone.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub target: Vec<String>,
    /// The authority (PEM) that https and etcds targets are checked by.
    #[arg(long, value_name = "FILE", requires = "target")]
    pub ca: Option<PathBuf>,
    /// Which node takes an operation: any (one after the other) or an owner of the key, which
    /// spares the store a hop.
    #[arg(long, value_name = "ROUTE", value_enum, default_value_t = Route::Any, conflicts_with = "fault")]
    pub route: Route,
    /// Do something to a node meanwhile: KIND:NODE@AT+FOR, times from the beginning of the
    /// measurement. KIND is kill (kill -9, started again after FOR) or wipe (also its disk is lost).
    /// Load goes to the other nodes. The results compare the time before, during and after.
    #[arg(long, value_name = "FAULT", conflicts_with = "target")]
    pub fault: Vec<FaultFlag>,
    /// Record the history and judge it.
    #[arg(long)]
    pub check: bool,
    /// The run directory; must be absent or empty.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Keep the nodes' data, configuration and certificates in the run directory.
    #[arg(long)]
    pub keep: bool,
    /// Make only this part of the load, such as 1/3, while other machines make the rest.
    #[arg(long, value_name = "K/N", requires = "target", conflicts_with_all = ["check", "saturate"])]
    part: Option<Part>,
    /// When the measurement begins, in seconds since the Unix epoch (`date +%s`): the same for all
    /// parts. Keys are loaded at once, and the warm-up ends just before.
    #[arg(long, value_name = "SECONDS", requires = "part")]
    start_at: Option<u64>,
    /// Put the runs of all parts together into one, instead of measuring.
    #[arg(long, value_name = "RUN", num_args = 1.., conflicts_with_all = [
        "target", "profile", "store", "check", "part", "keys", "value_bytes", "rate", "arrivals", "trace", "clients",
        "connections", "threads", "duration", "warmup", "deadline", "no_load", "fault", "keep",
    ])]
    pub merge: Vec<PathBuf>,
}

impl BenchArgs {
    /// The settings of the workload, by name or from a file.
    fn workload(&self) -> Result<PlanSettings, Failure> {
        if self.workload.ends_with(".toml") || self.workload.contains(std::path::MAIN_SEPARATOR) {
            return read_workload(Path::new(&self.workload)).map_err(Failure::setup);
        }
        named(&self.workload).map_err(Failure::setup)
    }

    /// When the measurement is to begin, in nanoseconds since the Unix epoch.
    pub fn start_wall_ns(&self) -> Option<u64> {
        self.start_at.map(|seconds| seconds.saturating_mul(1_000_000_000))
    }

    /// What a search is to keep; none if nothing is searched for.
    pub fn objective(&self) -> Option<Objective> {
        self.saturate.then(|| self.slo.clone().unwrap_or_default())
    }

    /// The load they ask for.
    ///
    /// # Errors
    /// If settings clash, or belong to a later version.
    pub fn plan(&self) -> Result<LoadPlan, Failure> {
        let trace = self.trace.as_deref().map(Trace::read).transpose().map_err(Failure::setup)?;
        let settings = PlanSettings {
            seed: Some(self.seed),
            keys: self.keys,
            value_bytes: self.value_bytes.clone(),
            rate: self.rate.clone(),
            arrivals: self.arrivals,
            trace,
            clients: self.clients,
            part: self.part,
            connections: self.connections,
            http: self.http,
            streams: self.streams,
            threads: self.threads,
            load: self.no_load.then_some(false),
            warmup_s: self.warmup.map(|d| d.as_secs_f64()),
            duration_s: self.duration.map(|d| d.as_secs_f64()),
            deadline_s: self.deadline.map(|d| d.as_secs_f64()),
            ..PlanSettings::default()
        };
        let mut settings = settings.or(self.workload()?);
        if self.saturate {
            if settings.trace.is_some() || settings.clients.is_some() {
                return Err(Failure::setup(format_args!(
                    "--saturate sets the rate of every trial, and the workload `{}` says when operations are due or \
                     that clients wait for them; leave trace and clients out of it",
                    self.workload
                )));
            }
            settings.rate = None;
            settings.warmup_s.get_or_insert(TRIAL_WARMUP_S);
            settings.duration_s.get_or_insert(TRIAL_S);
        }
        let plan = settings.resolve().map_err(Failure::setup)?;
        if let Some(objective) = self.objective() {
            objective.fits(&plan).map_err(Failure::setup)?;
        }
        faults::validate(&self.fault, usize::from(self.nodes), plan.duration)?;
        Ok(plan)
    }
}

/// Reads sizes as a flag has them: files relative to the current directory.
fn sizes(text: &str) -> Result<ValueSizes, String> {
    ValueSizes::parse(text, Path::new(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(words: &[&str]) -> Result<LoadPlan, Failure> {
        let cli = Cli::try_parse_from(["quorate", "bench"].iter().chain(words)).unwrap();
        let Command::Bench(args) = cli.command else { panic!("not a bench") };
        args.plan()
    }

    #[test]
    fn no_arguments_mean_the_documented_load() {
        assert_eq!(plan(&[]).unwrap(), LoadPlan::default_bench());
    }

    #[test]
    fn flags_reach_the_plan() {
        let plan =
            plan(&["--keys", "50", "--value-bytes", "2 KiB", "--rate", "99.5", "--duration", "1500ms"])
                .unwrap();
        assert_eq!((plan.keys, plan.value_bytes, plan.duration.as_millis()), (50, 2048.into(), 1500));
    }

    #[test]
    fn a_workload_is_named_or_a_file_and_flags_win() {
        let d = plan(&["--workload", "ycsb-d", "--value-bytes", "uniform:100..2KiB"]).unwrap();
        assert_eq!((d.workload.as_str(), d.mix.insert), ("ycsb-d", 0.05));
        assert_eq!(d.value_bytes, ValueSizes::Uniform { min: 100, max: 2048 });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cart.toml");
        let text = "mix = { put = 1 }\nrate = 7\nduration = \"9s\"\n";
        std::fs::write(&file, text).unwrap();
        let cart = plan(&["--workload", file.to_str().unwrap(), "--clients", "4"]).unwrap();
        assert_eq!((cart.workload.as_str(), cart.mix.put, cart.duration.as_secs()), ("cart", 1.0, 9));
        assert_eq!(cart.pace, quorate_loadgen::Pace::Closed { clients: 4 });
        let refused = |words: &[&str]| plan(words).unwrap_err().to_string();
        assert!(refused(&["--workload", "ycsb-e"]).contains("places keys by their hash"));
        assert!(refused(&["--workload", "ycsb_a"]).contains("did you mean `ycsb-a`?"));
        assert!(refused(&["--workload", "absent.toml"]).starts_with("absent.toml: "));
    }

    #[test]
    fn a_search_has_trials_of_its_own_length_and_an_objective_that_can_be_judged() {
        let seconds = |words: &[&str]| {
            let plan = plan(words).unwrap();
            (plan.warmup.as_secs(), plan.duration.as_secs())
        };
        assert_eq!(seconds(&["--saturate"]), (3, 10));
        assert_eq!(seconds(&["--saturate", "--duration", "4s", "--slo", "put.p99<9ms"]), (3, 4));
        let refused = |words: &[&str]| plan(words).unwrap_err().to_string();
        assert!(refused(&["--saturate", "--slo", "p99<6s"]).contains("given up after 5s"));
        assert!(
            refused(&["--saturate", "--workload", "ycsb-c", "--slo", "put.p99<1s"]).contains("has no put")
        );
        for words in [
            &["--saturate", "--rate", "5"][..],
            &["--saturate", "--check"],
            &["--saturate", "--clients", "5"],
            &["--slo", "p99<1ms"],
            &["--saturate", "--slo", "p99=1ms"],
        ] {
            assert!(Cli::try_parse_from(["quorate", "bench"].iter().chain(words)).is_err(), "{words:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("w.toml");
        std::fs::write(&file, "clients = 3\n").unwrap();
        assert!(
            refused(&["--saturate", "--workload", file.to_str().unwrap()])
                .contains("leave trace and clients out")
        );
    }

    #[test]
    fn schedules_reach_the_plan_and_errors_say_what_to_write() {
        let pace = |words: &[&str]| serde_json::to_value(plan(words).unwrap().pace).unwrap();
        let told = pace(&["--rate", "ramp:1k..5k", "--arrivals", "constant"]);
        assert_eq!(
            (told["rate"].as_str(), told["arrivals"].as_str()),
            (Some("ramp:1000..5000/30s"), Some("constant"))
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trace.txt");
        std::fs::write(&file, "0\n1s get\n2.5s jump\n").unwrap();
        let words = ["--trace", file.to_str().unwrap()];
        let error = plan(&words).unwrap_err();
        assert_eq!(error.exit(), crate::outcome::Exit::Setup);
        assert!(error.to_string().contains("trace.txt, line 3: `jump` is not an operation"), "{error}");
        std::fs::write(&file, "0\n1s get\n").unwrap();
        assert_eq!(pace(&words)["trace"]["operations"], 2);
        let refused = plan(&["--rate", "sine:1k+-2k/1s"]).unwrap_err().to_string();
        assert!(refused.contains("rate (sine:1000+-2000/1s) must be"), "{refused}");
        assert!(Cli::try_parse_from(["quorate", "bench", "--rate", "rmap:1..2"]).is_err());
    }

    #[test]
    fn what_makes_no_load_is_refused_and_what_to_ask_for_is_said() {
        for (words, part) in [
            (&["--connections", "0"][..], "connections (0) must be from 1 to 65536"),
            (&["--clients", "0"], "clients (0) must be from 1 to 65536"),
            (&["--threads", "0"], "threads (0) must be from 1"),
            (&["--keys", "0"], "keys (0) must be from 1"),
            (&["--rate", "0"], "rate (0) must be above 0 and at most 10,000,000 a second"),
            (&["--rate=-5"], "rate (-5) must be above 0"),
            (&["--rate", "NaN"], "rate (NaN) must be above 0"),
            (&["--rate", "inf"], "rate (inf) must be above 0"),
            (&["--rate", "11M"], "at most 10,000,000 a second"),
            (&["--rate", "0.01"], "enough for an operation in the time that is measured"),
            (&["--duration", "0s"], "duration_s (0) must be above 0"),
            (&["--deadline", "0s"], "deadline_s (0) must be above 0"),
        ] {
            let why = plan(words).unwrap_err().to_string();
            assert!(why.contains(part), "{words:?}: {why}");
        }
        for words in [&["--merge", "a", "--rate", "5"][..], &["--merge", "a", "--keys", "5"]] {
            assert!(Cli::try_parse_from(["quorate", "bench"].iter().chain(words)).is_err(), "{words:?}");
        }
    }

    #[test]
    fn clashes_are_said() {
        let refused = |words: &[&str]| plan(words).unwrap_err().to_string();
        assert!(refused(&["--clients", "8", "--rate", "10"]).contains("clients (8) and rate (10) clash"));
        assert!(refused(&["--streams", "8"]).contains("streams (8) and http (1) clash"));
    }
}
