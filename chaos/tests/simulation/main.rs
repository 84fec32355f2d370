//! Whole simulated runs: determinism, planted bugs, campaigns, replay.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod broken;
mod bugs;
mod campaign;
mod changes;
mod determinism;
mod failures;
mod faults;
mod gossip;
mod planted;
mod registers;
mod shrinking;
mod siblings;
mod swarming;

use quorate_chaos::scenario::Scenario;

/// A scenario from the text of its file.
fn scenario(name: &str, text: &str) -> Scenario {
    Scenario::from_toml(text, "test", name).unwrap()
}
