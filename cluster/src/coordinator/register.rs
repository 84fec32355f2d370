//! Operations on linearizable registers: drives `register` over the owners' votes.
//!
//! Any node proposes, and there is no leader. What is asked goes to all owners at once, except where a
//! get only looks: then to as few as can agree, this node among them, and to the others when those are
//! silent or differ. Attempts that meet others pause at random before they try again, for longer each
//! time; a get that meets one looks once more before it takes part.
//!
//! An operation is over when the machine says so, or its client's deadline has passed. What was sent to
//! be accepted reaches the other owners all the same.

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_env::RandomStream;
use rand::RngExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Answer, Answers, AskedAgain, Causality, Coordinator, Read, RequestError, Votes, Written};
use crate::admission::Ticket;
use crate::config::NodeId;
use crate::marks::Mark;
use crate::membership::View;
use crate::register::{Action, Ballot, Expected, Operation, Outcome, Step, Voters, Write, WriteId};
use crate::rpc::{AskVoter, CallError, Request, Response};
use crate::version::Payload;

/// The shortest pause before another attempt, on average.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// How often the pause is doubled at most.
const DOUBLINGS_MAX: u32 = 6;
/// How often an operation begins anew after too few owners voted.
const LOST_MAX: u32 = 2;

/// What one node names operations by.
pub struct Registers {
    incarnation: u64,
    sequence: AtomicU64,
    random: Mutex<RandomStream>,
}

impl Registers {
    /// Of a run with this incarnation.
    #[must_use]
    pub fn new(incarnation: u64, random: RandomStream) -> Self {
        Self { incarnation, sequence: AtomicU64::new(0), random: Mutex::new(random) }
    }

    fn next_id(&self) -> WriteId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        WriteId { incarnation: self.incarnation, sequence }
    }

    /// How long to wait before the attempt behind so many that came to nothing.
    fn pause(&self, failed: u32) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        (PAUSE_MIN * (1 << failed.min(DOUBLINGS_MAX))).mul_f64(random.random_range(0.2..1.8))
    }
}

/// What owners are asked next.
#[derive(Clone, Debug)]
enum Next {
    Look,
    Prepare { above: u64 },
    Accept(Ballot, Write),
}

/// How asking the owners ended.
enum Asked {
    Step(Step),
    /// The view changed underneath.
    Outdated,
    Late,
}

/// One operation on its way.
struct Drive {
    key: Bytes,
    partition: u32,
    operation: Operation,
    is_get: bool,
    votes: Votes,
    deadline: Instant,
    /// Owners that voted on what was asked last.
    answered: usize,
    /// What one that did not said.
    refusal: Option<String>,
    /// Attempts that others outran, and such that too few owners voted on.
    outrun: u32,
    lost: u32,
    has_looked_again: bool,
}

