//! One linearizable register a key: CASPaxos.
//!
//! After Rystsov, "CASPaxos: Replicated State Machines without logs" (2018): there is no log and no
//! leader. An operation reads what a majority accepted under a ballot of its own (prepare), applies
//! itself to the highest of it, and has a majority accept the result (accept). Any node proposes.
//!
//! | operation | what it has accepted |
//! |---|---|
//! | get | what it found, again; nothing to be done when a majority agrees already |
//! | put, delete | its value, or that there is none |
//! | compare-and-set | its value if what it found is the write it names, else what it found |
//!
//! **At most once.** An operation whose accept was sent may have happened, even if nobody told it so.
//! It tries again only while it can see that it did not: what it finds is itself (then it finishes
//! that), or something below its own first accept (then that accept can no longer be chosen). In any
//! other case it ends as unknown.
//!
//! **Changes of the owners.** An operation counts majorities in each of the owner sets that it is
//! given: one, or while a partition moves the old and the new. That views follow each other so that
//! two in use at once always share a majority is `membership`'s work, as is that an owner which does
//! not hold all that it once voted for casts no vote. Such an owner takes over what the others have
//! accepted (`replica`), but nobody's promises; so ballots of a new epoch are above all earlier ones, and
//! what was accepted in an earlier one is read without a ballot only if all owners have the same.
//! `model` explores all this with every interleaving of small cases, and shows what breaks without.
//!
//! Pure: votes in, decisions out. Not here: messages, disks, who owns what.

mod ballot;
mod operation;
mod tally;

#[cfg(test)]
mod model;

pub use ballot::{Ballot, NoWriteId, WriteId};
pub use operation::{Action, Expected, Operation, Outcome, Seen, Step, Voters};

use crate::paxos;
use crate::version::Payload;
use serde::{Deserialize, Serialize};

/// What a key was last set to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Write {
    /// By which operation: the key's `ETag`. Whoever has it accepted again leaves it as it is.
    pub id: WriteId,
    /// The value; nothing if the operation was a delete.
    pub payload: Option<Payload>,
}

/// A write that an owner has accepted.
pub type Accepted = paxos::Accepted<Ballot, Write>;

/// What an owner keeps of a key.
pub type Acceptor = paxos::Acceptor<Ballot, Write>;

/// An owner's answer.
pub type Vote = paxos::Vote<Ballot, Write>;
