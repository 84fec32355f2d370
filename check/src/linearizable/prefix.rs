//! The first impossible operation: the one whose answer ends the shortest prefix of the history that
//! cannot be ordered. An operation that had not returned by then counts as still open.

use std::collections::BTreeSet;

use super::clusters::{Cluster, Clusters, Scratch};
use super::zones::Conflict;
use super::{Finding, Op, Step, chains};
use crate::deadline::{Deadline, LATE};
use crate::history::{History, Id, NONE};
use crate::say;

/// For zones: takes the returns one by one and keeps the zones of the prefix free of conflicts.
/// O(n log n) over the prefix.
pub(crate) fn by_sweep(history: &History, ops: &[Op], clusters: Clusters, deadline: &Deadline) -> Finding {
    let Clusters { list, of_op, .. } = clusters;
    let mut returns: Vec<(i64, u32)> = (0_u32..)
        .zip(ops)
        .filter(|(position, op)| op.returned() && of_op[*position as usize] != NONE)
        .map(|(position, op)| (op.ret, position))
        .collect();
    returns.sort_unstable();
    let mut sweep = Sweep::new(list);
    for (_, position) in returns {
        if deadline.step() {
            return Finding::Unknown(LATE.to_owned());
        }
        let index = of_op[position as usize];
        if let Some(conflict) = sweep.complete(index, position, &ops[position as usize]) {
            let (a, b) = (sweep.zones[conflict.a as usize], sweep.zones[conflict.b as usize]);
            let witness: Vec<u32> =
                Conflict::witness(&a, &b).into_iter().map(|op| ops[op as usize].number).collect();
            let first_impossible = ops[position as usize].number;
            let says = say::conflict(history, ops, &a, &b, first_impossible);
            return Finding::Not { witness, first_impossible, says };
        }
    }
    Finding::Unknown("zones in conflict, but no prefix of the history is".to_owned())
}

/// The zones of a growing prefix.
struct Sweep {
    /// Of clusters that have not begun to return, the zones of the whole history.
    zones: Vec<Cluster>,
    /// By cluster: its place among those that have begun to return.
    place: Vec<u32>,
    /// By place: the cluster and its `f`; the latter never falls from place to place.
    begun: Vec<u32>,
    f_at: Vec<i64>,
    forward: BTreeSet<u32>,
    backward: MaxTree,
}

impl Sweep {
    fn new(zones: Vec<Cluster>) -> Self {
        let count = zones.len();
        let mut sweep = Sweep {
            zones,
            place: vec![NONE; count],
            begun: Vec::new(),
            f_at: Vec::new(),
            forward: BTreeSet::new(),
            backward: MaxTree::new(count),
        };
        sweep.begin(0, NONE, i64::MIN, i64::MIN);
        sweep
    }

    fn begin(&mut self, index: u32, op: u32, call: i64, ret: i64) {
        let zone = &mut self.zones[index as usize];
        (zone.f, zone.f_op, zone.s, zone.s_op) = (ret, op, zone.put_call, zone.put);
        zone.take(op, call, i64::MAX);
        self.place[index as usize] = u32::try_from(self.begun.len()).unwrap_or(NONE);
        self.begun.push(index);
        self.f_at.push(ret);
    }

    /// Takes the return of one operation of a cluster; the conflict that it makes, if any.
    fn complete(&mut self, index: u32, op: u32, entry: &Op) -> Option<Conflict> {
        if self.place[index as usize] == NONE {
            self.begin(index, op, entry.call, entry.ret);
        } else {
            self.zones[index as usize].take(op, entry.call, i64::MAX);
        }
        let zone = self.zones[index as usize];
        let place = self.place[index as usize];
        let begun_before_s = self.f_at.partition_point(|&f| f < zone.s);
        let at = |place: u32| self.begun[place as usize];
        let s_of = |place: u32| self.zones[at(place) as usize].s;
        if zone.is_forward() {
            self.forward.insert(place);
            self.backward.set(place as usize, i64::MIN);
            let before = self.forward.range(..place).next_back().copied();
            if let Some(other) = before.filter(|&other| zone.f < s_of(other)) {
                return Some(Conflict { a: at(other), b: index });
            }
            let after = self.forward.range(place + 1..).next().copied();
            if let Some(other) = after.filter(|&other| self.f_at[other as usize] < zone.s) {
                return Some(Conflict { a: index, b: at(other) });
            }
            let (s, inside) = self.backward.max_below(begun_before_s);
            return (s > zone.f).then(|| Conflict { a: index, b: at(inside) });
        }
        self.backward.set(place as usize, zone.s);
        let end = u32::try_from(begun_before_s).unwrap_or(NONE);
        let holder = *self.forward.range(..end).next_back()?;
        (zone.f < s_of(holder)).then(|| Conflict { a: at(holder), b: index })
    }
}

