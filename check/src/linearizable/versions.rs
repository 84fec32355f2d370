//! The store's own versions in place of values, where values repeat (or deletes all write "not found")
//! and the store said with every answer which version it was about.
//!
//! Only if it all fits: every answered write has a version of its own, every get has the version of a
//! write of its value, or one that nobody was told of, which then is the initial state's or the only
//! open write's of that value. Otherwise values stay what they are. An open write whose version nobody
//! saw is left out: it need not have happened.

use std::collections::HashMap;

use super::clusters::Scratch;
use super::{Op, Step};
use crate::history::{History, Id, NONE};

/// The operations with versions for values, and the version of the initial state; none if values are
/// unique anyway, or if versions do not fit.
pub(crate) fn rename(
    history: &History,
    ops: &[Op],
    initial: Id,
    scratch: &mut Scratch,
) -> Option<(Vec<Op>, Id)> {
    let version = |op: &Op| history.version_of(op.number);
    if ops.iter().any(|op| op.returned() && version(op) == NONE) || !repeats(ops, initial, scratch) {
        return None;
    }
    // Only asked, never walked. By version: the write, and the value that it wrote.
    let mut written: HashMap<Id, Id> = HashMap::new();
    for op in ops.iter().filter(|op| op.returned()) {
        match op.step {
            Step::Read(_) => {}
            Step::Write(value) => {
                if written.insert(version(op), value).is_some() {
                    return None;
                }
            }
            // What a cas replaced is a value, and which version had it is not said.
            Step::Cas(..) => return None,
        }
    }
    let mut initial_version = None;
    // By version of an open write: its value; and by value: its open write's version, once.
    let mut open: HashMap<Id, Id> = HashMap::new();
    let mut open_writes: HashMap<Id, u32> = HashMap::new();
    for op in ops.iter().filter(|op| !op.returned()) {
        if let Step::Write(value) = op.step {
            *open_writes.entry(value).or_default() += 1;
        }
    }
    for op in ops {
        let Step::Read(value) = op.step else { continue };
        let known = written.get(&version(op)).or_else(|| open.get(&version(op)));
        match known {
            Some(&wrote) if wrote == value => {}
            Some(_) => return None,
            None => {
                let open_writes = open_writes.get(&value).copied().unwrap_or(0);
                match (open_writes, value == initial, open.values().any(|&other| other == value)) {
                    (0, true, _) => {
                        if initial_version.is_some_and(|known| known != version(op)) {
                            return None;
                        }
                        initial_version = Some(version(op));
                    }
                    (1, false, false) => {
                        open.insert(version(op), value);
                    }
                    _ => return None,
                }
            }
        }
    }
    let version_of_open =
        |value: Id| open.iter().find(|(_, other)| **other == value).map(|(&version, _)| version);
    let renamed = ops
        .iter()
        .filter_map(|op| {
            let step = match op.step {
                Step::Read(_) => Step::Read(version(op)),
                Step::Write(_) if op.returned() => Step::Write(version(op)),
                Step::Write(value) => Step::Write(version_of_open(value)?),
                Step::Cas(..) => return None,
            };
            Some(Op { step, ..*op })
        })
        .collect();
    // Versions and values share their numbers: a value nobody read must not look like a version.
    Some((renamed, initial_version.unwrap_or(super::NOT_FOUND)))
}

/// Whether values alone do not tell writes apart.
fn repeats(ops: &[Op], initial: Id, scratch: &mut Scratch) -> bool {
    scratch.claim(initial, 0);
    let repeats = ops.iter().any(|op| match op.step {
        Step::Read(_) => false,
        Step::Write(value) | Step::Cas(_, value) => {
            let before = scratch.cluster_of(value);
            scratch.claim(value, 1);
            before != NONE || value == super::NOT_FOUND
        }
    });
    scratch.clear();
    repeats
}
