//! The linearizable profile: it holds through changes of its owners, and what makes it hold is missed when
//! it is taken away.

use quorate_chaos::run::{Run, run};
use quorate_chaos::scenario::Scenario;
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_check::Kind;
use quorate_check::history::{Function, Outcome};
use quorate_cluster::store::{Promise, Write};

use crate::{broken, scenario};

/// Seeds within which a planted bug must be caught.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

fn play(scenario: &Scenario, seed: u64, seams: &Seams) -> Run {
    run(&SimulatedWorld, scenario, "linearizable", seed, seams).unwrap()
}

/// Asserts that some seed shows the bug, and that the same seed holds without it.
fn assert_caught(scenario: &Scenario, seams: &Seams) {
    let is_caught = |seed: &u64| {
        play(scenario, *seed, seams).verdict.violations.iter().any(|v| v.kind == Kind::NotLinearizable)
    };
    let seed = SEEDS.into_iter().find(is_caught);
    let seed = seed.unwrap_or_else(|| panic!("not seen in seeds {SEEDS:?} of {}", scenario.name));
    let sound = play(scenario, seed, &Seams::default()).verdict;
    assert_eq!(sound.violated().count(), 0, "seed {seed} without the bug: {:?}", sound.violations);
}

/// Few keys, so that operations meet.
const BUSY: &str = "[workload]\nduration = \"6s\"\nclients = 8\nkeys = 3\nthink_time = \"30ms\"\n";

#[test]
fn every_kind_of_operation_succeeds_in_every_epoch_while_owners_change() {
    let scenario = Scenario::load("owners").unwrap();
    let played = play(&scenario, 1, &Seams::default());
    assert_eq!(played.verdict.violated().count(), 0, "{:?}", played.verdict);
    assert_eq!(played.played.eras.len(), 5, "joined, left, removed, joined");
    let eras = &played.verdict.acknowledged_by_era;
    assert!(eras.len() == 5 && eras.iter().all(|count| *count > 0), "{eras:?}");
    for f in [Function::Get, Function::Put, Function::Delete, Function::Cas] {
        let is_ok = |op: &&quorate_check::history::Operation| op.f == f && op.outcome == Outcome::Ok;
        assert!(played.played.operations.iter().filter(is_ok).count() > 20, "{f}");
    }
}

#[test]
fn an_owner_that_forgets_its_promises_is_caught() {
    let forget = |mut batch: Vec<Write>, promise| {
        batch.retain(|write| !write.key().starts_with(b"p"));
        (batch, promise)
    };
    let seams = Seams { engine: Some(broken::engine(forget, true)), ..Seams::default() };
    assert_caught(&scenario("forgets-promises", BUSY), &seams);
}

#[test]
fn a_vote_that_is_told_before_it_is_synced_is_caught_after_a_power_cut() {
    let hurry = |batch, promise: Promise| (batch, promise.min(Promise::OsBuffered));
    let seams = Seams { engine: Some(broken::engine(hurry, false)), ..Seams::default() };
    let dark = format!(
        "{BUSY}[[fault]]\nkind = \"power-cut\"\ntargets = [\"n1\", \"n2\", \"n3\", \"n4\", \"n5\"]\nat = \"3s\"\nfor = \"1s\"\n"
    );
    assert_caught(&scenario("hurries-to-vote", &dark), &seams);
}

#[test]
fn an_owner_that_votes_on_an_empty_disk_is_caught() {
    // No gaps, and the first disk that the node ever had.
    let no_gaps = broken::disk_that_says("gaps.bin", &[0, 0xd2, 0x02, 0xef, 0x8d]);
    let first = broken::disk_that_says("voter.bin", &[0, 0, 0x41, 0xd9, 0x12, 0xff]);
    let both = std::sync::Arc::new(move |name: &str, disk| first(name, no_gaps(name, disk)));
    let seams = Seams { disk: Some(both), ..Seams::default() };
    assert_caught(&Scenario::load("wipe").unwrap(), &seams);
}
