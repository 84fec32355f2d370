//! Phantoms: values that a get returned although nobody wrote them to that key by then.
//!
//! A value must come from a put or cas of the same key that did not certainly fail and was called
//! before the get returned, or be the initial one. Torn and damaged values and values of other keys
//! show up here too. So do contexts that name a value nobody had written: some read made that up.

use crate::deadline::Deadline;
use crate::history::{Function, History, Id, NONE, Outcome};
use crate::report::{Findings, Kind, Violation};
use crate::say;

/// Finds phantoms, each once per get and value; in contexts too, if `contexts`. Returns the gets, sorted.
pub(crate) fn check(
    history: &History,
    initial: Option<Id>,
    contexts: bool,
    deadline: &Deadline,
    findings: &mut Findings,
) -> Vec<u32> {
    let mut gets = Vec::new();
    let mut scratch = vec![NONE; history.value_count()];
    for key in 0..history.keys() {
        let of_key = history.of_key(key);
        // By value: the first operation that may have written it to this key.
        let mut writes = Vec::new();
        for &number in of_key {
            let entry = history.entry(number);
            if entry.may_have_written() && entry.value != NONE {
                let slot = &mut scratch[entry.value as usize];
                if *slot == NONE {
                    *slot = number;
                    writes.push(entry.value);
                }
            }
        }
        for &number in of_key {
            if deadline.step() {
                break;
            }
            let entry = history.entry(number);
            if entry.is_ok(Function::Get) {
                for &value in history.values_of(number) {
                    let writer = scratch[value as usize];
                    let fine = Some(value) == initial
                        || writer != NONE && could_have_written(history, of_key, writer, number);
                    if !fine {
                        gets.push(number);
                        findings.add(Kind::Phantom, || {
                            let says = returned(history, key, number, value, writer);
                            violation(history, key, number, writer, says)
                        });
                    }
                }
            } else if contexts && entry.outcome != Outcome::Fail {
                for &value in history.context_of(number) {
                    let writer = scratch[value as usize];
                    let fine = Some(value) == initial
                        || writer != NONE && history.entry(writer).invoke <= entry.invoke;
                    if !fine {
                        findings.add(Kind::Phantom, || {
                            let says = format!(
                                "the context of {} names {}, which nobody had written to {} by then",
                                say::operation(history, number),
                                say::value(history, value),
                                history.key(key)
                            );
                            violation(history, key, number, writer, says)
                        });
                    }
                }
            }
        }
        for value in writes {
            scratch[value as usize] = NONE;
        }
    }
    gets.sort_unstable();
    gets.dedup();
    gets
}

/// Whether the first writer of a value, or by equal stamps of one process a later one, was called before
/// the get was over.
fn could_have_written(history: &History, of_key: &[u32], first: u32, get: u32) -> bool {
    if history.entry(first).f == Function::Delete {
        return false;
    }
    !history.precedes(get, first)
        || history.entry(first).invoke == history.entry(get).ret
            && of_key.iter().any(|&other| {
                let entry = history.entry(other);
                entry.may_have_written()
                    && entry.value == history.entry(first).value
                    && !history.precedes(get, other)
            })
}

fn violation(history: &History, key: usize, number: u32, writer: u32, says: String) -> Violation {
    let mut operations = vec![number as usize];
    if writer != NONE {
        operations.push(writer as usize);
    }
    operations.sort_unstable();
    Violation {
        kind: Kind::Phantom,
        guarantee: None,
        key: history.key(key).clone(),
        operations,
        says,
        lasting: None,
    }
}

fn returned(history: &History, key: usize, number: u32, value: Id, writer: u32) -> String {
    let get = say::operation(history, number);
    let name = say::value(history, value);
    if writer != NONE {
        return match history.entry(writer).f {
            Function::Delete => format!("{get} returned {name}, which is the id of a delete and no value"),
            _ => format!("{get} returned {name} before {} was called", say::operation(history, writer)),
        };
    }
    // Rare, so a walk over everything is fine.
    let other = history
        .entries()
        .iter()
        .position(|entry| entry.value == value && matches!(entry.f, Function::Put | Function::Cas));
    match other.and_then(|other| u32::try_from(other).ok()) {
        Some(other) if history.key_of(other as usize) == history.key(key) => {
            format!("{get} returned {name}, but {} certainly did not happen", say::operation(history, other))
        }
        Some(other) => format!(
            "{get} on {} returned {name}, which was written to another key, {}, by {}",
            history.key(key),
            history.key_of(other as usize),
            say::operation(history, other)
        ),
        None => format!("{get} on {} returned {name}, which nobody wrote", history.key(key)),
    }
}
