//! One node's hold on the chain of views: the newest it knows, its part in choosing the next,
//! and what the others report.
//!
//! A view is on disk before it is used, and a vote before it is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_env::Disk;
use serde::{Deserialize, Serialize};

use super::disks::Verdict;
use super::file;
use super::newest::{Newest, Watch};
use super::{Accepted, Acceptor, Ballot, Disks, Found, Gap, Holdings, Mark, Phase, View, ViewVersion, Vote};
use crate::config::NodeId;

const VIEW_FILE: &str = "view.bin";
const DECREE_FILE: &str = "decree.bin";
const DISKS_FILE: &str = "disks.bin";

/// The epoch of the first members.
const FIRST_EPOCH: u64 = 1;

/// What a node says of itself while data moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The view it is in.
    pub version: ViewVersion,
    /// Whether it has merged all that it gains in that view.
    pub transferred: bool,
    /// Who was said to be gone for good since the change of that view began.
    pub lost: BTreeSet<NodeId>,
}

/// Who will not come back, and need not be waited for, while the change of one epoch is under way.
/// Only grows, so nodes tell each other in any order.
#[derive(Clone, Debug, Default)]
struct Lost {
    epoch: u64,
    nodes: BTreeSet<NodeId>,
}

/// An acceptor and the epoch whose view it helps to choose.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Decree {
    epoch: u64,
    acceptor: Acceptor<View>,
    /// Votes that this node gave may have gone with its disk: it gives none until it has made up
    /// for them or learned that there were none. See [`Views::recover`] and [`Views::judge_disk`].
    abstains: bool,
}

/// The chain as one node knows it.
pub struct Views {
    me: NodeId,
    disk: Arc<dyn Disk>,
    current: Newest,
    decree: tokio::sync::Mutex<Decree>,
    disks: tokio::sync::Mutex<Disks>,
    reports: Mutex<BTreeMap<NodeId, Report>>,
    holdings: Arc<Holdings>,
    lost: Mutex<Lost>,
}

impl Views {
    /// The newest view on disk, or `first` on a disk that holds none. `found` says what else the
    /// disk holds; a disk that holds nothing is called `new_disk` from now on.
    ///
    /// # Errors
    /// When the disk cannot be read, or holds what this version did not write.
    pub async fn open(
        me: NodeId,
        disk: Arc<dyn Disk>,
        first: Option<View>,
        found: Found,
        new_disk: u64,
    ) -> io::Result<Option<Self>> {
        let on_disk = file::read::<View>(&*disk, VIEW_FILE)?;
        let is_new = on_disk.is_none();
        let Some(view) = on_disk.or(first) else { return Ok(None) };
        let epoch = view.version().epoch + 1;
        // Who is alone has nobody to ask what is missing, nor to disagree with.
        let is_member = view.members().len() > 1 && view.everybody().any(|m| m.id == me);
        let decree = match file::read::<Decree>(&*disk, DECREE_FILE)? {
            Some(decree) if decree.epoch == epoch => decree,
            Some(Decree { abstains, .. }) => Decree { epoch, acceptor: Acceptor::default(), abstains },
            None => Decree { epoch, acceptor: Acceptor::default(), abstains: is_new && is_member },
        };
        let disks = file::read::<Disks>(&*disk, DISKS_FILE)?;
        let disks = disks.unwrap_or_else(|| Disks::new(me, new_disk, !is_new));
        file::save(&*disk, DISKS_FILE, &disks).await?;
        let partitions = view.placement().partitions();
        let holdings = Arc::new(Holdings::open(Arc::clone(&disk), partitions, found, is_member).await?);
        file::save(&*disk, DECREE_FILE, &decree).await?;
        file::save(&*disk, VIEW_FILE, &view).await?;
        Ok(Some(Self {
            me,
            disk,
            current: Newest::new(view),
            decree: tokio::sync::Mutex::new(decree),
            disks: tokio::sync::Mutex::new(disks),
            reports: Mutex::default(),
            holdings,
            lost: Mutex::default(),
        }))
    }

