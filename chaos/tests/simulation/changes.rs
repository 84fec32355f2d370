//! Changes of the members that crowd each other, and one that can never be made.

use quorate_chaos::expect::Property;
use quorate_chaos::fault::Phase;
use quorate_chaos::run::run;
use quorate_chaos::scenario::Scenario;
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_check::Verdict;

use crate::scenario;

/// A node joins and is asked to leave at once, while some members have not heard of either.
const TO_AND_FRO: &str = r#"
profiles = ["quorum"]
[cluster]
spares = 1
[workload]
duration = "6s"
[[fault]]
kind = "partition"
targets = ["n2"]
at = "800ms"
for = "1500ms"
[[fault]]
kind = "join"
targets = ["n6"]
at = "1s"
[[fault]]
kind = "leave"
targets = ["n6"]
at = "1010ms"
"#;

#[test]
fn a_node_that_is_to_leave_as_soon_as_it_has_joined_does_both() {
    let scenario = scenario("to-and-fro", TO_AND_FRO);
    for seed in 1..=4 {
        let run = run(&SimulatedWorld, &scenario, "quorum", seed, &Seams::default()).unwrap();
        assert_eq!(run.verdict.stuck_change, None, "seed {seed}");
        assert_eq!(run.verdict.violated().count(), 0, "seed {seed}: {:?}", run.verdict.violations);
        let ended = run.played.events.iter().filter(|e| e.event == Phase::End).count();
        let members: Vec<usize> = run.played.eras.iter().map(|era| era.members.len()).collect();
        assert_eq!((ended, members), (3, vec![5, 6, 5]), "seed {seed}");
    }
}

/// The majority that would have to choose the change is gone; and the store promises nothing of copies.
const NO_MAJORITY: &str = r#"
[cluster]
spares = 1
[store]
name = "loose"
replicas = 2
read_quorum = 1
write_quorum = 1
partitions = 16
hinted_handoff = false
anti_entropy = "off"
[workload]
duration = "2s"
keys = 2
deadline = "300ms"
[[fault]]
kind = "remove"
targets = ["n1", "n2", "n3"]
at = "500ms"
"#;

#[test]
fn a_change_that_cannot_be_made_fails_the_run_for_that_alone() {
    let scenario = scenario("no-majority", NO_MAJORITY);
    let verdict = run(&SimulatedWorld, &scenario, "loose", 1, &Seams::default()).unwrap().verdict;
    let broken: Vec<Property> = verdict.violated().map(|p| p.property).collect();
    assert!(broken.contains(&Property::MembersSettle), "{broken:?}");
    assert!(!broken.contains(&Property::Converged), "{broken:?}");
    assert_eq!(verdict.verdict, Verdict::Invalid);
    assert!(verdict.stuck_change.is_some_and(|why| why.contains("Remove")), "and says which");
}

#[test]
fn two_administrators_ask_for_different_changes_while_neither_knows_of_the_other() {
    let scenario = Scenario::load("two-administrators").unwrap();
    let crossed = (1..=6).filter(|&seed| {
        let run = run(&SimulatedWorld, &scenario, "quorum", seed, &Seams::default()).unwrap();
        let eras = &run.played.eras;
        // One was asked for before the other could have been seen by everybody.
        let at_once = eras.windows(3).filter(|three| three[2].span.from_ns < three[0].span.until_ns).count();
        assert_eq!(eras.len(), 5, "seed {seed}: four changes, one after the other");
        at_once > 0
    });
    let crossed = crossed.count();
    assert!(crossed >= 3, "changes crossed in {crossed} of 6 seeds only");
}
