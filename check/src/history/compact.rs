//! A history in memory: 40 bytes an operation, values by number, operations listed by key.
//!
//! Invariants, which [`HistoryBuilder`] holds: operations are in order of invocation, an answer is not
//! before its call, a process has one operation open at most, a successful get has values and nothing
//! else has, final reads come last. What few operations have (a context, a version, several values)
//! lies apart, so that ten million plain ones fit into memory beside their check.

use super::builder::HistoryBuilder;
use super::error::LineError;
use super::format::Format;
use super::intern::{Id, Interner};
use super::operation::{Function, Operation, Outcome};
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
    pub(crate) process: u32,
    pub(crate) key: Id,
    /// What was written; the new value of a cas; the id of a delete; of a get, the one value that it
    /// returned, if it was one.
    pub(crate) value: Id,
    pub(super) rare: u32,
    pub(super) via: Id,
    pub(crate) f: Function,
    pub(crate) outcome: Outcome,
    pub(crate) is_final: bool,
    pub(super) shape: Shape,
}

/// Where the values of a get are, and whether it read one node's own copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// No values: not a successful get, or one that found nothing.
    Nothing,
    /// One, in the entry.
    One,
    /// Several, or a raw copy's: in the rare part.
    Rare,
}

/// What few operations have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rare {
    /// What a cas replaces.
    pub(super) from: Id,
    pub(super) version: Id,
    pub(super) node: Id,
    pub(super) session: Id,
    pub(super) values: Span,
    pub(super) context: Span,
    pub(super) steps: Span,
    pub(super) gave_up: i64,
}

impl Rare {
    pub(super) const NOTHING: Rare = Rare {
        from: NONE,
        version: NONE,
        node: NONE,
        session: NONE,
        values: Span { start: 0, len: 0 },
        context: Span { start: 0, len: 0 },
        steps: Span { start: 0, len: 0 },
        gave_up: NEVER,
    };
}

/// One step of a transaction: reads or writes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TxnStep {
    pub(crate) f: Function,
    pub(crate) key: Id,
    pub(crate) value: Id,
}

/// A run of numbers in the history's pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    fn of<T>(self, pool: &[T]) -> &[T] {
        &pool[self.start as usize..(self.start + self.len) as usize]
    }
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
}

/// A whole history, ready to be checked.
#[derive(Debug, Default)]
pub struct History {
    pub(super) entries: Vec<Entry>,
    pub(super) rare: Vec<Rare>,
    pub(super) pool: Vec<Id>,
    pub(super) steps: Vec<TxnStep>,
    pub(super) values: Interner,
    pub(super) keys: Interner,
    pub(super) processes: Vec<u64>,
    pub(super) by_key: Vec<u32>,
    pub(super) key_ends: Vec<usize>,
    pub(super) skipped: u64,
    pub(super) conventions: Conventions,
    /// By operation: the position of the event in the source at which it ended, or was called if it
    /// never did. Empty where the source has one line an operation.
    pub(super) events: Vec<u32>,
}

/// What a source's format says without saying it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conventions {
    /// The format of the source, which says what a key holds before the first write.
    pub format: Format,
    /// The model, where the operations leave no doubt about it.
    pub model: Option<crate::Model>,
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
        let number = u32::try_from(operation).unwrap_or(NONE);
        self.entries[operation]
            .is_ok(Function::Get)
            .then(|| self.values_of(number).iter().map(|&id| self.value(id)).collect())
    }

    /// What an operation wrote: the new value of a cas, the id of a delete.
    #[must_use]
    pub fn written(&self, operation: usize) -> Option<&Value> {
        let entry = &self.entries[operation];
        if entry.f == Function::Get { None } else { self.named(entry.value) }
    }

    /// The node that was asked.
    #[must_use]
    pub fn via(&self, operation: usize) -> Option<&Value> {
        self.named(self.entries[operation].via)
    }

    /// The node whose own copy was read.
    #[must_use]
    pub fn node(&self, operation: usize) -> Option<&Value> {
        self.named(self.rare(&self.entries[operation]).node)
    }

    /// The store's own version of what was read or written.
    #[must_use]
    pub fn version(&self, operation: usize) -> Option<&Value> {
        self.named(self.rare(&self.entries[operation]).version)
    }

    /// The session of an operation, if sessions are not processes.
    #[must_use]
    pub fn session(&self, operation: usize) -> Option<&Value> {
        self.named(self.rare(&self.entries[operation]).session)
    }

    /// When the client stopped waiting for it, in nanoseconds; only known for some `info`.
    #[must_use]
    pub fn gave_up_ns(&self, operation: usize) -> Option<u64> {
        let gave_up = self.rare(&self.entries[operation]).gave_up;
        (gave_up != NEVER).then(|| gave_up.unsigned_abs())
    }

    /// The position, among the client events of the source, of the event at which an operation ended
    /// (was called, if it never did). In JSON Lines that is the operation's number.
    #[must_use]
    pub fn event_of(&self, operation: usize) -> usize {
        self.events.get(operation).map_or(operation, |&event| event as usize)
    }

    /// What the source's format says without saying it.
    #[must_use]
    pub fn conventions(&self) -> Conventions {
        self.conventions
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

    fn rare(&self, entry: &Entry) -> &Rare {
        self.rare.get(entry.rare as usize).unwrap_or(&Rare::NOTHING)
    }

    /// What a get returned; empty for "not found" and for everything that is not a successful get.
    pub(crate) fn values_of(&self, operation: u32) -> &[Id] {
        self.values_in(self.entry(operation))
    }

    /// The same, of an entry that is at hand.
    pub(crate) fn values_in<'a>(&'a self, entry: &'a Entry) -> &'a [Id] {
        match entry.shape {
            Shape::Nothing => &[],
            Shape::One => std::slice::from_ref(&entry.value),
            Shape::Rare => self.rare(entry).values.of(&self.pool),
        }
    }

    pub(crate) fn context_of(&self, operation: u32) -> &[Id] {
        self.rare(self.entry(operation)).context.of(&self.pool)
    }

    pub(crate) fn steps_of(&self, operation: u32) -> &[TxnStep] {
        self.rare(self.entry(operation)).steps.of(&self.steps)
    }

    /// What a cas replaces.
    pub(crate) fn source_of(&self, operation: u32) -> Id {
        self.rare(self.entry(operation)).from
    }

    pub(crate) fn node_of(&self, operation: u32) -> Id {
        self.rare(self.entry(operation)).node
    }

    pub(crate) fn version_of(&self, operation: u32) -> Id {
        self.rare(self.entry(operation)).version
    }

    pub(crate) fn session_of(&self, operation: u32) -> Id {
        self.rare(self.entry(operation)).session
    }

    pub(crate) fn has_sessions(&self) -> bool {
        self.rare.iter().any(|rare| rare.session != NONE)
    }

    /// Whether any get returned several values or any write carried a context.
    pub(crate) fn has_siblings(&self) -> bool {
        self.rare.iter().any(|rare| rare.values.len > 1 || rare.context.len > 0)
    }

    /// Whether an operation is a successful read of one node's own copy, without quorum or merge.
    pub(crate) fn is_raw(&self, operation: u32) -> bool {
        self.node_of(operation) != NONE
    }

    /// A successful get through the store's own read path, not of one node's raw copy.
    pub(crate) fn is_read(&self, operation: u32) -> bool {
        self.entry(operation).is_ok(Function::Get) && !self.is_raw(operation)
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
