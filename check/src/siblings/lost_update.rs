//! Lost updates: of two writes made from the same state, one silently replaced the other.
//!
//! An acknowledged put with a non-empty context that is not covered by a later get, which covers another
//! write made from the same context. Blind writes never count, and neither does a put that a delete may
//! have removed. A get of a replica that is merely behind can look like this for a while: `lasting` says
//! whether the update is still missing in the final values.

use std::collections::{BTreeMap, BTreeSet};

use super::KeyHistory;
use super::causality::{Causality, Cover, reach};
use super::frontier::{Deletes, Frontier, by_return};
use crate::history::{Function, Id};
use crate::report::{Findings, Kind};
use crate::say;

/// Finds lost updates, each once. `accounted` is what the final values account for, if there are any.
pub(crate) fn check(key: &KeyHistory<'_>, accounted: Option<&Cover>, findings: &mut Findings) {
    let (history, causality) = (key.history, &key.causality);
    let mut rivals = Rivals::new(key);
    let puts = by_return(history, key.key, |op| {
        history.entry(op).f != Function::Delete
            && causality.write_of_op(op).is_some_and(|index| rivals.group_of.contains_key(&index))
    });
    let mut next = 0;
    let mut frontier = Frontier::default();
    let mut deletes = Deletes::new(history, causality);
    for &get in history.of_key(key.key).iter().filter(|&&op| history.is_read(op)) {
        let entry = history.entry(get);
        while let Some(&(_, op)) = puts.get(next).filter(|(ret, _)| *ret < entry.invoke) {
            rivals.arm(causality.write_of_op(op));
            next += 1;
        }
        // The same process's put that ended at the very stamp at which this get began.
        let mut tied = Vec::new();
        for &(_, op) in puts[next..].iter().take_while(|(ret, _)| *ret == entry.invoke) {
            let own = causality.write_of_op(op).filter(|_| history.precedes(op, get));
            rivals.arm(own);
            tied.extend(own);
        }
        let shown = causality.cover(history.values_of(get));
        let mut cover = shown.clone();
        deletes.apply(causality, &mut frontier, (entry.invoke, entry.ret), &mut cover);
        let missing = |index: u32| {
            let write = &causality.writes[index as usize];
            history.precedes(write.op, get) && !frontier.settles(&cover, write)
        };
        let lost = rivals.lost(causality, &shown, missing);
        // A put that only its process knows to be over, or a delete that only this get may have seen,
        // hides here what the next get may miss.
        rivals.fresh.extend(tied);
        for (chain, from, to) in differences(&shown, &cover) {
            rivals.fresh.extend(&causality.chain(chain)[from as usize..to as usize]);
        }
        for (index, rival) in lost {
            let put = causality.writes[index as usize].op;
            let rival = causality.writes[rival as usize].op;
            findings.add(Kind::LostUpdate, || {
                let says = format!(
                    "{} and {} were made from the same context, and {} shows the second without the first",
                    say::operation(history, put),
                    say::operation(history, rival),
                    say::operation(history, get)
                );
                let mut violation = key.violation(Kind::LostUpdate, &[put, rival, get], says);
                violation.lasting = accounted.map(|accounted| !causality.covers(accounted, index));
                violation
            });
        }
    }
}

/// Writes made from one context, and which of them may yet be found lost.
///
/// From get to get only differences are looked at: a put that this get misses beside a rival that it
/// shows was found at the get before, unless the put was acknowledged since, or one of the two is
/// covered differently. Under last-write-wins, where most writes have lost a rival, anything else would
/// look at all of them at every get.
struct Rivals {
    groups: Vec<Vec<u32>>,
    group_of: BTreeMap<u32, usize>,
    /// Acknowledged puts not yet reported.
    armed: BTreeSet<u32>,
    seen: BTreeSet<u32>,
    /// Those to look at for the next get whatever it shows: acknowledged or hidden at the last one.
    fresh: Vec<u32>,
    /// What the last get showed.
    previous: Cover,
}

impl Rivals {
    fn new(key: &KeyHistory<'_>) -> Self {
        let mut by_context: BTreeMap<Vec<Id>, Vec<u32>> = BTreeMap::new();
        for (index, write) in (0_u32..).zip(&key.causality.writes) {
            let mut context = key.history.context_of(write.op).to_vec();
            context.sort_unstable();
            context.dedup();
            if !context.is_empty() {
                by_context.entry(context).or_default().push(index);
            }
        }
        let groups: Vec<Vec<u32>> = by_context.into_values().filter(|group| group.len() > 1).collect();
        let members = groups.iter().enumerate().flat_map(|(at, group)| group.iter().map(move |&i| (i, at)));
        Rivals {
            group_of: members.collect(),
            groups,
            armed: BTreeSet::new(),
            seen: BTreeSet::new(),
            fresh: Vec::new(),
            previous: Cover::new(),
        }
    }

    fn arm(&mut self, index: Option<u32>) {
        if let Some(index) = index.filter(|&index| self.seen.insert(index)) {
            self.armed.insert(index);
            self.fresh.push(index);
        }
    }

    fn group(&self, index: u32) -> &[u32] {
        self.group_of.get(&index).map_or(&[], |&group| &self.groups[group])
    }

    /// Armed puts that the get misses although it shows a rival, each with a rival; no longer armed.
    fn lost(
        &mut self,
        causality: &Causality,
        shown: &Cover,
        missing: impl Fn(u32) -> bool,
    ) -> Vec<(u32, u32)> {
        let mut suspects = std::mem::take(&mut self.fresh);
        for (chain, from, to) in differences(&self.previous, shown) {
            for &index in &causality.chain(chain)[from as usize..to as usize] {
                suspects.push(index);
                suspects.extend(self.group(index));
            }
        }
        self.previous.clone_from(shown);
        suspects.sort_unstable();
        suspects.dedup();
        suspects.retain(|index| self.armed.contains(index) && missing(*index));
        let mut lost = Vec::new();
        for index in suspects {
            let rival = self.group(index).iter().copied().find(|&r| r != index && causality.covers(shown, r));
            if let Some(rival) = rival {
                self.armed.remove(&index);
                lost.push((index, rival));
            }
        }
        lost
    }
}

/// Where two covers differ: chain, and the shorter and the longer reach into it.
fn differences(a: &Cover, b: &Cover) -> Vec<(u32, u32, u32)> {
    let mut chains: Vec<u32> = a.iter().chain(b).map(|&(chain, _)| chain).collect();
    chains.sort_unstable();
    chains.dedup();
    chains
        .into_iter()
        .map(|chain| (chain, reach(a, chain), reach(b, chain)))
        .filter(|(_, a, b)| a != b)
        .map(|(chain, a, b)| (chain, a.min(b), a.max(b)))
        .collect()
}
