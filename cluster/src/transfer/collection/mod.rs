//! Collection of deletes: the record of a deleted key is forgotten once nobody can bring back what
//! was deleted. DynamoDB's paper leaves this open; Riak and Cassandra wait for a time and hope.
//!
//! A round, led by the first member and only while everybody answers:
//!
//! 1. Every owner tells which keys are deleted, synced. Those of which all hold equal records are
//!    candidates: no owner shows what was deleted any more, and none will, for records only grow.
//! 2. First fence (`membership::View::fence_begun`): everybody confirms that what began before is
//!    done and then that nothing is kept for others, neither hints nor copies. Deleted values can
//!    now be held only by what began between the two, such as a get that was answered with a hint.
//! 3. Second fence: everybody confirms that this is done too. Nothing deleted is left anywhere; what
//!    is still on its way was sent under an earlier view and is refused.
//! 4. Third fence, known to everybody before anything is forgotten: a node that was not asked, or a
//!    disk put back from before, finds out by it that what it keeps may have been deleted.
//! 5. Every owner forgets the candidates whose records are still the same.
//!
//! An owner that forgot may be given the record again by one that has not yet (repair, a crash before
//! the deletion was synced). That shows no value and covers no new write: it is a candidate of the
//! next round.
//!
//! Whenever anything does not fit, the round is given up, which costs nothing but its fences.

mod round;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_env::{Env, RandomStream};
use rand::RngExt;
use tokio::time::{Instant, sleep};

use self::round::{Stands, Until, agreed, stands};
use crate::admission::Background;
use crate::config::{NodeId, Timing};
use crate::membership::{Phase, View, ViewVersion, Views, bring_up};
use crate::metrics::Metrics;
use crate::planted::{Bug, is_planted};
use crate::replica::{Quiet, ReplicaService, Tombstone, TombstonePage};
use crate::rpc::{Peers, Request, Response, serve};

pub use self::round::GivenUp;

/// Candidates of one round; what is beyond waits for the next.
const CANDIDATES_MAX: usize = 16_384;
/// Keys in one message.
const FORGET_MAX: usize = 512;
/// About what a deleted key costs to read and tell of, in bytes.
const TOLD_BYTES: u64 = 256;
/// Looks at nodes that are not quiet yet, in one stretch of a request's deadline.
const LOOKS: u32 = 60;

/// Collects deletes, if this node is the one to.
pub struct Collection {
    /// This node.
    pub me: NodeId,
    /// Fences.
    pub views: Arc<Views>,
    /// What this node keeps itself.
    pub local: Arc<ReplicaService>,
    /// Everybody else.
    pub peers: Arc<Peers>,
    /// Jitters the period.
    pub random: RandomStream,
    /// For asking this node itself.
    pub env: Env,
    /// A round in about this time.
    pub period: Duration,
    /// How long to wait.
    pub timing: Timing,
    /// Lets the work go on.
    pub background: Arc<Background>,
    /// Counts rounds.
    pub metrics: Arc<Metrics>,
}

/// Candidates by partition.
type Candidates = BTreeMap<u32, Vec<Tombstone>>;

impl Collection {
    /// Collects for ever.
    pub async fn run(mut self) {
        loop {
            sleep(self.period.mul_f64(self.random.random_range(0.75..1.25))).await;
            let view = self.views.current();
            // One leads, because two would only hinder each other; while it is away nothing is
            // collected anyway.
            if view.members().first().is_none_or(|first| first.id != self.me) {
                continue;
            }
            self.metrics.collection_rounds.add(1);
            if let Err(why) = self.round(&view).await {
                self.metrics.collection_given_up(why).add(1);
                tracing::debug!(%why, "nothing was collected this time");
            }
        }
    }

    /// One round; nothing to collect is a round, too.
    async fn round(&self, view: &View) -> Result<(), GivenUp> {
        if view.version().phase != Phase::Stable {
            return Err(GivenUp::Moving);
        }
        if !is_planted(Bug::TombstoneCollectedEarly) {
            self.all_are_well(view).await?;
        }
        let candidates = self.candidates(view).await?;
        if candidates.is_empty() {
            return Ok(());
        }
        if is_planted(Bug::TombstoneCollectedEarly) {
            return self.forget(view, candidates).await;
        }
        let first = self.fence(view.fence_begun(), Until::Quiet).await?;
        let second = self.fence(first.fence_drained(), Until::Quiet).await?;
        let third = self.fence(second.fence_collecting(), Until::There).await?;
        self.forget(&third, candidates).await
    }

