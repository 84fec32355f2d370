//! Which write had read which: the causal past of every write to one key.
//!
//! past(w) is the values in w's context and their pasts. Kept as a vector over chains, as version
//! vectors are: each write extends a chain whose last write is in its past, or begins one, so that the
//! past of a write is a prefix of every chain. Clients that read before they write need about as many
//! chains as there are siblings; a blind write always begins one. Where a history forks, the chain goes
//! on with the branch that lives longest: under last-write-wins most branches die at once, and one of
//! them in its place would make all pasts grow with every fork.
//!
//! Three things keep a hot key near-linear: equal contexts are joined once, whoever names them; vectors
//! are joined eight chains at a time; and where chains become many (blind writes), what has long been in
//! everybody's past is put into a common past, which vectors then name by one number.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::cover::{Block, Cover, LANES, View};
use super::tables::{Listed, Marks, Tables};
use crate::history::{Function, History, Id, NONE};
use crate::linearizable::search::Folded;

/// Blocks over all pasts of one key that are kept at most: 1 GiB.
const BLOCKS_MAX: usize = (1 << 30) / size_of::<Block>();
/// A past of more blocks makes a new epoch worth its while,
const EPOCH_BLOCKS: usize = 24;
/// but not sooner than after so many writes, since an epoch costs the writes that enter it.
const EPOCH_WRITES: u32 = 512;

/// A write that happened or may have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    pub(crate) op: u32,
    pub(crate) chain: u32,
    pub(crate) position: u32,
    /// The epoch in which it entered the common past, from 1; `NONE` if it never did.
    pub(crate) epoch: u32,
}

/// Why the causal past of a key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// One value, or id of a delete, is written twice: a get does not say whose it returned.
    Repeated(Id),
    /// The pasts would take too much memory.
    TooLarge,
}

/// A past in the arena.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    epoch: u32,
    start: u32,
    end: u32,
}

/// What a set of values covers, and whether one of them is in another's past.
#[derive(Debug, Clone, Copy)]
struct Known {
    span: Span,
    nested: bool,
}

/// The causal past of every write to one key.
#[derive(Debug)]
pub(crate) struct Causality {
    pub(crate) writes: Vec<Write>,
    pub(super) tables: Tables,
    /// All writes, each after those that it had read.
    pub(crate) order: Vec<u32>,
    past: Vec<Span>,
    arena: Vec<Block>,
    /// By set of values, as contexts name them. Only asked, never walked.
    known: HashMap<u128, Known, BuildHasherDefault<Folded>>,
    /// By write: of those that had read it, the one with the latest descendant; `NONE` if nobody had.
    heir: Vec<u32>,
    /// By chain, by position from 1: the write.
    chains: Vec<Vec<u32>>,
    epoch: u32,
    /// When the last epoch began, in writes.
    epoch_began: u32,
    /// The common past in order of epochs, and where each epoch ends in it.
    common: Vec<u32>,
    common_ends: Vec<usize>,
    scratch: Cover,
}

impl Causality {
    /// The causality of a key; the tables come back in any case, with [`Causality::release`] or the error.
    pub(crate) fn build(
        history: &History,
        key: usize,
        tables: Tables,
    ) -> Result<Causality, (Unclear, Box<Tables>)> {
        let mut causality = Causality {
            writes: Vec::new(),
            tables,
            order: Vec::new(),
            past: Vec::new(),
            arena: Vec::new(),
            known: HashMap::default(),
            heir: Vec::new(),
            chains: Vec::new(),
            epoch: 0,
            epoch_began: 0,
            common: Vec::new(),
            common_ends: Vec::new(),
            scratch: Cover::default(),
        };
        match causality.fill(history, key) {
            Ok(()) => Ok(causality),
            Err(unclear) => Err((unclear, Box::new(causality.release(history)))),
        }
    }

    /// Gives the tables back for the next key.
    pub(crate) fn release(mut self, history: &History) -> Tables {
        for write in &self.writes {
            self.tables.of_op[write.op as usize] = NONE;
            let value = history.entry(write.op).value;
            if value != NONE {
                self.tables.of_value[value as usize] = NONE;
            }
        }
        self.tables
    }

