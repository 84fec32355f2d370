//! From operations one by one to a history, holding the rules of the format.

use std::collections::HashMap;

use super::compact::{Conventions, Entry, History, NEVER, NONE, Rare, Shape, Span, TxnStep};
use super::error::LineError;
use super::intern::Id;
use super::operation::{Argument, Function, Operation, Outcome};
use super::value::{Value, ValueRef};

/// An operation as a reader found it, before anything is copied.
#[derive(Debug, Clone)]
pub(crate) struct Raw<'a> {
    pub(crate) process: u64,
    pub(crate) f: Function,
    pub(crate) key: ValueRef<'a>,
    pub(crate) value: RawArgument<'a>,
    pub(crate) values: Option<&'a [ValueRef<'a>]>,
    pub(crate) context: &'a [ValueRef<'a>],
    pub(crate) invoke_ns: u64,
    pub(crate) return_ns: Option<u64>,
    pub(crate) outcome: Outcome,
    pub(crate) version: Option<ValueRef<'a>>,
    pub(crate) via: Option<ValueRef<'a>>,
    pub(crate) node: Option<ValueRef<'a>>,
    pub(crate) session: Option<ValueRef<'a>>,
    pub(crate) gave_up_ns: Option<u64>,
    pub(crate) is_final: bool,
}

