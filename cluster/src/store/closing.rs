//! An engine that acknowledges nothing any more once its node stops.
//!
//! What is acknowledged after the last flush may be lost, and the mark of a clean stop says that
//! nothing was: the next start would let this node's gaps vote. Requests may outlive the tasks that
//! brought them in, so it is here, where all writes pass, that the door is shut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use quorate_env::BoxFuture;

use super::{Engine, Pace, Position, Promise, Stats, StoreError, Write};

/// Another engine, until it is closed.
pub struct Closing {
    engine: Arc<dyn Engine>,
    is_closed: AtomicBool,
}

impl Closing {
    /// The same engine, with a door.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, is_closed: AtomicBool::new(false) }
    }

    /// Takes no writes from now on, acknowledges none of those under way, and brings all that were
    /// acknowledged under [`Engine::strongest`].
    ///
    /// # Errors
    /// As [`Engine::flush`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.is_closed.store(true, Ordering::SeqCst);
        self.engine.flush().await.map(|_| ())
    }
}

impl Engine for Closing {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine.get(key)
    }

    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            if self.is_closed.load(Ordering::SeqCst) {
                return Err(StoreError::Stopped { reason: "the node stops".into() });
            }
            let applied = self.engine.apply(batch, promise).await;
            // Whether the last flush still found it cannot be told.
            if applied.is_ok() && self.is_closed.load(Ordering::SeqCst) {
                return Err(StoreError::StoppedMeanwhile);
            }
            applied
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

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.engine.keys(prefix, after, limit)
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.engine.flush()
    }

    fn damaged(&self) -> Vec<Vec<u8>> {
        self.engine.damaged()
    }

    fn compact_step<'a>(&'a self, pace: &'a dyn Pace) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.engine.compact_step(pace)
    }

    fn strongest(&self) -> Promise {
        self.engine.strongest()
    }

    fn stats(&self) -> Stats {
        self.engine.stats()
    }
}
