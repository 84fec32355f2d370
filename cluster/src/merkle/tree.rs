//! One partition's tree: sums of record digests, by the leading bits of the keys' hashes.

use serde::{Deserialize, Serialize};

/// Children of an inner node: one for each value of the next four bits of the key's hash.
pub const FANOUT: usize = 16;

/// The deepest tree: a million leaves, nine megabytes.
pub const DEPTH_MAX: u8 = 5;

/// Keys to a leaf on average before a tree should be deeper.
const LEAF_KEYS: u64 = 8;

/// What two owners compare first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Keys in the partition.
    pub keys: u64,
    /// The sum of all digests, as it travels: eight bytes.
    pub sum: [u8; 8],
    /// Levels below the root. Says nothing about the content.
    pub depth: u8,
}

impl Root {
    /// Whether two partitions hold the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.keys == other.keys && self.sum == other.sum
    }
}

/// One node of one partition's tree: all keys whose hashes start with `4 * level` given bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Node {
    /// The partition.
    pub partition: u32,
    /// 0 for the root.
    pub level: u8,
    /// The bits.
    pub index: u32,
}

impl Node {
    /// The whole partition.
    #[must_use]
    pub fn root(partition: u32) -> Self {
        Self { partition, level: 0, index: 0 }
    }

    /// Whether a key of its partition with this hash lies under it.
    #[must_use]
    pub fn contains(&self, key_hash: u64) -> bool {
        index_at(key_hash, self.level) == self.index as usize
    }

    /// The node that a key with this hash lies under at a level up to [`DEPTH_MAX`].
    #[must_use]
    pub fn above(partition: u32, level: u8, key_hash: u64) -> Self {
        let index = u32::try_from(index_at(key_hash, level)).expect("five levels are twenty bits");
        Self { partition, level, index }
    }

    /// Its children, in order.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let child = move |i| Self { level: self.level + 1, index: self.index * FANOUT as u32 + i, ..self };
        (0..FANOUT as u32).map(child)
    }

    /// Whether there can be such a node: peers may ask for anything.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.level <= DEPTH_MAX && (self.index as usize) < width(self.level)
    }
}

/// The sums of one partition.
///
/// Memory: `8 * 16^depth * 16 / 15` bytes. [`Tree::depth_for`] chooses the depth so that this is
/// at most 18 bytes a key beyond the first eight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    depth: u8,
    keys: u64,
    /// Level after level, from the root.
    sums: Vec<u64>,
}

impl Tree {
    /// An empty tree of a depth up to [`DEPTH_MAX`].
    #[must_use]
    pub fn new(depth: u8) -> Self {
        let depth = depth.min(DEPTH_MAX);
        Self { depth, keys: 0, sums: vec![0; first_of(depth + 1)] }
    }

    /// The depth that suits so many keys.
    #[must_use]
    pub fn depth_for(keys: u64) -> u8 {
        let fits = |depth: &u8| keys <= LEAF_KEYS * width(*depth) as u64;
        (0..DEPTH_MAX).find(fits).unwrap_or(DEPTH_MAX)
    }