    /// The chain of a cluster that never changes, for tests of what goes on within one view.
    #[cfg(test)]
    #[must_use]
    pub fn unchanging(me: NodeId, view: View) -> Self {
        Self {
            me,
            disk: quorate_env::disk::SimulatedDisk::new().mount(),
            decree: tokio::sync::Mutex::new(Decree {
                epoch: view.version().epoch + 1,
                acceptor: Acceptor::default(),
                abstains: false,
            }),
            disks: tokio::sync::Mutex::new(Disks::new(me, 1, true)),
            holdings: Arc::new(Holdings::in_memory(view.placement().partitions(), true)),
            current: Newest::new(view),
            reports: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    /// The newest view.
    #[must_use]
    pub fn current(&self) -> Arc<View> {
        self.current.get()
    }

    /// Which partitions this node holds whole.
    #[must_use]
    pub fn holdings(&self) -> &Arc<Holdings> {
        &self.holdings
    }

    /// The partitions that gets ask this node for and that it may not be whole in: it casts no
    /// votes there.
    #[must_use]
    pub fn voteless(&self) -> Vec<(u32, Gap)> {
        let gaps = self.holdings.gaps();
        if gaps.is_empty() {
            return Vec::new();
        }
        let view = self.current();
        let is_read = |partition| view.read_owners(partition).contains(&self.me);
        gaps.into_iter().filter(|(p, _)| is_read(*p)).map(|(p, mark)| (p, mark.why)).collect()
    }

    /// Tells of every newer view.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.current.watch()
    }

    /// Takes `view` if it is newer, and one that can follow; says whether it did.
    ///
    /// # Errors
    /// When it cannot be made durable; it is then not used.
    pub async fn learn(&self, view: View) -> io::Result<bool> {
        let mut decree = self.decree.lock().await;
        let current = self.current();
        if view.version() <= current.version() {
            return Ok(false);
        }
        if !view.follows(&current) {
            tracing::warn!(node = %self.me, view = %view.version(), "a view that cannot be is not taken");
            return Ok(false);
        }
        self.mark_gaps(&view).await?;
        let epoch = view.version().epoch + 1;
        // Whoever becomes a member may have been one before, on a disk that was lost, and have learned
        // of an older view since: it votes once the others have made up for what it may have forgotten.
        let joins = current.member(self.me).is_none() && view.member(self.me).is_some();
        let mut next = decree.clone();
        if decree.epoch != epoch {
            next = Decree { epoch, acceptor: Acceptor::default(), abstains: decree.abstains || joins };
        }
        if next.abstains != decree.abstains {
            file::save(&*self.disk, DECREE_FILE, &next).await?;
        }
        file::save(&*self.disk, VIEW_FILE, &view).await?;
        *decree = next;
        tracing::info!(node = %self.me, view = %view.version(), "a new view");
        lock(&self.reports).retain(|node, _| view.everybody().any(|m| m.id == *node));
        self.current.set(view);
        Ok(true)
    }

    /// Before `view` is used: what this node gains in it, it does not hold.
    async fn mark_gaps(&self, view: &View) -> io::Result<()> {
        let before = self.current();
        let had: BTreeSet<u32> = before.partitions_written_to(self.me).into_iter().collect();
        let has = view.partitions_written_to(self.me);
        // Gained now, or in a change that went on without this node.
        let gained = has.iter().filter(|p| !had.contains(p)).copied().chain(view.gained_by(self.me));
        self.holdings.mark(gained.collect::<BTreeSet<u32>>(), Gap::Gained).await?;
        if view.version().epoch > before.version().epoch + 1 {
            // It may have been no owner in between.
            self.holdings.mark(has, Gap::Doubt).await?;
        }
        Ok(())
    }

    /// The newest view, and what is not whole here under it. What is gained by a view is marked
    /// before the view is used: seen in between, it would be looked for at the old view's owners.
    pub async fn gaps(&self) -> (Arc<View>, BTreeMap<u32, Mark>) {
        let _no_view_is_learned = self.decree.lock().await;
        (self.current(), self.holdings.gaps())
    }

    /// Votes on the view of `epoch`; nothing if this node is not deciding on that one.
    ///
    /// # Errors
    /// When the vote cannot be made durable; it must not be sent then.
    pub async fn vote(
        &self,
        epoch: u64,
        ballot: Ballot,
        view: Option<View>,
    ) -> io::Result<Option<Vote<View>>> {
        let mut decree = self.decree.lock().await;
        if decree.epoch != epoch || decree.abstains {
            return Ok(None);
        }
        let is_next = |view: &View| {
            view.version() == ViewVersion { epoch, phase: Phase::Copying } && view.follows(&self.current())
        };
        if view.as_ref().is_some_and(|view| !is_next(view)) {
            tracing::warn!(node = %self.me, epoch, "a view that cannot be is not voted for");
            return Ok(None);
        }
        let mut next = decree.clone();
        let vote = match view {
            None => next.acceptor.prepare(ballot),
            Some(view) => next.acceptor.accept(ballot, view),
        };
        file::save(&*self.disk, DECREE_FILE, &next).await?;
        *decree = next;
        Ok(Some(vote))
    }

    /// Whether this node gives no votes on views because it may have forgotten some.
    pub async fn abstains(&self) -> bool {
        self.decree.lock().await.abstains
    }

    /// The name of this node's disk, if it may turn out to be the first that the node ever had.
    pub async fn maybe_first_disk(&self) -> Option<u64> {
        let disks = self.disks.lock().await;
        if disks.lost_one() || self.current().version().epoch != FIRST_EPOCH {
            None
        } else {
            disks.of(self.me)
        }
    }

    /// What this node knows of the first members' disks once it has noted that of `from`. Nothing
    /// once there was a change of the members: then that is no longer what decides.
    ///
    /// # Errors
    /// When the note cannot be made durable; it must not be answered then.
    pub async fn introduced(&self, from: NodeId, disk: u64) -> io::Result<Option<Disks>> {
        let mut disks = self.disks.lock().await;
        let view = self.current();
        if view.version().epoch != FIRST_EPOCH || view.member(from).is_none() {
            return Ok(None);
        }
        let mut next = disks.clone();
        if next.note(from, disk) {
            file::save(&*self.disk, DISKS_FILE, &next).await?;
            *disks = next;
        }
        Ok(Some(disks.clone()))
    }

    /// Votes from now on, if the other first members' answers show that there was no vote to forget.
    /// Says whether it does.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn judge_disk(&self, answers: &BTreeMap<NodeId, Disks>) -> io::Result<bool> {
        let mut disks = self.disks.lock().await;
        let view = self.current();
        if view.version().epoch != FIRST_EPOCH {
            return Ok(false);
        }
        let others: Vec<NodeId> = view.members().iter().map(|m| m.id).filter(|id| *id != self.me).collect();
        let mut next = disks.clone();
        let verdict = next.verdict(self.me, &others, answers);
        for (other, answer) in answers {
            if let Some(theirs) = answer.of(*other) {
                next.note(*other, theirs);
            }
        }
        if verdict == Verdict::Replacement {
            tracing::warn!(node = %self.me, "an earlier disk of this node was lost");
            next.lose();
        }
        if next != *disks {
            file::save(&*self.disk, DISKS_FILE, &next).await?;
            *disks = next;
        }
        drop(disks);
        if verdict == Verdict::First {
            self.forgot_nothing().await?;
        }
        Ok(verdict == Verdict::First)
    }

