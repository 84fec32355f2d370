//! Who may look on: progress for people, operations for a history. The library itself prints
//! and writes nothing.

use crate::target::{CallKind, Outcome};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Every key is written once.
    Load,
    /// Load that is recorded apart.
    Warmup,
    /// What the results are about.
    Measure,
}

impl Phase {
    /// The name in files and on screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Warmup => "warmup",
            Self::Measure => "measure",
        }
    }
}

/// How a run stands, about once a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// The phase.
    pub phase: Phase,
    /// Seconds since the phase began.
    pub elapsed_s: f64,
    /// Seconds it is planned to take.
    pub planned_s: f64,
    /// Operations a second that ended `ok` since the last tick.
    pub ok_per_s: f64,
    /// Operations that ended otherwise since the last tick.
    pub not_ok: u64,
    /// Slots waiting for a connection.
    pub backlog: usize,
    /// 99th percentile of response latency since the last tick, over all operations, in
    /// milliseconds; 0 if there was none.
    pub response_p99_ms: f64,
}

/// Hears how a run gets on. Called from the runtime: it must not block.
pub trait Progress: Send + Sync {
    /// So many of all keys are loaded.
    fn loaded(&self, _keys: u64, _of: u64) {}
    /// A phase begins.
    fn phase(&self, _phase: Phase) {}
    /// A second has passed.
    fn tick(&self, _tick: &Tick) {}
}

/// Progress that nobody hears.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// One call to the store, as a history records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRecord {
    /// The phase it belongs to. A history needs the load phase too: values come from there.
    pub phase: Phase,
    /// The logical process: one call at a time, retired after an `info`.
    pub process: u64,
    /// What was called.
    pub kind: CallKind,
    /// The key.
    pub key: String,
    /// The unique name of what was written; also a delete has one.
    pub value: Option<String>,
    /// What a get returned; several are siblings, none is not found.
    pub values: Vec<String>,
    /// The values that the token sent with a write covered; empty for a blind write.
    pub context: Vec<String>,
    /// When the call began, in nanoseconds of the run's monotonic clock.
    pub invoke_ns: u64,
    /// When its outcome was known.
    pub end_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The store's own version, if it has one.
    pub version: Option<String>,
    /// The node asked, 0-based.
    pub via: Option<usize>,
}

/// Is told of every call. Called by workers, in the order in which calls end.
pub trait OperationObserver: Send + Sync {
    /// A call ended.
    fn observed(&self, record: OperationRecord);
}
