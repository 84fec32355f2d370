//! A node that panics or does not start ends its run as an error, never as silence.

use std::sync::Arc;

use quorate_chaos::fault::FaultKind;
use quorate_chaos::run::{RunError, run};
use quorate_chaos::world::{Seams, SimulatedWorld, WorldError};
use quorate_cluster::store::{Promise, Write};

use crate::{broken, scenario};

const SHORT: &str = "profiles = [\"dynamo\"]\n[workload]\nduration = \"2s\"\n";

#[test]
fn a_panic_in_a_node_ends_the_run() {
    let panic: fn(Vec<Write>, Promise) -> _ = |batch, promise| {
        assert!(!batch.iter().any(|w| w.key().starts_with(b"d")), "the engine is on fire");
        (batch, promise)
    };
    let seams = Seams { engine: Some(broken::engine(panic, true)), ..Seams::default() };
    let error = run(&SimulatedWorld, &scenario("panics", SHORT), "dynamo", 1, &seams).unwrap_err();
    let RunError::World(WorldError::Panicked { message, .. }) = &error else { panic!("{error}") };
    assert!(message.contains("the engine is on fire"), "{message}");
}

#[test]
fn a_node_that_does_not_start_ends_the_run() {
    let seams = Seams {
        disk: Some(Arc::new(
            |node, disk| {
                if node == "n3" { broken::unreadable(disk, "node.json") } else { disk }
            },
        )),
        ..Seams::default()
    };
    let error = run(&SimulatedWorld, &scenario("unreadable", SHORT), "dynamo", 1, &seams).unwrap_err();
    let RunError::World(WorldError::Stopped { message, .. }) = &error else { panic!("{error}") };
    assert!(message.contains("node.json"), "{message}");
}

#[test]
fn a_store_that_the_scenario_does_not_run_is_refused_by_name() {
    let error = run(&SimulatedWorld, &scenario("short", SHORT), "quorum", 1, &Seams::default()).unwrap_err();
    assert!(error.to_string().contains("runs dynamo"), "{error}");
}

#[test]
fn a_disk_with_nothing_on_it_does_not_rot_and_that_is_noted() {
    let wiped = "[[fault]]\nkind = \"wipe\"\ntargets = [\"n1\"]\nat = \"500ms\"\nfor = \"1s\"\n";
    let rot = "[[fault]]\nkind = \"rot\"\ntargets = [\"n1\"]\nat = \"1s\"\n";
    let text = format!("{SHORT}{wiped}{rot}");
    let run = run(&SimulatedWorld, &scenario("rots", &text), "dynamo", 1, &Seams::default()).unwrap();
    let rotten = run.played.events.iter().find(|event| event.kind == FaultKind::Rot).unwrap();
    assert_eq!(rotten.params.get("nothing_to_rot").map(String::as_str), Some("n1"), "{rotten:?}");
}
