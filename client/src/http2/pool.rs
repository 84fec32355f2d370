//! The connections to one node that several exchanges use at once.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::Http2;

/// Connections of one node, open or about to be. An exchange gets one of its own while there may be
/// another, and shares one only then: the first so many exchanges are spread over all of them.
#[derive(Default)]
pub(crate) struct SharedPool {
    /// The least recently used first.
    slots: Mutex<Vec<Slot>>,
}

struct Slot {
    connection: Arc<OnceCell<Http2>>,
    in_flight: usize,
    idle_since: Instant,
}

/// How many connections, and of how many exchanges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Exchanges on one connection at once.
    pub(crate) streams_max: usize,
    /// Connections. If all are full there are more, which are closed after use.
    pub(crate) connections_max: usize,
    /// An idle connection older than this is closed instead of used.
    pub(crate) idle_age_max: Duration,
}

impl SharedPool {
    /// A place for one exchange. `now` may be a little old.
    pub(crate) fn take(&self, bounds: Bounds, now: Instant) -> Lease<'_> {
        let mut slots = self.lock();
        slots.retain(|slot| {
            let is_old =
                slot.in_flight == 0 && now.saturating_duration_since(slot.idle_since) > bounds.idle_age_max;
            !is_old && !slot.connection.get().is_some_and(Http2::is_closed)
        });
        let may_open = slots.len() < bounds.connections_max.max(1);
        let busy = |slots: &[Slot]| {
            let fewest = slots.iter().enumerate().min_by_key(|(_, slot)| slot.in_flight);
            fewest.filter(|(_, slot)| slot.in_flight < bounds.streams_max).map(|(place, _)| place)
        };
        let place = match slots.iter().rposition(|slot| slot.in_flight == 0) {
            Some(idle) => Some(idle),
            None if may_open => None,
            None => busy(&slots),
        };
        let place = place.unwrap_or_else(|| {
            slots.push(Slot { connection: Arc::default(), in_flight: 0, idle_since: now });
            slots.len() - 1
        });
        slots[place].in_flight += 1;
        Lease {
            pool: self,
            connections_max: bounds.connections_max,
            connection: Arc::clone(&slots[place].connection),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        // A panic elsewhere leaves a list of connections, all still good.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for one exchange, given back when dropped.
pub(crate) struct Lease<'a> {
    pool: &'a SharedPool,
    connections_max: usize,
    connection: Arc<OnceCell<Http2>>,
}

impl Lease<'_> {
    /// The connection, if it is open.
    pub(crate) fn connection(&self) -> Option<&Http2> {
        self.connection.get()
    }

    /// The connection, which is opened by `open` unless somebody else is about to. Who waits for somebody
    /// in vain tries for itself.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) async fn open<E>(&self, open: impl Future<Output = Result<Http2, E>>) -> Result<&Http2, E> {
        self.connection.get_or_try_init(|| open).await
    }

    /// Lets no further exchange onto this connection. Those on it go on.
    pub(crate) fn retire(&self) {
        self.pool.lock().retain(|slot| !Arc::ptr_eq(&slot.connection, &self.connection));
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut slots = self.pool.lock();
        let Some(place) = slots.iter().position(|slot| Arc::ptr_eq(&slot.connection, &self.connection))
        else {
            return;
        };
        slots[place].in_flight -= 1;
        if slots[place].in_flight > 0 {
            return;
        }
        let mut slot = slots.remove(place);
        if slot.connection.get().is_some() && slots.len() < self.connections_max {
            slot.idle_since = Instant::now();
            slots.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const BOUNDS: Bounds =
        Bounds { streams_max: 2, connections_max: 2, idle_age_max: Duration::from_secs(10) };

    /// A place, on a connection to nobody.
    async fn taken(pool: &SharedPool) -> Lease<'_> {
        let lease = pool.take(BOUNDS, Instant::now());
        let open = async {
            let (ours, theirs) = tokio::io::duplex(1024);
            // Somebody who listens and says nothing.
            tokio::spawn(async move {
                let _theirs = theirs;
                std::future::pending::<()>().await;
            });
            Http2::begin(Box::new(ours), "n1:1", false, 1024).await
        };
        lease.open(open).await.unwrap();
        lease
    }

    fn counts(pool: &SharedPool) -> Vec<usize> {
        pool.lock().iter().map(|slot| slot.in_flight).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn exchanges_spread_before_they_share_and_never_share_more_than_they_may() {
        let pool = SharedPool::default();
        let mut leases = Vec::new();
        for expected in [&[1][..], &[1, 1], &[2, 1], &[2, 2], &[2, 2, 1]] {
            leases.push(taken(&pool).await);
            assert_eq!(counts(&pool), expected);
        }
        leases.pop();
        assert_eq!(counts(&pool), [2, 2], "one too many is closed after use");
        leases.clear();
        assert_eq!(counts(&pool), [0, 0]);
        let again = taken(&pool).await;
        assert_eq!(counts(&pool), [0, 1], "the one that was used last");
        again.retire();
        drop(again);
        assert_eq!(counts(&pool), [0]);
        tokio::time::advance(Duration::from_secs(11)).await;
        let _fresh = taken(&pool).await;
        assert_eq!(counts(&pool), [1], "the old one was closed");
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_come_at_once_wait_for_one_connection_and_who_fails_leaves_nothing_behind() {
        let pool = SharedPool::default();
        let bounds = Bounds { streams_max: 3, connections_max: 1, ..BOUNDS };
        let leases: Vec<_> = (0..3).map(|_| pool.take(bounds, Instant::now())).collect();
        assert_eq!(counts(&pool), [3]);
        for lease in &leases {
            assert!(lease.connection().is_none());
            assert_eq!(lease.open(async { Err("refused") }).await.err(), Some("refused"));
        }
        drop(leases);
        assert_eq!(counts(&pool), [] as [usize; 0]);
    }
}
