//! The checkers, each against its bar in time and memory.
//!
//! Without `QUORATE_BARS` it is an ordinary criterion bench over smaller histories. With it (`just
//! bench-check`) every case runs in a process of its own, on a history read from a file as `quorate check`
//! would read it: best computing time of three, and the most memory that the process ever had, history included.
//! Every case is checked for its verdict, so the bench is a test too; a bar that is missed is exit code 1.
//! Recorded etcd logs are judged as well if `QUORATE_HISTORIES` names a directory with some.

use std::hint::black_box;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput};
use quorate_benches::histories::{Conflicts, Values, read_modify_write, register, set};
use quorate_check::history::{History, HistoryWriter, Operation};
use quorate_check::{Model, Options, Verdict, check, check_path};

/// One row of the table.
struct Case {
    name: &'static str,
    operations: u64,
    make: fn(u64) -> Vec<Operation>,
    model: Model,
    expected: Verdict,
    distances: bool,
    seconds_max: f64,
    megabytes_max: Option<u64>,
}

const MILLION: u64 = 1_000_000;

fn row(name: &'static str, operations: u64, make: fn(u64) -> Vec<Operation>, seconds_max: f64) -> Case {
    Case {
        name,
        operations,
        make,
        model: Model::Register,
        expected: Verdict::Valid,
        distances: false,
        seconds_max,
        megabytes_max: None,
    }
}

fn siblings(name: &'static str, make: fn(u64) -> Vec<Operation>) -> Case {
    Case { model: Model::Siblings, ..row(name, MILLION, make, 2.0) }
}

fn cases() -> Vec<Case> {
    use Conflicts::{LastWriteWins, Siblings};
    let plain: fn(u64) -> Vec<Operation> = |count| register(count, 100, Values::Unique);
    let stale: fn(u64) -> Vec<Operation> = |count| register(count, 100, Values::OneStale);
    vec![
        Case { megabytes_max: Some(128), ..row("unique-valid", MILLION, plain, 0.25) },
        Case {
            megabytes_max: Some(128),
            expected: Verdict::Invalid,
            ..row("unique-invalid", MILLION, stale, 0.25)
        },
        Case { megabytes_max: Some(1_200), ..row("unique-10-million", 10 * MILLION, plain, 4.0) },
        row("concurrency-10", MILLION, |count| register(count, 10, Values::Unique), 0.25),
        row("concurrency-1000", MILLION, |count| register(count, 1_000, Values::Unique), 0.375),
        Case {
            megabytes_max: Some(200),
            ..row("repeated-values", 100_000, |count| register(count, 10, Values::Repeated), 3.0)
        },
        Case {
            expected: Verdict::Invalid,
            distances: true,
            ..row("distances", MILLION, |count| register(count, 100, Values::ManyStale), 1.0)
        },
        siblings("siblings-one-key", |count| read_modify_write(count, 10, 1, Siblings, (0, 0))),
        siblings("siblings-one-key-wide", |count| read_modify_write(count, 100, 1, Siblings, (0, 0))),
        siblings("siblings-10000-keys", |count| read_modify_write(count, 100, 10_000, Siblings, (10, 20))),
        siblings("siblings-deletes-and-blind-writes", |count| {
            read_modify_write(count, 10, 1, Siblings, (10, 20))
        }),
        Case {
            expected: Verdict::Invalid,
            ..siblings("last-write-wins", |count| read_modify_write(count, 100, 1, LastWriteWins, (0, 0)))
        },
        Case { model: Model::Set, ..row("set", MILLION, |count| set(count, 100, 20), 2.0) },
    ]
}

fn options(case: &Case) -> Options {
    Options { model: Some(case.model), distances: case.distances, ..Options::default() }
}

