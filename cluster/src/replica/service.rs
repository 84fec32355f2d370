//! Answers a peer's request, or the coordinator's own, from this node's copies.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use quorate_env::BoxFuture;

use super::{Replica, ReplicaError, Tombstone};
use crate::admission::Background;
use crate::config::NodeId;
use crate::marks::Mark;
use crate::membership::{Gap, Views};
use crate::metrics::Counter;
use crate::planted::{Bug, is_planted};
use crate::quorum::ReadReply;
use crate::register::{Accepted, Seen, Vote};
use crate::rpc::{AskVoter, Holding, Request, Response, Service, Standing};
use crate::store::{Promise, StoreError};
use crate::version::{Fingerprint, Record};

/// One node's copies as its peers see them.
pub struct ReplicaService {
    /// This node.
    pub me: NodeId,
    /// Who owns what.
    pub views: Arc<Views>,
    /// The copies.
    pub replica: Arc<Replica>,
    /// Hears how long requests take, and holds up what is not urgent.
    pub background: Arc<Background>,
    /// Counts deleted keys that were forgotten here.
    pub tombstones_collected: Arc<Counter>,
}

impl Service for ReplicaService {
    fn handle(self: Arc<Self>, from: NodeId, request: Request) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let served = Served::of(&request);
            if let Served::Background { bytes } = served {
                self.background.slot_for_peer(bytes).await;
            }
            let began_ns = self.replica.clock.monotonic_ns();
            let response = self.answer(from, request).await;
            if served == Served::Foreground {
                self.background.served_since(began_ns);
            }
            // How much it is turns out only now; whoever asked goes on when it has the answer.
            if let Response::Page(page, _) | Response::Hints(page) = &response {
                self.background.slot_for_peer(page.bytes()).await;
            }
            response
        })
    }
}

/// For whom a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// A client waits for it.
    Foreground,
    /// Some node brings copies to where they belong.
    Background { bytes: u64 },
    /// It is about nodes, or costs next to nothing.
    Neither,
}

impl Served {
    fn of(request: &Request) -> Self {
        match request {
            Request::Read { .. } | Request::Store { synced: false, .. } => Self::Foreground,
            Request::Register { .. } => Self::Foreground,
            Request::Store { record, .. } => Self::Background { bytes: record.len() as u64 },
            Request::Exchange { records, .. } => {
                Self::Background { bytes: records.iter().map(|keyed| keyed.record.len() as u64).sum() }
            }
            _ => Self::Neither,
        }
    }
}

impl ReplicaService {
    fn holding(&self, partition: u32) -> Holding {
        let holdings = self.replica.holdings();
        let standing = match holdings.gap(partition) {
            None if holdings.is_named() && holdings.is_proven() => Standing::Whole,
            None => Standing::Lacking,
            Some(Gap::New) => Standing::New,
            Some(_) => Standing::Lacking,
        };
        Holding { standing, age_ms: u64::try_from(holdings.age().as_millis()).unwrap_or(u64::MAX) }
    }

    async fn answer(&self, from: NodeId, request: Request) -> Response {
        match request {
            Request::Ping => Response::Pong,
            Request::Clock => Response::Clock { wall_ns: self.replica.clock.wall_ns() },
            Request::Read { partition, key, own } => match self.checked(partition, &key) {
                Ok(()) => answer_to_read(self.read(partition, &key), own),
                Err(refused) => refused,
            },
            Request::Store { partition, key, record, hint_for, synced } => {
                let stored = self.store(partition, &key, &record, hint_for, synced).await;
                stored.map_or_else(|refused| refused, |()| Response::Stored)
            }
            Request::Register { partition, key, ask } => {
                self.register(partition, &key, ask).await.unwrap_or_else(|refused| refused)
            }
            Request::VoterName => Response::VoterName(self.replica.holdings().voter_name()),
            Request::FetchView => Response::View(Box::new((*self.views.current()).clone())),
            Request::LearnView { view } => match self.views.learn(*view).await {
                Ok(_) => Response::Learned,
                Err(error) => Response::refused(error.to_string(), false),
            },
            Request::TakeOrder { view } => match self.views.take_order(*view).await {
                Ok(_) => Response::Learned,
                Err(error) => Response::refused(error.to_string(), false),
            },
            Request::Vote { epoch, ballot, view } => {
                match self.views.vote(epoch, ballot, view.map(|v| *v)).await {
                    Ok(vote) => Response::Vote(vote.map(Box::new)),
                    Err(error) => Response::refused(error.to_string(), true),
                }
            }
            Request::Introduce { disk } => match self.views.introduced(from, disk).await {
                Ok(Some(disks)) => Response::Introduced(disks),
                Ok(None) => {
                    Response::refused("only the first members introduce themselves, and only at first", false)
                }
                Err(error) => Response::refused(error.to_string(), true),
            },
            Request::Report(report) => {
                self.views.heard(from, report);
                Response::Report(self.views.own_report())
            }
            Request::Gossip(_) => Response::refused("nothing answers gossip", false),
            Request::Page { partition, after } => {
                // First how it holds the partition: a gap may be closed while the page is read.
                let holding = self.holding(partition);
                match self.replica.page(partition, after.as_deref()) {
                    Ok(page) => Response::Page(page, holding),
                    Err(error) => Response::refused(format!("{from} asked for a page: {error}"), false),
                }
            }
            Request::Hints { partition, after } => {
                match self.replica.hints_page(partition, after.as_deref()) {
                    Ok(page) => Response::Hints(page),
                    Err(error) => Response::refused(format!("{from} asked for hints: {error}"), false),
                }
            }
            Request::Mark { mark } => Response::Mark { before: self.views.marked(from, mark) },
            Request::Standing { partition } => Response::Standing(self.holding(partition)),
            Request::Roots { partitions } => {
                Response::Roots(partitions.into_iter().map(|p| self.replica.root(p)).collect())
            }
            Request::Quiet => self.quiet().await.map_or_else(|refused| refused, Response::Quiet),
            Request::Tombstones { partition, after } => {
                self.tombstones(partition, after.as_deref()).await.unwrap_or_else(|refused| refused)
            }
            Request::Forget { partition, tombstones } => {
                self.forget(partition, &tombstones).await.unwrap_or_else(|refused| refused)
            }
            Request::TreeNodes { salt, nodes } => self.tree_nodes(salt, &nodes),
            Request::Compare { salt, leaves } => match self.compare(salt, &leaves).await {
                Ok(answers) => Response::Compared(answers),
                Err(error) => Response::refused(format!("{from} asked for a comparison: {error}"), false),
            },
            Request::Exchange { records, wanted } => match self.exchange(&records, &wanted).await {
                Ok(records) => Response::Exchanged(records),
                Err(refused) => refused,
            },
        }
    }

