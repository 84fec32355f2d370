//! Several parts of one load put together: the runs that machines made of one schedule.
//!
//! Histograms and counts are added; percentiles are taken of the sum and never averaged. Parts that
//! do not belong together (another plan, another program, one missing) are refused, because their sum
//! would be the result of no experiment.
//!
//! Warm-ups are left out: their histograms are in no log. Seconds are put together one after the other, so
//! that hours of several machines take no more memory than their logs take room.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::hlog::{self, Log, LogLine};
use super::record::{LoadRecord, RunRecord, SCHEMA_VERSION};
use super::timeseries::{self, Row};
use super::{IntervalsLost, RunDirectory, RunDirectoryError, utc_rfc3339};
use crate::engine::{Ended, Interval, PhaseReport};
use crate::observe::Phase;
use crate::plan::{Pace, Part};
use crate::recorder::{Measure, Recorder};
use crate::results::Results;
use crate::target::Outcome;
use crate::trust::{Figures, LoadOnMachine, Trust, Verdict};
use crate::workload::OpKind;

/// How far apart parts may have begun: beyond that they were not one load.
const SPREAD_FINE: Duration = Duration::from_secs(1);

/// Runs that cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Nothing to put together.
    #[error("give the run directories of all parts")]
    Nothing,
    /// A file of a part that is missing, unreadable or damaged.
    #[error("{}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A run that is no part of one.
    #[error("{} is no part of a load: make parts with `quorate bench --part 1/2`, `--part 2/2`", .0.display())]
    NotAPart(PathBuf),
    /// Two parts that are not of one load.
    #[error("{} and {} are not of one load: {field} is {a_value} in one and {b_value} in the other", .a.display(), .b.display())]
    Differ {
        /// One of them.
        a: PathBuf,
        /// The other.
        b: PathBuf,
        /// Where they differ.
        field: String,
        /// What the one says.
        a_value: String,
        /// What the other says.
        b_value: String,
    },
    /// One part twice.
    #[error("{} and {} are both part {part}", .a.display(), .b.display())]
    Twice {
        /// One of them.
        a: PathBuf,
        /// The other.
        b: PathBuf,
        /// Which part.
        part: Part,
    },
    /// Parts that are not there.
    #[error("of {of} parts these are missing: {missing}")]
    Missing {
        /// How many there are.
        of: u32,
        /// Which are missing.
        missing: String,
    },
    /// The directory for the result cannot be written.
    #[error(transparent)]
    Directory(#[from] RunDirectoryError),
    /// Its files end too soon.
    #[error(transparent)]
    Lost(#[from] IntervalsLost),
}

/// The sum of all parts.
#[derive(Debug)]
pub struct Merged {
    /// Its `run.json`, for the caller to complete (command line, versions) and write.
    pub record: RunRecord,
    runs: Vec<Run>,
    started_wall_ns: u64,
}

/// One part, read.
#[derive(Debug)]
struct Run {
    path: PathBuf,
    part: Part,
    record: RunRecord,
    results: Results,
    log: Log,
    /// All histograms of the log together.
    latencies: Recorder,
    rows: Vec<Row>,
}

/// What all parts have of one second, each counted from the part's own beginning.
#[derive(Default)]
struct Second<'a> {
    rows: Vec<&'a Row>,
    lines: Vec<&'a LogLine>,
}

/// Puts the runs in these directories together.
///
/// # Errors
/// If they are not all parts of one load, or a file of theirs is damaged.
pub fn merge(directories: &[PathBuf]) -> Result<Merged, MergeError> {
    let mut runs = directories.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>()?;
    runs.sort_by_key(|run| run.part);
    let first = runs.first().ok_or(MergeError::Nothing)?;
    runs.iter().try_for_each(|run| first.belongs_with(run))?;
    for pair in runs.windows(2) {
        if pair[0].part == pair[1].part {
            let [a, b] = [&pair[0], &pair[1]].map(|run| run.path.clone());
            return Err(MergeError::Twice { a, b, part: first.part });
        }
    }
    let of = first.part.of();
    let missing: Vec<String> = (1..=of)
        .filter(|number| runs.iter().all(|run| run.part.number() != *number))
        .map(|number| format!("{number}/{of}"))
        .collect();
    if !missing.is_empty() {
        return Err(MergeError::Missing { of, missing: missing.join(", ") });
    }
    Ok(Merged::of(runs))
}

