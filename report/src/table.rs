//! Tables for terminals.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::data::{AllRow, Campaign, OperationRow, QUANTILES, TrialRow, Verdict, WindowRow};

/// The latency table: a row an operation, response first, service beside it. Below an operation of
/// which some did not end well stands a row with all of them.
#[must_use]
pub fn operations_table(rows: &[OperationRow], all: &[AllRow], colours: bool) -> String {
    let mut table = plain_table(colours);
    let mut head = vec!["".to_owned()];
    head.extend(["count", "ok", "fail", "info", "ok/s"].map(str::to_owned));
    head.extend(QUANTILES.map(|(name, _)| name.to_owned()));
    head.extend(["svc p50".to_owned(), "svc p99".to_owned()]);
    table.set_header(head.iter().map(|name| bold(name, colours)));
    for row in rows {
        let ms = |value: Option<f64>| Cell::new(value.map_or_else(|| "-".into(), milliseconds));
        let alarming = |count: u64| {
            let cell = Cell::new(count);
            if colours && count > 0 { cell.fg(Color::Yellow) } else { cell }
        };
        let mut cells = vec![
            bold(&row.name, colours),
            Cell::new(row.count),
            Cell::new(row.ok),
            alarming(row.fail),
            alarming(row.info),
            Cell::new(format!("{:.1}", row.rate)),
        ];
        cells.extend(row.response_ms.map(ms));
        cells.push(ms(row.service_ms[0]));
        cells.push(ms(row.service_ms[2]));
        table.add_row(cells);
        if let Some(all) = all.iter().find(|all| all.name == row.name) {
            let mut cells = vec![Cell::new("  all ended"), Cell::new(all.count)];
            cells.extend((0..4).map(|_| Cell::new("")));
            let figure = |(ms, is_bound): (f64, bool)| Cell::new(bounded(ms, is_bound));
            cells.extend(all.response_ms.map(figure));
            cells.extend([all.service_ms[0], all.service_ms[2]].map(figure));
            table.add_row(cells);
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// What the load was like before, while and after something was done to the store.
#[must_use]
pub fn windows_table(rows: &[WindowRow], colours: bool) -> String {
    let mut table = plain_table(colours);
    table.set_header([""].into_iter().chain(WindowRow::HEADS).map(|name| bold(name, colours)));
    for row in rows {
        table.add_row([bold(&row.name, colours)].into_iter().chain(row.figures().map(Cell::new)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// The trials of a search, by ascending rate.
#[must_use]
pub fn search_table(rows: &[TrialRow], colours: bool) -> String {
    let mut table = plain_table(colours);
    table.set_header(TrialRow::HEADS.map(|name| bold(name, colours)));
    for row in rows {
        let tone = match row.vote.as_str() {
            "held" => Color::Green,
            "missed" => Color::Red,
            _ => Color::Yellow,
        };
        let mut cells = row.figures().map(Cell::new);
        if colours && let Some(vote) = cells.last_mut() {
            *vote = vote.clone().fg(tone);
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().take(TrialRow::HEADS.len() - 1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// A campaign: a row a scenario and store where it has a summary, else a row a kept run.
#[must_use]
pub fn campaign_table(campaign: &Campaign, colours: bool) -> String {
    let mut table = plain_table(colours);
    let rows = campaign.rows();
    if rows.is_empty() {
        table.set_header(["run", "verdict"].map(|name| bold(name, colours)));
        for run in &campaign.runs {
            let words: Vec<&str> = run.verdicts.iter().map(|(_, verdict)| verdict.as_str()).collect();
            table.add_row(vec![Cell::new(run.path.display()), judged(&words.join(" "), colours)]);
        }
        return table.to_string();
    }
    let names =
        ["scenario", "profile", "seeds", "held", "violated", "unknown", "errors", "puts denied", "must show"];
    table.set_header(names.map(|name| bold(name, colours)));
    for row in &rows {
        let bad = |count: u64| {
            let cell = Cell::new(count);
            if colours && count > 0 { cell.fg(Color::Red) } else { cell }
        };
        table.add_row(vec![
            bold(&row.scenario, colours),
            Cell::new(&row.profile),
            Cell::new(row.seeds),
            Cell::new(row.held),
            bad(row.violated),
            Cell::new(row.unknown),
            bad(row.errors),
            Cell::new(format!("{}/{}", row.puts_denied, row.puts_owed)),
            Cell::new(row.must_show_text()),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// What the checkers found, a line each, with the first violations.
#[must_use]
pub fn verdict_lines(verdicts: &[(String, Verdict)]) -> Vec<String> {
    const SHOWN: usize = 5;
    let mut lines = Vec::new();
    for (name, verdict) in verdicts {
        let name = if name.is_empty() { "checked" } else { name.as_str() };
        let model = verdict.model.as_deref().map(|model| format!(" ({model})")).unwrap_or_default();
        lines.push(format!("{name}: {}{model}, {} operations", verdict.verdict, verdict.operations));
        lines.extend(verdict.error.iter().map(|error| format!("  {error}")));
        for (kind, count) in &verdict.violation_counts {
            lines.push(format!("  {count} {kind}"));
        }
        for violation in verdict.violations.iter().take(SHOWN) {
            lines.push(format!("  {}: {}", violation.kind, violation.says));
        }
        if verdict.violations.len() > SHOWN {
            lines.push(format!("  and {} more in verdict.json", verdict.violations.len() - SHOWN));
        }
    }
    lines
}

/// Milliseconds with three significant digits, as long as that helps.
#[must_use]
pub fn milliseconds(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// Milliseconds that may be a lower bound.
#[must_use]
pub fn bounded(ms: f64, is_bound: bool) -> String {
    let at_least = if is_bound { ">=" } else { "" };
    format!("{at_least}{}", milliseconds(ms))
}

fn plain_table(colours: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

fn bold(text: &str, colours: bool) -> Cell {
    let cell = Cell::new(text);
    if colours { cell.add_attribute(Attribute::Bold) } else { cell }
}

fn judged(word: &str, colours: bool) -> Cell {
    let cell = Cell::new(word);
    if !colours {
        return cell;
    }
    cell.fg(match word {
        "valid" => Color::Green,
        "invalid" | "error" => Color::Red,
        _ => Color::Yellow,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> OperationRow {
        OperationRow {
            name: "put".into(),
            count: 1_000,
            ok: 990,
            fail: 0,
            info: 10,
            rate: 33.333,
            response_ms: [Some(0.5), Some(1.25), Some(12.34), Some(123.4), None],
            service_ms: [Some(0.4), None, Some(1.0), None, None],
        }
    }

    #[test]
    fn a_table_without_colours_is_plain_text() {
        let table = operations_table(&[row()], &[], false);
        assert!(!table.contains('\u{1b}'), "{table}");
        let cells: Vec<&str> = table.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(
            cells,
            ["put", "1000", "990", "0", "10", "33.3", "0.500", "1.25", "12.3", "123", "-", "0.400", "1.00"]
        );
        assert!(operations_table(&[row()], &[], true).contains('\u{1b}'));
    }

    #[test]
    fn operations_without_an_answer_are_lower_bounds_in_a_row_of_their_own() {
        let figures = [(0.5, false), (1.25, false), (12.34, false), (5000.0, true), (5000.0, true)];
        let all = AllRow {
            name: "put".into(),
            count: 1_000,
            timeouts: 10,
            response_ms: figures,
            service_ms: figures,
        };
        let table = operations_table(&[row()], &[all], false);
        let cells: Vec<&str> = table.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(
            cells,
            ["all", "ended", "1000", "0.500", "1.25", "12.3", ">=5000", ">=5000", "0.500", "12.3"]
        );
    }
}
