//! The scrubber: reads every record now and then, so that rot is found before it is needed.
//!
//! A damaged record casts no vote and drops out of its partition's tree; the next round of
//! anti-entropy sees the difference and repairs it from the other owners, though nobody ever
//! reads it. What is gone without a trace shows as a tree that differs from the one kept so far.

use std::sync::Arc;
use std::time::Duration;

use quorate_env::RandomStream;
use rand::RngExt;
use tokio::time::sleep;

use crate::admission::Background;
use crate::config::NodeId;
use crate::membership::Views;
use crate::metrics::Metrics;
use crate::replica::{Replica, Throttle, Walked};

/// How fast records are read: slow enough for nobody to notice, fast enough for 300 GiB a day.
const BYTES_PER_SECOND: u64 = 4 << 20;

/// Verifies one node's records.
pub struct Scrubber {
    /// This node.
    pub me: NodeId,
    /// Who owns what.
    pub views: Arc<Views>,
    /// The records.
    pub replica: Arc<Replica>,
    /// Jitters the period, so that nodes do not all read at once.
    pub random: RandomStream,
    /// From the end of one walk over all records to the next, about.
    pub period: Duration,
    /// Whether anti-entropy needs the trees that a walk builds.
    pub keep_trees: bool,
    /// Lets the walk go on.
    pub background: Arc<Background>,
    /// Counts records and damage.
    pub metrics: Arc<Metrics>,
}

impl Scrubber {
    /// Walks for ever.
    pub async fn run(mut self) {
        let mut throttle = Throttle::new(BYTES_PER_SECOND).yielding(&self.background);
        loop {
            sleep(self.period.mul_f64(self.random.random_range(0.75..1.25))).await;
            self.walk(&mut throttle).await;
        }
    }

    async fn walk(&self, throttle: &mut Throttle) {
        for partition in self.views.current().partitions_written_to(self.me) {
            match self.replica.walk_partition(partition, 0, throttle).await {
                Ok(walked) => self.count(walked, Some(partition)),
                Err(error) => tracing::warn!(partition, %error, "records cannot be verified"),
            }
        }
        match self.replica.walk_hints(throttle).await {
            Ok(walked) => self.count(walked, None),
            Err(error) => tracing::warn!(%error, "hints cannot be verified"),
        }
        if !self.keep_trees {
            self.replica.retain_trees(&std::collections::BTreeSet::new());
        }
        self.metrics.scrub_walks.add(1);
    }

    fn count(&self, walked: Walked, partition: Option<u32>) {
        self.metrics.scrub_records.add(walked.records);
        self.metrics.scrub_damaged.add(walked.damaged);
        if walked.mismatch {
            self.metrics.tree_mismatches.add(1);
            tracing::warn!(
                partition,
                "records are gone or have changed without a write; the other owners are asked"
            );
        }
    }
}
