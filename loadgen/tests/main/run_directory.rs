//! A run directory as a real run leaves it, read back and held against its schemas.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use quorate_loadgen::rundir::{FAULT_SCHEMA, FaultEvent, FaultRecord, RUN_HEAD_SCHEMA, RUN_SCHEMA, Revision};
use quorate_loadgen::trust::MachineInfo;
use quorate_loadgen::{Completion, PlanSettings, RunDirectory, RunOutcome, RunRecord};

use crate::support::{Scripted, load_run, settings, timed_out};

fn complaints(schema: &str, instance: &serde_json::Value) -> Vec<String> {
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(instance).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

/// A run with answers and timeouts into `directory`.
async fn run_into(directory: &RunDirectory, settings: &PlanSettings) -> (RunOutcome, RunRecord) {
    let plan = settings.resolve().unwrap();
    let script = |n: u64| if n % 50 == 49 { timed_out() } else { Completion::ok() };
    let run = load_run(&plan, Arc::new(Scripted(script, AtomicU64::new(0))));
    let mut files = directory.interval_files(1_700_000_000_000_000_000).unwrap();
    let outcome = run.run(&mut files).await;
    files.finish().unwrap();
    let mut record = RunRecord::of("bench", "test", &plan, &outcome, MachineInfo::detect(), 0);
    record.command_line = vec!["quorate".to_owned(), "bench".to_owned()];
    record.revision = Some(Revision { commit: "0123456789abcdef".to_owned(), dirty: false });
    record.versions.insert("quorate".to_owned(), "0.1.0".to_owned());
    directory.write_record(&record).unwrap();
    (outcome, record)
}

#[tokio::test(start_paused = true)]
async fn run_json_of_real_runs_follows_its_schema_and_reads_back() {
    let parent = tempfile::tempdir().unwrap();
    let closed =
        PlanSettings { clients: Some(2), rate: None, arrivals: None, connections: None, ..settings() };
    let whole =
        PlanSettings { load: Some(true), warmup_s: Some(2.0), mix: None, arrivals: None, ..settings() };
    for (name, settings) in [("open", settings()), ("closed", closed), ("whole", whole)] {
        let directory = RunDirectory::at(&parent.path().join(name)).unwrap();
        let (_, record) = run_into(&directory, &settings).await;
        let text = fs::read_to_string(directory.file("run.json")).unwrap();
        let json = serde_json::from_str(&text).unwrap();
        assert_eq!(complaints(RUN_SCHEMA, &json), Vec::<String>::new(), "{name}");
        assert_eq!(complaints(RUN_HEAD_SCHEMA, &json), Vec::<String>::new(), "{name}");
        let read: RunRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read.trust.unwrap().verdict, record.trust.unwrap().verdict);
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["loop"], if name == "closed" { "closed" } else { "open" });
        let started = if name == "whole" { "2023-11-14T22:13:22Z" } else { "2023-11-14T22:13:20Z" };
        assert_eq!(json["started"], started, "when the measurement began, not the warm-up");
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_is_part_of_run_json_and_of_its_schema() {
    use quorate_loadgen::search::{Ended, Interval, Objective, SearchRecord, Trial};
    use quorate_loadgen::trust::Figures;
    let directory = tempfile::tempdir().unwrap();
    let run = RunDirectory::at(&directory.path().join("run")).unwrap();
    let (outcome, mut record) = run_into(&run, &settings()).await;
    let report = outcome.measure.unwrap();
    let plan = settings().resolve().unwrap().at_rate(100.0, 3);
    let objective: Objective = "p99<20ms,put.errors<1%".parse().unwrap();
    let trial = Trial::of(100.0, &report, Figures::of(&report, &plan.pace, Some(2)), &objective);
    assert_eq!(trial.reasons, ["put.errors were 2.000 %", "980 of 1000 operations were answered"]);
    assert!((trial.errors_share - 0.02).abs() < 1e-9, "{trial:?}");
    for (ended, held) in [(Ended::Found, Some(50)), (Ended::NothingHeld, None)] {
        let interval = Interval { held, missed: Some(100) };
        record.search = Some(SearchRecord::of(&objective, ended, interval, vec![trial.clone()]));
        let json: serde_json::Value = serde_json::from_str(&record.to_json()).unwrap();
        assert_eq!(complaints(RUN_SCHEMA, &json), Vec::<String>::new());
        assert_eq!(json["search"]["bounds_ms"][0]["below_ms"], 20.0);
        let read: RunRecord = serde_json::from_value(json).unwrap();
        assert_eq!(read.search, record.search);
    }
}

#[test]
fn the_schema_refuses_what_is_not_a_run() {
    let wrong = serde_json::json!({ "schema_version": 2, "kind": "bench", "surprise": true });
    assert!(complaints(RUN_SCHEMA, &wrong).len() >= 3);
    assert!(complaints(RUN_HEAD_SCHEMA, &wrong).len() >= 3);
}

#[test]
fn faults_are_lines_that_follow_their_schema() {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDirectory::at(directory.path()).unwrap();
    let fault = |at_ns, event| FaultRecord {
        at_ns,
        fault: 0,
        kind: "partition".to_owned(),
        event,
        targets: vec!["n1".to_owned()],
        params: serde_json::Map::new(),
    };
    let faults = [fault(5, FaultEvent::Begin), fault(9, FaultEvent::End)];
    run.write_faults(&faults).unwrap();
    let text = fs::read_to_string(run.file("faults.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 2);
    for (line, fault) in text.lines().zip(&faults) {
        let json = serde_json::from_str(line).unwrap();
        assert_eq!(complaints(FAULT_SCHEMA, &json), Vec::<String>::new());
        assert_eq!(serde_json::from_str::<FaultRecord>(line).unwrap(), *fault);
    }
}

#[tokio::test(start_paused = true)]
async fn the_latency_log_holds_every_value_under_its_tag() {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDirectory::at(directory.path()).unwrap();
    let settings = PlanSettings { warmup_s: Some(2.0), ..settings() };
    let (outcome, _) = run_into(&run, &settings).await;

    let log = fs::read(run.file("latency.hlog")).unwrap();
    assert!(log.starts_with(b"#[Histogram log format version 1.3]\n"));
    let mut by_tag: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    let mut lines = 0;
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            lines += 1;
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            // The maximum that stands in clear is in milliseconds.
            assert!((interval.max() - histogram.max() as f64 / 1e6).abs() < 0.001);
            let all = by_tag.entry(interval.tag().unwrap().as_str().to_owned());
            all.or_insert_with(|| Histogram::new(3).unwrap()).add(&histogram).unwrap();
        }
    }
    let measure = outcome.measure.unwrap();
    let expected: BTreeMap<_, _> = measure
        .recorder
        .series()
        .map(|(series, histogram)| (series.to_string(), histogram.clone()))
        .collect();
    assert_eq!(by_tag, expected, "the measurement, and nothing of the warm-up");
    assert!(lines >= 10 * 4);
    let offered: u64 = by_tag["put.ok.response"].len() + by_tag["put.timeout.response"].len();
    assert_eq!(offered, 1000);
}

#[tokio::test(start_paused = true)]
async fn the_time_series_has_a_row_a_second_and_a_column_for_each_heading() {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDirectory::at(directory.path()).unwrap();
    run_into(&run, &settings()).await;
    let text = fs::read_to_string(run.file("timeseries.csv")).unwrap();
    let mut lines = text.lines();
    let headings: Vec<_> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<_>> = lines.map(|line| line.split(',').collect()).collect();
    assert!((10..=11).contains(&rows.len()), "{}", rows.len());
    assert!(rows.iter().all(|row| row.len() == headings.len()));
    let column = |name: &str| {
        let at = headings.iter().position(|h| *h == name).unwrap();
        rows.iter().map(|row| row[at].parse::<u64>().unwrap()).sum::<u64>()
    };
    assert_eq!((column("offered"), column("sent"), column("ok"), column("timeouts")), (1000, 1000, 980, 20));
}
