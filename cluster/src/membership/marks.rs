//! Notices that an older state of this node's disk was put in the place of a newer one.
//!
//! A disk that somebody copied back looks like one that was left in order: what the node acknowledged
//! since the copy is missing, and the votes that it gave since are forgotten. So each node counts a mark
//! up on its disk, at each start and every [`PERIOD`], and tells it to the others once it is durable; they
//! keep the highest that they were told, on their disks. A node that starts on a disk which was used before
//! asks them first, and casts no vote until they have answered. If one of them remembers a higher mark
//! than the disk has, the disk is treated as a lost one ([`Views::disk_is_old`](super::Views::disk_is_old)):
//! refilled before it votes, with what it holds merged, which is always safe.
//!
//! Not noticed: a copy that is younger than the last mark that anybody remembers (at most a [`PERIOD`] and
//! the moment until it was told and noted), and any copy where nobody who remembers is left or answers:
//! all disks of a store put back together, say. A node that nobody answers goes on after a request's time
//! where reads may do without others; it is found out later then, when one of them is back.
//!
//! Not here: empty disks (`disks`, `holdings`), runs of nodes (`node`'s identity: a fresh incarnation
//! for each start keeps versions apart whatever becomes of disks).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use quorate_env::Disk;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Views, file};
use crate::config::{NodeId, Timing};
use crate::rpc::{Peers, Request, Response};

const MARKS_FILE: &str = "marks.bin";

/// How often a running node counts its mark up.
pub const PERIOD: Duration = Duration::from_secs(10);
/// What others' marks are noted after: several that come together are one write.
const NOTE_AFTER: Duration = Duration::from_millis(500);
/// Before the others are asked again whether the disk is the newest.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Rounds after which those that did not answer are not waited for, if anybody did.
const ROUNDS: u32 = 3;

/// What is known of marks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// This node's own.
    own: u64,
    /// The highest that others told.
    heard: BTreeMap<NodeId, u64>,
}

/// The marks on one node's disk.
pub(super) struct Marks {
    disk: Arc<dyn Disk>,
    known: Mutex<Known>,
    /// As it is on the disk; held while it is written.
    noted: tokio::sync::Mutex<Known>,
    news: Notify,
}

