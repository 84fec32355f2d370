//! What the run was, whether it can be believed, and how to do it again.

use maud::{Markup, html};
use serde_json::Value;

use super::tone;
use crate::data::RunData;

/// Faults listed; all are in the file.
const FAULTS_MAX: usize = 100;

/// Title and the answer in short.
pub(super) fn summary(run: &RunData) -> Markup {
    let trust = trust(run);
    html! {
        h1 { (run.name()) }
        @if let Some(command) = command(run) { p.soft { code { (command) } } }
        p {
            @if let Some((verdict, _)) = &trust {
                "Trust: " span class=(tone(verdict)) { (verdict) } ". "
            } @else if run.run.get("trust").is_some() {
                "Trust: " span.unsure { "nobody could look at the machine" } ". "
            }
            @for (name, verdict) in &run.verdicts {
                "Checked" @if !name.is_empty() { " (" (name) ")" } ": "
                span class=(tone(&verdict.verdict)) { (verdict.verdict) } ". "
            }
            @if run.field(&["interrupted"]).and_then(Value::as_bool) == Some(true) {
                span.unsure { "Interrupted: the results are partial. " }
            }
        }
        @if let Some((_, reasons)) = &trust { @for reason in reasons { p.unsure { (reason) } } }
    }
}

/// How far the run can be trusted, and why not further.
fn trust(run: &RunData) -> Option<(String, Vec<String>)> {
    let value = run.field(&["trust"])?;
    let verdict = value.get("verdict")?.as_str()?.to_owned();
    let reasons = value.get("reasons").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Some((verdict, reasons.iter().map(plain).collect()))
}

/// What was done to the world.
pub(super) fn faults(run: &RunData) -> Markup {
    let seconds = |ns: u64| format!("{:.3}", ns as f64 / 1e9);
    html! {
        @if !run.faults.is_empty() {
            h2 { "Faults" }
            div.scroll { table {
                thead { tr { th { "fault" } th { "targets" } th.n { "from, s" } th.n { "until, s" } } }
                tbody {
                    @for fault in run.faults.iter().take(FAULTS_MAX) {
                        tr {
                            td { (fault.kind) }
                            td { (fault.targets.join(", ")) }
                            td.n { (seconds(fault.from_ns)) }
                            td.n { (fault.until_ns.map_or_else(|| "-".to_owned(), seconds)) }
                        }
                    }
                }
            } }
            @if run.faults.len() > FAULTS_MAX {
                p.soft { "and " (run.faults.len() - FAULTS_MAX) " more in " code { "faults.jsonl" } "." }
            }
        }
    }
}

/// Everything needed to do it again.
pub(super) fn reproduction(run: &RunData) -> Markup {
    let facts = ["revision", "seed", "machine", "versions"];
    let whole = if run.run.is_null() {
        String::new()
    } else {
        serde_json::to_string_pretty(&run.run).unwrap_or_default()
    };
    html! {
        h2 { "How to do it again" }
        @if let Some(command) = command(run) { pre { code { (command) } } }
        table.facts { tbody {
            @for fact in facts {
                @if let Some(value) = run.field(&[fact]) { tr { th { (fact) } td { (plain(value)) } } }
            }
        } }
        @if let Some(Value::Object(config)) = run.field(&["config"]) {
            h2 { "Configuration" }
            table.facts { tbody {
                @for (name, value) in config { tr { th { (name) } td { (clipped(&plain(value))) } } }
            } }
        }
        @if !whole.is_empty() {
            details { summary { "All of run.json" } pre { (clipped(&whole)) } }
        }
    }
}

/// A page stays readable whatever is in `run.json`.
fn clipped(text: &str) -> String {
    const MAX: usize = 60_000;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}\n...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The command line, as one would type it.
pub(super) fn command(run: &RunData) -> Option<String> {
    let value = run.field(&["command_line"])?;
    match value {
        Value::Array(words) => {
            Some(words.iter().map(|word| quoted(&plain(word))).collect::<Vec<_>>().join(" "))
        }
        other => Some(plain(other)),
    }
}

fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%+@".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A value for people: words without quotes, objects as `name value` pairs.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let pairs =
                fields.iter().filter(|(_, v)| !v.is_null()).map(|(name, v)| format!("{name} {}", plain(v)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let run = RunData {
            run: json!({ "command_line": ["quorate", "bench", "--out", "it's here"] }),
            ..RunData::default()
        };
        assert_eq!(command(&run).unwrap(), r"quorate bench --out 'it'\''s here'");
    }

    #[test]
    fn a_run_that_cannot_be_trusted_says_why_at_the_top() {
        let run = json!({ "trust": { "verdict": "disturbed", "reasons": ["the machine was busy"] }, "interrupted": true });
        let page = summary(&RunData { run, ..RunData::default() }).into_string();
        assert!(
            page.contains("disturbed") && page.contains("the machine was busy") && page.contains("partial")
        );
        let page = summary(&RunData { run: json!({ "trust": null }), ..RunData::default() }).into_string();
        assert!(page.contains("nobody could look"), "{page}");
    }
}
