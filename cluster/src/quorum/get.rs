//! A get: votes from R nodes, merged; then the owners that lack something are repaired.
//!
//! A replica that has nothing casts a vote only if it owns the key and is complete. A fallback
//! without a copy, a damaged record or a node that may have lost its tail says nothing about
//! whether the key exists: counting it would turn an acknowledged write into a 404.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Fallbacks;
use crate::config::NodeId;
use crate::planted::{Bug, is_planted};
use crate::ring::PreferenceList;
use crate::version::Record;

/// What one node said of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadReply {
    /// Its copy.
    Found(Arc<Record>),
    /// Its copy, which may lack what was acknowledged here: it rotted, or the node lost something.
    /// What it says counts, but it is no vote.
    Partial(Arc<Record>),
    /// It has none. `complete`: it would have one if it had ever acknowledged one.
    NotFound {
        /// Whether its word counts.
        complete: bool,
    },
    /// It had one that can no longer be read.
    Damaged,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetEffect {
    /// Ask `to` for its copy.
    Send {
        /// The node that reads.
        to: NodeId,
    },
    /// R votes are in: answer the client with [`GetQuorum::merged`].
    Answer,
    /// R votes can no longer be had.
    Fail,
    /// Nobody is left to wait for: see [`GetQuorum::stale_owners`].
    Done,
}

#[derive(Debug)]
struct Copy {
    owner: NodeId,
    asked: Option<NodeId>,
}

/// Counts the votes of one get.
#[derive(Debug)]
pub struct GetQuorum {
    needed: usize,
    sloppy: bool,
    owners: Vec<NodeId>,
    copies: Vec<Copy>,
    fallbacks: Fallbacks,
    votes: BTreeSet<NodeId>,
    /// What every owner said that has answered.
    owner_replies: Vec<(NodeId, ReadReply)>,
    merged: Option<Arc<Record>>,
    unanswered: usize,
    answered_client: bool,
    done: bool,
}

impl GetQuorum {
    /// A get from the owners of `list` that needs `needed` votes, and its first effects.
    #[must_use]
    pub fn start(
        list: &PreferenceList,
        needed: usize,
        sloppy: bool,
        suspected: &BTreeSet<NodeId>,
    ) -> (Self, Vec<GetEffect>) {
        let mut get = Self {
            needed,
            sloppy,
            owners: list.primaries.clone(),
            copies: Vec::new(),
            fallbacks: Fallbacks::new(list, suspected),
            votes: BTreeSet::new(),
            owner_replies: Vec::new(),
            merged: None,
            unanswered: 0,
            answered_client: false,
            done: false,
        };
        let mut effects = Vec::new();
        for owner in &list.primaries {
            get.copies.push(Copy { owner: *owner, asked: Some(*owner) });
            get.unanswered += 1;
            effects.push(GetEffect::Send { to: *owner });
        }
        // A suspected owner is asked all the same, for a get costs it nothing, but its fallback too.
        if sloppy {
            for at in 0..get.copies.len() {
                if suspected.contains(&get.copies[at].owner) {
                    get.hand_over(at, &mut effects);
                }
            }
        }
        get.settle(&mut effects);
        (get, effects)
    }

    /// `from` has answered. A record of the wrong kind counts as damaged.
    pub fn replied(&mut self, from: NodeId, reply: ReadReply) -> Vec<GetEffect> {
        let mut effects = Vec::new();
        self.unanswered = self.unanswered.saturating_sub(1);
        let owner = self.owners.contains(&from);
        let vote = match &reply {
            ReadReply::Found(record) => self.merge(record),
            ReadReply::Partial(record) => {
                self.merge(record);
                false
            }
            ReadReply::NotFound { complete } => (owner && *complete) || is_planted(Bug::EmptyFallbackVotes),
            ReadReply::Damaged => false,
        };
        if vote {
            self.votes.insert(from);
        }
        if owner {
            self.owner_replies.push((from, reply));
        }
        if !vote {
            self.replace(from, &mut effects);
        }
        self.settle(&mut effects);
        effects
    }