impl Merged {
    fn of(runs: Vec<Run>) -> Self {
        let starts = runs.iter().map(Run::started_wall_ns);
        let started_wall_ns = starts.clone().min().unwrap_or_default();
        let spread = Duration::from_nanos(starts.max().unwrap_or_default() - started_wall_ns);
        let report = whole(&runs, started_wall_ns);
        let results = Results::of(&report);
        let cores = runs.iter().map(|run| run.record.machine.cores).sum();
        // The slots are those of one schedule; only its shape plays no part here.
        let offered_per_s = Some(results.offered_per_s);
        let figures = Figures { offered_per_s, ..Figures::of(&report, &Pace::Closed { clients: 0 }, cores) };
        let mut record = runs[0].record.clone();
        record.command_line.clear();
        record.started = utc_rfc3339(started_wall_ns);
        record.offered_per_s = offered_per_s;
        record.achieved_per_s = Some(results.achieved_per_s);
        record.load = loads(&runs);
        record.warmup = None;
        record.windows = Vec::new();
        record.interrupted = runs.iter().any(|run| run.record.interrupted);
        record.trust = Some(trusted(figures.judge(), &runs, spread));
        record.results = Some(results);
        if let Some(plan) = record.config.get_mut("plan").and_then(Value::as_object_mut) {
            plan.insert("part".to_owned(), Value::Null);
        }
        let parts = runs.iter().map(Run::described).collect::<Vec<_>>();
        record.config.insert("parts".to_owned(), parts.into());
        Self { record, runs, started_wall_ns }
    }

    /// Writes `latency.hlog` and `timeseries.csv`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_intervals(&self, into: &RunDirectory) -> Result<(), MergeError> {
        let mut files = into.interval_files(self.started_wall_ns)?;
        for second in seconds(&self.runs).values() {
            files.write(&second.interval(self.started_wall_ns));
        }
        Ok(files.finish()?)
    }
}

impl Run {
    fn read(path: &Path) -> Result<Self, MergeError> {
        let bytes = |name: &str| {
            let path = path.join(name);
            fs::read(&path).map_err(|e| {
                let why = match e.kind() {
                    io::ErrorKind::NotFound => "not there: is this a run directory?".to_owned(),
                    _ => e.to_string(),
                };
                MergeError::File { path, why }
            })
        };
        let damaged = |name: &str, why: String| MergeError::File { path: path.join(name), why };
        let json: Value = serde_json::from_slice(&bytes("run.json")?)
            .map_err(|e| damaged("run.json", format!("not JSON: {e}")))?;
        let version = json.get("schema_version").and_then(Value::as_u64);
        if version != Some(u64::from(SCHEMA_VERSION)) {
            let why = format!("schema_version is not {SCHEMA_VERSION}: another version of quorate wrote it");
            return Err(damaged("run.json", why));
        }
        let record: RunRecord = serde_json::from_value(json)
            .map_err(|e| damaged("run.json", format!("not the record of a bench: {e}")))?;
        let part = record.config.get("plan").and_then(|plan| plan.get("part")).and_then(Value::as_str);
        let part = part.and_then(|part| part.parse().ok());
        let part = part.ok_or_else(|| MergeError::NotAPart(path.to_owned()))?;
        let results = record.results.clone();
        let results = results.ok_or_else(|| damaged("run.json", "it measured nothing".to_owned()))?;
        let mut latencies = Recorder::default();
        let log = hlog::read(&bytes("latency.hlog")?, |series, histogram| {
            latencies.add_histogram(series, histogram);
        });
        let log = log.map_err(|why| damaged("latency.hlog", why))?;
        let rows = String::from_utf8(bytes("timeseries.csv")?).map_err(|e| e.to_string());
        let rows = rows.and_then(|text| timeseries::read(&text));
        let rows = rows.map_err(|why| damaged("timeseries.csv", why))?;
        let run = Self { path: path.to_owned(), part, record, results, log, latencies, rows };
        run.is_whole()?;
        Ok(run)
    }

    /// A log that was cut short would count for less than it should without a word.
    fn is_whole(&self) -> Result<(), MergeError> {
        let damaged = |name: &str, holds: u64, all: u64| {
            let why = format!("it holds {holds} of {all} operations: it was cut short");
            Err(MergeError::File { path: self.path.join(name), why })
        };
        let all = self.results.ops.values().map(|op| op.ok + op.fail + op.info).sum();
        // An open loop measures all four of every operation.
        for measure in Measure::ALL {
            let of_measure = self.latencies.series().filter(|(series, _)| series.measure == measure);
            let logged = of_measure.map(|(_, histogram)| histogram.len()).sum();
            if logged != all {
                return damaged("latency.hlog", logged, all);
            }
        }
        let listed = self.rows.iter().flat_map(|row| row.outcomes).sum();
        if listed != all { damaged("timeseries.csv", listed, all) } else { Ok(()) }
    }

