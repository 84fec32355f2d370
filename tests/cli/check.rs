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
    quorate(&["check", "--model", "mutex", &initial]).refused(&["mutex", "get"]);
    quorate(&["check", "--format", "edn", &initial]).refused(&["initial.jsonl:1"]);
}

const EDN: &str = "[{:process 0, :type :invoke, :f :write, :value 1}
 {:process :nemesis, :type :info, :f :start}
 {:process 0, :type :ok, :f :write, :value 1}
 {:process 1, :type :invoke, :f :read, :value nil}
 {:process 1, :type :ok, :f :read, :value 0}]
";

#[test]
fn histories_of_other_tools_are_read_converted_and_explained() {
    let dir = TempDir::new().unwrap();
    let edn = file(&dir, "history.edn", EDN);
    let out = quorate(&["check", "--json", &edn]).with(1).stdout;
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["model"], &report["operations"]), (&"cas-register".into(), &2.into()));
    assert_eq!(report["first_impossible"], serde_json::json!({"event": 3, "operation": 1}));
    assert_eq!(report["witness"], serde_json::json!([0, 1]));

    let lines = quorate(&["check", "--convert", "jsonl", &edn]).with(0);
    assert!(lines.stderr.contains("--initial"), "EDN registers begin with 0: {}", lines.stderr);
    let converted = file(&dir, "history.jsonl", &lines.stdout);
    quorate(&["check", "--model", "cas-register", "--initial", "0", &converted]).with(1);
    let again = quorate(&["check", "--convert", "edn", &converted]).with(0).stdout;
    let again = file(&dir, "again.edn", &again);
    quorate(&["check", &again]).with(1);
    quorate(&["check", "--convert", "kv-log", &edn]).refused(&["kv-log", "not written"]);

    let page = dir.path().join("why.html").display().to_string();
    quorate(&["check", "--explain", &page, &edn]).with(1);
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("<svg") && page.contains("not-linearizable"), "{page}");
}
