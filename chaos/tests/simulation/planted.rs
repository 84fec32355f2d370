//! Bugs planted at the seams, each caught by the check that exists for it. A checker that nobody has
//! seen fail proves nothing; and the same scenarios hold without the bug.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_chaos::expect::Property;
use quorate_chaos::run::{Run, run};
use quorate_chaos::scenario::Scenario;
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_check::Kind;
use quorate_cluster::config::TombstoneCollection;
use quorate_cluster::store::{Promise, Write};

use crate::{broken, scenario};

/// Seeds within which a planted bug must be caught.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

fn play(scenario: &Scenario, profile: &str, seed: u64, seams: &Seams) -> Run {
    run(&SimulatedWorld, scenario, profile, seed, seams).unwrap()
}

/// Asserts that some seed shows the bug as a broken promise of one of these kinds, and that the same
/// seed holds without it.
fn assert_caught(scenario: &Scenario, profile: &str, seams: &Seams, kinds: &[Kind]) {
    let caught = SEEDS.into_iter().find(|&seed| {
        let verdict = play(scenario, profile, seed, seams).verdict;
        verdict.violated().any(|broken| {
            verdict.violations.iter().any(|v| kinds.contains(&v.kind) && broken.property.is_broken_by(v))
        })
    });
    let seed = caught.unwrap_or_else(|| panic!("{kinds:?} not seen in seeds {SEEDS:?} of {}", scenario.name));
    let sound = play(scenario, profile, seed, &Seams::default()).verdict;
    assert_eq!(
        sound.violated().count(),
        0,
        "seed {seed} does not hold without the bug: {:?}",
        sound.violations
    );
}

const CALM: &str = "[workload]\nduration = \"6s\"\n";

/// FNV-1a: which writes are forgotten must depend on them alone, so that all replicas forget the same.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn an_engine_that_forgets_is_caught_as_lost_writes() {
    let forget = |mut batch: Vec<Write>, promise| {
        batch.retain(|write| match write {
            Write::Put { key, value } => !key.starts_with(b"d") || !hash(value).is_multiple_of(4),
            Write::Delete { .. } => true,
        });
        (batch, promise)
    };
    let seams = Seams { engine: Some(broken::engine(forget, true)), ..Seams::default() };
    assert_caught(&scenario("forgets", CALM), "dynamo", &seams, &[Kind::Lost, Kind::LostUpdate]);
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught_as_lost_writes_after_a_power_cut() {
    let hurry = |batch, promise: Promise| (batch, promise.min(Promise::OsBuffered));
    let seams = Seams { engine: Some(broken::engine(hurry, false)), ..Seams::default() };
    let dark = format!(
        "{CALM}[[fault]]\nkind = \"power-cut\"\ntargets = [\"n1\", \"n2\", \"n3\", \"n4\", \"n5\"]\nat = \"3s\"\nfor = \"1s\"\n"
    );
    assert_caught(&scenario("hurries", &dark), "dynamo", &seams, &[Kind::Lost]);
}

#[test]
fn a_context_that_is_ignored_is_caught_as_false_siblings() {
    let count = AtomicU64::new(0);
    let drop_some = move |_client, token: Option<String>| {
        token.filter(|_| !count.fetch_add(1, Ordering::Relaxed).is_multiple_of(10))
    };
    let seams = Seams { token: Some(Arc::new(drop_some)), ..Seams::default() };
    assert_caught(&scenario("ignores", CALM), "quorum", &seams, &[Kind::FalseSibling]);
}

#[test]
fn a_hint_that_is_dropped_early_is_caught_as_lost_writes() {
    let drop_hints = |mut batch: Vec<Write>, promise| {
        batch.retain(|write| !matches!(write, Write::Put { key, .. } if key.starts_with(b"h")));
        (batch, promise)
    };
    let seams = Seams { engine: Some(broken::engine(drop_hints, true)), ..Seams::default() };
    // Nothing but hints brings these writes to their owners.
    let only_hints = "[store]\nname = \"only-hints\"\nreplicas = 3\nread_quorum = 1\nwrite_quorum = 1\npartitions = 16\n\
                      anti_entropy = \"off\"\nread_repair = false\n[workload]\nduration = \"6s\"\n\
                      [[fault]]\nkind = \"partition\"\ntargets = \"primaries-of k1\"\nat = \"1s\"\nfor = \"4s\"\n";
    assert_caught(
        &scenario("drops-hints", only_hints),
        "only-hints",
        &seams,
        &[Kind::Lost, Kind::LostUpdate],
    );
}

/// That a hint was dropped must be on disk before deletes are forgotten: delivered again it brings back
/// what nothing says any more was deleted.
#[test]
fn a_hint_that_comes_back_is_caught_as_resurrected_only_where_deletes_are_forgotten() {
    let seams = Seams { engine: Some(broken::hints_come_back()), ..Seams::default() };
    let mut scenario = Scenario::load("collected-deletes").unwrap();
    assert_caught(&scenario, "dynamo", &seams, &[Kind::Resurrected]);
    scenario.cluster.tombstone_collection = TombstoneCollection::Off;
    scenario.expect.holds.clear();
    for seed in SEEDS {
        let verdict = play(&scenario, "dynamo", seed, &seams).verdict;
        assert_eq!(verdict.violated().count(), 0, "seed {seed}: {:?}", verdict.violations);
    }
}

#[test]
fn a_dot_that_is_reused_after_a_restart_is_caught_as_lost_writes() {
    let seams = Seams { disk: Some(broken::disk_without("node.json")), ..Seams::default() };
    let restarts = format!("{CALM}[[fault]]\nkind = \"restart\"\ntargets = \"majority\"\nat = \"3s\"\n");
    assert_caught(
        &scenario("forgets-itself", &restarts),
        "always-write",
        &seams,
        &[Kind::Lost, Kind::LostUpdate],
    );
}

#[test]
fn a_wiped_node_that_votes_at_once_is_caught_as_stale_reads() {
    // An empty list of gaps, and its checksum.
    let no_gaps = broken::disk_that_says("gaps.bin", &[0, 0xd2, 0x02, 0xef, 0x8d]);
    let seams = Seams { disk: Some(no_gaps), ..Seams::default() };
    assert_caught(&Scenario::load("wipe").unwrap(), "quorum", &seams, &[Kind::Stale]);
}

#[test]
fn an_interval_that_is_not_kept_is_caught_as_a_loss_without_excuse() {
    let never_sync = |batch, promise| (batch, promise);
    let seams = Seams { engine: Some(broken::engine(never_sync, false)), ..Seams::default() };
    let interval = Scenario::load("interval-power-cut").unwrap();
    let is_late = |seams: &Seams, seed| {
        let verdict = play(&interval, "interval", seed, seams).verdict;
        verdict.violated().any(|broken| broken.property == Property::BoundedLoss)
    };
    assert!(SEEDS.into_iter().any(|seed| is_late(&seams, seed)));
    assert!(!SEEDS.into_iter().any(|seed| is_late(&Seams::default(), seed)));
}
