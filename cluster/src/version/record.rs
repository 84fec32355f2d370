//! What a replica keeps under a key, under each conflict rule.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{SiblingSet, Stamped};
use crate::register::Accepted;

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
    /// What an owner of a linearizable register has accepted. What it has promised is no part of
    /// it: that concerns nobody else.
    Single(Accepted),
}

impl Record {
    /// Joins two records of one key. Of two that were accepted the one of the higher ballot stays;
    /// only an owner that votes on nothing may merge those without looking at what it promised.
    ///
    /// # Errors
    /// [`KindMismatch`] if they follow different conflict rules: one is from another store.
    pub fn merge(self, other: Self) -> Result<Self, KindMismatch> {
        match (self, other) {
            (Self::Siblings(a), Self::Siblings(b)) => Ok(Self::Siblings(a.merge(b))),
            (Self::Latest(a), Self::Latest(b)) => Ok(Self::Latest(a.merge(b))),
            (Self::Single(a), Self::Single(b)) => Ok(Self::Single(if a.ballot >= b.ballot { a } else { b })),
            (Self::Siblings(_) | Self::Latest(_) | Self::Single(_), _) => Err(KindMismatch),
        }
    }

    /// Whether merging `other` into it would leave it as it is. May say no where it would.
    #[must_use]
    pub fn holds_all_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Siblings(mine), Self::Siblings(theirs)) => mine.holds_all_of(theirs),
            (Self::Latest(mine), Self::Latest(theirs)) => mine.stamp > theirs.stamp || mine == theirs,
            (Self::Single(mine), Self::Single(theirs)) => mine.ballot > theirs.ballot || mine == theirs,
            (Self::Siblings(_) | Self::Latest(_) | Self::Single(_), _) => false,
        }
    }

    /// How many actors its context names.
    #[must_use]
    pub fn actors(&self) -> usize {
        match self {
            Self::Siblings(set) => set.context().actors(),
            Self::Latest(_) | Self::Single(_) => 0,
        }
    }

    /// Keeps at most so many actors in the context; see [`SiblingSet::with_actors_at_most`].
    #[must_use]
    pub fn with_actors_at_most(self, actors_max: usize) -> Self {
        match self {
            Self::Siblings(set) => Self::Siblings(set.with_actors_at_most(actors_max)),
            Self::Latest(_) | Self::Single(_) => self,
        }
    }

    /// The values a get returns; none for a deleted key.
    #[must_use]
    pub fn payloads(&self) -> Vec<&Payload> {
        match self {
            Self::Siblings(set) => set.siblings().iter().map(|s| &s.payload).collect(),
            Self::Latest(stamped) => stamped.payload.iter().collect(),
            Self::Single(accepted) => accepted.value.payload.iter().collect(),
        }
    }

    /// Whether it is that of a deleted key: it has no value, and only says what was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        match self {
            Self::Siblings(set) => set.siblings().is_empty(),
            Self::Latest(stamped) => stamped.payload.is_none(),
            Self::Single(accepted) => accepted.value.payload.is_none(),
        }
    }

    /// The writes behind [`Record::payloads`], as text; for a deleted key its delete, where there is
    /// only one value a key.
    #[must_use]
    pub fn versions(&self) -> Vec<String> {
        match self {
            Self::Siblings(set) => set.siblings().iter().map(|s| s.dot.to_string()).collect(),
            Self::Latest(stamped) => vec![stamped.stamp.to_string()],
            Self::Single(accepted) => vec![accepted.value.id.to_string()],
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
        postcard::from_bytes(bytes).map_err(|error| Undecodable::of(&error))
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

impl Undecodable {
    /// As the decoder says it.
    pub(crate) fn of(error: &postcard::Error) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::register::{Ballot, Write, WriteId};
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
        let id = WriteId { incarnation: 3, sequence: 4 };
        let accepted = |epoch, payload| {
            let ballot = Ballot { epoch, number: 2, by: id };
            Record::Single(Accepted { ballot, value: Write { id, payload } })
        };
        let (single, gone) = (accepted(1, Some(two.clone())), accepted(2, None));
        assert_eq!((single.payloads(), single.versions()), (vec![&two], vec![id.to_string()]));
        assert_eq!((gone.payloads().len(), gone.versions(), gone.is_deleted()), (0, single.versions(), true));
        for (a, b) in [(&single, &gone), (&gone, &single), (&gone, &gone)] {
            assert_eq!(a.clone().merge(b.clone()).as_ref(), Ok(&gone), "the higher ballot stays");
        }
        assert!(gone.holds_all_of(&single) && !single.holds_all_of(&gone));
        assert!(!latest.holds_all_of(&single) && latest.holds_all_of(&latest));
        assert_eq!(latest.clone().merge(single.clone()), Err(KindMismatch));
        for record in [&siblings, &latest, &deleted, &single, &gone] {
            assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(record));
            let bytes = record.encode();
            assert!(Record::decode(&bytes[..bytes.len() - 1]).is_err());
        }
        assert_eq!(siblings.merge(latest), Err(KindMismatch));
    }
}
