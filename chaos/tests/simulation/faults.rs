//! Kinds of fault that could quietly do nothing: each is seen to do what it says, and all of them at once
//! give the same bytes from the same seed.

use quorate_chaos::fault::{FaultKind, Phase};
use quorate_chaos::run::{Run, faults_text, history_text, run};
use quorate_chaos::scenario::Scenario;
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_check::Verdict;
use quorate_check::history::Outcome;

use crate::scenario;

fn play(scenario: &Scenario, profile: &str, seed: u64) -> Run {
    run(&SimulatedWorld, scenario, profile, seed, &Seams::default()).unwrap()
}

/// When a fault of this kind was on, in nanoseconds.
fn span(run: &Run, kind: FaultKind) -> (u64, u64) {
    let at = |phase| run.played.events.iter().find(|e| e.kind == kind && e.event == phase).unwrap().at_ns;
    (at(Phase::Begin), at(Phase::End))
}

#[test]
fn everything_at_once_gives_the_same_bytes_from_the_same_seed() {
    let mut storm = Scenario::load("storm").unwrap();
    storm.workload.duration = std::time::Duration::from_secs(8);
    storm.workload.clients = 5;
    for (seed, profile) in
        [(1, "always-write"), (2, "dynamo"), (3, "quorum"), (4, "lww"), (5, "linearizable")]
    {
        let bytes = |run: &Run| (history_text(&run.played.operations), faults_text(&run.played.events));
        let first = bytes(&play(&storm, profile, seed));
        let fresh =
            std::thread::scope(|scope| scope.spawn(|| bytes(&play(&storm, profile, seed))).join().unwrap());
        assert!(fresh == first, "seed {seed} gave another run the second time");
        // The explicit form of the scenario plays the same.
        let explicit = play(&storm, profile, seed).explicit;
        assert!(
            bytes(&play(&explicit, profile, seed)) == first,
            "seed {seed} is another run in its explicit form"
        );
    }
}

#[test]
fn bad_disks_lose_nothing_and_a_node_on_a_full_one_starts_when_there_is_space() {
    let disks = Scenario::load("disks").unwrap();
    for seed in 1..=3 {
        let run = play(&disks, "quorum", seed);
        assert_eq!(run.verdict.verdict, Verdict::Valid, "{:?}", run.verdict.violations);
    }
}

#[test]
fn a_paused_node_answers_nobody_and_then_goes_on() {
    let fault = "[workload]\nduration = \"8s\"\n[[fault]]\nkind = \"pause\"\ntargets = [\"n1\"]\nat = \"2s\"\nfor = \"3s\"\n";
    let run = play(&scenario("pause", fault), "quorum", 1);
    let (from_ns, until_ns) = span(&run, FaultKind::Pause);
    let through_n1 =
        || run.played.operations.iter().filter(|op| op.via.as_ref().is_some_and(|v| v.to_string() == "n1"));
    let answered = |from_ns, until_ns| {
        let is_within = |at: u64| (from_ns..until_ns).contains(&at);
        through_n1().filter(|op| op.outcome == Outcome::Ok && op.return_ns.is_some_and(is_within)).count()
    };
    // What was on its way when it stopped may still arrive.
    assert_eq!(answered(from_ns + 10_000_000, until_ns), 0);
    assert!(answered(0, from_ns) > 0 && answered(until_ns, u64::MAX) > 0);
    // Asked while it was stopped, answered by the same process over the same connection when it went on.
    let waited = through_n1().any(|op| {
        op.outcome == Outcome::Ok
            && op.invoke_ns < until_ns
            && op.invoke_ns > from_ns
            && op.return_ns > Some(until_ns)
    });
    assert!(waited, "its connections did not stay");
    assert_eq!(run.verdict.verdict, Verdict::Valid, "{:?}", run.verdict.violations);
}

#[test]
fn an_overload_is_as_many_more_requests_to_the_targets_while_it_lasts() {
    let run = play(&Scenario::load("overload").unwrap(), "dynamo", 1);
    let (from_ns, until_ns) = span(&run, FaultKind::Overload);
    let asked = |node: &str, from_ns: u64, until_ns: u64| {
        let is_it = |op: &&quorate_check::history::Operation| {
            op.via.as_ref().is_some_and(|via| via.to_string() == node)
                && (from_ns..until_ns).contains(&op.invoke_ns)
        };
        run.played.operations.iter().filter(is_it).count()
    };
    let length_ns = until_ns - from_ns;
    let (before, during) = (asked("n1", from_ns - length_ns, from_ns), asked("n1", from_ns, until_ns));
    assert!(during > 10 * before.max(1), "{before} and {during}");
    assert!(asked("n5", from_ns, until_ns) < 4 * asked("n5", from_ns - length_ns, from_ns).max(10));
    assert_eq!(run.verdict.verdict, Verdict::Valid, "{:?}", run.verdict.violations);
}

#[test]
fn a_node_comes_back_on_an_old_disk_and_says_so_in_the_events() {
    let old = Scenario::load("old-disk").unwrap();
    for (seed, profile) in [(1, "dynamo"), (2, "quorum"), (3, "linearizable")] {
        let run = play(&old, profile, seed);
        assert_eq!(run.verdict.verdict, Verdict::Valid, "{profile}: {:?}", run.verdict.violations);
        let (from_ns, until_ns) = span(&run, FaultKind::RestoreDisk);
        assert!(until_ns - from_ns >= 6_000_000_000);
    }
}
