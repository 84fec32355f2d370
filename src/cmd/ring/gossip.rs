//! `quorate ring simulate --gossip`: how fast news of members spreads, and what that costs.

use std::time::Instant;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use quorate_cluster::membership::gossip::simulation::{Outcome, Settings, Traffic, simulate};
use serde_json::json;

use crate::outcome::{Exit, Failure};
use crate::stdout;

/// Simulates `nodes` nodes and prints what came of it.
///
/// # Errors
/// If it cannot be printed.
pub fn run(nodes: u32, loss: f64, seed: u32, json: bool) -> Result<Exit, Failure> {
    let mut settings = Settings::new(nodes as usize, u64::from(seed));
    settings.loss = loss;
    let began = Instant::now();
    let outcome = simulate(&settings);
    let took_s = began.elapsed().as_secs_f64();
    if json {
        let mut object = json!({ "gossip": outcome, "seed": seed, "took_s": took_s });
        object["parameters"] = json!(settings.parameters());
        stdout::line(object)?;
    } else {
        stdout::line(table(&outcome))?;
        stdout::line(settings.parameters())?;
    }
    Ok(Exit::Held)
}

fn table(outcome: &Outcome) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    let seconds = |s: Option<f64>| s.map_or_else(|| "not in time".to_owned(), |s| format!("{s:.2} s"));
    let traffic = |t: &Traffic| format!("{:.1} messages/s, {:.0} bytes/s", t.messages_per_s, t.bytes_per_s);
    table.set_header([format!("{} nodes", outcome.nodes), String::new()]);
    for (what, value) in [
        ("all know all to be alive after", seconds(outcome.all_know_all_s)),
        ("a node sent meanwhile", traffic(&outcome.joining)),
        ("a node sends in calm", traffic(&outcome.calm)),
        ("healthy nodes declared down", outcome.false_downs.to_string()),
        ("a crash is known to the first after", seconds(outcome.crash_known_first_s)),
        ("a crash is known to all after", seconds(outcome.crash_known_all_s)),
        ("a restart is known to all after", seconds(outcome.restart_known_all_s)),
        ("the restarted node knows all after", seconds(outcome.restart_knows_all_s)),
        ("two halves know each other again after", seconds(outcome.healed_known_all_s)),
        ("a new view is held by all after", seconds(outcome.view_known_all_s)),
    ] {
        table.add_row([what.to_owned(), value]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
