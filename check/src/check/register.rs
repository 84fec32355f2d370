//! The register models: phantoms, linearizability key by key, and how far off the keys are that fail.

use std::collections::BTreeSet;

use super::verdict::Decided;
use super::{Options, budget, initial_state, initial_value};
use crate::deadline::{Deadline, LATE};
use crate::history::{Function, History, Id};
use crate::linearizable::clusters::{Clusters, Scratch};
use crate::linearizable::machine::Register;
use crate::linearizable::quick::Quick;
use crate::linearizable::rounds::{self, Part};
use crate::linearizable::{self, Finding, Op, quick, versions};
use crate::report::{Model, Report, Verdict};
use crate::staleness::Distance;
use crate::{phantom, say};

pub(super) fn check(
    history: &History,
    options: &Options,
    model: Model,
    deadline: &Deadline,
    mut report: Report,
) -> Report {
    let several = (0_u32..)
        .zip(history.entries())
        .find(|(number, _)| history.values_of(*number).len() > 1 && history.is_read(*number));
    if let Some((number, _)) = several {
        return Report {
            verdict: Verdict::Error,
            error: Some(format!(
                "model {}: operation {number} (from 0), {}, returned several values; use model siblings",
                model.name(),
                say::operation(history, number)
            )),
            ..report
        };
    }
    let mut run = Run::new(history, options, deadline);
    for key in 0..history.keys() {
        if run.decided.stops_before(key, &mut report) {
            break;
        }
        run.judge(key, &mut report);
    }
    run.search(&mut report);
    report.algorithm = run.algorithms.iter().copied().collect::<Vec<_>>().join("+");
    run.decided.finish(options, model, &mut report);
    if options.distances && matches!(report.verdict, Verdict::Invalid | Verdict::Valid) {
        if deadline.was_missed() {
            run.distance.incomplete = true;
            report.not_judged("staleness", LATE);
        }
        report.staleness = Some(run.distance.report());
    }
    report
}

/// The judging of one history.
struct Run<'h> {
    history: &'h History,
    options: &'h Options,
    deadline: &'h Deadline,
    initial: Id,
    /// Gets of phantoms, sorted.
    phantoms: Vec<u32>,
    scratch: Scratch,
    decided: Decided<'h>,
    distance: Distance,
    algorithms: BTreeSet<&'static str>,
    parts: Vec<Part<Register>>,
}

impl<'h> Run<'h> {
    fn new(history: &'h History, options: &'h Options, deadline: &'h Deadline) -> Self {
        let mut decided = Decided::new(history, options, deadline);
        let initial = initial_value(history, options);
        let phantoms = phantom::check(history, initial, false, deadline, &mut decided.findings);
        for &get in &phantoms {
            decided.impossible(get, vec![get]);
        }
        Run {
            history,
            options,
            deadline,
            initial: initial_state(history, options),
            phantoms,
            scratch: Scratch::new(history, deadline),
            decided,
            distance: Distance::new(deadline),
            algorithms: BTreeSet::new(),
            parts: Vec::new(),
        }
    }

    /// The key's operations, by the store's versions where values repeat and it reported them.
    fn operations(&mut self, key: usize) -> (Vec<Op>, Id) {
        let is_phantom = |number: u32| self.phantoms.binary_search(&number).is_ok();
        let ops = linearizable::operations(self.history, key, is_phantom);
        versions::rename(self.history, &ops, self.initial, &mut self.scratch).unwrap_or((ops, self.initial))
    }

    fn judge(&mut self, key: usize, report: &mut Report) {
        let quick = quick::judge(self.history, key, self.initial, &mut self.scratch, self.options.certify);
        if let Quick::Linearizable(order) = quick {
            self.algorithms.insert("zones");
            let finding = Finding::Linearizable(order);
            self.decided.take_in_time(key, finding, report);
            if self.options.distances {
                self.distance.linearizable(self.history, key);
            }
            return;
        }
        if let Quick::Contradiction { until } = quick {
            // The first impossible operation is among these: no need to look at a long rest.
            let history = self.history;
            let mut ops =
                linearizable::operations(history, key, |number| history.entry(number).invoke > until);
            let judged = linearizable::judge(history, &mut ops, self.initial, &mut self.scratch);
            if let Some(finding @ Finding::Not { .. }) = judged.finding
                && !self.deadline.was_missed()
            {
                drop(ops);
                self.algorithms.insert(judged.algorithm);
                self.take(key, finding, report);
                return;
            }
        }
        let (mut ops, initial) = self.operations(key);
        let judged = linearizable::judge(self.history, &mut ops, initial, &mut self.scratch);
        self.algorithms.insert(judged.algorithm);
        match judged.finding {
            Some(finding) => {
                drop(ops);
                let late = self.deadline.was_missed();
                self.take(key, if late { Finding::Unknown(LATE.to_owned()) } else { finding }, report);
            }
            None => self.parts.push(Part { key, machine: Register, ops, initial }),
        }
    }

    fn search(&mut self, report: &mut Report) {
        let parts = std::mem::take(&mut self.parts);
        let findings = rounds::search(self.history, &parts, &budget(self.options, self.deadline));
        let keys: Vec<usize> = parts.iter().map(|part| part.key).collect();
        drop(parts);
        for (key, finding) in keys.into_iter().zip(findings) {
            self.take(key, finding, report);
        }
    }

    fn take(&mut self, key: usize, finding: Finding, report: &mut Report) {
        let unknown = matches!(finding, Finding::Unknown(_));
        let violated = self.decided.take(key, finding, report);
        if !self.options.distances || unknown {
            return;
        }
        if !violated {
            self.distance.linearizable(self.history, key);
            return;
        }
        // Once more, with the stamps as they were recorded: judging draws ties apart.
        let (original, initial) = self.operations(key);
        let clusters = Clusters::build(&original, initial, &mut self.scratch);
        if clusters.repeated || clusters.has_cas {
            self.distance.incomplete = true;
            let gets = self.history.of_key(key).iter().filter(|&&n| self.history.is_read(n)).count();
            self.distance.gets += gets as u64;
            report.not_judged(
                "staleness",
                format!("key {}: values repeat, or a cas wrote some", self.history.key(key)),
            );
        } else {
            self.distance.measure(self.history, key, &original, &clusters, &mut self.decided.findings);
        }
        debug_assert!(
            self.history.of_key(key).iter().all(|&n| self.history.entry(n).f != Function::Txn),
            "registers know no transactions"
        );
    }
}