impl Coordinator {
    /// The value of `key`.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub(super) async fn read_register(
        self: &Arc<Self>,
        key: Bytes,
        votes: Votes,
        ticket: Ticket,
    ) -> Result<Read, RequestError> {
        let (_, outcome) = self.operate(key, Action::Get, votes, ticket).await?;
        let found = match outcome {
            Outcome::Found(found) => found,
            Outcome::Applied | Outcome::Mismatch(_) | Outcome::Unknown => None,
        };
        Ok(read_of(found.as_ref()))
    }

    /// Sets the register of `key`, or deletes it, if it holds what is expected, where anything is.
    ///
    /// # Errors
    /// See [`RequestError`]; what may have happened must be taken to have happened.
    pub async fn write_register(
        self: &Arc<Self>,
        key: Bytes,
        payload: Option<Payload>,
        expected: Option<Expected>,
        ticket: Ticket,
    ) -> Result<Written, RequestError> {
        self.check_value(payload.as_ref())?;
        let action = match expected {
            None => Action::Set(payload),
            Some(expected) => Action::CompareAndSet(expected, payload),
        };
        match self.operate(key, action, Votes::Quorum, ticket).await? {
            (id, Outcome::Applied) => Ok(Written { seen: Causality::Above(None), version: id.to_string() }),
            (_, Outcome::Mismatch(found)) => {
                let there = found.filter(|write| write.payload.is_some()).map(|write| write.id);
                Err(RequestError::Mismatch { there })
            }
            (_, Outcome::Unknown | Outcome::Found(_)) => Err(RequestError::Overtaken),
        }
    }

    /// Sets the register of `key` to a write of another store, unless it was ever written; whether it did,
    /// or somebody else had done so.
    ///
    /// # Errors
    /// See [`RequestError`]; it may be tried again.
    pub(super) async fn restore_register(
        self: &Arc<Self>,
        key: Bytes,
        write: Write,
        ticket: Ticket,
    ) -> Result<bool, RequestError> {
        match self.operate(key, Action::Restore(write), Votes::Quorum, ticket).await? {
            (_, Outcome::Applied) => Ok(true),
            (_, Outcome::Mismatch(_)) => Ok(false),
            (_, Outcome::Unknown | Outcome::Found(_)) => Err(RequestError::Overtaken),
        }
    }

    /// Carries out `action` on the register of `key`, and says which write it made, if it made one.
    ///
    /// # Errors
    /// See [`RequestError`]; what may have happened must be taken to have happened.
    async fn operate(
        self: &Arc<Self>,
        key: Bytes,
        action: Action,
        votes: Votes,
        ticket: Ticket,
    ) -> Result<(WriteId, Outcome), RequestError> {
        self.check_key(&key)?;
        self.check_deadline(&ticket, self.store.w())?;
        let view = self.views.current();
        self.count_detour(&view, view.placement().partition_of(&key));
        let id = self.registers.next_id();
        let drive = Drive::new(self, &view, key, (id, action), votes, ticket.deadline());
        let (answer, answered) = oneshot::channel();
        let coordinator = Arc::clone(self);
        // A task of its own: the client may leave, but what was begun is better brought to its end.
        tokio::spawn(async move { coordinator.drive(drive, Some(ticket), answer).await });
        let outcome = answered.await.unwrap_or(Err(RequestError::Stopping))?;
        Ok((id, outcome))
    }

    /// Brings the owners of `key` together again where one of them has promised what nobody went on with.
    pub async fn settle(self: &Arc<Self>, key: Bytes) {
        let view = self.views.current();
        let deadline = Instant::now() + self.timing.request;
        let get = (self.registers.next_id(), Action::Get);
        let drive = Drive::new(self, &view, key, get, Votes::AllOwners, deadline);
        let (answer, _) = oneshot::channel();
        Arc::clone(self).drive(drive, None, answer).await;
    }

    async fn drive(
        self: Arc<Self>,
        mut drive: Drive,
        ticket: Option<Ticket>,
        answer: oneshot::Sender<Result<Outcome, RequestError>>,
    ) {
        let mut left: Answers = FuturesUnordered::new();
        let result = self.drive_to_its_end(&mut drive, &mut left).await;
        let _ = answer.send(result);
        // Owners whose vote did not count any more must have the write all the same. It is in hand
        // until then.
        let until = drive.deadline.max(Instant::now() + self.timing.hand_over);
        loop {
            let next = tokio::select! {
                biased;
                next = left.next() => next,
                () = sleep_until(until) => None,
            };
            match next {
                Some(Answer::Silent(from, asking)) => Self::wait_on(from, asking, &left),
                Some(Answer::Final(..)) => {}
                None => break,
            }
        }
        drop(ticket);
    }

    async fn drive_to_its_end(
        self: &Arc<Self>,
        drive: &mut Drive,
        left: &mut Answers,
    ) -> Result<Outcome, RequestError> {
        let mut view = self.views.current();
        let mut next = drive.begin();
        loop {
            if Instant::now() >= drive.deadline {
                return Err(drive.late(self));
            }
            // An attempt is of one view from its ballot on.
            if !matches!(next, Next::Accept(..)) && self.views.current().version() != view.version() {
                view = self.views.current();
                drive.operation.move_to(voters_of(&view, drive.partition));
                next = drive.begin();
            }
            match self.ask_owners(&view, drive, next, left).await {
                Asked::Late => return Err(drive.late(self)),
                Asked::Outdated => {
                    if !drive.is_get {
                        Mark::ViewChangedDuringPut.hit();
                    }
                    view = self.views.current();
                    drive.operation.move_to(voters_of(&view, drive.partition));
                    next = drive.begin();
                }
                Asked::Step(Step::Done(outcome)) => return Ok(outcome),
                Asked::Step(Step::Accept(ballot, write)) => {
                    if write.id != drive.operation.id() {
                        Mark::RegisterFinishedAnother.hit();
                    }
                    next = Next::Accept(ballot, write);
                }
                Asked::Step(Step::Prepare { above }) => {
                    sleep(self.registers.pause(drive.outrun)).await;
                    drive.outrun += 1;
                    next = drive.after_meeting_others(above);
                }
                Asked::Step(Step::NoQuorum | Step::Wait) => {
                    drive.lost += 1;
                    if drive.lost > LOST_MAX || drive.votes == Votes::AllOwners {
                        return Err(drive.too_few(self));
                    }
                    sleep(self.registers.pause(DOUBLINGS_MAX)).await;
                    next = drive.begin();
                }
            }
        }
    }

    /// Asks the owners until the machine knows how to go on.
    async fn ask_owners(
        self: &Arc<Self>,
        view: &Arc<View>,
        drive: &mut Drive,
        next: Next,
        left: &mut Answers,
    ) -> Asked {
        let sets = view.write_sets(drive.partition);
        let whole = !drive.operation.is_blind();
        let mut ballot = None;
        let ask = match next {
            Next::Look => {
                drive.operation.read_again();
                None
            }
            Next::Prepare { above } => {
                let number = self.local.replica.next_number(above);
                let prepared = drive.operation.prepare(number);
                ballot = Some(prepared);
                Some(AskVoter::Promise { ballot: prepared, whole })
            }
            Next::Accept(under, write) => {
                ballot = Some(under);
                Some(AskVoter::Accept { ballot: under, write })
            }
        };
        // Whoever is asked first for a look sends the value, the others only what tells whether they agree.
        let owners = self.in_order(&sets);
        let first = owners.first().copied();
        let ask_of = |owner: NodeId| Request::Register {
            partition: drive.partition,
            key: drive.key.clone(),
            ask: ask.clone().unwrap_or(AskVoter::Look { whole: Some(owner) == first }),
        };
        let mut waiting: VecDeque<NodeId> = owners.into_iter().collect();
        let answers: Answers = FuturesUnordered::new();
        let at_first = if ask.is_some() || drive.votes == Votes::AllOwners {
            waiting.len()
        } else {
            enough(&sets, &waiting)
        };
        for owner in waiting.drain(..at_first).collect::<Vec<_>>() {
            self.ask(view, owner, ask_of(owner), drive.deadline, &answers);
        }
        let requests = |owner| ask_of(owner);
        *left = answers;
        drive.answered = 0;
        let mut asked_again = AskedAgain::default();
        let mut expiry = pin!(sleep_until(drive.deadline));
        loop {
            if left.is_empty() {
                if waiting.is_empty() {
                    return Asked::Step(Step::Wait);
                }
                for owner in waiting.drain(..) {
                    self.ask(view, owner, requests(owner), drive.deadline, left);
                }
            }
            let answer = tokio::select! {
                biased;
                answer = left.next() => answer,
                () = &mut expiry => return Asked::Late,
            };
            let step = match answer {
                Some(Answer::Final(from, Ok(Response::Looked(seen)))) => {
                    drive.answered += 1;
                    drive.operation.on_read(from, seen)
                }
                Some(Answer::Final(from, Ok(Response::Voted(vote)))) => {
                    drive.answered += 1;
                    drive.operation.on_vote(from, ballot.unwrap_or_default(), vote)
                }
                // What is asked again is the same ballot: hearing it twice changes nothing.
                Some(Answer::Final(from, lost)) if asked_again.should(from, &lost) => {
                    self.ask(view, from, requests(from), drive.deadline, left);
                    Step::Wait
                }
                Some(Answer::Final(_, Err(CallError::OtherView)))
                    if self.views.current().version() != view.version() =>
                {
                    return Asked::Outdated;
                }
                Some(Answer::Final(from, other)) => {
                    if let Ok(Response::Refused { why, .. }) = other {
                        drive.refusal = Some(format!("{from}: {why}"));
                    }
                    if drive.votes == Votes::AllOwners {
                        return Asked::Step(Step::NoQuorum);
                    }
                    drive.operation.on_silence(from)
                }
                Some(Answer::Silent(from, asking)) => {
                    self.peers.suspect(from);
                    Self::wait_on(from, asking, left);
                    for owner in waiting.drain(..) {
                        self.ask(view, owner, requests(owner), drive.deadline, left);
                    }
                    Step::Wait
                }
                None => Step::Wait,
            };
            if step != Step::Wait {
                return Asked::Step(step);
            }
        }
    }

    /// The owners in these sets: this node, then those that answer, then those that are said not to.
    fn in_order(&self, sets: &[Vec<NodeId>]) -> Vec<NodeId> {
        let suspected = self.peers.suspected();
        let mut owners: Vec<NodeId> = Vec::new();
        for owner in sets.iter().flatten() {
            if !owners.contains(owner) {
                owners.push(*owner);
            }
        }
        owners.sort_by_key(|owner| (*owner != self.me, suspected.contains(owner)));
        owners
    }
}

