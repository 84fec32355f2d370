//! Session guarantees (Terry et al., "Session guarantees for weakly consistent replicated data", 1994).
//!
//! A session is what the recorder calls one, or else a process. Within it one operation is before another
//! if it returned before that was called, or by its process's order. "Shows" means: returns, or returns
//! what was written by someone who had read it; what a delete may have removed is not missed.
//!
//! | guarantee | broken if |
//! |---|---|
//! | read your writes | a get does not show an acknowledged put of its session before it, or shows what an acknowledged delete of its session before it had removed |
//! | monotonic reads | a get does not show what a get of its session before it had shown |
//! | monotonic writes | a get of any session shows a write, but not an acknowledged put that its session made before it |
//! | writes follow reads | a get of any session shows a write, but not what its session had read before it |
//!
//! Kept small by leaving out what follows from the rest: of what a session wrote and read only what the
//! next such operation does not cover is remembered, as a list that shares its tail with what was
//! remembered before. The last two are judged in [`super::debts`].

use super::KeyHistory;
use super::cover::Grown;
use super::frontier::{Deletes, by_return};
use super::remembered::{Known, Lists, is_delete, missed_put, missed_read};
use super::walk::Scene;
use crate::history::{Function, NONE, Outcome};
use crate::report::{Findings, Guarantee, Kind};
use crate::say;

/// What a get of the session found, until it returns.
#[derive(Debug, Clone, Copy)]
struct Checked {
    get: u32,
    read: u32,
    read_left: u32,
    written: u32,
    shows_all_written: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    /// The latest acknowledged put that no later get has shown, and those before it.
    written: u32,
    /// The latest get, and those before it that it does not cover.
    read: u32,
    /// All acknowledged puts.
    puts: Vec<u32>,
    deletes: Vec<u32>,
    removed: Grown,
    /// All writes that may have happened, in order of invocation.
    pub(super) writes: Vec<u32>,
    /// Some write was made without all that came before it in the session.
    pub(super) risky: bool,
    checked: Option<Checked>,
}

impl Session {
    fn new() -> Self {
        Session {
            written: NONE,
            read: NONE,
            puts: Vec::new(),
            deletes: Vec::new(),
            removed: Grown::default(),
            writes: Vec::new(),
            risky: false,
            checked: None,
        }
    }
}

/// What a write's session had written and read before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    pub(super) session: u32,
    pub(super) written: u32,
    pub(super) read: u32,
    pub(super) puts: u32,
}

/// The sessions of one key.
pub(crate) struct Sessions {
    returns: Vec<(i64, u32)>,
    next: usize,
    pub(super) list: Vec<Session>,
    pub(super) lists: Lists,
    /// By write.
    pub(super) owed: Vec<Owed>,
    deletes: Deletes,
}

impl Sessions {
    pub(crate) fn new(key: &KeyHistory<'_>, sessions: usize) -> Self {
        let (history, causality) = (key.history, &key.causality);
        let counts = |op: u32| history.is_read(op) || causality.write_of_op(op).is_some();
        let nothing = Owed { session: 0, written: NONE, read: NONE, puts: 0 };
        Sessions {
            returns: by_return(history, key.key, counts),
            next: 0,
            list: (0..sessions).map(|_| Session::new()).collect(),
            lists: Lists::new(history.of_key(key.key).len(), &causality.tables.deadline),
            owed: vec![nothing; causality.writes.len()],
            deletes: Deletes::new(history, causality),
        }
    }

    fn session_of(key: &KeyHistory<'_>, op: u32) -> usize {
        key.causality.tables.session[op as usize] as usize
    }

    /// Of a process's operations that ended at a stamp those that are of a session.
    fn tied(key: &KeyHistory<'_>, session: usize, tied: &[u32]) -> Vec<u32> {
        let acknowledged = |op: &u32| key.history.entry(*op).outcome == Outcome::Ok;
        tied.iter().copied().filter(acknowledged).filter(|&op| Self::session_of(key, op) == session).collect()
    }

    /// Takes in everything that returned before `call`.
    fn advance(&mut self, key: &KeyHistory<'_>, call: i64) {
        while self.deletes.bury_next(&key.causality, call).is_some() {}
        while let Some(&(_, op)) = self.returns.get(self.next).filter(|(ret, _)| *ret < call) {
            self.next += 1;
            let session = Self::session_of(key, op);
            match key.causality.write_of_op(op) {
                Some(write) => self.wrote(key, session, write, op),
                None => self.had_read(key, session, op),
            }
        }
    }

    fn wrote(&mut self, key: &KeyHistory<'_>, session: usize, write: u32, op: u32) {
        let causality = &key.causality;
        let past = causality.past(write);
        if key.history.entry(op).f == Function::Delete {
            let session = &mut self.list[session];
            session.deletes.push(op);
            session.removed.add(past);
            return;
        }
        let known = Known { history: key.history, causality, past, buried: &self.deletes.buried };
        let before = self.lists.without(self.list[session].written, |put| known.put(put));
        self.list[session].written = self.lists.push(op, before);
        self.list[session].puts.push(op);
    }

    fn had_read(&mut self, key: &KeyHistory<'_>, session: usize, get: u32) {
        let (history, causality) = (key.history, &key.causality);
        let Session { read, written, checked, .. } = self.list[session];
        let checked = checked.filter(|checked| checked.get == get);
        let before = match checked.filter(|checked| checked.read == read) {
            Some(checked) => checked.read_left,
            // Another process of the session was faster: look again.
            None => {
                let cover = causality.cover(history.values_of(get));
                let known = Known { history, causality, past: cover.view(), buried: &self.deletes.buried };
                self.lists.without(read, |earlier| known.shown_by(earlier))
            }
        };
        let nothing_read = history.values_of(get).is_empty();
        self.list[session].read = if nothing_read { before } else { self.lists.push(get, before) };
        if checked.is_some_and(|checked| checked.written == written && checked.shows_all_written) {
            self.list[session].written = NONE;
        }
    }

