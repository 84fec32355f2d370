//! One suite over all engines, and what a log must withstand.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod concurrent; // one sync for many, and writers that go away
mod conformance; // any engine is a map
mod crash; // what a power cut and a kill leave
mod fault; // rot, full disks, failing syncs
mod hints; // opening by hints or by reading

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_env::{Random, RandomStream, SimulatedDisk};

use super::*;

/// What an engine should hold.
type Model = BTreeMap<Vec<u8>, Bytes>;

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Write {
    Write::Put { key: key.as_ref().to_vec(), value: Bytes::copy_from_slice(value.as_ref()) }
}

fn delete(key: impl AsRef<[u8]>) -> Write {
    Write::Delete { key: key.as_ref().to_vec() }
}

fn apply_to_model(model: &mut Model, batch: &[Write]) {
    for write in batch {
        match write {
            Write::Put { key, value } => model.insert(key.clone(), value.clone()),
            Write::Delete { key } => model.remove(key),
        };
    }
}

/// Everything in an engine, read in pages.
fn contents(engine: &dyn Engine) -> Model {
    let mut all = Model::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = engine.scan(b"", after.as_deref(), 7).unwrap();
        let is_last = page.len() < 7;
        after = page.last().map(|(key, _)| key.clone());
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

/// A log whose segments are so small that rolling and compaction happen all the time.
fn small() -> LogOptions {
    LogOptions { segment_bytes: 600, dead_bytes_min: 200, ..LogOptions::default() }
}

async fn open_log(disk: &SimulatedDisk) -> Result<LogEngine, StoreError> {
    LogEngine::open(disk.mount(), small()).await
}

fn random(seed: u64) -> RandomStream {
    Random::from_seed(seed).stream("store-test")
}

fn newest_segment(disk: &SimulatedDisk) -> String {
    disk.mount().list().unwrap().into_iter().rfind(|name| name.ends_with(".segment")).unwrap()
}
