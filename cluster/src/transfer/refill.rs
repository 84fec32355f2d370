//! Fills the partitions that this node should hold and does not hold whole: those that it gains by
//! a change of the members, and all of them after its disk was lost.
//!
//! It merges the whole partition of N-W+1 other owners that are whole themselves: one of them is
//! in every quorum that ever acknowledged a write there. Where that cannot be had, because another
//! owner has gaps too, it merges all of them: then nothing more can be found anywhere.
//!
//! New owners ask old ones under the new view, after which those acknowledge nothing under the
//! old one, so nothing can slip in behind. Writes that come meanwhile reach this node by
//! themselves. Why a node that lost its disk waits first: see `membership::Holdings`.
//!
//! Doubts about single records are left to anti-entropy where there is one, which moves only what
//! differs.
//!
//! Registers need votes, not copies: a gap in them is closed by N-W+1 whole owners and by nothing else,
//! and after a loss only once a view names the disk that is filled (`membership::Holdings`), which this
//! asks for. The sources are in that view too, so nothing that the lost votes were part of can come
//! about behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::pull::{Progress, Pull};
use super::session::AskPeers;
use crate::admission::Background;
use crate::config::{NodeId, Timing};
use crate::membership::{Administrator, Change, Gap, Mark, Phase, SAME_BIRTH, View, Views};
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::rpc::{Peers, Standing};

/// Partitions that are filled at the same time.
const PARTITIONS_AT_ONCE: usize = 8;
/// Before the others are asked again whether the store is new: they start about now.
const NEW_RETRY: Duration = Duration::from_millis(50);

/// Fills gaps.
pub struct Refill {
    /// This node.
    pub me: NodeId,
    /// Who owns what, and what is not whole.
    pub views: Arc<Views>,
    /// Where it goes.
    pub replica: Arc<Replica>,
    /// Where it comes from.
    pub peers: Arc<Peers>,
    /// Makes up for votes that went with the disk.
    pub administrator: Arc<Administrator>,
    /// W.
    pub write_quorum: usize,
    /// Whether anti-entropy deals with doubts.
    pub compares: bool,
    /// How long to wait.
    pub timing: Timing,
    /// Lets the work go on.
    pub background: Arc<Background>,
    /// Counts keys.
    pub metrics: Arc<Metrics>,
}

/// What was merged for one gap so far.
struct Filling {
    partition: u32,
    mark: Mark,
    /// Who was asked; of registers the votes of one set of owners must meet.
    of: Vec<NodeId>,
    from: BTreeMap<NodeId, Progress>,
}

/// How a gap stands after a pass.
enum Filled {
    Whole,
    NotYet,
    /// What was taken for a new store is older than this node's disk.
    DiskWasLost,
}

