//! What a backup is: the records of all keys, as versions, not as values.
//!
//! **Consistent per key.** Every write that was acknowledged before the backup began is in it, or a newer
//! one of its key, with its siblings, its context or its tombstone. Keys are not of one moment among each
//! other: a store without transactions has no such moment.
//!
//! An acknowledged write lies on W distinct nodes: owners, and where a quorum is sloppy also nodes that
//! keep it for owners, on no owner's disk perhaps. So a page of a backup is put together from what all
//! members keep for others, asked first, and then from the copies of the partition's owners
//! ([`Gathering`]): a hint that was handed over before it was asked for has reached its owner, durably,
//! before that owner was asked. Fewer than W nodes may be missing, for then one of every W is not.
//! All of it happens under one view, so that no copy moves in between, and no tombstone is forgotten
//! between two pages of one partition: whoever reads a partition under two views begins it anew.
//!
//! **A restored version is never given again.** Versions name the runs of nodes that made them. A run's
//! number is drawn anew at each start, 64 bits wide, so nodes of the store that is restored into never
//! make one that is in the backup, whatever they are called.
//!
//! Pure. Not here: asking nodes (`coordinator/archive`), paths (`api`), where a file lies (the program).

mod file;
mod gathering;

pub use file::{BackupError, Contents, End, FORMAT, Header, Mark, Reader, Writer};
pub use gathering::{Gathered, Gathering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::config::NodeId;
use crate::membership::ViewVersion;
use crate::version::Undecodable;

/// A key and its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// An encoded [`crate::version::Record`].
    pub record: Bytes,
}

impl Entry {
    /// Its size, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.key.len() + self.record.len()) as u64
    }
}

/// Some of one partition, as a node answers `GET /cluster/backup/{partition}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portion {
    /// Under which view it was read. All portions of a partition must be of one.
    pub view: ViewVersion,
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// The key that the next portion begins behind; none if this was the last.
    pub next: Option<Bytes>,
    /// Who did not say all. Fewer than W, unless the rest was asked for all the same.
    pub lacking: Vec<NodeId>,
}

/// The bytes of portions and batches of entries as they travel.
///
/// # Panics
/// Never: they always have an encoding.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("portions and entries have an encoding")
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`Undecodable`] for anything else.
pub fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Undecodable> {
    postcard::from_bytes(bytes).map_err(|error| Undecodable::of(&error))
}
