//! Streams one partition from one owner and merges it here.
//!
//! Interrupted, it goes on behind the last keys that were merged: writes that came since reach
//! this node by themselves, for it is written to all the while.

use bytes::Bytes;
use futures_util::future::join_all;

use std::time::Duration;

use super::session::Ask;
use crate::admission::Background;
use crate::config::NodeId;
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::rpc::{Request, Response, Standing};
use crate::store::Promise;
use crate::version::Record;

/// Keys listed at a time.
const PAGE: u32 = 256;
/// Keys fetched at once: enough to share a sync, few enough not to crowd requests out.
const AT_ONCE: usize = 16;

/// How far one owner's partition has been merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// All keys up to this one are merged.
    after: Option<Bytes>,
    /// The least that the owner said of itself on the way.
    standing: Option<Standing>,
    /// How long the owner has held its disk.
    pub(super) age: Duration,
    is_done: bool,
}

impl Progress {
    /// What was merged, if all of it was.
    pub(super) fn merged(&self) -> Option<Standing> {
        self.standing.filter(|_| self.is_done)
    }
}

/// One owner's partition on its way here.
pub(super) struct Pull<'a> {
    pub(super) ask: &'a dyn Ask,
    pub(super) source: NodeId,
    pub(super) partition: u32,
    pub(super) replica: &'a Replica,
    /// Lets the work go on.
    pub(super) background: &'a Background,
    pub(super) metrics: &'a Metrics,
}

impl Pull<'_> {
    /// Goes on from `progress` as far as it gets. What was merged from an owner that lacked
    /// something is merged anew once that owner is whole.
    pub(super) async fn run(&self, progress: &mut Progress) {
        if progress.is_done {
            let now = self.list(None, 0).await.map(|listed| listed.standing);
            if progress.standing == Some(Standing::Whole) || now != Some(Standing::Whole) {
                return;
            }
            *progress = Progress::default();
        }
        while let Some(Listed { keys, standing, age }) = self.list(progress.after.clone(), PAGE).await {
            let standing = progress.standing.map_or(standing, |before| before.min(standing));
            (progress.standing, progress.age) = (Some(standing), age);
            for some in keys.chunks(AT_ONCE) {
                let fetched = join_all(some.iter().map(|key| self.fetch(key, standing))).await;
                let Some(fetched) = fetched.into_iter().collect::<Option<Vec<_>>>() else { return };
                // One slot for all of them: let through one by one, each would have the disk sync for
                // itself, and it is these syncs that requests feel.
                self.background.slot(fetched.iter().map(|(_, bytes)| bytes).sum()).await;
                let stores = some.iter().zip(&fetched).map(|(key, (record, _))| self.keep(key, record));
                if !join_all(stores).await.into_iter().all(|kept| kept) {
                    return;
                }
                progress.after = some.last().cloned();
            }
            if keys.len() < PAGE as usize {
                progress.is_done = true;
                return;
            }
        }
    }

    async fn list(&self, after: Option<Bytes>, limit: u32) -> Option<Listed> {
        let list = Request::Keys { partition: self.partition, after, limit };
        match self.ask.ask(self.source, list).await {
            Ok(Response::Keys { keys, standing, age_ms }) => {
                Some(Listed { keys, standing, age: Duration::from_millis(age_ms) })
            }
            _ => None,
        }
    }

    /// The record of a key, and its size in bytes.
    async fn fetch(&self, key: &Bytes, standing: Standing) -> Option<(Record, u64)> {
        let read = Request::Read { partition: self.partition, key: key.clone() };
        let bytes = match self.ask.ask(self.source, read).await {
            Ok(Response::Found(bytes)) => bytes,
            // It says of itself that it may lack something, and is counted so.
            Ok(Response::Partial(bytes)) if standing != Standing::Whole => bytes,
            // Rotten or in doubt there: another owner has to do, or this one once it is repaired.
            _ => return None,
        };
        Some((Record::decode(&bytes).ok()?, bytes.len() as u64))
    }

    async fn keep(&self, key: &Bytes, record: &Record) -> bool {
        self.metrics.keys_taken_over.add(1);
        self.replica.store(self.partition, key, record, Promise::Synced).await.is_ok()
    }
}

