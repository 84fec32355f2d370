//! Strings that grow by unique tokens: linearizability without a search.
//!
//! Where every put and append writes a text of its own, what a get returned says which write came right
//! after which: each append is a compare-and-set from the token before it, so [`super::chains`] decide.
//! The first token is a put, or an append to the empty string; every other one is an append. A get is a
//! get of its last token. An append that nobody saw is a write of its own.
//!
//! Only if tokens are unique and every string falls apart into tokens in exactly one way.

use std::collections::{BTreeSet, HashMap};

use super::clusters::{Clusters, Scratch};
use super::shrink::{self, Rules};
use super::{Finding, NOT_FOUND, Op, Step, chains, prefix, stamps};
use crate::deadline::Deadline;
use crate::history::{Function, History, Id, NONE, Outcome, Value};

/// Texts of more different lengths are not tried as tokens.
const LENGTHS_MAX: usize = 16;

/// What an operation does to the string.
#[derive(Debug, Clone, Copy)]
enum Doing {
    Put(Id),
    Append(Id),
    /// Saw these tokens: a range of the list of all.
    Get(usize, usize),
}

/// Judges a key; none if its tokens are not unique or its strings do not fall apart into them.
pub(crate) fn judge(
    history: &History,
    key: usize,
    initial: Option<&str>,
    scratch: &mut Scratch,
) -> Option<Finding> {
    if !initial.unwrap_or_default().is_empty() {
        return None;
    }
    let mut seen = Vec::new();
    let ops = read(history, key, initial.is_some(), &mut seen, &scratch.deadline)?;
    let whole: Vec<u32> = match conflict(&ops, &seen, scratch)? {
        Ok(order) => return Some(Finding::Linearizable(order)),
        Err(witness) => witness,
    };
    debug_assert!(!whole.is_empty(), "a conflict is between operations");
    let drop_open = |doing: &Doing| matches!(doing, Doing::Get(..));
    let deadline = scratch.deadline.clone();
    let found = prefix::bisect(history, &ops, &deadline, drop_open, |cut| {
        conflict(cut, &seen, scratch).and_then(Result::err)
    });
    scratch.deadline = deadline.aside();
    let found = shrink::finding(history, &ops, found, &mut ByTokens { seen: &seen, scratch });
    scratch.deadline = deadline;
    Some(found)
}

/// What may be left out of a contradiction.
struct ByTokens<'a> {
    seen: &'a [Id],
    scratch: &'a mut Scratch,
}

impl Rules<Doing> for ByTokens<'_> {
    fn is_read(&self, step: &Doing) -> bool {
        matches!(step, Doing::Get(..))
    }

    /// The token of whatever a string was made by is part of it.
    fn may_see(&self, reader: &Op<Doing>, writer: &Op<Doing>) -> bool {
        match (reader.step, writer.step) {
            (Doing::Get(start, end), Doing::Put(token) | Doing::Append(token)) => {
                self.seen[start..end].contains(&token)
            }
            (Doing::Put(_) | Doing::Append(_), _) | (_, Doing::Get(..)) => false,
        }
    }

    fn is_impossible(&mut self, ops: &[Op<Doing>]) -> bool {
        matches!(conflict(ops, self.seen, self.scratch), Some(Err(_)))
    }
}

/// The operations with what they saw, token by token.
fn read(
    history: &History,
    key: usize,
    empty_is_initial: bool,
    seen: &mut Vec<Id>,
    deadline: &Deadline,
) -> Option<Vec<Op<Doing>>> {
    let mut tokens: HashMap<&str, Id> = HashMap::new();
    let mut lengths = BTreeSet::new();
    for &number in history.of_key(key) {
        let entry = history.entry(number);
        if entry.outcome == Outcome::Fail || entry.f == Function::Get {
            continue;
        }
        let Value::Text(text) = history.value(entry.value) else { return None };
        let unique = matches!(entry.f, Function::Put | Function::Append)
            && !text.is_empty()
            && tokens.insert(text, entry.value).is_none();
        lengths.insert(text.len());
        if !unique || lengths.len() > LENGTHS_MAX {
            return None;
        }
    }
    let mut ops = Vec::new();
    for &number in history.of_key(key) {
        let entry = history.entry(number);
        let doing = match (entry.f, entry.outcome) {
            (_, Outcome::Fail) | (Function::Get, Outcome::Info) => continue,
            (Function::Get, _) if history.is_raw(number) => continue,
            (Function::Get, _) => {
                let start = seen.len();
                match history.values_of(number) {
                    [] if !empty_is_initial => {}
                    [one] => {
                        let Value::Text(text) = history.value(*one) else { return None };
                        if text.is_empty() && !empty_is_initial {
                            return None;
                        }
                        split(text, &tokens, &lengths, seen, deadline)?;
                    }
                    _ => return None,
                }
                Doing::Get(start, seen.len())
            }
            (Function::Append, _) => Doing::Append(entry.value),
            _ => Doing::Put(entry.value),
        };
        ops.push(Op { number, process: entry.process, call: entry.invoke, ret: entry.ret, step: doing });
    }
    Some(ops)
}

