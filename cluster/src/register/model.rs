//! Every interleaving of small cases, played with the product's own acceptors and operations.
//!
//! A world has owners, clients with an operation each, and views that follow each other while the
//! owners change. All that may happen next is tried: a message arrives, at any time or never, with its
//! answer or without; an operation gives up an attempt and begins another; a new view is made, and an
//! owner learns of it; an owner merges what another holds; an owner loses its disk. Worlds that were
//! met before are not gone into again. Whenever an operation ends, what the clients saw must be what one
//! register could have shown them.
//!
//! A message and its answer arrive at one moment, and both or neither. That loses nothing. What an
//! operation does with an answer is to send messages, and those may be late. A promise whose answer is
//! lost only makes an owner refuse more. An accept whose answer is lost is one that arrives after the
//! operation has given up the attempt, which it may do at any time; and an operation that never hears the
//! last answer allows the others whatever one that does allows them.
//!
//! The rules by which views follow each other are written down here once more, in a few lines, because
//! the product's own drive disks and messages. [`Fault`] leaves out one safety step each, and the same
//! search then finds what it breaks: a model that nothing can break would prove nothing. (Counting only
//! the new owners while they change breaks nothing here: they vote once they have merged a majority of
//! sealed old ones. The product counts both, as it does for all stores.)
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod cases;

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{
    Acceptor, Action, Ballot, Expected, Operation, Outcome, Seen, Step, Vote, Voters, Write, WriteId,
};
use crate::testing::node;
use crate::version::Payload;

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// An operation forgets that it sent an accept, and applies itself again.
    AppliesAgain,
    /// Owners answer what was sent under an earlier view.
    NoSeal,
    /// A new owner votes once it has merged one old owner.
    MergesOne,
    /// An owner whose disk was lost votes at once.
    VotesUnfilled,
    /// An owner whose disk was lost is filled without a new view.
    FilledUnfenced,
    /// An owner forgets what it promised.
    ForgetsPromises,
    /// Ballots are not raised by a new epoch.
    BallotsWithoutEpoch,
    /// A get trusts a majority that accepted in an earlier epoch.
    TrustsOldMajority,
    /// A get that finds owners differing answers with the highest it found.
    NoWriteBack,
}

/// What may happen to the owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Never,
    /// Owner 3 takes the place of owner 2.
    Replace,
    /// Owner 1 loses its disk.
    LoseDisk,
}

/// A case to be searched.
#[derive(Clone, Debug)]
struct Case {
    script: Vec<Action>,
    /// Attempts that each operation may make; a get first reads without a ballot.
    attempts: Vec<u8>,
    change: Change,
    fault: Fault,
    /// What is left of operations that nobody will ever go on with.
    left: Vec<Left>,
}

/// An operation that died in the first view: some owners promised, some accepted.
#[derive(Clone, Debug)]
struct Left {
    client: usize,
    number: u64,
    promised: Vec<usize>,
    accepted: Vec<usize>,
}

/// Owners are 0 to 2, or with 3 in place of 2.
const OLD: [usize; 3] = [0, 1, 2];
const NEW: [usize; 3] = [0, 1, 3];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owner {
    acceptor: Acceptor,
    view: u8,
    /// Whose copies it has merged since it had to; nothing once it holds all that counts.
    merged: Option<BTreeSet<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sent {
    Nothing,
    Read,
    Prepare,
    Accept,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    operation: Operation,
    attempt: u8,
    /// The view of the attempt.
    view: u8,
    sent: Sent,
    ballot: Ballot,
    write: Option<Write>,
    /// The owners that what was sent may still reach.
    flying: BTreeSet<usize>,
    /// Accepts of earlier attempts that may still arrive: their view, what, and where.
    late: Vec<(u8, Ballot, Write, BTreeSet<usize>)>,
    ended: Option<Outcome>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    owners: Vec<Owner>,
    clients: Vec<Option<Client>>,
    /// Bit b of entry a: operation b had ended, and not as unknown, when a began.
    after: Vec<u8>,
    /// The newest view there is.
    newest: u8,
    disk_lost: bool,
}

/// What a search came to.
#[derive(Debug)]
struct Searched {
    states: usize,
    /// The first world that no register could have shown.
    broken: Option<World>,
}

impl Client {
    /// What was sent last is no longer waited for; an accept of it may still do something.
    fn leave_behind(&mut self) {
        let flying = std::mem::take(&mut self.flying);
        if let (Sent::Accept, Some(write), false) = (self.sent, &self.write, flying.is_empty()) {
            self.late.push((self.view, self.ballot, write.clone(), flying));
        }
    }
}

impl World {
    /// How an operation ended; nothing if it still may do anything.
    fn certain(&self, client: usize) -> Option<&Outcome> {
        let ended = self.clients[client].as_ref().and_then(|c| c.ended.as_ref());
        ended.filter(|outcome| **outcome != Outcome::Unknown)
    }

    /// Twice 64 bits: worlds that were met before are told by these alone.
    fn fingerprint(&self) -> (u64, u64) {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, self).hash(&mut hasher);
            hasher.finish()
        };
        (hash(0), hash(1))
    }
}

