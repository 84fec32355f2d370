//! The voting half of Paxos: an acceptor that never goes back on a promise.
//!
//! After Lamport, "Paxos made simple" (2001). Two things are voted on here: the successor of a view
//! (`membership::decree`), once for each epoch, and the value of a key of a linearizable store
//! (`register`), again and again. They differ in what a proposer does, not in what an acceptor does.
//!
//! Pure: state in, answer out. Whoever keeps the state must make it durable before the answer is sent.

use serde::{Deserialize, Serialize};

/// A proposal that an acceptor has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted<B, V> {
    /// Under which ballot.
    pub ballot: B,
    /// What.
    pub value: V,
}

/// One voter's part in one decision, or in one value that changes. Must be durable before an answer
/// is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acceptor<B, V> {
    promised: Option<B>,
    accepted: Option<Accepted<B, V>>,
}

impl<B, V> Default for Acceptor<B, V> {
    fn default() -> Self {
        Self { promised: None, accepted: None }
    }
}

/// An acceptor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Vote<B, V> {
    /// To prepare: it will accept nothing below the ballot; what it accepted before.
    Promise(Option<Accepted<B, V>>),
    /// To accept: done.
    Accepted,
    /// A higher ballot was promised.
    Outrun(B),
}

impl<B, V> Acceptor<B, V> {
    /// An acceptor that has promised `ballot` and accepted `accepted`.
    #[must_use]
    pub fn recovered(ballot: B, accepted: Option<Accepted<B, V>>) -> Self {
        Self { promised: Some(ballot), accepted }
    }

    /// What it accepted last.
    #[must_use]
    pub fn accepted(&self) -> Option<&Accepted<B, V>> {
        self.accepted.as_ref()
    }
}

impl<B: Copy + Ord, V: Clone> Acceptor<B, V> {
    /// Promises to accept nothing below `ballot`.
    pub fn prepare(&mut self, ballot: B) -> Vote<B, V> {
        match self.promised {
            Some(promised) if promised > ballot => Vote::Outrun(promised),
            _ => {
                self.promised = Some(ballot);
                Vote::Promise(self.accepted.clone())
            }
        }
    }

    /// Accepts `value` unless a higher ballot was promised.
    pub fn accept(&mut self, ballot: B, value: V) -> Vote<B, V> {
        match self.promised {
            Some(promised) if promised > ballot => Vote::Outrun(promised),
            _ => {
                self.promised = Some(ballot);
                self.accepted = Some(Accepted { ballot, value });
                Vote::Accepted
            }
        }
    }
}