    /// Refuses a run that is not of the same load.
    fn belongs_with(&self, other: &Self) -> Result<(), MergeError> {
        let [(a, a_value), (b, b_value)] = [self, other].map(|run| (run, run.common()));
        match difference("", &a_value, &b_value) {
            None => Ok(()),
            Some((field, a_value, b_value)) => {
                Err(MergeError::Differ { a: a.path.clone(), b: b.path.clone(), field, a_value, b_value })
            }
        }
    }

    /// What all parts of one load have in common.
    fn common(&self) -> Value {
        let RunRecord { kind, seed, revision, load_loop, config, versions, .. } = &self.record;
        let mut config = config.clone();
        config.remove("troubles");
        if let Some(plan) = config.get_mut("plan").and_then(Value::as_object_mut) {
            plan.remove("part");
            // Each machine as it can: the slots are the same.
            plan.remove("threads");
        }
        json!({
            "parts": self.part.of(), "kind": kind, "seed": seed, "loop": load_loop, "revision": revision,
            "versions": versions, "config": config,
        })
    }

    /// When the measurement began, since the log's start, which is before load phase and warm-up. The
    /// first second in which anything ended is in both files.
    fn since_log_start(&self) -> Duration {
        let logged = self.log.lines.first().map(|line| line.since_start).unwrap_or_default();
        let row = self.rows.iter().find(|row| row.outcomes.iter().any(|count| *count > 0));
        logged.saturating_sub(Duration::from_nanos(row.map_or(0, |row| nanoseconds(row.start_s))))
    }

    fn started_wall_ns(&self) -> u64 {
        u64::try_from((self.log.start + self.since_log_start()).as_nanos()).unwrap_or(u64::MAX)
    }

    /// How `run.json` names a part.
    fn described(&self) -> Value {
        json!({
            "part": self.part, "run": self.path.display().to_string(), "started": self.record.started,
            "machine": self.record.machine, "trust": self.record.trust,
        })
    }
}

/// The first place in which two values differ, and what stands there.
fn difference(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    if let (Value::Object(a), Value::Object(b)) = (a, b) {
        let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
        return names.into_iter().find_map(|name| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            difference(&path, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null))
        });
    }
    (a != b).then(|| (path.to_owned(), a.to_string(), b.to_string()))
}

/// All parts as if one generator had measured them.
fn whole(runs: &[Run], started_wall_ns: u64) -> PhaseReport {
    let mut recorder = Recorder::default();
    for run in runs {
        recorder.merge(&run.latencies);
        for op in OpKind::ALL {
            let Some(counts) = run.results.ops.get(op.name()) else { continue };
            for (outcome, count) in Outcome::ALL.into_iter().zip([counts.ok, counts.fail, counts.info]) {
                recorder.add_count(op, outcome, count);
            }
            recorder.add_timeouts(op, counts.timeouts);
            counts.errors.iter().for_each(|(kind, count)| recorder.add_errors(op, kind, *count));
        }
    }
    let sum = |of: fn(&Results) -> u64| runs.iter().map(|run| of(&run.results)).sum();
    let longest =
        |of: fn(&Results) -> f64| nanoseconds(runs.iter().map(|run| of(&run.results)).fold(0.0, f64::max));
    // As many as a rate means over the time it was measured in.
    let times = |rate: fn(&Results) -> f64| {
        runs.iter().map(|run| (rate(&run.results) * run.results.scheduled_s).round() as u64).sum()
    };
    let machines = runs.iter().filter_map(|run| {
        let figures = run.record.trust.as_ref()?.figures;
        Some(LoadOnMachine {
            own_cpu_cores: figures.own_cpu_cores?,
            steal_percent: figures.steal_percent,
            run_queue_percent: figures.run_queue_percent,
        })
    });
    PhaseReport {
        phase: Phase::Measure,
        started_wall_ns,
        started_ns: 0,
        elapsed_ns: longest(|results| results.elapsed_s),
        scheduled_ns: longest(|results| results.scheduled_s),
        in_schedule: Ended { answered: times(|r| r.achieved_per_s), ok: times(|r| r.ok_per_s) },
        offered: sum(|results| results.offered),
        sent: sum(|results| results.sent),
        dropped: sum(|results| results.dropped),
        backlog_at_end: sum(|results| results.backlog_at_end),
        recorder,
        first_error: runs.iter().find_map(|run| run.results.first_error.clone()),
        machine: machines.reduce(together),
    }
}

