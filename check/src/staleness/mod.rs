//! How far gets were behind, for registers whose values are unique.
//!
//! - Delta and gamma: [`shift`]. Whether two values are enough: [`two_atomic`]. How soon after a write
//!   it is seen: [`visibility`].
//! - A get is stale for certain if some write began after its value's write had returned, and returned
//!   before the get was called. How many such writes there are is a lower bound on k.
//! - A get goes back for certain if an earlier get returned a value whose write began after this get's
//!   value's write had returned.
//!
//! - What a session is owed: a get is older for certain than what its own session wrote or read.
//!
//! Almost everything here is zero on a linearizable key, so it runs only on others. O(n log n).

pub(crate) mod shift;
pub(crate) mod two_atomic;
pub(crate) mod visibility;

use std::collections::HashMap;

use crate::deadline::Deadline;
use crate::history::{History, NONE};
use crate::linearizable::clusters::{Cluster, Clusters};
use crate::linearizable::{Op, Step};
use crate::report::{Distribution, Findings, Guarantee, Kind, Staleness, Violation};
use crate::say;

/// The distance of all keys looked at so far from linearizable.
#[derive(Debug, Default)]
pub(crate) struct Distance {
    /// Successful gets, of linearizable keys too.
    pub(crate) gets: u64,
    pub(crate) stale_gets: u64,
    delta_ns: i64,
    gamma_ns: i64,
    versions_behind: u64,
    /// By how much gets were stale; those that were not are left out.
    stale_ns: Vec<u64>,
    stale_versions: Vec<u64>,
    /// No key certainly needs three values; some key could not be decided.
    needs_three: bool,
    undecided: bool,
    visibility: visibility::Buckets,
    /// Some key could not be measured at all.
    pub(crate) incomplete: bool,
    deadline: Deadline,
}

impl Distance {
    pub(crate) fn new(deadline: &Deadline) -> Self {
        Distance { deadline: deadline.clone(), ..Distance::default() }
    }

    /// Takes in a linearizable key: everything was fresh, so only how soon after a write is of interest.
    pub(crate) fn linearizable(&mut self, history: &History, key: usize) {
        self.visibility.take_fresh(history, key);
        let is_get = |number: &&u32| history.is_read(**number);
        self.gets += history.of_key(key).iter().filter(is_get).count() as u64;
    }

    /// Measures a key that is not linearizable and reports its stale gets and those that go back.
    pub(crate) fn measure(
        &mut self,
        history: &History,
        key: usize,
        ops: &[Op],
        clusters: &Clusters,
        findings: &mut Findings,
    ) {
        let shifts = shift::Shifts::of(ops, clusters, &self.deadline);
        if self.deadline.is_over() {
            return;
        }
        self.delta_ns = self.delta_ns.max(shifts.delta_ns);
        self.gamma_ns = self.gamma_ns.max(shifts.gamma_ns);
        let gets = gets(ops, clusters);
        self.gets += gets.len() as u64;
        let report = Reporter { history, key, ops };
        let overtaking = Overtaking::new(ops, &clusters.list);
        for get in &gets {
            let newer = overtaking.first_to_return(get.write_ret).filter(|write| write.ret < get.call);
            let Some(newer) = newer else { continue };
            self.stale_gets += 1;
            self.stale_ns.push(get.call.abs_diff(newer.ret));
            findings.add(Kind::Stale, || {
                let says = format!(
                    "{} returned an old value: {} began after that was written, and was over before the get began",
                    report.say(get.position),
                    report.say(newer.position)
                );
                report.violation(Kind::Stale, None, &[get.write, newer.position, get.position], says)
            });
        }
        if self.deadline.is_over() {
            return;
        }
        let mut most = 0;
        versions_behind(ops, clusters, &gets, |behind| {
            most = most.max(behind);
            self.stale_versions.extend(Some(behind).filter(|&behind| behind > 0));
        });
        self.versions_behind = self.versions_behind.max(most);
        go_back(ops, clusters, &gets, |earlier, get| {
            findings.add(Kind::Session, || {
                let says = format!(
                    "{} returned an older value than {}, which was over before it began",
                    report.say(get.position),
                    report.say(earlier.position)
                );
                let operations = [earlier.position, get.position];
                report.violation(Kind::Session, Some(Guarantee::ReadsGoBack), &operations, says)
            });
        });
        sessions(history, ops, clusters, |guarantee, earlier, get| {
            findings.add(Kind::Session, || {
                let says = format!(
                    "{} returned an older value than {} of the same session before it",
                    report.say(get),
                    report.say(earlier)
                );
                report.violation(Kind::Session, Some(guarantee), &[earlier, get], says)
            });
        });
        self.visibility.take(ops, clusters, &gets);
        match two_atomic::decide(ops, clusters, most) {
            Some(true) => {}
            Some(false) => self.needs_three = true,
            None => self.undecided = true,
        }
    }