    fn fill(&mut self, history: &History, key: usize) -> Result<(), Unclear> {
        for &op in history.of_key(key) {
            let entry = history.entry(op);
            if entry.may_have_written() {
                let index = u32::try_from(self.writes.len()).unwrap_or(NONE);
                self.writes.push(Write { op, chain: NONE, position: 0, epoch: NONE });
                self.tables.of_op[op as usize] = index;
                if entry.value != NONE {
                    let slot = &mut self.tables.of_value[entry.value as usize];
                    if std::mem::replace(slot, index) != NONE {
                        return Err(Unclear::Repeated(entry.value));
                    }
                }
            }
        }
        self.past.resize(self.writes.len(), Span::default());
        let mut parents = Vec::new();
        self.find_heirs(history);
        for index in 0..u32::try_from(self.writes.len()).unwrap_or(NONE) {
            self.link(history, index, &mut parents);
            if self.arena.len() > BLOCKS_MAX {
                return Err(Unclear::TooLarge);
            }
        }
        self.heir = Vec::new();
        Ok(())
    }

    fn find_heirs(&mut self, history: &History) {
        let count = self.writes.len();
        self.heir.resize(count, NONE);
        let mut latest = vec![0; count];
        let mut parents = Vec::new();
        for index in (0..u32::try_from(count).unwrap_or(NONE)).rev() {
            let latest_here = latest[index as usize].max(index);
            self.parents(history, index, &mut parents);
            for &parent in &parents {
                // Of those that live equally long the first: the sooner a chain goes on, the fewer begin.
                if self.heir[parent as usize] == NONE || latest_here >= latest[parent as usize] {
                    latest[parent as usize] = latest_here;
                    self.heir[parent as usize] = index;
                }
            }
        }
    }

    /// Gives a write its past, and first those of what it had read, which by equal stamps may stand
    /// after it.
    fn link(&mut self, history: &History, index: u32, parents: &mut Vec<u32>) {
        let mut open = vec![index];
        let mut begun = std::collections::BTreeSet::new();
        while let Some(&at) = open.last() {
            if self.writes[at as usize].chain != NONE {
                open.pop();
                continue;
            }
            self.parents(history, at, parents);
            // A circle can only be made of equal stamps: it is cut where it closes.
            let unlinked = parents
                .iter()
                .copied()
                .find(|&parent| self.writes[parent as usize].chain == NONE && !begun.contains(&parent));
            if let Some(parent) = unlinked.filter(|&parent| parent != at) {
                begun.insert(at);
                open.push(parent);
                continue;
            }
            let cut = parents.iter().any(|&parent| self.writes[parent as usize].chain == NONE);
            let context = history.context_of(self.writes[at as usize].op);
            self.past[at as usize] = if parents.is_empty() {
                Span::default()
            } else if cut {
                self.join_all(parents.iter().copied()).span
            } else {
                let hash = self.tables.marks.listed(context).hash;
                // A context may name what only came later: then its parents are not the whole list.
                let whole = context.len() == parents.len();
                match self.known.get(&hash).filter(|_| whole) {
                    Some(known) => known.span,
                    None => {
                        let known = self.join_all(parents.iter().copied());
                        if whole {
                            self.known.insert(hash, known);
                        }
                        known.span
                    }
                }
            };
            self.extend_chain(at, parents);
            self.order.push(at);
            self.begin_epoch(at, parents);
            open.pop();
        }
    }

    /// The writes that a write's context names. A value that is called only later is no past; who
    /// recorded such a context is told so by the phantom check.
    pub(crate) fn parents(&self, history: &History, index: u32, parents: &mut Vec<u32>) {
        parents.clear();
        let op = self.writes[index as usize].op;
        let call = history.entry(op).invoke;
        for &value in history.context_of(op) {
            let parent = self.tables.of_value[value as usize];
            if parent != NONE
                && parent != index
                && (parent < index || history.entry(self.writes[parent as usize].op).invoke <= call)
            {
                parents.push(parent);
            }
        }
    }

    /// Joins linked writes and their pasts, and keeps the result.
    fn join_all(&mut self, writes: impl Iterator<Item = u32> + Clone) -> Known {
        let mut scratch = std::mem::take(&mut self.scratch);
        let nested = self.cover_writes(writes, &mut scratch);
        let start = u32::try_from(self.arena.len()).unwrap_or(NONE);
        self.arena.extend_from_slice(&scratch.blocks);
        let end = u32::try_from(self.arena.len()).unwrap_or(NONE);
        let span = Span { epoch: scratch.epoch, start, end };
        self.scratch = scratch;
        Known { span, nested }
    }

