//! One call from a history to a report: picks the model and the methods, runs every checker that
//! applies, and says what could not be judged.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::history::{Function, History, Id, Value};
use crate::linearizable::clusters::{Clusters, Scratch};
use crate::linearizable::{self, Budget, Finding, NOT_FOUND};
use crate::report::{Findings, FirstImpossible, Kind, Model, Report, Staleness, Verdict, Violation};
use crate::siblings::causality::{Causality, Unclear};
use crate::siblings::finals::Finals;
use crate::siblings::{self, KeyHistory};
use crate::{phantom, say, staleness};

/// How to check.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the store should behave like; guessed from the history if none.
    pub model: Option<Model>,
    /// What every key holds before the first write; not found if none.
    pub initial: Option<Value>,
    /// Gives up with `unknown` after so long. Without it the verdict depends on the history alone.
    pub timeout: Option<Duration>,
    /// Violations to list of each kind; all are counted.
    pub violations_max: usize,
    /// Configurations that the general search may remember for one key, about 64 bytes each.
    pub search_configurations_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            model: None,
            initial: None,
            timeout: None,
            violations_max: 100,
            search_configurations_max: 4_000_000,
        }
    }
}

/// Reads and checks a file or run directory; what cannot be read gives the verdict `error`.
#[must_use]
pub fn check_path(path: &Path, options: &Options) -> Report {
    let mut report = match History::read(path) {
        Ok(history) => check(&history, options),
        Err(error) => Report::error(error),
    };
    report.file = Some(path.display().to_string());
    report
}

/// The model that the history looks like: `siblings` if any get returned several values or any write
/// carried a context, `cas-register` if there is a cas, else `register`.
#[must_use]
pub fn guess_model(history: &History) -> Model {
    let entries = history.entries();
    let siblings = (0_u32..)
        .zip(entries)
        .any(|(number, _)| history.values_of(number).len() > 1 || !history.context_of(number).is_empty());
    if siblings {
        Model::Siblings
    } else if entries.iter().any(|entry| entry.f() == Function::Cas) {
        Model::CasRegister
    } else {
        Model::Register
    }
}

/// Checks a history.
#[must_use]
pub fn check(history: &History, options: &Options) -> Report {
    let model = options.model.unwrap_or_else(|| guess_model(history));
    let mut report = Report {
        model: Some(model),
        operations: history.entries().len(),
        keys: history.keys(),
        ..Report::empty()
    };
    if history.entries().is_empty() {
        report.algorithm = "none".to_owned();
        report.warnings.push("the history has no client operations".to_owned());
        return report;
    }
    if let Some(other) = unsupported(history) {
        report.algorithm = "none".to_owned();
        report.verdict = Verdict::Unknown;
        report.not_judged(model.name(), format!("the history has operations of kind {other}"));
        return report;
    }
    match model {
        Model::Register | Model::CasRegister => check_register(history, options, model, report),
        Model::Siblings => check_siblings(history, options, report),
    }
}

fn unsupported(history: &History) -> Option<Function> {
    history.entries().iter().map(|entry| entry.f()).find(|f| match f {
        Function::Get | Function::Put | Function::Delete | Function::Cas => false,
        Function::Append | Function::Add | Function::Acquire | Function::Release | Function::Txn => true,
    })
}

/// The number of the initial state: "not found", a value of the history, or one that it never mentions.
fn initial_state(history: &History, options: &Options) -> Id {
    match &options.initial {
        None => NOT_FOUND,
        Some(value) => history
            .find_value(value)
            .unwrap_or_else(|| Id::try_from(history.value_count()).unwrap_or(NOT_FOUND)),
    }
}

fn initial_value(history: &History, options: &Options) -> Option<Id> {
    options.initial.as_ref().and_then(|value| history.find_value(value))
}

