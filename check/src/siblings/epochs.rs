//! Epochs: what has long been in everybody's past is not listed in every one but named by a number.
//!
//! Every blind write begins a chain that all later pasts would list for ever. So now and then the past of
//! one write becomes common: its writes enter an epoch, and whoever has read that write says the number
//! instead. The epochs of a family each hold the ones before them. A branch may die with its epochs (a
//! delete removed all there was, and nobody goes on from it); the next to need an epoch then founds a
//! family.

use super::causality::{Causality, Span};
use super::cover::{Common, Cover, LANES, View};
use crate::history::NONE;

/// The epochs of one key.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// The family that is alive, up to its last epoch.
    family: Common,
    /// When the last epoch began, in writes, and the write whose past it is.
    began: u32,
    carrier: u32,
    /// The writes of all epochs in their order, and where each epoch ends among them.
    members: Vec<u32>,
    ends: Vec<usize>,
}

impl Epochs {
    /// How many epochs there were, and the first of the last family.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, u32) {
        (self.ends.len(), self.family.first)
    }

    fn members(&self, common: Common) -> &[u32] {
        let end = |epoch: u32| {
            (epoch as usize).checked_sub(1).and_then(|at| self.ends.get(at)).copied().unwrap_or(0)
        };
        if common.is_nothing() { &[] } else { &self.members[end(common.first - 1)..end(common.last)] }
    }
}

impl Causality {
    /// If a write's past has become long: puts the past of its oldest parent into the common past.
    pub(super) fn begin_epoch(&mut self, index: u32, parents: &[u32]) {
        let limits = self.limits;
        let long = self.past(index).blocks.len() > limits.epoch_blocks;
        let lives = self.lineage.latest[index as usize] >= index.saturating_add(limits.epoch_life);
        if !long || !lives || index < self.epochs.began.saturating_add(limits.epoch_writes) {
            return;
        }
        let family = self.epochs.family;
        let is_dead = family.is_nothing() || self.lineage.latest[self.epochs.carrier as usize] < index;
        // Each epoch holds the one before it, so only a past that knows the last one will do, or of a dead
        // family none.
        let fits = |of: &u32| {
            let past = self.past(*of);
            let known = past.common == family || is_dead && past.common.is_nothing();
            known && past.blocks.len() > limits.epoch_blocks / 2
        };
        let Some(of) = parents.iter().copied().filter(fits).min() else { return };
        let epoch = u32::try_from(self.epochs.ends.len() + 1).unwrap_or(NONE);
        let family_so_far = self.past(of).common;
        let first = if family_so_far.is_nothing() { epoch } else { family_so_far.first };
        let common = Common { first, last: epoch };
        let Span { start, end, .. } = self.past[of as usize];
        for at in start as usize..end as usize {
            let block = self.arena[at];
            for (chain, reach) in block.entries() {
                let listed = &self.chains[chain as usize][..reach as usize];
                let epoch_of = |member: u32| self.writes[member as usize].epoch;
                let known = listed.partition_point(|&member| epoch_of(member) != NONE);
                // What is in the common past of another family stays listed, and all that goes on from it.
                if known > 0 && !family_so_far.holds(epoch_of(listed[known - 1])) {
                    continue;
                }
                for &member in &listed[known..] {
                    self.writes[member as usize].epoch = epoch;
                    self.epochs.members.push(member);
                }
            }
        }
        self.epochs.ends.push(self.epochs.members.len());
        (self.epochs.family, self.epochs.began, self.epochs.carrier) = (common, index, of);
        // Whoever reads this write knows the new epoch, too.
        for knows in [of, index] {
            let mut own = Cover { common, blocks: self.past(knows).blocks.to_vec() };
            self.drop_common(&mut own);
            self.past[knows as usize] = self.keep(&own);
        }
    }

    /// Adds one set to another.
    pub(crate) fn join(&self, cover: &mut Cover, other: View<'_>) {
        if cover.common == other.common {
            cover.join_blocks(other.blocks);
            return;
        }
        let related = cover.common.first == other.common.first || cover.common.is_nothing();
        let is_older = !other.common.is_nothing() && !related || cover.common.last > other.common.last;
        if !is_older {
            cover.common = other.common;
            self.drop_common(cover);
            cover.join_blocks(other.blocks);
            return;
        }
        let mut rest = Cover { common: cover.common, blocks: other.blocks.to_vec() };
        if !related {
            // Of two families one must be listed after all.
            for &member in self.epochs.members(other.common) {
                let write = &self.writes[member as usize];
                rest.add_point(write.chain, write.position);
            }
        }
        self.drop_common(&mut rest);
        cover.join_blocks(&rest.blocks);
    }

    /// Leaves out what the set's epochs say already.
    fn drop_common(&self, cover: &mut Cover) {
        let common = cover.common;
        cover.blocks.retain_mut(|block| {
            let first = block.id as usize * LANES;
            for (lane, reach) in block.reach.iter_mut().enumerate().filter(|(_, reach)| **reach > 0) {
                let member = self.chains[first + lane][*reach as usize - 1];
                if common.holds(self.writes[member as usize].epoch) {
                    *reach = 0;
                }
            }
            block.reach != [0; LANES]
        });
    }

    /// The writes in one of two sets and not in the other, and some that are in both.
    pub(crate) fn differences(&self, a: View<'_>, b: View<'_>, mut each: impl FnMut(u32)) {
        if a.common.first == b.common.first {
            let (low, high) = (a.common.last.min(b.common.last), a.common.last.max(b.common.last));
            let later = Common { first: low.max(a.common.first - 1) + 1, last: high };
            if later.first <= later.last {
                self.epochs.members(later).iter().for_each(|&index| each(index));
            }
        } else {
            for common in [a.common, b.common] {
                self.epochs.members(common).iter().for_each(|&index| each(index));
            }
        }
        let in_both = |epoch: u32| a.common.holds(epoch) && b.common.holds(epoch);
        let mut range = |chain: u32, from: u32, to: u32| {
            let members = &self.chains[chain as usize][from.min(to) as usize..from.max(to) as usize];
            // A reach of 0 may only mean that the epochs say it: what those of both say is no difference.
            let newer =
                members.iter().rev().take_while(|&&index| !in_both(self.writes[index as usize].epoch));
            newer.for_each(|&index| each(index));
        };
        let nothing = [0; LANES];
        let (mut left, mut right) = (a.blocks.iter().peekable(), b.blocks.iter().peekable());
        loop {
            let ids = (left.peek().map(|block| block.id), right.peek().map(|block| block.id));
            let id = match ids {
                (Some(a), Some(b)) => a.min(b),
                (Some(id), None) | (None, Some(id)) => id,
                (None, None) => return,
            };
            let a = left.next_if(|block| block.id == id).map_or(nothing, |block| block.reach);
            let b = right.next_if(|block| block.id == id).map_or(nothing, |block| block.reach);
            if a != b {
                for ((chain, from), to) in (id * LANES as u32..).zip(a).zip(b) {
                    if from != to {
                        range(chain, from, to);
                    }
                }
            }
        }
    }
}
