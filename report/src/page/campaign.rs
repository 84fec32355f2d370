//! The page of a campaign: which scenario held for which profile.

use maud::{Markup, html};

use super::{shell, tone};
use crate::data::Campaign;

/// Rows, failures and kept runs that are listed, of each.
const LISTED_MAX: usize = 400;

/// The page of a campaign.
#[must_use]
pub fn campaign_page(campaign: &Campaign) -> String {
    let name = campaign.dir.display().to_string();
    let body = html! {
        h1 { (name) }
        (rows(campaign))
        (failures(campaign))
        @if !campaign.runs.is_empty() {
            h2 { "Kept runs" }
            table { tbody {
                @for run in campaign.runs.iter().take(LISTED_MAX) {
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

fn rows(campaign: &Campaign) -> Markup {
    let rows = campaign.rows();
    html! {
        @if !rows.is_empty() {
            div.scroll { table {
                thead { tr {
                    th { "scenario" } th { "profile" }
                    @for name in ["seeds", "held", "violated", "unknown", "errors", "operations", "puts denied"] { th.n { (name) } }
                    th { "must show" }
                } }
                tbody {
                    @for row in rows.iter().take(LISTED_MAX) {
                        tr {
                            td { (row.scenario) } td { (row.profile) }
                            td.n { (row.seeds) } td.n { (row.held) }
                            td.n { span class=(if row.violated > 0 { "bad" } else { "" }) { (row.violated) } }
                            td.n { (row.unknown) }
                            td.n { span class=(if row.errors > 0 { "bad" } else { "" }) { (row.errors) } }
                            td.n { (row.operations) }
                            td.n { (row.puts_denied) " of " (row.puts_owed) }
                            td { (row.must_show_text()) }
                        }
                    }
                }
            } }
        }
    }
}

fn failures(campaign: &Campaign) -> Markup {
    let failures = campaign.failures();
    html! {
        @if !failures.is_empty() {
            h2 { "Failures" }
            ol.violations {
                @for failure in failures.iter().take(LISTED_MAX) {
                    li {
                        b { (failure.scenario) " " (failure.profile) " seed " (failure.seed) } ": " (clipped(&failure.says))
                        pre { code { (failure.reproduce) } }
                    }
                }
            }
        }
    }
}

/// A sentence stays one.
fn clipped(says: &str) -> String {
    const MAX: usize = 600;
    says.char_indices().nth(MAX).map_or_else(|| says.to_owned(), |(end, _)| format!("{}...", &says[..end]))
}
