//! Anti-entropy: owners compare the hash trees of the partitions that they share and exchange
//! what differs (Dynamo, section 4.7).
//!
//! Merging is the only thing done with what was found, in both directions, so no older version
//! ever replaces a newer one. What one session with a peer does is in [`super::session`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_env::{Clock, RandomStream};
use rand::{Rng, RngExt};
use tokio::time::sleep;

use super::session::{AskPeers, Session};
use crate::admission::Background;
use crate::config::{NodeId, Timing};
use crate::membership::{View, Views};
use crate::merkle::Salt;
use crate::metrics::Metrics;
use crate::replica::{Replica, Throttle};
use crate::rpc::Peers;

/// How fast trees are built from the disk. A node cannot be compared with before, so this is
/// faster than scrubbing.
const BUILD_BYTES_PER_SECOND: u64 = 128 << 20;

/// Compares one node's copies with those of the other owners.
pub struct AntiEntropy {
    /// This node.
    pub me: NodeId,
    /// Who owns what.
    pub views: Arc<Views>,
    /// This node's copies.
    pub replica: Arc<Replica>,
    /// The other owners.
    pub peers: Arc<Peers>,
    /// For the time a clean round began.
    pub clock: Arc<dyn Clock>,
    /// Jitters the period, so that nodes do not all compare at once.
    pub random: RandomStream,
    /// A round in about this time.
    pub period: Duration,
    /// How long to wait for an answer.
    pub timing: Timing,
    /// Lets the work go on.
    pub background: Arc<Background>,
    /// Counts rounds and differences.
    pub metrics: Arc<Metrics>,
}

impl AntiEntropy {
    /// Compares for ever.
    pub async fn run(mut self) {
        // Before the first round, because the other owners cannot compare without them.
        let mut throttle = Throttle::new(BUILD_BYTES_PER_SECOND).yielding(&self.background);
        self.ready_trees(&mut throttle).await;
        // The first round of a node that may lack something must not wait.
        let mut pause = if self.replica.lacking().is_nothing() {
            self.jittered()
        } else {
            // But not before the writes are through whose first holder forgot them.
            self.timing.request.max(self.period / 10)
        };
        loop {
            sleep(pause).await;
            let goes_on = self.round(&mut throttle).await;
            pause = if goes_on { self.jittered() / 4 } else { self.jittered() };
        }
    }

    fn jittered(&mut self) -> Duration {
        self.period.mul_f64(self.random.random_range(0.75..1.25))
    }

    /// Compares every partition with each of its other owners. Whether something was exchanged and
    /// then broke off: there is reason to go on soon.
    async fn round(&mut self, throttle: &mut Throttle) -> bool {
        self.metrics.anti_entropy_rounds.add(1);
        let began_ns = self.clock.monotonic_ns();
        let lacking = self.replica.lacking();
        // Votes hang on a round that nothing escapes.
        let exact = !lacking.is_nothing();
        let salt = Salt { salt: self.random.next_u32(), exact };
        let view = self.views.current();
        let mut unmerged: BTreeSet<u32> = view.partitions_written_to(self.me).into_iter().collect();
        unmerged.retain(|partition| self.replica.is_filling(*partition));
        let mut clean = self.ready_trees(throttle).await && unmerged.is_empty();
        let mut goes_on = false;
        for (peer, partitions) in self.shared(&view) {
            let session = Session {
                peer,
                replica: &self.replica,
                ask: AskPeers { peers: &self.peers, view: view.version(), wait: self.timing.request },
                salt,
                pause: self.timing.probe,
                metrics: &self.metrics,
                differing: 0,
            };
            let _operation = self.views.begin();
            let outcome = session.run(&partitions, throttle).await;
            self.metrics.anti_entropy_differences.add(outcome.differing);
            clean &= outcome.is_same;
            goes_on |= !outcome.unfinished.is_empty() && outcome.differing > 0;
            unmerged.extend(outcome.unfinished);
        }
        if exact {
            let own: BTreeSet<u32> = view.partitions_written_to(self.me).into_iter().collect();
            let is_merged = |partition: u32| own.contains(&partition) && !unmerged.contains(&partition);
            self.replica.repaired(&lacking, is_merged).await;
        }
        if clean {
            self.metrics.anti_entropy_clean_ns.store(began_ns, Ordering::Release);
        }
        goes_on
    }

    /// The partitions shared with each other owner, but for those that are being filled.
    fn shared(&self, view: &View) -> BTreeMap<NodeId, Vec<u32>> {
        let mut shared: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        let own = view.partitions_written_to(self.me).into_iter();
        for partition in own.filter(|partition| !self.replica.is_filling(*partition)) {
            for owner in view.write_owners(partition).into_iter().filter(|owner| *owner != self.me) {
                shared.entry(owner).or_default().push(partition);
            }
        }
        shared
    }

    /// Builds the trees that are missing, too flat or in doubt. False when one cannot be built.
    async fn ready_trees(&self, throttle: &mut Throttle) -> bool {
        let own: BTreeSet<u32> = self.views.current().partitions_written_to(self.me).into_iter().collect();
        self.replica.retain_trees(&own);
        let mut all = true;
        for partition in own {
            if let Err(error) = self.replica.ready_tree(partition, 0, throttle).await {
                tracing::warn!(partition, %error, "own copies cannot be compared");
                all = false;
            }
        }
        all
    }
}