impl Drive {
    fn new(
        coordinator: &Coordinator,
        view: &View,
        key: Bytes,
        (id, action): (WriteId, Action),
        votes: Votes,
        deadline: Instant,
    ) -> Self {
        let partition = view.placement().partition_of(&key);
        let is_get = action == Action::Get;
        let operation = Operation::new(id, action, voters_of(view, partition));
        let operation = if votes == Votes::AllOwners { operation.asking_all() } else { operation };
        debug_assert!(coordinator.store.is_linearizable(), "only registers are operated on");
        Self {
            key,
            partition,
            operation,
            is_get,
            votes,
            deadline,
            answered: 0,
            refusal: None,
            outrun: 0,
            lost: 0,
            has_looked_again: false,
        }
    }

    fn begin(&self) -> Next {
        if self.is_get { Next::Look } else { Next::Prepare { above: 0 } }
    }

    /// A get that found owners differing has most likely met a write on its way: a ballot of its own would
    /// only keep that from its end.
    fn after_meeting_others(&mut self, above: u64) -> Next {
        if self.is_get && !self.has_looked_again {
            self.has_looked_again = true;
            return Next::Look;
        }
        Next::Prepare { above }
    }

    fn needed(&self, coordinator: &Coordinator) -> usize {
        match self.votes {
            Votes::Quorum => coordinator.store.w(),
            Votes::AllOwners => coordinator.store.n(),
        }
    }

