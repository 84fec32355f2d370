//! One operation on one register, from its first question to its outcome.

use std::collections::{BTreeMap, BTreeSet};

use super::tally::Tally;
use super::{Accepted, Ballot, Vote, Write, WriteId};
use crate::config::NodeId;
use crate::version::Payload;

/// What a compare-and-set expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expected {
    /// No value (`If-None-Match: *`).
    Nothing,
    /// The value of this write (`If-Match`).
    Write(WriteId),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Find out what there is.
    Get,
    /// Set it, whatever there was; nothing for a delete.
    Set(Option<Payload>),
    /// Set it if there is what is expected.
    CompareAndSet(Expected, Option<Payload>),
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A get: what there is. A deleted key is the write that deleted it.
    Found(Option<Write>),
    /// It happened, once.
    Applied,
    /// A compare-and-set: it did not happen, for there was this.
    Mismatch(Option<Write>),
    /// It may have happened: it was overtaken after its first accept was sent.
    Unknown,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Wait for more votes.
    Wait,
    /// Begin an attempt with [`Operation::prepare`] under a ballot with a number above this, after a
    /// pause if others are at it.
    Prepare {
        /// The highest number met.
        above: u64,
    },
    /// Ask all owners to accept this.
    Accept(Ballot, Write),
    /// It has ended.
    Done(Outcome),
    /// Too many owners cast no vote for this attempt to come to anything.
    NoQuorum,
}

/// Where an attempt is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Asking what owners have accepted, without a ballot.
    Reading { said: BTreeMap<NodeId, Option<Accepted>>, silent: BTreeSet<NodeId> },
    /// Asking for promises.
    Preparing { tally: Tally, highest: Option<Accepted>, outrun_by: Option<u64> },
    /// Asking to accept.
    Accepting { tally: Tally, then: Outcome, outrun_by: Option<u64> },
    /// Nothing is under way.
    Between,
}

/// One operation. The driver sends what it says to all owners and tells it what they answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    id: WriteId,
    action: Action,
    sets: Vec<BTreeSet<NodeId>>,
    ballot: Ballot,
    /// The first ballot under which its own write was sent to be accepted.
    first_accept: Option<Ballot>,
    stage: Stage,
}

impl Operation {
    /// An operation called `id`, on a register of the owners in `sets`: one set, or while they
    /// change the old and the new. Begin it with [`Operation::prepare`], or a get by asking what all
    /// owners have accepted ([`Operation::on_read`]).
    #[must_use]
    pub fn new(id: WriteId, action: Action, sets: Vec<BTreeSet<NodeId>>) -> Self {
        let stage = Stage::Reading { said: BTreeMap::new(), silent: BTreeSet::new() };
        Self { id, action, sets, ballot: Ballot::default(), first_accept: None, stage }
    }

