//! Carries out changes of the members, from any node.
//!
//! A majority of the members must answer: a change that only a minority knows of would be
//! undone, or worse, by what the majority does meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_env::{Env, RandomStream};
use rand::RngExt;
use tokio::time::{sleep, timeout};

use super::{Ballot, Change, ChangeError, Proposer, Step, View, Views, Vote};
use crate::config::{Member, NodeId, Timing};
use crate::rpc::{Peers, Request, Response};

/// How far above all known ballots a node begins that may have forgotten its promises: more rounds
/// than all administrators can have used up unnoticed.
const ROUNDS_FORGOTTEN: u64 = 1 << 32;

/// Attempts before a change is given up.
const ATTEMPTS_MAX: u64 = 10;

/// Why a change did not happen, or is not known to have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AdministrationError {
    /// It makes no sense in the current view.
    #[error(transparent)]
    Refused(#[from] ChangeError),
    /// An earlier change is under way, which goes on without the node that is to be removed.
    #[error(
        "the change under way (view {under_way}) goes on without {node} from now on; ask again once it is through"
    )]
    GoesOnWithout {
        /// Who is gone for good.
        node: NodeId,
        /// What is under way.
        under_way: super::ViewVersion,
    },
    /// Somebody else's change was chosen.
    #[error("another change was made at the same time (now view {0}); look at the members and try again")]
    Outrun(super::ViewVersion),
    /// The members changed more than once meanwhile.
    #[error(
        "the members changed more than once meanwhile (now view {0}), perhaps in this way too; look at them before trying again"
    )]
    Overtaken(super::ViewVersion),
    /// Too few members answered.
    #[error(
        "no majority of the {members} members answered; the change may still be made by the next one who tries"
    )]
    NoMajority {
        /// Who was asked.
        members: usize,
    },
    /// A node that is to join a linearizable store does not say as which disk it will vote.
    #[error("{node} does not answer at {address} ({why}); start it first, then add it")]
    Absent {
        /// Which.
        node: NodeId,
        /// Where it was looked for.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// A majority is left, which decides by itself.
    #[error(
        "{left} of {members} members are left, which is a majority: remove the dead one by one (`remove NODE --dead`)"
    )]
    MajorityLeft {
        /// How many would be left.
        left: usize,
        /// Of how many.
        members: usize,
    },
    /// Somebody who is said to be lost answers.
    #[error("{0} answers, so it is not lost; nothing was changed")]
    NotLost(NodeId),
    /// Somebody who is not said to be lost does not answer.
    #[error("{0} does not answer: bring it back, or say that it is lost too; nothing was changed")]
    Silent(NodeId),
    /// This node's disk failed.
    #[error("the view cannot be written: {0}")]
    Disk(String),
}

impl AdministrationError {
    /// False only if the change was not made.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Outrun(_) | Self::Absent { .. } => false,
            Self::MajorityLeft { .. } | Self::NotLost(_) | Self::Silent(_) => false,
            Self::GoesOnWithout { .. } | Self::Overtaken(_) | Self::NoMajority { .. } | Self::Disk(_) => true,
        }
    }
}

/// Changes the members.
pub struct Administrator {
    me: NodeId,
    views: Arc<Views>,
    peers: Arc<Peers>,
    timing: Timing,
    random: tokio::sync::Mutex<RandomStream>,
}

impl Administrator {
    /// An administrator on node `me`.
    #[must_use]
    pub fn new(env: &Env, me: NodeId, views: Arc<Views>, peers: Arc<Peers>, timing: Timing) -> Self {
        let random = tokio::sync::Mutex::new(env.random.stream("administrator"));
        Self { me, views, peers, timing, random }
    }

