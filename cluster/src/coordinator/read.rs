//! Gets, and read repair after them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_env::Leg;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::write::Plan;
use super::{Answer, Answers, AskedAgain, Asking, Causality, Coordinator, RequestError};
use crate::admission::Ticket;
use crate::config::{Conflict, NodeId, QuorumKind};
use crate::marks::Mark;
use crate::membership::{View, ViewVersion};
use crate::planted::{Bug, is_planted};
use crate::quorum::{GetEffect, GetQuorum, ReadReply};
use crate::rpc::{CallError, Request, Response};
use crate::version::{Fingerprint, Payload, Record};

/// How many votes a get waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Votes {
    /// R.
    Quorum,
    /// All N owners, and nobody else: what a test asks at the end.
    AllOwners,
}

/// What a get found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The values: none, one, or siblings.
    pub payloads: Vec<Payload>,
    /// Covers exactly what was found, deletes included.
    pub seen: Causality,
    /// The writes behind the values, as text; of a deleted key its delete if known.
    pub versions: Vec<String>,
    /// Whether the key is a register: then its one version is its `ETag`.
    pub is_register: bool,
}

impl Read {
    /// What a record says to a client.
    #[must_use]
    pub fn of(record: Option<&Record>, conflict: Conflict) -> Self {
        let is_register = conflict == Conflict::Single;
        let Some(record) = record else {
            let seen = Causality::nothing(conflict);
            return Self { payloads: Vec::new(), seen, versions: Vec::new(), is_register };
        };
        let seen = match record {
            Record::Siblings(set) => Causality::Seen(set.context().clone()),
            Record::Latest(latest) => Causality::Above(Some(latest.stamp)),
            Record::Single(_) => Causality::Above(None),
        };
        let payloads = record.payloads().into_iter().cloned().collect();
        Self { payloads, seen, versions: record.versions(), is_register }
    }
}

impl Coordinator {
    /// Reads `key` from as many nodes as `votes` says.
    ///
    /// # Errors
    /// See [`RequestError`]; too few votes are an error, never "not found".
    pub async fn read(
        self: &Arc<Self>,
        key: Bytes,
        votes: Votes,
        ticket: Ticket,
    ) -> Result<Read, RequestError> {
        if self.store.is_linearizable() {
            return self.read_register(key, votes, ticket).await;
        }
        self.check_key(&key)?;
        self.check_deadline(&ticket, self.needed(votes))?;
        let operation = self.begin()?;
        let view = self.views.current();
        self.count_detour(&view, view.placement().partition_of(&key));
        let (answer, answered) = oneshot::channel();
        let coordinator = Arc::clone(self);
        tokio::spawn(async move {
            coordinator.drive_get(key, votes, ticket, answer).await;
            drop(operation);
        });
        answered.await.unwrap_or(Err(RequestError::Stopping))
    }

    async fn drive_get(
        self: Arc<Self>,
        key: Bytes,
        votes: Votes,
        ticket: Ticket,
        answer: oneshot::Sender<Result<Read, RequestError>>,
    ) {
        let mut answer = Some(answer);
        while self.drive_get_under_one_view(&key, votes, &ticket, &mut answer).await == Plan::Outdated {}
    }

    fn needed(&self, votes: Votes) -> usize {
        match votes {
            Votes::Quorum => self.store.r(),
            Votes::AllOwners => self.store.n(),
        }
    }

