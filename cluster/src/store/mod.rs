//! One node's own records on its own disk: what an engine promises, and the engines.
//!
//! An [`Engine`] is an ordered map of byte strings that applies batches whole and says when
//! they are safe. The `log` engine is an append-only log with its index in memory (the shape of
//! Riak's Bitcask); `memory` keeps nothing; `sled` is the embedded database of that name, which
//! never reaches stable storage by itself and therefore refuses [`Promise::Synced`].
//!
//! Dynamo, section 5: a local persistence component that allows different engines.
//!
//! Not here: what keys and values mean, versions, or other nodes.

pub mod closing; // any engine, until its node stops
pub mod engine; // the contract
pub mod error; // what may go wrong, and whether the write may have happened
pub mod log; // the default engine
pub mod memory; // an engine without a disk
pub mod sled; // an embedded database as an engine

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use quorate_env::Disk;

use crate::config::EngineKind;

pub use closing::Closing;
pub use engine::{Engine, Pace, Position, Promise, Stats, Unhurried, Write};
pub use error::StoreError;
pub use log::{LogEngine, LogOptions};
pub use memory::MemoryEngine;
pub use sled::SledEngine;

/// Opens an engine of this `kind`: `log` on `disk`, `sled` below `directory`, `memory` nowhere.
///
/// # Errors
/// Names the file when the directory cannot be read or written, holds another format, or is
/// damaged beyond what the engine can work around. [`StoreError::Unsupported`] for `sled`
/// without a real directory.
pub async fn open(
    kind: EngineKind,
    disk: Arc<dyn Disk>,
    directory: Option<&Path>,
) -> Result<Arc<dyn Engine>, StoreError> {
    open_with(kind, disk, directory, LogOptions::default()).await
}

/// As [`open`], with a log of these sizes.
///
/// # Errors
/// As [`open`].
pub async fn open_with(
    kind: EngineKind,
    disk: Arc<dyn Disk>,
    directory: Option<&Path>,
    options: LogOptions,
) -> Result<Arc<dyn Engine>, StoreError> {
    match kind {
        EngineKind::Log => Ok(Arc::new(LogEngine::open(disk, options).await?)),
        EngineKind::Memory => Ok(Arc::new(MemoryEngine::new())),
        EngineKind::Sled => match directory {
            Some(directory) => Ok(Arc::new(SledEngine::open(&directory.join("sled"))?)),
            None => Err(StoreError::Unsupported {
                engine: "sled",
                what: "a simulated disk: it opens files and threads of its own",
            }),
        },
    }
}

/// Keys that are deleted in one batch.
const CLEAR_PAGE: usize = 1024;

/// Drops everything in `engine`, as durably as it can.
///
/// # Errors
/// When the engine fails; some of it may be gone then.
pub async fn clear(engine: &dyn Engine) -> Result<(), StoreError> {
    loop {
        let page = engine.keys(b"", None, CLEAR_PAGE)?;
        if page.is_empty() {
            break;
        }
        let batch = page.into_iter().map(|key| Write::Delete { key }).collect();
        engine.apply(batch, Promise::Memory).await?;
    }
    engine.flush().await.map(drop)
}
