//! Reading refuses, with file, line and reason, what would make a verdict wrong; writing and reading
//! again gives the same operations, and writing again the same bytes.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use super::{Function, History, HistoryError, HistoryWriter, Operation, Outcome, Value};
use crate::testing::Random;
use crate::{Options, Verdict, check, check_path};

const PUT: &str =
    r#"{"process":1,"f":"put","key":"k","value":"a","invoke_ns":10,"return_ns":20,"outcome":"ok"}"#;

fn read(text: &str) -> Result<History, String> {
    History::from_jsonl(text.as_bytes(), "h.jsonl").map_err(|error| error.to_string())
}

/// The error for a second line after one good put.
fn second(line: &str) -> String {
    read(&format!("{PUT}\n{line}\n")).unwrap_err()
}

#[test]
fn every_bad_line_is_refused_with_file_line_and_reason() {
    let cases = [
        (r#"{"process":1,"f":"put","#, "h.jsonl:2: ", "EOF while parsing"),
        ("nonsense", "h.jsonl:2: ", "expected ident"),
        (r#"{"process":2,"f":"get","key":"k"}"#, "h.jsonl:2: ", "field `invoke_ns` is missing"),
        (
            r#"{"process":2,"f":"peek","key":"k","invoke_ns":30,"return_ns":40,"outcome":"ok"}"#,
            "h.jsonl:2: field `f`",
            "unknown variant `peek`",
        ),
        (
            r#"{"process":2,"f":"get","key":"k","values":["a"],"invoke_ns":30.5,"return_ns":40,"outcome":"ok"}"#,
            "field `invoke_ns`",
            "expected u64",
        ),
        (
            r#"{"process":2,"f":"get","key":"k","values":["a"],"invoke_ns":-1,"return_ns":40,"outcome":"ok"}"#,
            "field `invoke_ns`",
            "expected u64",
        ),
        (
            r#"{"process":2,"f":"get","key":"k","values":[true],"invoke_ns":30,"return_ns":40,"outcome":"ok"}"#,
            "field `values`",
            "a string, an integer or null",
        ),
        (
            r#"{"process":2,"process":3,"f":"get","key":"k","invoke_ns":30,"outcome":"info"}"#,
            "field `process`",
            "appears twice",
        ),
        (
            r#"{"process":2,"f":"get","key":"k","values":["a"],"invoke_ns":30,"return_ns":29,"outcome":"ok"}"#,
            "return_ns 29 is before invoke_ns 30",
            "",
        ),
        (
            r#"{"process":2,"f":"get","key":"k","values":["a"],"invoke_ns":9,"return_ns":29,"outcome":"ok"}"#,
            "invoke_ns 9 is before that of the operation above it, 10",
            "",
        ),
        (
            r#"{"process":1,"f":"get","key":"k","values":["a"],"invoke_ns":19,"return_ns":29,"outcome":"ok"}"#,
            "process 1 invokes while its operation number 0 (from 0) is still open",
            "",
        ),
        (
            r#"{"process":2,"f":"get","key":"k","invoke_ns":30,"return_ns":40,"outcome":"ok"}"#,
            "field `values`",
            "is missing",
        ),
        (
            r#"{"process":2,"f":"get","key":"k","values":[],"invoke_ns":30,"return_ns":40,"outcome":"fail"}"#,
            "field `values`",
            "outcome ok",
        ),
        (
            r#"{"process":2,"f":"put","key":"k","invoke_ns":30,"return_ns":40,"outcome":"ok"}"#,
            "field `value`",
            "is missing",
        ),
        (
            r#"{"process":2,"f":"put","key":"k","value":["a","b"],"invoke_ns":30,"return_ns":40,"outcome":"ok"}"#,
            "field `value`",
            "is a list",
        ),
        (
            r#"{"process":2,"f":"cas","key":"k","value":"a","invoke_ns":30,"return_ns":40,"outcome":"ok"}"#,
            "field `value`",
            "[from, to]",
        ),
        (
            r#"{"process":2,"f":"put","key":"k","value":"b","invoke_ns":30,"return_ns":null,"outcome":"ok"}"#,
            "field `return_ns`",
            "is missing",
        ),
        (
            r#"{"process":2,"f":"put","key":"k","value":"b","invoke_ns":30,"return_ns":40,"outcome":"info"}"#,
            "field `return_ns`",
            "gave_up_ns",
        ),
        (
            r#"{"process":2,"f":"put","key":"k","value":"b","invoke_ns":30,"return_ns":40,"outcome":"ok","final":true}"#,
            "field `final`",
            "belongs to a get",
        ),
    ];
    for (line, place, reason) in cases {
        let error = second(line);
        assert!(error.starts_with("h.jsonl:2: "), "{line}\n{error}");
        assert!(error.contains(place) && error.contains(reason), "{line}\n{error}");
    }
}

#[test]
fn a_line_cut_off_at_the_end_of_the_file_is_called_truncated() {
    let error = read(&format!("{PUT}\n{}", &PUT[..40])).unwrap_err();
    assert_eq!(error, "h.jsonl:2: the line is truncated: the file ends inside it");
    assert!(read(PUT).is_ok(), "only the last newline may be missing");
}

#[test]
fn a_process_is_retired_by_an_open_operation() {
    let open = PUT.replace("\"return_ns\":20,\"outcome\":\"ok\"", "\"return_ns\":null,\"outcome\":\"info\"");
    let again = PUT.replace(":10,", ":900,").replace(":20,", ":950,");
    let error = read(&format!("{open}\n{again}")).unwrap_err();
    assert!(error.contains("process 1 invokes while its operation number 0"), "{error}");
}

#[test]
fn final_reads_come_last_and_once_for_each_copy() {
    let last = r#"{"process":9,"f":"get","key":"k","values":["a"],"invoke_ns":30,"return_ns":40,"outcome":"ok","node":"n1","final":true}"#;
    let later = last.replace(":30,", ":50,").replace(":40,", ":60,");
    let error = read(&format!("{last}\n{later}")).unwrap_err();
    assert!(error.contains("second final read of key k on node n1"), "{error}");
    let put = PUT.replace(":10,", ":50,").replace(":20,", ":60,");
    let error = read(&format!("{last}\n{put}")).unwrap_err();
    assert!(error.contains("a put after the final reads began"), "{error}");
}

#[test]
fn an_empty_file_is_an_error_and_one_without_clients_is_valid_with_a_warning() {
    assert!(matches!(History::from_jsonl(&b""[..], "h"), Err(HistoryError::Empty { .. })));
    assert!(matches!(History::from_jsonl(&b"\n\n"[..], "h"), Err(HistoryError::Empty { .. })));
    let history = read(r#"{"process":"nemesis","f":"partition","invoke_ns":5}"#).unwrap();
    assert_eq!((history.entries().len(), history.skipped()), (0, 1));
    let report = check(&history, &Options::default());
    assert_eq!((report.verdict, report.operations, report.warnings.len()), (Verdict::Valid, 0, 1));
}

fn sample(count: u64) -> Vec<Operation> {
    let mut random = Random(5);
    (0..count)
        .map(|number| {
            let mut operation = Operation::invoked(number, Function::Put, "k\"\n", 10 * number);
            operation.value = Some(format!("v{number}").into());
            if random.once_in(2) {
                (operation.outcome, operation.return_ns) = (Outcome::Ok, Some(10 * number + 5));
                operation.context = vec![Value::Null, Value::from(number as i64), Value::from("é")];
                operation.extra.insert("attempts".to_owned(), serde_json::json!([1, {"x": null}]));
            } else {
                operation.gave_up_ns = Some(10 * number + 9);
                (operation.via, operation.session) = (Some("n1".into()), Some(7.into()));
            }
            operation
        })
        .collect()
}

fn bytes(operations: &[Operation], compressed: bool) -> Vec<u8> {
    let mut writer =
        if compressed { HistoryWriter::zst(Vec::new()).unwrap() } else { HistoryWriter::plain(Vec::new()) };
    for operation in operations {
        writer.write(operation).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn what_is_written_is_read_again_with_the_fields_nobody_knows() {
    let operations = sample(50);
    let written = bytes(&operations, false);
    let lines = std::str::from_utf8(&written).unwrap().lines();
    let again: Vec<Operation> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(again, operations);
    assert_eq!(bytes(&again, false), written);
    assert_eq!(bytes(&again, true), bytes(&operations, true));
}

/// A directory of its own under the build's temporary directory, removed in the end.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quorate-check-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing more can be done about a directory that stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn run_directories_and_compressed_files_are_read() {
    let directory = Directory::new("run");
    let error = History::read(&directory.0).unwrap_err();
    assert!(matches!(error, HistoryError::NoHistory { .. }), "{error}");
    let compressed = bytes(&sample(500), true);
    std::fs::write(directory.0.join("history.jsonl.zst"), &compressed).unwrap();
    assert_eq!(History::read(&directory.0).unwrap().entries().len(), 500);

    let cut = directory.0.join("cut.zst");
    std::fs::write(&cut, &compressed[..compressed.len() - 20]).unwrap();
    let error = History::read(&cut).unwrap_err();
    assert!(matches!(error, HistoryError::Read { .. } | HistoryError::Line { .. }), "{error}");
    let report = check_path(&cut, &Options::default());
    assert_eq!(report.verdict, Verdict::Error);
    assert!(report.error.unwrap().contains("cut.zst:"));
    let missing = History::read(Path::new("/nonexistent/history")).unwrap_err();
    assert!(missing.to_string().contains("cannot be opened"), "{missing}");
}

#[test]
fn arbitrary_bytes_never_panic() {
    let good = bytes(&sample(4), false);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut broken = good.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(broken.len() as u64) as usize;
            match random.below(3) {
                0 => broken[at] = random.below(256) as u8,
                1 => broken.truncate(at + 1),
                _ => broken.insert(at, b"{}[]\",:0-9nt\n"[random.below(13) as usize]),
            }
        }
        match History::from_jsonl(broken.as_slice(), "h") {
            Ok(history) => assert!(check(&history, &Options::default()).verdict != Verdict::Error),
            Err(error) => assert!(error.to_string().starts_with("h:"), "{error}"),
        }
    }
}
