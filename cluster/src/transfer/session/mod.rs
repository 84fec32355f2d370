//! One session of anti-entropy with one peer: finds the keys that differ and exchanges them.
//!
//! Roots first, all shared partitions in one message; then down the trees of those that differ,
//! level by level; then the fingerprints of the keys in the leaves that differ; then what the two
//! copies of each such key have seen, so that a record travels only to whoever lacks it.
//!
//! What was exchanged is no longer different: a session that fails is resumed by the next one.

mod leaf;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use quorate_env::BoxFuture;
use tokio::time::sleep;

use self::leaf::{Leaf, pieces, prints};
use crate::config::NodeId;
use crate::membership::ViewVersion;
use crate::merkle::{Descent, Node, Root, Salt};
use crate::metrics::Metrics;
use crate::quorum::ReadReply;
use crate::replica::{Keyed, LeafAnswer, Replica, Throttle, Wanted, by_print};
use crate::rpc::{CallError, Peers, Request, Response};
use crate::store::Promise;
use crate::version::Record;

/// Partitions whose roots are asked for in one message.
const ROOTS_MAX: usize = 4096;
/// Partitions that are descended into together.
const PARTITIONS_MAX: usize = 64;
/// Nodes whose children are asked for in one message.
const NODES_MAX: usize = 1024;
/// Leaves in one message.
const LEAVES_MAX: usize = 1024;
/// Fingerprints in one message.
const PRINTS_MAX: usize = 4096;
/// About how many bytes of records travel in one message; one record may exceed it.
const EXCHANGE_BYTES: usize = 256 << 10;
/// Records asked for in one message.
const WANTED_MAX: usize = 256;
/// How often a question is repeated in the middle of a session.
const RETRIES: u32 = 2;

/// How questions reach peers.
pub(super) trait Ask: Send + Sync {
    /// Asks `to`.
    fn ask(&self, to: NodeId, request: Request) -> BoxFuture<'_, Result<Response, CallError>>;
}

/// Asks over the connections to peers.
pub(super) struct AskPeers<'a> {
    pub(super) peers: &'a Peers,
    /// The view that the session is held under; it ends when that changes.
    pub(super) view: ViewVersion,
    pub(super) wait: Duration,
}

impl Ask for AskPeers<'_> {
    fn ask(&self, to: NodeId, request: Request) -> BoxFuture<'_, Result<Response, CallError>> {
        Box::pin(self.peers.call(to, self.view, request, self.wait))
    }
}

/// How a session ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Keys that differed.
    pub(super) differing: u64,
    /// Whether all roots were the same.
    pub(super) is_same: bool,
    /// The partitions that were not compared, or in which not all that differed was exchanged.
    pub(super) unfinished: BTreeSet<u32>,
}

/// Two owners comparing their copies.
pub(super) struct Session<'a, A> {
    pub(super) peer: NodeId,
    pub(super) replica: &'a Replica,
    pub(super) ask: A,
    pub(super) salt: Salt,
    /// Between two tries of one question.
    pub(super) pause: Duration,
    pub(super) metrics: &'a Metrics,
    pub(super) differing: u64,
}

/// The peer did not answer, or not in the way that it should.
#[derive(Debug, thiserror::Error)]
#[error("the session broke off: {0}")]
pub(super) struct BrokenOff(String);

type Step<T> = Result<T, BrokenOff>;

/// What is left to exchange.
#[derive(Default)]
struct ToExchange {
    give: VecDeque<(u32, Bytes)>,
    take: VecDeque<Wanted>,
}

