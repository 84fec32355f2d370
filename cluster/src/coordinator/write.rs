//! Puts and deletes.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_env::Leg;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::{Answer, Answers, AskedAgain, Causality, Coordinator, RequestError, TokenError};
use crate::admission::Ticket;
use crate::config::{Conflict, NodeId, QuorumKind};
use crate::marks::Mark;
use crate::membership::ViewVersion;
use crate::planted::{Bug, is_planted};
use crate::quorum::{PutEffect, PutQuorum};
use crate::ring::{Standing, position};
use crate::rpc::{CallError, Request, Response};
use crate::version::{Context, HybridClock, Payload, Record, SiblingSet, Stamped};

/// What a client learns of its put or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Covers exactly what was sent and the new write.
    pub seen: Causality,
    /// The new write, as text.
    pub version: String,
}

/// What a write has come to, whatever views it went through.
struct Progress {
    /// Whoever waits; nobody once they were told.
    answer: Option<oneshot::Sender<Result<(), RequestError>>>,
    /// Whether some node may hold the write that did not say so.
    unsure: bool,
    /// It counts as in hand until every copy is written.
    ticket: Ticket,
    /// When the copies that an acknowledgement did not wait for are given up.
    copies_until: Instant,
}

impl Progress {
    /// Until when the next step is of use: the client's deadline while it waits, afterwards the
    /// node's own, so that a hurried client does not cost copies.
    fn deadline(&self) -> Instant {
        if self.answer.is_some() { self.ticket.deadline() } else { self.copies_until }
    }
}

/// How driving a request under one view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing is left to do.
    Finished,
    /// The view changed underneath.
    Outdated,
}

/// One write on its way to its owners.
struct Write {
    key: Bytes,
    partition: u32,
    record: Arc<Record>,
    /// The same, as it is sent.
    encoded: Bytes,
}

impl Coordinator {
    /// Writes `payload` under `key` for one who has seen `seen`; no payload is a delete.
    ///
    /// # Errors
    /// See [`RequestError`]; what may have happened must be taken to have happened.
    pub async fn write(
        self: &Arc<Self>,
        key: Bytes,
        payload: Option<Payload>,
        seen: Option<Causality>,
        ticket: Ticket,
    ) -> Result<Written, RequestError> {
        self.check_key(&key)?;
        self.check_value(payload.as_ref())?;
        if self.store.is_linearizable() {
            return self.write_register(key, payload, None, ticket).await;
        }
        self.check_deadline(&ticket, self.store.w())?;
        let operation = self.begin()?;
        let view = self.views.current();
        let partition = view.placement().partition_of(&key);
        self.count_detour(&view, partition);
        let (record, written) = match self.store.conflict {
            // Registers do not come this far.
            Conflict::Siblings | Conflict::Single => self.dotted(&key, partition, payload, seen).await?,
            Conflict::LastWriteWins => self.stamped(payload, seen).await?,
        };
        let encoded = Bytes::from(record.encode());
        let write = Write { key, partition, record: Arc::new(record), encoded };
        self.check_deadline(&ticket, self.store.w())?;
        let (answer, answered) = oneshot::channel();
        // A task of its own: the client may leave, but owners must still get their copies.
        let coordinator = Arc::clone(self);
        tokio::spawn(async move {
            coordinator.drive_put(write, ticket, answer).await;
            drop(operation);
        });
        answered.await.unwrap_or(Err(RequestError::Stopping))?;
        Ok(written)
    }

    /// Refuses a value that is longer than the store takes.
    pub(super) fn check_value(&self, payload: Option<&Payload>) -> Result<(), RequestError> {
        let bytes = payload.map_or(0, |payload| payload.value.len() as u64);
        let max = self.store.value_bytes_max;
        if bytes > max { Err(RequestError::ValueTooLarge { bytes, max }) } else { Ok(()) }
    }

    /// The record of a write that keeps concurrent values.
    async fn dotted(
        self: &Arc<Self>,
        key: &Bytes,
        partition: u32,
        payload: Option<Payload>,
        seen: Option<Causality>,
    ) -> Result<(Record, Written), RequestError> {
        let context = match seen {
            None if payload.is_none() => return Err(RequestError::ContextRequired),
            None => Context::new(),
            Some(Causality::Seen(context)) => context,
            Some(Causality::Above(_)) => return Err(TokenError::Foreign.into()),
        };
        if context.is_empty() && payload.is_some() {
            self.check_sibling_limit(key, partition).await?;
        }
        let dot = self.mint.lock().unwrap_or_else(PoisonError::into_inner).next(position(key));
        if quorate_env::marks::is_counted() && context.knows_other_run_of(&dot.actor) {
            Mark::NewIncarnation.hit();
        }
        let set = match payload {
            Some(payload) => SiblingSet::put(context.clone(), dot, payload),
            None => SiblingSet::delete(context.clone(), dot),
        };
        let mut covers = context;
        covers.insert(dot);
        Ok((Record::Siblings(set), Written { seen: Causality::Seen(covers), version: dot.to_string() }))
    }

