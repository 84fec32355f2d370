//! A simulated node's clock: the simulation's own time from a fixed epoch, and for each node how wrong
//! its time of day is.
//!
//! Faults of clocks move the time of day alone. What measures how much time went by (`monotonic_ns`, and the
//! timers of the runtime) stays right, as a real machine's does when its date is set; that it may go a few
//! millionths too fast or too slow is left out, as no promise depends on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_env::Clock;

use crate::fault::ClockEffect;

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

/// The clock of one node, which faults make wrong. Clones are the same clock; it outlives the node's crashes.
#[derive(Clone, Debug, Default)]
pub struct NodeClock {
    wrong: Arc<Mutex<BTreeMap<usize, Wrong>>>,
}

/// What one fault does to a clock, and since when.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    effect: ClockEffect,
    since_ns: u64,
}

impl NodeClock {
    /// The fault of this number begins.
    pub(super) fn begin(&self, fault: usize, effect: ClockEffect, now_ns: u64) {
        self.lock().insert(fault, Wrong { effect, since_ns: now_ns });
    }

    /// It is healed: the clock is set right, as far as no other fault makes it wrong.
    pub(super) fn end(&self, fault: usize) {
        self.lock().remove(&fault);
    }

    /// What the clock adds to the right time, all faults together.
    fn offset_ns(&self, now_ns: u64) -> i64 {
        let offset = |wrong: &Wrong| match wrong.effect {
            ClockEffect::Offset(offset_ns) => offset_ns,
            ClockEffect::Drift(ppm) => {
                let drifted = i128::from(now_ns.saturating_sub(wrong.since_ns)) * i128::from(ppm) / 1_000_000;
                i64::try_from(drifted).unwrap_or(i64::MAX)
            }
        };
        self.lock().values().map(offset).fold(0, i64::saturating_add)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Wrong>> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for NodeClock {
    fn wall_ns(&self) -> u64 {
        SimClock.wall_ns().saturating_add_signed(self.offset_ns(self.monotonic_ns()))
    }

    fn monotonic_ns(&self) -> u64 {
        SimClock.monotonic_ns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn faults_of_one_clock_add_up_and_leave_nothing_behind() {
        let clock = NodeClock::default();
        clock.begin(0, ClockEffect::Offset(30 * 1_000_000_000), 0);
        clock.begin(1, ClockEffect::Offset(-10 * 1_000_000_000), 0);
        clock.begin(2, ClockEffect::Drift(-100_000), 5 * S);
        let offset_ms = |at_ns| clock.offset_ns(at_ns) / 1_000_000;
        assert_eq!((offset_ms(5 * S), offset_ms(15 * S)), (20_000, 19_000));
        clock.end(0);
        assert_eq!(offset_ms(15 * S), -11_000);
        assert_eq!(clock.wall_ns(), EPOCH_NS - 10 * S, "outside a simulation no time goes by");
        clock.end(2);
        clock.end(1);
        assert_eq!((offset_ms(15 * S), clock.wall_ns()), (0, EPOCH_NS));
    }
}
