//! Convergence: in the end all copies of a key hold the same values.
//!
//! Judged on the final reads of single nodes' own copies. The recorder asks only nodes that should hold
//! a copy: one that owns nothing and says so would look like a difference.

use super::finals::Finals;
use crate::history::{History, Id};
use crate::report::{Findings, Kind, Violation};
use crate::say;

/// Compares the copies of a key; false if there were none, or not all of them answered.
pub(crate) fn check(history: &History, key: usize, finals: &Finals, findings: &mut Findings) -> bool {
    let set = |op: u32| {
        let mut values: Vec<Id> = history.values_of(op).to_vec();
        values.sort_unstable();
        values.dedup();
        values
    };
    let Some((&first, others)) = finals.copies.split_first() else { return false };
    let expected = set(first);
    if let Some(&other) = others.iter().find(|&&op| set(op) != expected) {
        findings.add(Kind::NotConverged, || Violation {
            kind: Kind::NotConverged,
            guarantee: None,
            key: history.key(key).clone(),
            operations: vec![first as usize, other as usize],
            says: format!(
                "after healing and rest the copies of {} differ: {} against {}",
                history.key(key),
                say::operation(history, first),
                say::operation(history, other)
            ),
            lasting: None,
        });
    }
    finals.copies_failed == 0
}
