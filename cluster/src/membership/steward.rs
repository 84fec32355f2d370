//! Keeps a node's view up with the others', and takes a change from phase to phase.
//!
//! While nothing moves, one random member a second is asked what view it is in; while data
//! moves, everybody often. Whoever is behind is given the newer view, so a node that heard of
//! no announcement still holds every record soon.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_env::RandomStream;
use rand::RngExt;
use tokio::time::sleep;

use super::{Phase, Report, Views, bring_up, catch_up};
use crate::config::{NodeId, Timing};
use crate::rpc::{Peers, Request, Response};

/// How often one member is asked while nothing moves.
const CALM: Duration = Duration::from_secs(1);
/// How often everybody is asked while data moves.
const MOVING: Duration = Duration::from_millis(200);

/// One node's upkeep of its view.
pub struct Steward {
    /// The chain.
    pub views: Arc<Views>,
    /// The other nodes.
    pub peers: Arc<Peers>,
    /// R: how many votes a get needs.
    pub read_quorum: usize,
    /// How long to wait.
    pub timing: Timing,
    /// Chooses whom to ask.
    pub random: RandomStream,
}

impl Steward {
    /// Keeps up for ever.
    pub async fn run(mut self) {
        let mut watch = self.views.watch();
        loop {
            let moving = self.views.current().version().phase != Phase::Stable;
            let pause = if moving { MOVING } else { CALM };
            tokio::select! {
                biased;
                () = watch.changed() => self.peers.forget_departed(),
                () = sleep(pause.mul_f64(self.random.random_range(0.8..1.2))) => {}
            }
            let mut others = self.peers.ids();
            if others.is_empty() {
                continue;
            }
            if !moving {
                others = vec![others.swap_remove(self.random.random_range(0..others.len()))];
            }
            self.exchange_reports(&others).await;
            if let Some(next) = self.views.next_phase(self.read_quorum)
                && let Err(error) = self.views.learn(next).await
            {
                tracing::warn!(%error, "the next phase of the view cannot be written");
            }
        }
    }

    async fn exchange_reports(&self, others: &[NodeId]) {
        let report = self.views.own_report();
        let mut reports: FuturesUnordered<_> =
            others.iter().map(|other| self.report_to(*other, report.clone())).collect();
        while reports.next().await.is_some() {}
    }

    async fn report_to(&self, other: NodeId, report: Report) {
        let answer =
            self.peers.call(other, report.version, Request::Report(report), self.timing.stall()).await;
        let Ok(Response::Report(theirs)) = answer else { return };
        let (ours, version) = (self.views.current().version(), theirs.version);
        self.views.heard(other, theirs);
        if version > ours {
            catch_up(&self.views, &self.peers, other, self.timing.stall()).await;
        } else if version < ours {
            bring_up(&self.views, &self.peers, other, self.timing.stall()).await;
        }
    }
}