    /// There was no vote to forget.
    async fn forgot_nothing(&self) -> io::Result<()> {
        let mut decree = self.decree.lock().await;
        let next = Decree { abstains: false, ..decree.clone() };
        file::save(&*self.disk, DECREE_FILE, &next).await?;
        *decree = next;
        Ok(())
    }

    /// Votes again, from above `ballot`, to which so many other members have promised to accept
    /// nothing below that the rest and this node are no majority; `accepted` is the highest that they
    /// had accepted. Says whether this node still decides on `epoch`.
    ///
    /// If the forgotten vote was part of a choice, one of those took part in it before it promised,
    /// so `accepted` is what was chosen; if it could still become part of one, one of those would
    /// have to accept below its promise. The ballot must be above all that this node ever promised,
    /// so it is taken far above all that is known.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn recover(
        &self,
        epoch: u64,
        ballot: Ballot,
        accepted: Option<Accepted<View>>,
    ) -> io::Result<bool> {
        let mut disks = self.disks.lock().await;
        if !disks.lost_one() {
            let mut next = disks.clone();
            next.lose();
            file::save(&*self.disk, DISKS_FILE, &next).await?;
            *disks = next;
        }
        drop(disks);
        let mut decree = self.decree.lock().await;
        if decree.epoch != epoch || !decree.abstains {
            return Ok(false);
        }
        let next = Decree { epoch, acceptor: Acceptor::recovered(ballot, accepted), abstains: false };
        file::save(&*self.disk, DECREE_FILE, &next).await?;
        *decree = next;
        Ok(true)
    }

    /// What this node says of itself.
    #[must_use]
    pub fn own_report(&self) -> Report {
        let view = self.current();
        let version = view.version();
        let transferred = view.gained_by(self.me).into_iter().all(|p| self.holdings.is_whole(p));
        Report { version, transferred, lost: self.lost() }
    }

    /// Notes what `from` says of itself, and whom it knows to be lost, if it has a part in this
    /// node's view. Whoever has one in a later view alone says it again once this node is there.
    pub fn heard(&self, from: NodeId, report: Report) {
        let view = self.current();
        if !view.everybody().any(|m| m.id == from) {
            return;
        }
        if report.version.epoch == view.version().epoch {
            let has_part = |node: &NodeId| view.everybody().any(|m| m.id == *node);
            self.lose(report.version.epoch, report.lost.iter().copied().filter(has_part));
        }
        lock(&self.reports).insert(from, report);
    }

    /// `node` is gone for good: the change under way goes on without it. Says whether one is under
    /// way that it has a part in.
    ///
    /// Without this a change would wait for ever for a node that died in the middle of it, and
    /// since there is one change at a time, the dead node could never be removed. It loosens no
    /// quorum: gets and puts ask whom they asked before. Only what waits for this very node (its
    /// copies to be merged, its own merging, its word that it left a phase) no longer does.
    pub fn declare_lost(&self, node: NodeId) -> bool {
        let view = self.current();
        let concerned = view.version().phase != Phase::Stable && view.everybody().any(|m| m.id == node);
        if concerned {
            self.lose(view.version().epoch, [node]);
        }
        concerned
    }

    fn lose(&self, epoch: u64, nodes: impl IntoIterator<Item = NodeId>) {
        let mut lost = lock(&self.lost);
        if epoch > lost.epoch {
            *lost = Lost { epoch, nodes: BTreeSet::new() };
        }
        if epoch == lost.epoch {
            lost.nodes.extend(nodes);
        }
    }

    /// Who was said to be gone for good since the change under way began.
    #[must_use]
    pub fn lost(&self) -> BTreeSet<NodeId> {
        let version = self.current().version();
        let lost = lock(&self.lost);
        let counts = version.phase != Phase::Stable && lost.epoch == version.epoch;
        if counts { lost.nodes.clone() } else { BTreeSet::new() }
    }

    /// The next phase of the current view, once what the nodes report allows it.
    #[must_use]
    pub fn next_phase(&self, read_quorum: usize) -> Option<View> {
        let view = self.current();
        let mut reports = lock(&self.reports).clone();
        reports.insert(self.me, self.own_report());
        let lost = self.lost();
        let version = view.version();
        let ready = match version.phase {
            Phase::Stable => false,
            Phase::Copying => {
                let done = |node: &NodeId| {
                    reports
                        .get(node)
                        .is_some_and(|r| r.version > version || (r.version == version && r.transferred))
                };
                view.gaining().iter().all(|node| lost.contains(node) || done(node))
            }
            Phase::ReadingNew => {
                let past = reports.iter().filter(|(_, r)| r.version >= version).map(|(node, _)| *node);
                // Who is gone answers no get in the phase before.
                view.can_settle(&past.chain(lost).collect(), read_quorum)
            }
        };
        ready.then(|| view.advanced())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_env::disk::SimulatedDisk;

    use super::*;
    use crate::config::Member;
    use crate::membership::Change;
    use crate::testing::member;

    fn first() -> View {
        View::new((1..=4).map(member).collect(), 8, 3)
    }

    async fn open(disk: &SimulatedDisk, first: Option<View>) -> Option<Views> {
        Views::open(member(1).id, disk.mount(), first, Found::EmptyAmongOthers, 1).await.unwrap()
    }

    /// As a node of a store that is new.
    async fn found(disk: &SimulatedDisk) -> Views {
        let views = open(disk, Some(first())).await.unwrap();
        views.forgot_nothing().await.unwrap();
        views
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_view_and_the_last_vote_outlive_a_power_cut() {
        let disk = SimulatedDisk::new();
        let mut random = quorate_env::Random::from_seed(1).stream("cut");
        let ballot = |round| Ballot { round, proposer: member(1).id };
        let views = found(&disk).await;
        let next = first().successor(&Change::Join(member(5))).unwrap();
        assert!(matches!(views.vote(2, ballot(5), None).await.unwrap(), Some(Vote::Promise(None))));
        disk.power_cut(&mut random);
        let views = open(&disk, None).await.unwrap();
        assert_eq!(views.vote(2, ballot(4), None).await.unwrap(), Some(Vote::Outrun(ballot(5))));
        assert!(views.learn(next.clone()).await.unwrap());
        assert!(!views.learn(first()).await.unwrap(), "an older view is never taken");
        disk.power_cut(&mut random);
        let views = open(&disk, Some(first())).await.unwrap();
        assert_eq!(*views.current(), next);
        assert_eq!(views.vote(2, ballot(9), None).await.unwrap(), None, "that view is chosen");
        assert!(open(&SimulatedDisk::new(), None).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn phases_follow_the_reports() {
        let disk = SimulatedDisk::new();
        let views = open(&disk, Some(first())).await.unwrap();
        assert_eq!(views.next_phase(2), None);
        let copying = first().successor(&Change::Join(member(5))).unwrap();
        views.learn(copying.clone()).await.unwrap();
        assert_eq!(views.next_phase(2), None, "the new node has not merged anything");
        let at =
            |view: &View, transferred| Report { version: view.version(), transferred, lost: BTreeSet::new() };
        views.heard(member(5).id, at(&copying, false));
        assert_eq!(views.next_phase(2), None);
        views.heard(member(5).id, at(&copying, true));
        let reading = views.next_phase(2).unwrap();
        assert_eq!(reading.version().phase, Phase::ReadingNew);
        views.learn(reading.clone()).await.unwrap();
        assert_eq!(views.next_phase(2), None, "the others may still read the old owners");
        for n in 2..=4 {
            views.heard(member(n).id, at(&reading, true));
        }
        assert_eq!(views.next_phase(2).unwrap().version().phase, Phase::Stable);
    }

    #[tokio::test(start_paused = true)]
    async fn views_that_cannot_be_are_neither_learned_nor_voted_for() {
        let views = found(&SimulatedDisk::new()).await;
        let ballot = Ballot { round: 1, proposer: member(1).id };
        let next = first().successor(&Change::Join(member(5))).unwrap();
        let of_another_chain = View::new((1..=4).map(member).collect(), 16, 3);
        let of_another_chain = of_another_chain.successor(&Change::Join(member(5))).unwrap();
        let of_a_later_epoch = next.advanced().advanced().successor(&Change::Leave(member(5).id)).unwrap();
        assert!(!views.learn(of_another_chain.clone()).await.unwrap());
        for wrong in [of_another_chain, of_a_later_epoch, next.advanced()] {
            assert_eq!(views.vote(2, ballot, Some(wrong)).await.unwrap(), None);
        }
        assert_eq!(*views.current(), first());
        assert_eq!(views.vote(2, ballot, Some(next)).await.unwrap(), Some(Vote::Accepted));
    }

    #[tokio::test(start_paused = true)]
    async fn only_those_who_take_part_are_heard_and_only_as_long() {
        let views = open(&SimulatedDisk::new(), Some(first())).await.unwrap();
        let copying = first().successor(&Change::Join(member(5))).unwrap();
        views.learn(copying.clone()).await.unwrap();
        let report = |epoch| Report {
            version: ViewVersion { epoch, ..copying.version() },
            transferred: true,
            lost: BTreeSet::from([member(3).id, member(9).id]),
        };
        views.heard(member(9).id, report(2));
        views.heard(member(2).id, report(7));
        assert!(views.lost().is_empty(), "of a change that this node knows nothing of");
        views.heard(member(2).id, report(2));
        assert_eq!(views.lost(), BTreeSet::from([member(3).id]));
        assert_eq!(lock(&views.reports).keys().copied().collect::<Vec<_>>(), [member(2).id]);
        let gone = copying.advanced().advanced().successor(&Change::Leave(member(2).id)).unwrap();
        views.learn(gone.advanced().advanced()).await.unwrap();
        assert!(lock(&views.reports).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_does_not_wait_for_whom_somebody_said_to_be_gone() {
        let views = open(&SimulatedDisk::new(), Some(first())).await.unwrap();
        assert!(!views.declare_lost(member(3).id), "nothing is under way");
        let copying = first().successor(&Change::Join(member(5))).unwrap();
        views.learn(copying.clone()).await.unwrap();
        assert_eq!(views.next_phase(1), None);
        assert!(!views.declare_lost(member(9).id), "not a member");
        assert!(views.declare_lost(member(5).id));
        let reading = views.next_phase(1).unwrap();
        views.learn(reading.clone()).await.unwrap();
        let at = |view: &View, lost: &[Member]| Report {
            version: view.version(),
            transferred: true,
            lost: lost.iter().map(|m| m.id).collect(),
        };
        views.heard(member(2).id, at(&reading, &[]));
        views.heard(member(4).id, at(&reading, &[]));
        assert_eq!(views.next_phase(1), None, "n3 may still answer gets of the phase before, and R is 1");
        views.heard(member(4).id, at(&reading, &[member(3)]));
        assert_eq!(views.own_report().lost.len(), 2, "n3 is lost, as n4 was told");
        let stable = views.next_phase(1).unwrap();
        views.learn(stable.clone()).await.unwrap();
        assert!(views.lost().is_empty(), "the next change begins with everybody");
        views.learn(stable.successor(&Change::Leave(member(3).id)).unwrap()).await.unwrap();
        assert!(views.lost().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_was_lost_took_votes_with_it() {
        let disk = SimulatedDisk::new();
        let ballot = |round| Ballot { round, proposer: member(2).id };
        let views = open(&disk, Some(first())).await.unwrap();
        assert!(views.abstains().await);
        assert_eq!(views.vote(2, ballot(1), None).await.unwrap(), None);
        let next = first().successor(&Change::Join(member(5))).unwrap();
        let accepted = Accepted { ballot: ballot(3), value: next.clone() };
        assert!(!views.recover(7, ballot(9), None).await.unwrap(), "it decides on epoch 2");
        assert!(views.recover(2, ballot(9), Some(accepted.clone())).await.unwrap());
        let views = open(&disk, None).await.unwrap();
        assert_eq!(views.vote(2, ballot(8), None).await.unwrap(), Some(Vote::Outrun(ballot(9))));
        assert_eq!(views.vote(2, ballot(10), None).await.unwrap(), Some(Vote::Promise(Some(accepted))));
    }

    /// What the other first members say who know this node by that disk.
    fn answers(own: u64) -> BTreeMap<NodeId, Disks> {
        let answer = |n: u64| {
            let mut disks = Disks::new(member(n).id, n, false);
            disks.note(member(1).id, own);
            (member(n).id, disks)
        };
        (2..=4).map(answer).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_becomes_a_member_may_have_been_one_before_and_votes_only_after_the_others() {
        let disk = SimulatedDisk::new();
        let five = async |first| {
            Views::open(member(5).id, disk.mount(), first, Found::EmptyAmongOthers, 5).await.unwrap().unwrap()
        };
        let views = five(Some(first())).await;
        assert!(!views.abstains().await, "nobody asks it");
        let joined = first().successor(&Change::Join(member(5))).unwrap();
        views.learn(joined.clone()).await.unwrap();
        let ballot = |round| Ballot { round, proposer: member(2).id };
        for views in [views, five(None).await] {
            assert!(views.abstains().await);
            assert_eq!(views.vote(3, ballot(1), None).await.unwrap(), None);
        }
        let views = five(None).await;
        assert!(views.recover(3, ballot(7), None).await.unwrap());
        views.learn(joined.advanced().advanced()).await.unwrap();
        assert_eq!(views.vote(3, ballot(8), None).await.unwrap(), Some(Vote::Promise(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_of_a_new_store_votes_once_all_others_know_its_disk() {
        let disk = SimulatedDisk::new();
        let views = open(&disk, Some(first())).await.unwrap();
        let own = views.maybe_first_disk().await.unwrap();
        let mut some = answers(own);
        some.remove(&member(3).id);
        assert!(!views.judge_disk(&some).await.unwrap() && views.abstains().await);
        let views = open(&disk, None).await.unwrap();
        assert_eq!(views.maybe_first_disk().await, Some(own), "a restart changes nothing");
        assert!(views.judge_disk(&answers(own)).await.unwrap() && !views.abstains().await);
        let known = views.introduced(member(2).id, 9).await.unwrap().unwrap();
        assert_eq!(known.of(member(2).id), Some(2), "the first disk that was told, even by an answer");
        assert_eq!(views.introduced(member(5).id, 5).await.unwrap(), None, "a stranger");
        views.learn(first().successor(&Change::Join(member(5))).unwrap()).await.unwrap();
        assert_eq!(views.introduced(member(2).id, 2).await.unwrap(), None, "no longer the first view");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_known_by_another_disk_never_takes_its_own_for_the_first() {
        let disk = SimulatedDisk::new();
        let views = open(&disk, Some(first())).await.unwrap();
        let own = views.maybe_first_disk().await.unwrap();
        let mut said = answers(own);
        said.extend(answers(own + 1).into_iter().take(1));
        assert!(!views.judge_disk(&said).await.unwrap() && views.abstains().await);
        let views = open(&disk, None).await.unwrap();
        assert_eq!(views.maybe_first_disk().await, None);
        assert!(!views.judge_disk(&answers(own)).await.unwrap() && views.abstains().await);
        assert!(views.introduced(member(2).id, 2).await.unwrap().unwrap().lost_one(), "nor vouches");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_node_gains_it_does_not_hold_even_if_it_slept_through_the_change() {
        let views = Views::open(
            member(5).id,
            SimulatedDisk::new().mount(),
            Some(first()),
            Found::EmptyAmongOthers,
            5,
        );
        let views = views.await.unwrap().unwrap();
        assert!(views.holdings().gaps().is_empty() && views.voteless().is_empty());
        let copying = first().successor(&Change::Join(member(5))).unwrap();
        views.learn(copying.clone()).await.unwrap();
        let gained = copying.gained_by(member(5).id);
        assert_eq!(views.holdings().gaps().into_keys().collect::<Vec<_>>(), gained);
        assert!(views.voteless().is_empty(), "gets still ask the owners before");
        assert!(!views.own_report().transferred);
        views.learn(copying.advanced().advanced()).await.unwrap();
        assert_eq!(views.voteless().len(), gained.len(), "the change went on without this node");
        for (partition, mark) in views.holdings().gaps() {
            views.holdings().close(partition, mark);
        }
        assert!(views.own_report().transferred);
        let later = |view: &View, change| view.successor(&change).unwrap().advanced().advanced();
        let two_later =
            later(&later(&copying.advanced().advanced(), Change::Join(member(6))), Change::Join(member(7)));
        views.learn(two_later).await.unwrap();
        assert!(
            views.voteless().iter().any(|(_, why)| *why == Gap::Doubt),
            "it may have been no owner in between"
        );
    }
}
