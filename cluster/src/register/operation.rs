//! One operation on one register, from its first question to its outcome.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::tally::Tally;
use super::{Accepted, Ballot, Vote, Write, WriteId};
use crate::config::NodeId;
use crate::planted::{Bug, is_planted};
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
    /// Set it to this write of another store, under the name that it had there, unless the key was ever
    /// written. Any number of operations may restore the same one.
    Restore(Write),
}

/// Who votes on a register, as a view says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Voters {
    /// The epoch of the view.
    pub epoch: u64,
    /// The owners: one set, or while they change the old and the new. A majority of each counts.
    pub sets: Vec<BTreeSet<NodeId>>,
}

/// What an owner says it has accepted, when it is asked without a ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seen {
    /// Under which ballot.
    pub ballot: Ballot,
    /// What; nothing if only the ballot was asked for.
    pub write: Option<Write>,
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
    Reading { said: BTreeMap<NodeId, Option<Seen>>, silent: BTreeSet<NodeId> },
    /// Asking for promises.
    Preparing { tally: Tally, highest: Option<Accepted>, outrun_by: Option<u64> },
    /// Asking to accept.
    Accepting { tally: Tally, then: Outcome, outrun_by: Option<u64> },
    /// Nothing is under way.
    Between,
}

/// One operation. The driver sends what it says to the owners and tells it what they answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    id: WriteId,
    action: Action,
    voters: Voters,
    /// Whether a get takes nobody's word for that of the others.
    asks_all: bool,
    ballot: Ballot,
    /// The first ballot under which its own write was sent to be accepted.
    first_accept: Option<Ballot>,
    stage: Stage,
}

impl Operation {
    /// The write that it makes, if it makes one.
    #[must_use]
    pub fn id(&self) -> WriteId {
        self.id
    }

    /// An operation called `id`, on a register of these `voters`. Begin it with
    /// [`Operation::prepare`], or a get by asking what owners have accepted ([`Operation::on_read`]).
    #[must_use]
    pub fn new(id: WriteId, action: Action, voters: Voters) -> Self {
        let stage = Stage::Reading { said: BTreeMap::new(), silent: BTreeSet::new() };
        let (ballot, first_accept) = (Ballot::default(), None);
        Self { id, action, voters, asks_all: false, ballot, first_accept, stage }
    }

    /// A get that ends without an attempt only if all owners say the same.
    #[must_use]
    pub fn asking_all(mut self) -> Self {
        self.asks_all = true;
        self
    }

    /// Whether its own write was sent to be accepted: then it may have happened however it ends.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        self.first_accept.is_some()
    }

    /// Whether owners need not send the values that they promise on: it replaces them unseen.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        matches!(self.action, Action::Set(_))
    }

    /// The owners have changed: the next attempt counts votes of these.
    pub fn move_to(&mut self, voters: Voters) {
        self.voters = voters;
        self.stage = Stage::Between;
    }

    /// Asks anew what owners have accepted, for a get.
    pub fn read_again(&mut self) {
        self.stage = Stage::Reading { said: BTreeMap::new(), silent: BTreeSet::new() };
    }

    /// Begins an attempt under a ballot with this number, above those of all its earlier attempts, and
    /// returns the ballot to send.
    pub fn prepare(&mut self, number: u64) -> Ballot {
        self.ballot = Ballot { epoch: self.voters.epoch, number, by: self.id };
        let tally = Tally::new(&self.voters.sets);
        self.stage = Stage::Preparing { tally, highest: None, outrun_by: None };
        self.ballot
    }

    /// Takes what an owner has accepted, for a get that has not begun an attempt.
    ///
    /// That is what there is if a majority of every set has accepted nothing at all, or under one
    /// ballot of the current epoch. A majority of an earlier epoch's ballot proves nothing: some of it
    /// may be copies of what one owner accepted, and another owner's higher one never chosen either;
    /// if all owners have the same there is no other one.
    pub fn on_read(&mut self, from: NodeId, seen: Option<Seen>) -> Step {
        if let Stage::Reading { said, .. } = &mut self.stage {
            said.insert(from, seen);
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
        let ballot_of = |seen: &Option<Seen>| seen.as_ref().map(|seen| seen.ballot);
        let above = said.values().flatten().map(|seen| seen.ballot.number).max().unwrap_or(0);
        // Owners that accepted under one ballot accepted the same.
        let candidates: BTreeSet<Option<Ballot>> = said.values().map(ballot_of).collect();
        for candidate in candidates {
            let mut tally = Tally::new(&self.voters.sets);
            for (owner, seen) in said {
                tally.on(*owner, ballot_of(seen) == candidate);
            }
            silent.iter().for_each(|owner| tally.on(*owner, false));
            let is_old = candidate.is_some_and(|ballot| ballot.epoch != self.voters.epoch);
            let needs_all = is_old || self.asks_all;
            if if needs_all { tally.is_unanimous() } else { tally.is_met() } {
                let mut agreed = said.values().flatten().filter(|seen| Some(seen.ballot) == candidate);
                let found = agreed.find_map(|seen| seen.write.clone());
                self.stage = Stage::Between;
                return match (candidate, found) {
                    (None, _) => Step::Done(Outcome::Found(None)),
                    (Some(_), Some(write)) => Step::Done(Outcome::Found(Some(write))),
                    // Whoever was asked for the value has another one.
                    (Some(_), None) => Step::Prepare { above },
                };
            }
            is_possible |= if needs_all { !tally.is_opposed() } else { !tally.is_out_of_reach() };
        }
        let mut all_silent = Tally::new(&self.voters.sets);
        silent.iter().for_each(|owner| all_silent.on(*owner, false));
        if all_silent.is_out_of_reach() {
            self.stage = Stage::Between;
            return Step::NoQuorum;
        }
        if is_possible || said.is_empty() {
            return Step::Wait;
        }
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
            (Action::Get, Some(_)) if is_planted(Bug::GetWithoutWriteBack) => {
                return self.end(Outcome::Found(found));
            }
            (Action::Get, Some(write)) => return self.accept(write.clone(), Outcome::Found(found)),
            (Action::Set(payload) | Action::CompareAndSet(_, payload), Some(write))
                if write.id == self.id =>
            {
                let write = Write { id: self.id, payload: payload.clone() };
                return self.accept(write, Outcome::Applied);
            }
            (Action::Restore(wanted), Some(write)) if write.id == wanted.id => {
                return self.accept(write.clone(), Outcome::Applied);
            }
            _ => {}
        }
        // Somebody's write above its own first accept may stand on that.
        if self.first_accept.is_some_and(|first| highest.is_some_and(|top| top.ballot > first)) {
            return self.end(Outcome::Unknown);
        }
        let payload = match &self.action {
            Action::Get => unreachable!("a get has been dealt with"),
            Action::Set(payload) => payload,
            Action::Restore(write) => {
                return match found {
                    None => {
                        let write = write.clone();
                        self.first_accept.get_or_insert(self.ballot);
                        self.accept(write, Outcome::Applied)
                    }
                    Some(_) if self.first_accept.is_some() => self.end(Outcome::Unknown),
                    // As with what contradicts a compare-and-set.
                    Some(there) => self.accept(there.clone(), Outcome::Mismatch(Some(there))),
                };
            }
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
        self.stage = Stage::Accepting { tally: Tally::new(&self.voters.sets), then, outrun_by: None };
        Step::Accept(self.ballot, write)
    }

    fn end(&mut self, outcome: Outcome) -> Step {
        self.stage = Stage::Between;
        Step::Done(outcome)
    }
}
