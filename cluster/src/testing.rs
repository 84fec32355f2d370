//! What the tests of several modules need.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::Display;
use std::sync::Arc;

use quorate_env::disk::SimulatedDisk;
use quorate_env::{Env, Random, SystemClock, TokioNetwork};

use crate::config::{Member, NodeId};

/// The name `n1`, `n2` and so on.
pub(crate) fn node(n: impl Display) -> NodeId {
    format!("n{n}").parse().unwrap()
}

/// A member of that name, 1 to 255, that nobody can reach.
pub(crate) fn member(n: impl Display) -> Member {
    let [peer, api] = [1, 2].map(|port| format!("127.0.1.{n}:{port}"));
    Member { id: node(n), peer, api, capacity: 1, zone: String::new() }
}

/// Real sockets, and a disk of its own in memory.
pub(crate) fn env() -> Env {
    Env {
        net: Arc::new(TokioNetwork),
        clock: Arc::new(SystemClock::new()),
        random: Random::from_seed(1),
        disk: SimulatedDisk::default().mount(),
    }
}
