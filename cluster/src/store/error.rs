//! What may go wrong in an engine, and whether the write may have happened.

use std::io;

/// An error of a storage engine.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The record is there but its bytes are not those that were written. Nothing changed.
    #[error("the record of key {key} in {file} is damaged: its checksum does not fit")]
    Damaged {
        /// The key, escaped.
        key: String,
        /// The file that holds the record.
        file: String,
    },
    /// No space is left; the batch was taken back. Works again once there is space.
    #[error("no space is left to write {file}; the write was taken back")]
    Full {
        /// The file that could not grow.
        file: String,
    },
    /// As many writes wait for the disk as may; this batch was not written.
    #[error("{waiting} writes wait for the disk already; try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The disk refused a write and the batch was taken back, or refused a read.
    #[error("{file}: {source}")]
    Io {
        /// The file concerned.
        file: String,
        /// What the operating system said.
        source: IoError,
    },
    /// The batch was written but may not have reached stable storage; the engine takes no more
    /// writes. The batch may have happened.
    #[error(
        "cannot make {file} durable ({source}): nothing since the last sync is safe, and no more writes are taken until the store is opened again"
    )]
    SyncFailed {
        /// The file concerned.
        file: String,
        /// What the operating system said.
        source: IoError,
    },
    /// The engine takes no writes since an earlier failure. This batch did not happen.
    #[error("no writes are taken until the store is opened again: {reason}")]
    Stopped {
        /// The earlier failure.
        reason: String,
    },
    /// The node stopped before the batch was acknowledged. The batch may have happened.
    #[error("the node stopped in the middle of the write")]
    StoppedMeanwhile,
    /// The engine cannot do this at all. Nothing changed.
    #[error("engine {engine} cannot do {what}")]
    Unsupported {
        /// Name of the engine.
        engine: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// A key or value beyond what an engine holds. Nothing changed.
    #[error("{bytes} bytes exceed the {max} that an engine takes")]
    TooLarge {
        /// Length of the key or value.
        bytes: usize,
        /// The most that is taken.
        max: usize,
    },
    /// The directory holds something that this version did not write.
    #[error("{file}: {says}")]
    Foreign {
        /// The file that shows it.
        file: String,
        /// What is there and what to do.
        says: String,
    },
    /// The embedded database failed; it does not say how far it came.
    #[error("{engine}: {says}")]
    Embedded {
        /// Name of the engine.
        engine: &'static str,
        /// What it said.
        says: String,
    },
}

impl StoreError {
    /// Whether the batch that got this error may be there nevertheless, now or after a restart.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        match self {
            Self::SyncFailed { .. } | Self::Embedded { .. } | Self::StoppedMeanwhile => true,
            Self::Damaged { .. }
            | Self::Full { .. }
            | Self::Busy { .. }
            | Self::Io { .. }
            | Self::Stopped { .. }
            | Self::Unsupported { .. }
            | Self::TooLarge { .. }
            | Self::Foreign { .. } => false,
        }
    }

    /// Whether the disk is to blame, rather than the write or the load.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Io { .. } | Self::Embedded { .. } => true,
            Self::SyncFailed { .. } | Self::Stopped { .. } => true,
            Self::Damaged { .. } | Self::Busy { .. } | Self::StoppedMeanwhile => false,
            Self::Unsupported { .. } | Self::TooLarge { .. } | Self::Foreign { .. } => false,
        }
    }

    /// Whether no write is taken before the store is opened anew.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        matches!(self, Self::SyncFailed { .. } | Self::Stopped { .. })
    }

    pub(super) fn damaged(key: &[u8], file: impl Into<String>) -> Self {
        Self::Damaged { key: format!("\"{}\"", key.escape_ascii()), file: file.into() }
    }

    pub(super) fn io(file: impl Into<String>, error: io::Error) -> Self {
        let file = file.into();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { file },
            _ => Self::Io { file, source: error.into() },
        }
    }
}

/// An [`io::Error`] that several waiting writers can share.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct IoError(std::sync::Arc<io::Error>);

impl From<io::Error> for IoError {
    fn from(error: io::Error) -> Self {
        Self(std::sync::Arc::new(error))
    }
}