    /// Whether its own write was sent to be accepted: then it may have happened however it ends.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        self.first_accept.is_some()
    }

    /// The owners have changed: the next attempt counts votes of these.
    pub fn move_to(&mut self, sets: Vec<BTreeSet<NodeId>>) {
        self.sets = sets;
        self.stage = Stage::Between;
    }

    /// Begins an attempt under a ballot with this number, and returns the ballot to send.
    pub fn prepare(&mut self, number: u64) -> Ballot {
        self.ballot = Ballot { number, by: self.id };
        self.stage = Stage::Preparing { tally: Tally::new(&self.sets), highest: None, outrun_by: None };
        self.ballot
    }

    /// Takes what an owner has accepted, for a get that has not begun an attempt: if a majority of
    /// every set accepted under one ballot, or nothing at all, that is what there is.
    pub fn on_read(&mut self, from: NodeId, accepted: Option<Accepted>) -> Step {
        if let Stage::Reading { said, .. } = &mut self.stage {
            said.insert(from, accepted);
        }
        self.after_reading()
    }

    /// An owner casts no vote on what was asked last: it is silent, gone, or does not hold all that it
    /// voted for.
    pub fn on_silence(&mut self, from: NodeId) -> Step {
        match &mut self.stage {
            Stage::Reading { silent, .. } => {
                silent.insert(from);
                self.after_reading()
            }
            Stage::Preparing { tally, outrun_by, .. } | Stage::Accepting { tally, outrun_by, .. } => {
                tally.on(from, false);
                let (is_lost, above) = (tally.is_out_of_reach(), *outrun_by);
                if is_lost { self.again(above) } else { Step::Wait }
            }
            Stage::Between => Step::Wait,
        }
    }

    fn after_reading(&mut self) -> Step {
        let Stage::Reading { said, silent } = &self.stage else { return Step::Wait };
        let mut is_possible = false;
        // Owners that accepted under one ballot accepted the same.
        let candidates: BTreeSet<Option<Ballot>> =
            said.values().map(|accepted| accepted.as_ref().map(|a| a.ballot)).collect();
        for candidate in candidates {
            let mut tally = Tally::new(&self.sets);
            for (owner, accepted) in said {
                tally.on(*owner, accepted.as_ref().map(|a| a.ballot) == candidate);
            }
            silent.iter().for_each(|owner| tally.on(*owner, false));
            if tally.is_met() {
                let agreed = said.values().find(|a| a.as_ref().map(|a| a.ballot) == candidate);
                let found = agreed.cloned().flatten().map(|accepted| accepted.value);
                self.stage = Stage::Between;
                return Step::Done(Outcome::Found(found));
            }
            is_possible |= !tally.is_out_of_reach();
        }
        let mut all_silent = Tally::new(&self.sets);
        silent.iter().for_each(|owner| all_silent.on(*owner, false));
        if all_silent.is_out_of_reach() {
            self.stage = Stage::Between;
            return Step::NoQuorum;
        }
        if is_possible || said.is_empty() {
            return Step::Wait;
        }
        let above = said.values().flatten().map(|accepted| accepted.ballot.number).max().unwrap_or(0);
        self.stage = Stage::Between;
        Step::Prepare { above }
    }

    /// Takes an owner's answer to what was sent under `ballot`. Answers to earlier attempts count for
    /// nothing.
    pub fn on_vote(&mut self, from: NodeId, ballot: Ballot, vote: Vote) -> Step {
        if ballot != self.ballot {
            return Step::Wait;
        }
        match (&mut self.stage, vote) {
            (Stage::Preparing { tally, highest, .. }, Vote::Promise(accepted)) => {
                tally.on(from, true);
                if accepted.as_ref().map(|a| a.ballot) > highest.as_ref().map(|a| a.ballot) {
                    *highest = accepted;
                }
                if !tally.is_met() {
                    return Step::Wait;
                }
                let highest = highest.take();
                self.decide(highest)
            }
            (Stage::Accepting { tally, then, .. }, Vote::Accepted) => {
                tally.on(from, true);
                if !tally.is_met() {
                    return Step::Wait;
                }
                let then = then.clone();
                self.stage = Stage::Between;
                Step::Done(then)
            }
            (
                Stage::Preparing { tally, outrun_by, .. } | Stage::Accepting { tally, outrun_by, .. },
                Vote::Outrun(by),
            ) => {
                tally.on(from, false);
                *outrun_by = Some(by.number).max(*outrun_by);
                let (is_lost, above) = (tally.is_out_of_reach(), *outrun_by);
                if is_lost { self.again(above) } else { Step::Wait }
            }
            _ => Step::Wait,
        }
    }

    /// The attempt has come to nothing.
    fn again(&mut self, outrun_by: Option<u64>) -> Step {
        self.stage = Stage::Between;
        // Without a word of a higher ballot another attempt would meet the same silence.
        outrun_by.map_or(Step::NoQuorum, |above| Step::Prepare { above })
    }

    /// A majority of every set has promised; `highest` is the highest that any of them accepted.
    fn decide(&mut self, highest: Option<Accepted>) -> Step {
        let found = highest.as_ref().map(|accepted| accepted.value.clone());
        match (&self.action, &found) {
            (Action::Get, None) => return self.end(Outcome::Found(None)),
            (Action::Get, Some(write)) => return self.accept(write.clone(), Outcome::Found(found)),
            (_, Some(write)) if write.id == self.id => return self.accept(write.clone(), Outcome::Applied),
            _ => {}
        }
        // Somebody's write above its own first accept may stand on that.
        if self.first_accept.is_some_and(|first| highest.is_some_and(|top| top.ballot > first)) {
            return self.end(Outcome::Unknown);
        }
        let payload = match &self.action {
            Action::Get => unreachable!("a get has been dealt with"),
            Action::Set(payload) => payload,
            Action::CompareAndSet(expected, payload) => {
                let there = found.as_ref().filter(|write| write.payload.is_some());
                let holds = match expected {
                    Expected::Nothing => there.is_none(),
                    Expected::Write(id) => there.is_some_and(|write| write.id == *id),
                };
                match (holds, found) {
                    (true, _) => payload,
                    // What it found has changed since its accept: nothing is certain any more.
                    (false, _) if self.first_accept.is_some() => return self.end(Outcome::Unknown),
                    (false, None) => return self.end(Outcome::Mismatch(None)),
                    // What contradicts it must be chosen before anybody is told.
                    (false, Some(write)) => {
                        return self.accept(write.clone(), Outcome::Mismatch(Some(write)));
                    }
                }
            }
        };
        let write = Write { id: self.id, payload: payload.clone() };
        self.first_accept.get_or_insert(self.ballot);
        self.accept(write, Outcome::Applied)
    }

    fn accept(&mut self, write: Write, then: Outcome) -> Step {
        self.stage = Stage::Accepting { tally: Tally::new(&self.sets), then, outrun_by: None };
        Step::Accept(self.ballot, write)
    }

    fn end(&mut self, outcome: Outcome) -> Step {
        self.stage = Stage::Between;
        Step::Done(outcome)
    }
}
