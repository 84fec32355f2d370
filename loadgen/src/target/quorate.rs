//! A Quorate store as a target, through [`quorate_client`].
//!
//! Writes send the newest context this generator has seen for their key, as an application
//! that reads before it writes would. Blind writes would pile up siblings without end, and
//! the store would be measured refusing them. A get refreshes the context and covers whatever
//! siblings concurrent puts left.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_client::{Client, ClientError, Effect, GetReply, PutReply, ReadOptions, WriteOptions};
use quorate_env::BoxFuture;
use quorate_env::random::mix;

use super::contents::{inspect, mark_damaged};
use super::{Call, CallKind, Completion, Observed, Outcome, Target};

/// Locks are held for a lookup only; this many make meetings rare.
const SHARDS: usize = 64;

/// A Quorate store under load.
pub struct QuorateTarget {
    client: Client,
    /// The newest token by key, and the values that it covers. Looked up, never iterated.
    contexts: Arc<Vec<Mutex<Contexts>>>,
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
        Self { client, contexts: Arc::new((0..SHARDS).map(|_| Mutex::default()).collect()) }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Contexts> {
        // Each entry is replaced whole: a panic elsewhere leaves nothing half done.
        self.contexts[(key % SHARDS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get(&self, call: Call<'_>) -> Completion {
        let reply = match self.client.get(call.key_name, ReadOptions::default()).await {
            Ok(reply) => reply,
            // Nothing came back, so nothing was read: for a get that is a definite no.
            Err(error) => return failed(&error, Outcome::Fail),
        };
        let mut values = Vec::new();
        let names = call.observe.then_some(&mut values);
        let damaged = inspect(reply.values.iter().map(|value| &*value.bytes), names);
        let GetReply { context: token, version, node, .. } = reply;
        let covers = if call.observe { values.clone() } else { Vec::new() };
        self.shard(call.key).insert(call.key, Context { token, covers });
        let mut completion = Completion::ok();
        if let Some(name) = damaged {
            mark_damaged(&mut completion, call.key_name, &name);
        }
        if call.observe {
            let observed = Observed { values, context: Vec::new(), version, via: Some(node) };
            completion.observed = Some(Box::new(observed));
        }
        completion
    }

    async fn write(&self, call: Call<'_>) -> Completion {
        let sent = self.shard(call.key).get(&call.key).cloned().unwrap_or_default();
        let token = Some(sent.token.as_str()).filter(|t| !t.is_empty());
        let options = WriteOptions::default();
        let result = match call.kind {
            CallKind::Delete => self.client.delete(call.key_name, token, options).await,
            CallKind::Put | CallKind::Get => self.client.put(call.key_name, call.bytes, token, options).await,
        };
        let mut observed = Observed { context: sent.covers, ..Observed::default() };
        let mut completion = match result {
            Ok(PutReply { context: token, version, node, .. }) => {
                let covers = if call.observe { vec![call.value.to_string()] } else { Vec::new() };
                self.shard(call.key).insert(call.key, Context { token, covers });
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
        Some(Arc::new(Self { client: self.client.apart(), contexts: Arc::clone(&self.contexts) }))
    }
}

fn failed(error: &ClientError, outcome: Outcome) -> Completion {
    let mut completion = Completion::error(outcome, error.kind(), error.to_string());
    completion.timed_out = error.is_deadline();
    completion
}
