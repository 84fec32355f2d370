//! What is under way when a node stops.

use bytes::Bytes;
use quorate_env::BoxFuture;
use tokio::sync::Semaphore;

use super::overload::alone;
use super::*;
use crate::rpc::{Request, Response};
use crate::store::{Engine, MemoryEngine, Position, Promise, Stats, StoreError, Write};
use crate::version::{Actor, Context, Dot, Payload, Record, SiblingSet};

/// Writes only through an open gate.
pub(super) struct Gated {
    engine: MemoryEngine,
    waiting: AtomicU32,
    gate: Semaphore,
}

impl Gated {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { engine: MemoryEngine::new(), waiting: AtomicU32::new(0), gate: Semaphore::new(0) })
    }

    pub(super) async fn has_one(&self) {
        let waiting = async {
            while self.waiting.load(Ordering::Acquire) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("a write comes");
    }

    pub(super) fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }
}

impl Engine for Gated {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine.get(key)
    }

    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            self.waiting.fetch_add(1, Ordering::AcqRel);
            let _open = self.gate.acquire().await.unwrap();
            self.engine.apply(batch, promise).await
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        self.engine.scan(prefix, after, limit)
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.engine.flush()
    }

    fn strongest(&self) -> Promise {
        self.engine.strongest()
    }

    fn stats(&self) -> Stats {
        self.engine.stats()
    }
}

/// Nothing syncs before it acknowledges.
pub(super) fn lazy(store: StoreDefinition) -> StoreDefinition {
    StoreDefinition { durability: crate::config::Durability::Memory, ..store }
}

pub(super) fn plain(member: &Member, members: &[Member], store: &StoreDefinition) -> NodeParts {
    let config = config(member, members, store);
    parts(config, &SimulatedDisk::default(), Arc::new(SystemClock::new()), None)
}

#[tokio::test]
async fn a_copy_that_a_peer_sent_is_not_acknowledged_behind_the_last_flush() {
    let (members, store) = (members(3), lazy(StoreDefinition::default()));
    let engine = Gated::new();
    let gated = Arc::<Gated>::clone(&engine);
    let stopping =
        Node::start(NodeParts { engine: Some(gated), ..plain(&members[0], &members, &store) }).await.unwrap();
    let peer = Node::start(plain(&members[1], &members, &store)).await.unwrap();
    let (peers, view) = (Arc::clone(&peer.api.coordinator.peers), peer.api.coordinator.views.current());
    let handle = stopping.handle();
    let running = tokio::spawn(stopping.run());
    let actor = Actor { node: members[1].id, incarnation: 1, epoch: 0 };
    let set = SiblingSet::put(Context::new(), Dot { actor, counter: 1 }, Payload::bytes("v"));
    let copy = Request::Store {
        partition: view.placement().partition_of(b"k"),
        key: Bytes::from_static(b"k"),
        record: Bytes::from(Record::Siblings(set).encode()),
        hint_for: None,
        synced: false,
    };
    let to = members[0].id;
    let answer = tokio::spawn(async move { peers.call(to, view.version(), copy, PATIENCE).await });
    engine.has_one().await;
    handle.shut_down();
    running.await.unwrap().unwrap();
    engine.open();
    let answer = answer.await.unwrap();
    assert!(!matches!(answer, Ok(Response::Stored)), "{answer:?}");
}

#[tokio::test]
async fn a_put_that_takes_longer_than_the_stop_is_not_acknowledged() {
    let (members, store) = (members(1), lazy(alone()));
    let engine = Gated::new();
    let gated = Arc::<Gated>::clone(&engine);
    let mut parts = NodeParts { engine: Some(gated), ..plain(&members[0], &members, &store) };
    parts.config.timing.request = PATIENCE;
    let stopping = Node::start(parts).await.unwrap();
    let (handle, api) = (stopping.handle(), stopping.api_address().to_owned());
    let running = tokio::spawn(stopping.run());
    let answer = tokio::spawn(async move { put(&api, "k", None, "v").await });
    engine.has_one().await;
    handle.shut_down();
    running.await.unwrap().unwrap();
    engine.open();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.head);
    assert_eq!(answer.json()["maybe_applied"].as_bool(), Some(true));
}