    /// `from` will not answer.
    pub fn failed(&mut self, from: NodeId) -> Vec<GetEffect> {
        let mut effects = Vec::new();
        self.unanswered = self.unanswered.saturating_sub(1);
        self.replace(from, &mut effects);
        self.settle(&mut effects);
        effects
    }

    /// `from` has been silent for the hand-over time. It may still answer.
    pub fn silent(&mut self, from: NodeId) -> Vec<GetEffect> {
        let mut effects = Vec::new();
        if !self.answered_client {
            self.replace(from, &mut effects);
        }
        self.settle(&mut effects);
        effects
    }

    /// All that was found so far, joined; nothing if no copy was found.
    #[must_use]
    pub fn merged(&self) -> Option<&Record> {
        self.merged.as_deref()
    }

    /// How many votes are in.
    #[must_use]
    pub fn votes(&self) -> usize {
        self.votes.len()
    }

    /// The owners that answered and lack part of what was found (Dynamo, section 5, read repair).
    #[must_use]
    pub fn stale_owners(&self) -> Vec<NodeId> {
        let Some(merged) = &self.merged else { return Vec::new() };
        let whole = |reply: &ReadReply| match reply {
            ReadReply::Found(record) | ReadReply::Partial(record) => record == merged,
            ReadReply::NotFound { .. } | ReadReply::Damaged => false,
        };
        let stale = |reply: &ReadReply| !whole(reply);
        self.owner_replies.iter().filter(|(_, reply)| stale(reply)).map(|(owner, _)| *owner).collect()
    }

    /// A copy of an owner that lacks part of what was found, if there is one.
    #[must_use]
    pub(crate) fn older_copy(&self) -> Option<&Record> {
        self.owner_replies.iter().find_map(|(_, reply)| match reply {
            ReadReply::Found(record) | ReadReply::Partial(record) => {
                Some(&**record).filter(|record| Some(*record) != self.merged.as_deref())
            }
            ReadReply::NotFound { .. } | ReadReply::Damaged => None,
        })
    }

    fn merge(&mut self, record: &Arc<Record>) -> bool {
        match &self.merged {
            None => self.merged = Some(Arc::clone(record)),
            // Most owners have the same.
            Some(merged) if merged == record => {}
            Some(merged) => match (**merged).clone().merge((**record).clone()) {
                Ok(joined) => self.merged = Some(Arc::new(joined)),
                Err(_) => return false,
            },
        }
        true
    }

    fn replace(&mut self, from: NodeId, effects: &mut Vec<GetEffect>) {
        if self.sloppy
            && let Some(at) = self.copies.iter().position(|c| c.asked == Some(from))
        {
            self.hand_over(at, effects);
        }
    }

    fn hand_over(&mut self, at: usize, effects: &mut Vec<GetEffect>) {
        self.copies[at].asked = self.fallbacks.next();
        if let Some(to) = self.copies[at].asked {
            self.unanswered += 1;
            effects.push(GetEffect::Send { to });
        }
    }

