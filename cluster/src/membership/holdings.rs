//! Which partitions this node holds whole, and why not the others.
//!
//! A node that lacks part of a partition takes writes for it and answers with what it has, but
//! its answers are no votes: an absent record there does not mean that none was acknowledged.
//! `transfer::refill` closes the gaps. They are on disk before anything depends on them, so that
//! neither a restart nor a clean stop makes a half-filled node whole.
//!
//! # New store or lost disk
//!
//! A node that starts on an empty directory although it is a member cannot know from itself
//! whether the whole store is new or its own disk was lost. It assumes the worse: it votes only
//! after merging N-W+1 other owners, whose copies of a new store are empty, so that takes a few
//! messages. Every write that was ever acknowledged, by this node too, is on one of those owners,
//! unless a second disk was lost before the first was refilled.
//!
//! Two things are only needed after a loss, and the others' answers tell:
//!
//! - A write that the lost disk stored may be stored by its second holder, and acknowledged, after
//!   this node has asked there. Its coordinator acknowledges nothing after a request's deadline,
//!   so a node that lost its disk waits that long after its start before it begins to merge.
//! - An owner that is itself not whole must not be counted among the N-W+1. In a new store nobody
//!   is whole at first; there, owners on their first disk have all that they were ever given.
//!
//! The store counts as new while nobody who answers has held its disk for more than
//! [`SAME_BIRTH`] longer than this node has its own. A disk that was lost earlier than that after
//! the birth of the store would be taken for a new one; that late starters of a new store are taken
//! for nodes that lost their disks costs them a few seconds. Votes on views must not be guessed at:
//! whether this node may have forgotten some is found out otherwise (`disks`).
//!
//! # Registers
//!
//! In a linearizable store nothing is guessed at all, and every gap is one of votes:
//!
//! - A new disk is the first of its node if all other first members say so (`disks`). Else it was lost.
//! - An owner is a node on one disk. Which disk of a node counts is part of the view ([`View::disk_of`](
//!   super::View::disk_of)); of the first members it is the first as long as none is named. A node on
//!   another disk, or one on which a vote has rotted, takes a new name for it and casts no vote until a
//!   view names that: nobody who is in such a view hears what was sent under one in which the lost votes
//!   counted.
//! - A gap is closed by enough whole owners alone. Where there are too few of them it stays open.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_env::Disk;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::file;

const GAPS_FILE: &str = "gaps.bin";
const VOTER_FILE: &str = "voter.bin";

/// How far apart nodes of a new store may start and count as started together.
pub const SAME_BIRTH: Duration = Duration::from_secs(1);

/// Why a node does not hold a partition whole. A worse reason replaces a lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Gap {
    /// Something may be missing here or there.
    Doubt,
    /// The disk is empty, and nobody has said yet that the whole store is.
    New,
    /// It was gained with a change of the members.
    Gained,
    /// The disk was lost.
    LostDisk,
}

/// A gap, told from later ones in the same partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Why.
    pub why: Gap,
    number: u64,
}

/// How a start found the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Empty, in a node that was given the first members of the store.
    Empty,
    /// Empty, in a node that learned from others who the members are.
    EmptyAmongOthers,
    /// As it was left, but the last writes may be missing.
    Doubtful,
    /// As it was left.
    AsLeft,
}

/// One node's gaps.
pub struct Holdings {
    /// None where nothing is kept.
    disk: Option<Arc<dyn Disk>>,
    partitions: u32,
    /// When the disk was first used, if that was in this run and with the first members.
    born: Option<Instant>,
    state: Mutex<State>,
    /// How many gaps there are: reads look here first.
    count: AtomicUsize,
    /// Held while the file is written, so that an older state never replaces a newer one.
    writing: tokio::sync::Mutex<()>,
    /// Where keys are registers: what this node's votes hang on.
    voter: Option<Voter>,
    /// Whether nobody is to be asked any more whether this is the newest state of the disk (`marks`).
    is_proven: AtomicBool,
}

