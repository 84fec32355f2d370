//! The order of attempts, and the names of writes.

use std::fmt;

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

/// Orders attempts; never equal for two operations, and raised by an operation for each of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Raised above that of whoever outran an attempt.
    pub number: u64,
    /// Whose attempt it is.
    pub by: WriteId,
}
