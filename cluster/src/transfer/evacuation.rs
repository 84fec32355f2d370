//! Hands over what this node no longer owns, and only then drops it.
//!
//! The new owners have merged enough of the old ones to have met every write quorum; a copy that
//! lies here alone (a write quorum of one, or a hint that came late) must reach them all the same.
//!
//! Invariant: a copy is dropped only after every owner has acknowledged it, synced.
//!
//! Registers are not handed over: what their new owners did not merge was never chosen, and must not come
//! back behind what was. They are dropped once every owner votes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::admission::Background;
use crate::config::{NodeId, Timing};
use crate::membership::{Phase, View, Views};
use crate::metrics::Metrics;
use crate::replica::{Keyed, Page, PageEnd, Paged, Replica};
use crate::rpc::{CallError, Peers, Request, Response, Standing};
use crate::version::Record;

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

    /// Whether nothing is left of a partition that can be handed over.
    async fn hand_over(&self, view: &View, partition: u32) -> bool {
        let owners = view.write_owners(partition);
        let mut after: Option<Bytes> = None;
        loop {
            let _operation = self.views.begin();
            let Ok(page) = self.replica.page(partition, after.as_deref()) else { return false };
            if !page.records.is_empty() && !self.hand_over_page(view, &owners, partition, &page).await {
                return false;
            }
            match page.end {
                // What cannot be read stays, and the others are not kept waiting for it.
                PageEnd::Full(upto) | PageEnd::Damaged(upto) => after = Some(upto),
                PageEnd::Last => return self.drop_promises(view, &owners, partition).await,
            }
        }
    }

    /// Whether nothing is left of what this node promised about registers of a partition.
    async fn drop_promises(&self, view: &View, owners: &[NodeId], partition: u32) -> bool {
        if !view.is_linearizable() {
            return true;
        }
        match self.replica.promised_keys(partition) {
            Ok(keys) if keys.is_empty() => true,
            Ok(keys) => self.drop_registers(view, owners, partition, &keys).await,
            Err(_) => false,
        }
    }

    async fn hand_over_page(&self, view: &View, owners: &[NodeId], partition: u32, page: &Page) -> bool {
        if view.is_linearizable() {
            let keys: Vec<Bytes> = page.records.iter().map(|paged| paged.key.clone()).collect();
            return self.drop_registers(view, owners, partition, &keys).await;
        }
        self.background.slot(page.bytes() * owners.len() as u64).await;
        let keyed = |paged: &Paged| Keyed { partition, key: paged.key.clone(), record: paged.record.clone() };
        let records: Vec<Keyed> = page.records.iter().map(keyed).collect();
        let taken = join_all(owners.iter().map(|owner| {
            let exchange = Request::Exchange { records: records.clone(), wanted: Vec::new() };
            self.peers.call(*owner, view.version(), exchange, self.timing.request)
        }));
        if !taken.await.iter().all(|answer| matches!(answer, Ok(Response::Exchanged(_)))) {
            return false;
        }
        self.metrics.keys_handed_over.add(page.records.len() as u64);
        let dropped = join_all(page.records.iter().map(|paged| self.drop_copy(view, partition, paged)));
        dropped.await.into_iter().all(|dropped| dropped)
    }

    async fn drop_registers(&self, view: &View, owners: &[NodeId], partition: u32, keys: &[Bytes]) -> bool {
        let standings = join_all(owners.iter().map(|owner| {
            self.peers.call(*owner, view.version(), Request::Standing { partition }, self.timing.request)
        }));
        let votes = |answer: &Result<Response, CallError>| matches!(answer, Ok(Response::Standing(holding)) if holding.standing == Standing::Whole);
        if !standings.await.iter().all(votes) {
            return false;
        }
        let is_foreign = || self.views.current().version() == view.version();
        let dropped = keys.iter().map(|key| self.replica.drop_register(partition, key, is_foreign));
        join_all(dropped).await.into_iter().all(|dropped| matches!(dropped, Ok(true)))
    }

    async fn drop_copy(&self, view: &View, partition: u32, paged: &Paged) -> bool {
        let Ok(record) = Record::decode(&paged.record) else { return false };
        // Under a later view this node may own it again, and may have been given the same record.
        let is_foreign = || self.views.current().version() == view.version();
        matches!(self.replica.drop_copy(partition, &paged.key, &record, is_foreign).await, Ok(true))
    }
}
