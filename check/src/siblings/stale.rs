//! Stale gets: the freshness rule.
//!
//! A get is stale if an acknowledged put that returned before it was invoked is neither returned, nor in
//! the causal past of a returned value, nor of a delete that did not fail and was invoked before the get
//! returned; or if the get returns a value in the causal past of a delete that returned before the get
//! was invoked. A read of one node's raw copy is no get in this sense: nothing was promised of it.

use std::collections::BTreeMap;

use super::KeyHistory;
use super::frontier::{Deletes, Frontier, by_return};
use crate::history::Function;
use crate::report::{Findings, Kind};
use crate::say;

/// Finds stale gets; returns how many of how many gets are.
pub(crate) fn check(key: &KeyHistory<'_>, findings: &mut Findings) -> (u64, u64) {
    let (history, causality) = (key.history, &key.causality);
    let is_put = |op: u32| matches!(history.entry(op).f, Function::Put | Function::Cas);
    let puts = by_return(history, key.key, is_put);
    let removals = by_return(history, key.key, |op| history.entry(op).f == Function::Delete);
    let (mut next_put, mut next_removal) = (0, 0);
    let mut frontier = Frontier::default();
    let mut deletes = Deletes::new(history, causality);
    // By chain: what acknowledged deletes have removed, and the furthest such delete.
    let mut removed: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    let (mut stale, mut gets) = (0, 0);
    for &get in history.of_key(key.key).iter().filter(|&&op| history.is_read(op)) {
        let entry = history.entry(get);
        gets += 1;
        while let Some(&(_, op)) = puts.get(next_put).filter(|(ret, _)| *ret < entry.invoke) {
            if let Some(index) = causality.write_of_op(op) {
                let write = &causality.writes[index as usize];
                frontier.demand(write.chain, write.position, op);
            }
            next_put += 1;
        }
        while let Some(&(_, op)) = removals.get(next_removal).filter(|(ret, _)| *ret < entry.invoke) {
            if let Some(index) = causality.write_of_op(op) {
                for &(chain, position) in causality.past(index) {
                    let slot = removed.entry(chain).or_insert((position, op));
                    *slot = (*slot).max((position, op));
                }
            }
            next_removal += 1;
        }
        let values = history.values_of(get);
        let mut cover = causality.cover(values);
        deletes.apply(causality, &mut frontier, (entry.invoke, entry.ret), &mut cover);

        let own = |list: &[(i64, u32)], from: usize| {
            list[from..]
                .iter()
                .take_while(|(ret, _)| *ret == entry.invoke)
                .map(|&(_, op)| op)
                .filter(|&op| history.precedes(op, get))
                .collect::<Vec<u32>>()
        };
        let missed = if frontier.lacks(&cover) {
            frontier.gaps(&cover).next().map(|(_, _, _, because)| because)
        } else {
            own(&puts, next_put).into_iter().find(|&op| {
                causality
                    .write_of_op(op)
                    .is_some_and(|index| !frontier.settles(&cover, &causality.writes[index as usize]))
            })
        };
        if let Some(put) = missed {
            stale += 1;
            findings.add(Kind::Stale, || {
                let says = format!(
                    "{} misses {}, which was acknowledged before it began and which nothing shown had read",
                    say::operation(history, get),
                    say::operation(history, put)
                );
                key.violation(Kind::Stale, &[put, get], says)
            });
            continue;
        }
        let own_removals = own(&removals, next_removal);
        let undead = values.iter().find_map(|&value| {
            let index = causality.write_of(value)?;
            let write = &causality.writes[index as usize];
            let by_others = removed
                .get(&write.chain)
                .filter(|(position, _)| *position >= write.position)
                .map(|&(_, delete)| delete);
            let delete = by_others.or_else(|| {
                own_removals.iter().copied().find(|&op| {
                    causality
                        .write_of_op(op)
                        .is_some_and(|delete| causality.covers(causality.past(delete), index))
                })
            })?;
            Some((write.op, delete))
        });
        if let Some((put, delete)) = undead {
            stale += 1;
            findings.add(Kind::Stale, || {
                let says = format!(
                    "{} shows what {} had removed before it began",
                    say::operation(history, get),
                    say::operation(history, delete)
                );
                key.violation(Kind::Stale, &[put, delete, get], says)
            });
        }
    }
    (stale, gets)
}