    async fn drive_get_under_one_view(
        self: &Arc<Self>,
        key: &Bytes,
        votes: Votes,
        ticket: &Ticket,
        answer: &mut Option<oneshot::Sender<Result<Read, RequestError>>>,
    ) -> Plan {
        let deadline = ticket.deadline();
        let view = self.views.current();
        let partition = view.placement().partition_of(key);
        let list = self.read_list(&view, partition);
        let needed = self.needed(votes);
        let sloppy = votes == Votes::Quorum && self.store.quorum == QuorumKind::Sloppy;
        let (mut get, mut effects) = GetQuorum::start(&list, needed, sloppy, &self.peers.suspected());
        let mut answers: Answers<Heard> = FuturesUnordered::new();
        let mut asked_again = AskedAgain::default();
        let mut own: Option<Own> = None;
        let ask = |to: NodeId, own: &Option<Own>| {
            let own = own.as_ref().map(|own| own.fingerprint);
            let read = Request::Read { partition, key: key.clone(), own };
            let wait = deadline.saturating_duration_since(Instant::now());
            let asked = Arc::clone(self).perform(Arc::clone(&view), to, read, wait);
            self.watched(to, async move { asked.await.map(Heard::Peer) })
        };
        let mut expiry = pin!(sleep_until(deadline));
        loop {
            let mut done = false;
            let mut at_once = None;
            // This node's own copy first, so that the others need not send what is here already.
            effects.sort_by_key(|effect| *effect != GetEffect::Send { to: self.me });
            for effect in effects.drain(..) {
                match effect {
                    GetEffect::Send { to } if to == self.me => {
                        let read =
                            Arc::clone(self).read_own((view.version(), partition), key.clone(), deadline);
                        let mut reading: Asking<Heard> = Box::pin(read);
                        match poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
                            Poll::Ready(heard) => {
                                own = heard.as_ref().ok().and_then(Own::of);
                                at_once = Some(Answer::Final(to, heard));
                            }
                            // The others are not kept waiting for it.
                            Poll::Pending => answers.push(self.watched(to, reading)),
                        }
                    }
                    GetEffect::Send { to } => answers.push(ask(to, &own)),
                    GetEffect::Answer => {
                        let read = Read::of(get.merged(), self.store.conflict);
                        answer.take().map(|answer| answer.send(Ok(read)));
                    }
                    GetEffect::Fail => {
                        let error = RequestError::too_few((get.votes(), needed), false, ticket, None);
                        answer.take().map(|answer| answer.send(Err(error)));
                    }
                    GetEffect::Done => done = true,
                }
            }
            if done {
                break;
            }
            let next = match at_once {
                Some(answer) => Some(answer),
                None => tokio::select! {
                    biased;
                    next = answers.next() => next,
                    () = &mut expiry => None,
                },
            };
            effects = match next {
                Some(Answer::Final(from, Ok(heard))) => match reply_of(heard, own.as_ref()) {
                    Some(reply) => {
                        self.observe(&reply);
                        get.replied(from, reply)
                    }
                    None => get.failed(from),
                },
                Some(Answer::Final(from, lost)) if asked_again.should(from, &lost) => {
                    answers.push(ask(from, &own));
                    continue;
                }
                Some(Answer::Final(_, Err(CallError::OtherView)))
                    if answer.is_some() && self.views.current().version() != view.version() =>
                {
                    return Plan::Outdated;
                }
                Some(Answer::Final(from, Err(_))) => get.failed(from),
                Some(Answer::Silent(from, asking)) => {
                    self.peers.suspect(from);
                    Self::wait_on(from, asking, &answers);
                    get.silent(from)
                }
                None => break,
            };
        }
        if let Some(answer) = answer.take() {
            let after = ticket.patience();
            let _ = answer.send(Err(RequestError::Deadline {
                answered: get.votes(),
                needed,
                after,
                maybe_applied: false,
            }));
        }
        if self.store.read_repair {
            self.repair(&view, key, partition, &get).await;
        }
        Plan::Finished
    }

    /// Reads this node's own copy as the others are asked for theirs.
    async fn read_own(
        self: Arc<Self>,
        (view, partition): (ViewVersion, u32),
        key: Bytes,
        deadline: Instant,
    ) -> Result<Heard, CallError> {
        let read = async {
            let (reply, fingerprint) = self.local.read_own(partition, &key);
            Heard::Own(reply, fingerprint)
        };
        self.perform_own(view, (Leg::Read, Leg::Response), deadline, read).await
    }

    /// Puts that come after this answer are stamped above what it holds.
    fn observe(&self, reply: &ReadReply) {
        if let ReadReply::Found(record) | ReadReply::Partial(record) = reply
            && let Record::Latest(latest) = &**record
        {
            self.stamps.observe(latest.stamp);
        }
    }

    /// Gives stale owners what the get found (Dynamo, section 5). Best effort: what fails is
    /// left to anti-entropy.
    async fn repair(self: &Arc<Self>, view: &Arc<View>, key: &Bytes, partition: u32, get: &GetQuorum) {
        let mut stale = get.stale_owners();
        let Some(merged) = get.merged().filter(|_| !stale.is_empty()) else { return };
        if quorate_env::marks::is_counted() && self.is_ahead_of(merged, partition, key) {
            Mark::RepairRacedWrite.hit();
        }
        let mut record = Bytes::from(merged.encode());
        let older = get.older_copy().filter(|_| is_planted(Bug::ReadRepairWritesOlder));
        if let Some(older) = older {
            record = Bytes::from(older.encode());
            stale = self.read_list(view, partition).primaries;
        }
        let wait = self.timing.request;
        let mut repairs: FuturesUnordered<_> = stale
            .into_iter()
            .map(|owner| {
                self.metrics.read_repairs.add(1);
                let (key, record) = (key.clone(), record.clone());
                // To an owner itself nobody sends a hint: that is how the planted bug is known there.
                let hint_for = older.map(|_| owner);
                let store = Request::Store { partition, key, record, hint_for, synced: false };
                Arc::clone(self).perform(Arc::clone(view), owner, store, wait)
            })
            .collect();
        while repairs.next().await.is_some() {}
    }

    /// Whether this node's own copy knows of writes that `found` does not.
    fn is_ahead_of(&self, found: &Record, partition: u32, key: &[u8]) -> bool {
        let ReadReply::Found(own) = self.local.replica.read(partition, key) else { return false };
        found.clone().merge(Arc::unwrap_or_clone(own)).is_ok_and(|both| both != *found)
    }
}

/// What a node said of its copy.
enum Heard {
    /// Another node.
    Peer(Response),
    /// This one, with the fingerprint of its copy.
    Own(ReadReply, Option<Fingerprint>),
}

/// This node's own copy, as the others are told of it.
struct Own {
    fingerprint: Fingerprint,
    record: Arc<Record>,
}

impl Own {
    fn of(heard: &Heard) -> Option<Self> {
        match heard {
            Heard::Own(ReadReply::Found(record) | ReadReply::Partial(record), Some(fingerprint)) => {
                Some(Self { fingerprint: *fingerprint, record: Arc::clone(record) })
            }
            Heard::Own(..) | Heard::Peer(_) => None,
        }
    }
}

/// What a node said as a vote; nothing if it is none. `own` is what the node was told of.
fn reply_of(heard: Heard, own: Option<&Own>) -> Option<ReadReply> {
    let response = match heard {
        Heard::Own(reply, _) => return Some(reply),
        Heard::Peer(response) => response,
    };
    let (record, complete) = match response {
        Response::Found(bytes) => (Record::decode(&bytes).ok().map(Arc::new), true),
        Response::Partial(bytes) => (Record::decode(&bytes).ok().map(Arc::new), false),
        Response::Same { complete } => (Some(Arc::clone(&own?.record)), complete),
        Response::NotFound { complete } => return Some(ReadReply::NotFound { complete }),
        Response::Damaged => return Some(ReadReply::Damaged),
        _ => return None,
    };
    let kind = if complete { ReadReply::Found } else { ReadReply::Partial };
    Some(record.map_or(ReadReply::Damaged, kind))
}
