//! `quorate check` on files as other programs write them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use tempfile::TempDir;

use crate::harness::{file, quorate};

const GOOD: &str = r#"{"process":1,"f":"put","key":"k","value":"v1","invoke_ns":10,"return_ns":20,"outcome":"ok"}
{"process":2,"f":"get","key":"k","values":["v1"],"invoke_ns":30,"return_ns":40,"outcome":"ok"}
"#;

/// The get misses a put that was over before it began.
const BAD: &str = r#"{"process":1,"f":"put","key":"k","value":"v1","invoke_ns":10,"return_ns":20,"outcome":"ok"}
{"process":1,"f":"put","key":"k","value":"v2","invoke_ns":30,"return_ns":40,"outcome":"ok"}
{"process":2,"f":"get","key":"k","values":["v1"],"invoke_ns":50,"return_ns":60,"outcome":"ok"}
"#;

#[test]
fn the_exit_code_is_the_worst_verdict() {
    let dir = TempDir::new().unwrap();
    let good = file(&dir, "good.jsonl", GOOD);
    let bad = file(&dir, "bad.jsonl", BAD);
    let torn = file(&dir, "torn.jsonl", &GOOD[..GOOD.len() - 20]);
    assert!(quorate(&["check", &good]).with(0).stdout.contains("valid"));
    let found = quorate(&["check", &good, &bad]).with(1).stdout;
    assert!(found.contains("not-linearizable") && found.contains("v2"), "{found}");
    quorate(&["check", &good, &bad, &torn]).with(3);
}

#[test]
fn json_is_one_object_a_history_in_order() {
    let dir = TempDir::new().unwrap();
    let (good, bad) = (file(&dir, "good.jsonl", GOOD), file(&dir, "bad.jsonl", BAD));
    let out = quorate(&["check", "--json", &bad, &good, "nowhere.jsonl"]).with(3).stdout;
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts: Vec<_> = lines.iter().map(|line| line["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["invalid", "valid", "error"]);
    assert_eq!(lines[0]["file"], bad);
    assert_eq!(lines[0]["first_impossible"]["operation"], 2);
    assert!(lines[0]["elapsed_ms"].is_number() && lines[0]["operations"] == 3 && lines[0]["keys"] == 1);
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let dir = TempDir::new().unwrap();
    let second = GOOD.find('\n').unwrap() + 1;
    let torn = file(&dir, "torn.jsonl", &GOOD[..second + 30]);
    quorate(&["check", &torn]).refused(&["torn.jsonl:2", "truncated"]);
    let empty = file(&dir, "empty.jsonl", "");
    quorate(&["check", &empty]).refused(&["empty.jsonl", "empty"]);
    quorate(&["check", "nowhere.jsonl"]).refused(&["nowhere.jsonl"]);
    let directory = dir.path().display().to_string();
    quorate(&["check", &directory]).refused(&["history.jsonl"]);
}

#[test]
fn models_and_initial_values_are_taken_at_their_word() {
    let dir = TempDir::new().unwrap();
    let initial = file(
        &dir,
        "initial.jsonl",
        "{\"process\":2,\"f\":\"get\",\"key\":\"k\",\"values\":[0],\"invoke_ns\":30,\"return_ns\":40,\"outcome\":\"ok\"}\n",
    );
    quorate(&["check", "--model", "register", "--initial", "0", &initial]).with(0);
    quorate(&["check", "--model", "register", &initial]).with(1);
    quorate(&["check", "--initial", "nil", &initial]).refused(&["--initial", "nil"]);
    for words in [&["--model", "mutex"][..], &["--format", "edn"], &["--explain", "out.html"]] {
        let mut all = vec!["check", initial.as_str()];
        all.extend(words);
        quorate(&all).refused(&["not in this version"]);
    }
}
