//! One schedule over several generators, and their runs put together again.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_env::BoxFuture;
use quorate_loadgen::recorder::Series;
use quorate_loadgen::rundir::{MergeError, Merged, Revision, merge};
use quorate_loadgen::trust::MachineInfo;
use quorate_loadgen::{
    Call, CallKind, Completion, PlanSettings, Recorder, Results, RunDirectory, RunOutcome, RunRecord, Target,
    Verdict,
};
use tempfile::TempDir;

use crate::support::{load_run, settings, timed_out};

/// A store whose answer is a function of the call alone, so that it matters to nobody who else calls.
struct Predictable;

impl Target for Predictable {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            let slow = if call.kind == CallKind::Put { 10 } else { 1 };
            tokio::time::sleep(Duration::from_millis(slow + call.key % 17)).await;
            if call.key % 23 == 5 { timed_out() } else { Completion::ok() }
        })
    }
}

/// Half gets, half puts, at random moments, with more connections than are ever needed.
fn load() -> PlanSettings {
    PlanSettings { mix: None, arrivals: None, connections: Some(200), load: Some(true), ..settings() }
}

async fn run_into(dir: PathBuf, settings: &PlanSettings) -> (RunOutcome, RunRecord) {
    let plan = settings.resolve().unwrap();
    let directory = RunDirectory::at(&dir).unwrap();
    let mut files = directory.interval_files(1_700_000_000_000_000_000).unwrap();
    let outcome = load_run(&plan, Arc::new(Predictable)).run(&mut files).await;
    files.finish().unwrap();
    let machine = MachineInfo { cores: Some(2), ..MachineInfo::detect() };
    let mut record = RunRecord::of("bench", "bench", &plan, &outcome, machine, 0);
    record.revision = Some(Revision { commit: "0123456789abcdef".to_owned(), dirty: false });
    directory.write_record(&record).unwrap();
    (outcome, record)
}

/// Runs these parts into directories of a temporary one.
async fn run_parts(settings: &PlanSettings, parts: &[&str]) -> (TempDir, Vec<PathBuf>) {
    let parent = TempDir::new().unwrap();
    let mut dirs = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let dir = parent.path().join(number.to_string());
        run_into(dir.clone(), &PlanSettings { part: Some(part.parse().unwrap()), ..settings.clone() }).await;
        dirs.push(dir);
    }
    (parent, dirs)
}

/// Each value with its count.
type Buckets = Vec<(u64, u64)>;

fn histograms(recorder: &Recorder) -> Vec<(Series, u64, Buckets)> {
    let buckets = |series: Series| {
        let merged = recorder.merged(|s| s == series);
        let values = merged.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect();
        (series, merged.len(), values)
    };
    recorder.series().map(|(series, _)| buckets(series)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_sum_of_all_parts_is_what_one_generator_would_have_measured() {
    let parent = TempDir::new().unwrap();
    let (whole, whole_record) = run_into(parent.path().join("whole"), &load()).await;
    // In any order.
    let (_parts, dirs) = run_parts(&load(), &["2/3", "3/3", "1/3"]).await;
    let merged = merge(&dirs).unwrap();

    let whole = whole.measure.unwrap();
    let [all, of_parts] = [Results::of(&whole), merged.record.results.clone().unwrap()];
    assert_eq!((of_parts.offered, of_parts.sent, of_parts.dropped), (all.offered, all.sent, all.dropped));
    assert!(all.offered > 900, "{}", all.offered);
    assert_eq!(of_parts.ops, all.ops, "counts, errors and every percentile of every series");
    assert!(of_parts.ops["put"].timeouts > 10);
    assert_eq!(of_parts.lateness, all.lateness);
    assert_eq!(merged.record.load.as_ref().unwrap().loaded, whole_record.load.unwrap().loaded);
    assert_eq!(merged.record.trust.as_ref().unwrap().verdict, whole_record.trust.unwrap().verdict);
    assert_eq!(merged.record.machine.cores, Some(2));
    assert_eq!(merged.record.trust.as_ref().unwrap().figures.cores, Some(6));

    // The merged directory holds the same again.
    let directory = RunDirectory::at(&parent.path().join("merged")).unwrap();
    merged.write_intervals(&directory).unwrap();
    let mut record = merged.record;
    record.command_line = vec!["quorate".into()];
    directory.write_record(&record).unwrap();
    let json = serde_json::from_str(&fs::read_to_string(directory.file("run.json")).unwrap()).unwrap();
    let schema = serde_json::from_str(quorate_loadgen::rundir::RUN_SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&json), "{:?}", validator.iter_errors(&json).next());
    assert_eq!(histograms(&logged(&directory.file("latency.hlog"))), histograms(&whole.recorder));
    let csv = fs::read_to_string(directory.file("timeseries.csv")).unwrap();
    let offered: u64 =
        csv.lines().skip(1).map(|line| line.split(',').nth(3).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(
        (offered, csv.lines().count()),
        (all.offered, 12),
        "ten seconds, and what was still in flight"
    );
}

/// All of a log, by an independent way to read it.
fn logged(path: &std::path::Path) -> Recorder {
    use base64::Engine as _;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let mut recorder = Recorder::default();
    for entry in IntervalLogIterator::new(&fs::read(path).unwrap()) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            recorder.add_histogram(interval.tag().unwrap().as_str().parse().unwrap(), &histogram);
        }
    }
    recorder
}

