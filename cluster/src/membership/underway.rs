//! What a node is doing, by the view in which it began.
//!
//! A request that began under an earlier view may carry what was deleted since, and sends it again
//! under a later one: a put goes on to the owners of the new view, a get repairs. So before deletes
//! are forgotten every node waits until all that began before a fence is done.
//!
//! An operation is counted before it reads or receives anything. One that is counted only after
//! it was looked whether any are left therefore reads behind the fence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ViewVersion;

/// Operations under way, counted by the view in which they began.
#[derive(Debug, Default)]
pub struct Underway {
    began_in: Mutex<BTreeMap<ViewVersion, u64>>,
}

/// One operation; it is over when this is dropped.
#[derive(Debug)]
pub struct Operation {
    underway: Arc<Underway>,
    began_in: ViewVersion,
}

impl Underway {
    /// Begins an operation in `view`.
    #[must_use]
    pub fn begin(self: &Arc<Self>, view: ViewVersion) -> Operation {
        *self.lock().entry(view).or_default() += 1;
        Operation { underway: Arc::clone(self), began_in: view }
    }

    /// How many began before `view` and are not over.
    #[must_use]
    pub fn from_before(&self, view: ViewVersion) -> u64 {
        self.lock().range(..view).map(|(_, count)| count).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ViewVersion, u64>> {
        self.began_in.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let mut began_in = self.underway.lock();
        if let Some(count) = began_in.get_mut(&self.began_in) {
            *count -= 1;
            if *count == 0 {
                began_in.remove(&self.began_in);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Phase;

    #[test]
    fn what_began_before_a_fence_is_counted_until_it_is_over() {
        let fence = |fence| ViewVersion { epoch: 1, phase: Phase::Stable, fence };
        let underway = Arc::new(Underway::default());
        let old = underway.begin(fence(0));
        let also_old = underway.begin(fence(0));
        let new = underway.begin(fence(1));
        let left = |at| underway.from_before(fence(at));
        assert_eq!((left(0), left(1), left(2)), (0, 2, 3));
        drop(also_old);
        drop(new);
        assert_eq!((left(1), left(2)), (1, 1), "the other one goes on");
        drop(old);
        assert_eq!((left(1), left(2)), (0, 0));
    }
}