/// The disk as which this node votes on registers.
struct Voter {
    /// What the next new name is made of: drawn by this start.
    start: u64,
    state: Mutex<VoterState>,
    /// Whether the view names it.
    is_named: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
struct VoterState {
    /// Its name; none if it is the first disk of a first member.
    name: Option<u64>,
    /// How many names were made since the start.
    made: u64,
}

#[derive(Default)]
struct State {
    gaps: BTreeMap<u32, Mark>,
    marks: u64,
    /// Gaps that wait for owners which do not answer.
    stalled: BTreeSet<u32>,
    /// Whether a doubt is as good as a loss.
    is_exact: bool,
}

/// What is known of the disk as which this node votes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct VoterFile {
    name: Option<u64>,
    /// Partitions whose votes were lost when the name was taken: they are noted by this, whether they
    /// could be noted as gaps or not.
    lost: Vec<u32>,
}

impl State {
    /// Partitions in which votes were lost.
    fn lost(&self) -> impl Iterator<Item = u32> {
        self.gaps.iter().filter(|(_, mark)| mark.why == Gap::LostDisk).map(|(partition, _)| *partition)
    }

    fn mark(&mut self, partition: u32, why: Gap) {
        self.marks += 1;
        self.stalled.remove(&partition);
        let why = if self.is_exact && why == Gap::Doubt { Gap::LostDisk } else { why };
        let why = self.gaps.get(&partition).map_or(why, |before| before.why.max(why));
        self.gaps.insert(partition, Mark { why, number: self.marks });
    }
}