/// The seconds of all parts, in order.
fn seconds(runs: &[Run]) -> BTreeMap<u64, Second<'_>> {
    let mut seconds: BTreeMap<u64, Second<'_>> = BTreeMap::new();
    for row in runs.iter().flat_map(|run| &run.rows) {
        seconds.entry(row.start_s.round() as u64).or_default().rows.push(row);
    }
    for run in runs {
        let beginning = run.since_log_start();
        for line in &run.log.lines {
            // A histogram belongs to a row of the same time, so there is a second for it.
            let number = line.since_start.saturating_sub(beginning).as_secs_f64().round() as u64;
            if let Some((_, second)) = seconds.range_mut(..=number).next_back() {
                second.lines.push(line);
            }
        }
    }
    seconds
}

impl Second<'_> {
    /// The sum.
    fn interval(&self, started_wall_ns: u64) -> Interval {
        let starts = self.rows.iter().map(|row| nanoseconds(row.start_s));
        let ends = self.rows.iter().map(|row| nanoseconds(row.start_s) + nanoseconds(row.duration_s));
        let start_ns = starts.min().unwrap_or_default();
        let sum = |of: fn(&Row) -> u64| self.rows.iter().map(|row| of(row)).sum::<u64>();
        let mut recorder = Recorder::default();
        for row in &self.rows {
            // A row has them for all operations together, and so will the sum.
            for (outcome, count) in Outcome::ALL.into_iter().zip(row.outcomes) {
                recorder.add_count(OpKind::Get, outcome, count);
            }
            recorder.add_timeouts(OpKind::Get, row.timeouts);
        }
        for line in &self.lines {
            recorder.add_histogram(line.series, &line.histogram());
        }
        let machine = self.rows.iter().filter_map(|row| {
            Some(LoadOnMachine {
                own_cpu_cores: row.own_cpu_cores?,
                steal_percent: row.steal_percent,
                run_queue_percent: row.run_queue_percent,
            })
        });
        Interval {
            phase: Phase::Measure,
            start_ns,
            start_wall_ns: started_wall_ns + start_ns,
            duration_ns: ends.max().unwrap_or_default().saturating_sub(start_ns),
            offered: sum(|row| row.offered),
            sent: sum(|row| row.sent),
            dropped: sum(|row| row.dropped),
            backlog: sum(|row| row.backlog) as usize,
            in_flight: sum(|row| row.in_flight) as usize,
            recorder,
            machine: machine.reduce(together),
        }
    }
}

/// Work adds up over machines; of what disturbs them, the worst counts.
fn together(a: LoadOnMachine, b: LoadOnMachine) -> LoadOnMachine {
    let worse = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
    LoadOnMachine {
        own_cpu_cores: a.own_cpu_cores + b.own_cpu_cores,
        steal_percent: worse(a.steal_percent, b.steal_percent),
        run_queue_percent: worse(a.run_queue_percent, b.run_queue_percent),
    }
}

fn loads(runs: &[Run]) -> Option<LoadRecord> {
    runs.iter().filter_map(|run| run.record.load.clone()).reduce(|a, b| LoadRecord {
        keys: a.keys + b.keys,
        loaded: a.loaded + b.loaded,
        unknown: a.unknown + b.unknown,
        failed: a.failed + b.failed,
        elapsed_s: a.elapsed_s.max(b.elapsed_s),
        first_error: a.first_error.or(b.first_error),
    })
}

/// The sum is trusted no further than each part, nor if the parts were not one load.
fn trusted(mut trust: Trust, runs: &[Run], spread: Duration) -> Trust {
    for run in runs {
        let Some(of_part) = &run.record.trust else { continue };
        trust.reasons.extend(of_part.reasons.iter().map(|reason| format!("part {}: {reason}", run.part)));
        if trust.verdict == Verdict::Valid {
            trust.verdict = of_part.verdict;
        }
    }
    if spread > SPREAD_FINE {
        let apart = spread.as_secs_f64();
        trust.reasons.push(format!("the parts began {apart:.1} s apart (use --start-at): not one load"));
        if trust.verdict == Verdict::Valid {
            trust.verdict = Verdict::Disturbed;
        }
    }
    trust
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
