//! What a replica keeps under a key, under either conflict rule.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{SiblingSet, Stamped};

/// A value as a client sent it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Payload {
    /// Its media type, given back as it came.
    pub content_type: String,
    /// Its bytes.
    pub value: Bytes,
}

impl Payload {
    /// A value of no particular type.
    #[must_use]
    pub fn bytes(value: impl Into<Bytes>) -> Self {
        Self { content_type: "application/octet-stream".into(), value: value.into() }
    }
}

/// A key's values and their past. One store holds one kind only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// Concurrent values side by side.
    Siblings(SiblingSet),
    /// The latest by stamp.
    Latest(Stamped),
}

impl Record {
    /// Joins two records of one key.
    ///
    /// # Errors
    /// [`KindMismatch`] if they follow different conflict rules: one is from another store.
    pub fn merge(self, other: Self) -> Result<Self, KindMismatch> {
        match (self, other) {
            (Self::Siblings(a), Self::Siblings(b)) => Ok(Self::Siblings(a.merge(b))),
            (Self::Latest(a), Self::Latest(b)) => Ok(Self::Latest(a.merge(b))),
            (Self::Siblings(_), Self::Latest(_)) | (Self::Latest(_), Self::Siblings(_)) => Err(KindMismatch),
        }
    }

    /// Keeps at most so many actors in the context; see [`SiblingSet::with_actors_at_most`].
    #[must_use]
    pub fn with_actors_at_most(self, actors_max: usize) -> Self {
        match self {
            Self::Siblings(set) => Self::Siblings(set.with_actors_at_most(actors_max)),
            Self::Latest(_) => self,
        }
    }

    /// The values a get returns; none for a deleted key.
    #[must_use]
    pub fn payloads(&self) -> Vec<&Payload> {
        match self {
            Self::Siblings(set) => set.siblings().iter().map(|s| &s.payload).collect(),
            Self::Latest(stamped) => stamped.payload.iter().collect(),
        }
    }

    /// Whether it is that of a deleted key: it has no value, and only says what was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        match self {
            Self::Siblings(set) => set.siblings().is_empty(),
            Self::Latest(stamped) => stamped.payload.is_none(),
        }
    }

    /// The writes behind [`Record::payloads`], as text; for a deleted key under
    /// last-write-wins the stamp of its delete.
    #[must_use]
    pub fn versions(&self) -> Vec<String> {
        match self {
            Self::Siblings(set) => set.siblings().iter().map(|s| s.dot.to_string()).collect(),
            Self::Latest(stamped) => vec![stamped.stamp.to_string()],
        }
    }

    /// The stored form. Equal records have equal bytes.
    ///
    /// # Panics
    /// Never: a record always has an encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a record has an encoding")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Undecodable`] for bytes that no version of this program wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        postcard::from_bytes(bytes).map_err(|e| Undecodable(e.to_string()))
    }
}

/// Two records of one key follow different conflict rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the records follow different conflict rules; one comes from another store")]
pub struct KindMismatch;

/// Bytes that are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a stored record: {0}")]
pub struct Undecodable(String);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::testing::node;
    use crate::version::{Actor, Context, Dot, Stamp};

    fn dot(n: usize) -> Dot {
        Dot { actor: Actor { node: node(n), incarnation: 1, epoch: 0 }, counter: 1 }
    }

    #[test]
    fn records_of_both_kinds_show_their_values_and_come_back_from_their_bytes() {
        let put = |n| SiblingSet::put(Context::new(), dot(n), Payload::bytes(format!("v{n}")));
        let siblings = Record::Siblings(put(1).merge(put(2)));
        let (one, two) = (Payload::bytes("v1"), Payload::bytes("v2"));
        assert_eq!(siblings.payloads(), [&one, &two]);
        assert_eq!(siblings.versions(), [dot(1).to_string(), dot(2).to_string()]);
        let stamp = Stamp { wall_ns: 7, ..Stamp::default() };
        let latest = Record::Latest(Stamped { stamp, payload: Some(one.clone()) });
        assert_eq!((latest.payloads(), latest.versions()), (vec![&one], vec![stamp.to_string()]));
        let deleted = Record::Latest(Stamped { stamp, payload: None });
        assert_eq!((deleted.payloads().len(), deleted.versions()), (0, vec![stamp.to_string()]));
        assert_eq!([&siblings, &latest, &deleted].map(Record::is_deleted), [false, false, true]);
        assert!(Record::Siblings(SiblingSet::delete(Context::new(), dot(1))).is_deleted());
        for record in [&siblings, &latest, &deleted] {
            assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(record));
            assert!(Record::decode(&record.encode()[1..]).is_err());
        }
        assert_eq!(siblings.merge(latest), Err(KindMismatch));
    }
}
