//! `quorate bench` against a cluster of real processes, and what is left when it ends.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Running, Watched, command, file, nodes_of, quorate};

fn run_json(dir: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join("run.json")).unwrap()).unwrap()
}

const SHORT: &[&str] = &["bench", "--duration", "2s", "--warmup", "200ms", "--keys", "100", "--rate", "200"];
const LONG: &[&str] = &["bench", "--duration", "10m", "--warmup", "0s", "--keys", "50", "--rate", "50"];

#[test]
fn a_short_bench_leaves_a_whole_run_directory() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let out = dir.display().to_string();
    // Short rounds of anti-entropy: the final reads wait for some.
    let store = file(&parent, "store.toml", "profile = \"dynamo\"\nanti_entropy = \"500ms\"\n");
    let ended = quorate(&[SHORT, &["--check", "--store", &store, "--out", &out]].concat()).with(0);
    for part in ["get", "put", "p99.9", "svc p50", "trust: ", "checked: valid", "report.html"] {
        assert!(ended.stdout.contains(part), "`{part}` is not in {ended:#?}");
    }
    assert!(!ended.stdout.contains('\u{1b}'), "colours on something that is no terminal");

    let record = run_json(&dir);
    let schema: Value = serde_json::from_str(quorate_loadgen::rundir::RUN_SCHEMA).unwrap();
    let errors: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&record).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(record["command_line"][1], "bench");
    assert_eq!(record["config"]["store"]["durability"], "commit");
    assert_eq!(record["config"]["route"], "any");
    let version = record["versions"]["target"].as_str().unwrap();
    assert!(version.starts_with(&format!("quorate {}", env!("CARGO_PKG_VERSION"))), "{version}");
    let ok = |op: &str| record["results"]["ops"][op]["ok"].as_u64().unwrap();
    assert!(ok("get") > 100 && ok("put") > 100, "{record}");

    for file in ["latency.hlog", "timeseries.csv", "history.jsonl.zst", "verdict.json", "nodes/n1.log"] {
        assert!(std::fs::metadata(dir.join(file)).unwrap().len() > 0, "{file}");
    }
    let page = std::fs::metadata(dir.join("report.html")).unwrap().len();
    assert!((5_000..500_000).contains(&page), "{page} bytes");
    assert!(!dir.join("cluster").exists(), "data and keys are removed");
    let verdict: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("verdict.json")).unwrap()).unwrap();
    assert_eq!(verdict["not_judged"], Value::Null, "with final reads loss and convergence are judged too");

    // The other commands read what the bench wrote.
    assert!(quorate(&["check", &out]).with(0).stdout.contains("valid"));
    std::fs::remove_file(dir.join("report.html")).unwrap();
    assert!(quorate(&["report", &out]).with(0).stdout.contains("put"));
    assert!(dir.join("report.html").exists());
}

#[test]
fn a_bench_may_send_every_operation_to_an_owner() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("run").display().to_string();
    quorate(&[SHORT, &["--nodes", "5", "--route", "owner", "--out", &out]].concat()).with(0);
    let record = run_json(Path::new(&out));
    assert_eq!(record["config"]["route"], "owner");
    let get = &record["results"]["ops"]["get"];
    assert!(get["ok"].as_u64().unwrap() > 100, "{record}");
}

#[test]
fn a_bench_in_http_2_shares_connections_and_says_so() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("run").display().to_string();
    let words = ["--http", "2", "--connections", "2", "--streams", "8", "--check", "--out", &out];
    let store = file(&parent, "store.toml", "profile = \"dynamo\"\nanti_entropy = \"500ms\"\n");
    let ended = quorate(&[SHORT, &words, &["--store", &store]].concat()).with(0);
    for part in ["HTTP/2: up to 2 connections to each node, up to 8 operations at once", "checked: valid"] {
        assert!(ended.stdout.contains(part), "`{part}` is not in {ended:#?}");
    }
    let record = run_json(Path::new(&out));
    let plan = &record["config"]["plan"];
    assert_eq!((plan["http"].as_u64(), plan["streams"].as_u64()), (Some(2), Some(8)));
    let ok = |op: &str| record["results"]["ops"][op]["ok"].as_u64().unwrap();
    assert!(ok("get") > 100 && ok("put") > 100, "{record}");

    let refused = quorate(&["bench", "--target", "redis://127.0.0.1:1", "--http", "2"]).with(3);
    assert!(refused.stderr.contains("--http 2 clashes with --target redis://127.0.0.1:1"), "{refused:#?}");
}

