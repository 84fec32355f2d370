//! The general search for a legal order: Wing and Gong's, with Lowe's just-in-time linearization and a
//! memo of configurations, for registers whose values repeat.
//!
//! The problem is NP-complete (Gibbons and Korach 1997), so the search has a budget and may answer
//! "unknown". What makes it bearable: the memo remembers a 128-bit Zobrist hash of what has been placed
//! instead of the set itself; a get of the current value is placed at once and never taken back; of
//! open writes of one value only the earliest may go first.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::{Budget, Finding, Op, Step};
use crate::history::{History, Id, NONE};
use crate::say;

/// Looks for an order of the operations of one key.
pub(crate) fn search(history: &History, ops: &[Op], initial: Id, budget: &Budget) -> Finding {
    match Search::new(ops, initial).run(budget) {
        Answer::Found => Finding::Linearizable,
        Answer::Impossible { operation } => {
            let first_impossible = ops[operation].number;
            // The operations open at that moment, or over just before it, are what it contradicts; a
            // smallest set would need many more searches.
            let says = say::unorderable(history, &[first_impossible], first_impossible);
            Finding::Not { witness: vec![first_impossible], first_impossible, says }
        }
        Answer::OverBudget { why } => Finding::Unknown(why),
    }
}

enum Answer {
    Found,
    /// No order places this operation by its return.
    Impossible {
        operation: usize,
    },
    OverBudget {
        why: String,
    },
}

/// A doubly linked list of calls and returns in order of time; placed operations are lifted out of it.
/// Event 0 is the head, event `2 * op + 1` the call of an operation, `2 * op + 2` its return.
struct Search<'o> {
    ops: &'o [Op],
    next: Vec<u32>,
    previous: Vec<u32>,
    /// By event: its place in the order of time.
    rank: Vec<u32>,
    placed: Vec<bool>,
    /// By operation: the one of its process before it, which must be placed first.
    before: Vec<u32>,
    /// By open operation: an earlier open one with the same effect.
    twin: Vec<u32>,
    state: Id,
    hash: u128,
    /// Operations that returned and are not placed yet.
    left: usize,
}

/// A placed operation: how to take it back, and whether there was a choice.
struct Placed {
    op: u32,
    state: Id,
    forced: bool,
}

impl<'o> Search<'o> {
    fn new(ops: &'o [Op], initial: Id) -> Self {
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
        let mut last_open: HashMap<(Id, Id), u32> = HashMap::new();
        for (op, entry) in (0_u32..).zip(ops) {
            if let Some(earlier) = last_of_process.insert(entry.process, op) {
                before[op as usize] = earlier;
            }
            let effect = match entry.step {
                Step::Read(_) => continue,
                Step::Write(value) => (NONE, value),
                Step::Cas(from, to) => (from, to),
            };
            if !entry.returned()
                && let Some(earlier) = last_open.insert(effect, op)
            {
                twin[op as usize] = earlier;
            }
        }
        Search {
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
        }
    }

    fn run(mut self, budget: &Budget) -> Answer {
        let mut memo: HashSet<(u128, Id), BuildHasherDefault<Folded>> = HashSet::default();
        let mut stack: Vec<Placed> = Vec::new();
        // The furthest return that some order was stopped by: the prefix up to it has no order.
        let (mut furthest, mut furthest_rank) = (NONE, 0);
        let mut steps = 0_u64;
        let mut event = self.next[0];
        while self.left > 0 {
            steps += 1;
            if steps.is_multiple_of(1 << 16) && expired(budget) {
                return Answer::OverBudget { why: "the search ran out of time".to_owned() };
            }
            if event != NONE && event % 2 == 1 {
                let op = (event - 1) / 2;
                let Some(state) = self.can_place(op) else {
                    event = self.next[event as usize];
                    continue;
                };
                // Seeing the current value now never spoils a later order, so there is no choice here.
                let forced = matches!(self.ops[op as usize].step, Step::Read(_));
                let placed = Placed { op, state: self.state, forced };
                self.place(op, state);
                if forced || memo.insert((self.hash, state)) {
                    stack.push(placed);
                    event = self.next[0];
                } else {
                    self.take_back(&placed);
                    event = self.next[event as usize];
                }
                if memo.len() >= budget.configurations {
                    let why = format!("the search gave up after {} configurations", budget.configurations);
                    return Answer::OverBudget { why };
                }
                continue;
            }
            // A return that is not placed, or the end of the list: take the last choice back.
            if event != NONE && (furthest == NONE || self.rank[event as usize] > furthest_rank) {
                furthest = (event - 2) / 2;
                furthest_rank = self.rank[event as usize];
            }
            loop {
                let Some(placed) = stack.pop() else {
                    return Answer::Impossible { operation: furthest as usize };
                };
                self.take_back(&placed);
                if !placed.forced {
                    event = self.next[(2 * placed.op + 1) as usize];
                    break;
                }
            }
        }
        Answer::Found
    }

    /// The state after the operation, if it may be placed now.
    fn can_place(&self, op: u32) -> Option<Id> {
        let entry = &self.ops[op as usize];
        for earlier in [self.before[op as usize], self.twin[op as usize]] {
            if earlier != NONE && !self.placed[earlier as usize] {
                return None;
            }
        }
        let state = match entry.step {
            Step::Read(value) => (value == self.state).then_some(value)?,
            Step::Write(value) => value,
            Step::Cas(from, to) => (from == self.state).then_some(to)?,
        };
        // What may never have happened and would change nothing is not worth trying.
        (entry.returned() || state != self.state).then_some(state)
    }

    fn place(&mut self, op: u32, state: Id) {
        self.state = state;
        self.hash ^= zobrist(op);
        self.placed[op as usize] = true;
        self.lift(2 * op + 1);
        if self.ops[op as usize].returned() {
            self.lift(2 * op + 2);
            self.left -= 1;
        }
    }

    fn take_back(&mut self, placed: &Placed) {
        let op = placed.op;
        self.state = placed.state;
        self.hash ^= zobrist(op);
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

fn expired(budget: &Budget) -> bool {
    budget.deadline.is_some_and(|deadline| std::time::Instant::now() >= deadline)
}

/// A fixed random number for each operation: the exclusive or of those placed stands for the set. Two
/// sets collide with probability 2^-128, and only a collision could turn "possible" into "impossible".
fn zobrist(op: u32) -> u128 {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let seed = u64::from(op).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from(mix(seed)) << 64 | u128::from(mix(seed ^ 0x5851_f42d_4c95_7f2d))
}

/// The keys are random numbers already: folding them is hash enough.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u128(&mut self, number: u128) {
        self.0 ^= (number >> 64) as u64 ^ number as u64;
    }
    fn write_u32(&mut self, number: u32) {
        self.0 ^= u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
