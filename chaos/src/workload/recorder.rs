//! The history of a run while it is being made.
//!
//! Stamps strictly increase: they are the clock's nanoseconds, bumped where several events share an
//! instant. Simulated hosts take turns within a tick, so this is the order in which things really
//! happened, and no two events are ever concurrent by accident of a coarse clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_check::history::{Function, Operation, Outcome, Value};
use quorate_env::Clock;

/// Extra field of an operation: the host that its client runs on.
pub const HOST_FIELD: &str = "host";

/// Extra field of an operation that did not succeed: what its client saw.
pub const ERROR_FIELD: &str = "error";

/// Extra field of an operation that the store refused: the HTTP status.
pub const STATUS_FIELD: &str = "status";

/// Collects operations of all clients of a run. Cheap to clone; clones write one history.
#[derive(Clone, Default)]
pub struct Recorder {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    operations: Vec<Operation>,
    last_ns: u64,
    processes: u64,
}

/// An operation that was invoked and has not returned.
#[derive(Debug)]
#[must_use = "an operation that is never finished stays open for ever"]
pub struct Call(usize);

impl Recorder {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty history whose processes are numbered beyond `last`, to go with another one.
    #[must_use]
    pub fn beyond(last: u64) -> Self {
        let recorder = Self::new();
        recorder.lock().processes = last;
        recorder
    }

    /// A process id that nobody has used.
    #[must_use]
    pub fn fresh_process(&self) -> u64 {
        let mut shared = self.lock();
        shared.processes += 1;
        shared.processes
    }

    /// Records a call: `detail` fills in what the client asks for.
    pub fn invoke(
        &self,
        clock: &dyn Clock,
        process: u64,
        f: Function,
        key: &str,
        detail: impl FnOnce(&mut Operation),
    ) -> Call {
        let mut shared = self.lock();
        let invoke_ns = shared.stamp(clock);
        let mut operation = Operation::invoked(process, f, key, invoke_ns);
        detail(&mut operation);
        shared.operations.push(operation);
        Call(shared.operations.len() - 1)
    }

    /// Fills in more of what the client asks for, before it does.
    pub fn amend(&self, call: &Call, detail: impl FnOnce(&mut Operation)) {
        if let Some(operation) = self.lock().operations.get_mut(call.0) {
            detail(operation);
        }
    }

    /// Records an answer: `detail` fills in what the client learned.
    pub fn ok(&self, clock: &dyn Clock, call: Call, detail: impl FnOnce(&mut Operation)) {
        self.finish(clock, call, Outcome::Ok, detail);
    }

    /// Records that the operation certainly did not happen, and what the client saw.
    pub fn fail(&self, clock: &dyn Clock, call: Call, error: &str, status: Option<u16>) {
        self.finish(clock, call, Outcome::Fail, |op| note(op, error, status));
    }

    /// Records that the client gave up and does not know: its process must not be used again.
    pub fn info(&self, clock: &dyn Clock, call: Call, error: &str, status: Option<u16>) {
        self.finish(clock, call, Outcome::Info, |op| note(op, error, status));
    }

    fn finish(&self, clock: &dyn Clock, call: Call, outcome: Outcome, detail: impl FnOnce(&mut Operation)) {
        let mut shared = self.lock();
        let now = shared.stamp(clock);
        let Some(operation) = shared.operations.get_mut(call.0) else { return };
        operation.outcome = outcome;
        match outcome {
            Outcome::Ok | Outcome::Fail => operation.return_ns = Some(now),
            Outcome::Info => operation.gave_up_ns = Some(now),
        }
        detail(operation);
    }

    /// Operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().operations.len()
    }

    /// Whether nothing was recorded yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the history, in order of invocation. Calls still open stay `info`.
    #[must_use]
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.lock().operations)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic elsewhere does not make what was recorded untrue.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn stamp(&mut self, clock: &dyn Clock) -> u64 {
        self.last_ns = clock.monotonic_ns().max(self.last_ns + 1);
        self.last_ns
    }
}

fn note(operation: &mut Operation, error: &str, status: Option<u16>) {
    operation.extra.insert(ERROR_FIELD.into(), error.into());
    if let Some(status) = status {
        operation.extra.insert(STATUS_FIELD.into(), status.into());
    }
}

/// A value as histories name it: its text without the padding, or a name that no client wrote.
#[must_use]
pub fn value_id(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text.trim_end()),
        // Nobody writes such bytes here, so whatever came back is a phantom and is named as one.
        Err(_) => Value::from(format!("not-utf8:{:02x?}", &bytes[..bytes.len().min(16)])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stopped;

    impl Clock for Stopped {
        fn wall_ns(&self) -> u64 {
            7
        }

        fn monotonic_ns(&self) -> u64 {
            7
        }
    }

    #[test]
    fn stamps_strictly_increase_even_if_the_clock_stands_still() {
        let recorder = Recorder::new();
        let first = recorder.invoke(&Stopped, 1, Function::Get, "k", |_| {});
        let second = recorder.invoke(&Stopped, 2, Function::Get, "k", |_| {});
        let third = recorder.invoke(&Stopped, 3, Function::Put, "k", |op| op.value = Some("v".into()));
        recorder.ok(&Stopped, first, |op| op.values = Some(vec![value_id(b"v1-3   ")]));
        recorder.fail(&Stopped, second, "connect", None);
        recorder.info(&Stopped, third, "deadline", Some(504));
        let history = recorder.take();
        let stamps: Vec<_> = history.iter().map(|op| (op.invoke_ns, op.return_ns, op.gave_up_ns)).collect();
        assert_eq!(stamps, [(7, Some(10), None), (8, Some(11), None), (9, None, Some(12))]);
        assert_eq!(history[0].values, Some(vec!["v1-3".into()]));
        assert_eq!(history[2].outcome, Outcome::Info);
        assert!(recorder.is_empty());
    }
}