/// Seconds that this process has computed for: what a busy machine does beside it is not its fault. By the
/// clock where the system does not say.
fn computed(started: Instant) -> f64 {
    let said = std::fs::read_to_string("/proc/self/schedstat").ok();
    let nanoseconds = said.and_then(|said| said.split_whitespace().next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| started.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// Runs one case in this process, on a file: prints seconds to parse, seconds to check, megabytes.
fn child(case: &Case, file: &Path) {
    let started = Instant::now();
    let before = computed(started);
    let history = History::read(file).expect("the parent wrote it");
    let parsed = computed(started) - before;
    let best = (0..3).map(|_| {
        let before = computed(started);
        let report = check(&history, &options(case));
        assert_eq!((report.verdict, report.operations as u64), (case.expected, case.operations));
        computed(started) - before
    });
    let best = best.fold(f64::MAX, f64::min);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: u64 = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    println!("{parsed} {best} {}", kilobytes / 1_000);
}

/// Seconds for all etcd logs of recorded histories together, parsing included, on one core.
const ETCD_LOGS_MAX: f64 = 0.025;

/// The environment variable that names a directory of recorded histories, which are never part of the
/// repository.
const RECORDED: &str = "QUORATE_HISTORIES";

/// The etcd logs among the recorded histories; none without them.
fn etcd_logs() -> Vec<PathBuf> {
    let Some(directory) = std::env::var_os(RECORDED) else { return Vec::new() };
    let directory = Path::new(&directory).join("etcd");
    let entries = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{RECORDED}: {}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("the directory can be listed").path());
    let mut logs: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    logs.sort();
    assert!(!logs.is_empty(), "{RECORDED}: no logs in {}", directory.display());
    logs
}

/// Reads and judges all etcd logs in this process, several times: prints how many, and the best time.
fn etcd_child() {
    let logs = etcd_logs();
    let started = Instant::now();
    let best = (0..5).map(|_| {
        let before = computed(started);
        for log in &logs {
            let verdict = check_path(log, &Options::default()).verdict;
            assert!(matches!(verdict, Verdict::Valid | Verdict::Invalid), "{}: {verdict}", log.display());
        }
        computed(started) - before
    });
    println!("{} {}", logs.len(), best.fold(f64::MAX, f64::min));
}

/// The row of the etcd logs; true if they missed their bar.
fn etcd_row() -> bool {
    let name = "etcd-logs, parse included";
    if std::env::var_os(RECORDED).is_none() {
        println!("{name:<36} skipped: {RECORDED} names no directory of recorded histories");
        return false;
    }
    let this = std::env::current_exe().expect("the bench knows where it is");
    let output = Command::new(&this).arg("--etcd-logs").output().expect("the bench can run itself");
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [logs, seconds] = figures[..] else {
        println!("{name:<36} failed: {}", String::from_utf8_lossy(&output.stderr));
        return true;
    };
    let is_missed = seconds > ETCD_LOGS_MAX;
    let note = if is_missed { "  MISSED" } else { "" };
    println!("{name:<36} {seconds:>9.3} {ETCD_LOGS_MAX:>8} {logs:>8} logs{note}");
    is_missed
}

/// All cases against their bars.
fn bars(wanted: &[String]) -> ExitCode {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let this = std::env::current_exe().expect("the bench knows where it is");
    let mut missed = 0;
    let mut by_concurrency: Vec<f64> = Vec::new();
    println!("{:<36} {:>9} {:>8} {:>8} {:>12}", "case", "check s", "at most", "MB", "parsed op/s");
    for (number, case) in cases().iter().enumerate() {
        if !wanted.is_empty() && !wanted.iter().any(|name| case.name.contains(name.as_str())) {
            continue;
        }
        let file = directory.path().join("history.jsonl");
        let sink = BufWriter::new(std::fs::File::create(&file).expect("the directory can be written"));
        let mut writer = HistoryWriter::plain(sink);
        let operations = (case.make)(case.operations);
        operations.iter().for_each(|operation| writer.write(operation).expect("the disk has room"));
        drop(operations);
        writer.finish().expect("the disk has room");
        let mut command = Command::new(&this);
        let output = command.arg("--child").arg(number.to_string()).arg(&file).output();
        let output = output.expect("the bench can run itself");
        let text = String::from_utf8_lossy(&output.stdout);
        let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [parsed, seconds, megabytes] = figures[..] else {
            println!("{:<36} failed: {}", case.name, String::from_utf8_lossy(&output.stderr));
            missed += 1;
            continue;
        };
        let rate = case.operations as f64 / parsed;
        let too_much = case.megabytes_max.is_some_and(|most| megabytes > most as f64);
        let plain = case.model == Model::Register;
        let is_missed = seconds > case.seconds_max || too_much || (plain && rate < 1e6);
        missed += u32::from(is_missed);
        println!(
            "{:<36} {seconds:>9.3} {:>8} {:>8} {rate:>12.0}{}",
            case.name,
            case.seconds_max,
            case.megabytes_max.map_or(format!("{megabytes}"), |most| format!("{megabytes}/{most}")),
            if is_missed { "  MISSED" } else { "" }
        );
        if case.name.starts_with("concurrency") {
            by_concurrency.push(seconds);
        }
    }
    if wanted.is_empty() || wanted.iter().any(|name| "etcd-logs".contains(name.as_str())) {
        missed += u32::from(etcd_row());
    }
    if let [ten, thousand] = by_concurrency[..] {
        let is_missed = thousand > 1.5 * ten;
        missed += u32::from(is_missed);
        let note = if is_missed { "  MISSED" } else { "" };
        println!("{:<36} {:>9.2} {:>8}{note}", "concurrency 1000 over 10, times", thousand / ten, 1.5);
    }
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Smaller histories under criterion, for comparing one revision with another.
fn criterion() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("checkers");
    group.sample_size(10);
    for case in cases().iter().filter(|case| case.name != "unique-10-million") {
        let operations = case.operations / 10;
        let history =
            History::from_operations(&(case.make)(operations)).expect("the generator keeps to the format");
        assert_eq!(check(&history, &options(case)).verdict, case.expected, "{}", case.name);
        group.throughput(Throughput::Elements(operations));
        group.bench_function(BenchmarkId::new(case.name, operations), |bencher| {
            bencher.iter(|| black_box(check(black_box(&history), &options(case))).verdict);
        });
    }
    group.finish();
    criterion.final_summary();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if arguments == ["--etcd-logs"] {
        etcd_child();
        return ExitCode::SUCCESS;
    }
    if let [flag, number, file] = arguments.as_slice()
        && flag == "--child"
    {
        let number: usize = number.parse().expect("the parent gives a number");
        child(&cases()[number], Path::new(file));
        return ExitCode::SUCCESS;
    }
    if std::env::var_os("QUORATE_BARS").is_some() {
        return bars(&arguments);
    }
    criterion();
    ExitCode::SUCCESS
}
