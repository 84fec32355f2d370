//! Stores that keep one value a key, each call on a connection that carries nothing else.
//!
//! A connection belongs to one call at a time, so there are as many as calls in flight, and what
//! is measured is one request and its answer: nothing is pipelined, batched or sent twice behind
//! the caller's back. A connection that broke, or whose answer did not come in time, is never
//! used again.
//!
//! Not here: what the bytes mean ([`Protocol`] and those who speak it).

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::contents::{inspect, mark_damaged};
use super::{Call, CallError, CallKind, Completion, Observed, Outcome};
use crate::value::ValueId;

/// How one kind of store is talked to.
pub(super) trait Protocol: Send + Sync + 'static {
    /// A connection.
    type Connection: Send + 'static;

    /// How many nodes there are, at least one.
    fn nodes(&self) -> usize;

    /// What a node is called in messages.
    fn name(&self, node: usize) -> String;

    /// Connects to a node.
    fn connect(&self, node: usize) -> impl Future<Output = Result<Self::Connection, CallError>> + Send;

    /// Makes a call. `sent` becomes true before the first byte of it can have left.
    fn exchange(
        &self,
        connection: &mut Self::Connection,
        call: &Call<'_>,
        sent: &mut bool,
    ) -> impl Future<Output = Result<Answer, Trouble>> + Send;

    /// Asks for the store's name and version; none if it does not tell.
    fn version(&self, connection: &mut Self::Connection) -> impl Future<Output = Option<String>> + Send;

    /// Whether the other side has left the connection open, and silent.
    fn is_quiet(connection: &mut Self::Connection) -> bool;
}

/// What a store answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// What a get found.
    pub(super) value: Option<Vec<u8>>,
    /// The store's own name for the write that the call was about.
    pub(super) version: Option<String>,
}

/// Why there is no answer, or none that helps.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store says that it did nothing.
    Refused(CallError),
    /// The store says that it does not know.
    Unclear(CallError),
    /// The connection is of no more use.
    Broken(CallError),
}

/// A store with one value a key.
pub(super) struct SingleValued<P: Protocol> {
    protocol: Arc<P>,
    deadline: Duration,
    /// Those without a call, the longest idle first: so all are used alike.
    idle: Mutex<VecDeque<Open<P>>>,
    /// Where the next connection goes.
    next_node: AtomicUsize,
}

struct Open<P: Protocol> {
    connection: P::Connection,
    node: usize,
}

impl<P: Protocol> SingleValued<P> {
    /// A store whose calls end within `deadline`. Nothing is connected yet.
    pub(super) fn new(protocol: P, deadline: Duration) -> Self {
        Self {
            protocol: Arc::new(protocol),
            deadline,
            idle: Mutex::default(),
            next_node: AtomicUsize::new(0),
        }
    }

    /// How it is talked to.
    pub(super) fn protocol(&self) -> &P {
        &self.protocol
    }

    /// The same store without a connection. Those opened here are closed: they belong to the
    /// runtime that this is called on no more than to any other.
    pub(super) fn afresh(&self) -> Self {
        self.idle().clear();
        let next_node = AtomicUsize::new(self.next_node.fetch_add(1, Ordering::Relaxed));
        Self {
            protocol: Arc::clone(&self.protocol),
            deadline: self.deadline,
            idle: Mutex::default(),
            next_node,
        }
    }

    /// Opens `count` connections, evenly over the nodes, and has each node answer a get.
    ///
    /// # Errors
    /// What is wrong with which node.
    pub(super) async fn open(&self, count: usize) -> Result<(), String> {
        // Every node is asked, also if there are fewer connections to make.
        for number in 0..count.max(self.protocol.nodes()) {
            let until = Instant::now() + self.deadline;
            let node = number % self.protocol.nodes();
            let say = |why: &str| {
                let told = if number < self.protocol.nodes() {
                    String::new()
                } else {
                    format!(" (after {number} of {count} connections)")
                };
                format!("{}: {why}{told}", self.protocol.name(node))
            };
            let silent = |what: &str| say(&format!("{what} within {} ms", self.deadline.as_millis()));
            let connected = timeout_at(until, self.protocol.connect(node)).await;
            let mut connection =
                connected.map_err(|_| silent("no connection"))?.map_err(|error| say(&error.message))?;
            if number < self.protocol.nodes() {
                let call = Call {
                    kind: CallKind::Get,
                    key: 0,
                    key_name: "quorate-is-anyone-there",
                    value: ValueId { process: 0, sequence: 0 },
                    bytes: &[],
                    observe: false,
                };
                let asked =
                    timeout_at(until, self.protocol.exchange(&mut connection, &call, &mut false)).await;
                match asked {
                    Ok(Ok(_)) => {}
                    Ok(Err(Trouble::Refused(e) | Trouble::Unclear(e) | Trouble::Broken(e))) => {
                        return Err(say(&e.message));
                    }
                    Err(_) => return Err(silent("it takes connections, but does not answer")),
                }
            }
            if number < count {
                self.idle().push_back(Open { connection, node });
            }
        }
        Ok(())
    }

