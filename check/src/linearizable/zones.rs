//! Zones: linearizability of a register whose values are unique, in O(n log n).
//!
//! Gibbons and Korach, "Testing shared memories" (1997). A cluster's zone runs between its earliest
//! return `f` and its latest call `s`. It is forward if `f < s`: the value was held all that time. A
//! history is linearizable if and only if no two forward zones overlap and no backward zone lies
//! strictly inside a forward one. One rule says both: cluster A must come before B if `f(A) < s(B)`,
//! and any contradiction among clusters contains one between two of them.

use super::Op;
use super::clusters::Cluster;
use crate::history::NONE;

/// Two clusters that must each come before the other: positions in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) a: u32,
    pub(crate) b: u32,
}

impl Conflict {
    /// The at most four operations that force both orders. The initial write is no operation.
    pub(crate) fn witness(a: &Cluster, b: &Cluster) -> Vec<u32> {
        let mut witness: Vec<u32> = [a.f_op, b.s_op, b.f_op, a.s_op]
            .into_iter()
            .filter(|&operation| operation != crate::history::NONE)
            .collect();
        witness.sort_unstable();
        witness.dedup();
        witness
    }
}

/// A pair of clusters in conflict, if there is one.
pub(crate) fn find_conflict(list: &[Cluster]) -> Option<Conflict> {
    let mut forward: Vec<(i64, i64, u32)> = (0_u32..)
        .zip(list)
        .filter(|(_, cluster)| cluster.is_forward())
        .map(|(index, cluster)| (cluster.f, cluster.s, index))
        .collect();
    forward.sort_unstable();
    // Without an overlap so far, the last zone seen reaches furthest: neighbours suffice.
    if let Some(pair) = forward.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        return Some(Conflict { a: pair[0].2, b: pair[1].2 });
    }
    (0_u32..).zip(list).filter(|(_, cluster)| !cluster.is_forward()).find_map(|(index, backward)| {
        // Forward zones are disjoint now, so only the last to begin before `s` can hold this one.
        let before = forward.partition_point(|&(f, _, _)| f < backward.s);
        let &(_, s, holder) = forward[..before].last()?;
        (backward.f < s).then_some(Conflict { a: holder, b: index })
    })
}

/// An order of the operations (positions) for clusters without a conflict: clusters by `f + s`, in each
/// the write and then the gets by their calls. If A must come before B and not the other way round, then
/// f(A) < s(B) and s(A) <= f(B), so its sum is the smaller one. What never returned and nobody read is
/// left out.
pub(crate) fn order<S>(list: &[Cluster], ops: &[Op<S>], of_op: &[u32]) -> Vec<u32> {
    let mut members: Vec<(u32, bool, u32)> = Vec::with_capacity(ops.len());
    let mut by_sum: Vec<(i128, u32)> = (0_u32..)
        .zip(list)
        .map(|(index, cluster)| (i128::from(cluster.f) + i128::from(cluster.s), index))
        .collect();
    by_sum.sort_unstable();
    let mut rank = vec![0_u32; list.len()];
    for (place, &(_, index)) in (0_u32..).zip(&by_sum) {
        rank[index as usize] = place;
    }
    for (position, &cluster) in (0_u32..).zip(of_op) {
        let Some(found) = list.get(cluster as usize) else { continue };
        let is_write = found.put == position;
        if is_write && !found.read && !ops[position as usize].returned() {
            continue;
        }
        members.push((rank[cluster as usize], !is_write, position));
    }
    members.sort_unstable();
    debug_assert!(members.iter().all(|&(_, _, position)| position != NONE), "positions are real");
    members.into_iter().map(|(_, _, position)| position).collect()
}
