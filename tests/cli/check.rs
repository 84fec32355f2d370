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

/// A good line, with one thing about it changed.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn every_kind_of_bad_input_is_exit_code_3_with_file_line_and_field() {
    let dir = TempDir::new().unwrap();
    let etcd = "INFO  jepsen.util - 0\t:ok\t:write\t4\n";
    let torn_edn = &EDN[..EDN.len() - 30];
    let unpaired = "[{:process 0, :type :ok, :f :write, :value 1}]\n";
    for (name, content, parts) in [
        ("brace.jsonl", changed("}\n", "\n"), &["brace.jsonl:1", "object"][..]),
        ("words.jsonl", format!("{GOOD}no operation\n"), &["words.jsonl:3"]),
        ("f.jsonl", changed("\"put\"", "\"jump\""), &["f.jsonl:1", "field `f`", "jump"]),
        ("type.jsonl", changed("\"process\":2", "\"process\":-2"), &["type.jsonl:2", "field `process`"]),
        ("missing.jsonl", changed(",\"outcome\":\"ok\"", ""), &["missing.jsonl:1", "`outcome` is missing"]),
        ("twice.jsonl", changed("\"f\"", "\"f\":\"put\",\"f\""), &["twice.jsonl:1", "`f` appears twice"]),
        ("value.jsonl", changed(",\"value\":\"v1\"", ""), &["value.jsonl:1", "field `value`"]),
        ("values.jsonl", changed(",\"values\":[\"v1\"]", ""), &["values.jsonl:2", "field `values`"]),
        ("late.jsonl", changed("\"return_ns\":20", "\"return_ns\":5"), &["late.jsonl:1", "return_ns 5"]),
        ("order.jsonl", changed("\"invoke_ns\":30", "\"invoke_ns\":3"), &["order.jsonl:2", "invoke_ns 3"]),
        (
            "open.jsonl",
            changed("\"process\":2", "\"process\":1").replace(":30", ":15"),
            &["open.jsonl:2", "process 1"],
        ),
        ("torn.edn", torn_edn.to_owned(), &["torn.edn:"]),
        ("unpaired.edn", unpaired.to_owned(), &["unpaired.edn:1", "none open"]),
        ("unknown.edn", EDN.replace(":write", ":jump"), &["unknown.edn:", "unknown function", "jump"]),
        ("etcd.log", etcd.to_owned(), &["etcd.log:1", "none open"]),
        ("kv.txt", "{:process 0, :type :invoke, :f :get, :key \"0\"\n".to_owned(), &["kv.txt:"]),
        ("empty.jsonl", String::new(), &["empty.jsonl", "empty"]),
        ("blob", "\u{1}\u{2}\u{3} nothing that anybody wrote\n".to_owned(), &["blob:1"]),
        ("broken.jsonl.zst", "no frame".to_owned(), &["broken.jsonl.zst"]),
    ] {
        let path = file(&dir, name, &content);
        quorate(&["check", &path]).refused(parts);
        let out = quorate(&["check", "--json", &path]).with(3);
        let report = out.json();
        assert_eq!(
            (&report["verdict"], &report["file"]),
            (&"error".into(), &path.as_str().into()),
            "{out:#?}"
        );
        for part in parts {
            assert!(report["error"].as_str().is_some_and(|error| error.contains(part)), "{part}: {out:#?}");
        }
        quorate(&["check", "--convert", "jsonl", &path]).refused(parts);
    }
}

#[test]
fn words_that_mean_nothing_are_exit_code_3_with_what_would_do() {
    let dir = TempDir::new().unwrap();
    let good = file(&dir, "good.jsonl", GOOD);
    quorate(&["check", "--format", "xml", &good]).refused(&["--format", "xml", "jsonl", "etcd-log"]);
    quorate(&["check", "--model", "stack", &good]).refused(&["--model", "stack", "cas-register", "siblings"]);
    quorate(&["check", "--timeout", "soon", &good]).refused(&["--timeout", "soon"]);
    quorate(&["check", "--convert", "csv", &good]).refused(&["--convert", "csv"]);
    quorate(&["check"]).refused(&["HISTORY"]);
    quorate(&["check", &good, "no/such/history.jsonl"])
        .refused(&["no/such/history.jsonl", "cannot be opened"]);
    quorate(&["check", "--explain", "why.html", &good, &good]).refused(&["--explain", "one HISTORY"]);
    quorate(&["check", "--explain", "no/such/why.html", &good]).refused(&["--explain", "no/such/why.html"]);
}