    /// The names and versions of all nodes, each once; none if no node tells. Over connections of their own,
    /// because who does not know the question may close them.
    pub(super) async fn version(&self) -> Option<String> {
        let mut versions = BTreeSet::new();
        for node in 0..self.protocol.nodes() {
            let asking = async {
                let mut connection = self.protocol.connect(node).await.ok()?;
                self.protocol.version(&mut connection).await
            };
            versions.extend(timeout(self.deadline, asking).await.ok().flatten());
        }
        let versions: Vec<String> = versions.into_iter().collect();
        (!versions.is_empty()).then(|| versions.join(", "))
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Open<P>>> {
        // A panic elsewhere leaves a list of connections, all still good.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self) -> Result<Open<P>, CallError> {
        loop {
            let Some(mut open) = self.idle().pop_front() else { break };
            if P::is_quiet(&mut open.connection) {
                return Ok(open);
            }
        }
        let node = self.next_node.fetch_add(1, Ordering::Relaxed) % self.protocol.nodes();
        let name = |error: CallError| CallError { message: self.named(node, &error.message), ..error };
        let connection = self.protocol.connect(node).await.map_err(name)?;
        Ok(Open { connection, node })
    }

    fn named(&self, node: usize, message: &str) -> String {
        format!("{}: {message}", self.protocol.name(node))
    }

    /// Makes a call, as a [`Target`](super::Target) does.
    pub(super) async fn call(&self, call: Call<'_>) -> Completion {
        let until = Instant::now() + self.deadline;
        let mut open = match timeout_at(until, self.connection()).await {
            Ok(Ok(open)) => open,
            // Nothing was sent.
            Ok(Err(error)) => return Completion::error(Outcome::Fail, &error.kind, error.message),
            Err(_) => return self.late(Outcome::Fail, "no connection"),
        };
        let mut sent = false;
        let exchanged =
            timeout_at(until, self.protocol.exchange(&mut open.connection, &call, &mut sent)).await;
        // A get without an answer did not happen; a write may have, once any of it was sent.
        let without_answer = if call.kind == CallKind::Get || !sent { Outcome::Fail } else { Outcome::Info };
        let node = open.node;
        let error = |outcome, error: CallError| {
            Completion::error(outcome, &error.kind, self.named(node, &error.message))
        };
        let mut completion = match exchanged {
            Ok(Ok(answer)) => {
                self.idle().push_back(open);
                return answered(&call, answer, node);
            }
            Ok(Err(Trouble::Refused(refusal))) => {
                self.idle().push_back(open);
                error(Outcome::Fail, refusal)
            }
            Ok(Err(Trouble::Unclear(doubt))) => {
                self.idle().push_back(open);
                error(without_answer, doubt)
            }
            Ok(Err(Trouble::Broken(why))) => error(without_answer, why),
            Err(_) => self.late(without_answer, &self.named(node, "no reply")),
        };
        if call.observe {
            completion.observed = Some(Box::new(Observed { via: Some(node), ..Observed::default() }));
        }
        completion
    }

    fn late(&self, outcome: Outcome, what: &str) -> Completion {
        let message = format!("{what} within {} ms", self.deadline.as_millis());
        let mut completion = Completion::error(outcome, "deadline", message);
        completion.timed_out = true;
        completion
    }
}

fn answered(call: &Call<'_>, answer: Answer, node: usize) -> Completion {
    let mut completion = Completion::ok();
    let mut values = Vec::new();
    if let Some(name) = inspect(answer.value.as_deref(), call.observe.then_some(&mut values)) {
        mark_damaged(&mut completion, call.key_name, &name);
    }
    if call.observe {
        let observed = Observed { values, context: Vec::new(), version: answer.version, via: Some(node) };
        completion.observed = Some(Box::new(observed));
    }
    completion
}