    /// What the report says of it.
    pub(crate) fn report(mut self) -> Staleness {
        let whole = |value| if self.incomplete { None } else { Some(value) };
        let fresh = |stale: usize| self.gets.saturating_sub(stale as u64);
        let finite = |ns: i64| (ns != i64::MAX && !self.incomplete).then_some(ns as f64 / 1e6);
        Staleness {
            delta_ms_max: finite(self.delta_ns),
            gamma_ms_max: finite(self.gamma_ns),
            k_at_least: whole(self.versions_behind + 1),
            stale_reads: if self.gets == 0 { 0.0 } else { self.stale_gets as f64 / self.gets as f64 },
            two_atomic: match (self.needs_three, self.undecided || self.incomplete) {
                (true, _) => Some(false),
                (false, true) => None,
                (false, false) => Some(true),
            },
            stale_ms: Distribution::with_zeros(fresh(self.stale_ns.len()), &mut self.stale_ns, 1e-6),
            stale_versions: Distribution::with_zeros(
                fresh(self.stale_versions.len()),
                &mut self.stale_versions,
                1.0,
            ),
            t_visibility: self.visibility.report(),
        }
    }
}

/// Puts violations into words.
struct Reporter<'h> {
    history: &'h History,
    key: usize,
    ops: &'h [Op],
}

impl Reporter<'_> {
    fn say(&self, position: u32) -> String {
        say::operation(self.history, self.ops[position as usize].number)
    }

    fn violation(
        &self,
        kind: Kind,
        guarantee: Option<Guarantee>,
        operations: &[u32],
        says: String,
    ) -> Violation {
        let operations = operations.iter().filter(|&&position| position != NONE);
        Violation {
            kind,
            guarantee,
            key: self.history.key(self.key).clone(),
            operations: operations.map(|&position| self.ops[position as usize].number as usize).collect(),
            says,
            lasting: None,
        }
    }
}

/// Gets that are older for certain than what their own session wrote or read before: what a single-value
/// store can be convicted of. Whether its writes were taken in order nobody can tell from outside.
fn sessions(history: &History, ops: &[Op], clusters: &Clusters, mut found: impl FnMut(Guarantee, u32, u32)) {
    #[derive(Clone, Copy)]
    struct Newest {
        call: i64,
        position: u32,
    }
    const NOTHING: Newest = Newest { call: i64::MIN, position: NONE };
    // By session: the newest acknowledged write and the newest value read, by the calls of their writes.
    let mut sessions: HashMap<u32, (Newest, Newest)> = HashMap::new();
    let named = history.has_sessions();
    let mut returned: Vec<u32> =
        (0_u32..).zip(ops).filter(|(_, op)| op.returned()).map(|(at, _)| at).collect();
    returned.sort_unstable_by_key(|&at| (ops[at as usize].ret, at));
    let session_of = |position: u32| {
        let op = &ops[position as usize];
        // Sessions have names of their own; a process without one is its own session.
        match if named { history.session_of(op.number) } else { NONE } {
            NONE => op.process,
            session => session | 1 << 31,
        }
    };
    let write_of = |position: u32| match clusters.of_op[position as usize] {
        NONE => None,
        cluster => Some(clusters.list[cluster as usize].put),
    };
    let span =
        |write: u32| ops.get(write as usize).map_or((i64::MIN, i64::MIN), |write| (write.call, write.ret));
    let mut next = 0;
    for (position, op) in (0_u32..).zip(ops) {
        while let Some(&earlier) = returned.get(next) {
            let done = &ops[earlier as usize];
            if done.ret > op.call
                || (done.ret == op.call && (done.process != op.process || earlier >= position))
            {
                break;
            }
            if let Some(write) = write_of(earlier) {
                let (own, seen) = sessions.entry(session_of(earlier)).or_insert((NOTHING, NOTHING));
                let slot = if matches!(done.step, Step::Read(_)) { seen } else { own };
                let call = span(write).0;
                if call > slot.call {
                    *slot = Newest { call, position: earlier };
                }
            }
            next += 1;
        }
        if !matches!(op.step, Step::Read(_)) {
            continue;
        }
        let (Some(write), Some((own, seen))) = (write_of(position), sessions.get(&session_of(position)))
        else {
            continue;
        };
        let ret = span(write).1;
        for (guarantee, newest) in [(Guarantee::ReadYourWrites, own), (Guarantee::MonotonicReads, seen)] {
            if ret < newest.call {
                found(guarantee, newest.position, position);
            }
        }
    }
}

