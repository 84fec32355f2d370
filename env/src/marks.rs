//! Counts rare states that code was in, so that a campaign can tell whether it ever got there.
//!
//! A check that a fault never reaches holds for ever. Code says where it is with [`hit`]; who wants to know
//! counts, on its own thread as a simulated world does. Nobody counts in a real node: a hit is then one look
//! at a variable of the thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

thread_local! {
    static COUNTS: RefCell<Option<BTreeMap<&'static str, u64>>> = const { RefCell::new(None) };
}

/// Counts all hits on this thread from now on, until it is dropped.
#[derive(Debug)]
pub struct MarkCount {
    /// It is one of its thread.
    _not_send: PhantomData<*const ()>,
}

impl MarkCount {
    /// Begins to count at nothing. A count that was there already ends.
    #[must_use]
    pub fn begin() -> Self {
        COUNTS.with_borrow_mut(|counts| *counts = Some(BTreeMap::new()));
        Self { _not_send: PhantomData }
    }

    /// How often each mark was hit that was.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        COUNTS.with_borrow(|counts| counts.clone().unwrap_or_default())
    }
}

impl Drop for MarkCount {
    fn drop(&mut self) {
        COUNTS.with_borrow_mut(|counts| *counts = None);
    }
}

/// The code is in the state called `mark`.
pub fn hit(mark: &'static str) {
    COUNTS.with_borrow_mut(|counts| {
        if let Some(counts) = counts {
            *counts.entry(mark).or_default() += 1;
        }
    });
}

/// Whether anybody counts here: where it takes work to find out about a state, none is done otherwise.
#[must_use]
pub fn is_counted() -> bool {
    COUNTS.with_borrow(Option::is_some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_count_on_their_own_thread_while_somebody_counts() {
        hit("before");
        assert!(!is_counted());
        let count = MarkCount::begin();
        hit("rare");
        hit("rare");
        std::thread::scope(|scope| {
            scope.spawn(|| hit("elsewhere"));
        });
        assert!(is_counted());
        assert_eq!(count.counts(), BTreeMap::from([("rare", 2)]));
        drop(count);
        hit("after");
        assert_eq!(MarkCount::begin().counts(), BTreeMap::new());
    }
}
