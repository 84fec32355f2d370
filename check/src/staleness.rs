//! How far gets were behind, for registers whose values are unique.
//!
//! - Delta (Golab, Li and Shah, PODC 2011): the smallest time by which the calls of all gets must be
//!   moved back for the key to be linearizable. Found by bisection on the zones.
//! - A get is stale for certain if some write began after its value's write had returned, and returned
//!   before the get was called. How many such writes there are is a lower bound on k.
//! - A get goes back for certain if an earlier get returned a value whose write began after this get's
//!   value's write had returned.
//!
//! Everything here is zero on a linearizable key, so it runs only on others. O(n log n).

use crate::history::{History, NONE};
use crate::linearizable::clusters::{Cluster, Clusters};
use crate::linearizable::zones;
use crate::linearizable::{Op, Step};
use crate::report::{Findings, Guarantee, Kind, Violation};
use crate::say;

/// The distance of one key from linearizable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Distance {
    pub(crate) delta_ns: i64,
    /// The most writes that lie for certain between a get and its value.
    pub(crate) versions_behind: u64,
    pub(crate) stale_gets: u64,
}

/// Measures a key and reports its stale gets and those that go back.
pub(crate) fn measure(
    history: &History,
    key: usize,
    ops: &[Op],
    clusters: &Clusters,
    findings: &mut Findings,
) -> Distance {
    let mut distance = Distance { delta_ns: delta(ops, clusters), ..Distance::default() };
    let gets = gets(ops, clusters);
    let violation = |kind, operations: &[u32], says: String| Violation {
        kind,
        guarantee: (kind == Kind::Session).then_some(Guarantee::ReadsGoBack),
        key: history.key(key).clone(),
        operations: operations
            .iter()
            .filter(|&&position| position != NONE)
            .map(|&position| ops[position as usize].number as usize)
            .collect(),
        says,
        lasting: None,
    };
    let say = |position: u32| say::operation(history, ops[position as usize].number);
    let overtaking = Overtaking::new(ops, &clusters.list);
    for get in &gets {
        if let Some(newer) = overtaking.first_to_return(get.write_ret).filter(|write| write.ret < get.call) {
            distance.stale_gets += 1;
            findings.add(Kind::Stale, || {
                let says = format!(
                    "{} returned an old value: {} began after that was written, and was over before the get began",
                    say(get.position),
                    say(newer.position)
                );
                violation(Kind::Stale, &[get.write, newer.position, get.position], says)
            });
        }
    }
    distance.versions_behind = versions_behind(ops, clusters, &gets);
    go_back(ops, clusters, &gets, |earlier, get| {
        findings.add(Kind::Session, || {
            let says = format!(
                "{} returned an older value than {}, which was over before it began",
                say(get.position),
                say(earlier.position)
            );
            violation(Kind::Session, &[earlier.position, get.position], says)
        });
    });
    distance
}

/// A get and the write whose value it returned (`NONE`: the initial one).
#[derive(Debug, Clone, Copy)]
struct Get {
    position: u32,
    call: i64,
    ret: i64,
    write: u32,
    write_call: i64,
    write_ret: i64,
}

/// The gets that are known to have read one write, in order of their calls.
fn gets(ops: &[Op], clusters: &Clusters) -> Vec<Get> {
    let mut gets: Vec<Get> = (0_u32..)
        .zip(ops)
        .filter(|(position, op)| {
            matches!(op.step, Step::Read(_)) && clusters.of_op[*position as usize] != NONE
        })
        .map(|(position, op)| {
            let write = clusters.list[clusters.of_op[position as usize] as usize].put;
            let (write_call, write_ret) =
                ops.get(write as usize).map_or((i64::MIN, i64::MIN), |write| (write.call, write.ret));
            Get { position, call: op.call, ret: op.ret, write, write_call, write_ret }
        })
        .collect();
    gets.sort_unstable_by_key(|get| (get.call, get.position));
    gets
}

