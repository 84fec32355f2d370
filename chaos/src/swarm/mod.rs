//! Scenarios drawn from a seed: what nobody thought of listing.
//!
//! A directed scenario asks a question; a swarm tries what is between the questions (Groce et al., "Swarm
//! Testing", ISSTA 2012): size and shape of the cluster, the store, the load and the faults are drawn, and
//! some kinds of faults are switched off altogether, because what is always there hides what comes without
//! it. A run has three phases, after TigerBeetle's VOPR: faults, during which nothing may be lost; then only
//! a core of the nodes that should suffice is in order, and must serve within a bound
//! ([`crate::scenario::CoreSection`]); then everything is healed and must converge.
//!
//! Not here: faults of kinds that may be drawn by themselves, which [`crate::fault::Plan`] draws as for any
//! scenario, so that new kinds join in.

mod store;

use std::time::Duration;

use quorate_cluster::config::{Durability, PROFILES, StoreDefinition, TombstoneCollection};
use quorate_env::{Random, RandomStream};
use rand::RngExt;

use crate::fault::{FaultKind, FaultSpec, Targets};
use crate::scenario::{CoreSection, Mix, RandomFaults, Scenario};

/// How the command line calls it.
pub const NAME: &str = "swarm";

/// What it shows, in one sentence.
pub const SAYS: &str = "Cluster, store, load and faults drawn from the seed, some kinds of fault left out altogether; \
                        at the end a core of the nodes must serve alone.";

/// How long a healed core may take until it serves.
const SERVES_WITHIN: Duration = Duration::from_secs(5);

/// How long it must serve then.
const SERVES_FOR: Duration = Duration::from_secs(3);

/// How long clients wait for an answer.
const DEADLINE: Duration = Duration::from_secs(4);

/// The scenario of a seed.
#[must_use]
pub fn scenario(seed: u64) -> Scenario {
    let random = Random::from_seed(seed).child("swarm");
    let mut scenario = blank();
    let mut stream = random.stream("cluster");
    scenario.cluster.nodes = *pick(&[3, 4, 5, 5, 5, 6, 7, 9], &mut stream);
    let store = store::draw(scenario.cluster.nodes, &mut random.stream("store"));
    // It must not take less than it has to: a store of its own is described whole, a profile is named.
    if store.name == store::OWN {
        scenario.store = Some(store.clone());
        scenario.profiles.clear();
    } else {
        scenario.profiles = vec![store.name.clone()];
    }
    shape(&mut scenario, &mut stream);
    load(&mut scenario, &mut random.stream("load"));
    faults(&mut scenario, &store, random);
    core(&mut scenario, &store, &mut random.stream("core"));
    scenario
}

/// Names of all stores that may be drawn.
#[must_use]
pub fn stores() -> Vec<String> {
    PROFILES.iter().chain(&[store::OWN]).map(|name| (*name).to_owned()).collect()
}

/// Whether a scenario is named by what gives one for every seed.
#[must_use]
pub fn is_swarm(argument: &str) -> bool {
    argument == NAME
}

fn blank() -> Scenario {
    let mut scenario = Scenario::from_toml(&format!("says = \"{SAYS}\""), NAME, NAME)
        .expect("a scenario that says nothing else is valid");
    scenario.profiles.clear();
    scenario
}

/// Capacities, zones and spare nodes.
fn shape(scenario: &mut Scenario, stream: &mut RandomStream) {
    let cluster = &mut scenario.cluster;
    cluster.spares = if stream.random_bool(0.4) { stream.random_range(1..=2) } else { 0 };
    let all = cluster.nodes + cluster.spares;
    if stream.random_bool(0.3) {
        cluster.capacities = (0..all).map(|_| stream.random_range(1..=4)).collect();
    }
    let zones = stream.random_range(2..=3);
    if stream.random_bool(0.25) {
        cluster.zones = (0..all).map(|i| format!("z{}", i % zones + 1)).collect();
    }
    cluster.anti_entropy = Duration::from_secs(stream.random_range(1..=3));
    let latency_max = Duration::from_millis(*pick(&[2, 5, 5, 20], stream));
    scenario.network.latency_max = latency_max;
}