fn id(client: usize) -> WriteId {
    WriteId { incarnation: client as u64 + 1, sequence: 1 }
}

impl Case {
    fn start(&self) -> World {
        let owner =
            |at| Owner { acceptor: Acceptor::default(), view: 0, merged: (at == 3).then(BTreeSet::new) };
        let mut world = World {
            owners: (0..if self.change == Change::Replace { 4 } else { 3 }).map(owner).collect(),
            clients: vec![None; self.script.len()],
            after: vec![0; self.script.len()],
            newest: 0,
            disk_lost: false,
        };
        for Left { client, number, promised, accepted } in &self.left {
            let ballot = Ballot { epoch: 0, number: *number, by: id(*client) };
            let (Action::Set(payload) | Action::CompareAndSet(_, payload)) = &self.script[*client] else {
                panic!("a get leaves nothing behind");
            };
            let write = Write { id: id(*client), payload: payload.clone() };
            for owner in promised {
                assert!(matches!(world.owners[*owner].acceptor.prepare(ballot), Vote::Promise(None)));
            }
            for owner in accepted {
                assert_eq!(world.owners[*owner].acceptor.accept(ballot, write.clone()), Vote::Accepted);
            }
            world.clients[*client] = Some(self.begun(*client, 0, self.attempts[*client]));
        }
        world
    }

    fn begun(&self, client: usize, view: u8, attempt: u8) -> Client {
        Client {
            operation: Operation::new(id(client), self.script[client].clone(), self.voters(view)),
            attempt,
            view,
            sent: Sent::Nothing,
            ballot: Ballot::default(),
            write: None,
            flying: BTreeSet::new(),
            late: Vec::new(),
            ended: None,
        }
    }

    /// The owner sets of a view: old, both, new. All views but the first are of the second epoch.
    fn voters(&self, view: u8) -> Voters {
        let set = |owners: [usize; 3]| owners.into_iter().map(node).collect::<BTreeSet<_>>();
        let sets = match (self.change, view) {
            (Change::Replace, 1) => vec![set(OLD), set(NEW)],
            (Change::Replace, 2) => vec![set(NEW)],
            _ => vec![set(OLD)],
        };
        let epoch = if self.fault == Fault::BallotsWithoutEpoch { 0 } else { u64::from(view > 0) };
        Voters { epoch, sets }
    }

    fn owners(&self, view: u8) -> BTreeSet<usize> {
        match (self.change, view) {
            (Change::Replace, 1) => [0, 1, 2, 3].into(),
            (Change::Replace, 2) => NEW.into(),
            _ => OLD.into(),
        }
    }

    /// Searches all worlds that can come of the start.
    fn search(&self) -> Searched {
        let mut seen = HashSet::new();
        let mut open = vec![self.start()];
        seen.insert(self.start().fingerprint());
        while let Some(world) = open.pop() {
            for next in self.next(&world) {
                if !seen.insert(next.fingerprint()) {
                    continue;
                }
                if !self.could_be_one_register(&next) {
                    return Searched { states: seen.len(), broken: Some(next) };
                }
                open.push(next);
            }
        }
        Searched { states: seen.len(), broken: None }
    }

    /// All worlds that may come next.
    fn next(&self, world: &World) -> Vec<World> {
        let mut next = Vec::new();
        for client in 0..self.script.len() {
            self.attempts_of(world, client, &mut next);
            self.arrivals_of(world, client, &mut next);
        }
        self.changes(world, &mut next);
        next
    }

