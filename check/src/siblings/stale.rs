//! Stale gets: the freshness rule.
//!
//! A get is stale if an acknowledged put that returned before it was invoked is neither returned, nor in
//! the causal past of a returned value, nor of a delete that did not fail and was invoked before the get
//! returned; or if the get returns a value in the causal past of a delete that returned before the get
//! was invoked. A read of one node's raw copy is no get in this sense: nothing was promised of it.

use super::KeyHistory;
use super::causality::Causality;
use super::cover::{Grown, View};
use super::frontier::{Demand, Frontier, by_return};
use super::walk::{Freshness, Scene};
use crate::history::{Function, Outcome};
use crate::report::{Findings, Kind};
use crate::say;

/// The acknowledged writes so far.
pub(crate) struct Stale {
    puts: Vec<(i64, u32)>,
    next_put: usize,
    removals: Vec<(i64, u32)>,
    next_removal: usize,
    frontier: Frontier,
    /// What acknowledged deletes have removed.
    removed: Grown,
    pub(crate) freshness: Freshness,
}

impl Stale {
    pub(crate) fn new(key: &KeyHistory<'_>) -> Self {
        let is_put = |op: u32| matches!(key.history.entry(op).f, Function::Put | Function::Cas);
        Stale {
            puts: by_return(key.history, key.key, is_put),
            next_put: 0,
            removals: by_return(key.history, key.key, |op| key.history.entry(op).f == Function::Delete),
            next_removal: 0,
            frontier: Frontier::new(&key.causality),
            removed: Grown::default(),
            freshness: Freshness::default(),
        }
    }

    pub(crate) fn settle(&mut self, causality: &Causality, settled: View<'_>) {
        self.frontier.settle(causality, settled);
    }

    /// Judges a get; says whether it misses an acknowledged put.
    pub(crate) fn check(&mut self, key: &KeyHistory<'_>, scene: &Scene<'_>, findings: &mut Findings) -> bool {
        let (history, causality) = (key.history, &key.causality);
        let call = history.entry(scene.get).invoke;
        self.freshness.gets += 1;
        while let Some(&(_, op)) = self.puts.get(self.next_put).filter(|(ret, _)| *ret < call) {
            if let Some(write) = causality.write_of_op(op) {
                self.frontier.demand(causality, scene.buried, Demand { write, because: op });
            }
            self.next_put += 1;
        }
        while let Some(&(_, op)) = self.removals.get(self.next_removal).filter(|(ret, _)| *ret < call) {
            if let Some(index) = causality.write_of_op(op) {
                self.removed.add(causality.past(index));
            }
            self.next_removal += 1;
        }
        let acknowledged = |op: &u32| history.entry(*op).outcome == Outcome::Ok;
        let tied = || scene.tied.iter().copied().filter(acknowledged);
        let is_missed = |op: &u32| {
            history.entry(*op).f != Function::Delete
                && causality.write_of_op(*op).is_some_and(|index| !scene.settles(causality, index))
        };
        let gap = self.frontier.gap(scene.excused).map(|demand| demand.because);
        let missed = gap.or_else(|| tied().find(is_missed));
        if let Some(put) = missed {
            self.freshness.stale += 1;
            findings.add(Kind::Stale, || {
                let says = format!(
                    "{} misses {}, which was acknowledged before it began and which nothing shown had read",
                    say::operation(history, scene.get),
                    say::operation(history, put)
                );
                key.violation(Kind::Stale, &[put, scene.get], says)
            });
            return true;
        }
        let removes = |delete: u32, index: u32| {
            let delete = causality.write_of_op(delete);
            delete.is_some_and(|delete| causality.covers(causality.past(delete), index))
        };
        let is_delete = |op: &u32| history.entry(*op).f == Function::Delete;
        let nothing_removed = self.removed.is_empty() && scene.tied.is_empty();
        let shown = scene.values.iter().filter(|_| !nothing_removed);
        let undead = shown.filter_map(|&value| causality.write_of(value)).find(|&index| {
            self.removed.covers(&causality.writes[index as usize])
                || tied().filter(is_delete).any(|delete| removes(delete, index))
        });
        if let Some(index) = undead {
            self.freshness.stale += 1;
            findings.add(Kind::Stale, || {
                let before = self.removals[..self.next_removal].iter().rev().map(|&(_, op)| op);
                let mut deletes = before.chain(tied().filter(is_delete));
                let delete = deletes.find(|&delete| removes(delete, index)).unwrap_or(scene.get);
                let says = format!(
                    "{} shows what {} had removed before it began",
                    say::operation(history, scene.get),
                    say::operation(history, delete)
                );
                key.violation(Kind::Stale, &[causality.writes[index as usize].op, delete, scene.get], says)
            });
        }
        false
    }
}