    /// The record of a write that wins over all with lower stamps.
    async fn stamped(
        &self,
        payload: Option<Payload>,
        seen: Option<Causality>,
    ) -> Result<(Record, Written), RequestError> {
        let above = match seen {
            None => None,
            Some(Causality::Above(stamp)) => stamp,
            Some(Causality::Seen(_)) => return Err(TokenError::Foreign.into()),
        };
        if let Some(stamp) = above {
            HybridClock::check_skew(self.env.clock.wall_ns(), stamp)?;
        }
        let stamp =
            self.stamps.next(above).await.map_err(|_| RequestError::DiskFull { maybe_applied: false })?;
        let written = Written { seen: Causality::Above(Some(stamp)), version: stamp.to_string() };
        Ok((Record::Latest(Stamped { stamp, payload }), written))
    }

    /// Refuses one more blind put on a key that holds too many values. An owner is asked when
    /// this node is none; if it does not answer soon, the put goes on: a limit on growth is no
    /// reason to reject a write that it may not even concern.
    async fn check_sibling_limit(self: &Arc<Self>, key: &Bytes, partition: u32) -> Result<(), RequestError> {
        let view = self.views.current();
        let list = self.write_list(&view, partition);
        let of = match list.standing(self.me) {
            Some(Standing::Primary) => Some(self.me),
            _ => list.primaries.iter().copied().find(|owner| !self.peers.is_suspected(*owner)),
        };
        let Some(of) = of else { return Ok(()) };
        let read = Request::Read { partition, key: key.clone(), own: None };
        let answer = Arc::clone(self).perform(view, of, read, self.timing.hand_over).await;
        let Ok(Response::Found(record) | Response::Partial(record)) = answer else { return Ok(()) };
        let siblings = Record::decode(&record).map_or(0, |r| r.payloads().len());
        if siblings >= self.store.sibling_limit as usize {
            return Err(RequestError::SiblingLimit { siblings, limit: self.store.sibling_limit });
        }
        Ok(())
    }

    /// Makes it another write of the same value, for [`Bug::DotMintedAgainOnRetry`].
    fn mint_again(&self, write: &mut Write) {
        if let Record::Siblings(set) = &*write.record
            && let [first] = set.siblings()
        {
            let seen = set.context().clone().without(&first.dot);
            let dot = self.mint.lock().unwrap_or_else(PoisonError::into_inner).next(position(&write.key));
            let record = Record::Siblings(SiblingSet::put(seen, dot, first.payload.clone()));
            write.encoded = Bytes::from(record.encode());
            write.record = Arc::new(record);
        }
    }

    async fn drive_put(
        self: Arc<Self>,
        mut write: Write,
        ticket: Ticket,
        answer: oneshot::Sender<Result<(), RequestError>>,
    ) {
        let copies_until = ticket.began() + self.timing.request;
        let mut progress = Progress { answer: Some(answer), unsure: false, ticket, copies_until };
        // Under a new view it is the same write with the same dot, to other owners.
        while self.drive_put_under_one_view(&write, &mut progress).await == Plan::Outdated {
            if is_planted(Bug::DotMintedAgainOnRetry) {
                self.mint_again(&mut write);
            }
        }
    }