#[test]
fn what_is_done_to_a_node_is_told_apart_and_costs_the_others_no_operation() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let words = ["bench", "--duration", "6s", "--warmup", "0s", "--keys", "100", "--rate", "100"];
    // A second that belongs to two windows counts for the later: two have one of their own.
    let fault = ["--fault", "kill:n3@2s+2s", "--out", dir.to_str().unwrap()];
    let ended = quorate(&[&words[..], &fault].concat()).with(0);
    for part in ["calm", "kill n3", "p99 ratio"] {
        assert!(ended.stdout.contains(part), "`{part}` is not in {ended:#?}");
    }
    let record = run_json(&dir);
    let schema: Value = serde_json::from_str(quorate_loadgen::rundir::RUN_SCHEMA).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&record), "{record}");
    let windows = record["windows"].as_array().unwrap();
    let faults = std::fs::read_to_string(dir.join("faults.jsonl")).unwrap();
    assert!(faults.lines().next().is_some_and(|line| line.contains("\"begin\"")), "{faults}");
    let log = std::fs::read_to_string(dir.join("nodes/n3.log")).unwrap();
    // How soon a node is back, and whether all is answered within the deadline, is up to the store only
    // where nothing else keeps the machine busy; where something does, the run says so.
    if record["trust"]["verdict"] == "valid" {
        assert!(windows.len() >= 3 && windows.iter().all(|w| w["not_ok"] == 0), "{windows:?}");
        assert!(ended.stdout.contains("n3 is back"), "{ended:#?}");
        assert_eq!(faults.lines().count(), 2, "{faults}");
        assert_eq!(log.matches("peers at").count(), 2, "n3 was started twice: {log}");
    } else {
        let reasons = record["trust"]["reasons"].as_array().unwrap();
        assert!(windows.len() >= 2 && !reasons.is_empty(), "{record}");
    }
}

#[test]
fn json_is_the_run_record_and_a_closed_loop_is_one() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("run").display().to_string();
    let words = [
        "bench",
        "--duration",
        "1s",
        "--warmup",
        "0s",
        "--keys",
        "20",
        "--clients",
        "2",
        "--json",
        "--out",
        &out,
    ];
    let record = quorate(&words).with(0).json();
    assert_eq!(record, run_json(Path::new(&out)));
    assert_eq!(record["loop"], "closed");
    assert_eq!(record["offered_per_s"], Value::Null);
}

/// The generator's own cost is all that there is to be measured here: no store, no disk.
const SEARCH: &[&str] = &["bench", "--saturate", "--target", "null", "--keys", "20", "--warmup", "0s"];

fn follows_schema(record: &Value) {
    let schema: Value = serde_json::from_str(quorate_loadgen::rundir::RUN_SCHEMA).unwrap();
    let errors: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(record).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn an_objective_that_no_rate_meets_is_said_with_every_trial() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let words = ["--slo", "mean<1us", "--duration", "200ms", "--out", dir.to_str().unwrap()];
    let ended = quorate(&[SEARCH, &words].concat());
    let record = run_json(&dir);
    follows_schema(&record);
    // A busy machine may leave it open whose fault that was; never is a rate held.
    let (code, word) = match record["search"]["ended"].as_str().unwrap() {
        "nothing-held" => (1, "even "),
        "not-trusted" => (2, "not the store"),
        other => panic!("{other}: {record}"),
    };
    let ended = ended.with(code);
    for part in ["no rate was held", "by mean<1us", "asked/s", word] {
        assert!(ended.stdout.contains(part), "`{part}` is not in {ended:#?}");
    }
    assert!(ended.stderr.contains("trial 1: 1000/s"), "{ended:#?}");
    assert!(record["search"]["trials"].as_array().unwrap().len() >= 7, "down to the lowest rate");
    assert_eq!(record["results"], Value::Null);
    assert!(std::fs::read_to_string(dir.join("report.html")).unwrap().contains("Highest rate"));
}