impl Holdings {
    /// What the disk says, of a store with `partitions` partitions in which this node is a member
    /// or not.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub async fn open(
        disk: Arc<dyn Disk>,
        partitions: u32,
        found: Found,
        is_member: bool,
    ) -> io::Result<Self> {
        Self::open_with(disk, partitions, (found, Vec::new()), is_member, None).await
    }

    /// As [`Holdings::open`], of a store whose keys are registers. `has_part` says whether this node has
    /// a part in its view, alone or not; `new_name` was never drawn before.
    ///
    /// # Errors
    /// As [`Holdings::open`].
    pub async fn of_registers(
        disk: Arc<dyn Disk>,
        partitions: u32,
        found: Found,
        (is_member, has_part): (bool, bool),
        new_name: u64,
    ) -> io::Result<Self> {
        let known = file::read::<VoterFile>(&*disk, VOTER_FILE)?;
        let is_first = known.is_none() && found == Found::Empty && has_part;
        let is_named_anew = (known.is_none() && !is_first) || found == Found::Doubtful;
        let VoterFile { name, lost } = known.unwrap_or_default();
        let voter = Voter {
            start: new_name,
            state: Mutex::new(VoterState {
                name: if is_named_anew { Some(new_name) } else { name },
                made: 0,
            }),
            is_named: AtomicBool::new(false),
        };
        Self::open_with(disk, partitions, (found, lost), is_member, Some(voter)).await
    }

    async fn open_with(
        disk: Arc<dyn Disk>,
        partitions: u32,
        (found, lost): (Found, Vec<u32>),
        is_member: bool,
        voter: Option<Voter>,
    ) -> io::Result<Self> {
        let mut state = State { is_exact: voter.is_some(), ..State::default() };
        match (file::read::<Vec<(u32, Gap)>>(&*disk, GAPS_FILE)?, found) {
            (Some(left), _) => {
                for (partition, why) in left {
                    // Who was told nothing before it stopped may have been away for long. That is
                    // asked of the others where nothing is guessed.
                    let is_lost = why == Gap::New && voter.is_none();
                    state.mark(partition, if is_lost { Gap::LostDisk } else { why });
                }
            }
            (None, Found::Empty) if is_member => (0..partitions).for_each(|p| state.mark(p, Gap::New)),
            (None, Found::Empty | Found::EmptyAmongOthers) if !is_member => {}
            (None, _) => (0..partitions).for_each(|p| state.mark(p, Gap::LostDisk)),
        }
        if found == Found::Doubtful {
            (0..partitions).for_each(|p| state.mark(p, Gap::Doubt));
        }
        lost.into_iter().for_each(|p| state.mark(p, Gap::LostDisk));
        if let Some(voter) = &voter {
            let name = {
                let mut named = voter.lock();
                // However it came about: nobody votes under a name that votes were lost under.
                if named.name.is_none() && state.gaps.values().any(|mark| mark.why == Gap::LostDisk) {
                    named.name = Some(voter.start);
                }
                named.name
            };
            // The name goes first: with it alone all is noted that this start found.
            let lost: Vec<u32> = state.lost().collect();
            file::save(&*disk, VOTER_FILE, &VoterFile { name, lost }).await?;
        }
        let holdings = Self {
            disk: Some(disk),
            partitions,
            born: (found == Found::Empty).then(Instant::now),
            count: AtomicUsize::new(state.gaps.len()),
            state: Mutex::new(state),
            writing: tokio::sync::Mutex::default(),
            voter,
            is_proven: AtomicBool::new(true),
        };
        holdings.save().await?;
        Ok(holdings)
    }

    /// Kept nowhere; whole, or doubtful everywhere. For a replica without a node around it, as tests
    /// and benches have.
    #[must_use]
    pub fn in_memory(partitions: u32, is_whole: bool) -> Self {
        let mut state = State::default();
        if !is_whole {
            (0..partitions).for_each(|p| state.mark(p, Gap::Doubt));
        }
        Self {
            disk: None,
            partitions,
            born: None,
            count: AtomicUsize::new(state.gaps.len()),
            state: Mutex::new(state),
            writing: tokio::sync::Mutex::default(),
            voter: None,
            is_proven: AtomicBool::new(true),
        }
    }

    /// Whether an absent record of the partition means that none was ever acknowledged here.
    #[must_use]
    pub fn is_whole(&self, partition: u32) -> bool {
        self.is_proven() && self.has_no_gap(partition)
    }

    /// Whether the others have said that this is the newest state of the disk, or are not asked. Until
    /// then nothing here is whole.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Acquire)
    }

    /// Notes whether it is.
    pub fn set_proven(&self, is_proven: bool) {
        self.is_proven.store(is_proven, Ordering::Release);
    }

    fn has_no_gap(&self, partition: u32) -> bool {
        self.count.load(Ordering::Acquire) == 0 || !self.lock().gaps.contains_key(&partition)
    }

    /// Whether this node's votes on registers of the partition count: it holds all that it voted for.
    #[must_use]
    pub fn votes_on(&self, partition: u32) -> bool {
        self.is_named() && self.is_whole(partition)
    }

    /// Whether the view that this node is in counts its votes; always where there are none.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.voter.as_ref().is_none_or(|voter| voter.is_named.load(Ordering::Acquire))
    }

    /// Whether nothing is guessed at here.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.voter.is_some()
    }

    /// The name of the disk as which this node votes; none if it is its first one.
    #[must_use]
    pub fn voter_name(&self) -> Option<u64> {
        self.voter.as_ref().and_then(|voter| voter.lock().name)
    }

    /// Notes which disk of this node its view names. If that is another than its first one, which it
    /// took to be on, its disk is an old one: what it voted on the other is lost.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn named(&self, disk: Option<u64>) -> io::Result<()> {
        let Some(voter) = &self.voter else { return Ok(()) };
        let name = voter.lock().name;
        voter.is_named.store(name == disk, Ordering::Release);
        if name.is_none() && disk.is_some() {
            tracing::warn!(
                "this node's disk was replaced before: what is on this one casts no votes until it was refilled"
            );
            self.mark(0..self.partitions, Gap::LostDisk).await?;
        }
        Ok(())
    }

    /// Why the partition is not whole.
    #[must_use]
    pub fn gap(&self, partition: u32) -> Option<Gap> {
        self.lock().gaps.get(&partition).map(|mark| mark.why)
    }

    /// Whether the partition's gap waits for owners which do not answer, after all others were merged.
    #[must_use]
    pub fn is_stalled(&self, partition: u32) -> bool {
        self.lock().stalled.contains(&partition)
    }

    /// Notes whether it does.
    pub fn set_stalled(&self, partition: u32, is_stalled: bool) {
        let mut state = self.lock();
        if is_stalled && state.gaps.contains_key(&partition) {
            state.stalled.insert(partition);
        } else {
            state.stalled.remove(&partition);
        }
    }

    /// All gaps, owned or not.
    #[must_use]
    pub fn gaps(&self) -> BTreeMap<u32, Mark> {
        self.lock().gaps.clone()
    }

    /// How long this node has held its disk; for ever if it is older than this run.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.born.map_or(Duration::MAX, |born| born.elapsed())
    }

    /// Notes that some partitions are not whole. From this moment they cast no votes, whatever
    /// becomes of the disk.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn mark(&self, partitions: impl IntoIterator<Item = u32>, why: Gap) -> io::Result<()> {
        let partitions: Vec<u32> = partitions.into_iter().filter(|p| *p < self.partitions).collect();
        let is_lost = why == Gap::LostDisk || (self.is_exact() && why == Gap::Doubt);
        if let (Some(voter), true) = (&self.voter, is_lost && !partitions.is_empty()) {
            voter.take_new_name();
        }
        let changed = {
            let mut state = self.lock();
            let before = state.marks;
            partitions.into_iter().for_each(|p| state.mark(p, why));
            self.count.store(state.gaps.len(), Ordering::Release);
            state.marks != before
        };
        if !changed {
            return Ok(());
        }
        if is_lost {
            self.save_voter().await?;
        }
        self.save().await
    }

    async fn save_voter(&self) -> io::Result<()> {
        let (Some(voter), Some(disk)) = (&self.voter, &self.disk) else { return Ok(()) };
        let _writing = self.writing.lock().await;
        let file = VoterFile { name: voter.lock().name, lost: self.lock().lost().collect() };
        file::save(&**disk, VOTER_FILE, &file).await
    }

    /// The store is new, and with it all that was taken for so.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn store_is_new(&self) -> io::Result<()> {
        for (partition, mark) in self.gaps() {
            if mark.why == Gap::New {
                self.close(partition, mark);
            }
        }
        self.save().await
    }

    /// The store is older than this disk: what was taken for new is lost.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn disk_was_lost(&self) -> io::Result<()> {
        let new: Vec<u32> =
            self.gaps().into_iter().filter(|(_, mark)| mark.why == Gap::New).map(|(p, _)| p).collect();
        self.mark(new, Gap::LostDisk).await
    }

    /// Nothing is missing any more since `mark` was seen, unless more went missing meanwhile. Lasts
    /// once it is [saved](Self::save); until then a restart fills the gap again.
    pub fn close(&self, partition: u32, mark: Mark) {
        let mut state = self.lock();
        if state.gaps.get(&partition) == Some(&mark) {
            state.gaps.remove(&partition);
            state.stalled.remove(&partition);
        }
        self.count.store(state.gaps.len(), Ordering::Release);
    }

    /// Makes the gaps durable as they are.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub async fn save(&self) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let _writing = self.writing.lock().await;
        let gaps: Vec<(u32, Gap)> = self.gaps().into_iter().map(|(p, mark)| (p, mark.why)).collect();
        file::save(&**disk, GAPS_FILE, &gaps).await?;
        if let Some(voter) = &self.voter {
            // What is lost stands among the gaps now, and is closed there.
            let file = VoterFile { name: voter.lock().name, lost: Vec::new() };
            file::save(&**disk, VOTER_FILE, &file).await?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Voter {
    /// Votes that were cast may be lost: what is left casts none until a view names it.
    fn take_new_name(&self) {
        let mut state = self.lock();
        state.made += 1;
        // Unique among all names as the number is that the start drew.
        state.name = Some(self.start.wrapping_add(state.made.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        self.is_named.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, VoterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_env::disk::SimulatedDisk;

    use super::*;

    async fn open(disk: &SimulatedDisk, found: Found, is_member: bool) -> Holdings {
        Holdings::open(disk.mount(), 3, found, is_member).await.unwrap()
    }

    fn reasons(holdings: &Holdings) -> Vec<(u32, Gap)> {
        holdings.gaps().into_iter().map(|(p, mark)| (p, mark.why)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_disk_is_new_or_lost_and_no_restart_makes_it_whole() {
        let disk = SimulatedDisk::new();
        let first = open(&disk, Found::Empty, true).await;
        assert_eq!(reasons(&first), [(0, Gap::New), (1, Gap::New), (2, Gap::New)]);
        first.close(0, first.gaps()[&0]);
        assert!(first.is_whole(0) && !first.is_whole(1));
        first.save().await.unwrap();
        disk.power_cut(&mut quorate_env::Random::from_seed(1).stream("cut"));
        let second = open(&disk, Found::AsLeft, true).await;
        assert_eq!(reasons(&second), [(1, Gap::LostDisk), (2, Gap::LostDisk)]);
        let joining = |is_member| async move {
            reasons(&open(&SimulatedDisk::new(), Found::EmptyAmongOthers, is_member).await).len()
        };
        assert_eq!((joining(true).await, joining(false).await), (3, 0), "who was a member has lost its disk");
        let without_file = open(&SimulatedDisk::new(), Found::AsLeft, true).await;
        assert_eq!(reasons(&without_file).len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn votes_on_registers_count_while_the_view_names_the_disk_and_nothing_is_missing() {
        let disk = SimulatedDisk::new();
        let open = |found, name| Holdings::of_registers(disk.mount(), 3, found, (true, true), name);
        let first = open(Found::Empty, 7).await.unwrap();
        first.named(None).await.unwrap();
        assert_eq!((first.voter_name(), first.votes_on(1)), (None, false), "whether it is new is not known");
        drop(first);
        let again = open(Found::AsLeft, 8).await.unwrap();
        again.named(None).await.unwrap();
        assert_eq!(reasons(&again)[0].1, Gap::New, "a restart makes it no older");
        again.store_is_new().await.unwrap();
        assert!(again.votes_on(1));
        again.mark([1], Gap::Gained).await.unwrap();
        assert!(!again.votes_on(1) && again.votes_on(2));
        again.mark([0], Gap::Doubt).await.unwrap();
        let name = again.voter_name();
        assert!(name.is_some() && !again.votes_on(2), "what may have rotted is lost, and with it the name");
        assert_eq!(again.gap(0), Some(Gap::LostDisk));
        again.named(None).await.unwrap();
        assert!(!again.votes_on(2));
        again.named(name).await.unwrap();
        assert!(again.votes_on(2) && !again.votes_on(0) && !again.votes_on(1));
        drop(again);
        let restarted = open(Found::AsLeft, 9).await.unwrap();
        assert_eq!((restarted.voter_name(), restarted.gaps().len()), (name, 2));
        drop(restarted);
        assert_eq!(open(Found::Doubtful, 10).await.unwrap().voter_name(), Some(10));
        let empty = SimulatedDisk::new();
        let lost = Holdings::of_registers(empty.mount(), 3, Found::EmptyAmongOthers, (true, true), 11)
            .await
            .unwrap();
        assert_eq!((lost.voter_name(), lost.gaps().len()), (Some(11), 3));
        let old = SimulatedDisk::new();
        let old = Holdings::of_registers(old.mount(), 3, Found::Empty, (true, true), 12).await.unwrap();
        old.store_is_new().await.unwrap();
        old.named(Some(5)).await.unwrap();
        assert_eq!((old.gaps().len(), old.votes_on(0)), (3, false), "its node voted on another since");
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_missing_meanwhile_is_not_closed_with_what_was_found() {
        let holdings = open(&SimulatedDisk::new(), Found::EmptyAmongOthers, false).await;
        holdings.mark([1], Gap::Gained).await.unwrap();
        let seen = holdings.gaps()[&1];
        holdings.mark([1, 9], Gap::Doubt).await.unwrap();
        assert_eq!(reasons(&holdings), [(1, Gap::Gained)], "the worse reason stays; there is no partition 9");
        holdings.close(1, seen);
        assert!(!holdings.is_whole(1));
        holdings.close(1, holdings.gaps()[&1]);
        assert!(holdings.is_whole(1));
    }

    #[tokio::test(start_paused = true)]
    async fn doubt_concerns_every_partition_and_one_that_is_found_later_only_its_own() {
        let disk = SimulatedDisk::new();
        open(&disk, Found::EmptyAmongOthers, false).await;
        assert_eq!(reasons(&open(&disk, Found::Doubtful, true).await).len(), 3);
        let new = open(&SimulatedDisk::new(), Found::Empty, true).await;
        new.close(2, new.gaps()[&2]);
        new.disk_was_lost().await.unwrap();
        assert_eq!(reasons(&new), [(0, Gap::LostDisk), (1, Gap::LostDisk)]);
    }
}