/// The largest of the first n values, under single changes: both O(log n).
struct MaxTree {
    leaves: usize,
    values: Vec<i64>,
    /// By node: the leaf below it with the largest value.
    best: Vec<u32>,
}

impl MaxTree {
    fn new(leaves: usize) -> Self {
        let leaves = leaves.next_power_of_two();
        let mut best = vec![0; 2 * leaves];
        (0_u32..).zip(&mut best[leaves..]).for_each(|(leaf, best)| *best = leaf);
        for node in (1..leaves).rev() {
            best[node] = best[2 * node];
        }
        MaxTree { leaves, values: vec![i64::MIN; leaves], best }
    }

    fn larger(&self, a: u32, b: u32) -> u32 {
        if self.values[b as usize] >= self.values[a as usize] { b } else { a }
    }

    fn set(&mut self, leaf: usize, value: i64) {
        self.values[leaf] = value;
        let mut node = self.leaves + leaf;
        while node > 1 {
            node /= 2;
            self.best[node] = self.larger(self.best[2 * node], self.best[2 * node + 1]);
        }
    }

    /// The largest value among leaves `0..end`, and its leaf.
    fn max_below(&self, end: usize) -> (i64, u32) {
        let (mut low, mut high) = (self.leaves, self.leaves + end.min(self.leaves));
        let mut best = None;
        let mut take = |leaf: u32| best = Some(best.map_or(leaf, |best| self.larger(best, leaf)));
        while low < high {
            if low % 2 == 1 {
                take(self.best[low]);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                take(self.best[high]);
            }
            low /= 2;
            high /= 2;
        }
        best.map_or((i64::MIN, 0), |leaf| (self.values[leaf as usize], leaf))
    }
}

/// For cas chains: halves the history until the shortest prefix in conflict is found.
pub(crate) fn by_bisection(history: &History, ops: &[Op], initial: Id, scratch: &mut Scratch) -> Finding {
    let deadline = scratch.deadline.clone();
    bisect(
        history,
        ops,
        &deadline,
        |_| false,
        |cut| {
            let cut: Vec<Op> =
                cut.iter().filter(|op| op.returned() || !matches!(op.step, Step::Read(_))).copied().collect();
            let clusters = Clusters::build(&cut, initial, scratch);
            chains::find_conflict(&cut, &clusters).map(|witness| {
                witness.into_iter().map(|position| cut[position as usize].number).collect::<Vec<u32>>()
            })
        },
    )
}

/// Halves the history until the shortest prefix in which `conflict` finds operations that cannot be
/// ordered. It is asked about prefixes in which what had not returned is open; what `drop_open` says so
/// of is left out of them then.
pub(crate) fn bisect<S: Copy>(
    history: &History,
    ops: &[Op<S>],
    deadline: &Deadline,
    drop_open: impl Fn(&S) -> bool,
    mut conflict: impl FnMut(&[Op<S>]) -> Option<Vec<u32>>,
) -> Finding {
    let mut returns: Vec<(i64, u32)> =
        (0_u32..).zip(ops).filter(|(_, op)| op.returned()).map(|(position, op)| (op.ret, position)).collect();
    returns.sort_unstable();
    let mut conflict_until = |count: usize| {
        let last = returns[count];
        let cut: Vec<Op<S>> = (0_u32..)
            .zip(ops)
            .filter(|(_, op)| op.call <= last.0)
            .map(|(position, op)| {
                let open = (op.ret, position) > last;
                Op { ret: if open { i64::MAX } else { op.ret }, ..*op }
            })
            .filter(|op| op.returned() || !drop_open(&op.step))
            .collect();
        conflict(&cut)
    };
    let (mut low, mut high) = (0, returns.len().saturating_sub(1));
    while low < high {
        if deadline.is_over() {
            return Finding::Unknown(LATE.to_owned());
        }
        let middle = usize::midpoint(low, high);
        if conflict_until(middle).is_some() {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let Some(witness) = returns.get(low).and_then(|_| conflict_until(low)) else {
        return Finding::Unknown("a conflict, but in no prefix of the history".to_owned());
    };
    let first_impossible = ops[returns[low].1 as usize].number;
    let says = say::unorderable(history, &witness, first_impossible);
    Finding::Not { witness, first_impossible, says }
}
