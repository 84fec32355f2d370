//! One store under load from this process: as many operations as 64 connections carry, one in flight on each.
//!
//! A closed loop: what is wanted is the cost of an operation and how many there can be, not latencies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_env::random::mix;
use quorate_loadgen::{Call, CallKind, Outcome, Target, ValueId};
use tokio::task::JoinSet;

use crate::processor;

/// Connections, each with one operation in flight.
pub const CONNECTIONS: u32 = 64;
/// Keys, all asked for equally.
pub const KEYS: u64 = 10_000;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 1024;
/// What goes before each turn and is not measured: connections are opened, caches are this subject's again.
const WARM_UP: Duration = Duration::from_millis(300);

/// A store, and what its processes are.
pub struct Subject {
    /// How rows call it.
    pub name: String,
    pids: Vec<u32>,
    target: Arc<dyn Target>,
    /// Operations so far, so that none is like another.
    begun: Arc<AtomicU64>,
}

/// What came of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Operations a second.
    pub per_s: f64,
    /// Processor time of all the store's processes, in microseconds an operation.
    pub server_us: f64,
    /// Processor time of this process, in microseconds an operation.
    pub client_us: f64,
    /// Per cent of the operations that were not carried out; they are none of `per_s`, and their cost is
    /// that of the others.
    pub failed: f64,
}

/// Which keys, and when there are no more.
#[derive(Clone, Copy)]
enum Keys {
    /// Each once.
    Each,
    /// Any, until then.
    AnyUntil(Instant),
}

impl Subject {
    /// A store of these processes, asked through `target`.
    #[must_use]
    pub fn new(name: &str, pids: Vec<u32>, target: Arc<dyn Target>) -> Self {
        Self { name: name.to_owned(), pids, target, begun: Arc::default() }
    }

    /// Puts a value under every key.
    ///
    /// # Panics
    /// If one is not acknowledged.
    pub async fn fill(&self) {
        self.begun.store(0, Ordering::Relaxed);
        self.drive(CallKind::Put, Keys::Each, &[]).await;
    }

    /// Operations of one kind on random keys for so long.
    ///
    /// # Panics
    /// If one is not carried out, except that another write of its key overtook it: there is nothing to
    /// compare then.
    pub async fn turn(&self, kind: CallKind, length: Duration) -> Turn {
        // A server may have closed what was idle for long: that is seen here.
        self.drive(kind, Keys::AnyUntil(Instant::now() + WARM_UP), &["overtaken", "connection-lost"]).await;
        let begin = Instant::now();
        let (server_ns, client_ns) = (self.processor_ns(), processor::own());
        let (count, failed) = self.drive(kind, Keys::AnyUntil(begin + length), &["overtaken"]).await;
        let (count, failed) = (count as f64, failed as f64);
        Turn {
            per_s: count / begin.elapsed().as_secs_f64(),
            server_us: (self.processor_ns() - server_ns) / count / 1e3,
            client_us: (processor::own() - client_ns) / count / 1e3,
            failed: 100.0 * failed / (count + failed),
        }
    }

    fn processor_ns(&self) -> f64 {
        self.pids.iter().map(|pid| processor::of_process(*pid)).sum()
    }

    /// Keeps every connection busy until there are no more keys; returns how many operations were carried
    /// out, and how many were not for one of the reasons in `excused`.
    async fn drive(&self, kind: CallKind, keys: Keys, excused: &'static [&str]) -> (u64, u64) {
        let mut workers = JoinSet::new();
        for process in 0..CONNECTIONS {
            let (name, target, begun) =
                (self.name.clone(), Arc::clone(&self.target), Arc::clone(&self.begun));
            workers.spawn(async move {
                let (mut bytes, mut done, mut failed) = (Vec::new(), 0, 0);
                loop {
                    let sequence = begun.fetch_add(1, Ordering::Relaxed);
                    let key = match keys {
                        Keys::Each if sequence < KEYS => sequence,
                        Keys::AnyUntil(end) if Instant::now() < end => mix(sequence) % KEYS,
                        _ => return (done, failed),
                    };
                    let value = ValueId { process, sequence };
                    if kind == CallKind::Put {
                        value.encode(VALUE_BYTES, &mut bytes);
                    }
                    let key_name = format!("key{key:010}");
                    let call = Call { kind, key, key_name: &key_name, value, bytes: &bytes, observe: false };
                    let ended = target.call(call).await;
                    match ended.error {
                        None if ended.outcome == Outcome::Ok => done += 1,
                        Some(error) if excused.contains(&error.kind.as_str()) => failed += 1,
                        error => panic!("{name}: {kind:?} of {key_name}: {error:?}"),
                    }
                }
            });
        }
        let all = workers.join_all().await.into_iter();
        all.fold((0, 0), |(done, failed), worker| (done + worker.0, failed + worker.1))
    }
}