    /// Levels below the root.
    #[must_use]
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Keys in the partition.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Whether it holds so many keys that a deeper one would serve better. It stays correct.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        Self::depth_for(self.keys) > self.depth
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sums.len() * size_of::<u64>()
    }

    /// Takes note that the record of a key changed from one digest to another; none is no record.
    pub fn update(&mut self, key_hash: u64, old: Option<u64>, new: Option<u64>) {
        let difference = new.unwrap_or(0).wrapping_sub(old.unwrap_or(0));
        for level in 0..=self.depth {
            let sum = &mut self.sums[first_of(level) + index_at(key_hash, level)];
            *sum = sum.wrapping_add(difference);
        }
        match (old, new) {
            (None, Some(_)) => self.keys = self.keys.wrapping_add(1),
            (Some(_), None) => self.keys = self.keys.wrapping_sub(1),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// What to compare first.
    #[must_use]
    pub fn root(&self) -> Root {
        Root { keys: self.keys, sum: self.sums[0].to_le_bytes(), depth: self.depth }
    }

    /// The sums of a node's children; nothing when the tree ends there.
    #[must_use]
    pub fn children(&self, node: Node) -> Option<[u64; FANOUT]> {
        if node.level >= self.depth {
            return None;
        }
        let first = first_of(node.level + 1) + node.index as usize * FANOUT;
        self.sums.get(first..first + FANOUT)?.try_into().ok()
    }
}

/// Nodes of one level.
fn width(level: u8) -> usize {
    FANOUT.pow(u32::from(level))
}

/// Where a level begins in [`Tree::sums`].
fn first_of(level: u8) -> usize {
    (width(level) - 1) / (FANOUT - 1)
}

fn index_at(key_hash: u64, level: u8) -> usize {
    // A shift by all 64 bits is none.
    key_hash.checked_shr(64 - 4 * u32::from(level)).unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tree_after_any_history_is_the_tree_of_what_is_left(
            changes in prop::collection::vec((0_u64..20, prop::option::of(any::<u64>())), 0..60),
            depth in 0..=3_u8,
        ) {
            let mut tree = Tree::new(depth);
            let mut records: BTreeMap<u64, u64> = BTreeMap::new();
            for (key, new) in changes {
                let hash = quorate_env::random::mix(key);
                let old = match new {
                    Some(digest) => records.insert(hash, digest),
                    None => records.remove(&hash),
                };
                tree.update(hash, old, new);
            }
            let mut rebuilt = Tree::new(depth);
            for (hash, digest) in &records {
                rebuilt.update(*hash, None, Some(*digest));
            }
            prop_assert_eq!(&tree, &rebuilt);
            prop_assert_eq!(tree.keys(), records.len() as u64);
        }

        #[test]
        fn every_node_sums_what_lies_under_it(
            records in prop::collection::btree_map(any::<u64>(), any::<u64>(), 0..100), depth in 0..=3_u8,
        ) {
            let mut tree = Tree::new(depth);
            for (hash, digest) in &records {
                tree.update(*hash, None, Some(*digest));
            }
            let sum = |node: &Node| -> u64 {
                let under = records.iter().filter(|(hash, _)| node.contains(**hash));
                under.fold(0, |sum: u64, (_, digest)| sum.wrapping_add(*digest))
            };
            let mut level = vec![Node::root(3)];
            prop_assert_eq!(tree.root().sum, sum(&level[0]).to_le_bytes());
            while level[0].level < depth {
                for node in &level {
                    let expected: Vec<u64> = node.children().map(|child| sum(&child)).collect();
                    prop_assert_eq!(tree.children(*node).unwrap().to_vec(), expected);
                }
                level = level.into_iter().flat_map(Node::children).collect();
            }
            prop_assert!(level.iter().all(|leaf| tree.children(*leaf).is_none() && leaf.is_valid()));
            for hash in records.keys() {
                prop_assert!(Node::above(3, depth, *hash).contains(*hash));
            }
        }
    }

    #[test]
    fn depth_follows_the_keys_within_bounded_memory() {
        assert_eq!([0, 8, 9, 128, 129, 2_048, 2_049].map(Tree::depth_for), [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(Tree::depth_for(u64::MAX), DEPTH_MAX);
        for keys in [9, 129, 2_049, 32_769, 524_289] {
            let bytes = Tree::new(Tree::depth_for(keys)).bytes() as u64;
            assert!(bytes <= 18 * keys, "{keys} keys take {bytes} bytes");
        }
    }

    #[test]
    fn a_tree_says_when_it_is_crowded() {
        let mut tree = Tree::new(0);
        for key in 0..8 {
            tree.update(key, None, Some(1));
        }
        assert!(!tree.is_crowded());
        tree.update(8, None, Some(1));
        assert!(tree.is_crowded());
    }

    #[test]
    fn nodes_that_cannot_be_are_refused() {
        assert!(Node { partition: 0, level: 1, index: 15 }.is_valid());
        assert!(!Node { partition: 0, level: 1, index: 16 }.is_valid());
        assert!(!Node { partition: 0, level: DEPTH_MAX + 1, index: 0 }.is_valid());
        assert_eq!(Tree::new(1).children(Node { partition: 0, level: 0, index: 1 }), None);
    }

    #[test]
    fn roots_are_the_same_by_content_whatever_their_depth() {
        let root = Root { keys: 3, sum: [7; 8], depth: 1 };
        assert!(root.is_same(&Root { depth: 2, ..root }));
        assert!(!root.is_same(&Root { keys: 4, ..root }));
        assert!(!root.is_same(&Root { sum: [8; 8], ..root }));
    }
}
