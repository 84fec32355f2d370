//! Whether a key that is not linearizable would be if every get might return one of the latest two
//! values (2-atomicity).
//!
//! Sound, not complete: "no" is said where a get certainly missed two newer values, "yes" where an order
//! of the writes was found around which all gets can be placed, which [`fits`] shows by placing them. The
//! exact algorithm (Golab et al., SIAM J. Comput. 2018) tries a constant number of orders for each run of
//! overlapping zones; here a handful of orders of the whole key is tried.

use crate::history::NONE;
use crate::linearizable::Op;
use crate::linearizable::clusters::{Cluster, Clusters};

/// Above so many operations only the most promising order is tried.
const MANY: usize = 200_000;

/// Decides it, if it can; `behind` is the most versions that a get certainly missed.
pub(crate) fn decide(ops: &[Op], clusters: &Clusters, behind: u64) -> Option<bool> {
    if behind >= 2 {
        return Some(false);
    }
    let put = |cluster: &Cluster| ops.get(cluster.put as usize);
    let keys: [&dyn Fn(&Cluster) -> i128; 6] = [
        &|cluster| i128::from(cluster.f) + i128::from(cluster.s),
        &|cluster| i128::from(cluster.put_call),
        &|cluster| put(cluster).map_or(i128::MIN, |put| i128::from(put.ret)),
        &|cluster| put(cluster).map_or(i128::MIN, |put| i128::from(put.call) + i128::from(put.ret)),
        &|cluster| i128::from(cluster.f),
        &|cluster| i128::from(cluster.s),
    ];
    let tried = if ops.len() > MANY { 1 } else { keys.len() };
    let mut returns: Vec<(i64, u32)> =
        (0_u32..).zip(ops).filter(|(_, op)| op.returned()).map(|(position, op)| (op.ret, position)).collect();
    returns.sort_unstable();
    keys[..tried].iter().any(|key| fits(ops, clusters, &returns, key)).then_some(true)
}

/// Whether all operations can be placed around the writes in the order of a key. Writes stand at even
/// places, gets at the odd places after them; a get of write i fits after write i and after write i + 1.
/// Taking operations by their calls, each as early as possible, is the best that can be done.
fn fits(ops: &[Op], clusters: &Clusters, returns: &[(i64, u32)], key: &dyn Fn(&Cluster) -> i128) -> bool {
    let mut order: Vec<(bool, i128, u32)> = (0_u32..)
        .zip(&clusters.list)
        .filter(|(_, cluster)| cluster.f != i64::MAX)
        .map(|(index, cluster)| (cluster.put != NONE, key(cluster), index))
        .collect();
    order.sort_unstable();
    let mut rank = vec![NONE; clusters.list.len()];
    for (place, &(_, _, index)) in (0_u32..).zip(&order) {
        rank[index as usize] = place;
    }
    let mut place = vec![0_u32; ops.len()];
    let (mut next, mut floor) = (0, 0);
    for (position, op) in (0_u32..).zip(ops) {
        while let Some(&(_, earlier)) = returns.get(next).filter(|(ret, _)| *ret < op.call) {
            floor = floor.max(place[earlier as usize]);
            next += 1;
        }
        let cluster = clusters.of_op[position as usize];
        let Some(&rank) = rank.get(cluster as usize).filter(|&&rank| rank != NONE) else { continue };
        let own = 2 * rank;
        place[position as usize] = if clusters.list[cluster as usize].put == position {
            if floor > own {
                return false;
            }
            own
        } else {
            // After the write that was over before it, if that is what the floor is.
            let earliest = (own + 1).max(floor | 1);
            if earliest > own + 3 {
                return false;
            }
            earliest
        };
    }
    true
}
