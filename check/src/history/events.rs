//! From events to operations: sources that log a call and its end apart (Jepsen's EDN and log lines).
//!
//! The order of the file is real time, as it is for Jepsen's own checkers; stamps, where there are some,
//! only say how much time passed, and never contradict that order. Processes that are no whole number
//! (`:nemesis`) are no clients. `:fail` means that it did not happen; `:info`, and no end at all, that
//! it may have happened then or later. A process that calls while it is open is an error.

use std::collections::HashMap;

use super::builder::HistoryBuilder;
use super::compact::History;
use super::edn::Edn;
use super::error::LineError;
use super::format::Format;
use super::operation::{Argument, Function, Operation, Outcome};
use super::value::Value;
use crate::Model;

/// What an event says of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// One event of a client.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) line: u64,
    pub(super) process: i64,
    pub(super) phase: Phase,
    pub(super) f: String,
    pub(super) key: Option<Edn>,
    pub(super) value: Edn,
    pub(super) time: Option<i64>,
}

/// An operation with the events that it came from.
struct Call {
    line: u64,
    process: i64,
    f: String,
    key: Option<Edn>,
    argument: Edn,
    answer: Option<Edn>,
    phase: Phase,
    begin: usize,
    end: usize,
}

/// Takes the events of clients one by one.
#[derive(Default)]
pub(super) struct Pairing {
    calls: Vec<Call>,
    open: HashMap<i64, usize>,
    times: Vec<Option<i64>>,
    skipped: u64,
}

impl Pairing {
    /// Counts what is no client's event.
    pub(super) fn skip(&mut self) {
        self.skipped += 1;
    }

    pub(super) fn push(&mut self, event: Event) -> Result<(), LineError> {
        let position = self.times.len();
        self.times.push(event.time);
        if event.phase == Phase::Invoke {
            if let Some(&open) = self.open.get(&event.process) {
                return Err(LineError::StillOpen { process: event.process.cast_unsigned(), open });
            }
            self.open.insert(event.process, self.calls.len());
            self.calls.push(Call {
                line: event.line,
                process: event.process,
                f: event.f,
                key: event.key,
                argument: event.value,
                answer: None,
                phase: Phase::Invoke,
                begin: position,
                end: position,
            });
            return Ok(());
        }
        let Some(&open) = self.open.get(&event.process) else {
            // Jepsen logs such an `:info` for a worker that died before it called.
            if event.phase == Phase::Info {
                return Ok(());
            }
            return Err(LineError::NothingOpen { process: event.process });
        };
        let call = &mut self.calls[open];
        if call.phase != Phase::Invoke {
            // An `:info` ended it: whatever is said of it later changes nothing.
            return Err(LineError::NothingOpen { process: event.process });
        }
        if call.f != event.f {
            let (called, ended) = (call.f.clone(), event.f);
            return Err(LineError::OtherFunction { process: event.process, called, ended });
        }
        (call.phase, call.end) = (event.phase, position);
        if event.phase == Phase::Info {
            return Ok(());
        }
        self.open.remove(&event.process);
        call.answer = Some(event.value);
        Ok(())
    }

    /// The history, or what is wrong with which line.
    pub(super) fn finish(self, format: Format) -> Result<History, (u64, LineError)> {
        let stamps = stamps(&self.times);
        let dialect = Dialect::of(&self.calls, format);
        let mut builder = HistoryBuilder::default();
        for _ in 0..self.skipped {
            builder.skip();
        }
        let mut events = Vec::with_capacity(self.calls.len());
        for call in &self.calls {
            let mut operation = dialect.operation(call).map_err(|reason| (call.line, reason))?;
            operation.invoke_ns = stamps[call.begin];
            let end = stamps[call.end];
            match operation.outcome {
                Outcome::Ok => operation.return_ns = Some(end),
                Outcome::Fail => operation.return_ns = (call.phase != Phase::Info).then_some(end),
                Outcome::Info => operation.gave_up_ns = (call.phase == Phase::Info).then_some(end),
            }
            builder.push(&operation).map_err(|reason| (call.line, reason))?;
            events.push(u32::try_from(call.end).map_err(|_| (call.line, LineError::TooLarge))?);
        }
        builder.set_events(events);
        let conventions = builder.conventions();
        conventions.model = dialect.model;
        conventions.format = format;
        Ok(builder.finish())
    }
}

/// Strictly increasing: the recorded times where all events have one, pushed forward where they stand
/// still or run backwards; else the positions.
fn stamps(times: &[Option<i64>]) -> Vec<u64> {
    let mut last = None;
    let recorded: Option<Vec<u64>> = times
        .iter()
        .map(|time| {
            let time = time.filter(|&time| (0..i64::MAX / 2).contains(&time))?.unsigned_abs();
            let stamp = last.map_or(time, |last: u64| time.max(last + 1));
            last = Some(stamp);
            Some(stamp)
        })
        .collect();
    recorded.unwrap_or_else(|| (0..times.len() as u64).collect())
}

