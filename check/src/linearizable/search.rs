//! The general search for a legal order: Wing and Gong's, with Lowe's just-in-time linearization and a
//! memo of configurations, for whatever has no faster method.
//!
//! The problem is NP-complete (Gibbons and Korach 1997), so a search can be paused after so many
//! configurations and may be given up. What makes it bearable: the memo remembers a 128-bit Zobrist hash
//! of what has been placed and of the state, instead of the set itself; a read of the current state is
//! placed at once and never taken back; of open operations that do the same only the earliest may go
//! first, and none that would change nothing.
//!
//! Two configurations collide with probability 2^-128 a pair, and only a collision could turn "possible"
//! into "impossible".

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::Op;
use super::machine::{Machine, spread};
use crate::deadline::Deadline;
use crate::history::NONE;

/// Where a search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is an order: [`Search::order`].
    Found,
    /// No order places this operation (a position) by its return.
    Impossible(u32),
    /// The configurations allowed were used up.
    Paused,
    /// The time was.
    Late,
}

/// A doubly linked list of calls and returns in order of time; placed operations are lifted out of it.
/// Event 0 is the head, event `2 * op + 1` the call of an operation, `2 * op + 2` its return.
pub(crate) struct Search<'o, M: Machine> {
    machine: M,
    ops: &'o [Op<M::Step>],
    next: Vec<u32>,
    previous: Vec<u32>,
    /// By event: its place in the order of time.
    rank: Vec<u32>,
    placed: Vec<bool>,
    /// By operation: the one of its process before it, which must be placed first.
    before: Vec<u32>,
    /// By open operation: an earlier open one with the same effect.
    twin: Vec<u32>,
    state: M::State,
    hash: u128,
    /// Operations that returned and are not placed yet.
    left: usize,
    memo: HashSet<u128, BuildHasherDefault<Folded>>,
    stack: Vec<Placed<M::State>>,
    /// Where to go on in the list.
    event: u32,
    /// The furthest return that some order was stopped by: the prefix up to it has no order.
    furthest: u32,
    furthest_rank: u32,
    /// Configurations looked at.
    pub(crate) steps: u64,
}

/// A placed operation: how to take it back, and whether there was a choice.
struct Placed<S> {
    op: u32,
    state: S,
    forced: bool,
}

impl<'o, M: Machine> Search<'o, M> {
    /// A search over operations in order of invocation.
    pub(crate) fn new(machine: M, ops: &'o [Op<M::Step>], initial: M::State) -> Self {
        let mut events: Vec<(i64, bool, u32)> = Vec::with_capacity(2 * ops.len());
        for (op, entry) in (0_u32..).zip(ops) {
            events.push((entry.call, false, 2 * op + 1));
            if entry.returned() {
                events.push((entry.ret, true, 2 * op + 2));
            }
        }
        // Calls come before returns at equal stamps: closed intervals.
        events.sort_unstable();
        let count = 2 * ops.len() + 1;
        let (mut next, mut previous, mut rank) = (vec![NONE; count], vec![NONE; count], vec![0; count]);
        let mut last = 0;
        for (place, &(_, _, event)) in (0_u32..).zip(&events) {
            next[last as usize] = event;
            previous[event as usize] = last;
            rank[event as usize] = place;
            last = event;
        }
        let mut before = vec![NONE; ops.len()];
        let mut twin = vec![NONE; ops.len()];
        // Only asked, never walked.
        let mut last_of_process: HashMap<u32, u32> = HashMap::new();
        let mut last_open: HashMap<u128, u32> = HashMap::new();
        for (op, entry) in (0_u32..).zip(ops) {
            if let Some(earlier) = last_of_process.insert(entry.process, op) {
                before[op as usize] = earlier;
            }
            if !entry.returned()
                && let Some(earlier) = last_open.insert(machine.effect(entry.step), op)
            {
                twin[op as usize] = earlier;
            }
        }
        let event = next[0];
        Search {
            machine,
            ops,
            next,
            previous,
            rank,
            placed: vec![false; ops.len()],
            before,
            twin,
            state: initial,
            hash: 0,
            left: ops.iter().filter(|op| op.returned()).count(),
            memo: HashSet::default(),
            stack: Vec::new(),
            event,
            furthest: NONE,
            furthest_rank: 0,
            steps: 0,
        }
    }

