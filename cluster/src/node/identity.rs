//! What a node must remember of itself: that this directory is its own and this store's, how
//! often it started, and the bound of its stamps.

use quorate_env::Disk;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::config::{NodeId, StoreDefinition};
use crate::planted::{Bug, is_planted};
use quorate_env::Random;

/// The file that holds it.
pub const IDENTITY_FILE: &str = "node.json";
/// Exists only between a graceful stop and the next start.
const CLEAN_FILE: &str = "clean-stop";

/// Version of the format of that file, and of the small files of `membership` beside it, which have none of
/// their own: raised whenever one of them changes. What an engine keeps has versions of its own.
const FORMAT: u32 = 1;

/// What every version of the file begins with, whatever else there is.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// A node's identity during one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of this file's format.
    pub format: u32,
    /// Whose directory it is.
    pub node: NodeId,
    /// Of which store.
    pub store: StoreDefinition,
    /// How often the node has started, this time included.
    pub start_number: u64,
    /// Fresh on every start; part of every dot and stamp.
    pub incarnation: u64,
    /// No stamp at or above it was given yet.
    pub clock_bound_ns: u64,
}

/// Why a data directory was refused. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read or written.
    #[error("{IDENTITY_FILE} in the data directory: {0}")]
    Io(#[from] std::io::Error),
    /// It is not what this version writes.
    #[error("{IDENTITY_FILE} in the data directory cannot be understood: {0}")]
    Unreadable(String),
    /// A version with another format wrote it.
    #[error(
        "{IDENTITY_FILE} in the data directory has format {found}, this version reads format {FORMAT}; use the version that wrote it"
    )]
    OtherFormat {
        /// Its format.
        found: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "the data directory belongs to node {theirs}, not {ours}; give every node a directory of its own"
    )]
    OtherNode {
        /// Whose it is.
        theirs: NodeId,
        /// Who wants it.
        ours: NodeId,
    },
    /// It belongs to a store with other promises.
    #[error("the data directory holds another store: {} differ; a definition is fixed for the life of a store, so use another directory or restore the definition", .0.join(", "))]
    OtherStore(Vec<String>),
}

/// How a start found the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Who the node is in this run; already on disk.
    pub identity: Identity,
    /// Whether the directory was new.
    pub first: bool,
    /// Whether the run before ended gracefully.
    pub clean: bool,
}

impl Identity {
    /// Takes a start number and a fresh incarnation and makes them durable before anything is
    /// served. The incarnation depends on the node's random stream and on the start number, so
    /// that neither a restored old disk (same number, other draw) nor a simulator (same stream,
    /// other number) repeats it.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub async fn begin(
        disk: &dyn Disk,
        node: NodeId,
        store: &StoreDefinition,
        random: Random,
    ) -> Result<Start, IdentityError> {
        let before = match disk.read(IDENTITY_FILE) {
            Ok(bytes) => Some(Self::parse(&bytes, node, store)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let start_number = before.as_ref().map_or(0, |b| b.start_number) + 1;
        let incarnation = random.child("incarnation").stream(&start_number.to_string()).next_u64();
        let incarnation = if is_planted(Bug::DotReusedAfterWipe) { start_number } else { incarnation };
        let clock_bound_ns = before.as_ref().map_or(0, |b| b.clock_bound_ns);
        let identity =
            Self { format: FORMAT, node, store: store.clone(), start_number, incarnation, clock_bound_ns };
        identity.save(disk).await?;
        let clean = disk.read(CLEAN_FILE).is_ok();
        if clean {
            disk.remove(CLEAN_FILE)?;
        }
        Ok(Start { identity, first: before.is_none(), clean })
    }

    fn parse(bytes: &[u8], node: NodeId, store: &StoreDefinition) -> Result<Self, IdentityError> {
        let unreadable = |e: serde_json::Error| IdentityError::Unreadable(e.to_string());
        // The format first: what another version wrote may have other fields.
        let Versioned { format: found } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if found != FORMAT {
            return Err(IdentityError::OtherFormat { found });
        }
        let before: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        if before.node != node {
            return Err(IdentityError::OtherNode { theirs: before.node, ours: node });
        }
        if before.store != *store {
            return Err(IdentityError::OtherStore(store.differing_fields(&before.store)));
        }
        Ok(before)
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub async fn save(&self, disk: &dyn Disk) -> std::io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?;
        disk.write_atomic(IDENTITY_FILE, &bytes).await
    }

    /// Notes that everything was flushed and the node stops.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub async fn mark_clean_stop(disk: &dyn Disk) -> std::io::Result<()> {
        disk.write_atomic(CLEAN_FILE, b"").await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_env::disk::SimulatedDisk;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_start_has_an_incarnation_of_its_own() {
        let disk = SimulatedDisk::default().mount();
        let (node, store) = ("n1".parse().unwrap(), StoreDefinition::default());
        let first = Identity::begin(&*disk, node, &store, Random::from_seed(1)).await.unwrap();
        let second = Identity::begin(&*disk, node, &store, Random::from_seed(1)).await.unwrap();
        assert!(first.first && !second.first && !second.clean);
        assert_eq!(second.identity.start_number, 2);
        assert_ne!(first.identity.incarnation, second.identity.incarnation);
        Identity::mark_clean_stop(&*disk).await.unwrap();
        assert!(Identity::begin(&*disk, node, &store, Random::from_seed(1)).await.unwrap().clean);
        assert!(!Identity::begin(&*disk, node, &store, Random::from_seed(1)).await.unwrap().clean);
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_of_another_node_or_store_is_refused_by_name() {
        let disk = SimulatedDisk::default().mount();
        let store = StoreDefinition::default();
        Identity::begin(&*disk, "n1".parse().unwrap(), &store, Random::from_seed(1)).await.unwrap();
        let other_node = Identity::begin(&*disk, "n2".parse().unwrap(), &store, Random::from_seed(1)).await;
        assert!(other_node.unwrap_err().to_string().contains("belongs to node n1"));
        let other = StoreDefinition { read_quorum: 1, ..store };
        let other_store = Identity::begin(&*disk, "n1".parse().unwrap(), &other, Random::from_seed(1)).await;
        assert!(other_store.unwrap_err().to_string().contains("read_quorum"));
    }
}
