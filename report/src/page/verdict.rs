//! What the checkers found, with proof.

use maud::{Markup, html};

use super::tone;
use crate::data::{RunData, Verdict, Violation};

/// Violations shown in full: enough to see what happened, few enough to read.
const VIOLATIONS_MAX: usize = 60;

/// Operations named for each.
const OPERATIONS_MAX: usize = 24;

/// Characters of a story.
const SAYS_MAX: usize = 1_000;

/// The verdicts of a run; nothing if none was given.
pub(super) fn section(run: &RunData) -> Markup {
    html! {
        @if !run.verdicts.is_empty() {
            h2 { "What the checkers found" }
            @for (name, verdict) in &run.verdicts { (one(name, verdict)) }
        }
    }
}

fn one(name: &str, verdict: &Verdict) -> Markup {
    html! {
        p {
            @if !name.is_empty() { b { (name) } ": " }
            span class=(tone(&verdict.verdict)) { (verdict.verdict) }
            @if let Some(model) = &verdict.model { " under the model " code { (model) } }
            @if let Some(algorithm) = verdict.algorithm.as_ref().filter(|a| !a.is_empty()) { " by " (algorithm) }
            @if verdict.operations > 0 { "; " (verdict.operations) " operations" }
            @if verdict.keys > 0 { " on " (verdict.keys) @if verdict.keys == 1 { " key" } @else { " keys" } }
            "."
        }
        @if let Some(error) = &verdict.error { p.bad { (error) } }
        @for warning in &verdict.warnings { p.unsure { (warning) } }
        @if let Some(staleness) = &verdict.staleness {
            p {
                @if let Some(fraction) = staleness.stale_reads { "Stale reads: " (format!("{:.4} %", fraction * 100.0)) ". " }
                @if let Some(delta) = staleness.delta_ms_max { "At most " (format!("{delta:.3}")) " ms from linearizable. " }
                @if let Some(k) = staleness.k_at_least { "At least the latest " (k) " value(s) must be allowed to a read." }
            }
        }
        @if !verdict.violation_counts.is_empty() {
            // A store that promises little may be valid and still show all of this.
            p {
                @if verdict.properties.is_empty() { "Found: " } @else { "Seen, promised or not: " }
                @for (at, (kind, count)) in verdict.violation_counts.iter().enumerate() {
                    @if at > 0 { ", " }
                    span.bad { (count) " " (kind) }
                }
                "."
            }
        }
        @if !verdict.properties.is_empty() {
            table {
                thead { tr { th { "property" } th { "promise" } th.n { "broken" } } }
                tbody {
                    @for property in &verdict.properties {
                        tr {
                            td { (property.property) }
                            td { (property.promise) }
                            td.n { (property.broken) }
                        }
                    }
                }
            }
        }
        @if let Some(witness) = &verdict.witness {
            p { "The smallest set of operations found that cannot be ordered: " (operations(witness)) "." }
        }
        @if !verdict.violations.is_empty() {
            ol.violations { @for violation in verdict.violations.iter().take(VIOLATIONS_MAX) { (story(violation)) } }
        }
        @if verdict.violations.len() > VIOLATIONS_MAX {
            p.soft { "and " (verdict.violations.len() - VIOLATIONS_MAX) " more in " code { "verdict.json" } "." }
        }
        @for not_judged in &verdict.not_judged {
            p.soft { "Not judged: " (not_judged.what) " (" (not_judged.why) ")." }
        }
    }
}

fn story(violation: &Violation) -> Markup {
    let key = violation.key.as_str().map_or_else(|| violation.key.to_string(), str::to_owned);
    let says = match violation.says.char_indices().nth(SAYS_MAX) {
        Some((end, _)) => format!("{}...", &violation.says[..end]),
        None => violation.says.clone(),
    };
    html! {
        li {
            b { (violation.kind) }
            @if !violation.key.is_null() { " on key " code { (key) } }
            ": " (says)
            @if !violation.operations.is_empty() { " " span.soft { "(operations " (operations(&violation.operations)) ")" } }
        }
    }
}

fn operations(numbers: &[u64]) -> String {
    let shown: Vec<String> = numbers.iter().take(OPERATIONS_MAX).map(u64::to_string).collect();
    let more = numbers.len().saturating_sub(OPERATIONS_MAX);
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}