fn refused(result: Result<Merged, MergeError>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_belong_together_is_refused_and_why() {
    let (_keep, dirs) = run_parts(&load(), &["1/3", "2/3", "3/3", "2/3"]).await;
    refused(merge(&[]), &["all parts"]);
    refused(merge(&dirs[..2]), &["of 3 parts", "missing: 3/3"]);
    refused(merge(&dirs[1..]), &["are both part 2/3"]);
    let (_keep, slow) = run_parts(&PlanSettings { seed: Some(2), ..load() }, &["3/3"]).await;
    refused(merge(&[&dirs[..2], &slow[..]].concat()), &["config.plan.seed is 1 in one and 2 in the other"]);
    let (_keep, halves) = run_parts(&load(), &["2/2"]).await;
    refused(merge(&[&dirs[..1], &halves[..]].concat()), &["parts is 3 in one and 2 in the other"]);
    let whole = TempDir::new().unwrap();
    run_into(whole.path().join("run"), &load()).await;
    refused(merge(&[whole.path().join("run")]), &["no part of a load", "--part 1/2"]);
    refused(merge(&[whole.path().join("absent")]), &["absent/run.json", "is this a run directory"]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_part_is_refused_by_file() {
    let (_keep, dirs) = run_parts(&load(), &["1/2", "2/2"]).await;
    for (file, parts) in [
        ("latency.hlog", &["latency.hlog", "cut short"][..]),
        ("timeseries.csv", &["timeseries.csv", "cut short"]),
        ("run.json", &["run.json", "not JSON"]),
    ] {
        let path = dirs[1].join(file);
        let whole = fs::read(&path).unwrap();
        // A few whole lines less: what a full disk leaves.
        let lines = whole.split_inclusive(|b| *b == b'\n').count();
        let cut: Vec<u8> =
            whole.split_inclusive(|b| *b == b'\n').take(lines - 3).flatten().copied().collect();
        fs::write(&path, cut).unwrap();
        refused(merge(&dirs), parts);
        fs::write(&path, whole).unwrap();
    }
    merge(&dirs).unwrap();
}

#[tokio::test(start_paused = true)]
async fn parts_of_another_time_or_a_doubtful_one_are_not_trusted() {
    let (_keep, dirs) = run_parts(&load(), &["1/2", "2/2"]).await;
    // An hour later.
    let log = dirs[1].join("latency.hlog");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replace("StartTime: 1700000000", "StartTime: 1700003600")).unwrap();
    let trust = merge(&dirs).unwrap().record.trust.unwrap();
    assert_eq!(trust.verdict, Verdict::Disturbed);
    assert!(trust.reasons[0].contains("began 3600.0 s apart"), "{:?}", trust.reasons);
    fs::write(&log, text).unwrap();

    let run = dirs[0].join("run.json");
    let mut record: RunRecord = serde_json::from_str(&fs::read_to_string(&run).unwrap()).unwrap();
    let trust = record.trust.as_mut().unwrap();
    (trust.verdict, trust.reasons) = (Verdict::GeneratorLimited, vec!["too slow".into()]);
    fs::write(&run, record.to_json()).unwrap();
    let trust = merge(&dirs).unwrap().record.trust.unwrap();
    assert_eq!(
        (trust.verdict, trust.reasons),
        (Verdict::GeneratorLimited, vec!["part 1/2: too slow".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_common_start_is_waited_for_and_a_missed_one_is_told() {
    let plan = PlanSettings { warmup_s: Some(2.0), ..load() }.resolve().unwrap();
    // Support's clocks begin at this moment.
    let wall_ns = 1_700_000_000_000_000_000;
    let start_ns = wall_ns + 60_000_000_000;
    let outcome = load_run(&plan, Arc::new(Predictable)).with_start(start_ns).run(&mut ()).await;
    assert_eq!(outcome.late_by, None);
    let [warmup, measure] = [outcome.warmup, outcome.measure].map(|report| report.unwrap().started_wall_ns);
    assert!(measure.abs_diff(start_ns) < 10_000_000, "{measure}");
    assert!(warmup.abs_diff(start_ns - 2_500_000_000) < 10_000_000, "{warmup}");

    let outcome = load_run(&plan, Arc::new(Predictable)).with_start(wall_ns + 1).run(&mut ()).await;
    assert!(outcome.late_by.is_some_and(|late| late > Duration::from_secs(2)) && outcome.measure.is_none());
}