fn load(scenario: &mut Scenario, stream: &mut RandomStream) {
    let workload = &mut scenario.workload;
    workload.clients = stream.random_range(2..=10);
    workload.keys = *pick(&[1, 3, 8, 12, 30], stream);
    workload.think_time = Duration::from_millis(stream.random_range(20..=120));
    workload.blind = *pick(&[0.0, 0.1, 0.4], stream);
    workload.cas = *pick(&[0.0, 0.5, 1.0], stream);
    workload.value_bytes = *pick(&[24, 64, 64, 2_000], stream);
    workload.deadline = DEADLINE;
    let put = f64::from(stream.random_range(2..=8_u32)) / 10.0;
    let delete = *pick(&[0.0, 0.05, 0.2], stream);
    workload.mix = Mix { get: 1.0 - put, put, delete };
    // Where deletes are to be forgotten there must be many: that none ever was is a failure.
    let collects = stream.random_bool(0.5) && delete > 0.1 && workload.keys > 3;
    let shaken_s = stream.random_range(4..=16);
    workload.duration = Duration::from_secs(shaken_s) + SERVES_WITHIN + SERVES_FOR + DEADLINE;
    keep_if_valid(scenario, |scenario| {
        if collects {
            scenario.cluster.tombstone_collection = TombstoneCollection::Every(Duration::from_secs(1));
        }
    });
}

/// When the faults are over and the core must begin to serve.
fn shaken(scenario: &Scenario) -> Duration {
    scenario.workload.duration.saturating_sub(SERVES_WITHIN + SERVES_FOR + DEADLINE)
}

/// Some kinds are on, the others off. Those that may be drawn by themselves are; of the others, of which the
/// cluster stands only so many, there are one or two.
fn faults(scenario: &mut Scenario, store: &StoreDefinition, random: Random) {
    let mut stream = random.stream("kinds");
    let on: Vec<FaultKind> = FaultKind::ALL.iter().copied().filter(|_| stream.random_bool(0.5)).collect();
    let shaken = shaken(scenario);
    let mut stream = random.stream("faults");
    let count = stream.random_range(1..=12);
    let for_max = Duration::from_millis(stream.random_range(500..=3_000));
    let drawn = |kinds: Vec<FaultKind>| RandomFaults {
        random: kinds,
        count,
        for_min: Duration::from_millis(200),
        for_max,
        until: Some(shaken),
    };
    let may_be_drawn = |kind: &FaultKind| {
        let alone = Scenario { faults: Some(drawn(vec![*kind])), ..scenario.clone() };
        alone.validate().is_ok()
    };
    let (free, bound): (Vec<FaultKind>, Vec<FaultKind>) =
        on.into_iter().partition(|kind| kind.is_for_chance());
    let free: Vec<FaultKind> = free.into_iter().filter(may_be_drawn).collect();
    if !free.is_empty() {
        scenario.faults = Some(drawn(free));
    }
    let mut left: Vec<String> = scenario.cluster.node_names().collect();
    let mut lost = 0;
    for kind in bound {
        let mut stream = random.stream(kind.as_str());
        // Where two disks may be lost for good hardly anything is promised: seldom.
        let often = if kind.changes_members() || store.is_linearizable() { 0.7 } else { 0.4 };
        if !stream.random_bool(often) {
            continue;
        }
        // Who is new copies from those who had it; a change with too few of them left is stuck for good.
        let loses = usize::from(kind.is_for_good() || matches!(kind, FaultKind::Wipe | FaultKind::Rot));
        let changes =
            kind.changes_members() || scenario.fault.iter().any(|fault| fault.kind.changes_members());
        if changes && (lost + loses > 1 || store.durability != Durability::Commit) {
            continue;
        }
        let at = Duration::from_millis(stream.random_range(0..millis(shaken) * 3 / 4));
        let lasts = Duration::from_millis(stream.random_range(200..=1_500)).min(shaken.saturating_sub(at));
        let lasts = if kind.is_instant() { Duration::ZERO } else { lasts };
        let targets = if kind == FaultKind::Join || left.is_empty() {
            Targets::One
        } else {
            // By name, so that the core does not count on who goes, and nobody goes twice.
            Targets::Names(vec![left.swap_remove(stream.random_range(0..left.len()))])
        };
        let before = scenario.fault.len();
        keep_if_valid(scenario, |scenario| {
            scenario.fault.push(FaultSpec::new(kind, targets, at, lasts));
        });
        lost += loses * (scenario.fault.len() - before);
    }
}

