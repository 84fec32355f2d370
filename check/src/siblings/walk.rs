//! One walk over the gets of a key, in order of their calls, with all that the checks along it need to
//! know of each: what it shows with everything the writers of that had read, and what deletes may have
//! removed. It is worked out once a get, for all of them.

use std::collections::HashMap;

use super::causality::Causality;
use super::cover::{Cover, Grown, View};
use super::frontier::Deletes;
use super::tables::{Listed, Marks};
use super::{KeyHistory, false_sibling, lost_update, reads_go_back, session, stale};
use crate::history::{Function, Id, NONE};
use crate::report::Findings;

/// A successful get and what is to be held against it.
pub(crate) struct Scene<'a> {
    pub(crate) get: u32,
    pub(crate) values: &'a [Id],
    /// The values, and all that their writers had read.
    pub(crate) shown: View<'a>,
    /// That, and what deletes may have removed that were called during the get.
    pub(crate) excused: View<'a>,
    /// What deletes may have removed that were called before it.
    pub(crate) buried: &'a Grown,
    /// Operations of the get's own process that ended at the very stamp at which it was called.
    pub(crate) tied: Vec<u32>,
}

impl Scene<'_> {
    /// Whether the get need not show a write any further: it shows it, or a delete may have removed it.
    #[inline]
    pub(crate) fn settles(&self, causality: &Causality, index: u32) -> bool {
        causality.covers(self.excused, index) || self.buried.covers(&causality.writes[index as usize])
    }
}

/// Stale gets among all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Freshness {
    pub(crate) stale: u64,
    pub(crate) gets: u64,
}

/// What the walk comes by.
pub(crate) enum Event<'a> {
    /// The call of a write that happened or may have happened.
    Write(u32),
    /// A delete is buried: what it may have removed no get from here on has to show.
    Buried(u32),
    /// A get, or a read of a raw copy, that shows a value twice or beside one whose writer had read it.
    Nested(u32),
    /// A get.
    Read(&'a Scene<'a>),
}

/// Walks over a key, until the time is up.
pub(crate) fn each_event(
    key: &KeyHistory<'_>,
    ties: &Ties,
    marks: &mut Marks,
    mut event: impl FnMut(Event<'_>),
) {
    let (history, causality) = (key.history, &key.causality);
    let mut deletes = Deletes::new(history, causality);
    let (mut cover, mut excused) = (Cover::default(), Cover::default());
    for &op in history.of_key(key.key) {
        if causality.tables.deadline.step() {
            return;
        }
        if let Some(write) = causality.write_of_op(op) {
            event(Event::Write(write));
        }
        let entry = history.entry(op);
        if !entry.is_ok(Function::Get) {
            continue;
        }
        let values = history.values_of(op);
        let listed: Listed = marks.listed(values);
        let (shown, nested) = causality.shown(listed, values, &mut cover);
        if nested || listed.twice {
            event(Event::Nested(op));
        }
        if !history.is_read(op) {
            continue;
        }
        while let Some(delete) = deletes.bury_next(causality, entry.invoke) {
            event(Event::Buried(delete));
        }
        let mut meanwhile = deletes.meanwhile(entry.ret).peekable();
        let excused = if meanwhile.peek().is_some() {
            excused.copy_from(shown);
            meanwhile.for_each(|delete| causality.join(&mut excused, causality.past(delete)));
            excused.view()
        } else {
            shown
        };
        let tied = ties.of_op(key, op);
        let buried = &deletes.buried;
        event(Event::Read(&Scene { get: op, values, shown, excused, buried, tied }));
    }
}

/// Judges the gets of a key. `accounted` is what the final values account for, if there are any. False
/// beside the freshness if some session guarantees were not judged to the end.
pub(crate) fn judge(
    key: &KeyHistory<'_>,
    ties: &Ties,
    marks: &mut Marks,
    accounted: Option<&Cover>,
    findings: &mut Findings,
) -> (Freshness, bool) {
    let causality = &key.causality;
    let mut stale = stale::Stale::new(key);
    let mut reads_go_back = reads_go_back::ReadsGoBack::new(key);
    let mut lost_update = lost_update::LostUpdate::new(key, accounted);
    let mut sessions = session::Sessions::new(key, ties.sessions as usize);
    each_event(key, ties, marks, |event| match event {
        Event::Write(write) => {
            let tied = ties.of_op(key, causality.writes[write as usize].op);
            sessions.write(key, write, &tied);
        }
        Event::Buried(delete) => {
            stale.settle(causality, causality.past(delete));
            reads_go_back.settle(causality, causality.past(delete));
        }
        Event::Nested(get) => false_sibling::check(key, get, findings),
        Event::Read(scene) => {
            let misses = stale.check(key, scene, findings);
            lost_update.check(key, scene, misses, findings);
            reads_go_back.check(key, scene, findings);
            sessions.get(key, scene, findings);
        }
    });
    let thorough = sessions.finish(key, ties, marks, findings);
    (stale.freshness, thorough)
}

/// Equal stamps are concurrent, except within a process: which operations of a key began at the very
/// stamp at which the one before them of the same process ended.
pub(crate) struct Ties {
    before: HashMap<u32, u32>,
    /// How many sessions there are.
    sessions: u32,
}

impl Ties {
    /// The ties of a key; numbers its sessions by the way.
    pub(crate) fn of(key: &mut KeyHistory<'_>) -> Ties {
        let history = key.history;
        let tables = &mut key.causality.tables;
        let mut ties = Ties { before: HashMap::new(), sessions: 0 };
        for &op in history.of_key(key.key) {
            let entry = history.entry(op);
            let slot = &mut tables.last[entry.process as usize];
            if *slot != NONE && history.entry(*slot).ret == entry.invoke {
                ties.before.insert(op, *slot);
            }
            *slot = op;
            let number = match history.session_of(op) {
                NONE => &mut tables.session_of_process[entry.process as usize],
                name => tables.session_of_name.entry(name).or_insert(NONE),
            };
            if *number == NONE {
                *number = ties.sessions;
                ties.sessions += 1;
            }
            tables.session[op as usize] = *number;
        }
        for &op in history.of_key(key.key) {
            let process = history.entry(op).process as usize;
            (tables.last[process], tables.session_of_process[process]) = (NONE, NONE);
        }
        tables.session_of_name.clear();
        ties
    }

    /// The operations that are over before `op` only by the order of their process, in that order.
    pub(crate) fn of_op(&self, key: &KeyHistory<'_>, op: u32) -> Vec<u32> {
        if self.before.is_empty() {
            return Vec::new();
        }
        let call = key.history.entry(op).invoke;
        let mut tied = Vec::new();
        let mut at = op;
        while let Some(&earlier) =
            self.before.get(&at).filter(|&&earlier| key.history.entry(earlier).ret == call)
        {
            tied.push(earlier);
            at = earlier;
        }
        tied.reverse();
        tied
    }
}
