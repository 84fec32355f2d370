//! The page of a campaign: which scenario held for which profile.

use maud::{Markup, html};

use super::{shell, tone};
use crate::PAGE_FILE;
use crate::data::{Campaign, CampaignRun};

/// Rows, failures and kept runs that are listed, of each.
const LISTED_MAX: usize = 400;

/// The page of a campaign.
#[must_use]
pub fn campaign_page(campaign: &Campaign) -> String {
    let name = title(campaign);
    let body = html! {
        h1 { (name) }
        p.soft { code { (campaign.dir.display()) } }
        (rows(campaign))
        (failures(campaign))
        @if !campaign.runs.is_empty() {
            h2 { "Kept runs" }
            table { tbody {
                @for run in campaign.runs.iter().take(LISTED_MAX) {
                    tr {
                        td { a href=(link(run)) { code { (run.path.display()) } } }
                        td { @for (_, verdict) in &run.verdicts { span class=(tone(verdict)) { (verdict) } " " } }
                    }
                }
            } }
        }
    };
    shell(&name, &body)
}

/// The page of a kept run, wherever the campaign's directory is moved to.
fn link(run: &CampaignRun) -> String {
    let names = run.path.iter().map(|name| name.to_string_lossy());
    // Scenarios may be called anything: a name is no part of the address but a name.
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let escaped = names.map(|name| {
        let escape = |c: char| match c {
            c if safe(c) => c.to_string(),
            c => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
        };
        name.chars().map(escape).collect::<String>()
    });
    escaped.chain([PAGE_FILE.to_owned()]).collect::<Vec<_>>().join("/")
}

/// What was shaken, and how often.
fn title(campaign: &Campaign) -> String {
    let rows = campaign.rows();
    let mut scenarios: Vec<&str> = rows.iter().map(|row| row.scenario.as_str()).collect();
    scenarios.dedup();
    let runs: u64 = rows.iter().map(|row| row.seeds).sum();
    let runs = if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    match scenarios.as_slice() {
        [] => format!("Campaign of {} kept runs", campaign.runs.len()),
        [one] => format!("{one}, {runs}"),
        many => format!("{} scenarios, {runs}", many.len()),
    }
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
                            td.name { (row.scenario) } td.name { (row.profile) }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_campaign_is_called_by_what_was_shaken_and_leads_to_its_runs() {
        let row = |scenario: &str| json!({ "scenario": scenario, "profile": "lww", "seeds": 10 });
        let run = |path: &str| CampaignRun { path: path.into(), verdicts: Vec::new() };
        let campaign = |rows: &[&str]| Campaign {
            dir: "out".into(),
            summary: Some(json!({ "rows": rows.iter().map(|name| row(name)).collect::<Vec<_>>() })),
            runs: vec![run("calm/lww/1"), run("my \"own\"/lww/2")],
        };
        let page = campaign_page(&campaign(&["calm", "calm"]));
        assert!(page.contains("<h1>calm, 20 runs</h1>"), "{page}");
        assert!(page.contains("<a href=\"calm/lww/1/report.html\">"), "{page}");
        assert!(page.contains("<a href=\"my%20%22own%22/lww/2/report.html\">"), "{page}");
        assert!(campaign_page(&campaign(&["a", "b"])).contains("<h1>2 scenarios, 20 runs</h1>"));
        assert!(campaign_page(&campaign(&[])).contains("<h1>Campaign of 2 kept runs</h1>"));
    }
}