    async fn drive_put_under_one_view(self: &Arc<Self>, write: &Write, progress: &mut Progress) -> Plan {
        let view = self.views.current();
        let list = self.write_list(&view, write.partition);
        let sets = view.write_sets(write.partition);
        let sloppy = self.store.quorum == QuorumKind::Sloppy;
        let (mut put, mut effects) =
            PutQuorum::start(&list, sets, self.store.w(), sloppy, self.me, &self.peers.suspected());
        let mut answers: Answers = FuturesUnordered::new();
        let mut disk_full = false;
        let mut refusal = None;
        let mut asked_again = AskedAgain::default();
        let mut hints: BTreeMap<NodeId, Option<NodeId>> = BTreeMap::new();
        let request = |hint_for: Option<NodeId>| Request::Store {
            partition: write.partition,
            key: write.key.clone(),
            record: write.encoded.clone(),
            hint_for,
            synced: false,
        };
        let mut expiry = pin!(sleep_until(progress.deadline()));
        loop {
            let mut done = false;
            for effect in effects.drain(..) {
                match effect {
                    PutEffect::Send { to, hint_for } => {
                        if hint_for.is_some() {
                            self.metrics.hand_overs.add(1);
                        }
                        let deadline = progress.deadline();
                        if to == self.me {
                            let keeping =
                                Arc::clone(self).keep_own(view.version(), write, hint_for, deadline);
                            answers.push(self.watched(to, keeping));
                        } else {
                            hints.insert(to, hint_for);
                            self.ask(&view, to, request(hint_for), deadline, &answers);
                        }
                    }
                    PutEffect::Acknowledge => {
                        progress.answer.take().map(|answer| answer.send(Ok(())));
                    }
                    PutEffect::Fail => {
                        let maybe_applied = progress.unsure || put.is_stored_anywhere();
                        let error = if disk_full && !put.is_stored_anywhere() {
                            RequestError::DiskFull { maybe_applied }
                        } else {
                            let (answered, needed) = (put.acknowledged(), self.store.w());
                            RequestError::too_few(
                                (answered, needed),
                                maybe_applied,
                                &progress.ticket,
                                refusal.take(),
                            )
                        };
                        progress.answer.take().map(|answer| answer.send(Err(error)));
                    }
                    PutEffect::Done => done = true,
                }
            }
            if done {
                return Plan::Finished;
            }
            if expiry.deadline() != progress.deadline() {
                expiry.as_mut().reset(progress.deadline());
            }
            let next = tokio::select! {
                biased;
                next = answers.next() => next,
                () = &mut expiry => None,
            };
            effects = match next {
                Some(Answer::Final(from, Ok(Response::Stored))) => put.stored(from),
                Some(Answer::Final(from, lost)) if asked_again.should(from, &lost) => {
                    progress.unsure = true;
                    if let Some(hint_for) = hints.get(&from) {
                        self.ask(&view, from, request(*hint_for), progress.deadline(), &answers);
                    }
                    continue;
                }
                Some(Answer::Final(_, Err(CallError::OtherView)))
                    if self.views.current().version() != view.version() =>
                {
                    progress.unsure = true;
                    Mark::ViewChangedDuringPut.hit();
                    return Plan::Outdated;
                }
                Some(Answer::Final(from, refused)) => {
                    disk_full |= matches!(&refused, Ok(Response::Refused { disk_full: true, .. }));
                    if let Ok(Response::Refused { why, .. }) = &refused {
                        refusal = Some(format!("{from}: {why}"));
                    }
                    progress.unsure |= self.may_hold(from, &refused);
                    put.failed(from)
                }
                Some(Answer::Silent(from, asking)) => {
                    self.peers.suspect(from);
                    Self::wait_on(from, asking, &answers);
                    put.silent(from)
                }
                None => break,
            };
        }
        if let Some(answer) = progress.answer.take() {
            let (answered, needed) = (put.acknowledged(), self.store.w());
            let after = progress.ticket.patience();
            let _ = answer.send(Err(RequestError::Deadline { answered, needed, after, maybe_applied: true }));
        }
        Plan::Finished
    }

    /// Keeps the copy that is this node's own, as the others are asked to keep theirs.
    fn keep_own(
        self: Arc<Self>,
        view: ViewVersion,
        write: &Write,
        hint_for: Option<NodeId>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response, CallError>> + Send + 'static {
        let (partition, key, record) = (write.partition, write.key.clone(), Arc::clone(&write.record));
        async move {
            let keep = self.local.store_own(partition, &key, &record, hint_for);
            self.perform_own(view, (Leg::Write, Leg::Ack), deadline, keep).await
        }
    }

    /// Whether a node that did not confirm a write may hold it all the same.
    fn may_hold(&self, from: NodeId, answer: &Result<Response, CallError>) -> bool {
        match answer {
            Ok(Response::Refused { why, maybe_applied, .. }) => {
                tracing::debug!(node = %from, why, "a copy was refused");
                *maybe_applied
            }
            Err(CallError::NotSent) => false,
            Ok(_) | Err(CallError::Lost | CallError::TimedOut | CallError::OtherView) => true,
        }
    }
}
