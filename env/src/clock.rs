//! Time as code may read it. Sleeping is `tokio::time`'s business in both worlds.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads time. The simulator gives each node its own, with skew.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since the Unix epoch. May jump and may differ between nodes.
    fn wall_ns(&self) -> u64;
    /// Nanoseconds since some fixed start. Never goes back within a process.
    fn monotonic_ns(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ns(&self) -> u64 {
        // A clock set before 1970 reads as 1970: nothing here is older than that.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| saturating_ns(d.as_nanos()))
    }

    fn monotonic_ns(&self) -> u64 {
        saturating_ns(self.start.elapsed().as_nanos())
    }
}

fn saturating_ns(ns: u128) -> u64 {
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back_and_wall_time_is_after_2020() {
        let clock = SystemClock::new();
        let first = clock.monotonic_ns();
        assert!(clock.monotonic_ns() >= first);
        assert!(clock.wall_ns() > 1_577_836_800_000_000_000);
    }
}
