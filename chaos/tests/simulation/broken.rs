//! Broken parts for the seams between a node and what it is given.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorate_chaos::world::Wrap;
use quorate_cluster::store::{Engine, Position, Promise, Stats, StoreError, Write};
use quorate_env::{BoxFuture, Disk, DiskFile};

/// What a broken engine does to a batch before it is applied.
type Spoil = fn(Vec<Write>, Promise) -> (Vec<Write>, Promise);

struct SpoiltEngine {
    inner: Arc<dyn Engine>,
    spoil: Spoil,
    /// Whether a flush is passed on.
    flushes: bool,
}

impl Engine for SpoiltEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key)
    }

    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        let (batch, promise) = (self.spoil)(batch, promise);
        self.inner.apply(batch, promise)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        self.inner.scan(prefix, after, limit)
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        if self.flushes { self.inner.flush() } else { Box::pin(async { Ok(Position::default()) }) }
    }

    fn strongest(&self) -> Promise {
        self.inner.strongest()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

/// An engine that changes every batch by `spoil`.
pub(crate) fn engine(spoil: Spoil, flushes: bool) -> Wrap<dyn Engine> {
    Arc::new(move |_, inner| Arc::new(SpoiltEngine { inner, spoil, flushes }))
}

/// Forgets on a restart that hints were dropped.
struct HintsComeBack {
    inner: Arc<dyn Engine>,
    dropped: Mutex<BTreeSet<Vec<u8>>>,
}

impl Engine for HintsComeBack {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if self.dropped.lock().unwrap().contains(key) { Ok(None) } else { self.inner.get(key) }
    }

    fn apply(&self, mut batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        let mut dropped = self.dropped.lock().unwrap();
        batch.retain(|write| match write {
            Write::Delete { key } if key.starts_with(b"h") => {
                dropped.insert(key.clone());
                false
            }
            other => {
                dropped.remove(other.key());
                true
            }
        });
        drop(dropped);
        self.inner.apply(batch, promise)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let (mut found, mut after) = (Vec::new(), after.map(<[u8]>::to_vec));
        loop {
            let page = self.inner.scan(prefix, after.as_deref(), limit)?;
            let is_last = page.len() < limit;
            after = page.last().map(|(key, _)| key.clone());
            let dropped = self.dropped.lock().unwrap();
            found.extend(page.into_iter().filter(|(key, _)| !dropped.contains(key)));
            if is_last || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.flush()
    }

    fn strongest(&self) -> Promise {
        self.inner.strongest()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

/// An engine that has every hint again after a restart, though it was dropped.
pub(crate) fn hints_come_back() -> Wrap<dyn Engine> {
    Arc::new(|_, inner| Arc::new(HintsComeBack { inner, dropped: Mutex::default() }))
}

struct DiskThatSays {
    inner: Arc<dyn Disk>,
    name: &'static str,
    bytes: &'static [u8],
}

impl Disk for DiskThatSays {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        if name == self.name { Ok(self.bytes.to_vec()) } else { self.inner.read(name) }
    }

    fn write_atomic<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        self.inner.write_atomic(name, bytes)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open(name)
    }
}

/// A disk whose small file `name` always says `bytes`, whatever was written, or nothing.
pub(crate) fn disk_that_says(name: &'static str, bytes: &'static [u8]) -> Wrap<dyn Disk> {
    Arc::new(move |_, inner| Arc::new(DiskThatSays { inner, name, bytes }))
}

struct DiskWithout {
    inner: Arc<dyn Disk>,
    name: &'static str,
    error: io::ErrorKind,
}

impl Disk for DiskWithout {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.list()?.into_iter().filter(|name| name != self.name).collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        if name == self.name { Err(self.error.into()) } else { self.inner.read(name) }
    }

    fn write_atomic<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        self.inner.write_atomic(name, bytes)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open(name)
    }
}

/// A disk on which the small file `name` cannot be found again once it was written.
pub(crate) fn disk_without(name: &'static str) -> Wrap<dyn Disk> {
    Arc::new(move |_, inner| Arc::new(DiskWithout { inner, name, error: io::ErrorKind::NotFound }))
}

/// A disk from which the small file `name` cannot be read.
pub(crate) fn unreadable(inner: Arc<dyn Disk>, name: &'static str) -> Arc<dyn Disk> {
    Arc::new(DiskWithout { inner, name, error: io::ErrorKind::PermissionDenied })
}
