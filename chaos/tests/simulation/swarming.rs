//! Swarms: scenarios that seeds make up, the core that must serve at the end, and rare states that count.

use std::num::NonZeroUsize;
use std::sync::Arc;

use quorate_chaos::campaign::{CampaignOptions, Entry, Shown, Silent, run_campaign};
use quorate_chaos::expect::Property;
use quorate_chaos::run::{history_text, run};
use quorate_chaos::swarm;
use quorate_chaos::world::{Seams, SimulatedWorld};

use crate::scenario;

fn options(entry: Entry, jobs: usize) -> CampaignOptions {
    CampaignOptions {
        entries: vec![entry],
        world: Arc::new(SimulatedWorld),
        profiles: None,
        jobs: NonZeroUsize::new(jobs).unwrap(),
        out: None,
        keep_all: false,
        trace: false,
        junit: None,
        keep_going: true,
        provenance: Default::default(),
    }
}

#[test]
fn a_swarm_holds_whatever_the_number_of_threads_and_its_runs_are_scenarios_like_any_other() {
    let entry =
        |seeds| Entry { scenario: swarm::scenario(1), argument: swarm::NAME.into(), is_swarm: true, seeds };
    let summary = run_campaign(&options(entry(1..=12), 2), &mut Silent).unwrap();
    assert_eq!(summary.failures, []);
    assert_eq!(summary.rows.iter().map(|row| row.seeds).sum::<u64>(), 12);
    assert!(summary.rows.len() > 2 && summary.rows.iter().all(|row| row.scenario == swarm::NAME));
    assert!(summary.marks.values().any(|count| *count > 0), "{:?}", summary.marks);
    let alone = run_campaign(&options(entry(1..=3), 1), &mut Silent).unwrap();
    assert_eq!(run_campaign(&options(entry(1..=3), 3), &mut Silent).unwrap(), alone);
    // Only those seeds that make up such a store.
    let some = CampaignOptions {
        profiles: Some(vec![summary.rows[0].profile.clone()]),
        ..options(entry(1..=12), 2)
    };
    assert_eq!(run_campaign(&some, &mut Silent).unwrap().rows[0], summary.rows[0]);

    let drawn = swarm::scenario(2);
    let profile = drawn.stores().unwrap()[0].name.clone();
    let first = run(&SimulatedWorld, &drawn, &profile, 2, &Seams::default()).unwrap();
    assert!(first.explicit.faults.is_none() && first.explicit.core.is_some());
    let again = run(&SimulatedWorld, &first.explicit, &profile, 2, &Seams::default()).unwrap();
    assert!(history_text(&first.played.operations) == history_text(&again.played.operations));
    assert_eq!(first.verdict, again.verdict);
}

/// Three of five are said to be the core.
const CORE: &str = r#"
profiles = ["quorum"]
[workload]
duration = "14s"
[core]
nodes = ["n1", "n2", "n3"]
from = "3s"
within = "4s"
"#;

#[test]
fn a_core_that_does_not_serve_is_a_failure_and_what_others_do_not_is_none() {
    let serves = |kind: &str, targets: &str| {
        let fault =
            format!("[[fault]]\nkind = \"{kind}\"\ntargets = {targets}\nat = \"3s\"\nfor = \"11s\"\n");
        let core = scenario("core", &format!("{CORE}{fault}"));
        run(&SimulatedWorld, &core, "quorum", 1, &Seams::default()).unwrap().verdict
    };
    let fared = |verdict: &quorate_chaos::expect::RunVerdict| {
        verdict.properties.iter().find(|p| p.property == Property::CoreServes).unwrap().clone()
    };
    let sound = serves("kill", "[\"n5\"]");
    assert_eq!((sound.violated().count(), fared(&sound).broken), (0, 0), "{:?}", sound.unserved);
    // Two of three owners of some key are away: the scenario claims too much, and that shows.
    let broken = serves("partition", "[\"n4\", \"n5\"]");
    assert!(fared(&broken).is_violated() && !broken.unserved.is_empty(), "{broken:?}");
    assert!(broken.unserved.iter().all(|says| ["n1", "n2", "n3"].iter().any(|node| says.contains(node))));
    assert!(broken.unserved[0].contains(" through ") && broken.unserved[0].contains(" ms: "), "{broken:?}");
}

#[test]
fn a_core_of_nobody_or_of_strangers_or_too_late_is_refused() {
    let refused = |from: &str, to: &str| {
        quorate_chaos::scenario::Scenario::from_toml(&CORE.replace(from, to), "x.toml", "x")
            .unwrap_err()
            .to_string()
    };
    assert!(refused("\"n3\"", "\"n9\"").contains("n9"), "{}", refused("\"n3\"", "\"n9\""));
    assert!(refused("[\"n1\", \"n2\", \"n3\"]", "[]").contains("at least one"));
    assert!(refused("from = \"3s\"", "from = \"10s\"").contains("workload.duration = 14s"));
    assert!(refused("within", "witihn").contains("`within`"));
}

#[test]
fn a_rare_state_that_was_never_reached_fails_once_enough_seeds_ran() {
    let text = "profiles = [\"dynamo\"]\n[workload]\nduration = \"6s\"\n\
                [[fault]]\nkind = \"restart\"\ntargets = \"majority\"\nat = \"3s\"\n\
                [expect]\nmarks = [\"new-incarnation\", \"tombstone-collected\"]\nwithin = 3\n";
    let entry = |seeds| {
        let scenario = scenario("marks", text);
        Entry { argument: scenario.name.clone(), scenario, is_swarm: false, seeds }
    };
    let few = run_campaign(&options(entry(1..=1), 1), &mut Silent).unwrap();
    let states: Vec<Shown> = few.rows[0].must_reach.iter().map(|reach| reach.state).collect();
    assert_eq!((states, few.exit_code()), (vec![Shown::Shown, Shown::TooFewSeeds], 2), "{:?}", few.marks);
    let enough = run_campaign(&options(entry(1..=3), 2), &mut Silent).unwrap();
    assert_eq!((enough.rows[0].must_reach[1].state, enough.exit_code()), (Shown::Missing, 1));
    assert!(enough.marks["new-incarnation"] > 0 && enough.marks["tombstone-collected"] == 0);
    let misspelt = text.replace("new-incarnation", "new-incarnatoin");
    let refused = quorate_chaos::scenario::Scenario::from_toml(&misspelt, "x.toml", "x").unwrap_err();
    assert!(refused.to_string().contains("did you mean `new-incarnation`"), "{refused}");
}
