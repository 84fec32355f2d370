//! What a get must cover at a moment of the history, for the checks that walk the gets in order of their
//! calls: per chain the furthest write demanded, less what deletes have buried.
//!
//! A demand settles those for what its writer had read: who shows the one shows the others. So of a
//! healthy history only about as many demands are open as there are siblings.

use std::collections::BTreeSet;

use super::causality::Causality;
use super::cover::{Common, Grown, LANES, View};
use crate::history::{History, NONE, Outcome};

/// A write that gets must cover, and the operation that demands it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    pub(crate) write: u32,
    pub(crate) because: u32,
}

/// Demands so far, by chain.
#[derive(Debug, Default)]
pub(crate) struct Frontier {
    /// By chain: the furthest demand, open or not.
    furthest: Vec<Demand>,
    /// By chain: the position of the demand if it is open, else 0.
    open_at: Vec<u32>,
    /// Open demands, by the epoch of their write and by chain.
    open: BTreeSet<(u32, u32)>,
}

impl Frontier {
    pub(crate) fn new(causality: &Causality) -> Self {
        let chains = causality.chain_count().next_multiple_of(LANES);
        Frontier {
            furthest: vec![Demand { write: NONE, because: NONE }; chains],
            open_at: vec![0; chains],
            open: BTreeSet::new(),
        }
    }

    /// From now on gets must cover this write, because of that operation.
    pub(crate) fn demand(&mut self, causality: &Causality, buried: &Grown, demand: Demand) {
        let write = &causality.writes[demand.write as usize];
        let chain = write.chain as usize;
        let before = self.furthest[chain].write;
        if before != NONE && causality.writes[before as usize].position >= write.position {
            return;
        }
        if self.open_at[chain] > 0 {
            self.open.remove(&(causality.writes[before as usize].epoch, write.chain));
            self.open_at[chain] = 0;
        }
        self.furthest[chain] = demand;
        if !buried.covers(write) {
            self.open_at[chain] = write.position;
            self.open.insert((write.epoch, write.chain));
        }
        self.settle(causality, causality.past(demand.write));
    }

    /// From now on nothing in this set is demanded.
    pub(crate) fn settle(&mut self, causality: &Causality, settled: View<'_>) {
        let Common { first, last } = settled.common;
        while let Some(&(epoch, chain)) =
            self.open.range((first, 0)..).next().filter(|(epoch, _)| *epoch <= last)
        {
            self.open.remove(&(epoch, chain));
            self.open_at[chain as usize] = 0;
        }
        for block in settled.blocks {
            let first = block.id as usize * LANES;
            let open = &mut self.open_at[first..first + LANES];
            let closes = |open: u32, reach: u32| open > 0 && open <= reach;
            if !open.iter().zip(block.reach).fold(false, |any, (&open, reach)| any | closes(open, reach)) {
                continue;
            }
            for ((chain, open), reach) in (block.id * LANES as u32..).zip(open).zip(block.reach) {
                if closes(*open, reach) {
                    *open = 0;
                    let write = self.furthest[chain as usize].write;
                    self.open.remove(&(causality.writes[write as usize].epoch, chain));
                }
            }
        }
    }

    /// A demand that the set does not cover.
    pub(crate) fn gap(&self, shown: View<'_>) -> Option<Demand> {
        let Common { first, last } = shown.common;
        let by_epoch = || self.open.range((first, 0)..=(last, NONE)).count();
        let mut met = if shown.common.is_nothing() { 0 } else { by_epoch() };
        let in_epoch = met > 0;
        for block in shown.blocks.iter().filter(|_| !in_epoch) {
            let first = block.id as usize * LANES;
            let meets = |open: u32, reach: u32| u32::from(open > 0 && open <= reach);
            let open = &self.open_at[first..first + LANES];
            met +=
                open.iter().zip(block.reach).map(|(&open, reach)| meets(open, reach)).sum::<u32>() as usize;
        }
        if !in_epoch && met == self.open.len() {
            return None;
        }
        let rest = self.open.range(..(first, 0)).chain(self.open.range((last.max(first - 1) + 1, 0)..));
        rest.map(|&(_, chain)| chain)
            .find(|&chain| self.open_at[chain as usize] > shown.reach(chain))
            .map(|chain| self.furthest[chain as usize])
    }
}

/// Deletes in order of their calls, how far the walk over them has come, and what they may have removed.
pub(crate) struct Deletes {
    /// Call and write of each delete that did not fail and had read something.
    list: Vec<(i64, u32)>,
    next: usize,
    /// What deletes called up to the last get may have removed.
    pub(crate) buried: Grown,
}

impl Deletes {
    pub(crate) fn new(history: &History, causality: &Causality) -> Self {
        let list = causality
            .deletes(history)
            .filter(|&index| !causality.past(index).is_empty())
            .map(|index| (history.entry(causality.writes[index as usize].op).invoke, index))
            .collect();
        Deletes { list, next: 0, buried: Grown::default() }
    }

    /// The next delete that was called up to `call`, which is then buried.
    pub(crate) fn bury_next(&mut self, causality: &Causality, call: i64) -> Option<u32> {
        let &(_, index) = self.list.get(self.next).filter(|(called, _)| *called <= call)?;
        self.buried.add(causality.past(index));
        self.next += 1;
        Some(index)
    }

    /// The deletes that were called after those that are buried, and up to `ret`.
    pub(crate) fn meanwhile(&self, ret: i64) -> impl Iterator<Item = u32> + '_ {
        self.list[self.next..].iter().take_while(move |(called, _)| *called <= ret).map(|&(_, index)| index)
    }
}

/// The operations of a key that `wanted` picks, in order of their returns.
pub(crate) fn by_return(history: &History, key: usize, wanted: impl Fn(u32) -> bool) -> Vec<(i64, u32)> {
    let mut list: Vec<(i64, u32)> = history
        .of_key(key)
        .iter()
        .filter(|&&op| history.entry(op).outcome == Outcome::Ok && wanted(op))
        .map(|&op| (history.entry(op).ret, op))
        .collect();
    list.sort_unstable();
    list
}
