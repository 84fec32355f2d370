//! Histories recorded from real systems, judged where they lie: `QUORATE_HISTORIES` names a directory
//! with `etcd/*.log`, `kv/*-{ok,bad}.txt`, `cas-register/{good,bad}/*.edn` and
//! `multi-register/*.edn`, as Porcupine and Knossos have them. They are no part of this repository, so
//! these tests are ignored unless asked for: `just histories DIRECTORY`.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_check::history::{Argument, Format, Function, History, Operation, Outcome, Value};
use quorate_check::{Options, Report, Verdict, check};

/// The linearizable ones among the etcd logs with odd numbers.
const LINEARIZABLE: [u32; 12] = [5, 7, 25, 31, 45, 49, 51, 53, 67, 75, 87, 101];

fn directory() -> PathBuf {
    let directory = std::env::var_os("QUORATE_HISTORIES").map(PathBuf::from);
    directory.unwrap_or_else(|| panic!("QUORATE_HISTORIES must name a directory of recorded histories"))
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
#[ignore = "needs recorded histories: just histories DIRECTORY"]
fn every_recorded_history_gets_its_verdict() {
    let directory = directory();
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
#[ignore = "needs recorded histories: just histories DIRECTORY"]
fn the_first_impossible_operation_is_the_one_that_knossos_pins() {
    let directory = directory();
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
#[ignore = "needs recorded histories: just histories DIRECTORY"]
fn every_recorded_history_keeps_its_verdict_when_converted_to_json_lines() {
    let directory = directory();
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

/// A register and a value, none for "not found".
type Touch = (Value, Option<Value>);

/// What an operation may have seen, and what it wrote.
fn touches(operation: &Operation) -> (Vec<Touch>, Vec<Touch>) {
    let key = operation.key.clone();
    let on = |value: &Value| vec![(key.clone(), Some(value.clone()).filter(|value| *value != Value::Null))];
    match (&operation.f, &operation.value) {
        (Function::Get, _) => {
            let seen = operation.values.iter().flatten().map(|value| (key.clone(), Some(value.clone())));
            (seen.chain([(key.clone(), None)]).collect(), Vec::new())
        }
        (Function::Cas, Some(Argument::Pair(from, to))) => (on(from), on(to)),
        (Function::Txn, Some(Argument::Steps(steps))) => {
            let of = |f: Function| {
                let steps = steps.iter().filter(move |(other, ..)| *other == f);
                steps.map(|(_, key, value)| (key.clone(), Some(value.clone()))).collect()
            };
            (of(Function::Get), of(Function::Put))
        }
        (Function::Delete, _) => (Vec::new(), vec![(key.clone(), None)]),
        (_, Some(Argument::One(value))) => (Vec::new(), on(value)),
        _ => (Vec::new(), Vec::new()),
    }
}

/// Whether the first may have seen what the second wrote; of strings, anywhere in it.
fn may_see(reader: &Operation, writer: &Operation) -> bool {
    let (seen, wrote) = (touches(reader).0, touches(writer).1);
    let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let is_part = |seen: &Option<Value>, wrote: &Option<Value>| match writer.f {
        Function::Append => text(seen).contains(&text(wrote)),
        _ => seen == wrote || reader.f == Function::Get && text(seen).contains(&text(wrote)),
    };
    wrote.iter().any(|(key, wrote)| seen.iter().any(|(other, seen)| key == other && is_part(seen, wrote)))
}

#[test]
#[ignore = "needs recorded histories: just histories DIRECTORY"]
fn no_witness_of_a_recorded_history_can_lose_an_operation() {
    let directory = directory();
    let (mut witnesses, mut larger) = (0, Vec::new());
    for folder in ["etcd", "kv", "cas-register/bad"] {
        for path in files(&directory.join(folder)) {
            let history = History::read(&path).unwrap();
            let report = check(&history, &Options::default());
            let (Some(witness), Some(first)) = (report.witness, report.first_impossible) else { continue };
            let end = history.operation(first.operation).return_ns.unwrap();
            // As they were when the first impossible one returned.
            let operations: Vec<Operation> =
                witness.iter().map(|&number| history.operation(number)).collect();
            let cut = operations.into_iter().map(|mut operation| {
                if operation.return_ns.is_none_or(|ret| ret > end) {
                    (operation.return_ns, operation.outcome) = (None, Outcome::Info);
                }
                operation
            });
            let operations: Vec<Operation> =
                cut.filter(|o| o.outcome == Outcome::Ok || o.f != Function::Get).collect();
            let format = history.conventions().format;
            let verdict = |operations: &[Operation]| {
                let model = report.model;
                let initial = model.and_then(|model| quorate_check::initial_of(format, model));
                let part = History::from_operations(operations).unwrap();
                check(&part, &Options { model, initial, ..Options::default() }).verdict
            };
            witnesses += 1;
            assert_eq!(verdict(&operations), Verdict::Invalid, "{}: {operations:#?}", path.display());
            for left_out in 0..operations.len() {
                let mut rest = operations.clone();
                let gone = rest.remove(left_out);
                if !rest.iter().any(|reader| may_see(reader, &gone)) && verdict(&rest) == Verdict::Invalid {
                    larger.push(format!("{}: {} of {}", path.display(), left_out, operations.len()));
                    break;
                }
            }
        }
    }
    println!("{witnesses} witnesses, of which {} could lose an operation: {larger:#?}", larger.len());
    assert!(witnesses > 0 && larger.is_empty());
}
