//! One suite over all engines, and what a log must withstand.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod compressing; // what is stored of a value
mod concurrent; // one sync for many, and writers that go away
mod conformance; // any engine is a map
mod crash; // what a power cut and a kill leave
mod fault; // rot, full disks, failing syncs of the log
mod fjall; // the same for an engine with files of its own
mod full_disk; // a file system that is full, for all that write
mod hints; // opening by hints or by reading
mod sled; // whatever becomes of the second place

use std::collections::BTreeMap;
use std::path::Path;
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

/// Copies a directory with all that is in it, as a crash of the process would leave it.
fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut code = String::new();
    for folder in ["cluster/src/store/tests", "tests/cli"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            code += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
        }
    }
    let page = std::fs::read_to_string(root.join("docs/engines.md")).unwrap();
    let named: Vec<&str> =
        page.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 2).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(
            code.contains(&format!("fn {name}()")),
            "docs/engines.md names `{name}`, and there is no such test"
        );
    }
}
