//! Monotonic writes and writes follow reads: whoever is shown a write is owed what its session had
//! written and read before it.
//!
//! Judged in a walk of its own, and only where some write was made without knowing all that came before
//! it in its session. What a write owes, and what those that it had read owe, is worked out along the
//! causal order; in a healthy history such debts soon end, where some write had read both. Of many only
//! some are kept, and where those do not settle it, sessions are looked at one by one: a session's later
//! writes owe all that its earlier ones do, so of each only the last one that the get shows.

use std::collections::BTreeSet;

use super::KeyHistory;
use super::frontier::Deletes;
use super::remembered::{Known, missed_put, missed_read};
use super::session::{Owed, Sessions};
use super::tables::Marks;
use super::walk::{Event, Scene, Ties, each_event};
use crate::history::NONE;
use crate::report::{Findings, Guarantee, Kind};
use crate::say;

/// What a write and those that it had read owe: pairs of a write and an operation that came before it in
/// its session, of which the write with all that it had read shows nothing.
#[derive(Debug, Default)]
struct Owing {
    /// By write; of many only some.
    pairs: Vec<Vec<(u32, u32)>>,
    /// By write: whether there are more.
    more: Vec<bool>,
}

impl Owing {
    /// A pair whose operation a get of these writes misses; and whether that is all there is to know.
    fn find(
        &self,
        shown: impl Iterator<Item = u32> + Clone,
        misses: impl Fn(u32) -> bool,
    ) -> (Option<(u32, u32)>, bool) {
        let found = shown.clone().flat_map(|index| &self.pairs[index as usize]).find(|(_, op)| misses(*op));
        (found.copied(), !shown.into_iter().any(|index| self.more[index as usize]))
    }
}

/// What all writes owe. A debt ends where a write had read both: in a healthy history soon.
#[derive(Debug, Default)]
struct Debts {
    written: Owing,
    read: Owing,
}

impl Debts {
    fn of(key: &KeyHistory<'_>, sessions: &Sessions) -> Debts {
        let (history, causality) = (key.history, &key.causality);
        let count = causality.writes.len();
        let owing = || Owing { pairs: vec![Vec::new(); count], more: vec![false; count] };
        let mut debts = Debts { written: owing(), read: owing() };
        let mut parents = Vec::new();
        let mut deletes = Deletes::new(history, causality);
        let most = causality.limits.debts;
        for &index in &causality.order {
            if causality.tables.deadline.step() {
                break;
            }
            causality.parents(history, index, &mut parents);
            // Whoever is shown a write returns after its call: what deletes called by then may have removed
            // is not owed.
            let call = history.entry(causality.writes[index as usize].op).invoke;
            while deletes.bury_next(causality, call).is_some() {}
            let known = Known { history, causality, past: causality.past(index), buried: &deletes.buried };
            let owed = &sessions.owed[index as usize];
            for written in [true, false] {
                let is_covered = |op: u32| match written {
                    true => known.put(op),
                    false => known.shown_by(op),
                };
                let (owing, head) = match written {
                    true => (&mut debts.written, owed.written),
                    false => (&mut debts.read, owed.read),
                };
                let (mut pairs, mut more) = (Vec::new(), false);
                let (mut at, mut looks) = (head, 0);
                while let Some(node) = sessions.lists.node(at) {
                    looks += 1;
                    if pairs.len() == most || looks > 4 * most {
                        more = true;
                        break;
                    }
                    if !is_covered(node.op) {
                        pairs.push((index, node.op));
                    }
                    at = node.before;
                }
                for &parent in &parents {
                    more |= owing.more[parent as usize];
                    for &pair in &owing.pairs[parent as usize] {
                        if is_covered(pair.1) || pairs.contains(&pair) {
                            continue;
                        }
                        if pairs.len() == most {
                            more = true;
                            break;
                        }
                        pairs.push(pair);
                    }
                }
                (owing.pairs[index as usize], owing.more[index as usize]) = (pairs, more);
            }
        }
        debts
    }
}

