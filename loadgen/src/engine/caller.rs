//! One worker's way of carrying out operations: calls, the cancellation of calls, and what
//! an observer is told of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use crate::observe::{OperationRecord, Phase};
use crate::target::{Call, CallKind, Completion, Outcome};
use crate::workload::{OpKind, Operation, key_name};

/// What operations in flight are given once the run is cancelled.
const GRACE: Duration = Duration::from_millis(500);

/// Carries out one operation at a time.
pub(super) struct Caller {
    shared: Arc<Shared>,
    phase: Phase,
    process: u64,
    bytes: Vec<u8>,
}

impl Caller {
    pub(super) fn new(shared: Arc<Shared>, phase: Phase) -> Self {
        let process = shared.processes.fetch_add(1, Ordering::Relaxed);
        Self { shared, phase, process, bytes: Vec::new() }
    }

    /// Makes ready what `operation` writes, so that it does not count as service time.
    pub(super) fn prepare(&mut self, operation: &Operation) {
        if operation.kind.writes_a_value() {
            operation.value.encode(operation.value_bytes, &mut self.bytes);
        }
    }

    /// Carries out what was prepared.
    pub(super) async fn perform(&mut self, operation: &Operation) -> Completion {
        let key = key_name(operation.key);
        match operation.kind {
            OpKind::Get => self.call(CallKind::Get, operation, key).await,
            OpKind::Put | OpKind::Insert => self.call(CallKind::Put, operation, key).await,
            OpKind::Delete => self.call(CallKind::Delete, operation, key).await,
            OpKind::Update => {
                let read = self.call(CallKind::Get, operation, key.clone()).await;
                // Without the read nothing is written, so the whole certainly did not happen.
                if read.outcome != Outcome::Ok {
                    return read;
                }
                self.call(CallKind::Put, operation, key).await
            }
        }
    }

    async fn call(&mut self, kind: CallKind, operation: &Operation, key: String) -> Completion {
        let shared = Arc::clone(&self.shared);
        let call = Call {
            kind,
            key: operation.key,
            key_name: &key,
            value: operation.value,
            bytes: if kind == CallKind::Put { &self.bytes } else { &[] },
            observe: shared.observer.is_some(),
        };
        let invoke_ns = shared.clock.monotonic_ns();
        let mut completion = tokio::select! {
            biased;
            completion = shared.target.call(call) => completion,
            () = grace_is_over(&shared) => abandoned(kind),
        };
        if let Some(observer) = &shared.observer {
            let observed = completion.observed.take().map(|observed| *observed).unwrap_or_default();
            observer.observed(OperationRecord {
                phase: self.phase,
                process: self.process,
                kind,
                key,
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

async fn grace_is_over(shared: &Shared) {
    shared.cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn abandoned(kind: CallKind) -> Completion {
    let outcome = if kind == CallKind::Get { Outcome::Fail } else { Outcome::Info };
    let mut completion = Completion::error(outcome, "interrupted", "the run was interrupted".to_owned());
    completion.timed_out = true;
    completion
}
