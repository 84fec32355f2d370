//! A history in memory: 88 bytes an operation, values by number, operations listed by key.
//!
//! Invariants, which [`HistoryBuilder`] holds: operations are in order of invocation, an answer is not
//! before its call, a process has one operation open at most, a successful get has values and nothing
//! else has, final reads come last.

use std::collections::HashMap;

use super::error::LineError;
use super::intern::{Id, Interner};
use super::operation::{Argument, Function, Operation, Outcome};
use super::value::Value;

/// No value, no operation.
pub(crate) const NONE: u32 = u32::MAX;
/// The return of an operation that never returned.
pub(crate) const NEVER: i64 = i64::MAX;

/// One operation, in numbers. Times are nanoseconds; `i64::MAX` as a return means "never".
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub(crate) invoke: i64,
    pub(crate) ret: i64,
    pub(crate) gave_up: i64,
    pub(crate) process: u32,
    pub(crate) key: Id,
    /// What was written; the new value of a cas; the id of a delete.
    pub(crate) value: Id,
    /// What a cas replaces.
    pub(crate) from: Id,
    pub(crate) values: Span,
    pub(crate) context: Span,
    pub(crate) version: Id,
    pub(crate) via: Id,
    pub(crate) node: Id,
    pub(crate) session: Id,
    pub(crate) f: Function,
    pub(crate) outcome: Outcome,
    pub(crate) is_final: bool,
}

/// A run of numbers in the history's pool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Entry {
    /// What the operation does.
    #[must_use]
    pub fn f(&self) -> Function {
        self.f
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// When it was called, in nanoseconds.
    #[must_use]
    pub fn invoke_ns(&self) -> u64 {
        self.invoke.unsigned_abs()
    }

    /// When its answer came, in nanoseconds.
    #[must_use]
    pub fn return_ns(&self) -> Option<u64> {
        (self.ret != NEVER).then(|| self.ret.unsigned_abs())
    }

    /// When the client stopped waiting for it, in nanoseconds; only known for some `info`.
    #[must_use]
    pub fn gave_up_ns(&self) -> Option<u64> {
        (self.gave_up != NEVER).then(|| self.gave_up.unsigned_abs())
    }

    /// A read made after all faults were healed and the store had come to rest.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// A put, delete or cas that happened or may have happened.
    pub(crate) fn may_have_written(&self) -> bool {
        self.outcome != Outcome::Fail && matches!(self.f, Function::Put | Function::Delete | Function::Cas)
    }

    pub(crate) fn is_ok(&self, f: Function) -> bool {
        self.f == f && self.outcome == Outcome::Ok
    }

    /// A successful get through the store's own read path, not of one node's raw copy.
    pub(crate) fn is_read(&self) -> bool {
        self.is_ok(Function::Get) && self.node == NONE
    }
}

/// A whole history, ready to be checked.
#[derive(Debug, Default)]
pub struct History {
    entries: Vec<Entry>,
    pool: Vec<Id>,
    values: Interner,
    keys: Interner,
    processes: Vec<u64>,
    by_key: Vec<u32>,
    key_ends: Vec<usize>,
    skipped: u64,
}

impl History {
    /// Builds a history from operations in order of invocation.
    ///
    /// # Errors
    /// The position of the first operation that breaks a rule of the format, and the rule.
    pub fn from_operations<'a>(
        operations: impl IntoIterator<Item = &'a Operation>,
    ) -> Result<History, (usize, LineError)> {
        let mut builder = HistoryBuilder::default();
        for (position, operation) in operations.into_iter().enumerate() {
            builder.push(operation).map_err(|reason| (position, reason))?;
        }
        Ok(builder.finish())
    }

    /// All operations, in order of invocation.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many different keys there are.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Lines of the file that were not client operations.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The key of an operation.
    #[must_use]
    pub fn key_of(&self, operation: usize) -> &Value {
        self.keys.value(self.entries[operation].key)
    }

    /// The process of an operation, as the recorder numbered it.
    #[must_use]
    pub fn process_of(&self, operation: usize) -> u64 {
        self.processes[self.entries[operation].process as usize]
    }

    /// What a successful get returned, empty for "not found"; none for every other operation.
    #[must_use]
    pub fn returned(&self, operation: usize) -> Option<Vec<&Value>> {
        let entry = &self.entries[operation];
        entry.is_ok(Function::Get).then(|| self.span(entry.values).iter().map(|&id| self.value(id)).collect())
    }

    /// What an operation wrote: the new value of a cas, the id of a delete.
    #[must_use]
    pub fn written(&self, operation: usize) -> Option<&Value> {
        self.named(self.entries[operation].value)
    }

    /// The node that was asked.
    #[must_use]
    pub fn via(&self, operation: usize) -> Option<&Value> {
        self.named(self.entries[operation].via)
    }

    /// The node whose own copy was read.
    #[must_use]
    pub fn node(&self, operation: usize) -> Option<&Value> {
        self.named(self.entries[operation].node)
    }

    /// The store's own version of what was read or written.
    #[must_use]
    pub fn version(&self, operation: usize) -> Option<&Value> {
        self.named(self.entries[operation].version)
    }

    /// The session of an operation, if sessions are not processes.
    #[must_use]
    pub fn session(&self, operation: usize) -> Option<&Value> {
        self.named(self.entries[operation].session)
    }

    fn named(&self, id: Id) -> Option<&Value> {
        (id != NONE).then(|| self.value(id))
    }

    /// The operations on one key, by number, in order of invocation.
    pub(crate) fn of_key(&self, key: usize) -> &[u32] {
        let start = if key == 0 { 0 } else { self.key_ends[key - 1] };
        &self.by_key[start..self.key_ends[key]]
    }

    pub(crate) fn key(&self, key: usize) -> &Value {
        self.keys.value(u32::try_from(key).unwrap_or(NONE))
    }

    pub(crate) fn entry(&self, operation: u32) -> &Entry {
        &self.entries[operation as usize]
    }

    pub(crate) fn span(&self, span: Span) -> &[Id] {
        &self.pool[span.start as usize..(span.start + span.len) as usize]
    }

    /// What a get returned; empty for "not found" and for everything that is not a successful get.
    pub(crate) fn values_of(&self, operation: u32) -> &[Id] {
        self.span(self.entry(operation).values)
    }

    pub(crate) fn context_of(&self, operation: u32) -> &[Id] {
        self.span(self.entry(operation).context)
    }

    pub(crate) fn value(&self, id: Id) -> &Value {
        self.values.value(id)
    }

    pub(crate) fn value_count(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn find_value(&self, value: &Value) -> Option<Id> {
        self.values.find(value)
    }

    pub(crate) fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// Whether `a` was over before `b` began: strictly by the clock, or by its own process's order.
    pub(crate) fn precedes(&self, a: u32, b: u32) -> bool {
        let (first, second) = (self.entry(a), self.entry(b));
        first.ret < second.invoke || (first.process == second.process && a < b)
    }
}

