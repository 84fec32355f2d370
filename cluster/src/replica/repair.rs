//! The answering side of anti-entropy: tree nodes, comparisons key by key, exchanges of records.
//!
//! Nothing is kept between two questions, so a session that breaks off leaves nothing behind.
//! Every answer is bounded; one that would be too long stops early and says where.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{Listed, ReplicaService, Summary};
use crate::merkle::{Node, Salt};
use crate::quorum::ReadReply;
use crate::rpc::Response;
use crate::store::StoreError;

/// About how many bytes an answer may have; one record may exceed it.
pub(crate) const ANSWER_BYTES: usize = 256 << 10;

/// What the names of a summary take at most, about.
const SUMMARY_BYTES: usize = 256;

/// What one side has under a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafAsk {
    /// The node.
    pub node: Node,
    /// The fingerprints that this is about, both ends included; all of them if there is none.
    pub range: Option<(u64, u64)>,
    /// The fingerprints that the sender has in that range, ascending, as [`Salt::pack`] packs them.
    pub prints: Bytes,
}

/// What differs under a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafAnswer {
    /// The last fingerprint that was compared; none when the range was compared whole.
    pub reaches: Option<u64>,
    /// Keys whose fingerprints the asker has not, and what their records have seen.
    pub theirs: Vec<(Bytes, Summary)>,
    /// Which of the asker's fingerprints are unknown here, counted from 0.
    pub unknown: Vec<u32>,
}

/// A record to be merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// The key's partition.
    pub partition: u32,
    /// The key.
    pub key: Bytes,
    /// The encoded record.
    pub record: Bytes,
}

/// A key whose record is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The key's partition.
    pub partition: u32,
    /// The key.
    pub key: Bytes,
}

impl ReplicaService {
    pub(super) fn tree_nodes(&self, salt: Salt, nodes: &[Node]) -> Response {
        let packed = |node: &Node| {
            let sums = self.replica.children(*node)?;
            Some(Bytes::from(Salt::pack(salt.sum_bytes(), sums.into_iter().map(|sum| salt.sum(sum)))))
        };
        Response::TreeNodes(nodes.iter().map(packed).collect())
    }

    /// # Errors
    /// When the engine cannot be read.
    pub(super) async fn compare(
        &self,
        salt: Salt,
        leaves: &[LeafAsk],
    ) -> Result<Vec<LeafAnswer>, StoreError> {
        let mut answers = Vec::with_capacity(leaves.len());
        let mut room = ANSWER_BYTES;
        // One listing serves all leaves of a partition that are asked for behind each other.
        for group in leaves.chunk_by(|a, b| a.node.partition == b.node.partition) {
            let Some(first) = group.first() else { continue };
            let nodes: BTreeSet<Node> = group.iter().map(|ask| ask.node).collect();
            let listed = self.replica.list(first.node.partition, &nodes).await?;
            let own = by_print(salt, listed);
            for ask in group {
                let none = Vec::new();
                answers.push(self.compare_leaf(salt, ask, own.get(&ask.node).unwrap_or(&none), &mut room));
                if room == 0 {
                    return Ok(answers);
                }
            }
        }
        Ok(answers)
    }

    fn compare_leaf(&self, salt: Salt, ask: &LeafAsk, own: &[(u64, Bytes)], room: &mut usize) -> LeafAnswer {
        let asked = Salt::unpack(salt.print_bytes(), &ask.prints).unwrap_or_default();
        let known: BTreeSet<u64> = asked.iter().copied().collect();
        let (from, upto) = ask.range.unwrap_or((0, u64::MAX));
        let mut answer = LeafAnswer::default();
        let mut last = None;
        for (print, key) in own.iter().filter(|(print, _)| (from..=upto).contains(print)) {
            // Only between fingerprints, so that the rest can be asked for.
            if *room == 0 && last != Some(*print) {
                answer.reaches = last;
                break;
            }
            last = Some(*print);
            if known.contains(print) {
                continue;
            }
            if let Some(summary) = self.replica.summary(ask.node.partition, key) {
                *room = room.saturating_sub(key.len() + SUMMARY_BYTES);
                answer.theirs.push((key.clone(), summary));
            }
        }
        let reaches = answer.reaches.unwrap_or(u64::MAX);
        let own: BTreeSet<u64> = own.iter().map(|(print, _)| *print).collect();
        let unknown = (0_u32..).zip(&asked).filter(|(_, print)| **print <= reaches && !own.contains(print));
        answer.unknown = unknown.map(|(at, _)| at).collect();
        answer
    }

    /// # Errors
    /// What to answer when some record was not stored.
    pub(super) async fn exchange(
        &self,
        records: &[Keyed],
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Bytes>>, Response> {
        // Before anything is merged: what the asker sends it need not get back.
        let mut found = Vec::with_capacity(wanted.len());
        let mut bytes = 0;
        for Wanted { partition, key } in wanted {
            self.checked(*partition, key)?;
            let record = match self.replica.read(*partition, key) {
                ReadReply::Found(record) | ReadReply::Partial(record) => Some(Bytes::from(record.encode())),
                ReadReply::NotFound { .. } | ReadReply::Damaged => None,
            };
            bytes += record.as_ref().map_or(0, Bytes::len);
            if bytes > ANSWER_BYTES && !found.is_empty() {
                break;
            }
            found.push(record);
        }
        // All at once, so that they share a sync.
        let stores = records.iter().map(|r| self.store(r.partition, &r.key, &r.record, None, true));
        for stored in join_all(stores).await {
            stored?;
        }
        Ok(found)
    }
}

/// Keys by the node that they lie under, ascending by fingerprint.
pub(crate) fn by_print(salt: Salt, listed: Vec<Listed>) -> BTreeMap<Node, Vec<(u64, Bytes)>> {
    let mut by_node: BTreeMap<Node, Vec<(u64, Bytes)>> = BTreeMap::new();
    for key in listed {
        by_node.entry(key.under).or_default().push((salt.print(key.digest), key.key));
    }
    for keys in by_node.values_mut() {
        keys.sort_unstable();
    }
    by_node
}
