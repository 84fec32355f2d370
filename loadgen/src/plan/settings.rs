//! The plan as people write it, and what each setting is when left out.

use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Http, LoadPlan, Pace, Part, PlanError};
use crate::arrivals::{ArrivalKind, Rate, RateSetting, Schedule, Trace};
use crate::keys::KeyDistribution;
use crate::sizes::ValueSizes;
use crate::workload::Mix;

/// The exponent of YCSB's zipfian keys.
const THETA: f64 = 0.99;
/// Of hotspot keys, as YCSB has them: the hot share of keys, and of operations.
const HOTSPOT: (f64, f64) = (0.2, 0.8);
/// Of exponential keys, as YCSB has them.
const EXPONENTIAL: (f64, f64) = (0.857_142_857_1, 0.95);
/// The rate of an open loop.
const RATE: RateSetting = RateSetting::Constant(2000.0);
/// How many seconds of slots may wait, at the highest rate of the schedule.
const BACKLOG_S: f64 = 10.0;
/// At least and at most so many; a slot is 32 bytes.
const BACKLOG: (usize, usize) = (20_000, 4_000_000);
/// As many requests at once on a connection as servers are asked to allow at least (RFC 9113, section
/// 6.5.2): with more, some would wait for others where no report shows it.
const STREAMS_MAX: usize = 100;

/// The name of a key distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DistributionName {
    /// All keys equally.
    Uniform,
    /// Some far more than others; takes `theta`.
    Zipfian,
    /// The newest far more than others; takes `theta`.
    Latest,
    /// Some more than others; takes `hot_keys` and `hot_operations`.
    Hotspot,
    /// The newest more than others; takes `hot_keys` and `hot_operations`.
    Exponential,
    /// One after the other.
    Sequential,
}

impl DistributionName {
    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipfian => "zipfian",
            Self::Latest => "latest",
            Self::Hotspot => "hotspot",
            Self::Exponential => "exponential",
            Self::Sequential => "sequential",
        }
    }
}

/// A plan with everything optional. What is left out is documented at each field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanSettings {
    /// What the workload is called. Default `mixed`.
    pub workload: Option<String>,
    /// Default 1.
    pub seed: Option<u64>,
    /// Number of keys. Default 10,000.
    pub keys: Option<u64>,
    /// Sizes of values in bytes. Default 1024.
    pub value_bytes: Option<ValueSizes>,
    /// Default half gets, half puts.
    pub mix: Option<Mix>,
    /// Default zipfian.
    pub distribution: Option<DistributionName>,
    /// Exponent of zipfian and latest keys. Default 0.99.
    pub theta: Option<f64>,
    /// The share of keys that is hot. Default 0.2 of hotspot, 0.857 of exponential keys.
    pub hot_keys: Option<f64>,
    /// The share of operations that goes to hot keys. Default 0.8 of hotspot, 0.95 of exponential keys.
    pub hot_operations: Option<f64>,
    /// Operations a second of an open loop, over time. Default 2000, unless `clients` or `trace` is given.
    pub rate: Option<RateSetting>,
    /// Spacing of an open loop's arrivals. Default Poisson.
    pub arrivals: Option<ArrivalKind>,
    /// Arrivals of an open loop as they once were, instead of a rate.
    pub trace: Option<Trace>,
    /// Clients of a closed loop; makes the loop closed.
    pub clients: Option<usize>,
    /// Which part of an open loop's schedule is taken. Default all of it.
    pub part: Option<Part>,
    /// Connections of an open loop. Default 64.
    pub connections: Option<usize>,
    /// In which HTTP nodes of a Quorate store are spoken to. Default 1.
    pub http: Option<Http>,
    /// Operations in flight at once on each connection, in HTTP/2. Default 1.
    pub streams: Option<usize>,
    /// Threads of the generator. Default 1: one makes more requests than one core of most stores answers.
    pub threads: Option<usize>,
    /// Slots that may wait for a connection in an open loop. Default ten seconds of the highest rate, from 20,000 to
    /// 4,000,000.
    pub backlog_max: Option<usize>,
    /// Whether every key is written first. Default true.
    pub load: Option<bool>,
    /// Seconds of warm-up. Default 5.
    pub warmup_s: Option<f64>,
    /// Seconds of measurement. Default 30, or as long as the trace.
    pub duration_s: Option<f64>,
    /// Seconds one operation may take. Default 5.
    pub deadline_s: Option<f64>,
}

