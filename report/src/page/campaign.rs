//! The page of a campaign: which scenario held for which profile.

use maud::{Markup, html};
use serde_json::Value;

use super::{shell, tone};
use crate::data::Campaign;

/// Kept runs that are listed.
const RUNS_MAX: usize = 1_000;

/// The page of a campaign. Links lead to the pages of kept runs in the same directory.
#[must_use]
pub fn campaign_page(campaign: &Campaign) -> String {
    let name = campaign.dir.display().to_string();
    let body = html! {
        h1 { (name) }
        @if let Some(summary) = &campaign.summary { (rows(summary)) }
        @if !campaign.runs.is_empty() {
            h2 { "Kept runs" }
            table { tbody {
                @for run in campaign.runs.iter().take(RUNS_MAX) {
                    tr {
                        td { code { (run.path.display()) } }
                        td { @for (_, verdict) in &run.verdicts { span class=(tone(verdict)) { (verdict) } " " } }
                    }
                }
            } }
        }
    };
    shell(&name, &body)
}

/// The first list of objects in the summary as a table, its fields as columns.
fn rows(summary: &Value) -> Markup {
    let lists =
        summary.as_object().into_iter().flat_map(|fields| fields.values()).filter_map(Value::as_array);
    let list = summary
        .as_array()
        .or_else(|| lists.filter(|l| l.iter().any(Value::is_object)).max_by_key(|l| l.len()));
    let Some(list) = list else { return html! {} };
    let mut columns: Vec<&String> = Vec::new();
    for name in list.iter().filter_map(Value::as_object).flat_map(|fields| fields.keys()) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let cell = |row: &Value, name: &str| match row.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    html! {
        div.scroll { table {
            thead { tr { @for name in &columns { th { (name) } } } }
            tbody {
                @for row in list.iter().take(RUNS_MAX) {
                    tr { @for name in &columns {
                        @let text = cell(row, name);
                        td { @if name.as_str() == "verdict" { span class=(tone(&text)) { (text) } } @else { (text) } }
                    } }
                }
            }
        } }
    }
}
