//! Digests of whole partitions and of their keys, for anti-entropy to compare (Dynamo,
//! section 4.7).
//!
//! A partition's digest is the sum of its records' digests, so it does not depend on order.

use serde::{Deserialize, Serialize};

use super::{Replica, keys};
use crate::ring::position;
use crate::store::StoreError;

/// How many records are read between two pauses.
const PAGE: usize = 256;

/// One key of a partition and the digest of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDigest {
    /// The key.
    pub key: Vec<u8>,
    /// Of key and record.
    pub digest: u128,
}

/// All of a partition in 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDigest {
    /// How many keys it holds.
    pub keys: u64,
    /// The wrapping sum of the digests of its records.
    pub sum: u128,
}

impl Replica {
    /// The digest of a partition, by reading all of it. Yields between pages: a large partition
    /// must not hold up requests.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub async fn partition_digest(&self, partition: u32) -> Result<PartitionDigest, StoreError> {
        let mut digest = PartitionDigest::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.key_digests(partition, after.as_deref(), PAGE)?;
            for key in &page {
                digest.keys += 1;
                digest.sum = digest.sum.wrapping_add(key.digest);
            }
            if page.len() < PAGE {
                return Ok(digest);
            }
            after = page.into_iter().next_back().map(|last| last.key);
            tokio::task::yield_now().await;
        }
    }

    /// The digests of up to `limit` keys behind `after`, in key order.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn key_digests(
        &self,
        partition: u32,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyDigest>, StoreError> {
        let after = after.map(|key| keys::data(partition, key));
        let page = self.engine.scan(&keys::partition_prefix(partition), after.as_deref(), limit)?;
        let digest = |(stored, bytes): (Vec<u8>, bytes::Bytes)| {
            let mut both = Vec::with_capacity(stored.len() + bytes.len());
            both.extend_from_slice(&stored);
            both.extend_from_slice(&bytes);
            KeyDigest { key: keys::key_of_data(&stored).to_vec(), digest: position(&both) }
        };
        Ok(page.into_iter().map(digest).collect())
    }
}