impl Pace {
    /// How many slots may wait: a stall of ten seconds drops none.
    pub(super) fn backlog(&self) -> usize {
        let per_s = match self {
            Self::Open { schedule: Schedule::Rate { rate, .. } } => rate.peak(),
            Self::Open { schedule: Schedule::Trace { trace } } => trace.mean_per_s(),
            Self::Closed { .. } => 0.0,
        };
        ((per_s * BACKLOG_S) as usize).clamp(BACKLOG.0, BACKLOG.1)
    }
}

impl PlanSettings {
    /// The plan these settings mean.
    ///
    /// # Errors
    /// If a setting is out of range or two exclude each other; the message names them.
    pub fn resolve(&self) -> Result<LoadPlan, PlanError> {
        // A slot at the very end of a measurement is no part of it.
        let duration_s = self.trace.as_ref().map_or(30.0, |trace| trace.last_ns() as f64 / 1e9 + 0.001);
        let duration = seconds("duration_s", self.duration_s.unwrap_or(duration_s), false)?;
        let pace = self.pace(duration.as_secs_f64())?;
        let distribution = self.distribution()?;
        let mix = self.mix.unwrap_or_else(Mix::half_and_half);
        let weights = mix.weights();
        let sum: f64 = weights.iter().sum();
        if weights.iter().any(|w| !w.is_finite() || *w < 0.0) || sum <= 0.0 || !sum.is_finite() {
            return Err(out_of_range("mix", format!("{weights:?}"), "weights of at least 0, not all 0"));
        }
        let keys = self.keys.unwrap_or(10_000);
        within("keys", keys, (1..=1 << 40).contains(&keys), "from 1 to 2^40")?;
        let value_bytes = self.value_bytes.clone().unwrap_or(ValueSizes::Fixed { bytes: 1024 });
        if let Some(allowed) = value_bytes.objection() {
            return Err(out_of_range("value_bytes", value_bytes.to_string(), allowed));
        }
        let connections = self.connections.unwrap_or(64);
        within("connections", connections, (1..=65_536).contains(&connections), "from 1 to 65536")?;
        let threads = self.threads.unwrap_or(1);
        let most = self.clients.unwrap_or(connections).min(1024);
        within("threads", threads, (1..=most).contains(&threads), "from 1 to the number of connections")?;
        let http = self.http.unwrap_or_default();
        let streams = self.streams(http, connections, threads)?;
        let backlog_max = self.backlog_max.unwrap_or_else(|| pace.backlog());
        within("backlog_max", backlog_max, (1..=1 << 30).contains(&backlog_max), "from 1 to 2^30")?;
        Ok(LoadPlan {
            seed: self.seed.unwrap_or(1),
            workload: self.workload.clone().unwrap_or_else(|| "mixed".to_owned()),
            keys,
            value_bytes,
            mix,
            distribution,
            pace,
            part: self.part,
            http,
            connections,
            streams,
            threads,
            backlog_max,
            load: self.load.unwrap_or(true),
            warmup: seconds("warmup_s", self.warmup_s.unwrap_or(5.0), true)?,
            duration,
            deadline: seconds("deadline_s", self.deadline_s.unwrap_or(5.0), false)?,
            trial: 0,
        })
    }

    fn streams(&self, http: Http, connections: usize, threads: usize) -> Result<usize, PlanError> {
        let streams = self.streams.unwrap_or(1);
        within("streams", streams, (1..=STREAMS_MAX).contains(&streams), "from 1 to 100")?;
        if streams > 1 {
            let clash = |b, b_value: &dyn Display, why| {
                excludes(("streams", &streams), b, Some(b_value.to_string()), why)
            };
            if http == Http::One {
                clash("http", &http, "HTTP/1.1 has one operation at a time on each connection; give http 2")?;
            }
            if !connections.is_multiple_of(threads) {
                clash(
                    "threads",
                    &threads,
                    "each thread has equally many connections; give it a part of them",
                )?;
            }
            let flying = connections * streams;
            within("connections times streams", flying, flying <= 65_536, "at most 65536")?;
        }
        Ok(streams)
    }

