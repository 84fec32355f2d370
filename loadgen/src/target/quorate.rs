//! A Quorate store as a target, through [`quorate_client`].
//!
//! Writes send the newest context this generator has seen for their key, as an application
//! that reads before it writes would. Blind writes would pile up siblings without end, and
//! the store would be measured refusing them. A get refreshes the context and covers whatever
//! siblings concurrent puts left.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_client::{Client, ClientError, Effect, PutReply, ReadOptions, WriteOptions};
use quorate_env::BoxFuture;
use quorate_env::random::mix;

use super::contents::{inspect, mark_damaged};
use super::{Call, CallKind, Completion, Observed, Outcome, Target};

/// Locks are held for a lookup only; this many make meetings rare.
const SHARDS: usize = 64;

/// A Quorate store under load.
pub struct QuorateTarget {
    client: Client,
    /// The newest token by key, and the values that it covers. Looked up, never iterated. None if nothing
    /// will be written that could be sent one.
    contexts: Option<Arc<Vec<Mutex<Contexts>>>>,
}

type Contexts = HashMap<u64, Context, BuildHasherDefault<KeyHasher>>;

/// Numbers of keys are nobody's attack: mixing them is enough.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }
}

/// A token and what it covers, as far as a history needs: what was covered before follows
/// from the contexts of these values themselves.
#[derive(Clone, Default)]
struct Context {
    token: String,
    covers: Vec<String>,
}

impl QuorateTarget {
    /// The store that `client` talks to. The client's deadline is the calls' deadline, and it
    /// must not retry, or latencies would be those of several attempts.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, contexts: Some(Arc::new((0..SHARDS).map(|_| Mutex::default()).collect())) }
    }

    /// The same store for a plan that only reads once its keys are loaded: what the answers say for later
    /// writes is not kept, which would take memory for every key and time for every get.
    #[must_use]
    pub fn for_reads(client: Client) -> Self {
        Self { client, contexts: None }
    }

    fn shard(&self, key: u64) -> Option<MutexGuard<'_, Contexts>> {
        let shard = &self.contexts.as_ref()?[(key % SHARDS as u64) as usize];
        // Each entry is replaced whole: a panic elsewhere leaves nothing half done.
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn get(&self, call: Call<'_>) -> Completion {
        let answer = match self.client.get_answer(call.key_name, ReadOptions::default()).await {
            Ok(answer) => answer,
            // Nothing came back, so nothing was read: for a get that is a definite no.
            Err(error) => return failed(&error, Outcome::Fail),
        };
        let mut values = Vec::new();
        let damaged = inspect(answer.values(), call.observe.then_some(&mut values));
        if let Some(mut shard) = self.shard(call.key) {
            let context = shard.entry(call.key).or_default();
            // Most gets find what was known already.
            if context.token != answer.context() {
                answer.context().clone_into(&mut context.token);
            }
            context.covers.clear();
            context.covers.extend_from_slice(&values);
        }
        let mut completion = Completion::ok();
        if let Some(name) = damaged {
            mark_damaged(&mut completion, call.key_name, &name);
        }
        if call.observe {
            let version = answer.version().map(str::to_owned);
            let observed = Observed { values, context: Vec::new(), version, via: Some(answer.node()) };
            completion.observed = Some(Box::new(observed));
        }
        completion
    }

    async fn write(&self, call: Call<'_>) -> Completion {
        let known = self.shard(call.key).and_then(|shard| shard.get(&call.key).cloned());
        let sent = known.unwrap_or_default();
        let token = Some(sent.token.as_str()).filter(|t| !t.is_empty());
        let options = WriteOptions::default();
        let result = match call.kind {
            CallKind::Delete => self.client.delete(call.key_name, token, options).await,
            CallKind::Put | CallKind::Get => self.client.put(call.key_name, call.bytes, token, options).await,
        };
        let mut observed = Observed { context: sent.covers, ..Observed::default() };
        let mut completion = match result {
            Ok(PutReply { context: token, version, node, .. }) => {
                if let Some(mut shard) = self.shard(call.key) {
                    let covers = if call.observe { vec![call.value.to_string()] } else { Vec::new() };
                    shard.insert(call.key, Context { token, covers });
                }
                observed.version = version;
                observed.via = Some(node);
                Completion::ok()
            }
            Err(error) => {
                let outcome = match error.effect() {
                    Effect::Never => Outcome::Fail,
                    Effect::Unknown => Outcome::Info,
                };
                failed(&error, outcome)
            }
        };
        if call.observe {
            completion.observed = Some(Box::new(observed));
        }
        completion
    }
}

impl Target for QuorateTarget {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Completion> {
        match call.kind {
            CallKind::Get => Box::pin(self.get(call)),
            CallKind::Put | CallKind::Delete => Box::pin(self.write(call)),
        }
    }

    /// Connections of its own; contexts are everybody's, since the newest is the one to send.
    fn for_thread(&self) -> Option<Arc<dyn Target>> {
        Some(Arc::new(Self { client: self.client.apart(), contexts: self.contexts.clone() }))
    }
}

fn failed(error: &ClientError, outcome: Outcome) -> Completion {
    let mut completion = Completion::error(outcome, error.kind(), error.to_string());
    completion.timed_out = error.is_deadline();
    completion
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use quorate_client::ClientOptions;
    use quorate_env::TokioNetwork;

    /// What a call allocates is returned by the time of the next one; above this size the allocator no
    /// longer has it at hand.
    const AT_HAND_BYTES: usize = 1032;

    #[test]
    fn a_get_is_small_enough_to_be_allocated_cheaply() {
        let urls = vec!["http://n1:1".parse().unwrap()];
        let client = Client::new(Arc::new(TokioNetwork), urls, None, ClientOptions::default()).unwrap();
        let target = QuorateTarget::new(client);
        let value = crate::ValueId { process: 0, sequence: 0 };
        let call = Call { kind: CallKind::Get, key: 0, key_name: "k", value, bytes: &[], observe: false };
        let bytes = size_of_val(&target.get(call));
        assert!(bytes <= AT_HAND_BYTES, "{bytes}");
    }
}
