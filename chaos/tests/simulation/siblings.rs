//! Siblings do not explode: clients that read before they write keep at most one each, and one more
//! for every put whose outcome they never learned.

use std::sync::Arc;

use quorate_chaos::run::run;
use quorate_chaos::scenario::Scenario;
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_check::history::{Function, Outcome};

/// The most values that a get returned, and how many there may be: clients, and puts without an
/// outcome.
fn most_siblings(seed: u64, seams: &Seams) -> (usize, usize) {
    let scenario = Scenario::load("hot-key").unwrap();
    let played = run(&SimulatedWorld, &scenario, "quorum", seed, seams).unwrap().played;
    let seen = played.operations.iter().filter_map(|op| op.values.as_ref()).map(Vec::len).max();
    let unknown = played.operations.iter().filter(|op| op.f == Function::Put && op.outcome == Outcome::Info);
    (seen.unwrap(), scenario.workload.clients + unknown.count())
}

#[test]
fn clients_that_read_before_they_write_keep_at_most_a_sibling_each() {
    for seed in 1..=3 {
        let (seen, bound) = most_siblings(seed, &Seams::default());
        assert!(seen > 1, "seed {seed}: the clients never met");
        assert!(seen <= bound, "seed {seed}: {seen} siblings, at most {bound} are owed");
    }
}

#[test]
fn clients_that_send_no_context_pile_siblings_up() {
    let seams = Seams { token: Some(Arc::new(|_, _| None)), ..Seams::default() };
    let (seen, bound) = most_siblings(1, &seams);
    assert!(seen > bound, "{seen} siblings, and {bound} would be normal");
}