    /// What this node has of a key: its copy as an owner, else what it keeps for the owners. A copy comes
    /// with its fingerprint.
    #[must_use]
    pub fn read(&self, partition: u32, key: &[u8]) -> (ReadReply, Option<Fingerprint>) {
        let owners = self.views.current().write_owners(partition);
        if owners.contains(&self.me) {
            self.replica.read_for_client(partition, key)
        } else {
            (self.replica.read_hints(&owners, partition, key), None)
        }
    }

    /// As [`ReplicaService::read`], for this node's own coordinator.
    #[must_use]
    pub fn read_own(&self, partition: u32, key: &[u8]) -> (ReadReply, Option<Fingerprint>) {
        let began_ns = self.replica.clock.monotonic_ns();
        let read = self.read(partition, key);
        self.background.served_since(began_ns);
        read
    }

    /// Keeps a record for this node's own coordinator, as [`Request::Store`] asks a peer to.
    pub async fn store_own(
        &self,
        partition: u32,
        key: &[u8],
        record: &Arc<Record>,
        hint_for: Option<NodeId>,
    ) -> Response {
        let began_ns = self.replica.clock.monotonic_ns();
        let kept = self.keep(partition, key, record, hint_for, false).await;
        self.background.served_since(began_ns);
        kept.map_or_else(|refused| refused, |()| Response::Stored)
    }

    pub(super) async fn store(
        &self,
        partition: u32,
        key: &[u8],
        record: &Bytes,
        hint_for: Option<NodeId>,
        synced: bool,
    ) -> Result<(), Response> {
        self.checked(partition, key)?;
        let record = Record::decode(record).map_err(|e| Response::refused(e.to_string(), false))?;
        self.keep(partition, key, &Arc::new(record), hint_for, synced).await
    }

    async fn keep(
        &self,
        partition: u32,
        key: &[u8],
        record: &Arc<Record>,
        hint_for: Option<NodeId>,
        synced: bool,
    ) -> Result<(), Response> {
        let at_least = if synced { Promise::Synced } else { Promise::Memory };
        let is_owner = self.views.current().write_owners(partition).contains(&self.me);
        let stored = match hint_for {
            Some(owner) if owner == self.me && is_planted(Bug::ReadRepairWritesOlder) => {
                self.replica.overwrite(partition, key, record).await
            }
            Some(owner) if !is_owner => {
                self.replica.store_hint(owner, partition, key, record, at_least).await
            }
            // An owner keeps what it is given as its own copy, whoever else lacks it.
            Some(_) | None if is_owner => self.replica.store(partition, key, record, at_least).await,
            Some(_) | None => {
                return Err(Response::refused("this node does not own the key's partition", false));
            }
        };
        stored.map_err(refusal)
    }

