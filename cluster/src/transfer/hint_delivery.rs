//! Delivers hints to owners that are back (Dynamo, section 4.6).
//!
//! Invariant: a hint is dropped only after its owner acknowledged that very version, synced.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::sleep;

use crate::admission::Background;
use crate::config::{NodeId, Timing};
use crate::marks::Mark;
use crate::membership::{ViewVersion, Views};
use crate::metrics::Metrics;
use crate::planted::{Bug, is_planted};
use crate::replica::{Hint, Replica};
use crate::rpc::{Peers, Request, Response};
use crate::store::Promise;

/// Hints that are under way to one owner at once.
const PAGE: usize = 32;

/// Delivers one node's hints.
pub struct HintDelivery {
    /// Where the hints lie.
    pub replica: Arc<Replica>,
    /// Whom they are for.
    pub peers: Arc<Peers>,
    /// Who owns what, now that owners may have gone.
    pub views: Arc<Views>,
    /// This node.
    pub me: NodeId,
    /// How often to try.
    pub timing: Timing,
    /// Lets the work go on.
    pub background: Arc<Background>,
    /// Counts deliveries.
    pub metrics: Arc<Metrics>,
}

impl HintDelivery {
    /// Delivers for ever.
    pub async fn run(self) {
        loop {
            sleep(self.timing.hint_delivery).await;
            if self.replica.hints_pending() == 0 {
                continue;
            }
            let Ok(owners) = self.replica.hint_owners() else { continue };
            for owner in owners {
                if !self.peers.is_suspected(owner) {
                    self.deliver_to(owner).await;
                }
            }
        }
    }

    /// Offers `owner` all that is kept for it, until it fails to take one.
    async fn deliver_to(&self, owner: NodeId) {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let _operation = self.views.begin();
            let page = match self.replica.hints_for(owner, after.as_deref(), PAGE) {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%owner, %error, "hints cannot be read");
                    return;
                }
            };
            let Some(last) = page.last() else { return };
            after = Some(last.stored.clone());
            let full = page.len() == PAGE;
            let deliveries = page.into_iter().map(|hint| self.deliver(owner, hint));
            let delivered = futures_util::future::join_all(deliveries).await;
            if !full || !delivered.into_iter().all(|ok| ok) {
                return;
            }
        }
    }

    async fn deliver(&self, owner: NodeId, hint: Hint) -> bool {
        let view = self.views.current();
        let owners = view.write_owners(hint.partition);
        // Who has left, or lost the partition, needs the write no more; today's owners do.
        let owners_have_it = owners.contains(&owner);
        let to = if owners_have_it { vec![owner] } else { owners };
        if is_planted(Bug::HintDroppedBeforeItsAcknowledgement) {
            let _ = self.replica.drop_hint(&hint).await;
        }
        for node in to {
            if !self.hand_to(node, view.version(), &hint).await {
                return false;
            }
        }
        match self.replica.drop_hint(&hint).await {
            Ok(dropped) => {
                if dropped {
                    if !owners_have_it {
                        Mark::HintRedirected.hit();
                    }
                    self.metrics.hints_delivered.add(1);
                }
                true
            }
            Err(error) => {
                tracing::warn!(%owner, %error, "a delivered hint cannot be dropped; it will be delivered again");
                false
            }
        }
    }

    async fn hand_to(&self, node: NodeId, view: ViewVersion, hint: &Hint) -> bool {
        if node == self.me {
            let stored = self.replica.store(hint.partition, &hint.key, &hint.record, Promise::Synced);
            return stored.await.is_ok();
        }
        let record = Bytes::from(hint.record.encode());
        self.background.slot(record.len() as u64).await;
        let store = Request::Store {
            partition: hint.partition,
            key: Bytes::copy_from_slice(&hint.key),
            record,
            hint_for: None,
            synced: true,
        };
        match self.peers.call(node, view, store, self.timing.request).await {
            Ok(Response::Stored) => true,
            Ok(Response::Refused { why, .. }) => {
                tracing::warn!(%node, why, "a hint was refused; it stays");
                false
            }
            Ok(_) | Err(_) => false,
        }
    }
}