/// Takes operations one by one and holds the rules of the format.
#[derive(Debug, Default)]
pub struct HistoryBuilder {
    history: History,
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
            if entry.node != NONE && entry.outcome == Outcome::Ok {
                if let Some(&first) = self.finals.get(&(entry.key, entry.node)) {
                    return Err(LineError::RepeatedFinal {
                        key: operation.key.to_string(),
                        node: operation.node.clone().unwrap_or_default().to_string(),
                        first,
                    });
                }
                self.finals.insert((entry.key, entry.node), number);
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
        history.key_ends = ends;
        history
    }

    fn compact(&mut self, operation: &Operation) -> Result<Entry, LineError> {
        let wrong = |field, why| Err(LineError::Field { field, why });
        let f = operation.f;
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
            return wrong("gave_up_ns", "is before invoke_ns");
        }
        match (operation.outcome, operation.return_ns) {
            (Outcome::Ok, None) => return wrong("return_ns", "is missing, but the outcome is ok"),
            (Outcome::Info, Some(_)) => {
                return wrong("return_ns", "must be null for an info; when it stopped waiting is gave_up_ns");
            }
            _ => {}
        }
        match (&operation.values, f, operation.outcome) {
            (None, Function::Get, Outcome::Ok) => {
                return wrong("values", "is missing: what the get returned, [] for not found");
            }
            (Some(_), Function::Get, Outcome::Fail | Outcome::Info) => {
                return wrong("values", "belongs to a get with outcome ok");
            }
            (Some(_), other, _) if other != Function::Get => return wrong("values", "belongs to a get"),
            _ => {}
        }
        if operation.r#final && f != Function::Get {
            return wrong("final", "belongs to a get");
        }
        let (mut value, mut from) = (NONE, NONE);
        match (f, &operation.value) {
            (Function::Put | Function::Append | Function::Add, None) => {
                return wrong("value", "is missing: what was written");
            }
            (Function::Get, Some(Argument::One(Value::Null)) | None) => {}
            (Function::Get, Some(_)) => return wrong("value", "a get has values, not a value"),
            (Function::Cas, Some(Argument::Pair(old, new))) => {
                from = self.history.values.id(old)?;
                value = self.history.values.id(new)?;
            }
            (Function::Cas, _) => return wrong("value", "of a cas is [from, to]"),
            (Function::Txn, Some(Argument::Steps(_))) => {}
            (Function::Txn, _) => return wrong("value", "of a txn is [[f, key, value], ...]"),
            (_, Some(Argument::One(written))) => value = self.history.values.id(written)?,
            (_, Some(_)) => return wrong("value", "is a list, which only cas and txn take"),
            (_, None) => {}
        }
        let process = match self.process_ids.get(&operation.process) {
            Some(&process) => process,
            None => {
                let process = u32::try_from(self.history.processes.len()).map_err(|_| LineError::TooLarge)?;
                self.process_ids.insert(operation.process, process);
                self.history.processes.push(operation.process);
                process
            }
        };
        Ok(Entry {
            invoke,
            ret,
            gave_up,
            process,
            key: self.history.keys.id(&operation.key)?,
            value,
            from,
            values: self.list(operation.values.as_deref().unwrap_or_default())?,
            context: self.list(&operation.context)?,
            version: self.optional(operation.version.as_ref())?,
            via: self.optional(operation.via.as_ref())?,
            node: self.optional(operation.node.as_ref())?,
            session: self.optional(operation.session.as_ref())?,
            f,
            outcome: operation.outcome,
            is_final: operation.r#final,
        })
    }

    fn optional(&mut self, value: Option<&Value>) -> Result<Id, LineError> {
        value.map_or(Ok(NONE), |value| self.history.values.id(value))
    }

    fn list(&mut self, values: &[Value]) -> Result<Span, LineError> {
        let start = u32::try_from(self.history.pool.len()).map_err(|_| LineError::TooLarge)?;
        for value in values {
            let id = self.history.values.id(value)?;
            self.history.pool.push(id);
        }
        Ok(Span { start, len: u32::try_from(values.len()).map_err(|_| LineError::TooLarge)? })
    }
}

fn time(at: u64, field: &'static str) -> Result<i64, LineError> {
    i64::try_from(at)
        .ok()
        .filter(|&at| at < NEVER)
        .ok_or(LineError::Field { field, why: "is beyond 2^63 - 2 nanoseconds" })
}
