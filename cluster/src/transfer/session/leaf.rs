//! What is left to compare key by key.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::merkle::{Node, Salt};
use crate::replica::{LeafAsk, Summary};

/// What is left to compare under one node.
pub(super) struct Leaf {
    pub(super) node: Node,
    /// The fingerprints that are left, both ends included; all of them if there is none.
    pub(super) range: Option<(u64, u64)>,
    /// What this node has there, ascending.
    pub(super) mine: Vec<(u64, Bytes)>,
}

impl Leaf {
    pub(super) fn ask(&self, salt: Salt) -> LeafAsk {
        let prints = Salt::pack(salt.print_bytes(), self.mine.iter().map(|(print, _)| *print));
        LeafAsk { node: self.node, range: self.range, prints: Bytes::from(prints) }
    }

    /// What is left of it behind a fingerprint, without the keys that are being exchanged.
    pub(super) fn behind(self, reached: u64, exchanged: &[(Bytes, Summary)]) -> Self {
        let upto = self.range.map_or(u64::MAX, |(_, upto)| upto);
        let exchanged: BTreeSet<&Bytes> = exchanged.iter().map(|(key, _)| key).collect();
        let is_left = |(print, key): &(u64, Bytes)| *print > reached && !exchanged.contains(key);
        let mine = self.mine.into_iter().filter(is_left).collect();
        Self { node: self.node, range: Some((reached.saturating_add(1), upto)), mine }
    }
}

/// Fingerprints that are left to compare.
pub(super) fn prints(work: &VecDeque<Leaf>) -> usize {
    work.iter().map(|leaf| leaf.mine.len()).sum()
}

/// Cuts the keys under a node into ranges of fingerprints with about `max` each.
pub(super) fn pieces(node: Node, mine: Vec<(u64, Bytes)>, max: usize) -> Vec<Leaf> {
    if mine.len() <= max {
        return vec![Leaf { node, range: None, mine }];
    }
    let mut pieces: Vec<Leaf> = Vec::new();
    let mut from = 0;
    let mut left = mine.into_iter().peekable();
    while left.peek().is_some() {
        let mut piece: Vec<(u64, Bytes)> = left.by_ref().take(max).collect();
        let last = piece.last().map_or(u64::MAX, |(print, _)| *print);
        // Equal fingerprints stay together: a range begins and ends between them.
        while let Some(equal) = left.next_if(|(print, _)| *print == last) {
            piece.push(equal);
        }
        let upto = if left.peek().is_some() { last } else { u64::MAX };
        pieces.push(Leaf { node, range: Some((from, upto)), mine: piece });
        from = upto.saturating_add(1);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Stamp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_cover_all_fingerprints_once(mut prints in prop::collection::vec(0_u64..20, 0..30), max in 1_usize..6) {
            prints.sort_unstable();
            let mine = prints.iter().map(|print| (*print, Bytes::new())).collect();
            let pieces = pieces(Node::root(0), mine, max);
            let all: Vec<u64> = pieces.iter().flat_map(|piece| piece.mine.iter().map(|(print, _)| *print)).collect();
            prop_assert_eq!(&all, &prints);
            let ranges: Vec<(u64, u64)> = pieces.iter().map(|piece| piece.range.unwrap_or((0, u64::MAX))).collect();
            prop_assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, u64::MAX));
            for (before, after) in ranges.iter().zip(ranges.iter().skip(1)) {
                prop_assert_eq!(before.1 + 1, after.0);
            }
            for (piece, (from, upto)) in pieces.iter().zip(ranges) {
                prop_assert!(piece.mine.iter().all(|(print, _)| (from..=upto).contains(print)));
            }
        }
    }

    #[test]
    fn what_was_reached_is_not_asked_again() {
        let key = |print: u64| Bytes::from(vec![print as u8]);
        let mine = (0..6).map(|print| (print, key(print))).collect();
        let exchanged = [(key(5), Summary::Latest(Stamp::default()))];
        let left = Leaf { node: Node::root(0), range: Some((0, 9)), mine }.behind(3, &exchanged);
        assert_eq!(left.range, Some((4, 9)));
        assert_eq!(left.mine, [(4, key(4))]);
        assert_eq!(left.ask(Salt { salt: 1, exact: false }).prints.len(), 4);
    }
}
