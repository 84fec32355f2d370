//! What has to be copied between two placements.

use super::Placement;
use crate::config::NodeId;

/// One copy of a partition that a node must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// Its number in the placement moved to.
    pub partition: u32,
    /// The owner whose copy it replaces; it may be a node that left.
    pub from: NodeId,
    /// The owner that it is new to.
    pub to: NodeId,
}

impl Placement {
    /// The copies that nodes must get before `to` holds, by partition. The placements have one N.
    ///
    /// Under `tokens` partitions are cut anew: a partition of `to` that lay across several has
    /// a move for each.
    #[must_use]
    pub fn moves(&self, to: &Self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (_, before, after) in self.segments(to) {
            let gone: Vec<NodeId> =
                self.owners(before).filter(|o| to.owners(after).all(|n| n != *o)).collect();
            let come = to.owners(after).filter(|o| self.owners(before).all(|n| n != *o));
            moves.extend(gone.into_iter().zip(come).map(|(from, to)| Move { partition: after, from, to }));
        }
        moves.sort_unstable();
        moves.dedup();
        moves
    }

    /// The copies that must move, as a fraction of all copies of all keys. Like
    /// [`Placement::moves`], but it also compares placements whose partitions are unequal.
    #[must_use]
    pub fn moved_fraction(&self, to: &Self) -> f64 {
        let moved: f64 = self
            .segments(to)
            .map(|(width, before, after)| {
                let come = to.owners(after).filter(|o| self.owners(before).all(|n| n != *o));
                width * come.count() as f64
            })
            .sum();
        moved / to.replicas() as f64
    }

    /// The fewest copies that any change to what `to` gives each node must move: what the nodes
    /// that gain copies gain. Both have equal partitions, and as many.
    #[must_use]
    pub fn moves_minimum(&self, to: &Self) -> u64 {
        let before = self.copies();
        let held = |id: NodeId| self.nodes.binary_search_by_key(&id, |n| n.id).map_or(0, |i| before[i]);
        let gained = to.nodes.iter().zip(to.copies()).map(|(n, copies)| copies.saturating_sub(held(n.id)));
        gained.map(u64::from).sum()
    }

    /// The stretches of the ring within which neither placement changes owners: the fraction
    /// of the ring, and the partition on each side.
    fn segments(&self, to: &Self) -> Box<dyn Iterator<Item = (f64, u32, u32)> + '_> {
        if self.cuts.is_empty() && to.cuts.is_empty() && self.partitions() == to.partitions() {
            let width = 1.0 / f64::from(to.partitions());
            return Box::new((0..to.partitions()).map(move |p| (width, p, p)));
        }
        let (mine, theirs) = (self.ends(), to.ends());
        let mut ends = [&mine[..], &theirs[..]].concat();
        ends.sort_unstable();
        ends.dedup();
        let widths: Vec<u64> =
            (0..ends.len()).map(|i| ends[i].wrapping_sub(ends[(i + ends.len() - 1) % ends.len()])).collect();
        Box::new(ends.into_iter().zip(widths).map(move |(end, width)| {
            let at = |ends: &[u64]| (ends.partition_point(|e| *e < end) % ends.len()) as u32;
            (width as f64 / 2.0_f64.powi(64), at(&mine), at(&theirs))
        }))
    }

    /// The last position of every partition, by number.
    fn ends(&self) -> Vec<u64> {
        if !self.cuts.is_empty() {
            return self.cuts.clone();
        }
        let q = u128::from(self.partitions());
        (1..=q).map(|next| ((next << 64).div_ceil(q) - 1) as u64).collect()
    }
}