    /// Whether everybody is there, in this view, and keeps nothing that would hold the round up.
    async fn all_are_well(&self, view: &View) -> Result<(), GivenUp> {
        let everybody: Vec<NodeId> = view.everybody().map(|m| m.id).collect();
        for (_, said) in self.ask_whether_quiet(&everybody, view.version()).await {
            match stands(&said?, view.version(), Until::Quiet) {
                // What began in an earlier view will be over soon.
                Stands::Done | Stands::NotYet(GivenUp::Busy) => {}
                Stands::NotYet(why) | Stands::Never(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// The deleted keys of which all owners hold the same record.
    async fn candidates(&self, view: &View) -> Result<Candidates, GivenUp> {
        let mut candidates = Candidates::new();
        let mut room = CANDIDATES_MAX;
        for partition in 0..view.placement().partitions() {
            let owners = view.write_owners(partition);
            let told = join_all(owners.iter().map(|owner| self.told_by(*owner, view.version(), partition)));
            let told = told.await.into_iter();
            let mut agreed = if is_planted(Bug::TombstoneCollectedEarly) {
                told.flatten().flatten().collect()
            } else {
                agreed(&told.collect::<Result<Vec<_>, _>>()?)
            };
            agreed.truncate(room);
            room -= agreed.len();
            if !agreed.is_empty() {
                candidates.insert(partition, agreed);
            }
            if room == 0 {
                break;
            }
        }
        Ok(candidates)
    }

    /// The deleted keys of a partition on one of its owners.
    async fn told_by(
        &self,
        owner: NodeId,
        view: ViewVersion,
        partition: u32,
    ) -> Result<Vec<Tombstone>, GivenUp> {
        let mut told = Vec::new();
        let mut after = None;
        loop {
            let request = Request::Tombstones { partition, after: after.take() };
            let page = match self.ask(owner, view, request).await {
                Some(Response::Tombstones(page)) => page,
                Some(Response::OtherView(_)) => return Err(GivenUp::Moving),
                Some(_) => return Err(GivenUp::Disk),
                None => return Err(GivenUp::Unreachable),
            };
            let TombstonePage { tombstones, next } = page;
            self.background.slot(tombstones.len() as u64 * TOLD_BYTES).await;
            told.extend(tombstones);
            match next {
                Some(next) => after = Some(next),
                None => return Ok(told),
            }
        }
    }

    /// Takes the fence `next`, brings everybody behind it, and waits until all stand there as they
    /// should.
    async fn fence(&self, next: Option<View>, until: Until) -> Result<Arc<View>, GivenUp> {
        let next = next.ok_or(GivenUp::Moving)?;
        let fence = next.version();
        self.views.learn(next).await.map_err(|_| GivenUp::Disk)?;
        let view = self.views.current();
        let mut waited_for: Vec<NodeId> = view.everybody().map(|m| m.id).collect();
        let give_up = Instant::now() + 2 * self.timing.request;
        loop {
            if self.views.current().version() != fence {
                return Err(GivenUp::Moving);
            }
            let others: Vec<NodeId> = waited_for.iter().copied().filter(|node| *node != self.me).collect();
            let mut behind = Vec::new();
            let mut pending = None;
            waited_for.clear();
            for (node, said) in self.ask_whether_quiet(&others, fence).await.into_iter().chain(
                // Its own operations are waited for like those of others.
                self.ask_whether_quiet(&[self.me], fence).await,
            ) {
                let stands = match said {
                    Ok(said) => stands(&said, fence, until),
                    Err(GivenUp::Unreachable) => Stands::NotYet(GivenUp::Unreachable),
                    Err(why) => Stands::Never(why),
                };
                match stands {
                    Stands::Done => continue,
                    Stands::Never(why) => return Err(why),
                    Stands::NotYet(why) => {
                        if why == GivenUp::Behind {
                            behind.push(node);
                        }
                        pending = Some(why);
                        waited_for.push(node);
                    }
                }
            }
            let Some(why) = pending else { return Ok(view) };
            if Instant::now() >= give_up {
                return Err(why);
            }
            let told =
                behind.iter().map(|node| bring_up(&self.views, &self.peers, *node, self.timing.stall()));
            if join_all(told).await.is_empty() {
                sleep(self.timing.request / LOOKS).await;
            }
        }
    }

    async fn ask_whether_quiet(
        &self,
        nodes: &[NodeId],
        view: ViewVersion,
    ) -> Vec<(NodeId, Result<Quiet, GivenUp>)> {
        join_all(nodes.iter().map(|node| async move {
            let said = match self.ask(*node, view, Request::Quiet).await {
                Some(Response::Quiet(quiet)) => Ok(quiet),
                Some(_) => Err(GivenUp::Disk),
                None => Err(GivenUp::Unreachable),
            };
            (*node, said)
        }))
        .await
    }

    /// Has all owners forget the candidates.
    async fn forget(&self, view: &View, candidates: Candidates) -> Result<(), GivenUp> {
        for (partition, tombstones) in candidates {
            for tombstones in tombstones.chunks(FORGET_MAX) {
                self.background.slot(tombstones.len() as u64 * TOLD_BYTES).await;
                let asked = view.write_owners(partition).into_iter().map(|owner| {
                    let request = Request::Forget { partition, tombstones: tombstones.to_vec() };
                    self.ask(owner, view.version(), request)
                });
                for answer in join_all(asked).await {
                    match answer {
                        Some(Response::Forgotten(_)) => {}
                        Some(Response::OtherView(_)) => return Err(GivenUp::Moving),
                        Some(_) => return Err(GivenUp::Disk),
                        None if is_planted(Bug::TombstoneCollectedEarly) => {}
                        None => return Err(GivenUp::Unreachable),
                    }
                }
            }
        }
        Ok(())
    }

    /// What `node`, which may be this one, answers; nothing if it does not.
    async fn ask(&self, node: NodeId, view: ViewVersion, request: Request) -> Option<Response> {
        if node != self.me {
            return self.peers.call(node, view, request, self.timing.request).await.ok();
        }
        let deadline = Instant::now() + self.timing.request;
        serve(Arc::clone(&self.local), &self.env, &self.views, (self.me, view, request), deadline).await
    }
}