    /// The operation begins, or begins another attempt, under any view from its last on.
    fn attempts_of(&self, world: &World, client: usize, next: &mut Vec<World>) {
        let begun = world.clients[client].as_ref();
        if begun.is_some_and(|c| c.ended.is_some() || c.attempt >= self.attempts[client]) {
            return;
        }
        let client_count = self.script.len();
        for view in begun.map_or(0, |c| c.view)..=world.newest {
            let mut world = world.clone();
            if begun.is_none() {
                world.after[client] =
                    (0..client_count).filter(|at| world.certain(*at).is_some()).map(|at| 1 << at).sum();
            }
            let mut state = begun.cloned().unwrap_or_else(|| self.begun(client, view, 0));
            state.leave_behind();
            if self.fault == Fault::AppliesAgain || state.attempt > 0 || view != state.view {
                if self.fault == Fault::AppliesAgain {
                    state.operation =
                        Operation::new(id(client), self.script[client].clone(), self.voters(view));
                }
                state.operation.move_to(self.voters(view));
            }
            state.view = view;
            state.attempt += 1;
            state.flying = self.owners(view);
            if self.script[client] == Action::Get && state.attempt == 1 {
                state.operation = Operation::new(id(client), Action::Get, self.voters(view));
                state.sent = Sent::Read;
            } else {
                state.sent = Sent::Prepare;
                state.ballot = state.operation.prepare(u64::from(state.attempt));
            }
            world.clients[client] = Some(state);
            next.push(world);
        }
    }

    /// What the operation sent arrives somewhere, and its answer is heard or lost.
    fn arrivals_of(&self, world: &World, client: usize, next: &mut Vec<World>) {
        let Some(state) = world.clients[client].as_ref() else { return };
        for (number, (view, ballot, write, flying)) in state.late.iter().enumerate() {
            for to in flying {
                let mut world = world.clone();
                let sent = (Sent::Accept, *view, *ballot, Some(write));
                if !matches!(self.answer(&mut world.owners[*to], sent), Some(Vote::Accepted)) {
                    continue;
                }
                let late = &mut world.clients[client].as_mut().unwrap().late;
                late[number].3.remove(to);
                late.retain(|(.., flying)| !flying.is_empty());
                next.push(world);
            }
        }
        if state.ended.is_some() {
            return;
        }
        for &to in &state.flying {
            let mut world = world.clone();
            let sent = (state.sent, state.view, state.ballot, state.write.as_ref());
            // A refusal is as good as a message that never arrives: the next attempt may come anyway.
            let Some(answer) = self.answer(&mut world.owners[to], sent) else { continue };
            if matches!(answer, Vote::Outrun(_)) {
                continue;
            }
            let state = world.clients[client].as_mut().unwrap();
            state.flying.remove(&to);
            let step = match answer {
                Vote::Promise(accepted) if state.sent == Sent::Read => {
                    let seen = accepted.map(|accepted| {
                        let mut ballot = accepted.ballot;
                        if self.fault == Fault::TrustsOldMajority {
                            ballot.epoch = self.voters(state.view).epoch;
                        }
                        Seen { ballot, write: Some(accepted.value) }
                    });
                    state.operation.on_read(node(to), seen)
                }
                Vote::Promise(Some(mut accepted)) if state.operation.is_blind() => {
                    accepted.value.payload = None;
                    state.operation.on_vote(node(to), state.ballot, Vote::Promise(Some(accepted)))
                }
                vote => state.operation.on_vote(node(to), state.ballot, vote),
            };
            match step {
                Step::Wait => {}
                Step::Accept(_, write)
                    if self.fault == Fault::NoWriteBack && self.script[client] == Action::Get =>
                {
                    state.ended = Some(Outcome::Found(Some(write)));
                    state.flying.clear();
                }
                Step::Accept(ballot, write) => {
                    state.ballot = ballot;
                    state.write = Some(write);
                    state.sent = Sent::Accept;
                    state.flying = self.owners(state.view);
                }
                Step::Done(outcome) => {
                    state.ended = Some(outcome);
                    state.leave_behind();
                    // Nothing else of it matters any more.
                    state.operation = Operation::new(id(client), Action::Get, Voters::default());
                    (state.view, state.sent, state.ballot, state.write) =
                        (0, Sent::Nothing, Ballot::default(), None);
                }
                Step::Prepare { .. } | Step::NoQuorum => state.leave_behind(),
            }
            next.push(world);
        }
    }

    fn answer(&self, owner: &mut Owner, sent: (Sent, u8, Ballot, Option<&Write>)) -> Option<Vote> {
        let (sent, view, ballot, write) = sent;
        let is_sealed = owner.view != view && !(self.fault == Fault::NoSeal && owner.view > view);
        if is_sealed || owner.merged.is_some() {
            return None;
        }
        if self.fault == Fault::ForgetsPromises && sent != Sent::Read {
            let accepted = owner.acceptor.accepted().cloned();
            owner.acceptor = accepted.map_or_else(Acceptor::default, |accepted| {
                Acceptor::recovered(Ballot::default(), Some(accepted))
            });
        }
        match (sent, write) {
            (Sent::Read, _) => Some(Vote::Promise(owner.acceptor.accepted().cloned())),
            (Sent::Prepare, _) => Some(owner.acceptor.prepare(ballot)),
            (Sent::Accept, Some(write)) => Some(owner.acceptor.accept(ballot, write.clone())),
            (Sent::Nothing | Sent::Accept, _) => None,
        }
    }

