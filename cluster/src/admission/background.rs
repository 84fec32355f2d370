//! The one place that all background work of a node asks before it goes on: delivery of hints,
//! anti-entropy, taking over and handing over of partitions, the scrubber, compaction.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_env::{BoxFuture, Clock};
use tokio::time::{Instant, sleep};

use super::controller::Controller;
use crate::metrics::Counter;
use crate::store::Pace;

/// How long work that a peer waits for is held up at most: a connection on which nothing is heard
/// would be taken for dead.
const HELD_UP_MAX: Duration = Duration::from_millis(250);

/// Makes background work yield to requests.
pub struct Background {
    clock: Arc<dyn Clock>,
    controller: Mutex<Controller>,
    /// First come, first served.
    turn: tokio::sync::Mutex<()>,
    /// Work of this node's own tasks that was let through.
    bytes: Counter,
    /// Work that other nodes' tasks brought.
    bytes_for_peers: Counter,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("bytes_per_second", &self.rate()).finish_non_exhaustive()
    }
}

impl Background {
    /// Tells the time by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let controller = Mutex::new(Controller::new(clock.monotonic_ns()));
        Self {
            clock,
            controller,
            turn: tokio::sync::Mutex::default(),
            bytes: Counter::default(),
            bytes_for_peers: Counter::default(),
        }
    }

    /// A request that began at `began_ns` of the clock has been served.
    pub fn served_since(&self, began_ns: u64) {
        let now_ns = self.clock.monotonic_ns();
        self.controller().served(now_ns, now_ns.saturating_sub(began_ns));
    }

    /// Waits until `bytes` of background work may go on.
    pub async fn slot(&self, bytes: u64) {
        self.wait(bytes).await;
        self.bytes.add(bytes);
    }

    /// As [`Background::slot`] for work that a peer waits for: not for long.
    pub async fn slot_for_peer(&self, bytes: u64) {
        if tokio::time::timeout_at(Instant::now() + HELD_UP_MAX, self.wait(bytes)).await.is_err() {
            self.controller().forced(self.clock.monotonic_ns(), bytes);
        }
        self.bytes_for_peers.add(bytes);
    }

    async fn wait(&self, bytes: u64) {
        let _turn = self.turn.lock().await;
        loop {
            let asked = self.controller().ask(self.clock.monotonic_ns(), bytes);
            match asked {
                Ok(()) => break,
                Err(wait) => sleep(wait).await,
            }
        }
    }

    /// Bytes a second that background work may do now.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.controller().rate() as u64
    }

    /// Bytes that this node's own tasks worked on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Bytes that other nodes' tasks brought here.
    #[must_use]
    pub fn bytes_for_peers(&self) -> u64 {
        self.bytes_for_peers.get()
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace for Background {
    fn spend(&self, bytes: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.slot(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runtime's own time, which a test can pause.
    struct TokioClock(Instant);

    impl Clock for TokioClock {
        fn wall_ns(&self) -> u64 {
            self.monotonic_ns()
        }

        fn monotonic_ns(&self) -> u64 {
            u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_a_turn_and_peers_are_not_kept_for_long() {
        let background = Arc::new(Background::new(Arc::new(TokioClock(Instant::now()))));
        // Seconds of debt for everybody who comes later.
        background.slot(64 << 20).await;
        let began = Instant::now();
        background.slot_for_peer(1).await;
        assert_eq!(began.elapsed(), HELD_UP_MAX);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let background = Arc::clone(&background);
                tokio::spawn(async move { background.slot(1 << 20).await })
            })
            .collect();
        for waits in waiting {
            assert!(waits.await.is_ok());
        }
        assert_eq!((background.bytes(), background.bytes_for_peers()), (67 << 20, 1));
        assert!(began.elapsed() > Duration::from_millis(500), "they waited");
    }
}
