//! One client: think, choose a key, get it, write it or remove it.
//!
//! Most puts replace what the client last read (or wrote) of the key, with the context token of
//! that answer; some are blind. Values are unique, `v<client>-<number>`, so that a get tells which
//! put it saw. Where the store is linearizable, writes carry no context: some compare and set what the
//! client last read, the others overwrite whatever there is. A client keeps to one node until an operation fails there, then goes to the next,
//! and comes back to its own after a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_check::history::{Argument, Function, Value};
use quorate_client::{Client, ClientError, Effect, GetReply, PutReply, ReadOptions, WriteOptions};
use quorate_env::{Clock, RandomStream};
use rand::RngExt;

use super::recorder::{HOST_FIELD, Recorder, value_id};
use crate::members::Desk;
use crate::scenario::WorkloadSection;

/// Decides what token a put really sends, given the one that it claims to send. For tests that
/// plant a bug at this seam.
pub type Tamper = Arc<dyn Fn(u64, Option<String>) -> Option<String> + Send + Sync>;

/// The HTTP status of a compare-and-set that found something else.
const PRECONDITION_FAILED: u16 = 412;

/// After so many successes elsewhere a client goes back to its own node.
const HOME_AFTER: u32 = 20;

/// Everything a worker needs.
pub struct WorkerSetup {
    /// Its number, from 1.
    pub number: u64,
    /// The host it runs on.
    pub host: String,
    /// How it reaches the nodes.
    pub client: Client,
    /// Names of the nodes in the order in which `client` numbers them.
    pub nodes: Vec<String>,
    /// Says whom to ask.
    pub desk: Desk,
    /// The only nodes that it asks, by number; none: all that there are to ask.
    pub only: Option<Vec<usize>>,
    /// Where it writes what it saw.
    pub recorder: Recorder,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Its own random stream.
    pub random: RandomStream,
    /// What it does.
    pub section: WorkloadSection,
    /// Whether keys are registers.
    pub registers: bool,
    /// A bug to plant, if any.
    pub tamper: Option<Tamper>,
}

/// One client.
pub struct Worker {
    setup: WorkerSetup,
    process: u64,
    /// The node it asks now.
    at: usize,
    /// Successes in a row away from its own node.
    away: u32,
    written: u64,
    /// What it last learned of each key.
    known: BTreeMap<String, Known>,
}

/// A context token and the values that it covers.
#[derive(Clone)]
struct Known {
    token: String,
    values: Vec<Value>,
    /// Where keys are registers: the version, if there is a value.
    etag: Option<String>,
}

impl Worker {
    /// A client that has done nothing yet. Its own node is chosen by its number.
    #[must_use]
    pub fn new(setup: WorkerSetup) -> Self {
        let process = setup.recorder.fresh_process();
        let mut worker = Self { process, at: 0, away: 0, written: 0, known: BTreeMap::new(), setup };
        worker.at = worker.home();
        worker
    }

    /// Goes on until the clock shows `until_ns`, or it has done as much as it may; the last operation may
    /// end up to a deadline later.
    pub async fn run(mut self, until_ns: u64) {
        for _ in 0..self.setup.section.operations.unwrap_or(u64::MAX) {
            let pause = self.think();
            tokio::time::sleep(pause).await;
            if self.setup.clock.monotonic_ns() >= until_ns {
                return;
            }
            let key = format!("k{}", self.setup.random.random_range(1..=self.setup.section.keys));
            let mix = self.setup.section.mix;
            let mut draw = self.setup.random.random_range(0.0..mix.get + mix.put + mix.delete);
            let blind = self.setup.random.random_bool(self.setup.section.blind);
            let compares = self.setup.registers && self.setup.random.random_bool(self.setup.section.cas);
            let known = self.known.get(&key).cloned();
            if draw < mix.get {
                self.get(&key).await;
                continue;
            }
            draw -= mix.get;
            match known {
                _ if draw < mix.put && blind => self.put(&key, None).await,
                // Nothing known to write over: look first.
                None => self.get(&key).await,
                Some(known) if draw < mix.put && compares => self.compare_and_set(&key, known).await,
                Some(known) if draw < mix.put => self.put(&key, Some(known)).await,
                Some(known) => self.delete(&key, known).await,
            }
        }
    }

    fn roster(&self) -> Vec<usize> {
        self.setup.only.clone().unwrap_or_else(|| self.setup.desk.roster())
    }

    /// Its own node, as long as the same ones are there to ask.
    fn home(&self) -> usize {
        let roster = self.roster();
        let turn = usize::try_from(self.setup.number - 1).unwrap_or(0);
        roster.get(turn % roster.len().max(1)).copied().unwrap_or(0)
    }

    /// An exponential pause, by inversion. Whole microseconds, so that no platform rounds differently.
    fn think(&mut self) -> Duration {
        let mean_us = self.setup.section.think_time.as_micros() as f64;
        let uniform: f64 = self.setup.random.random_range(f64::EPSILON..1.0);
        Duration::from_micros((-mean_us * uniform.ln()) as u64)
    }

    async fn get(&mut self, key: &str) {
        let call = self.invoke(Function::Get, key, None, &[]);
        let reply = self.setup.client.get(key, ReadOptions { node: Some(self.at) }).await;
        match reply {
            Ok(reply) => {
                let values = ids(&reply);
                let version = reply.version.clone().map(Value::from);
                self.setup.recorder.ok(&*self.setup.clock, call, |op| {
                    op.values = Some(values.clone());
                    op.version = version;
                });
                self.known.insert(key.to_owned(), Known { token: reply.context, values, etag: reply.etag });
                self.succeeded();
            }
            Err(error) => {
                self.setup.recorder.fail(&*self.setup.clock, call, error.kind(), error.status());
                self.move_on();
            }
        }
    }

