//! Compare-and-set on top of zones: a successful cas reads one value and writes the next, so clusters
//! form chains that stand together as one cluster. O(n log n), for values that are unique.
//!
//! A cas without an answer happened if its new value was seen, and is left out otherwise. A cas that
//! failed for certain is left out: that the register did not hold its old value is not asserted.

use super::Op;
use super::clusters::{Cluster, Clusters};
use super::zones;
use crate::history::NONE;

/// Operations (positions in the key's list) that cannot be ordered, if there are any.
pub(crate) fn find_conflict(ops: &[Op], clusters: &Clusters) -> Option<Vec<u32>> {
    order(ops, clusters).err()
}

/// An order of the operations (positions in the key's list), or some that have none.
pub(crate) fn order(ops: &[Op], clusters: &Clusters) -> Result<Vec<u32>, Vec<u32>> {
    let happened = happened(ops, clusters);
    let mut list: Vec<Option<Cluster>> = clusters.list.iter().copied().map(Some).collect();
    // By cluster: the cas that took its value away, and the cluster which that cas wrote.
    let mut next: Vec<Option<(u32, usize)>> = vec![None; list.len()];
    let mut is_first = vec![true; list.len()];
    for (&(op, from), &happened) in clusters.cas_from.iter().zip(&happened) {
        let to = clusters.of_op[op as usize] as usize;
        if !happened {
            list[to] = None;
            continue;
        }
        let Some(cluster) = list.get_mut(from as usize).and_then(Option::as_mut) else {
            return Err(vec![op]);
        };
        cluster.take(op, ops[op as usize].call, ops[op as usize].ret);
        if let Some((other, _)) = next[from as usize].replace((op, to)) {
            return Err(vec![other, op]);
        }
        is_first[to] = false;
    }
    let mut merged: Vec<Cluster> = Vec::new();
    let mut heads: Vec<usize> = Vec::new();
    let mut seen = vec![false; list.len()];
    for head in (0..list.len()).filter(|&cluster| is_first[cluster]) {
        let Some(whole) = list[head] else { continue };
        match merge_chain(whole, head, &list, &next, &mut seen) {
            Ok(whole) => {
                merged.push(whole);
                heads.push(head);
            }
            Err(conflict) => return Err(conflict),
        }
    }
    // What no chain reaches goes round in a circle: every value in it needs another one first.
    if let Some(start) = (0..list.len()).find(|&cluster| list[cluster].is_some() && !seen[cluster]) {
        let mut circle = Vec::new();
        let mut at = start;
        while let Some((op, to)) = next[at] {
            circle.push(op);
            at = to;
            if at == start {
                break;
            }
        }
        return Err(circle);
    }
    if let Some(conflict) = zones::find_conflict(&merged) {
        return Err(zones::Conflict::witness(&merged[conflict.a as usize], &merged[conflict.b as usize]));
    }
    // Chains by `f + s` as clusters are, in each the links one after another.
    let mut by_sum: Vec<(i128, usize)> = merged
        .iter()
        .zip(&heads)
        .map(|(whole, &head)| (i128::from(whole.f) + i128::from(whole.s), head))
        .collect();
    by_sum.sort_unstable();
    let mut rank = vec![NONE; list.len()];
    let mut place = 0;
    for (_, head) in by_sum {
        let mut at = Some(head);
        while let Some(link) = at {
            rank[link] = place;
            place += 1;
            at = next[link].map(|(_, to)| to);
        }
    }
    let mut members: Vec<(u32, bool, u32)> = (0_u32..)
        .zip(&clusters.of_op)
        .filter_map(|(position, &cluster)| {
            let rank = *rank.get(cluster as usize).filter(|&&rank| rank != NONE)?;
            Some((rank, clusters.list[cluster as usize].put != position, position))
        })
        .collect();
    members.sort_unstable();
    Ok(members.into_iter().map(|(_, _, position)| position).collect())
}

/// By cas: whether it happened, because it was answered or because its new value was seen.
fn happened(ops: &[Op], clusters: &Clusters) -> Vec<bool> {
    let mut writer = vec![NONE; clusters.list.len()];
    for (index, &(op, _)) in (0_u32..).zip(&clusters.cas_from) {
        writer[clusters.of_op[op as usize] as usize] = index;
    }
    let mut happened = vec![false; clusters.cas_from.len()];
    let mut seen: Vec<u32> =
        (0_u32..).zip(&clusters.list).filter(|(_, cluster)| cluster.read).map(|(index, _)| index).collect();
    for (index, &(op, from)) in clusters.cas_from.iter().enumerate() {
        if ops[op as usize].returned() {
            happened[index] = true;
            seen.push(from);
        }
    }
    while let Some(cluster) = seen.pop() {
        let Some(&cas) = writer.get(cluster as usize).filter(|&&cas| cas != NONE) else { continue };
        if !std::mem::replace(&mut happened[cas as usize], true) {
            seen.push(clusters.cas_from[cas as usize].1);
        }
    }
    happened
}

/// One cluster for a chain; or the two operations of it that stand in the wrong order.
fn merge_chain(
    mut whole: Cluster,
    head: usize,
    list: &[Option<Cluster>],
    next: &[Option<(u32, usize)>],
    seen: &mut [bool],
) -> Result<Cluster, Vec<u32>> {
    // `whole` is all that stands before the link looked at: its latest call must not be after the
    // earliest return of any later link.
    seen[head] = true;
    let mut at = head;
    while let Some((_, to)) = next[at] {
        seen[to] = true;
        if let Some(link) = &list[to] {
            if link.f < whole.s {
                return Err(vec![link.f_op, whole.s_op]);
            }
            whole.take(link.f_op, i64::MIN, link.f);
            whole.take(link.s_op, link.s, i64::MAX);
            whole.read |= link.read;
        }
        at = to;
    }
    Ok(whole)
}
