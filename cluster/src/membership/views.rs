//! One node's hold on the chain of views: the newest it knows, its part in choosing the next,
//! and what the others report.
//!
//! A view is on disk before it is used, and a vote before it is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_env::Disk;
use serde::{Deserialize, Serialize};

use super::confirmed::Confirmed;
use super::disks::Verdict;
use super::file;
use super::marks::Marks;
use super::newest::{Newest, Watch};
use super::{
    Accepted, Acceptor, Ballot, Disks, Found, Gap, Holdings, Mark, Operation, Phase, Underway, View,
    ViewVersion, Vote,
};
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
    confirmed: Confirmed,
    underway: Arc<Underway>,
    marks: Marks,
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
        let holdings = if view.is_linearizable() {
            let part = (is_member, view.has_part(me));
            let holdings =
                Holdings::of_registers(Arc::clone(&disk), partitions, found, part, new_disk).await?;
            holdings.named(view.disk_of(me)).await?;
            holdings
        } else {
            Holdings::open(Arc::clone(&disk), partitions, found, is_member).await?
        };
        let holdings = Arc::new(holdings);
        file::save(&*disk, DECREE_FILE, &decree).await?;
        let confirmed = Confirmed::open(Arc::clone(&disk), is_new, view.collected()).await?;
        let marks = Marks::open(Arc::clone(&disk))?;
        // What a disk that was used before lacks only the others can tell.
        holdings.set_proven(!(is_member && matches!(found, Found::AsLeft | Found::Doubtful)));
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
            confirmed,
            underway: Arc::default(),
            marks,
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
            confirmed: Confirmed::nowhere(),
            underway: Arc::default(),
            marks: Marks::open(quorate_env::disk::SimulatedDisk::new().mount()).expect("it is empty"),
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
        let is_named = self.holdings.is_named();
        if gaps.is_empty() && is_named {
            return Vec::new();
        }
        let view = self.current();
        let is_read = |partition| view.read_owners(partition).contains(&self.me);
        if !is_named {
            let all = 0..view.placement().partitions();
            return all.filter(|p| is_read(*p)).map(|p| (p, Gap::LostDisk)).collect();
        }
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
        self.take(view, false).await
    }

    /// As [`Views::learn`], of a view that was ordered after a majority of the members was lost
    /// ([`View::without_lost`]). Nobody can have voted on its successor before, so this node votes on it,
    /// whatever it may have forgotten: too few others would be left to make up for that.
    ///
    /// # Errors
    /// As [`Views::learn`].
    pub async fn take_order(&self, view: View) -> io::Result<bool> {
        tracing::warn!(node = %self.me, view = %view.version(), "a view was ordered without a majority");
        self.take(view, true).await
    }

    async fn take(&self, view: View, is_ordered: bool) -> io::Result<bool> {
        let mut decree = self.decree.lock().await;
        let current = self.current();
        if view.version() <= current.version() {
            return Ok(false);
        }
        let view = view.knowing_of(current.collected());
        if !view.follows(&current) {
            tracing::warn!(node = %self.me, view = %view.version(), "a view that cannot be is not taken");
            return Ok(false);
        }
        let is_idle = self.underway.from_before(view.version()) == 0;
        if !self.confirmed.admits(view.collected(), is_idle).await? {
            return Ok(false);
        }
        self.mark_gaps(&view).await?;
        let epoch = view.version().epoch + 1;
        // Whoever becomes a member may have been one before, on a disk that was lost, and have learned
        // of an older view since: it votes once the others have made up for what it may have forgotten.
        let joins = current.member(self.me).is_none() && view.member(self.me).is_some();
        let mut next = decree.clone();
        if decree.epoch != epoch {
            let abstains = !is_ordered && (decree.abstains || joins);
            next = Decree { epoch, acceptor: Acceptor::default(), abstains };
        }
        if next.abstains != decree.abstains {
            file::save(&*self.disk, DECREE_FILE, &next).await?;
        }
        file::save(&*self.disk, VIEW_FILE, &view).await?;
        self.holdings.named(view.disk_of(self.me)).await?;
        *decree = next;
        tracing::info!(node = %self.me, view = %view.version(), fence = view.version().fence, "a new view");
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
            if view.is_linearizable() {
                let last = before.version().epoch;
                let regained = has.into_iter().filter(|p| view.owned_since(*p, self.me) > last);
                self.holdings.mark(regained, Gap::Gained).await?;
            } else {
                self.holdings.mark(has, Gap::Doubt).await?;
            }
        }
        Ok(())
    }

    /// Begins something that reads copies or hints, or carries what was read or received, in the view
    /// that this node is in. To be called before either.
    #[must_use]
    pub fn begin(&self) -> Operation {
        self.underway.begin(self.current().version())
    }

    /// How much of what began before `view` is still under way here.
    #[must_use]
    pub fn under_way_from_before(&self, view: ViewVersion) -> u64 {
        self.underway.from_before(view)
    }

    /// Nothing is left here from before `fence`: nothing under way, nothing kept for others.
    ///
    /// # Errors
    /// When it cannot be made durable; it must not be said then.
    pub async fn confirm(&self, fence: ViewVersion) -> io::Result<()> {
        self.confirmed.confirm(fence).await
    }

    /// Has `keeps` asked from now on whether this node keeps any record.
    pub fn ask_whether_anything_is_kept(&self, keeps: impl Fn() -> bool + Send + Sync + 'static) {
        self.confirmed.ask(Box::new(keeps));
    }

    /// Whether what is kept here may have been deleted since, with nothing left to say so: the node
    /// keeps to an old view until it was started again and [dropped it](Self::dropped_all).
    #[must_use]
    pub fn is_obsolete(&self) -> bool {
        self.confirmed.is_obsolete()
    }

    /// All that was kept here was dropped, and is missing now.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn dropped_all(&self) -> io::Result<()> {
        self.confirmed.dropped_all().await
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
        if decree.epoch != epoch || decree.abstains || !self.holdings.is_proven() {
            return Ok(None);
        }
        let is_next = |view: &View| {
            view.version() == ViewVersion { epoch, phase: Phase::Copying, fence: 0 }
                && view.follows(&self.current())
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

    /// The marks on this node's disk.
    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Notes how far `from`'s disk has come, and says how far it had come before, as far as this node was
    /// told (`marks`).
    pub fn marked(&self, from: NodeId, mark: u64) -> Option<u64> {
        self.marks.heard(from, mark)
    }

    /// What is on this node's disk of how far that of `node` had come.
    #[cfg(test)]
    pub async fn noted_mark(&self, node: NodeId) -> Option<u64> {
        self.marks.noted(node).await
    }

    /// This node's disk is an older state of the one that it had: another remembers that it had come as
    /// far as `remembered`. What it lacks, and which votes it gave since, is not known; it is treated
    /// as a lost disk, and what it holds is merged.
    ///
    /// # Errors
    /// When it cannot be made durable. What came so far counts all the same.
    pub async fn disk_is_old(&self, remembered: u64) -> io::Result<()> {
        tracing::error!(
            node = %self.me, mark = self.marks.own(), remembered,
            "the data directory is older than the one that this node had last: it casts no votes until it is refilled from the other owners"
        );
        {
            let mut disks = self.disks.lock().await;
            let mut next = disks.clone();
            next.lose();
            file::save(&*self.disk, DISKS_FILE, &next).await?;
            *disks = next;
        }
        {
            let mut decree = self.decree.lock().await;
            let next = Decree { abstains: true, ..decree.clone() };
            file::save(&*self.disk, DECREE_FILE, &next).await?;
            *decree = next;
        }
        let partitions = self.current().placement().partitions();
        self.holdings.mark(0..partitions, Gap::LostDisk).await?;
        // Last: until then the next start finds the same out again.
        self.marks.count_up(remembered).await
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
        let is_exact = self.holdings.is_exact();
        match verdict {
            Verdict::First => {
                if is_exact {
                    self.holdings.store_is_new().await?;
                }
                self.forgot_nothing().await?;
            }
            Verdict::Replacement if is_exact => self.holdings.disk_was_lost().await?,
            Verdict::Replacement | Verdict::Unknown => {}
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
                let missing: BTreeSet<NodeId> = lost.iter().filter(|node| !done(node)).copied().collect();
                view.gaining().iter().all(|node| lost.contains(node) || done(node))
                    && view.can_do_without(&missing)
            }
            Phase::ReadingNew => {
                let past = reports.iter().filter(|(_, r)| r.version >= version).map(|(node, _)| *node);
                // Who is gone answers no get in the phase before; but it may still vote.
                let gone = lost.into_iter().filter(|_| !view.is_linearizable());
                view.can_settle(&past.chain(gone).collect(), read_quorum)
            }
        };
        ready.then(|| view.advanced())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