/// A get and the write whose value it returned (`NONE`: the initial one).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Get {
    position: u32,
    call: i64,
    ret: i64,
    write: u32,
    write_call: i64,
    write_ret: i64,
}

/// The gets that are known to have read one write, in order of their calls.
fn gets(ops: &[Op], clusters: &Clusters) -> Vec<Get> {
    let mut gets: Vec<Get> = (0_u32..)
        .zip(ops)
        .filter(|(position, op)| {
            matches!(op.step, Step::Read(_)) && clusters.of_op[*position as usize] != NONE
        })
        .map(|(position, op)| {
            let write = clusters.list[clusters.of_op[position as usize] as usize].put;
            let (write_call, write_ret) =
                ops.get(write as usize).map_or((i64::MIN, i64::MIN), |write| (write.call, write.ret));
            Get { position, call: op.call, ret: op.ret, write, write_call, write_ret }
        })
        .collect();
    gets.sort_unstable_by_key(|get| (get.call, get.position));
    gets
}

/// Writes by call, each with the earliest to return of those called from it on.
struct Overtaking {
    by_call: Vec<(i64, Returned)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Returned {
    ret: i64,
    position: u32,
}

impl Overtaking {
    fn new(ops: &[Op], list: &[Cluster]) -> Self {
        let mut by_call: Vec<(i64, Returned)> = list
            .iter()
            .filter(|cluster| cluster.put != NONE)
            .map(|cluster| {
                let write = &ops[cluster.put as usize];
                (write.call, Returned { ret: write.ret, position: cluster.put })
            })
            .collect();
        by_call.sort_unstable();
        let mut earliest = Returned { ret: i64::MAX, position: NONE };
        for (_, returned) in by_call.iter_mut().rev() {
            earliest = earliest.min(*returned);
            *returned = earliest;
        }
        Overtaking { by_call }
    }

    /// Of the writes called after `after`, the first to return.
    fn first_to_return(&self, after: i64) -> Option<Returned> {
        let start = self.by_call.partition_point(|&(call, _)| call <= after);
        self.by_call.get(start).map(|&(_, returned)| returned).filter(|write| write.ret != i64::MAX)
    }
}

/// For each get g of a write w: how many writes w' have ret(w) < call(w') and ret(w') < call(g).
fn versions_behind(ops: &[Op], clusters: &Clusters, gets: &[Get], mut found: impl FnMut(u64)) {
    let writes = || clusters.list.iter().filter(|c| c.put != NONE).map(|c| &ops[c.put as usize]);
    let mut calls: Vec<i64> = writes().map(|write| write.call).collect();
    calls.sort_unstable();
    let mut returns: Vec<(i64, i64)> =
        writes().filter(|write| write.returned()).map(|write| (write.ret, write.call)).collect();
    returns.sort_unstable();
    // A Fenwick tree over the ranks of calls counts the writes that have returned so far.
    let mut tree = vec![0_u64; calls.len() + 1];
    let below = |tree: &[u64], mut rank: usize| {
        let mut sum = 0;
        while rank > 0 {
            sum += tree[rank];
            rank &= rank - 1;
        }
        sum
    };
    let mut returned = 0;
    for get in gets {
        while let Some(&(_, call)) = returns.get(returned).filter(|(ret, _)| *ret < get.call) {
            let mut rank = calls.partition_point(|&other| other < call) + 1;
            while rank < tree.len() {
                tree[rank] += 1;
                rank += rank & rank.wrapping_neg();
            }
            returned += 1;
        }
        let not_after = below(&tree, calls.partition_point(|&call| call <= get.write_ret));
        found(returned as u64 - not_after);
    }
}

/// Walks the gets by call and remembers, of those that have returned, the one with the newest write.
fn go_back(ops: &[Op], clusters: &Clusters, gets: &[Get], mut found: impl FnMut(&Get, &Get)) {
    debug_assert!(clusters.of_op.len() == ops.len(), "the clusters are those of these operations");
    let mut returns: Vec<(i64, usize)> = gets.iter().enumerate().map(|(at, get)| (get.ret, at)).collect();
    returns.sort_unstable();
    let mut returned = 0;
    let mut newest: Option<&Get> = None;
    for get in gets {
        while let Some(&(_, at)) = returns.get(returned).filter(|(ret, _)| *ret < get.call) {
            if newest.is_none_or(|newest| newest.write_call < gets[at].write_call) {
                newest = Some(&gets[at]);
            }
            returned += 1;
        }
        if let Some(earlier) = newest.filter(|newest| newest.write_call > get.write_ret) {
            found(earlier, get);
        }
    }
}