    /// A view is made or learned of, an owner merges another's copy, an owner loses its disk.
    fn changes(&self, world: &World, next: &mut Vec<World>) {
        let mut push = |change: &dyn Fn(&mut World)| {
            let mut world = world.clone();
            change(&mut world);
            next.push(world);
        };
        if self.change == Change::Never {
            return;
        }
        let is_lost_first = self.change != Change::LoseDisk || world.disk_lost;
        if world.newest == 0 && is_lost_first {
            push(&|world| world.newest = 1);
        }
        // A majority of the old owners has left the first view: nothing can be chosen in it any more.
        let sealed = OLD.iter().filter(|at| world.owners[**at].view >= 1).count() >= 2;
        if world.newest == 1 && self.change == Change::Replace && sealed && world.owners[3].merged.is_none() {
            push(&|world| world.newest = 2);
        }
        for at in 0..world.owners.len() {
            if world.owners[at].view < world.newest {
                push(&|world| world.owners[at].view += 1);
            }
        }
        let filling = if self.change == Change::Replace { 3 } else { 1 };
        if let Some(merged) = &world.owners[filling].merged {
            for from in OLD.into_iter().filter(|from| *from != filling && !merged.contains(from)) {
                let fenced = world.owners[filling].view == 1 && world.owners[from].view == 1;
                if fenced || self.fault == Fault::FilledUnfenced {
                    push(&|world| self.merge(world, filling, from));
                }
            }
        }
        if self.change == Change::LoseDisk && !world.disk_lost {
            push(&|world| {
                world.disk_lost = true;
                world.owners[1].acceptor = Acceptor::default();
                world.owners[1].merged = (self.fault != Fault::VotesUnfilled).then(BTreeSet::new);
            });
        }
    }

    fn merge(&self, world: &mut World, filling: usize, from: usize) {
        if let Some(accepted) = world.owners[from].acceptor.accepted().cloned() {
            // As good as the proposer's own message, so a promise stands against it too.
            let _ = world.owners[filling].acceptor.accept(accepted.ballot, accepted.value);
        }
        let owner = &mut world.owners[filling];
        let merged = owner.merged.as_mut().unwrap();
        merged.insert(from);
        let needed = if self.fault == Fault::MergesOne { 1 } else { 2 };
        if merged.len() >= needed {
            owner.merged = None;
        }
    }

    /// Whether one register could have shown the clients what they saw.
    fn could_be_one_register(&self, world: &World) -> bool {
        let begun = (0..self.script.len()).filter(|at| world.clients[*at].is_some());
        let open = begun.map(|at| 1_u8 << at).sum();
        self.explain(world, open, None)
    }

    /// Whether the operations in `open` that have certainly ended can follow each other, and others among
    /// them, from `value` on: the write that a get finds, if there is one.
    fn explain(&self, world: &World, open: u8, value: Option<&Write>) -> bool {
        let is_open = |at: &usize| open & (1 << at) != 0;
        if !(0..self.script.len()).filter(is_open).any(|at| world.certain(at).is_some()) {
            return true;
        }
        (0..self.script.len()).filter(is_open).filter(|at| world.after[*at] & open == 0).any(|at| {
            let rest = open & !(1 << at);
            let set = |payload: &Option<Payload>| Write { id: id(at), payload: payload.clone() };
            let there = value.filter(|write| write.payload.is_some());
            let (expected, after) = match &self.script[at] {
                Action::Get => (Outcome::Found(value.cloned()), value.cloned()),
                Action::Set(payload) => (Outcome::Applied, Some(set(payload))),
                Action::Restore(write) => match value {
                    Some(there) if there.id != write.id => {
                        (Outcome::Mismatch(value.cloned()), value.cloned())
                    }
                    _ => (Outcome::Applied, Some(write.clone())),
                },
                Action::CompareAndSet(expects, payload) => {
                    let holds = match expects {
                        Expected::Nothing => there.is_none(),
                        Expected::Write(id) => there.is_some_and(|write| write.id == *id),
                    };
                    if holds {
                        (Outcome::Applied, Some(set(payload)))
                    } else {
                        (Outcome::Mismatch(value.cloned()), value.cloned())
                    }
                }
            };
            // What is not certain may have happened here, or come after all others.
            let fits = world.certain(at).is_none_or(|outcome| *outcome == expected);
            fits && self.explain(world, rest, after.as_ref())
        })
    }
}
