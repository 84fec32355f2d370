//! The order of attempts, and the names of writes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names one operation for ever: no two runs of a node share an incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriteId {
    /// The run of the node that made it.
    pub incarnation: u64,
    /// Counts within the run.
    pub sequence: u64,
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.incarnation, self.sequence)
    }
}

/// Text that names no write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a write")]
pub struct NoWriteId;

impl FromStr for WriteId {
    type Err = NoWriteId;

    fn from_str(text: &str) -> Result<Self, NoWriteId> {
        let (incarnation, sequence) = text.split_once('.').ok_or(NoWriteId)?;
        let id = Self {
            incarnation: u64::from_str_radix(incarnation, 16).map_err(|_| NoWriteId)?,
            sequence: sequence.parse().map_err(|_| NoWriteId)?,
        };
        // One name, one spelling: it is compared as text elsewhere.
        if id.to_string() == text { Ok(id) } else { Err(NoWriteId) }
    }
}

/// Orders attempts; never equal for two operations, and raised by an operation for each of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// The epoch of the view that the attempt was made in. It comes first: an owner that is new in an
    /// epoch knows what was chosen before it, but not what was promised, so nothing from before may
    /// be above what it votes for.
    pub epoch: u64,
    /// Raised above that of whoever outran an attempt.
    pub number: u64,
    /// Whose attempt it is.
    pub by: WriteId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_write_has_one_spelling() {
        let id = WriteId { incarnation: 0xab, sequence: 12 };
        assert_eq!((id.to_string().as_str(), "00000000000000ab.12".parse()), ("00000000000000ab.12", Ok(id)));
        for text in ["", "ab.12", "00000000000000AB.12", "00000000000000ab.012", "00000000000000ab", "x.1"] {
            assert_eq!(text.parse::<WriteId>(), Err(NoWriteId), "{text}");
        }
    }

    #[test]
    fn a_later_epoch_is_above_every_number_of_an_earlier_one() {
        let ballot = |epoch, number| Ballot { epoch, number, by: WriteId::default() };
        assert!(ballot(2, 1) > ballot(1, u64::MAX) && ballot(2, 2) > ballot(2, 1));
    }
}
