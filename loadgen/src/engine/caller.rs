//! One worker's way of carrying out operations: calls, the cancellation of calls, and what
//! an observer is told of them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::Shared;
use crate::observe::{OperationRecord, Phase};
use crate::target::{Call, CallKind, Completion, Outcome, Target};
use crate::workload::{OpKind, Operation, write_key_name};

/// Carries out one operation at a time.
pub(super) struct Caller {
    shared: Arc<Shared>,
    target: Arc<dyn Target>,
    phase: Phase,
    process: u64,
    key: String,
    bytes: Vec<u8>,
    /// Whether the run knows whom to wake when it gives up.
    is_noted: bool,
}

impl Caller {
    pub(super) fn new(shared: Arc<Shared>, target: Arc<dyn Target>, phase: Phase) -> Self {
        let process = shared.processes.fetch_add(1, Ordering::Relaxed);
        Self { shared, target, phase, process, key: String::new(), bytes: Vec::new(), is_noted: false }
    }

    /// Makes ready what `operation` writes, so that it does not count as service time.
    pub(super) fn prepare(&mut self, operation: &Operation) {
        self.key.clear();
        write_key_name(operation.key, &mut self.key);
        if operation.kind.writes_a_value() {
            operation.value.encode(operation.value_bytes, &mut self.bytes);
        }
    }

    /// Carries out what was prepared.
    pub(super) async fn perform(&mut self, operation: &Operation) -> Completion {
        match operation.kind {
            OpKind::Get => self.call(CallKind::Get, operation).await,
            OpKind::Put | OpKind::Insert => self.call(CallKind::Put, operation).await,
            OpKind::Delete => self.call(CallKind::Delete, operation).await,
            OpKind::Update => {
                let read = self.call(CallKind::Get, operation).await;
                // Without the read nothing is written, so the whole certainly did not happen.
                if read.outcome != Outcome::Ok {
                    return read;
                }
                self.call(CallKind::Put, operation).await
            }
        }
    }

    async fn call(&mut self, kind: CallKind, operation: &Operation) -> Completion {
        let Self { shared, target, is_noted, .. } = self;
        let call = Call {
            kind,
            key: operation.key,
            key_name: &self.key,
            value: operation.value,
            bytes: if kind == CallKind::Put { &self.bytes } else { &[] },
            observe: shared.observer.is_some(),
        };
        let invoke_ns = if call.observe { shared.clock.monotonic_ns() } else { 0 };
        let mut calling = target.call(call);
        let mut completion = poll_fn(|context| {
            if !std::mem::replace(is_noted, true) {
                // The waker of a worker's task stays the same.
                shared.abandonment.note(context.waker());
            }
            match calling.as_mut().poll(context) {
                Poll::Pending if shared.abandonment.is_declared() => Poll::Ready(abandoned(kind)),
                polled => polled,
            }
        })
        .await;
        drop(calling);
        if let Some(observer) = &shared.observer {
            let observed = completion.observed.take().map(|observed| *observed).unwrap_or_default();
            observer.observed(OperationRecord {
                phase: self.phase,
                process: self.process,
                kind,
                key: self.key.clone(),
                value: (kind != CallKind::Get).then(|| operation.value.to_string()),
                values: observed.values,
                context: observed.context,
                invoke_ns,
                end_ns: shared.clock.monotonic_ns(),
                outcome: completion.outcome,
                version: observed.version,
                via: observed.via,
            });
        }
        if completion.outcome == Outcome::Info {
            // What may still happen keeps its process busy for ever.
            self.process = shared.processes.fetch_add(1, Ordering::Relaxed);
        }
        completion
    }
}

fn abandoned(kind: CallKind) -> Completion {
    let outcome = if kind == CallKind::Get { Outcome::Fail } else { Outcome::Info };
    let mut completion = Completion::error(outcome, "interrupted", "the run was interrupted".to_owned());
    completion.timed_out = true;
    completion
}
