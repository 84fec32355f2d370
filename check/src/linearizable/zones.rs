//! Zones: linearizability of a register whose values are unique, in O(n log n).
//!
//! Gibbons and Korach, "Testing shared memories" (1997). A cluster's zone runs between its earliest
//! return `f` and its latest call `s`. It is forward if `f < s`: the value was held all that time. A
//! history is linearizable if and only if no two forward zones overlap and no backward zone lies
//! strictly inside a forward one. One rule says both: cluster A must come before B if `f(A) < s(B)`,
//! and any contradiction among clusters contains one between two of them.

use super::clusters::Cluster;

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