    /// Does this node's part in an operation on a register that it owns.
    async fn register(&self, partition: u32, key: &[u8], ask: AskVoter) -> Result<Response, Response> {
        self.checked(partition, key)?;
        if !self.views.current().write_owners(partition).contains(&self.me) {
            return Err(Response::refused("this node does not own the key's partition", false));
        }
        let answer = match ask {
            AskVoter::Look { whole } => self.replica.look(partition, key).await.map(|accepted| {
                let seen = |Accepted { ballot, value }| Seen { ballot, write: whole.then_some(value) };
                Response::Looked(accepted.map(seen))
            }),
            AskVoter::Promise { ballot, whole } => {
                self.replica.promise(partition, key, ballot).await.map(|mut vote| {
                    if let (Vote::Promise(Some(accepted)), false) = (&mut vote, whole) {
                        accepted.value.payload = None;
                    }
                    Response::Voted(vote)
                })
            }
            AskVoter::Accept { ballot, write } => {
                self.replica.accept(partition, key, ballot, write).await.map(Response::Voted)
            }
        };
        answer.map_err(refusal)
    }

    /// Tells of deleted keys. That they are is on disk first: no crash must show what was deleted.
    async fn tombstones(&self, partition: u32, after: Option<&[u8]>) -> Result<Response, Response> {
        let refused = |error: StoreError| Response::refused(error.to_string(), false);
        let page = self.replica.tombstones(partition, after).map_err(refused)?;
        if !page.tombstones.is_empty() {
            self.replica.flush().await.map_err(refused)?;
        }
        Ok(Response::Tombstones(page))
    }

    /// Forgets deleted keys, all at once, so that few copies are compared in between.
    async fn forget(&self, partition: u32, tombstones: &[Tombstone]) -> Result<Response, Response> {
        let view = self.views.current();
        if !view.may_forget() && !is_planted(Bug::TombstoneCollectedEarly) {
            return Err(Response::refused("nothing is forgotten in this view", false));
        }
        let may_forget = || self.views.current().version() == view.version();
        let forgotten =
            join_all(tombstones.iter().map(|one| self.replica.forget(partition, one, may_forget))).await;
        let mut count = 0;
        for one in forgotten {
            count += u64::from(one.map_err(|error| Response::refused(error.to_string(), true))?);
        }
        self.tombstones_collected.add(count);
        if count > 0 {
            Mark::TombstoneCollected.hit();
        }
        Ok(Response::Forgotten(count))
    }

    pub(super) fn checked(&self, partition: u32, key: &[u8]) -> Result<(), Response> {
        if self.views.current().placement().partition_of(key) == partition {
            Ok(())
        } else {
            Err(Response::refused("the key does not belong to that partition", false))
        }
    }
}

/// Says that a copy was not stored.
fn refusal(error: ReplicaError) -> Response {
    let maybe_applied = matches!(&error, ReplicaError::Store(e) if e.maybe_applied());
    let disk_full = matches!(&error, ReplicaError::Store(StoreError::Full { .. }));
    Response::Refused { why: error.to_string(), maybe_applied, disk_full }
}

/// What goes over the wire: a copy only if whoever asks has another one.
fn answer_to_read((reply, here): (ReadReply, Option<Fingerprint>), own: Option<Fingerprint>) -> Response {
    let (record, complete) = match reply {
        ReadReply::Found(record) => (record, true),
        ReadReply::Partial(record) => (record, false),
        ReadReply::NotFound { complete } => return Response::NotFound { complete },
        ReadReply::Damaged => return Response::Damaged,
    };
    if own.is_some() && own == here {
        return Response::Same { complete };
    }
    let bytes = Bytes::from(record.encode());
    if complete { Response::Found(bytes) } else { Response::Partial(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Payload, Stamp, Stamped};

    fn record(value: &'static str) -> Record {
        let stamp = Stamp { wall_ns: 1, incarnation: 1, sequence: 1 };
        Record::Latest(Stamped { stamp, payload: Some(Payload::bytes(value)) })
    }

    #[test]
    fn a_copy_is_sent_to_whoever_has_another_or_none() {
        let mine = Bytes::from(record("mine").encode());
        let (same, other) = (Fingerprint::of(&mine), Fingerprint::of(&record("other").encode()));
        let found = || (ReadReply::Found(Arc::new(record("mine"))), Some(same));
        assert_eq!(answer_to_read(found(), None), Response::Found(mine.clone()));
        assert_eq!(answer_to_read(found(), Some(other)), Response::Found(mine.clone()));
        assert_eq!(answer_to_read(found(), Some(same)), Response::Same { complete: true });
        let partial = || (ReadReply::Partial(Arc::new(record("mine"))), Some(same));
        let unknown = (ReadReply::Found(Arc::new(record("mine"))), None);
        assert_eq!(answer_to_read(unknown, None), Response::Found(mine.clone()), "nothing is like nothing");
        assert_eq!(answer_to_read(partial(), Some(other)), Response::Partial(mine));
        assert_eq!(answer_to_read(partial(), Some(same)), Response::Same { complete: false }, "no vote");
        let nothing = (ReadReply::NotFound { complete: true }, None);
        assert_eq!(answer_to_read(nothing, Some(same)), Response::NotFound { complete: true });
    }
}