/// Writes by call, each with the earliest to return of those called from it on.
struct Overtaking {
    by_call: Vec<(i64, Returned)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Returned {
    ret: i64,
    position: u32,
}

impl Overtaking {
    fn new(ops: &[Op], list: &[Cluster]) -> Self {
        let mut by_call: Vec<(i64, Returned)> = list
            .iter()
            .filter(|cluster| cluster.put != NONE)
            .map(|cluster| {
                let write = &ops[cluster.put as usize];
                (write.call, Returned { ret: write.ret, position: cluster.put })
            })
            .collect();
        by_call.sort_unstable();
        let mut earliest = Returned { ret: i64::MAX, position: NONE };
        for (_, returned) in by_call.iter_mut().rev() {
            earliest = earliest.min(*returned);
            *returned = earliest;
        }
        Overtaking { by_call }
    }

    /// Of the writes called after `after`, the first to return.
    fn first_to_return(&self, after: i64) -> Option<Returned> {
        let start = self.by_call.partition_point(|&(call, _)| call <= after);
        self.by_call.get(start).map(|&(_, returned)| returned).filter(|write| write.ret != i64::MAX)
    }
}

/// The most writes w' with ret(w) < call(w') and ret(w') < call(g) over all gets g of a write w.
fn versions_behind(ops: &[Op], clusters: &Clusters, gets: &[Get]) -> u64 {
    let writes = || clusters.list.iter().filter(|c| c.put != NONE).map(|c| &ops[c.put as usize]);
    let mut calls: Vec<i64> = writes().map(|write| write.call).collect();
    calls.sort_unstable();
    let mut returns: Vec<(i64, i64)> =
        writes().filter(|write| write.returned()).map(|write| (write.ret, write.call)).collect();
    returns.sort_unstable();
    // A Fenwick tree over the ranks of calls counts the writes that have returned so far.
    let mut tree = vec![0_u64; calls.len() + 1];
    let below = |tree: &[u64], mut rank: usize| {
        let mut sum = 0;
        while rank > 0 {
            sum += tree[rank];
            rank &= rank - 1;
        }
        sum
    };
    let (mut returned, mut most) = (0, 0);
    for get in gets {
        while let Some(&(_, call)) = returns.get(returned).filter(|(ret, _)| *ret < get.call) {
            let mut rank = calls.partition_point(|&other| other < call) + 1;
            while rank < tree.len() {
                tree[rank] += 1;
                rank += rank & rank.wrapping_neg();
            }
            returned += 1;
        }
        let not_after = below(&tree, calls.partition_point(|&call| call <= get.write_ret));
        most = most.max(returned as u64 - not_after);
    }
    most
}

/// Walks the gets by call and remembers, of those that have returned, the one with the newest write.
fn go_back(ops: &[Op], clusters: &Clusters, gets: &[Get], mut found: impl FnMut(&Get, &Get)) {
    debug_assert!(clusters.of_op.len() == ops.len(), "the clusters are those of these operations");
    let mut returns: Vec<(i64, usize)> = gets.iter().enumerate().map(|(at, get)| (get.ret, at)).collect();
    returns.sort_unstable();
    let mut returned = 0;
    let mut newest: Option<&Get> = None;
    for get in gets {
        while let Some(&(_, at)) = returns.get(returned).filter(|(ret, _)| *ret < get.call) {
            if newest.is_none_or(|newest| newest.write_call < gets[at].write_call) {
                newest = Some(&gets[at]);
            }
            returned += 1;
        }
        if let Some(earlier) = newest.filter(|newest| newest.write_call > get.write_ret) {
            found(earlier, get);
        }
    }
}

/// The smallest shift of all gets' calls that makes the zones agree, in nanoseconds.
fn delta(ops: &[Op], clusters: &Clusters) -> i64 {
    let mut latest_get = vec![i64::MIN; clusters.list.len()];
    for (op, &cluster) in ops.iter().zip(&clusters.of_op) {
        if let (Step::Read(_), Some(latest)) = (op.step, latest_get.get_mut(cluster as usize)) {
            *latest = op.call.max(*latest);
        }
    }
    let mut shifted = clusters.list.clone();
    let mut atomic = |delta: i64| {
        for (zone, (cluster, &latest)) in shifted.iter_mut().zip(clusters.list.iter().zip(&latest_get)) {
            zone.s = cluster.put_call.max(latest.saturating_sub(delta));
        }
        zones::find_conflict(&shifted).is_none()
    };
    let end = ops.iter().map(|op| op.call).max().unwrap_or(0);
    let begin = ops.iter().map(|op| op.call).min().unwrap_or(0);
    let (mut low, mut high) = (0, end - begin + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if atomic(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
