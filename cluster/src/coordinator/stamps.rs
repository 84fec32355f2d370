//! Stamps for last-write-wins, above all that this node ever gave, across restarts.
//!
//! An upper bound is on disk before any stamp below it is given; a restart begins above it. A
//! clock that was set back while the node was down therefore cannot make an old stamp again. What
//! the node receives moves its clock too, so a node that restarted ahead of real time does not win
//! over those that heard of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_env::{Clock, Disk};

use crate::node::Identity;
use crate::version::{SKEW_MAX, SharedClock, Stamp};

/// How far ahead of real time the bound is set: one small synced write in so long.
const BOUND_AHEAD: Duration = Duration::from_secs(10);

/// While the stamps run further ahead of this node's clock than that, the bound is above them by this
/// part of what is left until others refuse them.
const MARGIN_PART: u32 = 1024;
/// And by so much at least.
const MARGIN_MIN: Duration = Duration::from_millis(1);

/// How far above a stamp that lies `ahead` of this node's clock the bound is at least.
///
/// Every restart begins at the bound, so this is what one restart can throw the stamps further ahead. It
/// is less than a restart takes, so they come no further than [`BOUND_AHEAD`] by that; and where many nodes
/// restart and follow each other, it shrinks before they get to [`SKEW_MAX`], where all puts are refused.
/// The price is as often a synced write while this node follows stamps from far ahead of its clock.
fn margin(ahead: Duration) -> Duration {
    (SKEW_MAX.saturating_sub(ahead) / MARGIN_PART).max(MARGIN_MIN)
}

/// Gives stamps.
pub struct StampSource {
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    stamps: SharedClock,
    bound_ns: AtomicU64,
    identity: tokio::sync::Mutex<Identity>,
}

impl StampSource {
    /// Gives what `stamps` says, a clock that began above the bound of the node's earlier runs.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, disk: Arc<dyn Disk>, identity: Identity, stamps: SharedClock) -> Self {
        let bound_ns = AtomicU64::new(identity.clock_bound_ns);
        Self { clock, disk, stamps, bound_ns, identity: tokio::sync::Mutex::new(identity) }
    }

    /// Lets the clock know a stamp that was received.
    pub fn observe(&self, seen: Stamp) {
        self.stamps.observe(self.clock.wall_ns(), seen);
    }

    /// The next stamp, above `seen`.
    ///
    /// # Errors
    /// When the bound cannot be written; the stamp must not be used then and is not given.
    pub async fn next(&self, seen: Option<Stamp>) -> std::io::Result<Stamp> {
        let wall_ns = self.clock.wall_ns();
        let stamp = self.stamps.next(wall_ns, seen);
        if stamp.wall_ns < self.bound_ns.load(Ordering::Acquire) {
            return Ok(stamp);
        }
        let mut identity = self.identity.lock().await;
        // Another put may have raised it while this one waited.
        if stamp.wall_ns >= identity.clock_bound_ns {
            let margin = margin(Duration::from_nanos(stamp.wall_ns.saturating_sub(wall_ns)));
            let ahead = wall_ns.saturating_add(BOUND_AHEAD.as_nanos() as u64);
            let bound_ns = ahead.max(stamp.wall_ns.saturating_add(margin.as_nanos() as u64));
            let raised = Identity { clock_bound_ns: bound_ns, ..identity.clone() };
            raised.save(&*self.disk).await?;
            *identity = raised;
            self.bound_ns.store(bound_ns, Ordering::Release);
        }
        Ok(stamp)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_env::{Random, SimulatedDisk};

    use super::*;
    use crate::config::StoreDefinition;
    use crate::version::HybridClock;

    const NOW_NS: u64 = 1_700_000_000_000_000_000;

    /// Stands still unless it is moved.
    struct Moved(AtomicU64);

    impl Clock for Moved {
        fn wall_ns(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn monotonic_ns(&self) -> u64 {
            self.wall_ns()
        }
    }

    impl Moved {
        fn new() -> Arc<Self> {
            Arc::new(Self(AtomicU64::new(NOW_NS)))
        }
    }

    /// The source of stamps of one more run, at the same time of day.
    async fn restarted(disk: &SimulatedDisk) -> StampSource {
        restarted_at(disk, Moved::new()).await
    }

    async fn restarted_at(disk: &SimulatedDisk, clock: Arc<Moved>) -> StampSource {
        let (disk, node) = (disk.mount(), "n1".parse().unwrap());
        let start = Identity::begin(&*disk, node, &StoreDefinition::default(), Random::from_seed(1)).await;
        let identity = start.unwrap().identity;
        let stamps = SharedClock::new(HybridClock::new(identity.incarnation, identity.clock_bound_ns));
        StampSource::new(clock, disk, identity, stamps)
    }

    #[tokio::test]
    async fn stamps_rise_over_restarts_and_stay_within_the_skew_that_others_allow() {
        let disk = SimulatedDisk::new();
        let mut last = Stamp::default();
        // As many as a minute holds of the quickest.
        for _ in 0..1000 {
            let source = restarted(&disk).await;
            for _ in 0..3 {
                let stamp = source.next(None).await.unwrap();
                assert!(stamp > last);
                last = stamp;
            }
            disk.kill();
        }
        let ahead = Duration::from_nanos(last.wall_ns - NOW_NS);
        assert!(ahead < SKEW_MAX, "{ahead:?}");
    }

    #[tokio::test]
    async fn what_was_received_counts_after_a_restart_once_something_was_stamped_above_it() {
        let disk = SimulatedDisk::new();
        let received = Stamp { wall_ns: NOW_NS + 30_000_000_000, incarnation: 9, sequence: 9 };
        let source = restarted(&disk).await;
        source.observe(received);
        let above = source.next(None).await.unwrap();
        assert!(above > received);
        disk.kill();
        assert!(restarted(&disk).await.next(None).await.unwrap() > above);
    }

    #[tokio::test]
    async fn restarts_throw_stamps_no_further_ahead_than_the_time_they_take() {
        let (disk, clock) = (SimulatedDisk::new(), Moved::new());
        for restart in 0..1000 {
            let source = restarted_at(&disk, Arc::clone(&clock)).await;
            let stamp = source.next(None).await.unwrap();
            let ahead = Duration::from_nanos(stamp.wall_ns - clock.wall_ns());
            assert!(ahead <= BOUND_AHEAD + margin(BOUND_AHEAD), "restart {restart}: {ahead:?}");
            disk.kill();
            clock.0.fetch_add(margin(BOUND_AHEAD).as_nanos() as u64, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_node_that_follows_stamps_from_far_ahead_does_not_write_a_bound_for_each() {
        let (disk, clock) = (SimulatedDisk::new(), Moved::new());
        let source = restarted_at(&disk, Arc::clone(&clock)).await;
        let (mut bounds, mut last) = (0, 0);
        for sequence in 0..10_000 {
            let wall_ns = clock.0.fetch_add(1_000_000, Ordering::Relaxed) + 30_000_000_000;
            source.observe(Stamp { wall_ns, incarnation: 9, sequence });
            source.next(None).await.unwrap();
            let bound = source.bound_ns.load(Ordering::Relaxed);
            bounds += u32::from(bound != last);
            last = bound;
        }
        // In ten seconds, each good for some 29 ms.
        assert!((300..400).contains(&bounds), "{bounds}");
    }
}
