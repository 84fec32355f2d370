//! From the findings on keys to the verdict on a history.

use super::Options;
use crate::certificate::{self, Certificate};
use crate::deadline::{Deadline, LATE};
use crate::history::History;
use crate::linearizable::Finding;
use crate::report::{Findings, FirstImpossible, Kind, Model, Report, Verdict, Violation};

/// Collects what was found out about each key of a linearizable model.
pub(super) struct Decided<'h> {
    history: &'h History,
    deadline: Deadline,
    pub(super) findings: Findings,
    orders: Option<Vec<Vec<u32>>>,
    /// The first impossible operation so far, with what it contradicts.
    first: Option<(u32, Vec<u32>)>,
}

impl<'h> Decided<'h> {
    pub(super) fn new(history: &'h History, options: &Options, deadline: &Deadline) -> Self {
        Decided {
            history,
            deadline: deadline.clone(),
            findings: Findings::new(options.violations_max),
            orders: options.certify.then(Vec::new),
            first: None,
        }
    }

    /// Names an operation that is impossible by itself, such as a get of a phantom.
    pub(super) fn impossible(&mut self, number: u32, witness: Vec<u32>) {
        let returned = |number: u32| (self.history.entry(number).ret, number);
        if self.first.as_ref().is_none_or(|(other, _)| returned(number) < returned(*other)) {
            self.first = Some((number, witness));
        }
    }

    /// Takes in the finding on a key that walks led to which end early when the time is up.
    pub(super) fn take_in_time(&mut self, key: usize, finding: Finding, report: &mut Report) -> bool {
        let late = self.deadline.was_missed();
        self.take(key, if late { Finding::Unknown(LATE.to_owned()) } else { finding }, report)
    }

    /// Whether the time is up before this key: the rest is not judged then.
    pub(super) fn stops_before(&self, key: usize, report: &mut Report) -> bool {
        if !self.deadline.is_over() {
            return false;
        }
        report.verdict = report.verdict.merge(Verdict::Unknown);
        let keys = self.history.keys();
        report.not_judged("not-linearizable", format!("{LATE} after {key} of {keys} keys"));
        true
    }

    /// Takes in the finding on a key. True if it is not linearizable.
    pub(super) fn take(&mut self, key: usize, finding: Finding, report: &mut Report) -> bool {
        match finding {
            Finding::Linearizable(order) => {
                if let Some(orders) = &mut self.orders {
                    orders.push(order);
                }
                false
            }
            Finding::Unknown(why) => {
                report.verdict = report.verdict.merge(Verdict::Unknown);
                report.not_judged("not-linearizable", format!("key {}: {why}", self.history.key(key)));
                false
            }
            Finding::Not { witness, first_impossible, says } => {
                let history = self.history;
                self.findings.add(Kind::NotLinearizable, || Violation {
                    kind: Kind::NotLinearizable,
                    guarantee: None,
                    key: history.key(key).clone(),
                    operations: witness.iter().map(|&number| number as usize).collect(),
                    says,
                    lasting: None,
                });
                self.impossible(first_impossible, witness);
                true
            }
        }
    }

    /// Fills in the report: the verdict with its proof.
    pub(super) fn finish(mut self, options: &Options, model: Model, report: &mut Report) {
        std::mem::replace(&mut self.findings, Findings::new(0)).into_report(report, model);
        if let Some((operation, mut witness)) = self.first {
            let operation = operation as usize;
            let event = self.history.event_of(operation);
            report.first_impossible = Some(FirstImpossible { event, operation });
            witness.sort_unstable();
            report.witness = Some(witness.into_iter().map(|number| number as usize).collect());
        }
        if report.verdict != Verdict::Valid {
            return;
        }
        let Some(orders) = self.orders else { return };
        let certificate = Certificate { orders };
        if self.deadline.is_over() {
            report.verdict = Verdict::Unknown;
            report.not_judged("not-linearizable", format!("{LATE} before the order found was verified"));
            return;
        }
        match certificate::verify(self.history, model, options.initial.as_ref(), &certificate) {
            Ok(()) => {
                report.certified = Some(certificate.operations());
                report.certificate = Some(certificate);
            }
            // The checkers found an order that is none: a fault of theirs, and no verdict.
            Err(refuted) => {
                report.verdict = Verdict::Unknown;
                report.not_judged("not-linearizable", format!("the order found was refuted: {refuted}"));
            }
        }
    }
}
