//! Sentences about operations: what was done, by whom, when, to what end.

use crate::history::{Function, History, Id, NONE, Outcome};
use crate::linearizable::clusters::Cluster;
use crate::linearizable::{NOT_FOUND, Op, Step};

/// A time or a duration, in the unit that people read best: nanoseconds stay whole up to a microsecond.
pub(crate) fn time(ns: i64) -> String {
    let magnitude = ns.unsigned_abs();
    if magnitude < 10_000 {
        return format!("{ns} ns");
    }
    let digits = |whole: u64, rest: u64, width: usize| {
        let text = format!("{whole}.{rest:0width$}");
        let sign = if ns < 0 { "-" } else { "" };
        format!("{sign}{}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    if magnitude < 10_000_000_000 {
        return format!("{} ms", digits(magnitude / 1_000_000, magnitude % 1_000_000, 6));
    }
    format!("{} s", digits(magnitude / 1_000_000_000, magnitude % 1_000_000_000, 9))
}

/// A list of values as a get returned them.
pub(crate) fn values(history: &History, values: &[Id]) -> String {
    match values {
        [] => "nothing".to_owned(),
        [one] => value(history, *one),
        several => {
            let names: Vec<String> = several.iter().map(|&id| value(history, id)).collect();
            format!("{{{}}}", names.join(", "))
        }
    }
}

/// A value, or the state in which there is none.
pub(crate) fn value(history: &History, id: Id) -> String {
    const LONGEST: usize = 60;
    if id == NOT_FOUND || id == NONE {
        return "nothing".to_owned();
    }
    let text = history.value(id).to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// "the put of v1 by process 3 (100 ns to 900 ns)".
pub(crate) fn operation(history: &History, number: u32) -> String {
    let entry = history.entry(number);
    let process = history.process_of(number as usize);
    let span = match entry.return_ns() {
        Some(_) => format!("{} to {}", time(entry.invoke), time(entry.ret)),
        None => format!("from {}, outcome unknown", time(entry.invoke)),
    };
    let failed = if entry.outcome == Outcome::Fail { ", failed" } else { "" };
    let what = match entry.f {
        Function::Get if entry.outcome == Outcome::Ok => {
            let of_node = match history.node_of(number) {
                NONE => String::new(),
                node => format!(" from the copy of node {}", history.value(node)),
            };
            format!("the get of {}{of_node}", values(history, history.values_of(number)))
        }
        Function::Cas => {
            format!(
                "the cas from {} to {}",
                value(history, history.source_of(number)),
                value(history, entry.value)
            )
        }
        Function::Delete if entry.value == NONE => "the delete".to_owned(),
        Function::Put | Function::Delete | Function::Append | Function::Add if entry.value != NONE => {
            format!("the {} of {}", entry.f, value(history, entry.value))
        }
        other => format!("the {other}"),
    };
    format!("{what} by process {process} ({span}{failed})")
}

/// Why two clusters cannot be ordered.
pub(crate) fn conflict(history: &History, ops: &[Op], a: &Cluster, b: &Cluster, first: u32) -> String {
    let name = |cluster: &Cluster| match cluster.put {
        NONE => "the initial state".to_owned(),
        put => match ops[put as usize].step {
            Step::Write(id) | Step::Cas(_, id) if id != NOT_FOUND => {
                format!("value {}", value(history, id))
            }
            Step::Write(_) | Step::Cas(..) | Step::Read(_) => operation(history, ops[put as usize].number),
        },
    };
    let at = |position: u32| operation(history, ops[position as usize].number);
    let before = |x: &Cluster, y: &Cluster| match x.f_op {
        NONE => format!("{} comes before everything", name(x)),
        f_op => {
            format!(
                "{} was over before {} began, so {} comes before {}",
                at(f_op),
                at(y.s_op),
                name(x),
                name(y)
            )
        }
    };
    format!(
        "no order explains this: {}; yet {}. The first impossible answer is that of {}",
        before(a, b),
        before(b, a),
        operation(history, first)
    )
}

/// That no order explains an operation, when the reason has no shorter name.
pub(crate) fn unorderable(history: &History, witness: &[u32], first: u32) -> String {
    const NAMED: usize = 6;
    let mut others: Vec<u32> = witness.iter().copied().filter(|&number| number != first).collect();
    // The latest calls are the nearest to it.
    others.sort_unstable_by_key(|&number| std::cmp::Reverse(number));
    let named: Vec<String> = others.iter().take(NAMED).map(|&number| operation(history, number)).collect();
    let beside = match (named.as_slice(), others.len().saturating_sub(NAMED)) {
        ([], _) => "what was over before it".to_owned(),
        (named, 0) => named.join(", "),
        (named, more) => format!("{} and {more} earlier ones", named.join(", ")),
    };
    format!("no order of the operations explains {} beside {beside}", operation(history, first))
}
