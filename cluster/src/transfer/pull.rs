//! Streams one partition from one owner and merges it here.
//!
//! Interrupted, it goes on behind the last keys that were merged: writes that came since reach
//! this node by themselves, for it is written to all the while.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::yield_now;

use super::session::Ask;
use crate::admission::Background;
use crate::config::NodeId;
use crate::marks::Mark;
use crate::metrics::Metrics;
use crate::replica::{Page, PageEnd, Paged, Replica};
use crate::rpc::{Holding, Request, Response, Standing};

/// How far one owner's partition has been merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// All keys up to this one are merged.
    after: Option<Bytes>,
    /// The least that the owner said of itself on the way.
    standing: Option<Standing>,
    /// How much longer the owner has held its disk than this node its own.
    pub(super) older_by: Duration,
    is_done: bool,
}

impl Progress {
    /// What was merged, if all of it was.
    pub(super) fn merged(&self) -> Option<Standing> {
        self.standing.filter(|_| self.is_done)
    }

    /// Whether the owner has not answered yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.standing.is_none()
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
            if progress.standing == Some(Standing::Whole) || self.standing().await != Some(Standing::Whole) {
                return;
            }
            *progress = Progress::default();
        }
        if progress.after.is_some() {
            Mark::TransferResumed.hit();
        }
        while let Some((page, holding)) = self.page(progress.after.clone()).await {
            let standing = progress.standing.map_or(holding.standing, |before| before.min(holding.standing));
            progress.standing = Some(standing);
            // Both ages as of now: an answer that was long on its way makes nobody older.
            let age = Duration::from_millis(holding.age_ms);
            progress.older_by = age.saturating_sub(self.replica.holdings().age());
            self.background.slot(page.bytes()).await;
            let (merged, all) = self.merge(&page.records, standing).await;
            progress.after = merged.or(progress.after.take());
            match page.end {
                _ if !all => return,
                PageEnd::Full(upto) => progress.after = Some(upto),
                // Rotten there: another owner has to do, or this one once it is repaired.
                PageEnd::Damaged(_) => return,
                // One sync for the whole partition: it is these that requests feel, and until then
                // the owner vouches for what was taken.
                PageEnd::Last => {
                    progress.is_done = self.replica.flush().await.is_ok();
                    return;
                }
            }
        }
    }

    async fn page(&self, after: Option<Bytes>) -> Option<(Page, Holding)> {
        let request = Request::Page { partition: self.partition, after };
        match self.ask.ask(self.source, request).await {
            Ok(Response::Page(page, holding)) => Some((page, holding)),
            _ => None,
        }
    }

    async fn standing(&self) -> Option<Standing> {
        match self.ask.ask(self.source, Request::Standing { partition: self.partition }).await {
            Ok(Response::Standing(holding)) => Some(holding.standing),
            _ => None,
        }
    }

    /// Merges the records of an owner up to the first of which the owner may lack something that
    /// it does not say of itself anyway. The last key merged, and whether it was the last of all.
    async fn merge(&self, records: &[Paged], standing: Standing) -> (Option<Bytes>, bool) {
        let counts = |paged: &Paged| paged.is_complete || standing != Standing::Whole;
        let mut last = None;
        for paged in records {
            if !counts(paged) {
                return (last, false);
            }
            let Ok(is_news) = self.replica.take(self.partition, &paged.key, &paged.record).await else {
                return (last, false);
            };
            self.metrics.keys_taken_over.add(u64::from(is_news));
            last = Some(paged.key.clone());
            // Nothing here waits for the disk, and requests are not to wait for all of a page.
            yield_now().await;
        }
        (last, true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Arc;
    use std::sync::Mutex;

    use quorate_env::{BoxFuture, Random, SimulatedDisk, SystemClock};

    use super::*;
    use crate::config::StoreDefinition;
    use crate::membership::{Found, Gap, Holdings};
    use crate::rpc::CallError;
    use crate::store::{Engine, LogEngine, LogOptions, MemoryEngine, Promise};
    use crate::testing::node;
    use crate::version::{Actor, Context, Dot, HybridClock, Payload, Record, SharedClock, SiblingSet};

    /// An owner of partition 3 whose connection breaks after so many pages.
    struct Owner {
        replica: Replica,
        standing: Standing,
        breaks_after: Option<usize>,
        /// How long its answers take, and how long it has held its disk then.
        takes: Duration,
        pages: Mutex<Vec<Page>>,
    }

    async fn owner(keys: usize) -> Owner {
        let (replica, pages) = (replica(), Mutex::default());
        for i in 0..keys {
            put(&replica, &format!("k{i:04}")).await;
        }
        Owner { replica, standing: Standing::Whole, breaks_after: None, takes: Duration::ZERO, pages }
    }

    async fn put(replica: &Replica, key: &str) {
        let actor = Actor { node: node(1), incarnation: 1, epoch: 0 };
        let set = SiblingSet::put(Context::new(), Dot { actor, counter: 1 }, Payload::bytes(key.to_owned()));
        replica.store(3, key.as_bytes(), &Arc::new(Record::Siblings(set)), Promise::Memory).await.unwrap();
    }

    impl Owner {
        fn sent(&self) -> usize {
            self.pages.lock().unwrap().iter().map(|page| page.records.len()).sum()
        }
    }

    impl Ask for Owner {
        fn ask(&self, _to: NodeId, request: Request) -> BoxFuture<'_, Result<Response, CallError>> {
            let takes = self.takes;
            let holding = Holding { standing: self.standing, age_ms: takes.as_millis() as u64 };
            let response = match request {
                Request::Standing { partition: 3 } => Ok(Response::Standing(holding)),
                Request::Page { partition: 3, after } => {
                    let mut pages = self.pages.lock().unwrap();
                    if self.breaks_after.is_some_and(|most| pages.len() >= most) {
                        Err(CallError::Lost)
                    } else {
                        let page = self.replica.page(3, after.as_deref()).unwrap();
                        pages.push(page.clone());
                        Ok(Response::Page(page, holding))
                    }
                }
                other => panic!("{other:?}"),
            };
            Box::pin(async move {
                tokio::time::sleep(takes).await;
                response
            })
        }
    }

    fn replica() -> Replica {
        replica_on(Arc::new(MemoryEngine::new()))
    }

    fn replica_on(engine: Arc<dyn Engine>) -> Replica {
        replica_of(engine, Holdings::in_memory(StoreDefinition::default().partitions, true))
    }

    fn replica_of(engine: Arc<dyn Engine>, holdings: Holdings) -> Replica {
        let store = StoreDefinition::default();
        let stamps = SharedClock::new(HybridClock::new(1, 0));
        let clock = Arc::new(SystemClock::new());
        Replica::new(engine, clock, &store, Arc::new(holdings), stamps).unwrap()
    }

    async fn pull(owner: &Owner, replica: &Replica, progress: &mut Progress) {
        let metrics = Metrics::default();
        let background = Background::new(Arc::new(SystemClock::new()));
        let (source, partition) = (node(1), 3);
        let pull =
            Pull { ask: owner, source, partition, replica, background: &background, metrics: &metrics };
        pull.run(progress).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_is_cut_goes_on_where_it_was() {
        let (mut owner, replica) = (owner(1000).await, replica());
        let mut progress = Progress::default();
        owner.breaks_after = Some(5);
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), None);
        let before = owner.sent();
        assert!(before > 0 && before < 1000, "{before} of 1000");
        owner.breaks_after = None;
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), Some(Standing::Whole));
        assert_eq!(owner.sent(), 1000, "nothing is sent twice");
        assert_eq!(replica.keys(3, None, 2000).unwrap().len(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_from_an_owner_with_gaps_is_merged_anew_once_it_is_whole() {
        let (mut owner, replica) = (owner(300).await, replica());
        owner.standing = Standing::Lacking;
        let mut progress = Progress::default();
        pull(&owner, &replica, &mut progress).await;
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), Some(Standing::Lacking));
        assert_eq!(owner.sent(), 300, "not again while nothing has changed");
        owner.standing = Standing::Whole;
        put(&owner.replica, "k9999").await;
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), Some(Standing::Whole));
        assert_eq!(replica.keys(3, None, 2000).unwrap().len(), 301);
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_is_no_older_for_answering_late() {
        let store = StoreDefinition::default();
        let disk = SimulatedDisk::new().mount();
        let holdings = Holdings::open(disk, store.partitions, Found::Empty, true).await.unwrap();
        let replica = replica_of(Arc::new(MemoryEngine::new()), holdings);
        let mut owner = owner(1).await;
        owner.takes = Duration::from_secs(2);
        let mut progress = Progress::default();
        pull(&owner, &replica, &mut progress).await;
        assert_eq!((progress.is_done, progress.older_by), (true, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_counts_as_merged_outlives_a_power_cut() {
        let disk = SimulatedDisk::new();
        let open = async || {
            replica_on(Arc::new(LogEngine::open(disk.mount(), LogOptions::default()).await.unwrap()))
        };
        let (owner, replica) = (owner(300).await, open().await);
        let mut progress = Progress::default();
        pull(&owner, &replica, &mut progress).await;
        assert_eq!(progress.merged(), Some(Standing::Whole));
        disk.power_cut(&mut Random::from_seed(1).stream("cut"));
        assert_eq!(open().await.keys(3, None, 2000).unwrap().len(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_in_doubt_at_a_whole_owner_holds_the_transfer_up() {
        let (owner, replica) = (owner(3).await, replica());
        owner.replica.holdings().mark([3], Gap::Doubt).await.unwrap();
        let mut progress = Progress::default();
        pull(&owner, &replica, &mut progress).await;
        assert_eq!((progress.merged(), replica.keys(3, None, 9).unwrap().len()), (None, 0));
        owner.replica.holdings().close(3, owner.replica.holdings().gaps()[&3]);
        pull(&owner, &replica, &mut progress).await;
        assert_eq!((progress.merged(), replica.keys(3, None, 9).unwrap().len()), (Some(Standing::Whole), 3));
    }
}
