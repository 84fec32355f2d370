//! An engine that acknowledges nothing any more once its node stops, and that knows whether its disk
//! takes writes.
//!
//! What is acknowledged after the last flush may be lost, and the mark of a clean stop says that
//! nothing was: the next start would let this node's gaps vote. Requests may outlive the tasks that
//! brought them in, so it is here, where all writes pass, that the door is shut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate_env::BoxFuture;

use super::{Engine, Pace, Position, Promise, Stats, StoreError, Write};

/// Another engine, until it is closed.
pub struct Closing {
    engine: Arc<dyn Engine>,
    is_closed: AtomicBool,
    /// Looked at after every write, so that the lock need not be.
    is_refused: AtomicBool,
    refusal: Mutex<Option<StoreError>>,
}

impl Closing {
    /// The same engine, with a door.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            is_closed: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
            refusal: Mutex::default(),
        }
    }

    /// Why the last write was not taken, if that was the disk's fault.
    #[must_use]
    pub fn refusal(&self) -> Option<StoreError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note that the disk has been seen to take writes again, unless this engine takes none before
    /// it is opened anew.
    pub fn disk_works(&self) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if refusal.as_ref().is_some_and(|refusal| !refusal.is_for_good()) {
            *refusal = None;
            self.is_refused.store(false, Ordering::Release);
            tracing::info!("the disk takes writes again");
        }
    }

    fn note(&self, applied: &Result<Position, StoreError>) {
        match applied {
            Ok(_) if self.is_refused.load(Ordering::Acquire) => self.disk_works(),
            Err(error) if error.is_of_the_disk() => {
                let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
                if refusal.is_none() {
                    tracing::error!(%error, "the disk takes no writes");
                }
                // What went wrong first says more than what follows from it.
                if refusal.as_ref().is_none_or(|refusal| !refusal.is_for_good()) {
                    *refusal = Some(error.clone());
                }
                self.is_refused.store(true, Ordering::Release);
            }
            _ => {}
        }
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
            self.note(&applied);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::VecDeque;

    use super::*;
    use crate::store::MemoryEngine;

    /// Ends writes as it is told to, then takes them.
    struct Failing {
        engine: MemoryEngine,
        errors: Mutex<VecDeque<StoreError>>,
    }

    impl Engine for Failing {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
            self.engine.get(key)
        }

        fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
            let error = self.errors.lock().unwrap().pop_front();
            Box::pin(async move {
                match error {
                    Some(error) => Err(error),
                    None => self.engine.apply(batch, promise).await,
                }
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

    fn failing(errors: impl IntoIterator<Item = StoreError>) -> Closing {
        let errors = Mutex::new(errors.into_iter().collect());
        Closing::new(Arc::new(Failing { engine: MemoryEngine::new(), errors }))
    }

    async fn write(closing: &Closing) -> bool {
        let put = Write::Put { key: b"k".to_vec(), value: Bytes::from_static(b"v") };
        closing.apply(vec![put], Promise::Memory).await.is_ok()
    }

    fn full() -> StoreError {
        StoreError::Full { file: "f".into() }
    }

    #[tokio::test]
    async fn a_full_disk_is_known_until_it_takes_writes_again() {
        let closing = failing([full(), full(), StoreError::Busy { waiting: 1 }]);
        assert!(!write(&closing).await && closing.refusal().is_some());
        closing.disk_works();
        assert!(closing.refusal().is_none());
        assert!(!write(&closing).await && closing.refusal().is_some());
        assert!(!write(&closing).await, "busy says nothing of the disk");
        assert!(matches!(closing.refusal(), Some(StoreError::Full { .. })));
        assert!(write(&closing).await);
        assert!(closing.refusal().is_none());
    }

    #[tokio::test]
    async fn a_disk_that_lost_writes_is_not_trusted_again_in_this_run() {
        let source = std::io::Error::other("it broke").into();
        let lost = StoreError::SyncFailed { file: "f".into(), source };
        let closing = failing([lost, StoreError::Stopped { reason: "r".into() }, full()]);
        for _ in 0..3 {
            assert!(!write(&closing).await);
            closing.disk_works();
            assert!(matches!(closing.refusal(), Some(StoreError::SyncFailed { .. })), "the cause is kept");
        }
    }
}