impl Marks {
    /// What the disk says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn open(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let known = file::read::<Known>(&*disk, MARKS_FILE)?.unwrap_or_default();
        let noted = tokio::sync::Mutex::new(known.clone());
        Ok(Self { disk, known: Mutex::new(known), noted, news: Notify::new() })
    }

    /// This node's own mark.
    pub(super) fn own(&self) -> u64 {
        self.lock().own
    }

    /// Notes what `from` tells, and gives what it told before.
    pub(super) fn heard(&self, from: NodeId, mark: u64) -> Option<u64> {
        let mut known = self.lock();
        let before = known.heard.get(&from).copied();
        if before.is_none_or(|before| before < mark) {
            known.heard.insert(from, mark);
            self.news.notify_one();
        }
        before
    }

    /// Counts this node's own up, above `remembered`. It may be told once this returns.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub(super) async fn count_up(&self, remembered: u64) -> io::Result<()> {
        let mut noted = self.noted.lock().await;
        let mut next = self.lock().clone();
        next.own = next.own.max(remembered) + 1;
        file::save(&*self.disk, MARKS_FILE, &next).await?;
        // Only now: what is told must be on the disk.
        self.lock().own = next.own;
        *noted = next;
        Ok(())
    }

    /// Makes what was heard durable.
    async fn note(&self) -> io::Result<()> {
        let mut noted = self.noted.lock().await;
        let known = self.lock().clone();
        if *noted != known {
            file::save(&*self.disk, MARKS_FILE, &known).await?;
            *noted = known;
        }
        Ok(())
    }

    /// What is on the disk of what `node` told.
    #[cfg(test)]
    pub(super) async fn noted(&self, node: NodeId) -> Option<u64> {
        self.noted.lock().await.heard.get(&node).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the other members remember how far this node's disk has come.
pub struct Witnesses {
    /// This node.
    pub me: NodeId,
    /// Its marks, and what becomes of an old disk.
    pub views: Arc<Views>,
    /// The others.
    pub peers: Arc<Peers>,
    /// How long to wait.
    pub timing: Timing,
}

impl Witnesses {
    /// Asks the others whether this disk is the newest, where that is still to be shown, then tells
    /// them its mark for ever.
    pub async fn run(self) {
        let is_exact = self.views.holdings().is_exact();
        let until = Instant::now() + self.timing.request;
        let mut rounds = 0;
        while !self.views.holdings().is_proven() {
            let (asked, answered) = self.tell().await;
            rounds += 1;
            let has_heard = answered == asked || (rounds >= ROUNDS && answered > 0);
            // With registers nothing is done alone, and so nothing is guessed.
            if has_heard || (!is_exact && Instant::now() >= until) {
                self.views.holdings().set_proven(true);
            } else {
                sleep(ASK_AGAIN).await;
            }
        }
        let marks = self.views.marks();
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = sleep_until(next) => {
                    next = Instant::now() + PERIOD;
                    match marks.count_up(0).await {
                        Ok(()) => drop(self.tell().await),
                        Err(error) => tracing::warn!(%error, "this disk's mark cannot be noted"),
                    }
                }
                () = marks.news.notified() => {
                    sleep(NOTE_AFTER).await;
                    if let Err(error) = marks.note().await {
                        tracing::warn!(%error, "other nodes' marks cannot be noted");
                    }
                }
            }
        }
    }

    /// Tells all other members this node's mark; how many they are, and how many answered. Should one of
    /// them remember a higher one, this disk is an old one.
    async fn tell(&self) -> (usize, usize) {
        let view = self.views.current();
        let others: Vec<NodeId> = view.members().iter().map(|m| m.id).filter(|id| *id != self.me).collect();
        let mark = self.views.marks().own();
        let answers = join_all(others.iter().map(|other| {
            self.peers.call(*other, view.version(), Request::Mark { mark }, self.timing.hand_over)
        }));
        let (mut answered, mut highest) = (0, None);
        let since = Request::Mark { mark }.since();
        for (other, answer) in others.iter().zip(answers.await) {
            if let Ok(Response::Mark { before }) = answer {
                answered += 1;
                highest = highest.max(before);
            } else if self.peers.spoken(*other).is_some_and(|spoken| spoken.version < since) {
                // An earlier release remembers nothing, and says so by not being asked.
                answered += 1;
            }
        }
        if let Some(remembered) = highest.filter(|remembered| *remembered > mark)
            && let Err(error) = self.views.disk_is_old(remembered).await
        {
            tracing::error!(%error, "this disk is an old one, and that cannot be noted");
            return (others.len().max(1), 0);
        }
        (others.len(), answered)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_env::disk::SimulatedDisk;

    use super::*;
    use crate::testing::node;

    #[tokio::test(start_paused = true)]
    async fn the_highest_mark_is_remembered_and_ones_own_only_goes_up() {
        let disk = SimulatedDisk::new();
        let marks = Marks::open(disk.mount()).unwrap();
        assert_eq!((marks.heard(node(2), 5), marks.heard(node(2), 3)), (None, Some(5)));
        assert_eq!(marks.heard(node(2), 6), Some(5));
        marks.note().await.unwrap();
        marks.count_up(0).await.unwrap();
        marks.count_up(7).await.unwrap();
        marks.count_up(2).await.unwrap();
        disk.power_cut(&mut quorate_env::Random::from_seed(1).stream("cut"));
        let again = Marks::open(disk.mount()).unwrap();
        assert_eq!((again.own(), again.heard(node(2), 1)), (9, Some(6)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_that_the_disk_did_not_take_is_not_told() {
        let disk = SimulatedDisk::new();
        let marks = Marks::open(disk.mount()).unwrap();
        disk.fail_next_syncs(1);
        assert!(marks.count_up(0).await.is_err());
        assert_eq!(marks.own(), 0);
    }
}