    fn pace(&self, measured_s: f64) -> Result<Pace, PlanError> {
        let arrivals = self.arrivals.map(|a| format!("{a:?}").to_lowercase());
        let trace = self.trace.as_ref().map(|trace| trace.name().to_owned());
        if let Some(clients) = self.clients {
            within("clients", clients, (1..=65_536).contains(&clients), "from 1 to 65536")?;
            let clients_exclude = |b, b_value, why| excludes(("clients", &clients), b, b_value, why);
            let closed = "clients make a closed loop, which has no schedule; give one of the two";
            clients_exclude("rate", self.rate.as_ref().map(RateSetting::to_string), closed)?;
            clients_exclude("arrivals", arrivals, closed)?;
            clients_exclude("trace", trace, closed)?;
            clients_exclude(
                "part",
                self.part.map(|part| part.to_string()),
                "clients make a closed loop, which has no schedule to split; start more clients",
            )?;
            clients_exclude(
                "connections",
                self.connections.map(|n| n.to_string()),
                "in a closed loop each client is one connection; give one of the two",
            )?;
            clients_exclude(
                "streams",
                self.streams.map(|n| n.to_string()),
                "in a closed loop each client is one connection; leave it out",
            )?;
            clients_exclude(
                "backlog_max",
                self.backlog_max.map(|n| n.to_string()),
                "in a closed loop nothing waits; leave it out",
            )?;
            return Ok(Pace::Closed { clients });
        }
        let schedule = if let Some(trace) = &self.trace {
            let own = "a trace says itself when operations are due; give one of the two";
            let trace_excludes = |b, b_value| excludes(("trace", &trace.name()), b, b_value, own);
            trace_excludes("rate", self.rate.as_ref().map(RateSetting::to_string))?;
            trace_excludes("arrivals", arrivals)?;
            let first_s = trace.lines().first().map_or(0.0, |line| line.slot_ns as f64 / 1e9);
            let why = "its first operation is due after that; measure for longer";
            let too_short = (first_s >= measured_s).then(|| measured_s.to_string());
            excludes(("trace", &trace.name()), "duration_s", too_short, why)?;
            Schedule::Trace { trace: trace.clone() }
        } else {
            let setting = self.rate.as_ref().unwrap_or(&RATE);
            let rate: Rate = setting
                .over(measured_s)
                .map_err(|allowed| out_of_range("rate", setting.to_string(), allowed))?;
            let due = rate.due_by(measured_s);
            within("rate", setting, due >= 1.0, "enough for an operation in the time that is measured")?;
            Schedule::Rate { arrivals: self.arrivals.unwrap_or_default(), rate }
        };
        Ok(Pace::Open { schedule })
    }

    fn distribution(&self) -> Result<KeyDistribution, PlanError> {
        let name = self.distribution.unwrap_or(DistributionName::Zipfian);
        let has_theta = matches!(name, DistributionName::Zipfian | DistributionName::Latest);
        let has_hot_keys = matches!(name, DistributionName::Hotspot | DistributionName::Exponential);
        let of = ("distribution", &name.name() as &dyn Display);
        let text = |number: Option<f64>| number.map(|number| number.to_string());
        if !has_theta {
            excludes(of, "theta", text(self.theta), "only zipfian and latest keys have an exponent")?;
        }
        if !has_hot_keys {
            let why = "only hotspot and exponential keys are hot or not";
            excludes(of, "hot_keys", text(self.hot_keys), why)?;
            excludes(of, "hot_operations", text(self.hot_operations), why)?;
        }
        let theta = self.theta.unwrap_or(THETA);
        within("theta", theta, theta > 0.0 && theta <= 10.0, "above 0 and at most 10")?;
        let shares = if name == DistributionName::Hotspot { HOTSPOT } else { EXPONENTIAL };
        let hot_keys = self.hot_keys.unwrap_or(shares.0);
        within("hot_keys", hot_keys, hot_keys > 0.0 && hot_keys <= 1.0, "a share above 0 and at most 1")?;
        let hot_operations = self.hot_operations.unwrap_or(shares.1);
        within(
            "hot_operations",
            hot_operations,
            hot_operations > 0.0 && hot_operations < 1.0,
            "a share above 0 and below 1",
        )?;
        Ok(match name {
            DistributionName::Uniform => KeyDistribution::Uniform,
            DistributionName::Zipfian => KeyDistribution::Zipfian { theta },
            DistributionName::Latest => KeyDistribution::Latest { theta },
            DistributionName::Hotspot => KeyDistribution::Hotspot { hot_keys, hot_operations },
            DistributionName::Exponential => KeyDistribution::Exponential { hot_keys, hot_operations },
            DistributionName::Sequential => KeyDistribution::Sequential,
        })
    }

