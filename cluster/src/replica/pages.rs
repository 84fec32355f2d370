//! A partition page by page, for whoever takes it over and whoever hands it over.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Replica;
use crate::quorum::ReadReply;
use crate::store::StoreError;

/// A page ends with the record that makes it so many bytes. One record fits a frame beside as many:
/// frames have room for more siblings than a record may have.
const PAGE_BYTES: usize = 64 << 10;
/// Records in a page at most: reading them keeps a processor from requests.
const PAGE_KEYS: usize = 16;

/// Some records of one partition, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// From behind the key that was asked for.
    pub records: Vec<Paged>,
    /// Why there are not more of them.
    pub end: PageEnd,
}

/// A record of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paged {
    /// The key.
    pub key: Bytes,
    /// The encoded record.
    pub record: Bytes,
    /// Whether it holds all that was ever acknowledged here, as far as this node knows.
    pub is_complete: bool,
}

/// Why a page ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageEnd {
    /// It is full; it has all up to this key.
    Full(Bytes),
    /// The record of this key is there and cannot be read.
    Damaged(Bytes),
    /// Nothing comes behind it.
    Last,
}

impl Page {
    /// The bytes of its records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.records.iter().map(|paged| paged.record.len() as u64).sum()
    }
}

impl Replica {
    /// The records of a partition behind `after`, as many as make a page.
    ///
    /// # Errors
    /// When the engine cannot list its keys.
    pub fn page(&self, partition: u32, after: Option<&[u8]>) -> Result<Page, StoreError> {
        let keys = self.keys(partition, after, PAGE_KEYS)?;
        let mut end = match keys.last() {
            Some(last) if keys.len() == PAGE_KEYS => PageEnd::Full(last.clone()),
            _ => PageEnd::Last,
        };
        let mut records: Vec<Paged> = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            let (record, is_complete) = match self.read(partition, &key) {
                ReadReply::Found(record) => (record, true),
                ReadReply::Partial(record) => (record, false),
                // Handed over and dropped since it was listed.
                ReadReply::NotFound { .. } => continue,
                ReadReply::Damaged => {
                    end = PageEnd::Damaged(key);
                    break;
                }
            };
            let record = Bytes::from(record.encode());
            bytes += record.len();
            records.push(Paged { key: key.clone(), record, is_complete });
            if bytes >= PAGE_BYTES {
                end = PageEnd::Full(key);
                break;
            }
        }
        Ok(Page { records, end })
    }
}
