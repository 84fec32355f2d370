//! Group commit: many writers wait for one sync.
//!
//! There is no task for it. Whoever finds no sync under way lets those append who are ready to, and
//! makes one for all that was appended so far; the others wait for it and, if it does not cover them, one
//! of them makes the next. Under load that gathers more, with nothing lost when there is none: turns are
//! only given away while others use them.
//! A writer that is dropped in the middle of its sync wakes the others, so nobody hangs.

use std::future::Future;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::{Position, StoreError};

/// How often whoever is about to sync lets others append first, while they do.
const TURNS_GIVEN_MAX: u32 = 8;

/// How far the log is durable, and who makes it more so.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    durable: Position,
    syncing: bool,
    waiting: usize,
    failed: Option<StoreError>,
}

impl GroupCommit {
    pub(super) fn new(durable: Position) -> Self {
        Self { state: Mutex::new(State { durable, ..State::default() }), changed: Notify::new() }
    }

    /// A place among those who wait for a sync, of `max`.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if there is none left.
    pub(super) fn queue(&self, max: usize) -> Result<Queued<'_>, StoreError> {
        let mut state = self.lock();
        if state.waiting >= max {
            return Err(StoreError::Busy { waiting: state.waiting });
        }
        state.waiting += 1;
        Ok(Queued(self))
    }

    /// Waits until everything up to `position` is durable. `sync` makes all that was appended
    /// before it was called durable and returns how far that is; `appended` says how far it would be.
    ///
    /// # Errors
    /// The first error of a sync is everybody's error from then on: what was appended before it
    /// may never reach the disk.
    pub(super) async fn wait<F>(
        &self,
        position: Position,
        appended: impl Fn() -> Position,
        sync: impl Fn() -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<Position, StoreError>>,
    {
        loop {
            // Listens before it looks, so that no wake-up falls between the two.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let leads = {
                let mut state = self.lock();
                if state.durable >= position {
                    return Ok(());
                }
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
                !std::mem::replace(&mut state.syncing, true)
            };
            if leads {
                let _turn = Turn(self);
                // Whoever is about to append shares this sync instead of waiting for the next.
                for _ in 0..TURNS_GIVEN_MAX {
                    let before = appended();
                    yield_now().await;
                    if appended() == before {
                        break;
                    }
                }
                let result = sync().await;
                let mut state = self.lock();
                match result {
                    Ok(durable) => state.durable = state.durable.max(durable),
                    Err(error) => state.failed = Some(error),
                }
            } else {
                changed.await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while holding this lock")
    }
}

/// The right to sync, given back also when its holder is dropped half way.
struct Turn<'a>(&'a GroupCommit);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().syncing = false;
        self.0.changed.notify_waiters();
    }
}

/// A place in the queue.
pub(super) struct Queued<'a>(&'a GroupCommit);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