    fn settle(&mut self, effects: &mut Vec<GetEffect>) {
        if !self.answered_client && self.votes.len() >= self.needed {
            self.answered_client = true;
            effects.push(GetEffect::Answer);
        }
        if self.unanswered == 0 && !self.done {
            if !self.answered_client {
                self.answered_client = true;
                effects.push(GetEffect::Fail);
            }
            self.done = true;
            effects.push(GetEffect::Done);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::GetEffect::{Answer, Done, Fail};
    use super::*;
    use crate::testing::node;
    use crate::version::{Payload, Stamp, Stamped};

    fn start(needed: usize, sloppy: bool, suspected: &[usize]) -> (GetQuorum, Vec<GetEffect>) {
        let list =
            PreferenceList { primaries: vec![node(1), node(2), node(3)], fallbacks: vec![node(4), node(5)] };
        GetQuorum::start(&list, needed, sloppy, &suspected.iter().map(|n| node(*n)).collect())
    }

    fn send(to: usize) -> GetEffect {
        GetEffect::Send { to: node(to) }
    }

    fn found(sequence: u64) -> ReadReply {
        ReadReply::Found(Arc::new(Record::Latest(Stamped {
            stamp: Stamp { wall_ns: sequence, incarnation: 1, sequence },
            payload: Some(Payload::bytes("x")),
        })))
    }

    const NOTHING: ReadReply = ReadReply::NotFound { complete: true };

    #[test]
    fn the_client_hears_at_r_and_stale_owners_are_known_at_the_end() {
        let (mut get, effects) = start(2, true, &[]);
        assert_eq!(effects, [send(1), send(2), send(3)]);
        assert_eq!(get.replied(node(1), NOTHING), []);
        assert_eq!(get.replied(node(2), found(7)), [Answer]);
        assert_eq!(get.replied(node(3), found(9)), [Done]);
        assert_eq!(get.votes(), 3);
        assert_eq!(get.stale_owners(), [node(1), node(2)]);
        assert!(matches!(get.merged(), Some(Record::Latest(s)) if s.stamp.sequence == 9));
    }

    #[test]
    fn nothing_found_is_a_vote_only_from_a_complete_owner() {
        let (mut get, _) = start(2, true, &[]);
        assert_eq!(get.replied(node(1), NOTHING), []);
        assert_eq!(get.replied(node(2), ReadReply::NotFound { complete: false }), [send(4)]);
        assert_eq!(get.replied(node(4), NOTHING), [send(5)], "a fallback's empty answer is no vote");
        assert_eq!(get.replied(node(3), ReadReply::Damaged), [], "no fallback is left");
        assert_eq!(get.replied(node(5), NOTHING), [Fail, Done]);
        assert_eq!(get.votes(), 1);
    }

    #[test]
    fn a_copy_that_may_lack_something_counts_but_casts_no_vote() {
        let partial = |sequence| match found(sequence) {
            ReadReply::Found(record) => ReadReply::Partial(record),
            other => other,
        };
        let (mut get, _) = start(2, false, &[]);
        assert_eq!(get.replied(node(1), partial(9)), []);
        assert_eq!(get.replied(node(2), found(7)), []);
        assert_eq!(get.replied(node(3), found(9)), [Answer, Done]);
        assert!(matches!(get.merged(), Some(Record::Latest(s)) if s.stamp.sequence == 9));
        assert_eq!(get.stale_owners(), [node(2)], "what the first has is all there is");
    }

    #[test]
    fn a_hint_found_on_a_fallback_is_a_vote() {
        let (mut get, effects) = start(1, true, &[1, 2, 3]);
        assert_eq!(effects, [send(1), send(2), send(3), send(4), send(5)]);
        assert_eq!(get.replied(node(4), found(1)), [Answer]);
    }

    #[test]
    fn strict_gets_ask_owners_only() {
        let (mut get, effects) = start(2, false, &[1]);
        assert_eq!(effects, [send(1), send(2), send(3)]);
        assert_eq!(get.silent(node(1)), []);
        assert_eq!(get.failed(node(2)), []);
        assert_eq!(get.replied(node(3), found(1)), []);
        assert_eq!(get.failed(node(1)), [Fail, Done]);
    }

    #[test]
    fn a_silent_owner_is_replaced_unless_the_client_has_its_answer() {
        let (mut get, _) = start(2, true, &[]);
        assert_eq!(get.silent(node(1)), [send(4)]);
        assert_eq!(get.failed(node(1)), [], "it has been replaced already");
        assert_eq!(get.replied(node(2), found(1)), []);
        assert_eq!(get.replied(node(3), found(1)), [Answer]);
        assert_eq!(get.silent(node(4)), []);
    }
}