    /// Takes in the call of a write.
    pub(crate) fn write(&mut self, key: &KeyHistory<'_>, write: u32, tied: &[u32]) {
        let (history, causality) = (key.history, &key.causality);
        if self.lists.exhausted() {
            return;
        }
        let op = causality.writes[write as usize].op;
        self.advance(key, history.entry(op).invoke);
        let session = Self::session_of(key, op);
        let past = causality.past(write);
        let (mut written, mut read) = (self.list[session].written, self.list[session].read);
        for op in Self::tied(key, session, tied) {
            if history.is_read(op) {
                read = self.lists.push(op, read);
            } else if causality.write_of_op(op).is_some() && history.entry(op).f != Function::Delete {
                written = self.lists.push(op, written);
            }
        }
        let known = Known { history, causality, past, buried: &self.deletes.buried };
        let written = self.lists.without(written, |put| known.put(put));
        let read = self.lists.without(read, |get| known.shown_by(get));
        let puts = u32::try_from(self.list[session].puts.len()).unwrap_or(NONE);
        self.owed[write as usize] =
            Owed { session: u32::try_from(session).unwrap_or(NONE), written, read, puts };
        self.list[session].writes.push(write);
        self.list[session].risky |= written != NONE || read != NONE;
    }

    /// Judges a get by its own session.
    pub(crate) fn get(&mut self, key: &KeyHistory<'_>, scene: &Scene<'_>, findings: &mut Findings) {
        let (history, causality) = (key.history, &key.causality);
        if self.lists.exhausted() {
            return;
        }
        self.advance(key, history.entry(scene.get).invoke);
        let session = Self::session_of(key, scene.get);
        let ties = Self::tied(key, session, &scene.tied);
        let tied = || ties.iter().copied();
        let missed_by = |get: u32| missed_read(history, causality, scene, get);

        let Session { read, written, .. } = self.list[session];
        let read_left = self.lists.without(read, |earlier| missed_by(earlier).is_none());
        if self.lists.exhausted() {
            return;
        }
        let forgotten = self.lists.node(read_left).map(|node| node.op);
        let forgotten = forgotten
            .or_else(|| tied().filter(|&op| history.is_read(op)).find(|&op| missed_by(op).is_some()));
        if let Some(earlier) = forgotten {
            let missed = missed_by(earlier).unwrap_or(NONE);
            findings.add(Kind::Session, || {
                let says = format!(
                    "{} misses {}, which {} of the same session had shown",
                    say::operation(history, scene.get),
                    say::value(history, history.entry(missed).value),
                    say::operation(history, earlier)
                );
                key.session(Guarantee::MonotonicReads, &[missed, earlier, scene.get], says)
            });
        }

        let is_missed = |op: u32| missed_put(causality, scene, op);
        // What an earlier get showed need not be looked at while everything shown then is shown still.
        let puts = if read_left == NONE { 0 } else { self.list[session].puts.len() };
        let missed = self.missed(written, session, puts, is_missed);
        if self.lists.exhausted() {
            return;
        }
        let shows_all_written = missed.is_none();
        let missed =
            missed.or_else(|| tied().filter(|&op| !is_delete(history, op)).find(|&op| is_missed(op)));
        let own = &self.list[session];
        let deletes = || own.deletes.iter().copied().chain(tied()).filter(|&op| is_delete(history, op));
        let undead = || {
            let shown = || scene.values.iter().filter_map(|&value| causality.write_of(value));
            let removes = |index: u32| own.removed.covers(&causality.writes[index as usize]);
            let any = !own.removed.is_empty() && shown().any(removes);
            if !any && ties.is_empty() {
                return None;
            }
            deletes().find_map(|delete| {
                let past = causality.past(causality.write_of_op(delete)?);
                let index = shown().find(|&index| causality.covers(past, index))?;
                Some((causality.writes[index as usize].op, delete))
            })
        };
        let broken =
            missed.map(|put| (put, None)).or_else(|| undead().map(|(put, delete)| (put, Some(delete))));
        if let Some((put, delete)) = broken {
            findings.add(Kind::Session, || {
                let get = say::operation(history, scene.get);
                let (says, before) = match delete {
                    None => {
                        let put = say::operation(history, put);
                        (format!("{get} misses {put}, which its own session had made before it"), put.len())
                    }
                    Some(delete) => {
                        let delete = say::operation(history, delete);
                        let says = format!("{get} shows what {delete} of its own session had removed");
                        (says, delete.len())
                    }
                };
                debug_assert!(before > 0, "operations have names");
                let operations: Vec<u32> = [put, scene.get].into_iter().chain(delete).collect();
                key.session(Guarantee::ReadYourWrites, &operations, says)
            });
        }
        self.list[session].checked =
            Some(Checked { get: scene.get, read, read_left, written, shows_all_written });
    }

    /// The first put that is missed: of a list, and of the first so many of a session.
    pub(super) fn missed(
        &mut self,
        head: u32,
        session: usize,
        puts: usize,
        is_missed: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let left = self.lists.without(head, |put| !is_missed(put));
        if let Some(node) = self.lists.node(left) {
            return Some(node.op);
        }
        let before = &self.list[session].puts[..puts];
        let place = before.iter().rev().take(self.lists.looks_left()).position(|&put| is_missed(put));
        self.lists.look(place.unwrap_or(puts));
        place.map(|place| before[puts - 1 - place])
    }
}
