//! Lost updates: of two writes made from the same state, one silently replaced the other.
//!
//! An acknowledged put with a non-empty context that is not covered by a later get, which covers another
//! write made from the same context. Blind writes never count, and neither does a put that a delete may
//! have removed. A get of a replica that is merely behind can look like this for a while: `lasting` says
//! whether the update is still missing in the final values.

use std::collections::{BTreeMap, BTreeSet};

use super::KeyHistory;
use super::causality::Cover;
use super::frontier::{Deletes, Frontier, by_return};
use crate::history::{Function, Id};
use crate::report::{Findings, Kind};
use crate::say;

/// Finds lost updates, each once. `accounted` is what the final values account for, if there are any.
pub(crate) fn check(key: &KeyHistory<'_>, accounted: Option<&Cover>, findings: &mut Findings) {
    let (history, causality) = (key.history, &key.causality);
    let mut groups: BTreeMap<Vec<Id>, Vec<u32>> = BTreeMap::new();
    for (index, write) in (0_u32..).zip(&causality.writes) {
        let mut context = history.context_of(write.op).to_vec();
        context.sort_unstable();
        context.dedup();
        if !context.is_empty() {
            groups.entry(context).or_default().push(index);
        }
    }
    groups.retain(|_, group| group.len() > 1);
    let mut group_of: BTreeMap<u32, &[u32]> = BTreeMap::new();
    // By chain: the positions of puts that may yet be found lost.
    let mut watched: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for group in groups.values() {
        for &index in group {
            let write = &causality.writes[index as usize];
            let entry = history.entry(write.op);
            if entry.is_ok(Function::Put) || entry.is_ok(Function::Cas) {
                group_of.insert(index, group);
                watched.entry(write.chain).or_default().insert(write.position);
            }
        }
    }
    let member = |op: u32| causality.write_of_op(op).is_some_and(|index| group_of.contains_key(&index));
    let puts = by_return(history, key.key, member);
    let mut next = 0;
    let mut frontier = Frontier::default();
    let mut deletes = Deletes::new(history, causality);
    for &get in history.of_key(key.key).iter().filter(|&&op| history.entry(op).is_read()) {
        let entry = history.entry(get);
        while let Some(&(_, op)) = puts.get(next).filter(|(ret, _)| *ret < entry.invoke) {
            if let Some(index) = causality.write_of_op(op) {
                let write = &causality.writes[index as usize];
                frontier.demand(write.chain, write.position, op);
            }
            next += 1;
        }
        let shown = causality.cover(history.values_of(get));
        let mut cover = shown.clone();
        deletes.apply(causality, &mut frontier, (entry.invoke, entry.ret), &mut cover);
        let rival_of = |index: u32| {
            let group = group_of.get(&index)?;
            group.iter().copied().find(|&other| other != index && causality.covers(&shown, other))
        };
        let mut lost = Vec::new();
        if frontier.lacks(&cover) {
            for (chain, reached, demanded, _) in frontier.gaps(&cover) {
                let missing = watched.get(&chain).map(|set| set.range(reached + 1..=demanded));
                for &position in missing.into_iter().flatten() {
                    let index = causality.chain(chain)[position as usize - 1];
                    let over = history.precedes(causality.writes[index as usize].op, get);
                    lost.extend(rival_of(index).filter(|_| over).map(|rival| (index, rival)));
                }
            }
        }
        // The same process's put that ended at the very stamp at which this get began.
        for &(_, op) in puts[next..].iter().take_while(|(ret, _)| *ret == entry.invoke) {
            let Some(index) = causality.write_of_op(op).filter(|_| history.precedes(op, get)) else {
                continue;
            };
            let write = &causality.writes[index as usize];
            let unreported = watched.get(&write.chain).is_some_and(|set| set.contains(&write.position))
                && lost.iter().all(|&(other, _)| other != index);
            if unreported && !frontier.settles(&cover, write) {
                lost.extend(rival_of(index).map(|rival| (index, rival)));
            }
        }
        for (index, rival) in lost {
            let write = &causality.writes[index as usize];
            let rival = causality.writes[rival as usize].op;
            if let Some(set) = watched.get_mut(&write.chain) {
                set.remove(&write.position);
                if set.is_empty() {
                    frontier.forget(write.chain);
                }
            }
            findings.add(Kind::LostUpdate, || {
                let says = format!(
                    "{} and {} were made from the same context, and {} shows the second without the first",
                    say::operation(history, write.op),
                    say::operation(history, rival),
                    say::operation(history, get)
                );
                let mut violation = key.violation(Kind::LostUpdate, &[write.op, rival, get], says);
                violation.lasting = accounted.map(|accounted| !causality.covers(accounted, index));
                violation
            });
        }
    }
}
