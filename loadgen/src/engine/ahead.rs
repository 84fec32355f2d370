//! The slots of a lane that are still to come: whoever is there when the next one is due takes it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Turns and times of slots, in order.
type Slots = Box<dyn Iterator<Item = (u64, u64)> + Send>;

/// The slots still to come, the first of them looked at.
#[derive(Default)]
pub(super) struct Ahead {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: Option<(u64, u64)>,
    rest: Option<Slots>,
}

impl Ahead {
    /// Begins with `slots`: the turn of each, and when it is due, in nanoseconds of the run's clock.
    pub(super) fn begin(&self, mut slots: Slots) {
        let next = slots.next();
        *self.lock() = Inner { next, rest: Some(slots) };
    }

    /// When the next slot is due; none when there are no more.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.lock().next.map(|(_, slot_ns)| slot_ns)
    }

    /// The next slot, if it is due by `now_ns`.
    pub(super) fn take_due(&self, now_ns: u64) -> Option<(u64, u64)> {
        let mut inner = self.lock();
        let due = inner.next.filter(|(_, slot_ns)| *slot_ns <= now_ns)?;
        inner.next = inner.rest.as_mut().and_then(Iterator::next);
        Some(due)
    }

    /// Nothing more is to be sent.
    pub(super) fn end(&self) {
        *self.lock() = Inner::default();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_is_taken_once_and_not_before_it_is_due() {
        let ahead = Ahead::default();
        assert_eq!((ahead.next_ns(), ahead.take_due(u64::MAX)), (None, None));
        ahead.begin(Box::new([(0, 10), (1, 10), (2, 30)].into_iter()));
        assert_eq!((ahead.next_ns(), ahead.take_due(9)), (Some(10), None));
        assert_eq!([10, 10, 10].map(|now_ns| ahead.take_due(now_ns)), [Some((0, 10)), Some((1, 10)), None]);
        assert_eq!((ahead.next_ns(), ahead.take_due(31)), (Some(30), Some((2, 30))));
        assert_eq!((ahead.next_ns(), ahead.take_due(u64::MAX)), (None, None));
        ahead.begin(Box::new((0..9).map(|turn| (turn, turn))));
        ahead.end();
        assert_eq!(ahead.take_due(u64::MAX), None);
    }
}