    /// Has `change` chosen as the next view and tells everybody.
    ///
    /// # Errors
    /// See [`AdministrationError`].
    pub async fn change(&self, change: Change) -> Result<Arc<View>, AdministrationError> {
        let before = self.views.current();
        if let Change::Remove(node) = change
            && self.views.declare_lost(node)
        {
            return Err(AdministrationError::GoesOnWithout { node, under_way: before.version() });
        }
        let mut wanted = before.successor(&change)?;
        if let (Change::Join(member), true) = (&change, before.is_linearizable()) {
            let asked = self.peers.ask_stranger(member.id, &member.peer, Request::VoterName).await;
            let absent =
                |why| AdministrationError::Absent { node: member.id, address: member.peer.clone(), why };
            wanted = match asked {
                Ok(Response::VoterName(disk)) => wanted.naming(member.id, disk),
                Ok(_) => return Err(absent("it answered something else".into())),
                Err(why) => return Err(absent(why)),
            };
        }
        let mut round = 1;
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(&before, &wanted, round).await {
                Attempt::Chosen(view) => {
                    self.announce(&before, &view).await?;
                    return came_of(&wanted, &Arc::new(*view)).map(|_| self.views.current());
                }
                Attempt::Outrun(by) => round = by.max(round) + 1,
                Attempt::NoMajority => round += 1,
            }
            let current = self.views.current();
            // A fence meanwhile changes nobody's membership.
            if current.version().epoch != before.version().epoch {
                return came_of(&wanted, &current);
            }
            let pause = self.random.lock().await.random_range(0.2..1.0);
            sleep(self.timing.hand_over.mul_f64(pause)).await;
        }
        Err(AdministrationError::NoMajority { members: before.members().len() })
    }

    /// Orders the next view after so many members were `lost` for good that the rest is no majority. What
    /// only those had is lost with them. Somebody must be sure that they never come back on their disks:
    /// they could go on by themselves, and nobody would be left to tell the two apart.
    ///
    /// # Errors
    /// See [`AdministrationError`]. A change under way goes on without the lost from now on; ask again
    /// once it is through.
    pub async fn order(
        &self,
        lost: &BTreeSet<NodeId>,
        join: &[Member],
    ) -> Result<Arc<View>, AdministrationError> {
        let before = self.views.current();
        let wanted = before.without_lost(lost, join);
        if matches!(wanted, Err(ChangeError::UnderWay(_))) {
            for node in lost {
                self.views.declare_lost(*node);
            }
        }
        let wanted = wanted?;
        let members = before.members().len();
        let left = before.members().iter().filter(|member| !lost.contains(&member.id)).count();
        if left > members / 2 {
            return Err(AdministrationError::MajorityLeft { left, members });
        }
        if lost.contains(&self.me) {
            return Err(AdministrationError::NotLost(self.me));
        }
        let mut versions = BTreeMap::new();
        let mut asked = self.ask_all(&self.others(), Request::FetchView);
        while let Some((from, response)) = asked.next().await {
            if let Some(Response::View(view)) = response {
                versions.insert(from, view.version());
            }
        }
        if let Some(alive) = lost.iter().find(|node| versions.contains_key(node)) {
            return Err(AdministrationError::NotLost(*alive));
        }
        if let Some(silent) =
            self.others().into_iter().find(|n| !lost.contains(n) && !versions.contains_key(n))
        {
            return Err(AdministrationError::Silent(silent));
        }
        if let Some(newer) = versions.values().max().filter(|version| **version > before.version()) {
            return Err(AdministrationError::Outrun(*newer));
        }
        for member in join {
            let asked = self.peers.ask_stranger(member.id, &member.peer, Request::Ping).await;
            if let Err(why) = asked {
                let (node, address) = (member.id, member.peer.clone());
                return Err(AdministrationError::Absent { node, address, why });
            }
        }
        let disk = |e: std::io::Error| AdministrationError::Disk(e.to_string());
        if !self.views.take_order(wanted.clone()).await.map_err(disk)? {
            return Err(AdministrationError::Outrun(self.views.current().version()));
        }
        let order = Request::TakeOrder { view: Box::new(wanted.clone()) };
        let mut untold = self.others();
        for _ in 0..ATTEMPTS_MAX {
            let mut asked = self.ask_all(&untold, order.clone());
            while let Some((from, response)) = asked.next().await {
                untold.retain(|node| *node != from || response != Some(Response::Learned));
            }
            if untold.is_empty() {
                break;
            }
            sleep(self.timing.hand_over).await;
        }
        for node in untold {
            tracing::warn!(%node, "has not heard of the view that was ordered");
        }
        Ok(self.views.current())
    }

    /// Makes this node vote if all other first members say that its disk is the first that it ever
    /// had. Says whether it does; if not, it must be tried again, or [recovered](Self::recover).
    pub async fn introduce(&self) -> bool {
        let Some(disk) = self.views.maybe_first_disk().await else { return false };
        let mut answers = BTreeMap::new();
        let mut asked = self.ask_all(&self.others(), Request::Introduce { disk });
        while let Some((from, response)) = asked.next().await {
            if let Some(Response::Introduced(disks)) = response {
                answers.insert(from, disks);
            }
        }
        self.views.judge_disk(&answers).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "it cannot be noted whose disks are known");
            false
        })
    }

    /// All members but this node.
    fn others(&self) -> Vec<NodeId> {
        self.views.current().members().iter().map(|m| m.id).filter(|id| *id != self.me).collect()
    }

    /// Makes this node vote again after its disk, and with it votes that it gave, was lost. Says
    /// whether it does; if not, too few others answered, and it must be tried again.
    pub async fn recover(&self) -> bool {
        let epoch = self.views.current().version().epoch + 1;
        let others = self.others();
        // Without these, this node and the rest are no majority. The only member needs nobody.
        let needed = (others.len() + 1).div_ceil(2).min(others.len());
        let mut ballot = Ballot { round: ROUNDS_FORGOTTEN, proposer: self.me };
        for _ in 0..ATTEMPTS_MAX {
            let mut promises = Vec::new();
            let mut outrun = None;
            let mut asked = self.ask_all(&others, Request::Vote { epoch, ballot, view: None });
            while let Some((_, response)) = asked.next().await {
                match response {
                    Some(Response::Vote(Some(vote))) => match *vote {
                        Vote::Promise(accepted) => promises.push(accepted),
                        Vote::Outrun(by) => outrun = outrun.max(Some(by.round)),
                        Vote::Accepted => {}
                    },
                    _ => continue,
                }
                if promises.len() >= needed {
                    break;
                }
            }
            if promises.len() >= needed {
                let highest = promises.into_iter().flatten().max_by_key(|accepted| accepted.ballot);
                return matches!(self.views.recover(epoch, ballot, highest).await, Ok(true));
            }
            match outrun {
                Some(round) => ballot.round = round.saturating_add(ROUNDS_FORGOTTEN),
                None => return false,
            }
        }
        false
    }

    /// One ballot.
    async fn attempt(&self, before: &View, wanted: &View, round: u64) -> Attempt {
        let epoch = wanted.version().epoch;
        let ballot = Ballot { round, proposer: self.me };
        let voters: Vec<NodeId> = before.members().iter().map(|m| m.id).collect();
        let mut proposer = Proposer::new(voters.len(), wanted.clone());
        let mut asked = self.ask_all(&voters, Request::Vote { epoch, ballot, view: None });
        while let Some((from, response)) = asked.next().await {
            let Some(Response::Vote(Some(vote))) = response else { continue };
            match proposer.on(from, *vote) {
                Step::Wait => {}
                Step::Propose(view) => {
                    let view = Some(Box::new(view));
                    asked = self.ask_all(&voters, Request::Vote { epoch, ballot, view });
                }
                Step::Chosen(view) => return Attempt::Chosen(Box::new(view)),
                Step::Outrun(by) => return Attempt::Outrun(by.round),
            }
        }
        Attempt::NoMajority
    }

    fn ask_all<'a>(&'a self, nodes: &[NodeId], request: Request) -> FuturesUnordered<Asked<'a>> {
        nodes.iter().map(|node| self.ask(*node, request.clone())).collect()
    }

    fn ask(&self, node: NodeId, request: Request) -> Asked<'_> {
        Box::pin(async move {
            if node != self.me {
                let view = self.views.current().version();
                return (node, self.peers.call(node, view, request, self.wait()).await.ok());
            }
            let Request::Vote { epoch, ballot, view } = request else { return (node, None) };
            let vote = self.views.vote(epoch, ballot, view.map(|v| *v)).await.ok();
            (node, vote.map(|vote| Response::Vote(vote.map(Box::new))))
        })
    }

    /// Tells everybody of the old and the new view. Who does not hear it now asks later.
    async fn announce(&self, before: &View, view: &View) -> Result<(), AdministrationError> {
        self.views.learn(view.clone()).await.map_err(|e| AdministrationError::Disk(e.to_string()))?;
        let mut told: FuturesUnordered<_> = before
            .everybody()
            .chain(view.everybody())
            .map(|m| m.id)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .filter(|node| *node != self.me)
            .map(|node| {
                let learn = Request::LearnView { view: Box::new(view.clone()) };
                self.peers.call(node, view.version(), learn, self.wait())
            })
            .collect();
        let _ = timeout(self.wait(), async { while told.next().await.is_some() {} }).await;
        Ok(())
    }

    fn wait(&self) -> Duration {
        self.timing.stall()
    }
}

