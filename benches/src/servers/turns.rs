//! Subjects in turn, and the median turn of each.

use std::time::Duration;

use quorate_loadgen::CallKind;

use super::subject::{Subject, Turn};

/// One kind of operation on one subject, with all its turns so far.
pub struct Run<'a> {
    subject: &'a Subject,
    kind: CallKind,
    /// What is measured.
    pub label: String,
    turns: Vec<Turn>,
}

/// The medians of a run.
#[derive(Clone, Debug)]
pub struct Medians {
    /// What was measured.
    pub label: String,
    /// Each figure's own median.
    pub turn: Turn,
}

impl<'a> Run<'a> {
    /// `operation` is how rows call it.
    #[must_use]
    pub fn new(subject: &'a Subject, kind: CallKind, operation: &str) -> Self {
        Self { subject, kind, label: label(&subject.name, operation), turns: Vec::new() }
    }
}

/// What a row is called.
#[must_use]
pub fn label(subject: &str, operation: &str) -> String {
    format!("{subject}, {operation}")
}

/// Gives each run a turn of `length`, and all of that `rounds` times; medians in the order of `runs`.
///
/// # Panics
/// If an operation is not carried out.
pub async fn in_turn(mut runs: Vec<Run<'_>>, rounds: usize, length: Duration) -> Vec<Medians> {
    for round in 1..=rounds {
        for run in &mut runs {
            run.turns.push(run.subject.turn(run.kind, length).await);
        }
        eprintln!("round {round} of {rounds} done");
    }
    runs.iter().map(medians).collect()
}

fn medians(run: &Run<'_>) -> Medians {
    let median = |figure: fn(&Turn) -> f64| {
        let mut figures: Vec<f64> = run.turns.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let turn = Turn {
        per_s: median(|turn| turn.per_s),
        server_us: median(|turn| turn.server_us),
        client_us: median(|turn| turn.client_us),
        failed: median(|turn| turn.failed),
    };
    Medians { label: run.label.clone(), turn }
}

/// Prints what was measured, one line a run.
pub fn print(all: &[Medians]) {
    let head = ["operations/s", "servers, us/op", "client, us/op", "overtaken, %"];
    println!("{:<44} {:>12} {:>14} {:>14} {:>12}", "median turn", head[0], head[1], head[2], head[3]);
    for Medians { label, turn } in all {
        let Turn { per_s, server_us, client_us, failed } = turn;
        println!("{label:<44} {per_s:>12.0} {server_us:>14.1} {client_us:>14.1} {failed:>12.2}");
    }
}