/// How the functions and values of a file are to be read.
struct Dialect {
    format: Format,
    model: Option<Model>,
    sets: bool,
}

impl Dialect {
    fn of(calls: &[Call], format: Format) -> Dialect {
        let any = |names: &[&str]| calls.iter().any(|call| names.contains(&call.f.as_str()));
        let sets = any(&["add"]);
        let model = if calls.is_empty() {
            None
        } else if any(&["txn"]) {
            Some(Model::MultiRegister)
        } else if any(&["acquire", "release", "lock", "unlock"]) {
            Some(Model::Mutex)
        } else if sets {
            Some(Model::Set)
        } else if any(&["append"]) || format == Format::KvLog {
            Some(Model::Kv)
        } else {
            Some(Model::CasRegister)
        };
        Dialect { format, model, sets }
    }

    fn operation(&self, call: &Call) -> Result<Operation, LineError> {
        let f = match call.f.as_str() {
            "read" | "get" => Function::Get,
            "write" | "put" => Function::Put,
            "cas" => Function::Cas,
            "append" => Function::Append,
            "add" => Function::Add,
            "delete" => Function::Delete,
            "acquire" | "lock" => Function::Acquire,
            "release" | "unlock" => Function::Release,
            "txn" => Function::Txn,
            other => return Err(LineError::UnknownFunction { f: other.to_owned() }),
        };
        let key = call.key.as_ref().map_or(Value::Null, value);
        let mut operation = Operation::invoked(call.process.cast_unsigned(), f, key, 0);
        operation.outcome = match call.phase {
            Phase::Ok => Outcome::Ok,
            Phase::Fail => Outcome::Fail,
            Phase::Invoke | Phase::Info => Outcome::Info,
        };
        // An answer's value replaces the argument: it may say more.
        let said = match &call.answer {
            Some(answer) if operation.outcome == Outcome::Ok && *answer != Edn::Nil => answer,
            _ => &call.argument,
        };
        match f {
            Function::Get => self.read(call, &mut operation),
            Function::Cas => match said {
                Edn::List(pair) if pair.len() == 2 => {
                    operation.value = Some(Argument::Pair(value(&pair[0]), value(&pair[1])));
                }
                _ => return Err(LineError::Field { field: "value", why: "of a cas is [from to]" }),
            },
            Function::Txn => operation.value = Some(Argument::Steps(steps(said, call.phase)?)),
            Function::Acquire | Function::Release => {}
            Function::Put | Function::Append | Function::Add | Function::Delete => {
                operation.value = Some(Argument::One(value(said)));
            }
        }
        Ok(operation)
    }

    fn read(&self, call: &Call, operation: &mut Operation) {
        let answer = call.answer.as_ref().filter(|_| operation.outcome == Outcome::Ok);
        // A read without an answer says nothing, and neither does a nil, except where nil is a state.
        operation.values = match answer {
            None => None,
            Some(Edn::Nil) => (self.format == Format::EtcdLog).then(Vec::new),
            Some(Edn::List(items) | Edn::Set(items)) if self.sets => Some(items.iter().map(value).collect()),
            Some(one) => Some(vec![value(one)]),
        };
        if operation.values.is_none() {
            operation.outcome = Outcome::Fail;
        }
    }
}

fn steps(said: &Edn, phase: Phase) -> Result<Vec<(Function, Value, Value)>, LineError> {
    const WHY: &str = "of a txn is [[:read key value] [:write key value] ...]";
    let wrong = || LineError::Field { field: "value", why: WHY };
    let Edn::List(list) = said else { return Err(wrong()) };
    let mut steps = Vec::with_capacity(list.len());
    for step in list {
        let Edn::List(parts) = step else { return Err(wrong()) };
        let [Edn::Keyword(f) | Edn::Word(f), key, seen] = parts.as_slice() else { return Err(wrong()) };
        match f.as_str() {
            // What was read is known from an answer only, and nil says nothing.
            "read" | "r" | "get" if phase == Phase::Ok && *seen != Edn::Nil => {
                steps.push((Function::Get, value(key), value(seen)));
            }
            "read" | "r" | "get" => {}
            "write" | "w" | "put" => steps.push((Function::Put, value(key), value(seen))),
            _ => return Err(wrong()),
        }
    }
    Ok(steps)
}

/// A form as a value: what is no scalar is named by its text.
fn value(form: &Edn) -> Value {
    match form {
        Edn::Nil => Value::Null,
        Edn::Integer(number) => Value::Integer(*number),
        Edn::Text(text) => Value::from(text.as_str()),
        other => Value::from(other.to_string()),
    }
}