/// Appends a text's tokens; none if it does not fall apart into tokens in one way.
fn split(
    text: &str,
    tokens: &HashMap<&str, Id>,
    lengths: &BTreeSet<usize>,
    seen: &mut Vec<Id>,
    deadline: &Deadline,
) -> Option<()> {
    let mut rest = text;
    while !rest.is_empty() {
        let mut fits = lengths.iter().filter_map(|&length| Some((length, *tokens.get(rest.get(..length)?)?)));
        let (length, token) = fits.next()?;
        if fits.next().is_some() || deadline.step() {
            return None;
        }
        seen.push(token);
        rest = &rest[length..];
    }
    Some(())
}

/// An order of the operations, or some that have none, by number; none if ties within a process hide
/// the order.
fn conflict(ops: &[Op<Doing>], seen: &[Id], scratch: &mut Scratch) -> Option<Result<Vec<u32>, Vec<u32>>> {
    let puts: BTreeSet<Id> = ops
        .iter()
        .filter_map(|op| match op.step {
            Doing::Put(token) => Some(token),
            Doing::Append(_) | Doing::Get(..) => None,
        })
        .collect();
    // By token: the one before it, and the get that showed it.
    let mut parents: HashMap<Id, (Id, u32)> = HashMap::new();
    let called: BTreeSet<Id> = ops
        .iter()
        .filter_map(|op| match op.step {
            Doing::Put(token) | Doing::Append(token) => Some(token),
            Doing::Get(..) => None,
        })
        .collect();
    for op in ops {
        let Doing::Get(start, end) = op.step else { continue };
        if scratch.deadline.step() {
            return None;
        }
        let mut parent = NOT_FOUND;
        for &token in &seen[start..end] {
            // Not called yet in this prefix, or a put that is not first: no order has that.
            if !called.contains(&token) || (puts.contains(&token) && parent != NOT_FOUND) {
                return Some(Err(vec![op.number]));
            }
            let &mut (known, shown) = parents.entry(token).or_insert((parent, op.number));
            if known != parent {
                return Some(Err(vec![shown, op.number]));
            }
            parent = token;
        }
    }
    let mut steps: Vec<Op> = ops
        .iter()
        .map(|op| {
            let step = match op.step {
                Doing::Put(token) => Step::Write(token),
                Doing::Append(token) => match parents.get(&token) {
                    Some(&(parent, _)) => Step::Cas(parent, token),
                    None => Step::Write(token),
                },
                Doing::Get(start, end) => Step::Read(seen[start..end].last().copied().unwrap_or(NOT_FOUND)),
            };
            Op { number: op.number, process: op.process, call: op.call, ret: op.ret, step }
        })
        .collect();
    if !stamps::separate_ties(&mut steps, scratch) {
        return None;
    }
    // A get over before its token's write was called; the chains only compare ends.
    let clusters = Clusters::build(&steps, NOT_FOUND, scratch);
    let early = (0_u32..).zip(&steps).find(|(position, op)| {
        let cluster = clusters.of_op[*position as usize];
        matches!(op.step, Step::Read(_))
            && clusters
                .list
                .get(cluster as usize)
                .is_some_and(|cluster| cluster.put != NONE && op.ret < cluster.put_call)
    });
    if let Some((_, op)) = early {
        return Some(Err(vec![op.number]));
    }
    let numbers = |positions: Vec<u32>| positions.into_iter().map(|at| steps[at as usize].number).collect();
    Some(chains::order(&steps, &clusters).map(numbers).map_err(numbers))
}
