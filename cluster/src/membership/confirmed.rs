//! Which fence this node has confirmed to have nothing left from before, and whether it may go on
//! with what it keeps once it hears of deletes that were forgotten.
//!
//! Deletes are forgotten only behind a fence that everybody confirmed. A node that hears of one that
//! it never confirmed was not asked (it had been removed), or its disk was put back from before: what
//! it keeps may have been deleted, and nothing is left anywhere to say so. Such a node takes no newer
//! view, so nobody hears it, until it is started again: then it drops what it keeps before anything
//! else and is refilled like one that lost its disk.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use quorate_env::Disk;
use serde::{Deserialize, Serialize};

use super::{ViewVersion, file};

const CONFIRMED_FILE: &str = "confirmed.bin";

/// Says whether anything is kept on this disk.
type Keeps = Box<dyn Fn() -> bool + Send + Sync>;

/// What one node has confirmed.
pub(super) struct Confirmed {
    disk: Arc<dyn Disk>,
    state: tokio::sync::Mutex<State>,
    /// All that is kept here came in this run, and no view came yet.
    is_fresh: AtomicBool,
    is_obsolete: AtomicBool,
    keeps: OnceLock<Keeps>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    fence: ViewVersion,
    /// What is kept here may have been deleted.
    is_obsolete: bool,
}

impl Confirmed {
    /// What the disk says; on a `new` one, that there is nothing from before `collected`.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub(super) async fn open(disk: Arc<dyn Disk>, new: bool, collected: ViewVersion) -> io::Result<Self> {
        let found = file::read::<State>(&*disk, CONFIRMED_FILE)?;
        let fence = if new { collected } else { ViewVersion::NONE };
        let state = found.unwrap_or(State { fence, is_obsolete: false });
        file::save(&*disk, CONFIRMED_FILE, &state).await?;
        Ok(Self {
            disk,
            is_obsolete: AtomicBool::new(state.is_obsolete),
            state: tokio::sync::Mutex::new(state),
            is_fresh: AtomicBool::new(new),
            keeps: OnceLock::new(),
        })
    }

    /// For tests of what goes on without a disk.
    #[cfg(test)]
    pub(super) fn nowhere() -> Self {
        let state = State { fence: ViewVersion::NONE, is_obsolete: false };
        Self {
            disk: quorate_env::disk::SimulatedDisk::new().mount(),
            state: tokio::sync::Mutex::new(state),
            is_fresh: AtomicBool::new(false),
            is_obsolete: AtomicBool::new(false),
            keeps: OnceLock::new(),
        }
    }

    /// From now on `keeps` says whether anything is kept here.
    pub(super) fn ask(&self, keeps: Keeps) {
        let _ = self.keeps.set(keeps);
    }

    /// Nothing is left here from before `fence`.
    ///
    /// # Errors
    /// When it cannot be made durable; it must not be said then.
    pub(super) async fn confirm(&self, fence: ViewVersion) -> io::Result<()> {
        let mut state = self.state.lock().await;
        if fence <= state.fence || state.is_obsolete {
            return Ok(());
        }
        let next = State { fence, ..*state };
        file::save(&*self.disk, CONFIRMED_FILE, &next).await?;
        *state = next;
        Ok(())
    }

    /// Whether this node may be in a view that knows that deletes were forgotten behind the fence
    /// `collected`; `is_idle` if it is doing nothing that began before.
    ///
    /// # Errors
    /// When the answer cannot be made durable.
    pub(super) async fn admits(&self, collected: ViewVersion, is_idle: bool) -> io::Result<bool> {
        let mut state = self.state.lock().await;
        let is_fresh = self.is_fresh.swap(false, Ordering::AcqRel);
        if collected <= state.fence {
            return Ok(true);
        }
        if state.is_obsolete {
            return Ok(false);
        }
        if !is_fresh {
            if self.keeps.get().is_none_or(|keeps| keeps()) {
                tracing::error!(
                    "deletes were forgotten while this node, or its disk, was away: what it keeps may have been deleted and is not shown to anybody; start it again, and it drops it and is refilled"
                );
                let next = State { is_obsolete: true, ..*state };
                file::save(&*self.disk, CONFIRMED_FILE, &next).await?;
                *state = next;
                self.is_obsolete.store(true, Ordering::Release);
                return Ok(false);
            }
            if !is_idle {
                return Ok(false);
            }
        }
        let next = State { fence: collected, ..*state };
        file::save(&*self.disk, CONFIRMED_FILE, &next).await?;
        *state = next;
        Ok(true)
    }

    /// Whether what is kept here may have been deleted.
    pub(super) fn is_obsolete(&self) -> bool {
        self.is_obsolete.load(Ordering::Acquire)
    }

    /// All that was kept here was dropped.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub(super) async fn dropped_all(&self) -> io::Result<()> {
        let mut state = self.state.lock().await;
        let next = State { is_obsolete: false, ..*state };
        file::save(&*self.disk, CONFIRMED_FILE, &next).await?;
        *state = next;
        self.is_obsolete.store(false, Ordering::Release);
        self.is_fresh.store(true, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_env::disk::SimulatedDisk;

    use super::*;
    use crate::membership::Phase;

    fn fence(fence: u64) -> ViewVersion {
        ViewVersion { epoch: 1, phase: Phase::Stable, fence }
    }

    async fn open(disk: &SimulatedDisk, new: bool, keeps: bool) -> Confirmed {
        let confirmed = Confirmed::open(disk.mount(), new, ViewVersion::NONE).await.unwrap();
        confirmed.ask(Box::new(move || keeps));
        confirmed
    }

    #[tokio::test]
    async fn who_confirmed_goes_on_and_who_did_not_only_without_anything_kept_or_under_way() {
        let disk = SimulatedDisk::new();
        open(&disk, true, true).await.confirm(fence(2)).await.unwrap();
        let later = open(&disk, false, true).await;
        assert!(later.admits(fence(2), false).await.unwrap(), "it is on the disk");
        let empty = open(&SimulatedDisk::new(), false, false).await;
        assert!(!empty.admits(fence(2), false).await.unwrap(), "what it does may carry what was deleted");
        assert!(empty.admits(fence(2), true).await.unwrap());
        assert!(!empty.is_obsolete());
    }

    #[tokio::test]
    async fn a_disk_from_before_a_collection_is_of_no_use_until_all_was_dropped() {
        let disk = SimulatedDisk::new();
        let restored = open(&disk, false, true).await;
        assert!(!restored.admits(fence(2), true).await.unwrap());
        // Whatever happens in between, and whatever it is asked.
        restored.confirm(fence(5)).await.unwrap();
        let again = open(&disk, false, true).await;
        assert!(again.is_obsolete() && !again.admits(fence(2), true).await.unwrap());
        again.dropped_all().await.unwrap();
        assert!(!again.is_obsolete() && again.admits(fence(2), true).await.unwrap());
    }

    #[tokio::test]
    async fn what_came_to_a_new_disk_before_its_first_view_is_no_older_than_that() {
        let new = open(&SimulatedDisk::new(), true, true).await;
        assert!(new.admits(fence(2), false).await.unwrap());
        assert!(!new.admits(fence(5), false).await.unwrap(), "but from then on it is asked to confirm");
    }
}
