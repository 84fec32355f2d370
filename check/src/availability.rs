//! Availability: how many operations succeeded while a fault was on, how long nothing did, and which
//! operations were owed an answer and got none.
//!
//! What a store owes is not the history's to know: it depends on the promise, on which node was asked
//! and on what that node could reach. [`unavailable`] is told by its caller.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{Entry, Function, History, Outcome};
use crate::report::{Kind, Violation};
use crate::say;

/// A span of the history with a name: a fault, or the calm between faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// What happened in it.
    pub name: String,
    /// Its first nanosecond.
    pub start_ns: u64,
    /// The first nanosecond after it.
    pub end_ns: u64,
}

/// What became of the operations of one kind that were called in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// They happened.
    pub ok: u64,
    /// They certainly did not happen.
    pub fail: u64,
    /// They may have happened.
    pub info: u64,
    /// `ok` over all of them.
    pub success_ratio: f64,
    /// The longest time in the window in which no success came back, its ends included, in nanoseconds.
    pub longest_gap_ns: u64,
}

/// Availability in one window, by kind of operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowReport {
    /// The window.
    #[serde(flatten)]
    pub window: Window,
    /// Only kinds that were called in the window.
    pub operations: BTreeMap<Function, Tally>,
}

/// Tallies every window. Reads of single copies and final reads are no client's work and do not count.
#[must_use]
pub fn by_window(history: &History, windows: &[Window]) -> Vec<WindowReport> {
    let entries = history.entries();
    let counts = |entry: &&Entry| !entry.is_final() && entry.node == crate::history::NONE;
    let mut successes: BTreeMap<Function, Vec<u64>> = BTreeMap::new();
    for entry in entries.iter().filter(counts).filter(|entry| entry.outcome == Outcome::Ok) {
        successes.entry(entry.f).or_default().extend(entry.return_ns());
    }
    successes.values_mut().for_each(|returns| returns.sort_unstable());
    windows
        .iter()
        .map(|window| {
            let start = entries.partition_point(|entry| entry.invoke_ns() < window.start_ns);
            let end = entries.partition_point(|entry| entry.invoke_ns() < window.end_ns);
            let mut operations: BTreeMap<Function, Tally> = BTreeMap::new();
            for entry in entries.get(start..end).unwrap_or_default().iter().filter(counts) {
                let tally = operations.entry(entry.f).or_default();
                match entry.outcome {
                    Outcome::Ok => tally.ok += 1,
                    Outcome::Fail => tally.fail += 1,
                    Outcome::Info => tally.info += 1,
                }
            }
            for (f, tally) in &mut operations {
                tally.success_ratio = tally.ok as f64 / (tally.ok + tally.fail + tally.info) as f64;
                tally.longest_gap_ns = longest_gap(successes.get(f).map_or(&[], Vec::as_slice), window);
            }
            WindowReport { window: window.clone(), operations }
        })
        .collect()
}

fn longest_gap(returns: &[u64], window: &Window) -> u64 {
    let inside = returns.iter().copied().filter(|at| (window.start_ns..window.end_ns).contains(at));
    let mut previous = window.start_ns;
    let mut longest = 0;
    for at in inside.chain([window.end_ns]) {
        longest = longest.max(at.saturating_sub(previous));
        previous = at;
    }
    longest
}

/// Operations that were owed success and did not have it. `owed` is asked about every operation that is
/// not `ok`, by number, and gives the reason for which it should have been.
pub fn unavailable(
    history: &History,
    mut owed: impl FnMut(usize, &Entry) -> Option<String>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, entry) in history.entries().iter().enumerate() {
        if entry.outcome == Outcome::Ok {
            continue;
        }
        if let Some(reason) = owed(number, entry) {
            let name = u32::try_from(number).map_or_else(|_| String::new(), |op| say::operation(history, op));
            violations.push(Violation {
                kind: Kind::Unavailable,
                guarantee: None,
                key: history.key_of(number).clone(),
                operations: vec![number],
                says: format!("{name} did not succeed, although {reason}"),
                lasting: None,
            });
        }
    }
    violations
}