struct Listed {
    keys: Vec<Bytes>,
    standing: Standing,
    age: Duration,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Arc;
    use std::sync::Mutex;

    use quorate_env::{BoxFuture, SystemClock};

    use super::*;
    use crate::config::StoreDefinition;
    use crate::membership::Holdings;
    use crate::rpc::CallError;
    use crate::store::MemoryEngine;
    use crate::version::{Actor, Context, Dot, HybridClock, Payload, SharedClock, SiblingSet};

    /// An owner with keys `k0000` and on, whose connection breaks after so many reads.
    struct Owner {
        keys: Vec<Bytes>,
        standing: Standing,
        breaks_after: Option<usize>,
        read: Mutex<Vec<Bytes>>,
    }

    fn owner(keys: usize) -> Owner {
        let keys = (0..keys).map(|i| Bytes::from(format!("k{i:04}"))).collect();
        Owner { keys, standing: Standing::Whole, breaks_after: None, read: Mutex::default() }
    }

    impl Ask for Owner {
        fn ask(&self, _to: NodeId, request: Request) -> BoxFuture<'_, Result<Response, CallError>> {
            let response = match request {
                Request::Keys { after, limit, .. } => {
                    let behind =
                        self.keys.iter().filter(|key| after.as_ref().is_none_or(|after| *key > after));
                    let keys = behind.take(limit as usize).cloned().collect();
                    Ok(Response::Keys { keys, standing: self.standing, age_ms: 7 })
                }
                Request::Read { key, .. } => {
                    let mut read = self.read.lock().unwrap();
                    if self.breaks_after.is_some_and(|most| read.len() >= most) {
                        Err(CallError::Lost)
                    } else {
                        read.push(key);
                        let actor = Actor { node: "n1".parse().unwrap(), incarnation: 1, epoch: 0 };
                        let set =
                            SiblingSet::put(Context::new(), Dot { actor, counter: 1 }, Payload::bytes("v"));
                        let bytes = Bytes::from(Record::Siblings(set).encode());
                        let whole = self.standing == Standing::Whole;
                        Ok(if whole { Response::Found(bytes) } else { Response::Partial(bytes) })
                    }
                }
                other => panic!("{other:?}"),
            };
            Box::pin(async move { response })
        }
    }

    fn replica() -> Replica {
        let store = StoreDefinition::default();
        let holdings = Arc::new(Holdings::in_memory(store.partitions, true));
        let stamps = SharedClock::new(HybridClock::new(1, 0));
        let clock = Arc::new(SystemClock::new());
        Replica::new(Arc::new(MemoryEngine::new()), clock, &store, holdings, stamps).unwrap()
    }

    async fn pull(owner: &Owner, replica: &Replica, progress: &mut Progress) {
        let metrics = Metrics::default();
        let source = "n1".parse().unwrap();
        let background = Background::new(Arc::new(SystemClock::new()));
        let pull =
            Pull { ask: owner, source, partition: 3, replica, background: &background, metrics: &metrics };
        pull.run(progress).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_is_cut_goes_on_where_it_was() {
        let (mut owner, replica) = (owner(1000), replica());
        let mut progress = Progress::default();
        owner.breaks_after = Some(700);
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), None);
        owner.breaks_after = None;
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), Some(Standing::Whole));
        assert_eq!(progress.age, Duration::from_millis(7));
        let read = owner.read.lock().unwrap().len();
        assert!((1000..1000 + AT_ONCE).contains(&read), "{read} reads: at most the keys in flight twice");
        assert_eq!(replica.keys(3, None, 2000).unwrap().len(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_from_an_owner_with_gaps_is_merged_anew_once_it_is_whole() {
        let (mut owner, replica) = (owner(300), replica());
        owner.standing = Standing::Lacking;
        let mut progress = Progress::default();
        pull(&owner, &replica, &mut progress).await;
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), Some(Standing::Lacking));
        assert_eq!(owner.read.lock().unwrap().len(), 300, "not again while nothing has changed");
        owner.standing = Standing::Whole;
        owner.keys.push(Bytes::from("k9999"));
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), Some(Standing::Whole));
        assert_eq!(replica.keys(3, None, 2000).unwrap().len(), 301);
    }
}