    /// These settings, and what they leave open from `base`: a whole schedule at a time, so that a rate
    /// given here does not clash with a trace given there.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        let own_pace = self.rate.is_some() || self.trace.is_some() || self.clients.is_some();
        let paced = if own_pace { Self::default() } else { base.clone() };
        let own_keys = self.distribution.is_some();
        let keyed = if own_keys { Self::default() } else { base.clone() };
        // In a closed loop there are no arrivals to space and no connections but the clients'.
        let closed = self.clients.is_some();
        Self {
            workload: self.workload.or(base.workload),
            seed: self.seed.or(base.seed),
            keys: self.keys.or(base.keys),
            value_bytes: self.value_bytes.or(base.value_bytes),
            mix: self.mix.or(base.mix),
            distribution: self.distribution.or(keyed.distribution),
            theta: self.theta.or(keyed.theta),
            hot_keys: self.hot_keys.or(keyed.hot_keys),
            hot_operations: self.hot_operations.or(keyed.hot_operations),
            arrivals: self.arrivals.or(base.arrivals.filter(|_| self.rate.is_some() || !own_pace)),
            rate: self.rate.or(paced.rate),
            trace: self.trace.or(paced.trace),
            clients: self.clients.or(paced.clients),
            part: self.part.or(base.part.filter(|_| !closed)),
            connections: self.connections.or(base.connections.filter(|_| !closed)),
            http: self.http.or(base.http),
            streams: self.streams.or(base.streams.filter(|_| !closed)),
            threads: self.threads.or(base.threads),
            backlog_max: self.backlog_max.or(base.backlog_max.filter(|_| !closed)),
            load: self.load.or(base.load),
            warmup_s: self.warmup_s.or(base.warmup_s),
            duration_s: self.duration_s.or(base.duration_s),
            deadline_s: self.deadline_s.or(base.deadline_s),
        }
    }
}