fn check_register(history: &History, options: &Options, model: Model, mut report: Report) -> Report {
    let several = (0_u32..)
        .zip(history.entries())
        .find(|(number, entry)| entry.is_read() && history.values_of(*number).len() > 1);
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
    let mut findings = Findings::new(options.violations_max);
    let phantoms = phantom::check(history, initial_value(history, options), false, &mut findings);
    let initial = initial_state(history, options);
    let mut scratch = Scratch::new(history);
    let budget = Budget {
        configurations: options.search_configurations_max,
        deadline: options.timeout.map(|timeout| Instant::now() + timeout),
    };
    let mut algorithms = BTreeSet::new();
    let returned = |number: u32| (history.entry(number).ret, number);
    let mut first: Option<(u32, Vec<u32>)> =
        phantoms.iter().copied().min_by_key(|&get| returned(get)).map(|get| (get, vec![get]));
    let (mut delta_ns, mut versions_behind, mut stale_gets) = (Some(0), Some(0), 0);
    let mut gets = 0_u64;
    for key in 0..history.keys() {
        let is_phantom = |number: u32| phantoms.binary_search(&number).is_ok();
        let mut ops = linearizable::operations(history, key, is_phantom);
        gets += ops.iter().filter(|op| matches!(op.step, linearizable::Step::Read(_))).count() as u64;
        let judged = linearizable::judge(history, &mut ops, initial, &mut scratch, &budget);
        algorithms.insert(judged.algorithm);
        match judged.finding {
            Finding::Linearizable => {}
            Finding::Unknown(why) => {
                report.verdict = report.verdict.merge(Verdict::Unknown);
                report.not_judged("not-linearizable", format!("key {}: {why}", history.key(key)));
            }
            Finding::Not { witness, first_impossible, says } => {
                findings.add(Kind::NotLinearizable, || Violation {
                    kind: Kind::NotLinearizable,
                    guarantee: None,
                    key: history.key(key).clone(),
                    operations: witness.iter().map(|&number| number as usize).collect(),
                    says,
                    lasting: None,
                });
                if first.as_ref().is_none_or(|(other, _)| returned(first_impossible) < returned(*other)) {
                    first = Some((first_impossible, witness));
                }
                // Once more, with the stamps as they were recorded: judging draws ties apart.
                let original = linearizable::operations(history, key, is_phantom);
                let clusters = Clusters::build(&original, initial, &mut scratch);
                if clusters.repeated || clusters.has_cas {
                    (delta_ns, versions_behind) = (None, None);
                    report.not_judged(
                        "staleness",
                        format!("key {}: values repeat, or a cas wrote some", history.key(key)),
                    );
                } else {
                    let distance = staleness::measure(history, key, &original, &clusters, &mut findings);
                    delta_ns = delta_ns.map(|delta: i64| delta.max(distance.delta_ns));
                    versions_behind = versions_behind.map(|most: u64| most.max(distance.versions_behind));
                    stale_gets += distance.stale_gets;
                }
            }
        }
    }
    report.algorithm = algorithms.into_iter().collect::<Vec<_>>().join("+");
    findings.into_report(&mut report, model);
    if let Some((operation, witness)) = first {
        let operation = operation as usize;
        report.first_impossible = Some(FirstImpossible { event: operation, operation });
        report.witness = Some(witness.into_iter().map(|number| number as usize).collect());
    }
    if report.verdict == Verdict::Invalid || report.verdict == Verdict::Valid {
        report.staleness = Some(Staleness {
            delta_ms_max: delta_ns.map(|delta| delta as f64 / 1e6),
            k_at_least: versions_behind.map(|behind| behind + 1),
            stale_reads: if gets == 0 { 0.0 } else { stale_gets as f64 / gets as f64 },
        });
    }
    report
}

fn check_siblings(history: &History, options: &Options, mut report: Report) -> Report {
    let mut findings = Findings::new(options.violations_max);
    report.algorithm = "causal past".to_owned();
    phantom::check(history, initial_value(history, options), true, &mut findings);
    let has_finals = history.entries().iter().any(|entry| entry.is_final);
    let (mut stale, mut gets, mut copies_compared) = (0, 0, false);
    for key in 0..history.keys() {
        let finals = Finals::of_key(history, key);
        let compared = siblings::not_converged::check(history, key, &finals, &mut findings);
        copies_compared |= !finals.copies.is_empty();
        if !compared && (finals.copies_failed > 0) {
            report.verdict = report.verdict.merge(Verdict::Unknown);
            report.not_judged(
                "not-converged",
                format!("key {}: a final read of one node's copy got no answer", history.key(key)),
            );
        }
        let causality = match Causality::build(history, key) {
            Ok(causality) => causality,
            Err(unclear) => {
                let why = match unclear {
                    Unclear::Repeated(value) => format!("writes {} twice", history.value(value)),
                    Unclear::TooLarge => "has more history than fits into memory".to_owned(),
                };
                report.verdict = report.verdict.merge(Verdict::Unknown);
                for what in ["stale", "session", "lost-update", "false-sibling", "lost", "resurrected"] {
                    report.not_judged(what, format!("key {}: the history {why}", history.key(key)));
                }
                continue;
            }
        };
        let key_history = KeyHistory { history, key, causality };
        let accounted =
            finals.values.as_deref().map(|values| siblings::lost::accounted(&key_history, values));
        let (stale_here, gets_here) = siblings::stale::check(&key_history, &mut findings);
        (stale, gets) = (stale + stale_here, gets + gets_here);
        siblings::reads_go_back::check(&key_history, &mut findings);
        siblings::lost_update::check(&key_history, accounted.as_ref(), &mut findings);
        siblings::false_sibling::check(&key_history, &mut findings);
        match &accounted {
            Some(accounted) => {
                siblings::lost::check(&key_history, &finals, accounted, &mut findings);
                siblings::resurrected::check(&key_history, &finals, &mut findings);
            }
            None if has_finals && !key_history.causality.writes.is_empty() => {
                report.verdict = report.verdict.merge(Verdict::Unknown);
                for what in ["lost", "resurrected"] {
                    let why = format!("key {}: no final read of it succeeded", history.key(key));
                    report.not_judged(what, why);
                }
            }
            None => {}
        }
    }
    if !has_finals {
        for what in ["lost", "resurrected", "not-converged"] {
            report.not_judged(what, "the history has no final reads");
        }
    } else if !copies_compared {
        report.not_judged("not-converged", "the history has no final reads of single nodes' copies");
    }
    findings.into_report(&mut report, Model::Siblings);
    report.staleness = Some(Staleness {
        delta_ms_max: None,
        k_at_least: None,
        stale_reads: if gets == 0 { 0.0 } else { stale as f64 / gets as f64 },
    });
    report
}
