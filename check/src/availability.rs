//! Availability: how many operations succeeded while a fault was on, how long nothing did, how soon after
//! it something did again, and which operations were owed an answer and got none.
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
    /// Time to recover: how long after the end of the window the first operation of each kind succeeded
    /// that was called only then, in nanoseconds. A kind that did not succeed any more is missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recovered_after_ns: BTreeMap<Function, u64>,
}

/// Tallies every window. Reads of single copies and final reads are no client's work and do not count.
#[must_use]
pub fn by_window(history: &History, windows: &[Window]) -> Vec<WindowReport> {
    let entries = history.entries();
    let counts = |number: &usize| !entries[*number].is_final() && history.node(*number).is_none();
    let all = (0..entries.len()).filter(counts).map(|number| &entries[number]);
    let mut successes: BTreeMap<Function, Successes> = BTreeMap::new();
    for entry in all.filter(|entry| entry.outcome == Outcome::Ok) {
        if let Some(ret) = entry.return_ns() {
            successes.entry(entry.f).or_default().push(entry.invoke_ns(), ret);
        }
    }
    successes.values_mut().for_each(Successes::finish);
    windows
        .iter()
        .map(|window| {
            let start = entries.partition_point(|entry| entry.invoke_ns() < window.start_ns);
            let end = entries.partition_point(|entry| entry.invoke_ns() < window.end_ns);
            let mut operations: BTreeMap<Function, Tally> = BTreeMap::new();
            for entry in (start..end.max(start)).filter(counts).map(|number| &entries[number]) {
                let tally = operations.entry(entry.f).or_default();
                match entry.outcome {
                    Outcome::Ok => tally.ok += 1,
                    Outcome::Fail => tally.fail += 1,
                    Outcome::Info => tally.info += 1,
                }
            }
            for (f, tally) in &mut operations {
                tally.success_ratio = tally.ok as f64 / (tally.ok + tally.fail + tally.info) as f64;
                let returns = successes.get(f).map_or(&[][..], |successes| &successes.returns);
                tally.longest_gap_ns = longest_gap(returns, window);
            }
            let recovered = |(&f, successes): (&Function, &Successes)| {
                Some((f, successes.first_called_from(window.end_ns)?.saturating_sub(window.end_ns)))
            };
            let recovered_after_ns = successes.iter().filter_map(recovered).collect();
            WindowReport { window: window.clone(), operations, recovered_after_ns }
        })
        .collect()
}

/// The operations of one kind that succeeded.
#[derive(Default)]
struct Successes {
    /// In order of calls: the call, and the first return among those called from it on.
    by_call: Vec<(u64, u64)>,
    /// In order.
    returns: Vec<u64>,
}

impl Successes {
    /// Takes one in; in order of calls.
    fn push(&mut self, call: u64, ret: u64) {
        self.by_call.push((call, ret));
        self.returns.push(ret);
    }

    fn finish(&mut self) {
        self.returns.sort_unstable();
        let mut first = u64::MAX;
        for (_, ret) in self.by_call.iter_mut().rev() {
            first = first.min(*ret);
            *ret = first;
        }
    }

    /// When the first success came back that was called no earlier than that.
    fn first_called_from(&self, at: u64) -> Option<u64> {
        let start = self.by_call.partition_point(|&(call, _)| call < at);
        self.by_call.get(start).map(|&(_, ret)| ret)
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{Window, by_window, unavailable};
    use crate::history::Function;
    use crate::report::{Kind, Report, Verdict};
    use crate::testing::history;

    fn window(name: &str, start_ns: u64, end_ns: u64) -> Window {
        Window { name: name.to_owned(), start_ns, end_ns }
    }

    #[test]
    fn each_window_counts_what_was_called_in_it() {
        let history = history(
            "1 put a 0-10
             2 put b 100-?
             3 put! c 110-120
             1 put d 150-180
             1 get d 190-195
             1 get d 200-210
             9 get d 150-155 node=n1
             9 get d 500-510 final",
        );
        let reports =
            by_window(&history, &[window("calm", 0, 100), window("cut", 100, 200), window("end", 300, 900)]);
        let puts = reports[0].operations[&Function::Put];
        assert_eq!((puts.ok, puts.fail, puts.info, puts.longest_gap_ns), (1, 0, 0, 90));
        let puts = reports[1].operations[&Function::Put];
        assert_eq!((puts.ok, puts.fail, puts.info, puts.longest_gap_ns), (1, 1, 1, 80));
        assert!((puts.success_ratio - 1.0 / 3.0).abs() < 1e-9);
        let gets = reports[1].operations[&Function::Get];
        assert_eq!((gets.ok, gets.longest_gap_ns), (1, 95), "raw copies do not count");
        assert!(reports[2].operations.is_empty(), "final reads do not count");
        let text = serde_json::to_string(&reports[1]).unwrap();
        assert!(
            text.starts_with(r#"{"name":"cut","start_ns":100,"end_ns":200,"operations":{"get":{"#),
            "{text}"
        );
    }

    #[test]
    fn recovery_is_counted_from_the_end_of_the_fault() {
        let history = history(
            "1 put a 90-130
             2 put! b 110-120
             3 put c 140-190
             4 put d 150-170
             5 get d 160-400
             9 get d 101-102 node=n1",
        );
        let found = by_window(&history, &[window("cut", 50, 100), window("late", 155, 158)]);
        let after = |at: usize| found[at].recovered_after_ns.clone();
        assert_eq!(after(0), [(Function::Put, 70), (Function::Get, 300)].into(), "called after the end");
        assert_eq!(after(1), [(Function::Get, 242)].into());
        let text = serde_json::to_string(&found[0]).unwrap();
        assert!(text.ends_with(r#""recovered_after_ns":{"get":300,"put":70}}"#), "{text}");
    }

    #[test]
    fn only_what_was_owed_an_answer_is_unavailable() {
        let history = history("1 put a 0-10\n 2 put b 100-?\n 3 put! c 110-120\n 4 get! - 130-140");
        let owed = |number: usize, entry: &crate::history::Entry| {
            assert!(number > 0, "what succeeded is not asked about");
            (entry.f() == Function::Put && entry.invoke_ns() >= 110).then(|| "node n1 was up".to_owned())
        };
        let violations = unavailable(&history, owed);
        assert_eq!((violations.len(), violations[0].operations.as_slice()), (1, [2].as_slice()));
        expect_test::expect![
            "the put of c by process 3 (110 ns to 120 ns, failed) did not succeed, although node n1 was up"
        ]
        .assert_eq(&violations[0].says);
        let mut report = Report::error("none");
        (report.verdict, report.model) = (Verdict::Valid, Some(crate::Model::Siblings));
        report.include(violations);
        assert_eq!((report.verdict, report.count(Kind::Unavailable)), (Verdict::Invalid, 1));
    }
}
