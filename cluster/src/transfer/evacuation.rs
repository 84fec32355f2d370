//! Hands over what this node no longer owns, and only then drops it.
//!
//! The new owners have merged enough of the old ones to have met every write quorum; a copy that
//! lies here alone (a write quorum of one, or a hint that came late) must reach them all the same.
//!
//! Invariant: a copy is dropped only after every owner has acknowledged it, synced.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use crate::admission::Background;
use crate::config::{NodeId, Timing};
use crate::membership::{Phase, View, Views};
use crate::metrics::Metrics;
use crate::quorum::ReadReply;
use crate::replica::Replica;
use crate::rpc::{Peers, Request, Response};

/// Keys handed over between two pauses.
const PAGE: usize = 64;
/// How often to look for what no longer belongs here.
const PERIOD: Duration = Duration::from_secs(2);

/// Hands partitions over.
pub struct Evacuation {
    /// This node.
    pub me: NodeId,
    /// Who owns what.
    pub views: Arc<Views>,
    /// The copies here.
    pub replica: Arc<Replica>,
    /// The owners.
    pub peers: Arc<Peers>,
    /// How long to wait.
    pub timing: Timing,
    /// Lets the work go on.
    pub background: Arc<Background>,
    /// Counts keys.
    pub metrics: Arc<Metrics>,
}

impl Evacuation {
    /// Hands over for ever.
    pub async fn run(self) {
        let mut watch = self.views.watch();
        // Copies may have been left from before a restart: look at once.
        loop {
            let view = self.views.current();
            let done = view.version().phase != Phase::Stable || self.hand_over_all(&view).await;
            if done {
                watch.changed().await;
            } else {
                sleep(PERIOD).await;
            }
        }
    }

    /// Whether nothing is left here that belongs elsewhere.
    async fn hand_over_all(&self, view: &View) -> bool {
        let owned: BTreeSet<u32> = view.partitions_written_to(self.me).into_iter().collect();
        let mut all = true;
        for partition in (0..view.placement().partitions()).filter(|p| !owned.contains(p)) {
            all &= self.hand_over(view, partition).await;
        }
        all
    }

    async fn hand_over(&self, view: &View, partition: u32) -> bool {
        let owners = view.write_owners(partition);
        let mut after: Option<Bytes> = None;
        loop {
            let Ok(page) = self.replica.keys(partition, after.as_deref(), PAGE) else { return false };
            let full = page.len() == PAGE;
            after = page.last().cloned();
            for key in page {
                if self.views.current().version() != view.version() {
                    return false;
                }
                if !self.hand_over_key(view, &owners, partition, &key).await {
                    return false;
                }
            }
            if !full {
                return true;
            }
        }
    }

    async fn hand_over_key(&self, view: &View, owners: &[NodeId], partition: u32, key: &[u8]) -> bool {
        let (ReadReply::Found(record) | ReadReply::Partial(record)) = self.replica.read(partition, key)
        else {
            return false;
        };
        let bytes = Bytes::from(record.encode());
        self.background.slot((bytes.len() * owners.len()) as u64).await;
        for owner in owners {
            let store = Request::Store {
                partition,
                key: Bytes::copy_from_slice(key),
                record: bytes.clone(),
                hint_for: None,
                synced: true,
            };
            let answer = self.peers.call(*owner, view.version(), store, self.timing.request).await;
            if !matches!(answer, Ok(Response::Stored)) {
                return false;
            }
        }
        self.metrics.keys_handed_over.add(1);
        matches!(self.replica.drop_copy(partition, key, &record).await, Ok(true))
    }
}
