//! Drives one node's [`Detector`] over the links to its peers: one task, which never waits for
//! a peer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_env::Random;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Board, Datagram, Detector, Effect, GossipId};
use crate::config::NodeId;
use crate::membership::{View, Views, catch_up};
use crate::metrics::Metrics;
use crate::rpc::Peers;

/// Datagrams heard that may wait for the detector; more are lost.
pub const HEARD_MAX: usize = 1024;
/// The board is written anew so often at most: it lists every member, and in a large cluster there may
/// be thousands of messages a second that change one.
const SHOW_PERIOD: Duration = Duration::from_millis(100);
/// With no timer running, anything will do.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// One node's gossip.
pub struct Gossiper {
    /// This node's life.
    pub me: GossipId,
    /// Who may take part.
    pub views: Arc<Views>,
    /// The ways to them.
    pub peers: Arc<Peers>,
    /// What peers sent.
    pub heard: mpsc::Receiver<(NodeId, Datagram)>,
    /// Where to write who is alive.
    pub board: Arc<Board>,
    /// Told of nodes that hold a newer view; see [`pull_newer_views`].
    pub newer_views: mpsc::Sender<NodeId>,
    /// Root of its randomness.
    pub random: Random,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Gossiper {
    /// Gossips for ever.
    pub async fn run(mut self) {
        let origin = Instant::now();
        let mut watch = self.views.watch();
        let mut detector = Detector::new(self.me, self.random);
        self.take_view(&mut detector, Duration::ZERO);
        let (mut is_shown, mut show_at) = (false, Duration::ZERO);
        loop {
            self.carry_out(&mut detector);
            let now = origin.elapsed();
            if !is_shown && now >= show_at {
                self.board.set(detector.seen());
                (is_shown, show_at) = (true, now + SHOW_PERIOD);
            }
            let mut due = detector.next_deadline().unwrap_or(now + NOTHING_DUE);
            if !is_shown {
                due = due.min(show_at);
            }
            tokio::select! {
                biased;
                heard = self.heard.recv() => match heard {
                    Some((from, datagram)) => {
                        detector.receive(origin.elapsed(), from, &datagram);
                        // However much is heard, what is due is done.
                        detector.tick(origin.elapsed());
                    }
                    None => return,
                },
                () = watch.changed() => self.take_view(&mut detector, origin.elapsed()),
                () = sleep_until(origin + due) => detector.tick(origin.elapsed()),
            }
            is_shown = false;
        }
    }

    fn take_view(&self, detector: &mut Detector, now: Duration) {
        let view = self.views.current();
        let members: BTreeSet<NodeId> = View::everybody(&view).map(|m| m.id).collect();
        detector.set_view(now, view.version(), &members);
    }

    fn carry_out(&self, detector: &mut Detector) {
        for effect in detector.take_effects() {
            match effect {
                Effect::Send { to, datagram } => {
                    let counter = match self.peers.cast(to, datagram) {
                        true => &self.metrics.gossip_sent,
                        false => &self.metrics.gossip_dropped,
                    };
                    counter.add(1);
                }
                Effect::Down(node) => {
                    tracing::info!(node = %self.me.node, peer = %node, "gossip says it is down");
                    self.peers.declare(node, true);
                }
                Effect::Up(node) => {
                    tracing::info!(node = %self.me.node, peer = %node, "gossip says it is there again");
                    self.peers.declare(node, false);
                }
                // One pull at a time; the next message says it again.
                Effect::NewerView { held_by, .. } => drop(self.newer_views.try_send(held_by)),
            }
        }
        self.metrics.gossip_ignored.set(detector.ignored());
    }
}

/// Fetches newer views from those who are said to hold one, for ever.
pub async fn pull_newer_views(
    views: Arc<Views>,
    peers: Arc<Peers>,
    mut holders: mpsc::Receiver<NodeId>,
    wait: Duration,
) {
    while let Some(holder) = holders.recv().await {
        catch_up(&views, &peers, holder, wait).await;
    }
}