    /// Fills a cover with writes and their pasts; says whether one of them is in another's past.
    fn cover_writes(&self, writes: impl Iterator<Item = u32> + Clone, cover: &mut Cover) -> bool {
        cover.epoch = 0;
        cover.blocks.clear();
        let linked = |index: &u32| self.writes[*index as usize].chain != NONE;
        let mut last = Span::default();
        for index in writes.clone().filter(linked) {
            let span = self.past[index as usize];
            // Writes made from one context share their past.
            if (span.epoch, span.start, span.end) != (last.epoch, last.start, last.end) {
                self.join(cover, self.view(span));
                last = span;
            }
        }
        let nested = writes.clone().filter(linked).any(|index| self.covers(cover.view(), index));
        for index in writes.filter(linked) {
            let write = &self.writes[index as usize];
            if write.epoch > cover.epoch {
                cover.add_point(write.chain, write.position);
            }
        }
        nested
    }

    fn extend_chain(&mut self, index: u32, parents: &[u32]) {
        let may_follow = |tail: u32| {
            let heir = self.heir[tail as usize];
            heir == index || self.writes[heir as usize].chain != NONE
        };
        let is_free = |chain: u32, position: u32| {
            let members = &self.chains[chain as usize];
            members.len() == position as usize && members.last().is_some_and(|&tail| may_follow(tail))
        };
        let goes_on = self.heir[index as usize] != NONE;
        let after_parent = parents
            .iter()
            .map(|&parent| &self.writes[parent as usize])
            .filter(|write| goes_on && write.chain != NONE)
            .find(|write| is_free(write.chain, write.position))
            .map(|write| write.chain);
        let free = after_parent.or_else(|| {
            let mut past = self.past(index).entries().filter(|_| goes_on);
            past.find(|&(chain, position)| is_free(chain, position)).map(|(chain, _)| chain)
        });
        let chain = free.unwrap_or_else(|| {
            self.chains.push(Vec::new());
            u32::try_from(self.chains.len() - 1).unwrap_or(NONE)
        });
        let members = &mut self.chains[chain as usize];
        members.push(index);
        let position = u32::try_from(members.len()).unwrap_or(NONE);
        let write = &mut self.writes[index as usize];
        (write.chain, write.position) = (chain, position);
    }

    /// If a write's past has become long: puts the past of its oldest parent into the common past.
    fn begin_epoch(&mut self, index: u32, parents: &[u32]) {
        let long = self.past(index).blocks.len() > EPOCH_BLOCKS;
        if !long || index < self.epoch_began.saturating_add(EPOCH_WRITES) {
            return;
        }
        // Each common past holds the one before it, so only a past that knows the last one will do.
        let fits = |of: &u32| {
            let past = self.past(*of);
            past.epoch == self.epoch && past.blocks.len() > EPOCH_BLOCKS / 2
        };
        let Some(of) = parents.iter().copied().filter(fits).min() else { return };
        self.epoch += 1;
        self.epoch_began = index;
        let Span { start, end, .. } = self.past[of as usize];
        for at in start as usize..end as usize {
            let block = self.arena[at];
            for (chain, reach) in block.entries() {
                for &member in self.chains[chain as usize][..reach as usize].iter().rev() {
                    let write = &mut self.writes[member as usize];
                    if write.epoch != NONE {
                        break;
                    }
                    write.epoch = self.epoch;
                    self.common.push(member);
                }
            }
        }
        self.common_ends.push(self.common.len());
        self.past[of as usize] = Span { epoch: self.epoch, start: 0, end: 0 };
        // Whoever reads this write knows the new epoch, too.
        let mut own = Cover { epoch: self.epoch, blocks: self.past(index).blocks.to_vec() };
        self.drop_common(&mut own);
        let start = u32::try_from(self.arena.len()).unwrap_or(NONE);
        self.arena.extend_from_slice(&own.blocks);
        let end = u32::try_from(self.arena.len()).unwrap_or(NONE);
        self.past[index as usize] = Span { epoch: self.epoch, start, end };
    }