/// The core: as many nodes are left out of order at the end as a quorum of every key can do without.
fn core(scenario: &mut Scenario, store: &StoreDefinition, stream: &mut RandomStream) {
    let from = shaken(scenario);
    let goes = |node: &String| {
        scenario.fault.iter().any(|fault| {
            fault.kind.changes_members()
                && matches!(&fault.targets, Targets::Names(names) if names.contains(node))
        })
    };
    let staying: Vec<String> = scenario.cluster.node_names().filter(|node| !goes(node)).collect();
    let spared = store.n() - store.r().max(store.w());
    let mut core = staying;
    let mut outside = Vec::new();
    for _ in 0..stream.random_range(0..=spared) {
        if core.len() > 1 {
            outside.push(core.swap_remove(stream.random_range(0..core.len())));
        }
    }
    core.sort();
    outside.sort();
    // Without its tail a node is no whole owner, and the core would have to do without its vote.
    let harmless = [FaultKind::Partition, FaultKind::Hold];
    let harsh = [FaultKind::Partition, FaultKind::Hold, FaultKind::Kill, FaultKind::PowerCut];
    let kinds: &[FaultKind] = if store.durability == Durability::Commit { &harsh } else { &harmless };
    let kind = *pick(kinds, stream);
    let lasts = scenario.workload.duration.saturating_sub(from);
    if core.is_empty() {
        return;
    }
    keep_if_valid(scenario, |scenario| {
        if !outside.is_empty() {
            scenario.fault.push(FaultSpec::new(kind, Targets::Names(outside), from, lasts));
        }
        scenario.core = Some(CoreSection { nodes: core, from, within: SERVES_WITHIN });
    });
}

/// Makes a change if what comes of it can be run.
fn keep_if_valid(scenario: &mut Scenario, change: impl FnOnce(&mut Scenario)) {
    let mut changed = scenario.clone();
    change(&mut changed);
    if changed.validate().is_ok() {
        *scenario = changed;
    }
}

fn pick<'a, T>(choices: &'a [T], stream: &mut RandomStream) -> &'a T {
    &choices[stream.random_range(0..choices.len())]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_one_valid_scenario_that_reads_back_as_written() {
        for seed in 0..300 {
            let drawn = scenario(seed);
            drawn.validate().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(drawn.stores().unwrap().len(), 1);
            assert_eq!(
                Scenario::from_toml(&drawn.to_toml(), "swarm", "swarm").unwrap(),
                drawn,
                "seed {seed}"
            );
            assert_eq!(scenario(seed), drawn);
        }
        assert_ne!(scenario(1), scenario(2));
    }

    #[test]
    fn seeds_differ_in_everything_and_every_kind_of_fault_comes_up() {
        let drawn: Vec<Scenario> = (0..300).map(scenario).collect();
        let some = |part: fn(&Scenario) -> bool| {
            let with = drawn.iter().filter(|scenario| part(scenario)).count();
            with > 10 && with < 290
        };
        assert!(some(|s| s.store.is_some()) && some(|s| s.cluster.spares > 0));
        assert!(some(|s| s.cluster.zones.is_empty()) && some(|s| s.cluster.capacities.is_empty()));
        assert!(some(|s| s.workload.mix.delete > 0.0) && some(|s| s.cluster.nodes == 5));
        assert!(some(|s| s.fault.iter().any(|fault| fault.kind.changes_members())));
        let profiles: BTreeSet<&str> = drawn.iter().flat_map(|s| &s.profiles).map(String::as_str).collect();
        assert_eq!(profiles.len(), PROFILES.len());
        let listed = drawn.iter().flat_map(|s| s.fault.iter().map(|fault| fault.kind));
        let random = drawn.iter().flat_map(|s| s.faults.iter().flat_map(|faults| faults.random.clone()));
        let seen: BTreeSet<FaultKind> = listed.chain(random).collect();
        let missing: Vec<&FaultKind> = FaultKind::ALL.iter().filter(|kind| !seen.contains(kind)).collect();
        assert!(missing.is_empty(), "{missing:?} never come up");
    }

    #[test]
    fn a_core_suffices_for_every_key_and_nobody_in_it_is_asked_to_go() {
        let mut smaller = 0;
        for seed in 0..300 {
            let drawn = scenario(seed);
            let store = drawn.stores().unwrap().remove(0);
            let core = drawn.core.clone().unwrap();
            assert!(!core.nodes.is_empty() && core.from < drawn.workload.duration);
            let late: Vec<&FaultSpec> = drawn.fault.iter().filter(|fault| fault.at >= core.from).collect();
            let Some(last) = late.first() else { continue };
            let Targets::Names(outside) = &last.targets else { panic!("{last:?}") };
            assert!(outside.len() <= store.n() - store.r().max(store.w()), "seed {seed}");
            assert!(outside.iter().all(|node| !core.nodes.contains(node)));
            smaller += 1;
        }
        assert!(smaller > 100, "{smaller}");
    }
}
