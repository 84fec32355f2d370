//! Why a request failed, and whether it may have happened all the same.

use std::time::Duration;

use super::TokenError;
use crate::admission::Ticket;
use crate::register::WriteId;
use crate::version::SkewError;

/// A failed get, put or delete. [`RequestError::maybe_applied`] decides what a client may do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// The key is empty or too long.
    #[error("a key has 1 to {max} bytes; this one has {bytes}")]
    BadKey {
        /// Its length.
        bytes: usize,
        /// `key_bytes_max`.
        max: u64,
    },
    /// The value is too long.
    #[error("a value has at most {max} bytes; this one has {bytes} or more")]
    ValueTooLarge {
        /// Its length, or where reading stopped.
        bytes: u64,
        /// `value_bytes_max`.
        max: u64,
    },
    /// The context token is not one of this key and store.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A delete says what it deletes.
    #[error("a delete needs the X-Quorate-Context of what it deletes; read the key and send its token")]
    ContextRequired,
    /// Too many concurrent values already.
    #[error(
        "the key has {siblings} siblings, the limit is {limit}: read it and put with its context to merge them"
    )]
    SiblingLimit {
        /// How many there are.
        siblings: usize,
        /// `sibling_limit`.
        limit: u32,
    },
    /// This node's clock or the writer's is wrong.
    #[error(transparent)]
    Skew(#[from] SkewError),
    /// Too few nodes answered, and no more can be asked.
    #[error("{answered} of {needed} nodes answered{}", .why.as_deref().map(|why| format!(" ({why})")).unwrap_or_default())]
    QuorumNotMet {
        /// How many did.
        answered: usize,
        /// R or W.
        needed: usize,
        /// Whether some of them may have stored the write.
        maybe_applied: bool,
        /// What one that refused said.
        why: Option<String>,
    },
    /// Too few nodes answered in time.
    #[error("{answered} of {needed} nodes answered within {after:?}")]
    Deadline {
        /// How many did.
        answered: usize,
        /// R or W.
        needed: usize,
        /// The deadline.
        after: Duration,
        /// Whether some node may have stored the write.
        maybe_applied: bool,
    },
    /// This node does as much as it can already.
    #[error("this node has {in_hand} {what} in hand, as much as it takes; try again later or ask another")]
    Overloaded {
        /// How many.
        in_hand: u64,
        /// Of what.
        what: &'static str,
    },
    /// No space is left here.
    #[error("no space is left on this node's disk")]
    DiskFull {
        /// Whether some other node may have stored the write.
        maybe_applied: bool,
    },
    /// A compare-and-set found something else.
    #[error("the key {}; nothing was changed", .there.map_or("has no value".to_owned(), |id| format!("is at \"{id}\"")))]
    Mismatch {
        /// The write that it holds, if it has a value.
        there: Option<WriteId>,
    },
    /// Another operation on the register came between.
    #[error("another write of this key came in between; this one may have happened before it")]
    Overtaken,
    /// Deletes are forgotten in this store, which every member agrees to, and this node is none.
    #[error("this node is no member of the cluster; ask one that is")]
    NoMember,
    /// The task that ran the request ended without an answer: the node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl RequestError {
    /// Nobody is left to ask: because nobody would answer, or because those that were asked did
    /// not while there was time.
    pub(super) fn too_few(
        (answered, needed): (usize, usize),
        maybe_applied: bool,
        ticket: &Ticket,
        why: Option<String>,
    ) -> Self {
        if ticket.remaining().is_zero() {
            Self::Deadline { answered, needed, after: ticket.patience(), maybe_applied }
        } else {
            Self::QuorumNotMet { answered, needed, maybe_applied, why }
        }
    }

    /// False only if nothing was stored or sent on.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        match self {
            Self::BadKey { .. }
            | Self::ValueTooLarge { .. }
            | Self::Token(_)
            | Self::ContextRequired
            | Self::SiblingLimit { .. }
            | Self::Skew(_)
            | Self::Overloaded { .. }
            | Self::Mismatch { .. }
            | Self::NoMember => false,
            Self::QuorumNotMet { maybe_applied, .. }
            | Self::Deadline { maybe_applied, .. }
            | Self::DiskFull { maybe_applied } => *maybe_applied,
            Self::Overtaken | Self::Stopping => true,
        }
    }
}
