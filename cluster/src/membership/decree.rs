//! Choosing the one successor of a view: single-decree consensus among its members.
//!
//! After Lamport, "Paxos made simple" (2001). Two administrators who change the members at the
//! same time both propose a successor; one is chosen and the other learns of it and is refused.
//! Without this the ring would fork: two views of the same number with different owners.
//!
//! Pure: a proposer that counts the votes of acceptors (`paxos`). Not here: messages, disks, retries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::NodeId;
use crate::paxos;

/// Orders proposals; never equal for two proposers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Raised by a proposer that was outrun.
    pub round: u64,
    /// Who proposes.
    pub proposer: NodeId,
}

/// A view that an acceptor has accepted.
pub type Accepted<V> = paxos::Accepted<Ballot, V>;

/// One member's part in one decision. Must be durable before an answer is sent.
pub type Acceptor<V> = paxos::Acceptor<Ballot, V>;

/// An acceptor's answer.
pub type Vote<V> = paxos::Vote<Ballot, V>;

/// What a proposer does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<V> {
    /// Wait for more answers.
    Wait,
    /// A majority has promised: ask everybody to accept this, which may be another's value.
    Propose(V),
    /// A majority has accepted: the value is chosen.
    Chosen(V),
    /// Begin again above this ballot.
    Outrun(Ballot),
}

/// One attempt to have a value chosen.
#[derive(Debug)]
pub struct Proposer<V> {
    majority: usize,
    own: V,
    promises: BTreeMap<NodeId, Option<Accepted<V>>>,
    proposed: Option<V>,
    accepts: std::collections::BTreeSet<NodeId>,
    done: bool,
}

impl<V: Clone> Proposer<V> {
    /// Proposes `own` to `voters` members.
    #[must_use]
    pub fn new(voters: usize, own: V) -> Self {
        Self {
            majority: voters / 2 + 1,
            own,
            promises: BTreeMap::new(),
            proposed: None,
            accepts: std::collections::BTreeSet::new(),
            done: false,
        }
    }

    /// Takes the answer of one voter.
    pub fn on(&mut self, from: NodeId, vote: Vote<V>) -> Step<V> {
        if self.done {
            return Step::Wait;
        }
        match vote {
            Vote::Outrun(ballot) => {
                self.done = true;
                Step::Outrun(ballot)
            }
            Vote::Promise(accepted) => {
                self.promises.insert(from, accepted);
                if self.proposed.is_some() || self.promises.len() < self.majority {
                    return Step::Wait;
                }
                // A value that may have been chosen already must be proposed again.
                let highest = self.promises.values().flatten().max_by_key(|a| a.ballot);
                let value = highest.map_or_else(|| self.own.clone(), |a| a.value.clone());
                self.proposed = Some(value.clone());
                Step::Propose(value)
            }
            Vote::Accepted => {
                self.accepts.insert(from);
                match &self.proposed {
                    Some(value) if self.accepts.len() >= self.majority => {
                        self.done = true;
                        Step::Chosen(value.clone())
                    }
                    _ => Step::Wait,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::node;

    /// A message between a proposer's attempt and an acceptor, in either direction.
    #[derive(Clone, Debug)]
    enum Message {
        Prepare { attempt: usize, to: usize },
        Accept { attempt: usize, to: usize, value: usize },
        Answer { attempt: usize, from: usize, vote: Vote<usize> },
    }

    proptest! {
        /// Whatever is lost, repeated or reordered, all attempts that end agree.
        #[test]
        fn at_most_one_value_is_ever_chosen(
            choices in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..10), 0..300), acceptors in 3_usize..6,
        ) {
            let mut nodes: Vec<Acceptor<usize>> = vec![Acceptor::default(); acceptors];
            let ballot = |attempt: usize| Ballot { round: (attempt / 2) as u64, proposer: node(attempt % 2) };
            let mut attempts: Vec<Proposer<usize>> = (0..6).map(|own| Proposer::new(acceptors, own)).collect();
            let mut flying: Vec<Message> =
                (0..6).flat_map(|attempt| (0..acceptors).map(move |to| Message::Prepare { attempt, to })).collect();
            let mut chosen = BTreeSet::new();
            for (which, fate) in choices {
                if flying.is_empty() {
                    break;
                }
                let at = which.index(flying.len());
                // One in ten is lost, one in ten comes twice.
                let message = if fate == 0 { flying.swap_remove(at); continue } else if fate == 1 { flying[at].clone() } else { flying.swap_remove(at) };
                match message {
                    Message::Prepare { attempt, to } => {
                        let vote = nodes[to].prepare(ballot(attempt));
                        flying.push(Message::Answer { attempt, from: to, vote });
                    }
                    Message::Accept { attempt, to, value } => {
                        let vote = nodes[to].accept(ballot(attempt), value);
                        flying.push(Message::Answer { attempt, from: to, vote });
                    }
                    Message::Answer { attempt, from, vote } => match attempts[attempt].on(node(from), vote) {
                        Step::Propose(value) => {
                            flying.extend((0..acceptors).map(|to| Message::Accept { attempt, to, value }));
                        }
                        Step::Chosen(value) => { chosen.insert(value); }
                        Step::Wait | Step::Outrun(_) => {}
                    },
                }
            }
            prop_assert!(chosen.len() <= 1, "{chosen:?}");
        }
    }

    #[test]
    fn an_undisturbed_proposer_gets_its_own_value() {
        let mut acceptors = [Acceptor::default(), Acceptor::default(), Acceptor::default()];
        let mut proposer = Proposer::new(3, "mine");
        let ballot = Ballot { round: 1, proposer: node(1) };
        assert_eq!(proposer.on(node(1), acceptors[0].prepare(ballot)), Step::Wait);
        assert_eq!(proposer.on(node(2), acceptors[1].prepare(ballot)), Step::Propose("mine"));
        assert_eq!(proposer.on(node(1), acceptors[0].accept(ballot, "mine")), Step::Wait);
        assert_eq!(proposer.on(node(2), acceptors[1].accept(ballot, "mine")), Step::Chosen("mine"));
        let mut late = Proposer::new(3, "other");
        let above = Ballot { round: 2, proposer: node(2) };
        assert_eq!(late.on(node(3), acceptors[2].prepare(above)), Step::Wait);
        assert_eq!(late.on(node(2), acceptors[1].prepare(above)), Step::Propose("mine"));
        assert_eq!(acceptors[1].accept(ballot, "mine"), Vote::Outrun(above));
    }
}