/// [`Argument`], borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RawArgument<'a> {
    None,
    One(ValueRef<'a>),
    Pair(ValueRef<'a>, ValueRef<'a>),
    Steps(&'a [(Function, Value, Value)]),
}

/// Takes operations one by one and holds the rules of the format.
#[derive(Debug, Default)]
pub struct HistoryBuilder {
    history: History,
    /// Process ids below this table's length, by id; others are in the map.
    small_processes: Vec<u32>,
    process_ids: HashMap<u64, u32>,
    /// By process number: its last operation and when the process is free again.
    last: Vec<(usize, i64)>,
    previous_invoke: i64,
    first_final: Option<usize>,
    finals: HashMap<(Id, Id), usize>,
}

impl HistoryBuilder {
    /// Appends an operation.
    ///
    /// # Errors
    /// The rule of the format that it breaks; the builder is then of no further use.
    pub fn push(&mut self, operation: &Operation) -> Result<(), LineError> {
        let values: Option<Vec<ValueRef<'_>>> =
            operation.values.as_ref().map(|values| values.iter().map(Value::borrowed).collect());
        let context: Vec<ValueRef<'_>> = operation.context.iter().map(Value::borrowed).collect();
        self.push_raw(&Raw {
            process: operation.process,
            f: operation.f,
            key: operation.key.borrowed(),
            value: match &operation.value {
                None => RawArgument::None,
                Some(Argument::One(value)) => RawArgument::One(value.borrowed()),
                Some(Argument::Pair(from, to)) => RawArgument::Pair(from.borrowed(), to.borrowed()),
                Some(Argument::Steps(steps)) => RawArgument::Steps(steps),
            },
            values: values.as_deref(),
            context: &context,
            invoke_ns: operation.invoke_ns,
            return_ns: operation.return_ns,
            outcome: operation.outcome,
            version: operation.version.as_ref().map(Value::borrowed),
            via: operation.via.as_ref().map(Value::borrowed),
            node: operation.node.as_ref().map(Value::borrowed),
            session: operation.session.as_ref().map(Value::borrowed),
            gave_up_ns: operation.gave_up_ns,
            is_final: operation.r#final,
        })
    }

    pub(crate) fn push_raw(&mut self, operation: &Raw<'_>) -> Result<(), LineError> {
        let number = self.history.entries.len();
        let entry = self.compact(operation)?;
        let f = operation.f;
        if entry.invoke < self.previous_invoke {
            return Err(LineError::OutOfOrder {
                invoke_ns: operation.invoke_ns,
                previous_ns: self.previous_invoke.unsigned_abs(),
            });
        }
        self.previous_invoke = entry.invoke;
        // A failed operation without a return is over all the same: nothing more can come of it.
        let free =
            if entry.outcome == Outcome::Fail && entry.ret == NEVER { entry.invoke } else { entry.ret };
        match self.last.get_mut(entry.process as usize) {
            Some(&mut (open, busy_until)) if busy_until > entry.invoke => {
                return Err(LineError::StillOpen { process: operation.process, open });
            }
            Some(last) => *last = (number, free),
            None => self.last.push((number, free)),
        }
        if entry.is_final {
            self.first_final.get_or_insert(number);
            if let Some(node) = operation.node.filter(|_| entry.outcome == Outcome::Ok) {
                let place = (entry.key, self.history.values.id(node)?);
                if let Some(&first) = self.finals.get(&place) {
                    return Err(LineError::RepeatedFinal {
                        key: operation.key.to_value().to_string(),
                        node: node.to_value().to_string(),
                        first,
                    });
                }
                self.finals.insert(place, number);
            }
        } else if let Some(first_final) = self.first_final
            && f != Function::Get
        {
            return Err(LineError::WriteAfterFinal { f, first_final });
        }
        if u32::try_from(number + 1).is_err() || u32::try_from(self.history.pool.len()).is_err() {
            return Err(LineError::TooLarge);
        }
        self.history.entries.push(entry);
        Ok(())
    }

    /// Counts a line that is not a client operation.
    pub fn skip(&mut self) {
        self.history.skipped += 1;
    }

    /// The finished history, its operations listed by key.
    #[must_use]
    pub fn finish(self) -> History {
        let mut history = self.history;
        let mut ends = vec![0_usize; history.keys.len()];
        for entry in &history.entries {
            ends[entry.key as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            let count = *end;
            *end = sum;
            sum += count;
        }
        let mut by_key = vec![0_u32; history.entries.len()];
        for (number, entry) in (0_u32..).zip(&history.entries) {
            let place = &mut ends[entry.key as usize];
            by_key[*place] = number;
            *place += 1;
        }
        history.by_key = by_key;
        history.entries.shrink_to_fit();
        history.values.shrink();
        history.key_ends = ends;
        history
    }

    /// The history's conventions, for readers of formats that have some.
    pub(crate) fn conventions(&mut self) -> &mut Conventions {
        &mut self.history.conventions
    }

    /// Notes where in the source each operation ended.
    pub(crate) fn set_events(&mut self, events: Vec<u32>) {
        self.history.events = events;
    }

    fn compact(&mut self, operation: &Raw<'_>) -> Result<Entry, LineError> {
        let invoke = time(operation.invoke_ns, "invoke_ns")?;
        let ret = operation.return_ns.map_or(Ok(NEVER), |at| time(at, "return_ns"))?;
        let gave_up = operation.gave_up_ns.map_or(Ok(NEVER), |at| time(at, "gave_up_ns"))?;
        if ret < invoke {
            return Err(LineError::ReturnBeforeInvoke {
                invoke_ns: operation.invoke_ns,
                return_ns: operation.return_ns.unwrap_or_default(),
            });
        }
        if gave_up < invoke {
            return Err(LineError::Field { field: "gave_up_ns", why: "is before invoke_ns" });
        }
        fits(operation)?;
        let process = self.process(operation.process)?;
        let key = self.history.keys.id(operation.key)?;
        let mut rare = Rare { gave_up, ..Rare::NOTHING };
        let mut value = NONE;
        match operation.value {
            RawArgument::One(written) if operation.f != Function::Get => {
                value = self.history.values.id(written)?;
            }
            RawArgument::None | RawArgument::One(_) => {}
            RawArgument::Pair(old, new) => {
                rare.from = self.history.values.id(old)?;
                value = self.history.values.id(new)?;
            }
            RawArgument::Steps(steps) => rare.steps = self.steps(steps)?,
        }
        let shape = match (operation.f, operation.values) {
            (Function::Get, Some([one])) => {
                value = self.history.values.id(*one)?;
                Shape::One
            }
            (Function::Get, Some(several @ [_, ..])) => {
                rare.values = self.list(several)?;
                Shape::Rare
            }
            _ => Shape::Nothing,
        };
        rare.context = self.list(operation.context)?;
        rare.version = self.optional(operation.version)?;
        rare.node = self.optional(operation.node)?;
        rare.session = self.optional(operation.session)?;
        let via = self.optional(operation.via)?;
        Ok(Entry {
            invoke,
            ret,
            process,
            key,
            value,
            rare: self.keep(rare)?,
            via,
            f: operation.f,
            outcome: operation.outcome,
            is_final: operation.is_final,
            shape,
        })
    }

    fn keep(&mut self, rare: Rare) -> Result<u32, LineError> {
        if rare == Rare::NOTHING {
            return Ok(NONE);
        }
        let place = u32::try_from(self.history.rare.len()).map_err(|_| LineError::TooLarge)?;
        self.history.rare.push(rare);
        Ok(place)
    }

    fn process(&mut self, id: u64) -> Result<u32, LineError> {
        const SMALL: u64 = 1 << 20;
        let known = if id < SMALL {
            self.small_processes.get(id as usize).copied().filter(|&process| process != NONE)
        } else {
            self.process_ids.get(&id).copied()
        };
        if let Some(process) = known {
            return Ok(process);
        }
        let process = u32::try_from(self.history.processes.len()).map_err(|_| LineError::TooLarge)?;
        self.history.processes.push(id);
        if id < SMALL {
            let place = id as usize;
            if self.small_processes.len() <= place {
                self.small_processes.resize(place + 1, NONE);
            }
            self.small_processes[place] = process;
        } else {
            self.process_ids.insert(id, process);
        }
        Ok(process)
    }

    fn steps(&mut self, steps: &[(Function, Value, Value)]) -> Result<Span, LineError> {
        let start = u32::try_from(self.history.steps.len()).map_err(|_| LineError::TooLarge)?;
        for (f, key, value) in steps {
            if !matches!(f, Function::Get | Function::Put) {
                return Err(LineError::Field { field: "value", why: "of a txn has steps that get or put" });
            }
            let key = self.history.values.id(key.borrowed())?;
            let value = self.history.values.id(value.borrowed())?;
            self.history.steps.push(TxnStep { f: *f, key, value });
        }
        Ok(Span { start, len: u32::try_from(steps.len()).map_err(|_| LineError::TooLarge)? })
    }

    fn optional(&mut self, value: Option<ValueRef<'_>>) -> Result<Id, LineError> {
        value.map_or(Ok(NONE), |value| self.history.values.id(value))
    }

    fn list(&mut self, values: &[ValueRef<'_>]) -> Result<Span, LineError> {
        if values.is_empty() {
            return Ok(Span::default());
        }
        let start = u32::try_from(self.history.pool.len()).map_err(|_| LineError::TooLarge)?;
        for &value in values {
            let id = self.history.values.id(value)?;
            self.history.pool.push(id);
        }
        Ok(Span { start, len: u32::try_from(values.len()).map_err(|_| LineError::TooLarge)? })
    }
}

/// Whether the fields of an operation fit its function and outcome.
fn fits(operation: &Raw<'_>) -> Result<(), LineError> {
    let wrong = |field, why| Err(LineError::Field { field, why });
    match (operation.outcome, operation.return_ns) {
        (Outcome::Ok, None) => return wrong("return_ns", "is missing, but the outcome is ok"),
        (Outcome::Info, Some(_)) => {
            return wrong("return_ns", "must be null for an info; when it stopped waiting is gave_up_ns");
        }
        _ => {}
    }
    match (operation.values, operation.f, operation.outcome) {
        (None, Function::Get, Outcome::Ok) => {
            return wrong("values", "is missing: what the get returned, [] for not found");
        }
        (Some(_), Function::Get, Outcome::Fail | Outcome::Info) => {
            return wrong("values", "belongs to a get with outcome ok");
        }
        (Some(_), other, _) if other != Function::Get => return wrong("values", "belongs to a get"),
        _ => {}
    }
    if operation.is_final && operation.f != Function::Get {
        return wrong("final", "belongs to a get");
    }
    match (operation.f, operation.value) {
        (Function::Put | Function::Append | Function::Add, RawArgument::None) => {
            wrong("value", "is missing: what was written")
        }
        (Function::Get, RawArgument::One(ValueRef::Null) | RawArgument::None) => Ok(()),
        (Function::Get, _) => wrong("value", "a get has values, not a value"),
        (Function::Cas, RawArgument::Pair(..)) | (Function::Txn, RawArgument::Steps(_)) => Ok(()),
        (Function::Cas, _) => wrong("value", "of a cas is [from, to]"),
        (Function::Txn, _) => wrong("value", "of a txn is [[f, key, value], ...]"),
        (_, RawArgument::Pair(..) | RawArgument::Steps(_)) => {
            wrong("value", "is a list, which only cas and txn take")
        }
        (_, RawArgument::One(_) | RawArgument::None) => Ok(()),
    }
}

fn time(at: u64, field: &'static str) -> Result<i64, LineError> {
    i64::try_from(at)
        .ok()
        .filter(|&at| at < NEVER)
        .ok_or(LineError::Field { field, why: "is beyond 2^63 - 2 nanoseconds" })
}
