//! Histories in short, for tests.
//!
//! One operation a line: `PROCESS f VALUE CALL-RETURN`, then any of `key=K`, `ctx=A,B`, `node=N`,
//! `session=S` and `final`. A return of `?` is an `info`; `f!` failed; a get lists its values with commas, `-` for nothing; a cas is
//! `from>to`. Values that look like numbers are integers. Lines may stand in any order of calls.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::history::{Argument, Function, History, Operation, Outcome, Value, sort_by_invocation};

/// Reads the short notation.
pub(crate) fn history(text: &str) -> History {
    let mut operations: Vec<Operation> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(operation).collect();
    sort_by_invocation(&mut operations);
    History::from_operations(&operations).unwrap()
}

fn value(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from)
}

fn values(text: &str) -> Vec<Value> {
    if text == "-" { Vec::new() } else { text.split(',').map(value).collect() }
}

fn operation(line: &str) -> Operation {
    let mut words = line.split_whitespace();
    let process = words.next().unwrap().parse().unwrap();
    let name = words.next().unwrap();
    let failed = name.ends_with('!');
    let f = match name.trim_end_matches('!') {
        "get" => Function::Get,
        "put" => Function::Put,
        "del" => Function::Delete,
        "cas" => Function::Cas,
        "add" => Function::Add,
        other => panic!("{other}"),
    };
    let argument = words.next().unwrap();
    let (call, ret) = words.next().unwrap().split_once('-').unwrap();
    let mut operation = Operation::invoked(process, f, "k", call.parse().unwrap());
    operation.return_ns = ret.parse().ok();
    operation.outcome = match (failed, operation.return_ns) {
        (true, _) => Outcome::Fail,
        (false, Some(_)) => Outcome::Ok,
        (false, None) => Outcome::Info,
    };
    match f {
        Function::Get if operation.outcome == Outcome::Ok => operation.values = Some(values(argument)),
        Function::Get => {}
        Function::Cas => {
            let (from, to) = argument.split_once('>').unwrap();
            operation.value = Some(Argument::Pair(value(from), value(to)));
        }
        _ => operation.value = Some(Argument::One(value(argument))),
    }
    for word in words {
        match word.split_once('=') {
            Some(("key", name)) => operation.key = value(name),
            Some(("ctx", names)) => operation.context = values(names),
            Some(("session", name)) => operation.session = Some(value(name)),
            Some(("node", name)) => operation.node = Some(value(name)),
            None if word == "final" => operation.r#final = true,
            _ => panic!("{word}"),
        }
    }
    operation
}

/// How many random histories a test is to compare: few, or many with `QUORATE_FUZZ` set, as `just
/// fuzz-check` does.
pub(crate) fn fuzz(few: u64, many: u64) -> u64 {
    if std::env::var_os("QUORATE_FUZZ").is_some() { many } else { few }
}

/// Random numbers for tests (splitmix64): a seed names a history.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// An operation that waits for what it does: when it is applied, by whom, and when called and answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) moment: u64,
    pub(crate) client: u64,
    pub(crate) call: u64,
    pub(crate) ret: u64,
}

/// Closed-loop clients, in the order in which their operations are applied.
pub(crate) fn slots(random: &mut Random, operations: u64, clients: u64) -> Vec<Slot> {
    let mut slots = Vec::new();
    for client in 0..clients {
        let mut call = random.below(1_000);
        for _ in 0..operations / clients {
            let ret = call + 100 + random.below(2_000);
            slots.push(Slot { moment: call + random.below(ret - call + 1), client, call, ret });
            call = ret + 1 + random.below(50);
        }
    }
    slots.sort_unstable();
    slots
}
