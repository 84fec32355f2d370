//! Waits for a point in time, as exactly as the world allows.
//!
//! An open-loop generator is only as honest as its pacer: plain `tokio` timers round to a
//! millisecond and clump arrivals. The simulator's time is exact, so there a timer is enough.

use crate::BoxFuture;

/// Waits until a point of [`Clock::monotonic_ns`](crate::Clock::monotonic_ns).
pub trait Pacer: Send {
    /// Returns at `at_ns` or as little after it as possible, at once if it has passed.
    fn wait_until(&mut self, at_ns: u64) -> BoxFuture<'_, ()>;
}
