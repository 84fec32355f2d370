//! `quorate chaos` on the simulated world: the same seed, the same bytes, in another process too.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Running, quorate};

#[test]
fn the_catalogue_says_what_its_scenarios_show() {
    let list = quorate(&["chaos", "list", "--json"]).with(0).json();
    let scenarios = list.as_array().unwrap();
    assert!(scenarios.len() >= 8);
    assert!(
        scenarios
            .iter()
            .all(|s| !s["name"].as_str().unwrap().is_empty() && !s["says"].as_str().unwrap().is_empty())
    );
}

#[test]
fn a_seed_gives_the_same_bytes_in_another_process() {
    let dir = TempDir::new().unwrap();
    let run = |name: &str| {
        let out = dir.path().join(name);
        let word = out.display().to_string();
        let ended = quorate(&[
            "chaos",
            "run",
            "minority-partition",
            "--profile",
            "quorum",
            "--seed",
            "3",
            "--out",
            &word,
        ]);
        assert!(matches!(ended.code, Some(0 | 2)), "{ended:#?}");
        assert!(ended.stdout.contains("minority-partition"), "{ended:#?}");
        out.join("minority-partition/quorum/3")
    };
    let (one, other) = (run("one"), run("other"));
    for file in ["history.jsonl.zst", "verdict.json", "faults.jsonl"] {
        assert_eq!(fs::read(one.join(file)).unwrap(), fs::read(other.join(file)).unwrap(), "{file}");
    }
    let page = fs::read_to_string(one.join("report.html")).unwrap();
    assert!(
        page.contains("<rect class=\"band\"") && page.contains("over time"),
        "faults behind what they did"
    );
    assert!(page.len() < 500_000, "{} bytes", page.len());
    assert!(dir.path().join("one/report.html").exists() && dir.path().join("one/summary.json").exists());

    let one = one.display().to_string();
    let replay = quorate(&["chaos", "replay", &one, "--json"]).with(0).json();
    assert_eq!((replay["same"].as_bool(), replay["differences"].as_array().unwrap().len()), (Some(true), 0));
    assert!(quorate(&["check", &one]).code.is_some_and(|code| code < 3), "check reads what chaos wrote");
}

#[test]
fn another_history_is_found_by_a_replay() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out").display().to_string();
    quorate(&["chaos", "run", "calm", "--profile", "quorum", "--seed", "1", "--out", &out]).with(0);
    let run = dir.path().join("out/calm/quorum/1");
    let verdict = fs::read_to_string(run.join("verdict.json")).unwrap();
    fs::write(run.join("verdict.json"), verdict.replacen("\"seed\": 1", "\"seed\": 2", 1)).unwrap();
    let ended = quorate(&["chaos", "replay", &run.display().to_string()]).with(1);
    assert!(ended.stdout.contains("verdict.json"), "{ended:#?}");
}

/// Last write wins, and yet no write may be lost: fails with every seed.
const IMPOSSIBLE: &str = r#"
profiles = ["lww", "dynamo"]
[workload]
duration = "3s"
keys = 2
think_time = "20ms"
[faults]
random = ["latency", "kill"]
count = 3
for_max = "1s"
[expect.lww]
holds = ["no-lost-write"]
"#;

#[test]
fn a_failed_run_is_shrunk_to_a_file_that_fails_like_it() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("impossible.toml"), IMPOSSIBLE).unwrap();
    let words =
        ["chaos", "run", &path("impossible.toml"), "--seed", "1", "--keep-going", "--out", &path("out")];
    quorate(&words).with(1);
    let (failed, held) = (path("out/impossible/lww/1"), path("out/impossible/dynamo/1"));
    quorate(&["chaos", "shrink", &held]).refused(&["no promise was broken", "nothing to shrink"]);
    quorate(&["chaos", "shrink", &failed, "--property", "converged"]).refused(&["converged was not broken"]);

    let shrunk = quorate(&["chaos", "shrink", &failed, "--out", &path("small"), "--json"]).with(0);
    assert!(shrunk.stderr.contains("still fails with"), "{shrunk:#?}");
    let json = shrunk.json();
    assert_eq!((&json["before"]["faults"], &json["after"]["faults"]), (&3.into(), &0.into()), "{json}");
    assert!(json["after"]["clients"].as_u64().is_some_and(|clients| clients <= 2), "{json}");
    assert_eq!((&json["property"], &json["minimal"]), (&"no-lost-write".into(), &true.into()), "{json}");
    let again = json["reproduce"].as_str().unwrap().strip_prefix("quorate ").unwrap();
    let again =
        quorate(&[&again.split(' ').collect::<Vec<_>>()[..], &["--out", &path("again")]].concat()).with(1);
    assert!(again.stdout.contains("no-lost-write broken"), "{again:#?}");
    quorate(&["chaos", "replay", &path("small/run")]).with(1);
    let bounded = quorate(&["chaos", "shrink", &failed, "--out", &path("less"), "--budget", "2"]).with(1);
    assert!(bounded.stdout.contains("the bound was reached first"), "{bounded:#?}");

    // As if the code had changed since: what is recorded does not come again.
    let scenario = fs::read_to_string(path("out/impossible/lww/1/scenario.toml")).unwrap();
    fs::write(path("out/impossible/lww/1/scenario.toml"), scenario.replace("no-lost-write", "no-phantom"))
        .unwrap();
    let gone = quorate(&["chaos", "shrink", &failed, "--out", &path("gone")]).with(2);
    assert!(gone.stderr.contains("no longer fails by no-lost-write"), "{gone:#?}");
}

