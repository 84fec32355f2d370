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
    let mut rivals = Rivals::new(key);
    let puts = by_return(history, key.key, |op| {
        history.entry(op).f != Function::Delete
            && causality.write_of_op(op).is_some_and(|index| rivals.group_of.contains_key(&index))
    });
    let mut next = 0;
    let mut deletes = Deletes::new(history, causality);
    for &get in history.of_key(key.key).iter().filter(|&&op| history.entry(op).is_read()) {
        let entry = history.entry(get);
        while let Some(&(_, op)) = puts.get(next).filter(|(ret, _)| *ret < entry.invoke) {
            rivals.returned(key, op);
            next += 1;
        }
        let shown = causality.cover(history.values_of(get));
        rivals.show(key, &shown);
        let mut cover = shown.clone();
        deletes.apply(causality, &mut rivals.frontier, (entry.invoke, entry.ret), &mut cover);
        let mut lost = rivals.lost(key, &shown, &cover);
        // The same process's put that ended at the very stamp at which this get began.
        for &(_, op) in puts[next..].iter().take_while(|(ret, _)| *ret == entry.invoke) {
            let Some(index) = causality.write_of_op(op).filter(|_| history.precedes(op, get)) else {
                continue;
            };
            if !rivals.reported.contains(&index)
                && !rivals.frontier.settles(&cover, &causality.writes[index as usize])
            {
                lost.extend(rivals.rival(key, &shown, index).map(|rival| (index, rival)));
            }
        }
        for (index, rival) in lost {
            rivals.report(key, index);
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

/// Writes made from one context, and which of them gets must show. A put is demanded only once it was
/// acknowledged and one of its rivals was shown: the rest could not be found lost anyway.
struct Rivals {
    groups: Vec<Vec<u32>>,
    group_of: BTreeMap<u32, usize>,
    /// By group: whether any get has shown one of its writes.
    shown: Vec<bool>,
    /// By group: acknowledged puts that wait for that.
    waiting: Vec<Vec<u32>>,
    /// By chain: how far any get has shown it.
    reach: BTreeMap<u32, u32>,
    /// By chain: the positions demanded.
    armed: BTreeMap<u32, BTreeSet<u32>>,
    reported: BTreeSet<u32>,
    frontier: Frontier,
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
            shown: vec![false; groups.len()],
            waiting: vec![Vec::new(); groups.len()],
            groups,
            reach: BTreeMap::new(),
            armed: BTreeMap::new(),
            reported: BTreeSet::new(),
            frontier: Frontier::default(),
        }
    }

    fn returned(&mut self, key: &KeyHistory<'_>, op: u32) {
        let Some(index) = key.causality.write_of_op(op) else { return };
        let Some(&group) = self.group_of.get(&index) else { return };
        if self.shown[group] {
            self.arm(key, index);
        } else {
            self.waiting[group].push(index);
        }
    }

    fn arm(&mut self, key: &KeyHistory<'_>, index: u32) {
        if !self.reported.contains(&index) {
            let write = &key.causality.writes[index as usize];
            self.armed.entry(write.chain).or_default().insert(write.position);
            self.frontier.demand(write.chain, write.position, write.op);
        }
    }

    /// A get has shown all this: the groups of writes that nobody had shown before come into play.
    fn show(&mut self, key: &KeyHistory<'_>, cover: &Cover) {
        for &(chain, position) in cover {
            let reach = self.reach.entry(chain).or_default();
            let before = std::mem::replace(reach, position.max(*reach));
            for at in before..position {
                let index = key.causality.chain(chain)[at as usize];
                if let Some(&group) = self.group_of.get(&index) {
                    self.shown[group] = true;
                    for waiting in std::mem::take(&mut self.waiting[group]) {
                        self.arm(key, waiting);
                    }
                }
            }
        }
    }

    /// Another write of the same context that the get does show.
    fn rival(&self, key: &KeyHistory<'_>, shown: &Cover, index: u32) -> Option<u32> {
        let group = &self.groups[*self.group_of.get(&index)?];
        group.iter().copied().find(|&other| other != index && key.causality.covers(shown, other))
    }

    /// Demanded puts that the get lacks although it shows a rival: each with the rival.
    fn lost(&self, key: &KeyHistory<'_>, shown: &Cover, cover: &Cover) -> Vec<(u32, u32)> {
        let mut lost = Vec::new();
        if self.frontier.lacks(cover) {
            for (chain, reached, demanded, _) in self.frontier.gaps(cover) {
                let missing = self.armed.get(&chain).map(|set| set.range(reached + 1..=demanded));
                for &position in missing.into_iter().flatten() {
                    let index = key.causality.chain(chain)[position as usize - 1];
                    lost.extend(self.rival(key, shown, index).map(|rival| (index, rival)));
                }
            }
        }
        lost
    }

    fn report(&mut self, key: &KeyHistory<'_>, index: u32) {
        let write = &key.causality.writes[index as usize];
        self.reported.insert(index);
        if let Some(set) = self.armed.get_mut(&write.chain) {
            set.remove(&write.position);
            self.frontier.relax(write.chain, set.last().copied().unwrap_or(0));
        }
    }
}
