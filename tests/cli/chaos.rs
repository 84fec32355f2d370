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

#[test]
fn an_interrupted_campaign_is_unknown() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out").display().to_string();
    let mut campaign = Running::start(&["chaos", "run", "mixed", "--seeds", "1..100000", "--out", &out]);
    campaign.wait_for("400000 runs");
    campaign.signal(Signal::INT);
    assert!(campaign.end().with(2).stderr.contains("interrupted"));
}
