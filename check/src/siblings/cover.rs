//! Sets of writes to one key that are closed under "had read", kept as version vectors are.
//!
//! A set is a prefix of every chain of writes (see [`super::causality`]): chain by chain, how far it
//! reaches. Chains lie in blocks of eight, so that adding one set to another is a few wide instructions a
//! block. What nearly every set of a long history holds is not listed but named by its epochs: the set
//! holds all writes that had entered the common past by then (see [`super::epochs`]).

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::causality::Write;
use crate::linearizable::search::Folded;

/// Chains in a block.
pub(crate) const LANES: usize = 8;

/// How far a set reaches into eight chains; positions count from 1, 0 is not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// The first of the chains, over [`LANES`].
    pub(crate) id: u32,
    pub(crate) reach: [u32; LANES],
}

impl Block {
    /// The chains that it reaches into, and how far.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let first = self.id * LANES as u32;
        (first..).zip(self.reach).filter(|&(_, reach)| reach > 0)
    }

    fn join(&mut self, other: &Block) {
        for (own, other) in self.reach.iter_mut().zip(other.reach) {
            *own = (*own).max(other);
        }
    }
}

/// The epochs whose writes are all in a set: those of one family, up to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Common {
    /// The first epoch of the family, from 1; it names the family.
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Common {
    /// No epoch at all.
    pub(crate) const NOTHING: Common = Common { first: 1, last: 0 };

    #[inline]
    pub(crate) fn holds(self, epoch: u32) -> bool {
        self.first <= epoch && epoch <= self.last
    }

    pub(crate) fn is_nothing(self) -> bool {
        self.last == 0
    }
}

impl Default for Common {
    fn default() -> Self {
        Common::NOTHING
    }
}

/// A set that is stored elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'c> {
    /// All writes that entered the common past in these epochs are in the set.
    pub(crate) common: Common,
    /// By id.
    pub(crate) blocks: &'c [Block],
}

impl<'c> View<'c> {
    pub(crate) fn is_empty(&self) -> bool {
        self.common.is_nothing() && self.blocks.is_empty()
    }

    /// How far it reaches into a chain, the common past left out.
    #[inline]
    pub(crate) fn reach(&self, chain: u32) -> u32 {
        let id = chain / LANES as u32;
        let lane = chain as usize % LANES;
        // In most histories all chains have few numbers, and a block lies where its id says.
        match self.blocks.get(id as usize) {
            Some(block) if block.id == id => block.reach[lane],
            _ => match self.blocks.binary_search_by_key(&id, |block| block.id) {
                Ok(at) => self.blocks[at].reach[lane],
                Err(_) => 0,
            },
        }
    }

    /// The chains that it reaches into, and how far, in order of chains.
    pub(crate) fn entries(self) -> impl Iterator<Item = (u32, u32)> + 'c {
        self.blocks.iter().flat_map(Block::entries)
    }
}

/// A set of writes of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cover {
    pub(crate) common: Common,
    pub(crate) blocks: Vec<Block>,
}

impl Cover {
    pub(crate) fn view(&self) -> View<'_> {
        View { common: self.common, blocks: &self.blocks }
    }

    pub(crate) fn copy_from(&mut self, view: View<'_>) {
        self.common = view.common;
        self.blocks.clear();
        self.blocks.extend_from_slice(view.blocks);
    }

    /// Adds the first so many writes of a chain.
    pub(crate) fn add_point(&mut self, chain: u32, position: u32) {
        let id = chain / LANES as u32;
        let at = match self.blocks.get(id as usize) {
            Some(block) if block.id == id => Ok(id as usize),
            _ => self.blocks.binary_search_by_key(&id, |block| block.id),
        };
        let at = at.unwrap_or_else(|at| {
            self.blocks.insert(at, Block { id, reach: [0; LANES] });
            at
        });
        let reach = &mut self.blocks[at].reach[chain as usize % LANES];
        *reach = (*reach).max(position);
    }

    /// Adds the blocks of another set; its epochs are the caller's concern.
    pub(crate) fn join_blocks(&mut self, other: &[Block]) {
        if self.blocks.is_empty() {
            self.blocks.extend_from_slice(other);
            return;
        }
        let known = self.blocks.len();
        let mut at = 0;
        for block in other {
            if known - at > 8 * other.len() {
                at += self.blocks[at..known].partition_point(|own| own.id < block.id);
            }
            while at < known && self.blocks[at].id < block.id {
                at += 1;
            }
            match self.blocks[..known].get_mut(at) {
                Some(own) if own.id == block.id => own.join(block),
                _ => self.blocks.push(*block),
            }
        }
        if self.blocks.len() > known {
            self.blocks.sort_by_key(|block| block.id);
        }
    }
}

/// A set that only grows and reaches into any number of chains: adding to it costs what is added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grown {
    /// One for each family.
    commons: Vec<Common>,
    /// Only asked, never walked. By chain.
    reach: HashMap<u32, u32, BuildHasherDefault<Folded>>,
}

impl Grown {
    pub(crate) fn is_empty(&self) -> bool {
        self.commons.is_empty() && self.reach.is_empty()
    }

    pub(crate) fn add(&mut self, other: View<'_>) {
        if !other.common.is_nothing() {
            match self.commons.iter_mut().find(|known| known.first == other.common.first) {
                Some(known) => known.last = known.last.max(other.common.last),
                None => self.commons.push(other.common),
            }
        }
        for (chain, position) in other.entries() {
            let reach = self.reach.entry(chain).or_default();
            *reach = (*reach).max(position);
        }
    }

    pub(crate) fn covers(&self, write: &Write) -> bool {
        self.commons.iter().any(|common| common.holds(write.epoch))
            || !self.reach.is_empty()
                && self.reach.get(&write.chain).is_some_and(|&reach| reach >= write.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_takes_the_furthest_reach_of_every_chain() {
        let mut cover = Cover::default();
        for (chain, position) in [(900, 3), (2, 5), (9, 1), (2, 4)] {
            cover.add_point(chain, position);
        }
        let mut other = Cover::default();
        for (chain, position) in [(2, 7), (3, 1), (40, 2), (900, 1)] {
            other.add_point(chain, position);
        }
        cover.join_blocks(&other.blocks);
        let entries: Vec<(u32, u32)> = cover.view().entries().collect();
        assert_eq!(entries, [(2, 7), (3, 1), (9, 1), (40, 2), (900, 3)]);
        assert_eq!((cover.view().reach(40), cover.view().reach(41), cover.view().reach(5000)), (2, 0, 0));
    }
}
