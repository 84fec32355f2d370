//! The contract of a storage engine.

use bytes::Bytes;
use quorate_env::BoxFuture;

use super::StoreError;
use crate::config::Durability;

/// Longest key that an engine takes, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// Longest value that an engine takes, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// An ordered map of byte strings, shared by all tasks of a node.
///
/// A write becomes visible to reads once it was appended (or inserted, where there is no log),
/// which is before the future of [`Engine::apply`] resolves and, under [`Promise::Synced`],
/// before it is durable. Once visible it stays so until overwritten, within one run.
pub trait Engine: Send + Sync + 'static {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when there is a record whose bytes have rotted. The key counts
    /// as missing, but its absence is no vote: what it held is unknown.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Applies a batch in order, all of it or, after a crash or an error, nothing.
    ///
    /// All of the appending happens in the first poll, so that a future that was never polled
    /// did nothing and one that was dropped later may still become durable.
    ///
    /// # Errors
    /// [`StoreError::maybe_applied`] says whether the batch may show up nevertheless.
    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// Up to `limit` records whose keys start with `prefix` and come after `after`, in key
    /// order. Fewer than `limit` means that there are no more. Damaged records are left out;
    /// [`Engine::damaged`] names them.
    ///
    /// # Errors
    /// Only when the disk cannot be read.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError>;

    /// As [`Engine::scan`], but the keys alone, without reading values where an index spares that.
    /// Known damage does not hide a key from this, unless the engine keeps no list of keys apart
    /// from the values.
    ///
    /// # Errors
    /// As [`Engine::scan`].
    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.scan(prefix, after, limit)?.into_iter().map(|(key, _)| key).collect())
    }

    /// Brings everything applied before this call under [`Engine::strongest`].
    ///
    /// # Errors
    /// As [`Engine::apply`].
    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// Keys whose records are known to be damaged, in order.
    fn damaged(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Does one bounded piece of background cleaning, as fast as `pace` lets it, and says whether
    /// it found any to do.
    ///
    /// # Errors
    /// As [`Engine::apply`]; nothing is lost.
    fn compact_step<'a>(&'a self, _pace: &'a dyn Pace) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(false) })
    }

    /// The strongest promise this engine keeps. Asking for more is [`StoreError::Unsupported`].
    fn strongest(&self) -> Promise;

    /// Counters for metrics and for judging how complete the records are.
    fn stats(&self) -> Stats;
}

/// Whom background work of an engine asks before it goes on.
pub trait Pace: Send + Sync {
    /// Waits until `bytes` more may be worked on.
    fn spend(&self, bytes: u64) -> BoxFuture<'_, ()>;
}

/// Lets everything go on at once, after whoever else is ready.
#[derive(Clone, Copy, Debug)]
pub struct Unhurried;

impl Pace for Unhurried {
    fn spend(&self, _bytes: u64) -> BoxFuture<'_, ()> {
        Box::pin(tokio::task::yield_now())
    }
}

/// One change to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets `key` to `value`.
    Put {
        /// At most [`KEY_BYTES_MAX`] bytes.
        key: Vec<u8>,
        /// At most [`VALUE_BYTES_MAX`] bytes.
        value: Bytes,
    },
    /// Forgets `key`; nothing happens when there is none.
    Delete {
        /// The key to forget.
        key: Vec<u8>,
    },
}

impl Write {
    /// The key that changes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Refuses what an engine cannot hold.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let (bytes, max) = match self {
            Self::Put { value, .. } if value.len() > VALUE_BYTES_MAX => (value.len(), VALUE_BYTES_MAX),
            _ => (self.key().len(), KEY_BYTES_MAX),
        };
        if bytes > max { Err(StoreError::TooLarge { bytes, max }) } else { Ok(()) }
    }
}

/// What must be true before a write is acknowledged, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// In this process.
    Memory,
    /// With the operating system: survives the end of the process (kill -9).
    OsBuffered,
    /// On stable storage: survives a power cut.
    Synced,
}

impl From<Durability> for Promise {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Commit => Self::Synced,
            Durability::Interval(_) => Self::OsBuffered,
            Durability::Memory => Self::Memory,
        }
    }
}

/// A place in the order of all writes of one engine. Later writes have greater positions; an
/// engine that keeps its data never goes back to a smaller one that it acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the log segment; 0 where there is no log.
    pub segment: u64,
    /// End of the write in the segment in bytes, or a count of writes where there is no log.
    pub offset: u64,
}

/// What an engine holds and did. Counters start at zero when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys with a value, damaged ones included.
    pub records: u64,
    /// Bytes of keys and values of those.
    pub live_bytes: u64,
    /// Bytes on disk, as far as the engine knows them.
    pub log_bytes: u64,
    /// Files of the log.
    pub segments: u64,
    /// Batches appended.
    pub appends: u64,
    /// Times that the disk was asked to make writes durable: few for many appends is what
    /// group commit is for.
    pub syncs: u64,
    /// Writes that were refused because too many waited for the disk.
    pub busy: u64,
    /// Keys whose records are known to be damaged.
    pub damaged_records: u64,
    /// Stretches of the log whose keys cannot be told: some record may be missing, or an older
    /// one shown in its place, so no absence in this engine is a vote.
    pub unreadable_regions: u64,
    /// Bytes cut from the end of the log on opening, as a crash in the middle of an append
    /// leaves them. Nothing acknowledged as synced was among them, unless it rotted.
    pub torn_bytes: u64,
}
