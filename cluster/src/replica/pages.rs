//! A partition page by page, for whoever takes it over, hands it over or backs it up.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Replica, digest, keys};
use crate::quorum::ReadReply;
use crate::store::StoreError;
use crate::version::Record;

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

    /// What is kept of a partition for others behind `after`, whoever it is kept for, as much as makes a
    /// page.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn hints_page(&self, partition: u32, after: Option<&[u8]>) -> Result<Page, StoreError> {
        let mut records: BTreeMap<Bytes, Record> = BTreeMap::new();
        let mut end = PageEnd::Last;
        for owner in self.hint_owners()? {
            let prefix = keys::hints_of_partition(owner, partition);
            let after = after.map(|key| keys::hint(owner, partition, key));
            let stored = self.engine.keys(&prefix, after.as_deref(), PAGE_KEYS)?;
            let is_full = stored.len() == PAGE_KEYS;
            let mut bytes = 0;
            for (at, stored) in stored.iter().enumerate() {
                let Some((_, key)) = keys::parts_of_hint(stored) else { continue };
                let key = Bytes::copy_from_slice(key);
                match self.verified_record(stored) {
                    Ok(Some((encoded, record))) => {
                        bytes += encoded.len();
                        let merged = match records.remove(&key) {
                            Some(before) => before.clone().merge(record).unwrap_or(before),
                            None => record,
                        };
                        records.insert(key.clone(), merged);
                    }
                    // Handed over since it was listed.
                    Ok(None) => {}
                    Err(error) if digest::is_damage(&error) => {
                        end = end.or_earlier(PageEnd::Damaged(key));
                        break;
                    }
                    Err(super::ReplicaError::Store(error)) => return Err(error),
                    Err(_) => {
                        end = end.or_earlier(PageEnd::Damaged(key));
                        break;
                    }
                }
                if bytes >= PAGE_BYTES || (is_full && at + 1 == PAGE_KEYS) {
                    end = end.or_earlier(PageEnd::Full(key));
                    break;
                }
            }
        }
        if let PageEnd::Full(upto) | PageEnd::Damaged(upto) = &end {
            records.retain(|key, _| key <= upto);
        }
        let paged =
            |(key, record): (Bytes, Record)| Paged { key, record: record.encode().into(), is_complete: true };
        Ok(Page { records: records.into_iter().map(paged).collect(), end })
    }
}

impl PageEnd {
    /// The one of the two that comes first.
    fn or_earlier(self, other: Self) -> Self {
        let is_earlier = match (&self, &other) {
            (Self::Last, _) => true,
            (_, Self::Last) => false,
            // Of one key that it is damaged must not be forgotten.
            (Self::Damaged(a), Self::Full(b)) => b < a,
            (Self::Full(a) | Self::Damaged(a), Self::Full(b) | Self::Damaged(b)) => b <= a,
        };
        if is_earlier { other } else { self }
    }
}
