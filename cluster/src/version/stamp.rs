//! Last write wins: stamps of a hybrid logical clock, and the one value with the highest.
//!
//! After Kulkarni et al., "Logical physical clocks" (OPODIS 2014). A stamp is never given
//! twice: it carries the incarnation and a sequence number. Concurrent writes are lost by
//! design; that is what this conflict rule means.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Payload;

/// How far ahead of a node's own clock a stamp may lie before the node refuses it.
pub const SKEW_MAX: Duration = Duration::from_secs(60);

/// When a write was made. Ordered; never equal for two writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Nanoseconds since the Unix epoch, or later if a later one was seen.
    pub wall_ns: u64,
    /// The run of the node that gave it.
    pub incarnation: u64,
    /// Counts within the run.
    pub sequence: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}.{}", self.wall_ns, self.incarnation, self.sequence)
    }
}

/// A stamp from too far in the future: somebody's clock is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stamp lies {ahead:?} ahead of this node's clock, more than the {SKEW_MAX:?} allowed; correct the clocks"
)]
pub struct SkewError {
    /// How far ahead it lies.
    pub ahead: Duration,
}

/// Gives stamps that never go back, whatever the wall clock does.
#[derive(Clone, Debug)]
pub struct HybridClock {
    incarnation: u64,
    last_ns: u64,
    sequence: u64,
}

impl HybridClock {
    /// A clock of this run that gives stamps above `floor_ns`, the bound that earlier runs of
    /// the node promised to stay below.
    #[must_use]
    pub fn new(incarnation: u64, floor_ns: u64) -> Self {
        Self { incarnation, last_ns: floor_ns, sequence: 0 }
    }

    /// The next stamp: above all given and above `seen`.
    pub fn next(&mut self, wall_ns: u64, seen: Option<Stamp>) -> Stamp {
        let seen_ns = seen.map_or(0, |s| s.wall_ns);
        self.last_ns = wall_ns.max(self.last_ns + 1).max(seen_ns + 1);
        self.sequence += 1;
        Stamp { wall_ns: self.last_ns, incarnation: self.incarnation, sequence: self.sequence }
    }

    /// Lets the clock know a stamp that was received: all it gives from now on is above (the
    /// receive rule, Kulkarni et al., section 3). A stamp beyond [`SKEW_MAX`] is ignored, so that
    /// one wrong clock does not drag all others along.
    pub fn observe(&mut self, wall_ns: u64, seen: Stamp) {
        if Self::check_skew(wall_ns, seen).is_ok() {
            self.last_ns = self.last_ns.max(seen.wall_ns);
        }
    }

    /// Refuses a stamp from too far in the future, which would win over all that is written
    /// until then.
    ///
    /// # Errors
    /// [`SkewError`] beyond [`SKEW_MAX`].
    pub fn check_skew(wall_ns: u64, stamp: Stamp) -> Result<(), SkewError> {
        let ahead = Duration::from_nanos(stamp.wall_ns.saturating_sub(wall_ns));
        if ahead > SKEW_MAX { Err(SkewError { ahead }) } else { Ok(()) }
    }
}

/// The one clock of a node, shared by whoever gives stamps and whoever receives them.
#[derive(Clone, Debug)]
pub struct SharedClock(Arc<Mutex<HybridClock>>);

impl SharedClock {
    /// Shares `clock`.
    #[must_use]
    pub fn new(clock: HybridClock) -> Self {
        Self(Arc::new(Mutex::new(clock)))
    }

    /// See [`HybridClock::next`].
    #[must_use]
    pub fn next(&self, wall_ns: u64, seen: Option<Stamp>) -> Stamp {
        self.lock().next(wall_ns, seen)
    }

    /// See [`HybridClock::observe`].
    pub fn observe(&self, wall_ns: u64, seen: Stamp) {
        self.lock().observe(wall_ns, seen);
    }

    fn lock(&self) -> MutexGuard<'_, HybridClock> {
        // Numbers that only rise: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a key under last-write-wins; none when it was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// When it was written.
    pub stamp: Stamp,
    /// What was written, or nothing for a delete.
    pub payload: Option<Payload>,
}

impl Stamped {
    /// The later of the two.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if other.stamp > self.stamp { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_even_when_the_clock_falls() {
        let mut clock = HybridClock::new(1, 500);
        let first = clock.next(100, None);
        assert!(first.wall_ns > 500);
        let second = clock.next(50, None);
        assert!(second > first);
        assert_eq!((first.sequence, second.sequence), (1, 2));
        assert_ne!(first.to_string(), second.to_string());
        assert!(first.to_string().contains("501"), "{first}");
        let above = clock.next(50, Some(Stamp { wall_ns: 9_000, incarnation: 99, sequence: 9 }));
        assert!(above.wall_ns > 9_000);
    }

    #[test]
    fn what_was_received_is_below_what_is_given_next() {
        let at = |wall_ns| Stamp { wall_ns, incarnation: 2, sequence: 1 };
        let mut clock = HybridClock::new(1, 0);
        clock.observe(100, at(9_000));
        let next = clock.next(100, None);
        assert!(next > at(9_000));
        clock.observe(100, at(50));
        assert!(clock.next(100, None) > next, "an old stamp does not set it back");
        clock.observe(100, at(100 + SKEW_MAX.as_nanos() as u64 + 1));
        assert!(clock.next(100, None).wall_ns < 10_000, "a wrong clock is not followed");
    }

    #[test]
    fn whoever_shares_a_clock_gives_stamps_above_all_that_any_of_them_received() {
        let (giver, receiver) = {
            let clock = SharedClock::new(HybridClock::new(1, 0));
            (clock.clone(), clock)
        };
        receiver.observe(100, Stamp { wall_ns: 9_000, incarnation: 2, sequence: 1 });
        let first = giver.next(100, None);
        assert!(first.wall_ns > 9_000);
        assert!(receiver.next(100, None) > first);
    }

    #[test]
    fn a_stamp_beyond_the_skew_bound_is_refused() {
        let at = |wall_ns| Stamp { wall_ns, incarnation: 1, sequence: 1 };
        let minute = 60_000_000_000;
        assert_eq!(HybridClock::check_skew(5, at(5 + minute)), Ok(()));
        assert!(HybridClock::check_skew(5, at(6 + minute)).is_err_and(|e| e.to_string().contains("clocks")));
    }
}