fn excludes(
    (a, a_value): (&'static str, &dyn Display),
    b: &'static str,
    b_value: Option<String>,
    why: &'static str,
) -> Result<(), PlanError> {
    b_value
        .map_or(Ok(()), |b_value| Err(PlanError::Clash { a, a_value: a_value.to_string(), b, b_value, why }))
}

fn within(
    field: &'static str,
    value: impl Display,
    holds: bool,
    allowed: &'static str,
) -> Result<(), PlanError> {
    if holds { Ok(()) } else { Err(out_of_range(field, value.to_string(), allowed)) }
}

fn out_of_range(field: &'static str, value: String, allowed: &'static str) -> PlanError {
    PlanError::OutOfRange { field, value, allowed }
}

fn seconds(field: &'static str, seconds: f64, may_be_zero: bool) -> Result<Duration, PlanError> {
    let fits = seconds.is_finite() && seconds <= 1e6 && (seconds > 0.0 || (may_be_zero && seconds == 0.0));
    let allowed =
        if may_be_zero { "from 0 to 1,000,000 seconds" } else { "above 0 and at most 1,000,000 seconds" };
    within(field, seconds, fits, allowed)?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_command_line() {
        let plan = LoadPlan::default_bench();
        assert_eq!((plan.keys, plan.connections), (10_000, 64));
        assert_eq!((plan.workload.as_str(), plan.value_bytes), ("mixed", ValueSizes::Fixed { bytes: 1024 }));
        let rate = Rate::Constant { per_s: 2000.0 };
        assert_eq!(
            plan.pace,
            Pace::Open { schedule: Schedule::Rate { arrivals: ArrivalKind::Poisson, rate } }
        );
        assert_eq!(plan.distribution, KeyDistribution::Zipfian { theta: 0.99 });
        assert_eq!((plan.warmup.as_secs(), plan.duration.as_secs()), (5, 30));
    }

    fn trace() -> Trace {
        Trace::parse("t.txt".to_owned(), "0\n12.5\n".as_bytes()).unwrap()
    }

    #[test]
    fn a_schedule_in_which_nothing_comes_due_is_refused() {
        let refused = |settings: PlanSettings| settings.resolve().unwrap_err().to_string();
        for rate in ["0.01", "steps:0,100/60s", "ramp:0..0.01"] {
            let why = refused(PlanSettings { rate: Some(rate.parse().unwrap()), ..PlanSettings::default() });
            assert!(why.starts_with("rate (") && why.contains("enough for an operation"), "{why}");
        }
        let late = Trace::parse("t.txt".to_owned(), "31\n32\n".as_bytes()).unwrap();
        let why =
            refused(PlanSettings { trace: Some(late), duration_s: Some(30.0), ..PlanSettings::default() });
        assert!(why.contains("trace (t.txt) and duration_s (30) clash"), "{why}");
    }

    #[test]
    fn the_backlog_holds_ten_seconds_of_the_rate_within_bounds() {
        let backlog = |rate: &str, given| {
            let settings = PlanSettings {
                rate: Some(rate.parse().unwrap()),
                backlog_max: given,
                ..PlanSettings::default()
            };
            settings.resolve().unwrap().backlog_max
        };
        assert_eq!(backlog("500", None), 20_000);
        assert_eq!(backlog("ramp:1k..90k", None), 900_000);
        assert_eq!(backlog("10M", None), 4_000_000);
        assert_eq!(backlog("90k", Some(5)), 5);
        let at_rate = LoadPlan::default_bench().at_rate(50_000.0, 1);
        assert_eq!(at_rate.backlog_max, 500_000, "trials of a search too");
    }

    #[test]
    fn a_schedule_is_as_long_as_the_measurement_and_the_measurement_as_the_trace() {
        let with = |rate: &str, duration_s| {
            let rate = Some(rate.parse().unwrap());
            let plan = PlanSettings { rate, duration_s, ..PlanSettings::default() }.resolve().unwrap();
            serde_json::to_value(&plan.pace).unwrap()
        };
        assert_eq!(
            with("2k", None),
            serde_json::json!({ "loop": "open", "arrivals": "poisson", "rate": 2000.0 })
        );
        assert_eq!(with("ramp:0..100", None)["rate"], "ramp:0..100/30s");
        assert_eq!(with("steps:1,2", Some(8.0))["rate"], "steps:1,2/4s");
        let plan = PlanSettings { trace: Some(trace()), ..PlanSettings::default() }.resolve().unwrap();
        assert_eq!(plan.duration, Duration::from_millis(12_501));
        let pace = serde_json::to_value(&plan.pace).unwrap();
        let trace = serde_json::json!({ "file": "t.txt", "operations": 2, "last_s": 12.5 });
        assert_eq!(pace, serde_json::json!({ "loop": "open", "trace": trace }));
    }

    #[test]
    fn what_is_given_here_wins_and_takes_what_belongs_to_it_along() {
        let base = || PlanSettings {
            rate: Some("ramp:1..2".parse().unwrap()),
            arrivals: Some(ArrivalKind::Constant),
            connections: Some(8),
            theta: Some(1.2),
            keys: Some(77),
            ..PlanSettings::default()
        };
        let merged = PlanSettings { clients: Some(3), ..PlanSettings::default() }.or(base());
        let plan = merged.resolve().unwrap();
        assert_eq!((plan.pace, plan.keys), (Pace::Closed { clients: 3 }, 77));
        let merged = PlanSettings { trace: Some(trace()), ..PlanSettings::default() }.or(base());
        assert!(merged.resolve().is_ok(), "a trace has no use for a rate");
        let merged = PlanSettings { rate: Some(5.0.into()), ..PlanSettings::default() }.or(base());
        let schedule =
            Schedule::Rate { arrivals: ArrivalKind::Constant, rate: Rate::Constant { per_s: 5.0 } };
        assert_eq!(merged.resolve().unwrap().pace, Pace::Open { schedule });
        let uniform =
            PlanSettings { distribution: Some(DistributionName::Uniform), ..PlanSettings::default() };
        assert_eq!(uniform.or(base()).resolve().unwrap().distribution, KeyDistribution::Uniform);
        assert_eq!(PlanSettings::default().or(base()), base());
    }

    #[test]
    fn clashes_name_both_settings_and_their_values() {
        let closed = || PlanSettings { clients: Some(8), ..PlanSettings::default() };
        for (settings, parts) in [
            (PlanSettings { rate: Some(500.0.into()), ..closed() }, ["clients (8)", "rate (500)"]),
            (PlanSettings { trace: Some(trace()), ..closed() }, ["clients (8)", "trace (t.txt)"]),
            (
                PlanSettings {
                    trace: Some(trace()),
                    rate: Some("ramp:1k..2k".parse().unwrap()),
                    ..PlanSettings::default()
                },
                ["trace (t.txt)", "rate (ramp:1000..2000)"],
            ),
            (
                PlanSettings { arrivals: Some(ArrivalKind::Poisson), ..closed() },
                ["clients (8)", "arrivals (poisson)"],
            ),
            (PlanSettings { connections: Some(9), ..closed() }, ["clients (8)", "connections (9)"]),
            (
                PlanSettings { streams: Some(9), http: Some(Http::Two), ..closed() },
                ["clients (8)", "streams (9)"],
            ),
            (PlanSettings { streams: Some(9), ..PlanSettings::default() }, ["streams (9)", "http (1)"]),
            (
                PlanSettings {
                    streams: Some(2),
                    http: Some(Http::Two),
                    threads: Some(3),
                    ..PlanSettings::default()
                },
                ["streams (2)", "threads (3)"],
            ),
            (
                PlanSettings {
                    distribution: Some(DistributionName::Uniform),
                    theta: Some(0.5),
                    ..PlanSettings::default()
                },
                ["distribution (uniform)", "theta (0.5)"],
            ),
        ] {
            let message = settings.resolve().unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "{message}");
            }
        }
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_range() {
        let with = |change: fn(&mut PlanSettings)| {
            let mut settings = PlanSettings::default();
            change(&mut settings);
            settings.resolve().unwrap_err().to_string()
        };
        assert_eq!(with(|s| s.keys = Some(0)), "keys (0) must be from 1 to 2^40");
        assert!(with(|s| s.rate = Some(f64::NAN.into())).starts_with("rate (NaN)"));
        assert!(with(|s| s.rate = Some((-1.0).into())).starts_with("rate (-1)"));
        assert!(with(|s| s.duration_s = Some(0.0)).starts_with("duration_s (0)"));
        assert!(
            with(|s| s.value_bytes = Some(ValueSizes::Fixed { bytes: 3 })).starts_with("value_bytes (3)")
        );
        let hotspot = |s: &mut PlanSettings| s.distribution = Some(DistributionName::Hotspot);
        let mut settings = PlanSettings::default();
        hotspot(&mut settings);
        settings.hot_keys = Some(0.0);
        assert!(settings.resolve().unwrap_err().to_string().starts_with("hot_keys (0)"));
        assert!(with(|s| s.mix = Some(Mix::default())).starts_with("mix ("));
        assert!(with(|s| s.clients = Some(0)).starts_with("clients (0)"));
        assert!(with(|s| s.threads = Some(0)).starts_with("threads (0)"));
        assert!(with(|s| s.threads = Some(65)).starts_with("threads (65)"), "there are 64 connections");
        assert!(with(|s| s.theta = Some(0.0)).starts_with("theta (0)"));
        assert!(with(|s| s.streams = Some(0)).starts_with("streams (0)"));
        assert!(with(|s| s.streams = Some(101)).starts_with("streams (101)"));
        let most = |s: &mut PlanSettings| {
            (s.http, s.streams, s.connections) = (Some(Http::Two), Some(100), Some(656));
        };
        assert!(with(most).starts_with("connections times streams (65600)"));
    }

    #[test]
    fn operations_in_flight_are_those_of_all_connections() {
        let settings = PlanSettings {
            http: Some(Http::Two),
            streams: Some(5),
            connections: Some(8),
            threads: Some(2),
            ..PlanSettings::default()
        };
        let plan = settings.resolve().unwrap();
        assert_eq!((plan.workers(), plan.connections_per_thread()), (40, 4));
        let told = serde_json::to_value(&plan).unwrap();
        assert_eq!((told["http"].as_u64(), told["streams"].as_u64()), (Some(2), Some(5)));
    }
}
