//! Anti-entropy: two owners compare whole partitions and exchange what differs.
//!
//! Dynamo, section 4.7, without its Merkle trees: partition digests first, key digests of the
//! partitions that differ. Merging is the only thing done with what was found, in both
//! directions, so no older version ever replaces a newer one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use quorate_env::{Clock, RandomStream};
use rand::RngExt;
use tokio::time::sleep;

use crate::config::{NodeId, Timing};
use crate::membership::View;
use crate::metrics::Metrics;
use crate::quorum::ReadReply;
use crate::replica::{KeyDigest, PartitionDigest, Replica};
use crate::rpc::{Peers, Request, Response};
use crate::store::Promise;
use crate::version::Record;

/// Keys compared or partitions asked about at a time.
const PAGE: usize = 1024;

/// Compares one node's copies with those of the other owners.
pub struct AntiEntropy {
    /// This node.
    pub me: NodeId,
    /// Who owns what.
    pub view: Arc<View>,
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
    /// Counts rounds and differences.
    pub metrics: Arc<Metrics>,
}

/// How comparing with one peer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// Everything is the same.
    Same,
    /// So many keys differed; all were merged both ways.
    Merged(u64),
    /// It did not answer, or not everything could be exchanged.
    Unfinished,
}

impl AntiEntropy {
    /// Compares for ever.
    pub async fn run(mut self) {
        // The first round of a node that may lack something must not wait.
        let mut pause = if self.replica.is_complete() { self.jittered() } else { self.period / 10 };
        loop {
            sleep(pause).await;
            self.round().await;
            pause = self.jittered();
        }
    }

    fn jittered(&mut self) -> Duration {
        self.period.mul_f64(self.random.random_range(0.75..1.25))
    }

    /// Compares every partition with each of its other owners.
    async fn round(&mut self) {
        self.metrics.anti_entropy_rounds.add(1);
        let began_ns = self.clock.monotonic_ns();
        let quarantined = self.replica.quarantined();
        let mut shared: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        for partition in self.view.placement().partitions_of(self.me) {
            for owner in self.view.placement().owners(partition).filter(|owner| *owner != self.me) {
                shared.entry(owner).or_default().push(partition);
            }
        }
        let own = match self.own_digests().await {
            Ok(own) => own,
            Err(error) => {
                tracing::warn!(%error, "own copies cannot be compared");
                return;
            }
        };
        let mut clean = true;
        let mut merged_all = true;
        for (peer, partitions) in shared {
            match self.compare(peer, &partitions, &own).await {
                Compared::Same => {}
                Compared::Merged(keys) => {
                    clean = false;
                    self.metrics.anti_entropy_differences.add(keys);
                }
                Compared::Unfinished => {
                    clean = false;
                    merged_all = false;
                }
            }
        }
        if merged_all {
            self.replica.set_complete(&quarantined);
        }
        if clean {
            self.metrics.anti_entropy_clean_ns.store(began_ns, Ordering::Release);
        }
    }

    async fn own_digests(&self) -> Result<BTreeMap<u32, PartitionDigest>, crate::store::StoreError> {
        let mut digests = BTreeMap::new();
        for partition in self.view.placement().partitions_of(self.me) {
            digests.insert(partition, self.replica.partition_digest(partition).await?);
        }
        Ok(digests)
    }

    async fn compare(
        &self,
        peer: NodeId,
        partitions: &[u32],
        own: &BTreeMap<u32, PartitionDigest>,
    ) -> Compared {
        let mut result = Compared::Same;
        for page in partitions.chunks(PAGE) {
            let ask = Request::PartitionDigests { partitions: page.to_vec() };
            let theirs = match self.peers.call(peer, ask, self.timing.request).await {
                Ok(Response::PartitionDigests(theirs)) if theirs.len() == page.len() => theirs,
                _ => return Compared::Unfinished,
            };
            for (partition, theirs) in page.iter().zip(theirs) {
                if own.get(partition) == Some(&theirs) {
                    continue;
                }
                match (self.exchange(peer, *partition).await, result) {
                    (Some(keys), Compared::Same) if keys > 0 => result = Compared::Merged(keys),
                    (Some(keys), Compared::Merged(before)) => result = Compared::Merged(before + keys),
                    (Some(_), unchanged) => result = unchanged,
                    (None, _) => return Compared::Unfinished,
                }
            }
        }
        result
    }

    /// Merges what differs in one partition both ways. How many keys did; nothing on failure.
    async fn exchange(&self, peer: NodeId, partition: u32) -> Option<u64> {
        let theirs = self.all_digests_of(peer, partition).await?;
        let mut own = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.replica.key_digests(partition, after.as_deref(), PAGE).ok()?;
            let full = page.len() == PAGE;
            after = page.last().map(|last| last.key.clone());
            own.extend(page.into_iter().map(|k| (k.key, k.digest)));
            if !full {
                break;
            }
        }
        let mut differing = 0;
        for (key, digest) in &theirs {
            if own.get(key) != Some(digest) {
                differing += 1;
                self.pull(peer, partition, key).await?;
            }
        }
        for (key, digest) in &own {
            if theirs.get(key) != Some(digest) {
                if !theirs.contains_key(key) {
                    differing += 1;
                }
                self.push(peer, partition, key).await?;
            }
        }
        Some(differing)
    }

    async fn all_digests_of(&self, peer: NodeId, partition: u32) -> Option<BTreeMap<Vec<u8>, u128>> {
        let mut all = BTreeMap::new();
        let mut after: Option<Bytes> = None;
        loop {
            let ask = Request::KeyDigests { partition, after: after.clone(), limit: PAGE as u32 };
            let Ok(Response::KeyDigests(page)) = self.peers.call(peer, ask, self.timing.request).await else {
                return None;
            };
            let full = page.len() == PAGE;
            after = page.last().map(|last: &KeyDigest| Bytes::copy_from_slice(&last.key));
            all.extend(page.into_iter().map(|k| (k.key, k.digest)));
            if !full {
                return Some(all);
            }
        }
    }

    /// Merges the peer's copy into this node's.
    async fn pull(&self, peer: NodeId, partition: u32, key: &[u8]) -> Option<()> {
        let ask = Request::Read { partition, key: Bytes::copy_from_slice(key) };
        match self.peers.call(peer, ask, self.timing.request).await {
            Ok(Response::Found(bytes)) => {
                let record = Record::decode(&bytes).ok()?;
                self.replica.store(partition, key, &record, Promise::Synced).await.ok()
            }
            // Damaged there, or gone since: pushing is what helps.
            Ok(Response::Damaged | Response::NotFound { .. }) => Some(()),
            _ => None,
        }
    }

    /// Has the peer merge this node's copy into its own.
    async fn push(&self, peer: NodeId, partition: u32, key: &[u8]) -> Option<()> {
        let ReadReply::Found(record) = self.replica.read(partition, key) else { return Some(()) };
        let store = Request::Store {
            partition,
            key: Bytes::copy_from_slice(key),
            record: Bytes::from(record.encode()),
            hint_for: None,
            synced: true,
        };
        match self.peers.call(peer, store, self.timing.request).await {
            Ok(Response::Stored) => Some(()),
            _ => None,
        }
    }
}