    async fn put(&mut self, key: &str, known: Option<Known>) {
        let id = self.next_id('v');
        let known = known.filter(|_| !self.setup.registers);
        let covered = known.as_ref().map(|k| k.values.clone()).unwrap_or_default();
        let call = self.invoke(Function::Put, key, Some(&id), &covered);
        let token = self.token(known);
        let body = format!("{id:<width$}", width = self.setup.section.value_bytes);
        let options =
            WriteOptions { node: Some(self.at), content_type: Some("text/plain"), ..WriteOptions::default() };
        let reply = self.setup.client.put(key, body.as_bytes(), token.as_deref(), options).await;
        if let Some(reply) = self.record_write(call, reply) {
            let mut values = covered;
            values.push(Value::from(id));
            self.known.insert(key.to_owned(), Known { token: reply.context, values, etag: reply.etag });
        } else {
            // The token may or may not cover what happened: read again before writing over it.
            self.known.remove(key);
        }
    }

    /// Replaces what it knows the key to hold, if it still does.
    async fn compare_and_set(&mut self, key: &str, known: Known) {
        let id = self.next_id('v');
        let from = known.values.first().cloned().unwrap_or(Value::Null);
        let call = self.invoke(Function::Cas, key, None, &[]);
        self.setup.recorder.amend(&call, |op| {
            op.value = Some(Argument::Pair(from, Value::from(id.as_str())));
        });
        let body = format!("{id:<width$}", width = self.setup.section.value_bytes);
        let options = WriteOptions {
            node: Some(self.at),
            content_type: Some("text/plain"),
            if_match: known.etag.as_deref(),
            if_none_match: known.etag.is_none(),
        };
        let reply = self.setup.client.put(key, body.as_bytes(), None, options).await;
        let is_mismatch = matches!(&reply, Err(error) if error.status() == Some(PRECONDITION_FAILED));
        if is_mismatch {
            // An answer like any other: what it knew was old.
            self.setup.recorder.fail(&*self.setup.clock, call, "mismatch", Some(PRECONDITION_FAILED));
            self.succeeded();
            self.known.remove(key);
        } else if let Some(reply) = self.record_write(call, reply) {
            let known = Known { token: reply.context, values: vec![Value::from(id)], etag: reply.etag };
            self.known.insert(key.to_owned(), known);
        } else {
            self.known.remove(key);
        }
    }

    async fn delete(&mut self, key: &str, known: Known) {
        let id = self.next_id('d');
        let known = Some(known).filter(|_| !self.setup.registers);
        let covered = known.as_ref().map(|k| k.values.clone()).unwrap_or_default();
        let call = self.invoke(Function::Delete, key, Some(&id), &covered);
        let token = self.token(known);
        let options = WriteOptions { node: Some(self.at), ..WriteOptions::default() };
        let reply = self.setup.client.delete(key, token.as_deref(), options).await;
        let _ = self.record_write(call, reply);
        self.known.remove(key);
    }

    fn token(&self, known: Option<Known>) -> Option<String> {
        let token = known.map(|k| k.token);
        match &self.setup.tamper {
            Some(tamper) => tamper(self.setup.number, token),
            None => token,
        }
    }

    fn next_id(&mut self, letter: char) -> String {
        self.written += 1;
        format!("{letter}{}-{}", self.setup.number, self.written)
    }

    fn invoke(&self, f: Function, key: &str, value: Option<&str>, context: &[Value]) -> super::Call {
        self.setup.recorder.invoke(&*self.setup.clock, self.process, f, key, |op| {
            op.value = value.map(Into::into);
            op.context = context.to_vec();
            op.via = self.setup.nodes.get(self.at).map(|n| Value::from(n.as_str()));
            op.extra.insert(HOST_FIELD.into(), self.setup.host.as_str().into());
        })
    }

    fn record_write(&mut self, call: super::Call, reply: Result<PutReply, ClientError>) -> Option<PutReply> {
        let (recorder, clock) = (&self.setup.recorder, &*self.setup.clock);
        match reply {
            Ok(reply) => {
                let version = reply.version.clone().map(Value::from);
                recorder.ok(clock, call, |op| op.version = version);
                self.succeeded();
                Some(reply)
            }
            Err(error) => {
                match error.effect() {
                    Effect::Never => recorder.fail(clock, call, error.kind(), error.status()),
                    Effect::Unknown => {
                        recorder.info(clock, call, error.kind(), error.status());
                        self.process = recorder.fresh_process();
                    }
                }
                self.move_on();
                None
            }
        }
    }

    fn succeeded(&mut self) {
        let home = self.home();
        if self.at != home {
            self.away += 1;
            if self.away >= HOME_AFTER {
                self.at = home;
            }
        }
    }

    fn move_on(&mut self) {
        let roster = self.roster();
        let next = roster.iter().find(|node| **node > self.at).or(roster.first());
        self.at = next.copied().unwrap_or(self.at);
        self.away = 0;
    }
}

/// The values of a reply as histories name them.
fn ids(reply: &GetReply) -> Vec<Value> {
    reply.values.iter().map(|v| value_id(&v.bytes)).collect()
}
