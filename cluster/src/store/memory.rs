//! An engine that keeps its records in memory and promises nothing beyond the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{RwLock, RwLockReadGuard};

use bytes::Bytes;
use quorate_env::BoxFuture;

use super::{Engine, Position, Promise, Stats, StoreError, Write};

/// Records in a map.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Vec<u8>, Bytes>,
    live_bytes: u64,
    batches: u64,
}

impl MemoryEngine {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no code panics while holding this lock")
    }

    fn insert(&self, batch: Vec<Write>) -> Result<Position, StoreError> {
        batch.iter().try_for_each(Write::check)?;
        let mut state = self.state.write().expect("no code panics while holding this lock");
        for write in batch {
            let key_len = write.key().len();
            let old = match write {
                Write::Put { key, value } => {
                    state.live_bytes += (key_len + value.len()) as u64;
                    state.records.insert(key, value)
                }
                Write::Delete { key } => state.records.remove(&key),
            };
            if let Some(old) = old {
                state.live_bytes -= (key_len + old.len()) as u64;
            }
        }
        state.batches += 1;
        Ok(Position { segment: 0, offset: state.batches })
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read().records.get(key).cloned())
    }

    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            if promise > self.strongest() {
                return Err(StoreError::Unsupported {
                    engine: "memory",
                    what: "a promise beyond the process",
                });
            }
            self.insert(batch)
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let state = self.read();
        let records = state.records.range::<[u8], _>((scan_start(prefix, after), Bound::Unbounded));
        let wanted = records.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(wanted.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let state = self.read();
        let records = state.records.range::<[u8], _>((scan_start(prefix, after), Bound::Unbounded));
        let keys = records.map(|(key, _)| key).take_while(|key| key.starts_with(prefix));
        Ok(keys.take(limit).cloned().collect())
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { Ok(Position { segment: 0, offset: self.read().batches }) })
    }

    fn strongest(&self) -> Promise {
        Promise::Memory
    }

    fn stats(&self) -> Stats {
        let state = self.read();
        Stats {
            records: state.records.len() as u64,
            live_bytes: state.live_bytes,
            appends: state.batches,
            ..Stats::default()
        }
    }
}

/// Where a scan of `prefix` that saw `after` last goes on.
pub(super) fn scan_start<'a>(prefix: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}