impl Sessions {
    /// Judges every get by what the sessions of the writes that it shows owe. False if that took more
    /// looks than it may.
    pub(crate) fn finish(
        mut self,
        key: &KeyHistory<'_>,
        ties: &Ties,
        marks: &mut Marks,
        findings: &mut Findings,
    ) -> bool {
        let risky: Vec<u32> = (0_u32..).zip(&self.list).filter(|(_, s)| s.risky).map(|(at, _)| at).collect();
        if !risky.is_empty() && !self.lists.exhausted() {
            let debts = Debts::of(key, &self);
            each_event(key, ties, marks, |event| {
                if let Event::Read(scene) = event
                    && !self.lists.exhausted()
                {
                    self.judge_writes(key, scene, &debts, &risky, findings);
                }
            });
        }
        !self.lists.exhausted() && !key.causality.tables.deadline.was_missed()
    }

    fn judge_writes(
        &mut self,
        key: &KeyHistory<'_>,
        scene: &Scene<'_>,
        debts: &Debts,
        risky: &[u32],
        findings: &mut Findings,
    ) {
        let (history, causality) = (key.history, &key.causality);
        let shown = || scene.values.iter().filter_map(|&value| causality.write_of(value));
        let is_missed = |op: u32| missed_put(causality, scene, op);
        let is_forgotten = |get: u32| missed_read(history, causality, scene, get).is_some();
        let (unread, reads_known) = debts.read.find(shown(), is_forgotten);
        let (unwritten, puts_known) = debts.written.find(shown(), is_missed);
        let (mut unread, mut unwritten) = (unread, unwritten);
        let look_for_read = unread.is_none() && !reads_known;
        // That what a session read is shown answers for what it wrote before: see `get`.
        let look_for_put = unwritten.is_none() && !(puts_known && reads_known && unread.is_none());
        if look_for_read || look_for_put {
            let likely: BTreeSet<u32> = shown().map(|index| self.owed[index as usize].session).collect();
            for &session in likely.iter().chain(risky) {
                let done = (unread.is_some() || !look_for_read) && (unwritten.is_some() || !look_for_put);
                if done || self.lists.exhausted() {
                    break;
                }
                for write in self.last_shown(key, scene, session as usize) {
                    let Owed { written, read, puts, .. } = self.owed[write as usize];
                    let left = self.lists.without(read, |get| !is_forgotten(get));
                    let forgotten = self.lists.node(left).map(|node| (write, node.op));
                    unread = unread.or(forgotten.filter(|_| look_for_read));
                    let puts = if left == NONE { 0 } else { puts as usize };
                    let missed = self.missed(written, session as usize, puts, is_missed);
                    unwritten = unwritten.or(missed.map(|put| (write, put)).filter(|_| look_for_put));
                }
            }
        }
        if self.lists.exhausted() {
            return;
        }
        if let Some((write, put)) = unwritten {
            let write = causality.writes[write as usize].op;
            findings.add(Kind::Session, || {
                let says = format!(
                    "{} shows {}, but not {}, which the same session had made before it",
                    say::operation(history, scene.get),
                    say::operation(history, write),
                    say::operation(history, put)
                );
                key.session(Guarantee::MonotonicWrites, &[put, write, scene.get], says)
            });
        }
        if let Some((write, get)) = unread {
            let write = causality.writes[write as usize].op;
            let missed = missed_read(history, causality, scene, get).unwrap_or(NONE);
            findings.add(Kind::Session, || {
                let says = format!(
                    "{} shows {}, but not {}, which its session had read before ({})",
                    say::operation(history, scene.get),
                    say::operation(history, write),
                    say::value(history, history.entry(missed).value),
                    say::operation(history, get)
                );
                key.session(Guarantee::WritesFollowReads, &[missed, get, write, scene.get], says)
            });
        }
    }

    /// The last write of a session that a get shows, with those of the same stamp.
    fn last_shown(&mut self, key: &KeyHistory<'_>, scene: &Scene<'_>, session: usize) -> Vec<u32> {
        let (history, causality) = (key.history, &key.causality);
        let until = history.entry(scene.get).ret;
        let writes = &self.list[session].writes;
        let call = |write: u32| history.entry(causality.writes[write as usize].op).invoke;
        let end = writes.partition_point(|&write| call(write) <= until);
        let mut found: Vec<u32> = Vec::new();
        for &write in writes[..end].iter().rev() {
            if found.first().is_some_and(|&last| call(last) > call(write)) {
                break;
            }
            self.lists.look(1);
            if causality.covers(scene.shown, write) {
                found.push(write);
            }
        }
        found
    }
}
