//! Every bug that can be planted in the nodes' code, with the scenario and the promise that find it.
//!
//! `QUORATE_PLANTED_SEEDS=200 cargo test -p quorate-chaos --test simulation bugs -- --nocapture` prints how
//! many seeds each takes; without it each is found once, within a few seeds.

use quorate_chaos::expect::Property;
use quorate_chaos::run::run;
use quorate_chaos::scenario::Scenario;
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_cluster::planted::Bug;

/// How often a bug is found before its seeds are counted no further.
const FINDS_MAX: usize = 5;

/// What finds a bug.
struct Case {
    bug: Bug,
    /// The name of a scenario of the catalogue, or of this one.
    scenario: &'static str,
    /// The scenario itself if it is in no catalogue.
    text: Option<String>,
    profile: &'static str,
    property: Property,
    /// Seeds within which it is found.
    within: u64,
}

impl Case {
    fn scenario(&self) -> Scenario {
        match &self.text {
            Some(text) => crate::scenario(self.scenario, text),
            None => Scenario::load(self.scenario).unwrap(),
        }
    }

    /// Whether the promise is broken with this seed.
    fn is_broken(&self, scenario: &Scenario, bug: Option<Bug>, seed: u64) -> bool {
        let seams = Seams { bug, ..Seams::default() };
        // What does not get to its end, a panic say, is no proof of anything.
        let run = run(&SimulatedWorld, scenario, self.profile, seed, &seams).unwrap();
        run.verdict.violated().any(|broken| broken.property == self.property)
    }

    /// Finds the bug, and that the scenario holds without it.
    fn check(&self) {
        let scenario = self.scenario();
        let seeds_max = std::env::var("QUORATE_PLANTED_SEEDS").ok().map(|seeds| seeds.parse().unwrap());
        let mut needed = Vec::new();
        let mut last = 0;
        for seed in 1..=seeds_max.unwrap_or(self.within) {
            if self.is_broken(&scenario, Some(self.bug), seed) {
                needed.push(seed - last);
                last = seed;
                let is_sound = !self.is_broken(&scenario, None, seed);
                assert!(is_sound, "{}: seed {seed} breaks {} without the bug", scenario.name, self.property);
                if seeds_max.is_none() || needed.len() == FINDS_MAX {
                    break;
                }
            }
        }
        assert!(!needed.is_empty(), "{} is not found by {}", self.bug.name(), scenario.name);
        needed.sort_unstable();
        if seeds_max.is_some() {
            println!(
                "| {} | `{}`, {} | {} | {} |",
                self.bug.name(),
                scenario.name,
                self.profile,
                self.property,
                needed[needed.len() / 2]
            );
        }
    }
}

macro_rules! found {
    ($($test:ident: $bug:ident by $scenario:literal $(= $text:expr)?, $profile:literal, $property:ident, $within:literal;)*) => {
        $(#[test]
        fn $test() {
            #[allow(unused_mut, unused_assignments, reason = "most are in the catalogue")]
            let mut text = None;
            $(text = Some($text);)?
            let (bug, property) = (Bug::$bug, Property::$property);
            Case { bug, scenario: $scenario, text, profile: $profile, property, within: $within }.check();
        })*

        #[test]
        fn no_bug_is_left_out() {
            let planted = [$(Bug::$bug),*];
            for bug in Bug::ALL {
                assert!(planted.contains(bug), "nothing looks for {bug:?}");
            }
        }
    };
}

/// Nothing but hints brings these writes to their owners, who lose power just when they are given them.
fn hints_alone() -> String {
    let mut text = String::from(
        "[store]\nname = \"hints-alone\"\nreplicas = 3\nread_quorum = 1\nwrite_quorum = 1\npartitions = 16\n\
         anti_entropy = \"off\"\nread_repair = false\n[workload]\nduration = \"14s\"\nclients = 10\n",
    );
    for time in 0..6 {
        let from_ms = 1000 + 2000 * time;
        let dark_ms = from_ms + 900 + 100 * time;
        text += &format!(
            "[[fault]]\nkind = \"partition\"\ntargets = \"primaries-of k1\"\nat = \"{from_ms}ms\"\nfor = \"800ms\"\n\
             [[fault]]\nkind = \"power-cut\"\ntargets = \"primaries-of k1\"\nat = \"{dark_ms}ms\"\nfor = \"200ms\"\n"
        );
    }
    text
}

found! {
    hint_dropped_early: HintDroppedBeforeItsAcknowledgement by "hints-alone" = hints_alone(), "hints-alone", NoLostWrite, 5;
    dot_reused: DotReusedAfterWipe by "wipe", "dynamo", NoLostWrite, 5;
    dot_minted_again: DotMintedAgainOnRetry by "join", "dynamo", NoFalseSibling, 5;
    repair_writes_older: ReadRepairWritesOlder by "minority-partition", "quorum", NoLostWrite, 5;
    tombstone_collected_early: TombstoneCollectedEarly by "collected-deletes", "dynamo", NoLostWrite, 5;
    tree_from_memory: TreeFromMemory by "rot", "dynamo", Converged, 5;
    empty_answer_votes: EmptyFallbackVotes by "wipe", "quorum", NoStaleRead, 20;
    counted_twice: OneNodeCountsTwice by "wipe-alone", "dynamo", NoLostWrite, 5;
    get_without_write_back: GetWithoutWriteBack by "shapes", "linearizable", Converged, 5;
    acknowledged_before_sync: AcknowledgedBeforeSync by "power-cut", "dynamo", NoLostWrite, 5;
    context_as_maximum: ContextAsMaximum by "hot-key", "quorum", NoLostWrite, 5;
}
