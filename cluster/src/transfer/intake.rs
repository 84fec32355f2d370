//! Merges what this node gains by a change of the members, before anybody reads it here.
//!
//! A new owner of a partition must merge the whole partition of N-W+1 of its old owners: one of
//! them is in every quorum that ever acknowledged a write there. They answer only under the new
//! view, after which they acknowledge nothing under the old one, so nothing can slip in behind.
//! Writes that come meanwhile reach this node by themselves.
//!
//! Interrupted, it goes on with the partition and key where it was; after a restart it begins
//! again, for what was merged is harmless to merge twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::admission::Background;
use crate::config::{NodeId, Timing};
use crate::membership::{Phase, View, Views};
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::rpc::{Peers, Request, Response};
use crate::store::Promise;
use crate::version::Record;

/// Keys listed at a time.
const PAGE: u32 = 256;
/// Keys fetched at once: enough to share a sync, few enough not to crowd requests out.
const AT_ONCE: usize = 16;

/// Takes over partitions.
pub struct Intake {
    /// This node.
    pub me: NodeId,
    /// What is moving.
    pub views: Arc<Views>,
    /// Where it goes.
    pub replica: Arc<Replica>,
    /// Where it comes from.
    pub peers: Arc<Peers>,
    /// W.
    pub write_quorum: usize,
    /// How long to wait.
    pub timing: Timing,
    /// Lets the work go on.
    pub background: Arc<Background>,
    /// Counts keys.
    pub metrics: Arc<Metrics>,
}

impl Intake {
    /// Takes over whatever is gained, for ever.
    pub async fn run(self) {
        let mut watch = self.views.watch();
        loop {
            let view = self.views.current();
            if view.version().phase == Phase::Copying {
                self.take_over(&view).await;
            }
            watch.changed().await;
        }
    }

    /// Merges all that is gained in `view`, until it is done or the view is history.
    async fn take_over(&self, view: &View) {
        let mut left = view.gained_by(self.me);
        while !left.is_empty() && self.views.current().version() == view.version() {
            let mut unfinished = Vec::new();
            for partition in left {
                if self.views.current().version() != view.version() {
                    return;
                }
                if !self.merge_partition(view, partition).await {
                    unfinished.push(partition);
                }
            }
            left = unfinished;
            if !left.is_empty() {
                sleep(self.timing.probe).await;
            }
        }
        if left.is_empty() {
            self.views.set_transferred(view.version());
        }
    }

    /// Merges one partition of as many old owners as it takes.
    async fn merge_partition(&self, view: &View, partition: u32) -> bool {
        let (sources, needed) = view.sources(partition, self.write_quorum, &self.views.lost());
        let mut merged = BTreeSet::new();
        for source in sources {
            if merged.len() >= needed {
                break;
            }
            if source == self.me || self.merge_from(view, source, partition).await {
                merged.insert(source);
            }
        }
        merged.len() >= needed
    }

    async fn merge_from(&self, view: &View, source: NodeId, partition: u32) -> bool {
        let mut after: Option<Bytes> = None;
        loop {
            let list = Request::Keys { partition, after: after.clone(), limit: PAGE };
            let answer = self.peers.call(source, view.version(), list, self.timing.request).await;
            let Ok(Response::Keys(page)) = answer else { return false };
            let full = page.len() == PAGE as usize;
            after = page.last().cloned();
            for keys in page.chunks(AT_ONCE) {
                let merges = keys.iter().map(|key| self.merge_key(view, source, partition, key.clone()));
                if !join_all(merges).await.into_iter().all(|merged| merged) {
                    return false;
                }
            }
            if !full {
                return true;
            }
        }
    }

    async fn merge_key(&self, view: &View, source: NodeId, partition: u32, key: Bytes) -> bool {
        let read = Request::Read { partition, key: key.clone() };
        let bytes = match self.peers.call(source, view.version(), read, self.timing.request).await {
            Ok(Response::Found(bytes)) => bytes,
            // Rotten or in doubt there: another source has to do, or this one once it is repaired.
            _ => return false,
        };
        let Ok(record) = Record::decode(&bytes) else { return false };
        self.background.slot(bytes.len() as u64).await;
        self.metrics.keys_taken_over.add(1);
        self.replica.store(partition, &key, &record, Promise::Synced).await.is_ok()
    }
}
