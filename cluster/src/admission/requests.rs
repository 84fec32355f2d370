//! Counts requests of clients in, and out again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::coordinator::RequestError;

/// The door of one node.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    requests: AtomicUsize,
    bytes: AtomicU64,
}

/// A request that was let in. It counts until this is dropped.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Admission>,
    bytes: u64,
    began: Instant,
    patience: Duration,
}

impl Admission {
    /// A door that lets in as much as `limits` say.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, requests: AtomicUsize::new(0), bytes: AtomicU64::new(0) }
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Requests in hand.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Lets in a request whose client waits for `patience`.
    ///
    /// # Errors
    /// [`RequestError::Overloaded`] if there are too many.
    pub fn admit(self: &Arc<Self>, patience: Duration) -> Result<Ticket, RequestError> {
        let before = self.requests.fetch_add(1, Ordering::AcqRel);
        // Counted in first, so that it is counted out whatever comes of it.
        let ticket = Ticket { admission: Arc::clone(self), bytes: 0, began: Instant::now(), patience };
        if before < self.limits.requests_max {
            Ok(ticket)
        } else {
            Err(RequestError::Overloaded { in_hand: before as u64, what: "requests" })
        }
    }
}

impl Ticket {
    /// Takes room for a body of `bytes` before it is read.
    ///
    /// # Errors
    /// [`RequestError::Overloaded`] if there is none. A body larger than all the room is taken
    /// when nothing else is in hand, or it could never be sent.
    pub fn make_room(&mut self, bytes: u64) -> Result<(), RequestError> {
        let before = self.admission.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.bytes += bytes;
        if before == 0 || before.saturating_add(bytes) <= self.admission.limits.request_bytes_max {
            Ok(())
        } else {
            Err(RequestError::Overloaded { in_hand: before, what: "bytes of values" })
        }
    }

    /// When the request was let in.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How long its client waits from then on.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// When nobody waits for the answer any more.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.began + self.patience
    }

    /// How long that is from now.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.admission.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn door(requests_max: usize, request_bytes_max: u64) -> Arc<Admission> {
        Arc::new(Admission::new(Limits { requests_max, request_bytes_max, ..Limits::default() }))
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_is_refused_until_one_is_done() {
        let door = door(2, 100);
        let first = door.admit(PATIENCE).unwrap();
        let _second = door.admit(PATIENCE).unwrap();
        let refused = door.admit(PATIENCE).unwrap_err();
        assert!(matches!(refused, RequestError::Overloaded { in_hand: 2, .. }), "{refused}");
        assert!(!refused.maybe_applied());
        drop(first);
        assert!(door.admit(PATIENCE).is_ok());
        assert_eq!(door.requests(), 1, "whoever was refused is not counted either");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_share_a_room_and_a_giant_gets_it_alone() {
        let door = door(10, 100);
        let mut giant = door.admit(PATIENCE).unwrap();
        giant.make_room(1000).unwrap();
        assert!(door.admit(PATIENCE).unwrap().make_room(1).is_err());
        drop(giant);
        let (mut first, mut second) = (door.admit(PATIENCE).unwrap(), door.admit(PATIENCE).unwrap());
        first.make_room(60).unwrap();
        second.make_room(40).unwrap();
        assert!(door.admit(PATIENCE).unwrap().make_room(1).is_err());
        drop(second);
        door.admit(PATIENCE).unwrap().make_room(40).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_from_the_door() {
        let ticket = door(1, 1).admit(PATIENCE).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(ticket.remaining(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(ticket.remaining(), Duration::ZERO);
    }
}