impl<A: Ask> Session<'_, A> {
    /// Compares `partitions` and merges what differs both ways.
    pub(super) async fn run(mut self, partitions: &[u32], throttle: &mut Throttle) -> Outcome {
        let Ok((differing, mut unfinished)) = self.differing_partitions(partitions).await else {
            let unfinished = partitions.iter().copied().collect();
            return Outcome { differing: 0, is_same: false, unfinished };
        };
        let is_same = differing.is_empty() && unfinished.is_empty();
        for (number, group) in differing.chunks(PARTITIONS_MAX).enumerate() {
            if let Err(error) = self.repair(group, throttle).await {
                tracing::debug!(peer = %self.peer, %error, "anti-entropy goes on next time");
                unfinished.extend(differing[number * PARTITIONS_MAX..].iter().map(|(p, _)| *p));
                break;
            }
        }
        Outcome { differing: self.differing, is_same, unfinished }
    }

    /// The partitions that differ with the peer's roots, and those that could not be compared.
    async fn differing_partitions(&self, partitions: &[u32]) -> Step<(Vec<(u32, Root)>, BTreeSet<u32>)> {
        let (mut differing, mut unready) = (Vec::new(), BTreeSet::new());
        for page in partitions.chunks(ROOTS_MAX) {
            // No second try: a peer that is away must not hold up the others.
            let asked = self.ask.ask(self.peer, Request::Roots { partitions: page.to_vec() }).await;
            let roots = match asked {
                Ok(Response::Roots(roots)) if roots.len() == page.len() => roots,
                Ok(_) => return Err(BrokenOff("roots were asked for".into())),
                Err(error) => return Err(BrokenOff(error.to_string())),
            };
            for (partition, theirs) in page.iter().zip(roots) {
                match (theirs, self.replica.root(*partition)) {
                    (Some(theirs), Some(mine)) if theirs.is_same(&mine) => {}
                    (Some(theirs), Some(_)) => differing.push((*partition, theirs)),
                    _ => {
                        unready.insert(*partition);
                    }
                }
            }
        }
        Ok((differing, unready))
    }

    async fn repair(&mut self, partitions: &[(u32, Root)], throttle: &mut Throttle) -> Step<()> {
        for (partition, root) in partitions {
            // Comparing goes as deep as both trees; if the peer has more keys, so does this one.
            let ready = self.replica.ready_tree(*partition, root.depth, throttle).await;
            ready.map_err(|error| BrokenOff(error.to_string()))?;
        }
        let mut descent = Descent::new(self.salt, partitions.iter().map(|(partition, _)| *partition));
        loop {
            let nodes = descent.ask(NODES_MAX);
            if nodes.is_empty() {
                break;
            }
            let request = Request::TreeNodes { salt: self.salt, nodes: nodes.clone() };
            let answers = match self.insist(request).await? {
                Response::TreeNodes(answers) if answers.len() == nodes.len() => answers,
                _ => return Err(BrokenOff("tree nodes were asked for".into())),
            };
            for (node, theirs) in nodes.into_iter().zip(answers) {
                let theirs = theirs.and_then(|bytes| Salt::unpack(self.salt.sum_bytes(), &bytes));
                descent.answered(node, theirs.as_deref(), self.replica.children(node));
            }
        }
        let leaves = descent.into_leaves();
        let mut work = VecDeque::new();
        for leaves in leaves.chunk_by(|a, b| a.partition == b.partition) {
            work.extend(self.list(leaves).await?);
            while work.len() >= LEAVES_MAX || prints(&work) >= PRINTS_MAX {
                self.compare(&mut work, throttle).await?;
            }
        }
        while !work.is_empty() {
            self.compare(&mut work, throttle).await?;
        }
        Ok(())
    }

    /// What this node has under leaves of one partition, in pieces that fit a message.
    async fn list(&self, leaves: &[Node]) -> Step<Vec<Leaf>> {
        let Some(first) = leaves.first() else { return Ok(Vec::new()) };
        let nodes: BTreeSet<Node> = leaves.iter().copied().collect();
        let listed = self.replica.list(first.partition, &nodes).await;
        let mut own = by_print(self.salt, listed.map_err(|error| BrokenOff(error.to_string()))?);
        Ok(leaves
            .iter()
            .flat_map(|node| pieces(*node, own.remove(node).unwrap_or_default(), PRINTS_MAX / 2))
            .collect())
    }

    /// Compares the first leaves key by key and exchanges what differs in them.
    async fn compare(&mut self, work: &mut VecDeque<Leaf>, throttle: &mut Throttle) -> Step<()> {
        let mut asked: Vec<Leaf> = Vec::new();
        let mut prints = 0;
        while let Some(leaf) = work.pop_front() {
            prints += leaf.mine.len();
            if asked.len() >= LEAVES_MAX || (prints > PRINTS_MAX && !asked.is_empty()) {
                work.push_front(leaf);
                break;
            }
            asked.push(leaf);
        }
        let leaves = asked.iter().map(|leaf| leaf.ask(self.salt)).collect();
        let answers = match self.insist(Request::Compare { salt: self.salt, leaves }).await? {
            Response::Compared(answers) if !answers.is_empty() && answers.len() <= asked.len() => answers,
            _ => return Err(BrokenOff("a comparison was asked for".into())),
        };
        let unanswered = asked.split_off(answers.len());
        unanswered.into_iter().rev().for_each(|leaf| work.push_front(leaf));
        let mut exchange = ToExchange::default();
        for (leaf, answer) in asked.into_iter().zip(answers) {
            self.differing += self.weigh(&leaf, &answer, &mut exchange);
            if let Some(reached) = answer.reaches {
                if leaf.range.is_some_and(|(from, _)| reached < from) {
                    return Err(BrokenOff("a comparison went back".into()));
                }
                work.push_front(leaf.behind(reached, &answer.theirs));
            }
        }
        self.exchange(exchange, throttle).await
    }

    /// Decides which way each key that differs goes; how many there are.
    fn weigh(&self, leaf: &Leaf, answer: &LeafAnswer, exchange: &mut ToExchange) -> u64 {
        let partition = leaf.node.partition;
        let mut differing = 0;
        for (key, theirs) in &answer.theirs {
            let mine = self.replica.summary(partition, key);
            let take = mine.as_ref().is_none_or(|mine| mine.lacks(theirs));
            let give = mine.as_ref().is_some_and(|mine| theirs.lacks(mine));
            differing += u64::from(take || give);
            if take {
                exchange.take.push_back(Wanted { partition, key: key.clone() });
            }
            if give {
                exchange.give.push_back((partition, key.clone()));
            }
        }
        let seen: BTreeSet<&Bytes> = answer.theirs.iter().map(|(key, _)| key).collect();
        let is_part = leaf.range.is_some() || answer.reaches.is_some();
        for at in &answer.unknown {
            let Some((_, key)) = leaf.mine.get(*at as usize).filter(|(_, key)| !seen.contains(key)) else {
                continue;
            };
            differing += 1;
            exchange.give.push_back((partition, key.clone()));
            if is_part {
                // The peer may have another version under a fingerprint outside this part, and
                // merging would move it to where nobody looks again.
                exchange.take.push_back(Wanted { partition, key: key.clone() });
            }
        }
        differing
    }

    async fn exchange(&self, mut left: ToExchange, throttle: &mut Throttle) -> Step<()> {
        while !left.give.is_empty() || !left.take.is_empty() {
            let mut records = Vec::new();
            let mut bytes = 0;
            while bytes < EXCHANGE_BYTES
                && let Some((partition, key)) = left.give.pop_front()
            {
                // Gone or rotten since it was compared: there is nothing to give.
                let (ReadReply::Found(record) | ReadReply::Partial(record)) =
                    self.replica.read(partition, &key)
                else {
                    continue;
                };
                let record = Bytes::from(record.encode());
                bytes += record.len();
                records.push(Keyed { partition, key, record });
            }
            let given = records.len() as u64;
            let wanted: Vec<Wanted> = left.take.iter().take(WANTED_MAX).cloned().collect();
            if records.is_empty() && wanted.is_empty() {
                continue;
            }
            let found = match self.insist(Request::Exchange { records, wanted }).await? {
                Response::Exchanged(found) if !found.is_empty() || left.take.is_empty() => found,
                Response::Refused { why, .. } => return Err(BrokenOff(why)),
                _ => return Err(BrokenOff("an exchange was asked for".into())),
            };
            self.metrics.anti_entropy_sent.add(given);
            let taken: Vec<Wanted> = left.take.drain(..found.len().min(left.take.len())).collect();
            bytes += found.iter().flatten().map(Bytes::len).sum::<usize>();
            self.take(taken, found).await?;
            throttle.spend(bytes as u64).await;
        }
        Ok(())
    }

    /// Merges what the peer sent, all at once, so that it shares a sync.
    async fn take(&self, wanted: Vec<Wanted>, found: Vec<Option<Bytes>>) -> Step<()> {
        let store = |(wanted, bytes): (Wanted, Option<Bytes>)| async move {
            // Gone or rotten there since it was compared.
            let Some(bytes) = bytes else { return Ok(()) };
            let record = Record::decode(&bytes).map_err(|error| BrokenOff(error.to_string()))?;
            let record = std::sync::Arc::new(record);
            let stored = self.replica.store(wanted.partition, &wanted.key, &record, Promise::Synced).await;
            self.metrics.anti_entropy_received.add(1);
            stored.map_err(|error| BrokenOff(error.to_string()))
        };
        let stored = join_all(wanted.into_iter().zip(found).map(store)).await;
        stored.into_iter().collect()
    }

    /// Asks, and again when nothing came back: whatever is asked may be asked twice.
    async fn insist(&self, request: Request) -> Step<Response> {
        let mut tries = 0;
        loop {
            match self.ask.ask(self.peer, request.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) if tries == RETRIES => return Err(BrokenOff(error.to_string())),
                Err(_) => {
                    tries += 1;
                    sleep(self.pause).await;
                }
            }
        }
    }
}