#[test]
fn a_search_that_is_interrupted_keeps_what_it_has() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let words = ["--duration", "10m", "--out", dir.to_str().unwrap()];
    let mut bench = Running::start(&[SEARCH, &words].concat());
    bench.wait_for("measure");
    bench.signal(Signal::INT);
    let ended = bench.end().with(2);
    assert!(ended.stdout.contains("interrupted"), "{ended:#?}");
    let record = run_json(&dir);
    follows_schema(&record);
    assert_eq!((&record["search"]["ended"], &record["interrupted"]), (&"interrupted".into(), &true.into()));
}

#[test]
fn an_interrupted_bench_keeps_what_it_has_and_stops_its_nodes() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let out = dir.display().to_string();
    let mut bench = Running::start(&[LONG, &["--out", &out]].concat());
    bench.wait_for("measure");
    let nodes = nodes_of(&dir.join("cluster"));
    assert_eq!(nodes.len(), 3);
    bench.signal(Signal::INT);
    let ended = bench.end().with(2);
    assert!(ended.stdout.contains("interrupted"), "{ended:#?}");
    assert_eq!(run_json(&dir)["interrupted"], true);
    assert!(nodes.iter().all(|node| node.is_gone()));
    assert!(!dir.join("cluster").exists());
}

#[test]
fn a_bench_that_is_interrupted_while_it_loads_keeps_what_it_has() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let words = ["bench", "--target", "null", "--keys", "100000000000", "--out", dir.to_str().unwrap()];
    let mut bench = Running::start(&words);
    bench.wait_for("load");
    bench.signal(Signal::INT);
    let ended = bench.end().with(2);
    assert!(
        ended.stdout.contains("nothing was measured") && ended.stdout.contains("interrupted"),
        "{ended:#?}"
    );
    let record = run_json(&dir);
    follows_schema(&record);
    assert_eq!((&record["results"], &record["interrupted"]), (&Value::Null, &true.into()));
    assert!(record["load"]["loaded"].as_u64().unwrap() < 100_000_000_000, "{record}");
}

/// What is left to do once the load is over (judging, writing, printing) may take long, and ends too.
#[test]
fn a_bench_can_still_be_interrupted_when_all_is_measured() {
    use std::process::Stdio;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    // Nobody reads what it prints, and the pipe is full already.
    let (_unread, mut full) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::NONBLOCK).unwrap();
    while std::io::Write::write(&mut full, &[b'\n'; 1 << 16]).is_ok() {}
    while std::io::Write::write(&mut full, b"\n").is_ok() {}
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::empty()).unwrap();
    let words = ["--target", "null", "--out", dir.to_str().unwrap()];
    let mut child = command(&[SHORT, &words].concat()).stdout(full).stderr(Stdio::null()).spawn().unwrap();
    while !dir.join("report.html").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended without a word");
        std::thread::yield_now();
    }
    let watched = Watched::new(i32::try_from(child.id()).unwrap());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    let is_gone = watched.is_gone();
    let _ = child.kill();
    assert_eq!((is_gone, child.wait().unwrap().code()), (true, Some(2)));
    follows_schema(&run_json(&dir));
}

#[test]
fn nodes_are_gone_when_their_harness_was_killed() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let out = dir.display().to_string();
    let mut bench = Running::start(&[LONG, &["--out", &out]].concat());
    bench.wait_for("measure");
    let nodes = nodes_of(&dir.join("cluster"));
    bench.signal(Signal::KILL);
    assert_eq!(bench.end().code, None, "killed by a signal");
    for node in nodes {
        assert!(node.is_gone(), "node with pid {} outlived its harness", node.pid);
    }
}
