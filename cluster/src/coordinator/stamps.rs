//! Stamps for last-write-wins, above all that this node ever gave, across restarts.
//!
//! An upper bound is on disk before any stamp below it is given; a restart begins above it. A
//! clock that was set back while the node was down therefore cannot make an old stamp again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_env::{Clock, Disk};

use crate::node::Identity;
use crate::version::{HybridClock, Stamp};

/// How far ahead the bound is set: one small synced write in so long.
const BOUND_AHEAD: Duration = Duration::from_secs(10);

struct State {
    clock: HybridClock,
    bound_ns: u64,
}

/// Gives stamps.
pub struct StampSource {
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
    identity: tokio::sync::Mutex<Identity>,
}

impl StampSource {
    /// Stamps of one run of a node, above the bound of its earlier runs.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, disk: Arc<dyn Disk>, identity: Identity) -> Self {
        let bound_ns = identity.clock_bound_ns;
        let state = State { clock: HybridClock::new(identity.incarnation, bound_ns), bound_ns };
        Self { clock, disk, state: Mutex::new(state), identity: tokio::sync::Mutex::new(identity) }
    }

    /// The next stamp, above `seen`.
    ///
    /// # Errors
    /// When the bound cannot be written; the stamp must not be used then and is not given.
    pub async fn next(&self, seen: Option<Stamp>) -> std::io::Result<Stamp> {
        let stamp = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let stamp = state.clock.next(self.clock.wall_ns(), seen);
            if stamp.wall_ns < state.bound_ns {
                return Ok(stamp);
            }
            stamp
        };
        let mut identity = self.identity.lock().await;
        // Another put may have raised it while this one waited.
        if stamp.wall_ns >= identity.clock_bound_ns {
            let bound_ns = stamp.wall_ns.saturating_add(BOUND_AHEAD.as_nanos() as u64);
            let raised = Identity { clock_bound_ns: bound_ns, ..identity.clone() };
            raised.save(&*self.disk).await?;
            *identity = raised;
            self.state.lock().unwrap_or_else(PoisonError::into_inner).bound_ns = bound_ns;
        }
        Ok(stamp)
    }
}
