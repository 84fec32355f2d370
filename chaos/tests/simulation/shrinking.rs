//! Runs in which a planted bug shows are shrunk to the little that it takes.

use std::num::NonZeroUsize;

use quorate_chaos::fault::FaultKind;
use quorate_chaos::run::{Recorded, run, write};
use quorate_chaos::scenario::Scenario;
use quorate_chaos::shrink::{
    Case, Limits, ShrinkError, ShrinkOptions, Shrunk, Symptom, Told, failed, shrink, written,
};
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_cluster::store::{Promise, Write};

use crate::{broken, scenario};

/// Many faults, of which few or none matter.
const MANY: &str = r#"
profiles = ["dynamo"]
[workload]
clients = 5
duration = "6s"
[faults]
random = ["partition", "kill", "latency", "one-way", "hold"]
count = 6
for_max = "2s"
"#;

/// A run that fails by a planted bug, as its directory would say what it was, and how it failed.
fn found(scenario: &Scenario, profile: &str, seams: &Seams) -> (Recorded, Symptom) {
    let runs = (1..=8).map(|seed| run(&SimulatedWorld, scenario, profile, seed, seams).unwrap());
    let (run, symptom) = runs
        .filter_map(|run| Symptom::of(&run.verdict, None).map(|symptom| (run, symptom)))
        .next()
        .expect("a planted bug shows");
    let (seed, world) = (run.seed, run.world.to_owned());
    (Recorded { scenario: run.explicit, profile: profile.into(), seed, world, revision: None }, symptom)
}

fn options(seams: &Seams, jobs: usize, runs: u64) -> ShrinkOptions<'_> {
    let limits = Limits { runs, is_over: None };
    ShrinkOptions { world: &SimulatedWorld, seams, jobs: NonZeroUsize::new(jobs).unwrap(), tries: 2, limits }
}

fn shrunk(found: &(Recorded, Symptom), seams: &Seams, jobs: usize, runs: u64) -> (Shrunk, usize) {
    let mut steps = 0;
    let mut told = |told: Told<'_, Case>| steps += usize::from(matches!(told, Told::Smaller(_)));
    let shrunk = shrink(&found.0, found.1.clone(), &options(seams, jobs, runs), &mut told).unwrap();
    (shrunk, steps)
}

/// Asserts that the file of the smallest scenario shows the bug, and shows nothing without it.
fn assert_tells(shrunk: &Shrunk, seams: &Seams) {
    let text = written(shrunk, "somewhere", "some command");
    assert!(text.contains("# Again: some command\n") && text.contains(&shrunk.symptom.to_string()), "{text}");
    let scenario = Scenario::from_toml(&text, "shrunk.toml", "shrunk").unwrap();
    let play = |seams| {
        run(&SimulatedWorld, &scenario, &shrunk.run.store.name, shrunk.case.seed, seams).unwrap().verdict
    };
    assert!(shrunk.symptom.is_in(&play(seams)), "{text}");
    assert_eq!(play(&Seams::default()).violated().count(), 0, "it fails without the bug: {text}");
}

#[test]
fn a_bug_that_needs_no_fault_is_shown_without_any_whatever_the_number_of_threads() {
    let forget: fn(Vec<Write>, Promise) -> _ = |mut batch: Vec<Write>, promise| {
        batch.retain(|write| match write {
            Write::Put { key, value } => !key.starts_with(b"d") || value.len() % 4 != 1,
            Write::Delete { .. } => true,
        });
        (batch, promise)
    };
    let seams = Seams { engine: Some(broken::engine(forget, true)), ..Seams::default() };
    let found = found(&scenario("forgets", MANY), "dynamo", &seams);
    let (alone, steps) = shrunk(&found, &seams, 1, 400);
    assert!(alone.is_minimal && steps > 3 && alone.before.faults == 6, "{alone:?}");
    assert!(alone.after.faults == 0 && alone.after.clients <= 2, "{:?}", alone.after);
    assert!(alone.after.operations <= 24 && alone.before.operations > 100, "{:?}", alone.after);
    assert_tells(&alone, &seams);

    let (together, same_steps) = shrunk(&found, &seams, 3, 400);
    assert_eq!((&together.case, together.runs, same_steps), (&alone.case, alone.runs, steps));

    let (bounded, _) = shrunk(&found, &seams, 2, 5);
    assert!(!bounded.is_minimal && bounded.runs == 5);
    assert_tells(&bounded, &seams);
}

#[test]
fn of_many_faults_the_power_cut_is_left() {
    let hurry: fn(Vec<Write>, Promise) -> _ =
        |batch, promise: Promise| (batch, promise.min(Promise::OsBuffered));
    let seams = Seams { engine: Some(broken::engine(hurry, false)), ..Seams::default() };
    let dark = format!(
        "{MANY}[[fault]]\nkind = \"power-cut\"\ntargets = [\"n1\", \"n2\", \"n3\", \"n4\", \"n5\"]\nat = \"3s\"\nfor = \"1s\"\n"
    );
    let (shrunk, _) = shrunk(&found(&scenario("hurries", &dark), "dynamo", &seams), &seams, 2, 600);
    let [fault] = shrunk.case.scenario.fault.as_slice() else { panic!("{:?}", shrunk.case.scenario.fault) };
    assert_eq!(fault.kind, FaultKind::PowerCut);
    assert!(shrunk.after.clients <= 2 && shrunk.after.operations < 20, "{:?}", shrunk.after);
    assert_tells(&shrunk, &seams);
}

#[test]
fn what_cannot_be_shrunk_is_refused_with_the_reason() {
    let out = tempfile::tempdir().unwrap();
    let text = "profiles = [\"lww\", \"dynamo\"]\n[workload]\nduration = \"2s\"\nkeys = 2\nthink_time = \"20ms\"\n\
                [expect.lww]\nholds = [\"no-lost-write\"]\n";
    let kept = |profile: &str| {
        let dir = out.path().join(profile);
        let run = run(&SimulatedWorld, &scenario("impossible", text), profile, 1, &Seams::default()).unwrap();
        write(&dir, &run, &Default::default()).unwrap();
        dir
    };
    let (lww, dynamo) = (kept("lww"), kept("dynamo"));
    let refused = |dir: &std::path::Path| failed(dir, &SimulatedWorld, None).unwrap_err().to_string();
    assert!(refused(&dynamo).contains("nothing to shrink"), "{}", refused(&dynamo));
    assert!(refused(out.path()).contains("run.json"), "{}", refused(out.path()));

    let (recorded, symptom) = failed(&lww, &SimulatedWorld, None).unwrap();
    // As if the code had changed since.
    let mended = Recorded { profile: "dynamo".into(), scenario: scenario("mended", text), ..recorded };
    let gone = shrink(&mended, symptom, &options(&Seams::default(), 1, 10), &mut |_| {}).unwrap_err();
    assert!(matches!(gone, ShrinkError::Gone { .. }), "{gone}");

    let json = std::fs::read_to_string(lww.join("run.json")).unwrap();
    std::fs::write(lww.join("run.json"), json.replace("\"sim\"", "\"process\"")).unwrap();
    assert!(refused(&lww).contains("only simulated runs"), "{}", refused(&lww));
}