    fn late(&self, coordinator: &Coordinator) -> RequestError {
        RequestError::Deadline {
            answered: self.answered,
            needed: self.needed(coordinator),
            after: coordinator.timing.request,
            maybe_applied: self.operation.maybe_applied(),
        }
    }

    fn too_few(&mut self, coordinator: &Coordinator) -> RequestError {
        RequestError::QuorumNotMet {
            answered: self.answered,
            needed: self.needed(coordinator),
            maybe_applied: self.operation.maybe_applied(),
            why: self.refusal.take(),
        }
    }
}

/// What a get of a register says.
pub(super) fn read_of(found: Option<&Write>) -> Read {
    Read {
        payloads: found.and_then(|write| write.payload.clone()).into_iter().collect(),
        seen: Causality::Above(None),
        versions: found.map(|write| write.id.to_string()).into_iter().collect(),
        is_register: true,
    }
}

fn voters_of(view: &View, partition: u32) -> Voters {
    let sets = view.write_sets(partition).into_iter().map(|set| set.into_iter().collect()).collect();
    Voters { epoch: view.version().epoch, sets }
}

/// How many of `owners`, from the first on, have a majority in each set.
fn enough(sets: &[Vec<NodeId>], owners: &VecDeque<NodeId>) -> usize {
    let is_enough = |count: usize| {
        let asked: BTreeSet<&NodeId> = owners.iter().take(count).collect();
        sets.iter().all(|set| set.iter().filter(|owner| asked.contains(owner)).count() > set.len() / 2)
    };
    (1..owners.len()).find(|count| is_enough(*count)).unwrap_or(owners.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn as_few_owners_are_asked_first_as_can_agree() {
        let set = |nodes: [u8; 3]| nodes.map(node).to_vec();
        let order = |nodes: &[u8]| nodes.iter().map(node).collect();
        assert_eq!(enough(&[set([1, 2, 3])], &order(&[2, 1, 3])), 2);
        let moving = [set([1, 2, 3]), set([1, 2, 4])];
        assert_eq!(enough(&moving, &order(&[1, 2, 3, 4])), 2);
        assert_eq!(enough(&moving, &order(&[4, 1, 3, 2])), 3);
        assert_eq!(enough(&[vec![node(1)]], &order(&[1])), 1);
    }
}
