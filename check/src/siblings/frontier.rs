//! What a get must cover at a moment of the history: per chain, the furthest write demanded, less what
//! deletes have buried. Shared by the checks that walk the gets in order of their calls.

use std::collections::{BTreeMap, BTreeSet};

use super::causality::{Causality, Cover, Write, join, reach};
use crate::history::{History, Outcome};

/// Demands and burials so far, by chain.
#[derive(Debug, Default)]
pub(crate) struct Frontier {
    /// By chain: the furthest position demanded, and the operation that demands it.
    demanded: BTreeMap<u32, (u32, u32)>,
    buried: BTreeMap<u32, u32>,
    /// Chains whose demand is not buried.
    open: BTreeSet<u32>,
}

impl Frontier {
    /// From now on gets must cover this write, because of that operation.
    pub(crate) fn demand(&mut self, chain: u32, position: u32, because: u32) {
        let entry = self.demanded.entry(chain).or_insert((0, because));
        if position > entry.0 {
            *entry = (position, because);
            if self.buried.get(&chain).is_none_or(|&buried| buried < position) {
                self.open.insert(chain);
            }
        }
    }

    /// From now on nobody needs to show what a delete may have removed.
    pub(crate) fn bury(&mut self, past: &Cover) {
        for &(chain, position) in past {
            let buried = self.buried.entry(chain).or_default();
            *buried = position.max(*buried);
            if self.demanded.get(&chain).is_none_or(|&(demanded, _)| demanded <= *buried) {
                self.open.remove(&chain);
            }
        }
    }

    /// Whether the cover lacks anything demanded. Costs the length of the cover, not of the frontier.
    pub(crate) fn lacks(&self, cover: &Cover) -> bool {
        let met = cover
            .iter()
            .filter(|(chain, position)| {
                self.open.contains(chain)
                    && self.demanded.get(chain).is_some_and(|(demanded, _)| demanded <= position)
            })
            .count();
        met < self.open.len()
    }

    /// Whether a get with this cover need not show a write any further: it shows it, or a delete buried
    /// it.
    pub(crate) fn settles(&self, cover: &Cover, write: &Write) -> bool {
        let buried = self.buried.get(&write.chain).copied().unwrap_or(0);
        reach(cover, write.chain).max(buried) >= write.position
    }

    /// The chains where the cover lacks something: chain, how far it reaches (deletes included), the
    /// position demanded and the operation that demands it.
    pub(crate) fn gaps<'a>(&'a self, cover: &'a Cover) -> impl Iterator<Item = (u32, u32, u32, u32)> + 'a {
        self.open.iter().filter_map(move |&chain| {
            let &(demanded, because) = self.demanded.get(&chain)?;
            let buried = self.buried.get(&chain).copied().unwrap_or(0);
            let reached = reach(cover, chain).max(buried);
            (reached < demanded).then_some((chain, reached, demanded, because))
        })
    }
}

/// Deletes in order of their calls, and how far the walk over them has come.
pub(crate) struct Deletes {
    /// Call and past of each delete that did not fail.
    pub(crate) list: Vec<(i64, u32)>,
    next: usize,
}

impl Deletes {
    pub(crate) fn new(history: &History, causality: &Causality) -> Self {
        let list = causality
            .deletes(history)
            .filter(|&index| !causality.past(index).is_empty())
            .map(|index| (history.entry(causality.writes[index as usize].op).invoke, index))
            .collect();
        Deletes { list, next: 0 }
    }

    /// Buries what deletes called up to `call` may have removed, and adds to `cover` what those may have
    /// that were called after it and up to `ret`.
    pub(crate) fn apply(
        &mut self,
        causality: &Causality,
        frontier: &mut Frontier,
        (call, ret): (i64, i64),
        cover: &mut Cover,
    ) {
        while let Some(&(called, index)) = self.list.get(self.next).filter(|(called, _)| *called <= call) {
            debug_assert!(called <= call, "deletes are walked in order");
            frontier.bury(causality.past(index));
            self.next += 1;
        }
        for &(_, index) in self.list[self.next..].iter().take_while(|(called, _)| *called <= ret) {
            join(cover, causality.past(index));
        }
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