#[test]
fn an_interrupted_campaign_is_unknown() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out").display().to_string();
    let mut campaign = Running::start(&["chaos", "run", "mixed", "--seeds", "1..100000", "--out", &out]);
    campaign.wait_for("00000 runs");
    campaign.signal(Signal::INT);
    assert!(campaign.end().with(2).stderr.contains("interrupted"));
}

/// What the kernel does to a process, all in a few seconds.
const PROCESSES: &str = r#"
[cluster]
spares = 1
held_back = true
[workload]
duration = "6s"
[[fault]]
kind = "kill"
targets = ["n2"]
at = "500ms"
for = "1s"
[[fault]]
kind = "upgrade"
targets = ["n1"]
at = "2s"
[[fault]]
kind = "join"
targets = "one"
at = "3s"
[[fault]]
kind = "restart"
targets = ["n4"]
at = "4s"
"#;

#[test]
fn a_scenario_is_played_by_real_processes_and_its_plan_again() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("processes.toml");
    fs::write(&file, PROCESSES).unwrap();
    let (file, out) = (file.display().to_string(), dir.path().join("out"));
    let words = ["chaos", "run", &file, "--world", "process", "--profile", "quorum", "--seed", "1", "--json"];
    let ended = quorate(&[&words[..], &["--out", out.to_str().unwrap()]].concat());
    let summary = ended.json();
    let run = out.join("processes/quorum/1");
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    let trust = &record["trust"]["verdict"];
    // A put that was owed success and had to wait for a processor instead is not the store's doing: the
    // run says that it was disturbed. Whatever the machine does, no data is lost and no change stuck.
    if trust == "valid" {
        assert_eq!((ended.code, &summary["rows"][0]["held"]), (Some(0), &1.into()), "{summary}");
    } else {
        assert_eq!(trust, "disturbed", "{record}");
    }
    let verdict: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.join("verdict.json")).unwrap()).unwrap();
    for fared in verdict["properties"].as_array().unwrap() {
        let is_of_time = ["available", "converged"].iter().any(|name| fared["property"] == *name);
        assert!(is_of_time || fared["promise"] != "holds" || fared["broken"] == 0, "{verdict}");
    }
    let faults = fs::read_to_string(run.join("faults.jsonl")).unwrap();
    assert_eq!(faults.lines().count(), 8, "each began and ended: {faults}");
    let n6 = fs::read_to_string(run.join("nodes/n6.log")).unwrap();
    assert!(n6.contains("a new view"), "the spare node has become a member: {n6}");
    let operations = quorate(&["check", run.to_str().unwrap(), "--json"]).json()["operations"].as_u64();
    assert!(operations.is_some_and(|count| count > 100), "{operations:?}");

    let replay = quorate(&["chaos", "replay", run.to_str().unwrap(), "--json"]).json();
    assert_eq!((&replay["world"], &replay["same"]), (&"process".into(), &true.into()), "{replay}");
}

#[test]
fn a_world_says_which_faults_it_cannot_do() {
    let words = ["chaos", "run", "minority-partition", "--world", "process", "--seed", "1"];
    let refused = quorate(&words).with(3);
    assert!(refused.stderr.contains("partition") && refused.stderr.contains("--world sim"), "{refused:#?}");
    assert!(refused.stderr.contains("skipped: scenario `minority-partition`, because it has a partition"));
}