/// What came of a change that would lead to the view `wanted`, now that the view is `current`. Whoever
/// meets a change half made completes it, so another administrator may have made this one.
fn came_of(wanted: &View, current: &Arc<View>) -> Result<Arc<View>, AdministrationError> {
    let (version, epoch) = (current.version(), wanted.version().epoch);
    if version.epoch > epoch {
        Err(AdministrationError::Overtaken(version))
    } else if current.makes_the_change_of(wanted) {
        Ok(Arc::clone(current))
    } else {
        Err(AdministrationError::Outrun(version))
    }
}

type Asked<'a> = std::pin::Pin<Box<dyn Future<Output = (NodeId, Option<Response>)> + Send + 'a>>;

enum Attempt {
    Chosen(Box<View>),
    Outrun(u64),
    NoMajority,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::testing::member;

    #[test]
    fn a_change_that_somebody_else_completed_was_made() {
        let before = View::new((1..=5).map(member).collect(), 8, 3);
        let next = |view: &View, change| view.successor(&change).unwrap();
        let leave = |n: u32| Change::Leave(member(n).id);
        let wanted = next(&before, leave(5));
        let came_of = |current: View| {
            let current = Arc::new(current);
            came_of(&wanted, &current)
                .map(|view| assert_eq!(view, current))
                .map_err(|e| (e.maybe_applied(), e))
        };
        let mut ours = wanted.clone();
        for _ in 0..3 {
            assert_eq!(came_of(ours.clone()), Ok(()));
            ours = ours.advanced();
        }
        for change in [leave(4), Change::Remove(member(5).id), Change::Join(member(6))] {
            let other = next(&before, change);
            assert_eq!(came_of(other.clone()), Err((false, AdministrationError::Outrun(other.version()))));
        }
        for change in [leave(4), Change::Join(member(5))] {
            let later = next(&ours, change);
            assert_eq!(came_of(later.clone()), Err((true, AdministrationError::Overtaken(later.version()))));
        }
    }
}
