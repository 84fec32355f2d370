//! Histories recorded from real systems, judged where they lie: set `QUORATE_HISTORIES` to a directory
//! with `etcd/*.log`, `kv/*-{ok,bad}.txt`, `cas-register/{good,bad}/*.edn` and
//! `multi-register/*.edn`, as Porcupine and Knossos have them. Without it the test says so and passes.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_check::history::{Format, History, Value};
use quorate_check::{Options, Report, Verdict, check};

/// The linearizable ones among the etcd logs with odd numbers.
const LINEARIZABLE: [u32; 12] = [5, 7, 25, 31, 45, 49, 51, 53, 67, 75, 87, 101];

fn directory() -> Option<PathBuf> {
    let directory = std::env::var_os("QUORATE_HISTORIES").map(PathBuf::from);
    if directory.is_none() {
        eprintln!("skipped: QUORATE_HISTORIES is not set");
    }
    directory
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|p| p.is_file()).collect();
    files.sort();
    files
}

fn judge(path: &Path, options: &Options) -> (Report, Duration) {
    let started = Instant::now();
    let history = History::read(path).unwrap_or_else(|error| panic!("{error}"));
    let report = check(&history, options);
    (report, started.elapsed())
}

fn expected(path: &Path) -> Option<Verdict> {
    let name = path.file_stem()?.to_str()?;
    let folder = path.parent()?.file_name()?.to_str()?;
    let valid = match folder {
        "etcd" => {
            let number: u32 = name.strip_prefix("etcd_")?.parse().ok()?;
            // The others are as good, but nobody wrote down here what they are.
            if number.is_multiple_of(2) {
                return None;
            }
            LINEARIZABLE.contains(&number)
        }
        "kv" => name.ends_with("-ok"),
        "good" | "multi-register" => true,
        "bad" => false,
        _ => return None,
    };
    Some(if valid { Verdict::Valid } else { Verdict::Invalid })
}

#[test]
fn every_recorded_history_gets_its_verdict() {
    let Some(directory) = directory() else { return };
    let mut wrong = Vec::new();
    let mut judged = 0;
    for folder in ["etcd", "kv", "cas-register/good", "cas-register/bad", "multi-register"] {
        let mut total = Duration::ZERO;
        for path in files(&directory.join(folder)) {
            let (report, took) = judge(&path, &Options::default());
            total += took;
            judged += 1;
            if expected(&path).is_some_and(|verdict| verdict != report.verdict) {
                wrong.push(format!("{}: {} {:?}", path.display(), report.verdict, report.not_judged));
            }
            println!(
                "{:<60} {:<8} {:<14} {:<24} {:>6} ops {:>10.3} ms witness {:?} first {:?}",
                path.strip_prefix(&directory).unwrap().display(),
                report.verdict.to_string(),
                report.model.map_or("", |model| model.name()),
                report.algorithm,
                report.operations,
                took.as_secs_f64() * 1e3,
                report.witness.as_ref().map(Vec::len),
                report.first_impossible.map(|first| (first.event, first.operation)),
            );
        }
        println!("{folder}: {:.3} ms in all", total.as_secs_f64() * 1e3);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(judged > 0, "no histories under {}", directory.display());
}

#[test]
fn the_first_impossible_operation_is_the_one_that_knossos_pins() {
    let Some(directory) = directory() else { return };
    let bad = directory.join("cas-register/bad");
    for (name, initial, event) in [
        ("bad-analysis", None, 14),
        ("immediate-failure", None, 3),
        ("rethink-fail-minimal", Some(Value::Null), 4),
    ] {
        let path = bad.join(name).with_extension("edn");
        if !path.is_file() {
            continue;
        }
        let (report, _) = judge(&path, &Options { initial, ..Options::default() });
        assert_eq!(report.first_impossible.map(|first| first.event), Some(event), "{name}: {report:#?}");
    }
}

#[test]
fn every_recorded_history_keeps_its_verdict_when_converted_to_json_lines() {
    let Some(directory) = directory() else { return };
    for folder in ["etcd", "kv", "cas-register/good", "cas-register/bad", "multi-register"] {
        for path in files(&directory.join(folder)) {
            let history = History::read(&path).unwrap();
            let before = check(&history, &Options::default());
            let mut lines = Vec::new();
            history.convert(Format::Jsonl, &mut lines).unwrap();
            if history.entries().is_empty() {
                continue;
            }
            let again = History::from_jsonl(lines.as_slice(), "converted").unwrap();
            let model = before.model;
            let initial =
                model.and_then(|model| quorate_check::initial_of(history.conventions().format, model));
            let after = check(&again, &Options { model, initial, ..Options::default() });
            assert_eq!(after.verdict, before.verdict, "{}", path.display());
            assert_eq!(
                after.first_impossible.map(|first| first.operation),
                before.first_impossible.map(|first| first.operation),
                "{}",
                path.display()
            );
        }
    }
}
