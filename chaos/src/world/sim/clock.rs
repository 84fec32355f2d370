//! A simulated node's clock: the simulation's own time from a fixed epoch.

use quorate_env::Clock;

/// When every simulated run begins: 2024-01-01T00:00:00Z, in nanoseconds since the Unix epoch.
pub const EPOCH_NS: u64 = 1_704_067_200_000_000_000;

/// Reads the time of the simulation that it is used in. Monotonic time is that since the beginning
/// of the simulation, across restarts of the node.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimClock;

impl Clock for SimClock {
    fn wall_ns(&self) -> u64 {
        EPOCH_NS + self.monotonic_ns()
    }

    fn monotonic_ns(&self) -> u64 {
        // Outside a simulated host there is no time; asked while a crashed host is taken apart, say.
        turmoil::sim_elapsed().map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }
}
