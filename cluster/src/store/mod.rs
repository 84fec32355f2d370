//! One node's own records on its own disk: what an engine promises, and the engines.
//!
//! An [`Engine`] is an ordered map of byte strings that applies batches whole and says when
//! they are safe. The `log` engine is an append-only log with its index in memory (the shape of
//! Riak's Bitcask); `memory` keeps nothing; `fjall` is the embedded database of that name; `sled`
//! another, behind the log because it never reaches stable storage by itself. What each promises
//! after which mishap, and the test that shows it, is in `docs/engines.md`.
//!
//! Dynamo, section 5: a local persistence component that allows different engines.
//!
//! Not here: what keys and values mean, versions, or other nodes.

pub mod closing; // any engine, until its node stops
mod commit; // many writers, one sync
pub mod compressing; // any engine, with its values compressed
pub mod engine; // the contract
pub mod error; // what may go wrong, and whether the write may have happened
pub mod fjall; // an embedded database as an engine
pub mod log; // the default engine
pub mod memory; // an engine without a disk
mod sled; // an embedded database behind the log

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use quorate_env::Disk;

use crate::config::{Compression, EngineKind};

pub use closing::Closing;
pub use compressing::Compressing;
pub use engine::{Engine, Pace, Position, Promise, Stats, Unhurried, Write};
pub use error::StoreError;
pub use fjall::FjallEngine;
pub use log::{LogEngine, LogOptions};
pub use memory::MemoryEngine;

/// Opens an engine of this `kind`: `log` on `disk`, `fjall` below `directory`, `sled` with its log on
/// `disk` and itself below `directory`, `memory` nowhere.
///
/// # Errors
/// Names the file when the directory cannot be read or written, holds another format, or is
/// damaged beyond what the engine can work around. [`StoreError::Unsupported`] for `fjall` and `sled`
/// without a real directory.
pub async fn open(
    kind: EngineKind,
    disk: Arc<dyn Disk>,
    directory: Option<&Path>,
) -> Result<Arc<dyn Engine>, StoreError> {
    open_with(kind, Compression::None, disk, directory, LogOptions::default()).await
}

/// As [`open`], with values compressed and a log of these sizes.
///
/// # Errors
/// As [`open`].
pub async fn open_with(
    kind: EngineKind,
    compression: Compression,
    disk: Arc<dyn Disk>,
    directory: Option<&Path>,
    options: LogOptions,
) -> Result<Arc<dyn Engine>, StoreError> {
    let real = |engine| {
        directory.ok_or(StoreError::Unsupported {
            engine,
            what: "a simulated disk: it opens files and threads of its own",
        })
    };
    let engine: Arc<dyn Engine> = match kind {
        EngineKind::Log => Arc::new(LogEngine::open(disk, options).await?),
        EngineKind::Memory => Arc::new(MemoryEngine::new()),
        EngineKind::Fjall => {
            let (directory, commits_max) = (real("fjall")?.join("fjall"), options.commits_max);
            let opened = tokio::task::spawn_blocking(move || FjallEngine::open(&directory, commits_max));
            Arc::new(
                opened.await.map_err(|e| StoreError::Embedded { engine: "fjall", says: e.to_string() })??,
            )
        }
        EngineKind::Sled => sled::open(disk, real("sled")?, options).await?,
    };
    Ok(Compressing::around(engine, compression))
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
