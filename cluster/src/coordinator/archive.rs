//! Backup and restore: drives `archive` over the peers.
//!
//! A backup asks first what every member keeps for others, then the partition's owners for their copies,
//! all under one view; `archive` says why that is enough. It reads as background work, which yields to
//! requests, a page of each node at a time.
//!
//! A restore merges versions, so it may be repeated, interrupted, and go on beside reads and writes. A
//! batch is done when W owners of each of its keys have it synced, in every owner set. A register is
//! restored by an operation on it, under the name that its write had, unless the key was ever written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Coordinator, RequestError};
use crate::archive::{Entry, Gathering, Portion};
use crate::config::{Conflict, NodeId, QuorumKind};
use crate::membership::{Phase, View, ViewVersion};
use crate::register::Write;
use crate::replica::Keyed;
use crate::rpc::{CallError, Request, Response};
use crate::version::{HybridClock, Record};

/// A portion ends with the page that makes it so many bytes.
const PORTION_BYTES: u64 = 512 << 10;
/// Or when putting it together has taken so long.
const PORTION_TIME: Duration = Duration::from_secs(1);
/// Registers that are restored at the same time.
const REGISTERS_AT_ONCE: usize = 32;

/// Why a part of a backup was not given, or one was not restored.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Copies are on the move.
    #[error(
        "the members are changing (view {0}), and a partition is read under one view: ask again, for all of it"
    )]
    Moving(ViewVersion),
    /// There is no such partition.
    #[error("this store has partitions 0 to {last}", last = .partitions - 1)]
    NoPartition {
        /// How many there are.
        partitions: u32,
    },
    /// Too many nodes may hold what was acknowledged, and did not say.
    #[error(
        "partition {partition}: {} not answer for all that they should hold of it, and with W = {write_quorum} at most {} may be missing: bring them back, or take what there is",
        names(.lacking), .write_quorum - 1
    )]
    NotCovered {
        /// Which.
        partition: u32,
        /// Who.
        lacking: Vec<NodeId>,
        /// W.
        write_quorum: usize,
    },
    /// What is to be restored cannot be of this store. Nothing of the batch was.
    #[error("{key}: {why}; nothing of the batch was restored")]
    Foreign {
        /// Its key, escaped.
        key: String,
        /// Why.
        why: String,
    },
    /// It failed as a put would; what was restored stays.
    #[error(transparent)]
    Request(#[from] RequestError),
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let verb = if nodes.len() == 1 { "does" } else { "do" };
    format!("{} {verb}", names.join(", "))
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Keys of which at least W owners now have what was given.
    pub restored: u64,
    /// Registers that had been written, and were left as they are.
    pub kept: u64,
    /// Of those restored, how many not all owners have yet: repair brings it to them.
    pub short: u64,
}

