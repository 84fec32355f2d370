//! Slots that are due and wait for a connection: bounded, in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// A slot that came due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The operation's index.
    pub(super) index: u64,
    /// When it was meant to be sent.
    pub(super) slot_ns: u64,
    /// When it was queued: as much later as the dispatcher was late.
    pub(super) queued_ns: u64,
    /// Whether a worker was free for it.
    pub(super) worker_was_free: bool,
}

/// The queue between the dispatcher and the workers.
pub(super) struct Backlog {
    inner: Mutex<Inner>,
    /// A permit for each slot in the queue, some without one after a discard.
    ready: Semaphore,
    idle: AtomicUsize,
    max: usize,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Due>,
    closed: bool,
}

impl Backlog {
    pub(super) fn new(max: usize) -> Self {
        Self { inner: Mutex::default(), ready: Semaphore::new(0), idle: AtomicUsize::new(0), max }
    }

    /// Queues a slot; false if there is no room, and the slot is dropped.
    pub(super) fn offer(&self, index: u64, slot_ns: u64, queued_ns: u64) -> bool {
        let idle = self.idle.load(Ordering::Relaxed);
        {
            let mut inner = self.lock();
            if inner.closed || inner.queue.len() >= self.max {
                return false;
            }
            let worker_was_free = idle > inner.queue.len();
            inner.queue.push_back(Due { index, slot_ns, queued_ns, worker_was_free });
        }
        self.ready.add_permits(1);
        true
    }

    /// The next slot, once there is one; none when closed and empty.
    pub(super) async fn take(&self) -> Option<Due> {
        loop {
            self.idle.fetch_add(1, Ordering::Relaxed);
            let permit = self.ready.acquire().await;
            self.idle.fetch_sub(1, Ordering::Relaxed);
            permit.expect("the semaphore is never closed").forget();
            let mut inner = self.lock();
            match inner.queue.pop_front() {
                Some(due) => return Some(due),
                None if inner.closed => return None,
                None => {}
            }
        }
    }

    /// Takes no more slots; what waits may still be taken. Wakes `workers` for the end.
    pub(super) fn close(&self, workers: usize) {
        self.lock().closed = true;
        self.ready.add_permits(workers);
    }

    /// Throws away what waits, and says how much that was.
    pub(super) fn discard(&self) -> u64 {
        std::mem::take(&mut self.lock().queue).len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_come_out_in_order_and_the_end_comes_after_the_last() {
        let backlog = Backlog::new(10);
        for index in 0..3 {
            assert!(backlog.offer(index, index * 10, index * 10));
        }
        backlog.close(1);
        assert!(!backlog.offer(9, 90, 90), "closed");
        for index in 0..3 {
            assert_eq!(backlog.take().await.map(|due| due.index), Some(index));
        }
        assert_eq!(backlog.take().await, None);
    }

    #[tokio::test]
    async fn a_full_backlog_refuses_and_a_discarded_one_says_what_was_lost() {
        let backlog = Backlog::new(2);
        assert!(backlog.offer(0, 0, 0) && backlog.offer(1, 0, 0));
        assert!(!backlog.offer(2, 0, 0));
        assert_eq!(backlog.discard(), 2);
        assert!(backlog.offer(3, 0, 0));
        assert_eq!(backlog.take().await.map(|due| due.index), Some(3), "stale permits do no harm");
        backlog.close(1);
        assert_eq!(backlog.take().await, None);
    }
}
