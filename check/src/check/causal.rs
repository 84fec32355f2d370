//! The siblings model: every checker of [`crate::siblings`] over every key.

use super::{Options, initial_value};
use crate::deadline::{Deadline, LATE};
use crate::history::{Function, History, NONE};
use crate::phantom;
use crate::report::{Findings, Model, Report, Staleness, Verdict};
use crate::siblings::causality::{Causality, Unclear};
use crate::siblings::finals::Finals;
use crate::siblings::tables::Tables;
use crate::siblings::walk::{self, Ties};
use crate::siblings::{self, KeyHistory};

/// What is judged key by key.
const JUDGED: [&str; 6] = ["stale", "session", "lost-update", "false-sibling", "lost", "resurrected"];

pub(super) fn check_siblings(
    history: &History,
    options: &Options,
    deadline: &Deadline,
    mut report: Report,
) -> Report {
    let mut findings = Findings::new(options.violations_max);
    report.algorithm = "causal past".to_owned();
    phantom::check(history, initial_value(history, options), true, deadline, &mut findings);
    let has_finals = history.entries().iter().any(|entry| entry.is_final);
    for number in 0..u32::try_from(history.entries().len()).unwrap_or(NONE) {
        if history.entry(number).is_ok(Function::Get) {
            *report.sibling_counts.entry(history.values_of(number).len()).or_default() += 1;
        }
    }
    let (mut stale, mut gets, mut copies_compared) = (0, 0, false);
    let mut tables = Tables::new(history, deadline);
    for key in 0..history.keys() {
        if deadline.is_over() {
            late(history, key, &mut report);
            break;
        }
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
        let causality = match Causality::build(history, key, std::mem::take(&mut tables)) {
            Ok(causality) => causality,
            Err((unclear, returned)) => {
                tables = *returned;
                if unclear == Unclear::Late {
                    late(history, key, &mut report);
                    break;
                }
                let why = match unclear {
                    Unclear::Repeated(value) => format!("writes {} twice", history.value(value)),
                    Unclear::Late => LATE.to_owned(),
                    Unclear::TooLarge => "has more history than fits into memory".to_owned(),
                };
                report.verdict = report.verdict.merge(Verdict::Unknown);
                for what in JUDGED {
                    report.not_judged(what, format!("key {}: the history {why}", history.key(key)));
                }
                continue;
            }
        };
        let mut key_history = KeyHistory { history, key, causality };
        let ties = Ties::of(&mut key_history);
        let mut marks = key_history.causality.lend_marks();
        let accounted =
            finals.values.as_deref().map(|values| siblings::lost::accounted(&key_history, values));
        let (freshness, thorough) =
            walk::judge(&key_history, &ties, &mut marks, accounted.as_ref(), &mut findings);
        (stale, gets) = (stale + freshness.stale, gets + freshness.gets);
        if !thorough && !deadline.was_missed() {
            report.verdict = report.verdict.merge(Verdict::Unknown);
            let why = format!("key {}: its sessions owe each other too much to look at", history.key(key));
            report.not_judged("session", why);
        }
        match &accounted {
            _ if deadline.was_missed() => {}
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
        key_history.causality.return_marks(marks);
        tables = key_history.causality.release(history);
        if deadline.was_missed() {
            late(history, key, &mut report);
            break;
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
    report.staleness = (!deadline.was_missed()).then(|| Staleness {
        stale_reads: if gets == 0 { 0.0 } else { stale as f64 / gets as f64 },
        ..Staleness::default()
    });
    report
}

/// The time was up before or while a key was judged. What was found stands; the rest was not looked at.
fn late(history: &History, key: usize, report: &mut Report) {
    report.verdict = report.verdict.merge(Verdict::Unknown);
    for what in JUDGED {
        report.not_judged(what, format!("{LATE} after {key} of {} keys", history.keys()));
    }
}
