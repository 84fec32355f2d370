//! Campaigns: the same result from any number of threads, and what is kept of it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_chaos::campaign::{
    CampaignOptions, Entry, Outcome, Progress, Shown, Silent, Summary, quick_seeds, run_campaign,
};
use quorate_chaos::run::Provenance;
use quorate_chaos::scenario::{Scenario, quick_suite};
use quorate_chaos::world::SimulatedWorld;
use quorate_loadgen::rundir::Revision;
use quorate_loadgen::trust::MachineInfo;

use crate::scenario;

/// Last write wins, and yet no write may be lost: fails with every seed.
const IMPOSSIBLE: &str = "profiles = [\"lww\", \"dynamo\"]\n[workload]\nduration = \"2s\"\nkeys = 2\nthink_time = \"20ms\"\n\
                          [expect.lww]\nholds = [\"no-lost-write\"]\n[expect.dynamo]\nmust_show = [\"refused\"]\nwithin = 3\n";

fn options(scenario: Scenario, jobs: usize) -> CampaignOptions {
    CampaignOptions {
        entries: vec![Entry { argument: scenario.name.clone(), scenario, is_swarm: false, seeds: 1..=2 }],
        world: Arc::new(SimulatedWorld),
        profiles: None,
        jobs: NonZeroUsize::new(jobs).unwrap(),
        out: None,
        keep_all: false,
        trace: false,
        junit: None,
        keep_going: true,
        provenance: Provenance {
            command: vec!["quorate".into(), "chaos".into(), "run".into()],
            revision: Some(Revision { commit: "0123456789abcdef".into(), dirty: true }),
            versions: [("quorate".to_owned(), "0.1.0".to_owned())].into(),
            machine: Some(MachineInfo::detect()),
        },
    }
}

fn run(options: &CampaignOptions) -> Summary {
    run_campaign(options, &mut Silent).unwrap()
}

#[test]
fn the_summary_does_not_depend_on_the_number_of_threads() {
    let impossible = scenario("impossible", IMPOSSIBLE);
    let one = run(&options(impossible.clone(), 1));
    assert_eq!(run(&options(impossible.clone(), 3)), one);
    assert_eq!(one.exit_code(), 1);
    assert_eq!((one.rows[0].seeds, one.rows[0].violated, one.rows[1].held), (2, 2, 2));
    assert_eq!(one.failures[1].reproduce, "quorate chaos run impossible --profile lww --seed 2");
    assert!(one.failures[0].says.contains("no-lost-write broken"), "{}", one.failures[0].says);
    let stopped = CampaignOptions { keep_going: false, ..options(impossible, 2) };
    let stopped = run(&stopped);
    assert_eq!((stopped.rows.len(), stopped.rows[0].seeds), (1, 1), "ends with the first failure");
}

#[test]
fn what_must_be_shown_and_was_not_counts_once_enough_seeds_ran() {
    let mut options = options(scenario("impossible", IMPOSSIBLE), 2);
    options.profiles = Some(vec!["dynamo".into()]);
    let few = run(&options);
    assert_eq!((few.rows[0].must_show[0].state, few.exit_code()), (Shown::TooFewSeeds, 2));
    options.entries[0].seeds = 1..=3;
    let enough = run(&options);
    assert_eq!((enough.rows[0].must_show[0].state, enough.exit_code()), (Shown::Missing, 1));
}

#[test]
fn failures_are_kept_with_all_that_is_needed_to_judge_them() {
    struct Count(usize, Vec<PathBuf>);
    impl Progress for Count {
        fn begins(&mut self, runs: usize) {
            self.0 = runs;
        }
        fn ran(&mut self, outcome: &Outcome) {
            self.1.extend(outcome.directory.clone());
        }
    }
    let out = tempfile::tempdir().unwrap();
    let junit = out.path().join("reports/junit.xml");
    let options = CampaignOptions {
        out: Some(out.path().join("campaign")),
        junit: Some(junit.clone()),
        ..options(scenario("impossible", IMPOSSIBLE), 2)
    };
    let mut progress = Count(0, Vec::new());
    let summary = run_campaign(&options, &mut progress).unwrap();
    progress.1.sort();
    let kept: Vec<PathBuf> =
        (1..=2).map(|s| out.path().join(format!("campaign/impossible/lww/{s}"))).collect();
    assert_eq!((progress.0, &progress.1), (4, &kept));
    for file in ["run.json", "scenario.toml", "history.jsonl.zst", "faults.jsonl", "verdict.json"] {
        assert!(kept[0].join(file).is_file(), "{file}");
    }
    for (file, schema) in [
        ("run.json", quorate_loadgen::rundir::RUN_HEAD_SCHEMA),
        ("run.json", include_str!("../../schemas/run.schema.json")),
        ("verdict.json", include_str!("../../schemas/verdict.schema.json")),
    ] {
        let instance = serde_json::from_slice(&std::fs::read(kept[0].join(file)).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
        let complaints: Vec<String> = validator.iter_errors(&instance).map(|e| e.to_string()).collect();
        assert!(complaints.is_empty(), "{file}: {complaints:?}");
    }
    let report = quorate_check::check_path(&kept[0], &quorate_check::Options::default());
    assert!(report.operations > 0, "{report:?}");
    let junit = std::fs::read_to_string(junit).unwrap();
    assert_eq!(junit.matches("<failure").count(), 2, "{junit}");
    assert!(junit.contains("<skipped message=\"not seen, but only 2 of 3 seeds ran\"/>"), "{junit}");
    let written = std::fs::read_to_string(out.path().join("campaign/summary.json")).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&written).unwrap(),
        serde_json::to_value(&summary).unwrap()
    );
}

#[test]
fn a_campaign_that_makes_no_sense_is_refused() {
    let refused = |change: fn(&mut CampaignOptions)| {
        let mut options = options(scenario("impossible", IMPOSSIBLE), 1);
        change(&mut options);
        run_campaign(&options, &mut Silent).unwrap_err().to_string()
    };
    let misspelt = refused(|o| o.profiles = Some(vec!["dynamo".into(), "lwv".into()]));
    assert!(misspelt.contains("`lwv`; did you mean `lww`?"), "{misspelt}");
    let other = refused(|o| o.profiles = Some(vec!["always-write".into()]));
    assert!(other.contains("they run dynamo, lww"), "{other}");
    let twice = refused(|o| o.entries.push(o.entries[0].clone()));
    assert!(twice.contains("two scenarios are called `impossible`"), "{twice}");
    assert!(refused(|o| o.entries.clear()).contains("nothing to run"));
}

#[test]
fn every_directed_scenario_holds_for_its_first_seed() {
    let entries = quick_suite().map(|name| {
        let scenario = Scenario::load(name).unwrap();
        assert!(*quick_seeds(&scenario).end() >= 5);
        Entry { argument: name.to_owned(), scenario, is_swarm: false, seeds: 1..=1 }
    });
    let options =
        CampaignOptions { entries: entries.collect(), ..options(scenario("impossible", IMPOSSIBLE), 2) };
    let summary = run(&options);
    assert_eq!(summary.failures, []);
    let stores = quick_suite().map(|name| Scenario::load(name).unwrap().stores().unwrap().len());
    assert_eq!(summary.rows.len(), stores.sum::<usize>());
    let weak = summary.rows.iter().find(|row| row.scenario == "weak-lww").unwrap();
    assert!(weak.must_show.iter().all(|m| m.state == Shown::Shown), "{weak:?}");
}
