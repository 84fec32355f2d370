//! The newest view a node knows, and those who wait for the next.
//!
//! In place of `tokio::sync::watch`, which wakes those who wait for it in a random order: what a
//! node does first on a new view would differ from run to run of one seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{View, ViewVersion};

/// The newest view.
pub(super) struct Newest {
    shared: Arc<Shared>,
}

struct Shared {
    view: Mutex<Arc<View>>,
    newer: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Arc<View>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for views newer than those it has told of. Waiters are woken in the order in which they
/// began to wait.
pub struct Watch {
    shared: Arc<Shared>,
    seen: ViewVersion,
}

impl Newest {
    pub(super) fn new(view: View) -> Self {
        Self { shared: Arc::new(Shared { view: Mutex::new(Arc::new(view)), newer: Notify::new() }) }
    }

    pub(super) fn get(&self) -> Arc<View> {
        Arc::clone(&self.shared.lock())
    }

    pub(super) fn set(&self, view: View) {
        *self.shared.lock() = Arc::new(view);
        self.shared.newer.notify_waiters();
    }

    pub(super) fn watch(&self) -> Watch {
        Watch { seen: self.get().version(), shared: Arc::clone(&self.shared) }
    }
}

impl Watch {
    /// Returns once the newest view is another than at the last call, or than when the watch began.
    pub async fn changed(&mut self) {
        loop {
            // Waits from here on, so that a view which comes before the look below is not missed.
            let newer = self.shared.newer.notified();
            let now = self.shared.lock().version();
            if now != self.seen {
                self.seen = now;
                return;
            }
            newer.await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::membership::Change;
    use crate::testing::member;

    #[tokio::test]
    async fn whoever_began_to_wait_first_hears_of_a_new_view_first() {
        let first = View::new((1..=4).map(member).collect(), 8, 3);
        let next = first.successor(&Change::Join(member(5))).unwrap();
        for _ in 0..20 {
            let newest = Newest::new(first.clone());
            let heard = Arc::new(Mutex::new(Vec::new()));
            let tasks: Vec<_> = (0..6)
                .map(|number| {
                    let (mut watch, heard) = (newest.watch(), Arc::clone(&heard));
                    tokio::spawn(async move {
                        watch.changed().await;
                        heard.lock().unwrap().push(number);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            newest.set(next.clone());
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*heard.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
        }
    }

    #[tokio::test]
    async fn a_view_that_came_before_the_wait_is_not_missed() {
        let first = View::new((1..=4).map(member).collect(), 8, 3);
        let newest = Newest::new(first.clone());
        let mut watch = newest.watch();
        newest.set(first.successor(&Change::Join(member(5))).unwrap());
        watch.changed().await;
        assert_eq!(watch.seen, newest.get().version());
    }
}
