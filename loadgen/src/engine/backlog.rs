//! From the dispatcher to the workers of a lane: a slot that is due is put straight into the hands of a
//! worker that is free; only when none is does it wait, in order, in a bounded queue.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

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

/// The slots between the dispatcher and the workers. On one thread its lock is never waited for.
pub(super) struct Backlog {
    inner: Mutex<Inner>,
    max: usize,
}

struct Inner {
    /// Never anything in it while a worker is free.
    queue: VecDeque<Due>,
    /// The workers that are free, the one that was free last at the end: its connection is warm.
    free: Vec<usize>,
    hands: Vec<Hand>,
    closed: bool,
}

/// What a worker is given, and how it is told.
#[derive(Default)]
struct Hand {
    due: Option<Due>,
    waker: Option<Waker>,
}

impl Backlog {
    /// For `workers` workers; at most `max` slots wait.
    pub(super) fn new(workers: usize, max: usize) -> Self {
        let hands = (0..workers).map(|_| Hand::default()).collect();
        let inner = Inner { queue: VecDeque::new(), free: Vec::with_capacity(workers), hands, closed: false };
        Self { inner: Mutex::new(inner), max }
    }

    /// Hands a slot on, or queues it; false if there is no room, and the slot is dropped.
    pub(super) fn offer(&self, index: u64, slot_ns: u64, queued_ns: u64) -> bool {
        let waker = {
            let mut inner = self.lock();
            if inner.closed {
                return false;
            }
            let due = Due { index, slot_ns, queued_ns, worker_was_free: true };
            let Some(worker) = inner.free.pop() else {
                if inner.queue.len() >= self.max {
                    return false;
                }
                inner.queue.push_back(Due { worker_was_free: false, ..due });
                return true;
            };
            let hand = &mut inner.hands[worker];
            hand.due = Some(due);
            hand.waker.take()
        };
        waker.expect("a free worker has left its waker").wake();
        true
    }

    /// The next slot for `worker`, once there is one; none when closed and empty.
    pub(super) async fn take(&self, worker: usize) -> Option<Due> {
        poll_fn(|context| {
            let mut inner = self.lock();
            if let Some(due) = inner.hands[worker].due.take() {
                return Poll::Ready(Some(due));
            }
            if let Some(due) = inner.queue.pop_front() {
                return Poll::Ready(Some(due));
            }
            if inner.closed {
                return Poll::Ready(None);
            }
            // Woken for nothing, it is among the free already.
            if inner.hands[worker].waker.replace(context.waker().clone()).is_none() {
                inner.free.push(worker);
            }
            Poll::Pending
        })
        .await
    }

    /// Takes no more slots; what waits may still be taken. Wakes the workers for the end.
    pub(super) fn close(&self) {
        let wakers: Vec<Waker> = {
            let mut inner = self.lock();
            inner.closed = true;
            inner.free.clear();
            inner.hands.iter_mut().filter_map(|hand| hand.waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
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
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn slots_come_out_in_order_and_the_end_comes_after_the_last() {
        let backlog = Backlog::new(1, 10);
        for index in 0..3 {
            assert!(backlog.offer(index, index * 10, index * 10));
        }
        backlog.close();
        assert!(!backlog.offer(9, 90, 90), "closed");
        for index in 0..3 {
            let due = backlog.take(0).await.unwrap();
            assert_eq!((due.index, due.worker_was_free), (index, false));
        }
        assert_eq!(backlog.take(0).await, None);
    }

    #[tokio::test]
    async fn a_full_backlog_refuses_and_a_discarded_one_says_what_was_lost() {
        let backlog = Backlog::new(1, 2);
        assert!(backlog.offer(0, 0, 0) && backlog.offer(1, 0, 0));
        assert!(!backlog.offer(2, 0, 0));
        assert_eq!(backlog.discard(), 2);
        assert!(backlog.offer(3, 0, 0));
        assert_eq!(backlog.take(0).await.map(|due| due.index), Some(3));
        backlog.close();
        assert_eq!(backlog.take(0).await, None);
    }

    #[tokio::test]
    async fn a_slot_goes_to_who_was_free_last_and_waits_only_if_nobody_is() {
        let backlog = Arc::new(Backlog::new(2, 10));
        let mut taking = Vec::new();
        for worker in 0..2 {
            let backlog = Arc::clone(&backlog);
            taking.push(tokio::spawn(async move { backlog.take(worker).await }));
            tokio::task::yield_now().await;
        }
        for index in 0..3 {
            assert!(backlog.offer(index, 0, 0));
        }
        assert_eq!(backlog.len(), 1, "two are in somebody's hands");
        let second = taking.pop().unwrap().await.unwrap().unwrap();
        let first = taking.pop().unwrap().await.unwrap().unwrap();
        assert_eq!([second.index, first.index], [0, 1]);
        assert!(first.worker_was_free && second.worker_was_free);
        assert!(!backlog.take(0).await.unwrap().worker_was_free);
    }

    #[tokio::test]
    async fn the_end_reaches_workers_that_wait() {
        let backlog = Arc::new(Backlog::new(1, 1));
        let waiting = tokio::spawn({
            let backlog = Arc::clone(&backlog);
            async move { backlog.take(0).await }
        });
        tokio::task::yield_now().await;
        backlog.close();
        assert_eq!(waiting.await.unwrap(), None);
    }
}