impl Refill {
    /// Fills gaps for ever.
    pub async fn run(self) {
        let ripe = Instant::now() + self.timing.request;
        let mut watch = self.views.watch();
        let mut fillings: BTreeMap<u32, Filling> = BTreeMap::new();
        let mut was_lost = false;
        loop {
            let is_exact = self.views.holdings().is_exact();
            if is_exact {
                self.see_to_votes().await;
            }
            let is_new = self.views.holdings().gaps().values().any(|mark| mark.why == Gap::New);
            let left = self.pass(&mut fillings, &mut was_lost, ripe).await;
            if !left && is_new && !was_lost && !is_exact {
                self.close_what_others_own().await;
            }
            if self.views.abstains().await {
                self.vote_again(left && is_new).await;
            }
            let pause = if left && is_new { NEW_RETRY } else { self.timing.probe };
            tokio::select! {
                biased;
                () = watch.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Notes votes that have rotted or went with a disk, and has a view name the disk that is left.
    async fn see_to_votes(&self) {
        let holdings = self.views.holdings();
        let rotten = self.replica.take_rotten();
        let noted = if rotten.is_empty() { Ok(()) } else { holdings.mark(rotten, Gap::LostDisk).await };
        let has_new = holdings.gaps().values().any(|mark| mark.why == Gap::New);
        let is_late = has_new && self.views.maybe_first_disk().await.is_none();
        let noted = if is_late { noted.and(holdings.disk_was_lost().await) } else { noted };
        if let Err(error) = noted {
            tracing::warn!(%error, "it cannot be noted that votes are missing");
        }
        let view = self.views.current();
        let Some(disk) = holdings.voter_name().filter(|_| !holdings.is_named()) else { return };
        if view.member(self.me).is_none() {
            return;
        }
        if view.version().phase != Phase::Stable {
            // The change under way would wait for what this node can only hold after it.
            self.views.declare_lost(self.me);
            return;
        }
        if let Err(error) = self.administrator.change(Change::Name { node: self.me, disk }).await {
            tracing::debug!(%error, "this node's disk is not named yet");
        }
    }

    /// Goes once over all gaps. Whether some are left that this is to fill.
    async fn pass(&self, fillings: &mut BTreeMap<u32, Filling>, was_lost: &mut bool, ripe: Instant) -> bool {
        let holdings = self.views.holdings();
        let (view, gaps) = self.views.gaps().await;
        // What was merged before more went missing does not count.
        fillings.retain(|partition, filling| gaps.get(partition) == Some(&filling.mark));
        if gaps.is_empty() {
            return false;
        }
        let lost = self.views.lost();
        let mut jobs = Vec::new();
        let mut gaps_to_fill = 0;
        for (partition, mark) in gaps {
            let Some((sources, needed)) = view.sources(self.me, partition, self.write_quorum, &lost) else {
                continue;
            };
            if mark.why == Gap::Doubt && self.compares {
                continue;
            }
            gaps_to_fill += 1;
            if holdings.is_exact() && (mark.why == Gap::New || !holdings.is_named()) {
                continue;
            }
            if mark.why != Gap::LostDisk || holdings.is_exact() || Instant::now() >= ripe {
                let goes_on = |filling: &Filling| !holdings.is_exact() || filling.of == sources;
                let filling = fillings.remove(&partition).filter(goes_on);
                let from = filling.map(|filling| filling.from).unwrap_or_default();
                let of = sources.clone();
                jobs.push((Filling { partition, mark, of, from }, sources, needed));
            }
        }
        if jobs.is_empty() {
            return gaps_to_fill > 0;
        }
        let (mut closed, mut turned_out_lost) = (0, false);
        let mut jobs = jobs.into_iter();
        let mut running: FuturesUnordered<_> =
            jobs.by_ref().take(PARTITIONS_AT_ONCE).map(|job| self.fill(&view, job)).collect();
        while let Some((filling, filled)) = running.next().await {
            match filled {
                Filled::Whole => {
                    holdings.close(filling.partition, filling.mark);
                    closed += 1;
                }
                Filled::NotYet => {
                    holdings.set_stalled(filling.partition, is_stalled(&filling));
                    fillings.insert(filling.partition, filling);
                }
                Filled::DiskWasLost => turned_out_lost = true,
            }
            // What is left is begun anew as that of a lost disk.
            if !turned_out_lost && let Some(job) = jobs.next() {
                running.push(self.fill(&view, job));
            }
        }
        drop(running);
        *was_lost |= turned_out_lost;
        let noted = if turned_out_lost { holdings.disk_was_lost().await } else { holdings.save().await };
        if let Err(error) = noted {
            tracing::warn!(%error, "what is whole cannot be noted");
        }
        if closed > 0 {
            tracing::info!(node = %self.me, closed, of = gaps_to_fill, "partitions are whole");
        }
        closed < gaps_to_fill
    }

    /// Merges one partition of as many owners as it takes, as far as they answer.
    async fn fill(&self, view: &View, job: (Filling, Vec<NodeId>, usize)) -> (Filling, Filled) {
        let (mut filling, mut sources, needed) = job;
        let _operation = self.views.begin();
        sources.sort_by_key(|source| self.peers.is_suspected(*source));
        let ask = AskPeers { peers: &self.peers, view: view.version(), wait: self.timing.request };
        let (partition, why) = (filling.partition, filling.mark.why);
        for source in &sources {
            if is_enough(&filling, needed) || self.views.current().version() != view.version() {
                break;
            }
            let progress = filling.from.entry(*source).or_default();
            let pull = Pull {
                ask: &ask,
                source: *source,
                partition,
                replica: &self.replica,
                background: &self.background,
                metrics: &self.metrics,
            };
            pull.run(progress).await;
            if why == Gap::New && progress.older_by > SAME_BIRTH {
                return (filling, Filled::DiskWasLost);
            }
        }
        let is_exact = self.views.holdings().is_exact();
        let all: BTreeSet<&NodeId> = sources.iter().collect();
        let has_all = !is_exact
            && all.iter().all(|source| filling.from.get(source).is_some_and(|p| p.merged().is_some()));
        let is_enough = is_enough(&filling, needed);
        let is_whole = if is_exact && is_enough {
            self.replica.forget_rotten(partition).await.is_ok()
        } else {
            is_enough || has_all
        };
        let filled = if is_whole { Filled::Whole } else { Filled::NotYet };
        (filling, filled)
    }

    /// Lets this node vote on views, for the first time or again. That needs no records: with too few
    /// members left to fill it from, a dead one must be removed first, and this one may have to vote on it.
    async fn vote_again(&self, store_may_be_new: bool) {
        if self.administrator.introduce().await {
            return;
        }
        // As long as this may be the node's first disk there is no vote that it has forgotten.
        if !store_may_be_new || self.views.maybe_first_disk().await.is_none() {
            self.administrator.recover().await;
        }
    }

    /// In a new store nothing is missing in what others own either. That the store is new is known
    /// from the other owners of what this node owns.
    async fn close_what_others_own(&self) {
        if self.views.current().partitions_written_to(self.me).is_empty() {
            return;
        }
        for (partition, mark) in self.views.holdings().gaps() {
            if mark.why == Gap::New {
                self.views.holdings().close(partition, mark);
            }
        }
        if let Err(error) = self.views.holdings().save().await {
            tracing::warn!(%error, "it cannot be noted that the store is new");
        }
    }
}

/// Whether all is merged that any owner gave, and the rest do not answer.
fn is_stalled(filling: &Filling) -> bool {
    filling.from.values().all(|progress| progress.merged().is_some() || progress.is_untouched())
}

/// Whether enough owners were merged that count.
fn is_enough(filling: &Filling, needed: usize) -> bool {
    let counts = |progress: &&Progress| match progress.merged() {
        Some(Standing::Whole) => true,
        Some(Standing::New) => filling.mark.why == Gap::New,
        Some(Standing::Lacking) | None => false,
    };
    filling.from.values().filter(counts).count() >= needed
}