    /// Configurations remembered.
    pub(crate) fn configurations(&self) -> usize {
        self.memo.len()
    }

    /// The order found so far, by position.
    pub(crate) fn order(&self) -> impl Iterator<Item = u32> + '_ {
        self.stack.iter().map(|placed| placed.op)
    }

    /// Goes on until it is decided, or `configurations` are remembered, or the time is up.
    pub(crate) fn run(&mut self, configurations: usize, deadline: &Deadline) -> Progress {
        while self.left > 0 {
            self.steps += 1;
            if deadline.step() {
                return Progress::Late;
            }
            if self.memo.len() >= configurations {
                return Progress::Paused;
            }
            let event = self.event;
            if event != NONE && event % 2 == 1 {
                let op = (event - 1) / 2;
                self.event = self.next[event as usize];
                let Some(state) = self.can_place(op) else { continue };
                // Seeing the current state now never spoils a later order, so there is no choice here.
                let forced = self.machine.is_read(self.ops[op as usize].step);
                let placed = Placed { op, state: self.state, forced };
                self.place(op, state);
                if forced || self.memo.insert(self.hash ^ self.machine.fingerprint(state)) {
                    self.stack.push(placed);
                    self.event = self.next[0];
                } else {
                    self.take_back(&placed);
                }
                continue;
            }
            // A return that is not placed, or the end of the list: take the last choice back.
            if event != NONE && (self.furthest == NONE || self.rank[event as usize] > self.furthest_rank) {
                self.furthest = (event - 2) / 2;
                self.furthest_rank = self.rank[event as usize];
            }
            loop {
                let Some(placed) = self.stack.pop() else { return Progress::Impossible(self.furthest) };
                self.take_back(&placed);
                if !placed.forced {
                    self.event = self.next[(2 * placed.op + 1) as usize];
                    break;
                }
            }
        }
        Progress::Found
    }

    /// The state after the operation, if it may be placed now.
    fn can_place(&mut self, op: u32) -> Option<M::State> {
        let entry = &self.ops[op as usize];
        for earlier in [self.before[op as usize], self.twin[op as usize]] {
            if earlier != NONE && !self.placed[earlier as usize] {
                return None;
            }
        }
        let state = self.machine.apply(self.state, entry.step)?;
        // What may never have happened and would change nothing is not worth trying.
        (entry.returned() || state != self.state).then_some(state)
    }

    fn place(&mut self, op: u32, state: M::State) {
        self.state = state;
        self.hash ^= spread(u64::from(op));
        self.placed[op as usize] = true;
        self.lift(2 * op + 1);
        if self.ops[op as usize].returned() {
            self.lift(2 * op + 2);
            self.left -= 1;
        }
    }

    fn take_back(&mut self, placed: &Placed<M::State>) {
        let op = placed.op;
        self.state = placed.state;
        self.hash ^= spread(u64::from(op));
        self.placed[op as usize] = false;
        if self.ops[op as usize].returned() {
            self.unlift(2 * op + 2);
            self.left += 1;
        }
        self.unlift(2 * op + 1);
    }

    fn lift(&mut self, event: u32) {
        let (previous, next) = (self.previous[event as usize], self.next[event as usize]);
        self.next[previous as usize] = next;
        if next != NONE {
            self.previous[next as usize] = previous;
        }
    }

    fn unlift(&mut self, event: u32) {
        let (previous, next) = (self.previous[event as usize], self.next[event as usize]);
        self.next[previous as usize] = event;
        if next != NONE {
            self.previous[next as usize] = event;
        }
    }
}

/// For keys that are random numbers already, folding them is hash enough; small numbers are multiplied.
#[derive(Debug, Default)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
    fn write_u128(&mut self, number: u128) {
        self.0 ^= (number >> 64) as u64 ^ number as u64;
    }
}