    /// Adds one set to another.
    pub(crate) fn join(&self, cover: &mut Cover, other: View<'_>) {
        match cover.epoch.cmp(&other.epoch) {
            std::cmp::Ordering::Equal => cover.join_blocks(other.blocks),
            std::cmp::Ordering::Less => {
                cover.epoch = other.epoch;
                self.drop_common(cover);
                cover.join_blocks(other.blocks);
            }
            std::cmp::Ordering::Greater => {
                let mut shorter = Cover { epoch: cover.epoch, blocks: other.blocks.to_vec() };
                self.drop_common(&mut shorter);
                cover.join_blocks(&shorter.blocks);
            }
        }
    }

    /// Leaves out what the set's epoch says already.
    fn drop_common(&self, cover: &mut Cover) {
        let epoch = cover.epoch;
        cover.blocks.retain_mut(|block| {
            let first = block.id as usize * LANES;
            for (lane, reach) in block.reach.iter_mut().enumerate().filter(|(_, reach)| **reach > 0) {
                let member = self.chains[first + lane][*reach as usize - 1];
                if self.writes[member as usize].epoch <= epoch {
                    *reach = 0;
                }
            }
            block.reach != [0; LANES]
        });
    }

    /// What a get's values cover with all that their writers had read, in `cover` or where it is known
    /// already; and whether one of the values is in another's past.
    pub(crate) fn shown<'c>(
        &'c self,
        listed: Listed,
        values: &[Id],
        cover: &'c mut Cover,
    ) -> (View<'c>, bool) {
        if let Some(known) = self.known.get(&listed.hash) {
            return (self.view(known.span), known.nested);
        }
        let nested = self.cover_writes(values.iter().filter_map(|&value| self.write_of(value)), cover);
        (cover.view(), nested)
    }

    /// The values with all that their writers had read.
    pub(crate) fn cover(&self, values: &[Id]) -> Cover {
        let mut cover = Cover::default();
        self.cover_writes(values.iter().filter_map(|&value| self.write_of(value)), &mut cover);
        cover
    }

    /// The write behind a value that a get returned.
    pub(crate) fn write_of(&self, value: Id) -> Option<u32> {
        self.tables.of_value.get(value as usize).copied().filter(|&index| index != NONE)
    }

    /// The write that an operation is.
    pub(crate) fn write_of_op(&self, op: u32) -> Option<u32> {
        self.tables.of_op.get(op as usize).copied().filter(|&index| index != NONE)
    }

    fn view(&self, span: Span) -> View<'_> {
        View { epoch: span.epoch, blocks: &self.arena[span.start as usize..span.end as usize] }
    }

    pub(crate) fn past(&self, index: u32) -> View<'_> {
        self.view(self.past[index as usize])
    }

    #[inline]
    pub(crate) fn covers(&self, view: View<'_>, index: u32) -> bool {
        let write = &self.writes[index as usize];
        write.epoch <= view.epoch || view.reach(write.chain) >= write.position
    }

    pub(crate) fn chain_count(&self) -> usize {
        self.chains.len()
    }

    /// The writes in one of two sets and not in the other, and some that are in both.
    pub(crate) fn differences(&self, a: View<'_>, b: View<'_>, mut each: impl FnMut(u32)) {
        if a.epoch != b.epoch {
            let end = |epoch: u32| {
                (epoch as usize).checked_sub(1).and_then(|at| self.common_ends.get(at)).copied().unwrap_or(0)
            };
            let (low, high) = (a.epoch.min(b.epoch), a.epoch.max(b.epoch));
            self.common[end(low)..end(high)].iter().for_each(|&index| each(index));
        }
        let common = a.epoch.min(b.epoch);
        let mut range = |chain: u32, from: u32, to: u32| {
            let members = &self.chains[chain as usize][from.min(to) as usize..from.max(to) as usize];
            // A reach of 0 may only mean that the epoch says it: what both epochs say is no difference.
            let newer = members.iter().rev().take_while(|&&index| self.writes[index as usize].epoch > common);
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

    /// What tells lists of values apart, on loan.
    pub(crate) fn lend_marks(&mut self) -> Marks {
        std::mem::take(&mut self.tables.marks)
    }

    /// Takes it back.
    pub(crate) fn return_marks(&mut self, marks: Marks) {
        self.tables.marks = marks;
    }

    /// Deletes that happened or may have happened, in order of invocation.
    pub(crate) fn deletes<'a>(&'a self, history: &'a History) -> impl Iterator<Item = u32> + 'a {
        (0_u32..)
            .zip(&self.writes)
            .filter(|(_, write)| history.entry(write.op).f == Function::Delete)
            .map(|(index, _)| index)
    }
}