impl Coordinator {
    /// Some of a partition from behind `after`, merged from all who may hold what was acknowledged. With
    /// `is_partial` it is given even if too many of them do not answer.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn gather(
        self: &Arc<Self>,
        partition: u32,
        after: Option<Bytes>,
        is_partial: bool,
    ) -> Result<Portion, ArchiveError> {
        let view = self.views.current();
        let partitions = view.placement().partitions();
        if partition >= partitions {
            return Err(ArchiveError::NoPartition { partitions });
        }
        if view.version().phase != Phase::Stable {
            return Err(ArchiveError::Moving(view.version()));
        }
        let until = Instant::now() + PORTION_TIME;
        let (mut entries, mut next, mut bytes) = (Vec::new(), after, 0);
        let mut lacking = BTreeSet::new();
        loop {
            let gathered = self.gather_page(&view, partition, next).await?.end();
            lacking.extend(gathered.lacking);
            if lacking.len() >= self.store.w() && !is_partial {
                let (lacking, write_quorum) = (lacking.into_iter().collect(), self.store.w());
                return Err(ArchiveError::NotCovered { partition, lacking, write_quorum });
            }
            bytes += gathered.entries.iter().map(Entry::bytes).sum::<u64>();
            entries.extend(gathered.entries);
            next = gathered.next;
            if next.is_none() || bytes >= PORTION_BYTES || Instant::now() >= until {
                break;
            }
        }
        let now = self.views.current().version();
        if now != view.version() {
            return Err(ArchiveError::Moving(now));
        }
        Ok(Portion { view: now, entries, next, lacking: lacking.into_iter().collect() })
    }

    async fn gather_page(
        self: &Arc<Self>,
        view: &Arc<View>,
        partition: u32,
        after: Option<Bytes>,
    ) -> Result<Gathering, ArchiveError> {
        let mut gathering = Gathering::default();
        // What is kept for others counts towards W only where a quorum is sloppy. These answers come
        // before those of owners are asked for: what is handed over in between is with its owner then.
        if self.store.quorum == QuorumKind::Sloppy {
            let everybody: BTreeSet<NodeId> = view.everybody().map(|member| member.id).collect();
            let hints = everybody.iter().map(|node| {
                self.ask_for_page(view, *node, Request::Hints { partition, after: after.clone() })
            });
            for (node, answer) in everybody.iter().zip(join_all(hints).await) {
                let page = match answer? {
                    Some(Response::Hints(page)) => Some(page),
                    _ => None,
                };
                gathering.add_hints(*node, page);
            }
        }
        let owners = view.write_owners(partition);
        let copies = owners
            .iter()
            .map(|owner| self.ask_for_page(view, *owner, Request::Page { partition, after: after.clone() }));
        for (owner, answer) in owners.iter().zip(join_all(copies).await) {
            let copies = match answer? {
                Some(Response::Page(page, holding)) => Some((page, holding.standing)),
                _ => None,
            };
            gathering.add_copies(*owner, copies);
        }
        Ok(gathering)
    }

    /// What `node` answers, if it does.
    async fn ask_for_page(
        self: &Arc<Self>,
        view: &Arc<View>,
        node: NodeId,
        request: Request,
    ) -> Result<Option<Response>, ArchiveError> {
        // Who is said to be dead may be alive, but is not waited for page after page.
        let wait = if self.peers.is_suspected(node) { self.timing.hand_over } else { self.timing.request };
        match Arc::clone(self).perform(Arc::clone(view), node, request, wait).await {
            Ok(response) => Ok(Some(response)),
            Err(CallError::OtherView) => Err(ArchiveError::Moving(self.views.current().version())),
            Err(CallError::NotSent | CallError::Lost | CallError::TimedOut) => Ok(None),
        }
    }

    /// Merges records of a backup into the store.
    ///
    /// # Errors
    /// See [`ArchiveError`]; what was restored stays, and the batch may be given again.
    pub async fn restore(self: &Arc<Self>, entries: Vec<Entry>) -> Result<Restored, ArchiveError> {
        let mut copies = Vec::new();
        let mut registers = Vec::new();
        for entry in entries {
            match self.checked(&entry)? {
                Record::Single(accepted) => registers.push((entry.key, accepted.value)),
                Record::Siblings(_) | Record::Latest(_) => copies.push(entry),
            }
        }
        let mut restored = self.restore_copies(copies).await?;
        let mut registers = registers.into_iter().peekable();
        while registers.peek().is_some() {
            let some = registers.by_ref().take(REGISTERS_AT_ONCE);
            for was_restored in join_all(some.map(|(key, write)| self.restore_one(key, write))).await {
                match was_restored? {
                    true => restored.restored += 1,
                    false => restored.kept += 1,
                }
            }
        }
        Ok(restored)
    }

    /// The record of an entry, if it can be one of this store.
    fn checked(&self, entry: &Entry) -> Result<Record, ArchiveError> {
        let foreign = |why: String| {
            Err(ArchiveError::Foreign { key: format!("key \"{}\"", entry.key.escape_ascii()), why })
        };
        let record = match Record::decode(&entry.record) {
            Ok(record) => record,
            Err(error) => return foreign(error.to_string()),
        };
        let kind = match &record {
            Record::Siblings(_) => Conflict::Siblings,
            Record::Latest(_) => Conflict::LastWriteWins,
            Record::Single(_) => Conflict::Single,
        };
        if kind != self.store.conflict {
            return foreign(format!(
                "its record follows the conflict rule {kind:?}, this store {:?}",
                self.store.conflict
            ));
        }
        if let Err(error) = self.check_key(&entry.key) {
            return foreign(error.to_string());
        }
        for payload in record.payloads() {
            if let Err(error) = self.check_value(Some(payload)) {
                return foreign(error.to_string());
            }
        }
        if let Record::Latest(latest) = &record {
            HybridClock::check_skew(self.env.clock.wall_ns(), latest.stamp).map_err(RequestError::from)?;
        }
        Ok(record)
    }

    async fn restore_copies(self: &Arc<Self>, entries: Vec<Entry>) -> Result<Restored, ArchiveError> {
        let mut restored = Restored::default();
        if entries.is_empty() {
            return Ok(restored);
        }
        let _operation = self.begin()?;
        let view = self.views.current();
        let partition_of = |entry: &Entry| view.placement().partition_of(&entry.key);
        let mut for_owner: BTreeMap<NodeId, Vec<Keyed>> = BTreeMap::new();
        for entry in &entries {
            let partition = partition_of(entry);
            for owner in view.write_owners(partition) {
                let (key, record) = (entry.key.clone(), entry.record.clone());
                for_owner.entry(owner).or_default().push(Keyed { partition, key, record });
            }
        }
        let owners: Vec<NodeId> = for_owner.keys().copied().collect();
        let taken = join_all(for_owner.into_iter().map(|(owner, records)| {
            let exchange = Request::Exchange { records, wanted: Vec::new() };
            Arc::clone(self).perform(Arc::clone(&view), owner, exchange, self.timing.request)
        }));
        let mut have: BTreeSet<NodeId> = BTreeSet::new();
        let (mut why, mut is_full) = (None, false);
        for (owner, answer) in owners.into_iter().zip(taken.await) {
            match answer {
                Ok(Response::Exchanged(_)) => drop(have.insert(owner)),
                Ok(Response::Refused { why: refusal, disk_full, .. }) => {
                    is_full |= disk_full;
                    why = Some(format!("{owner}: {refusal}"));
                }
                Ok(_) => {}
                Err(error) => drop(why.get_or_insert_with(|| format!("{owner}: {error}"))),
            }
        }
        let needed = self.store.w();
        for entry in &entries {
            let sets = view.write_sets(partition_of(entry));
            let acknowledged = |set: &Vec<NodeId>| set.iter().filter(|owner| have.contains(owner)).count();
            let answered = sets.iter().map(acknowledged).min().unwrap_or(0);
            if answered < needed && is_full {
                return Err(RequestError::DiskFull { maybe_applied: true }.into());
            }
            if answered < needed {
                return Err(RequestError::QuorumNotMet { answered, needed, maybe_applied: true, why }.into());
            }
            restored.restored += 1;
            restored.short += u64::from(sets.iter().any(|set| acknowledged(set) < set.len()));
        }
        Ok(restored)
    }

    /// Whether a register was restored; otherwise it had been written.
    async fn restore_one(self: &Arc<Self>, key: Bytes, write: Write) -> Result<bool, RequestError> {
        let ticket = self.admission.admit(self.timing.request)?;
        self.restore_register(key, write, ticket).await
    }
}
