//! Which write had read which: the causal past of every write to one key.
//!
//! past(w) is the values in w's context and their pasts. Kept as a vector over chains, as version
//! vectors are ([`super::lineage`] says how chains are made, [`super::link`] how pasts are worked out).
//!
//! Three things keep a hot key near-linear: equal contexts are joined once, whoever names them; vectors
//! are joined eight chains at a time; and where chains become many (blind writes), what has long been in
//! everybody's past is put into a common past, which vectors then name by one number
//! ([`super::epochs`]).

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::cover::{Block, Common, Cover, View};
use super::epochs::Epochs;
use super::limits::Limits;
use super::lineage::Lineage;
use super::tables::{Listed, Marks, Tables};
use crate::history::{Function, History, Id, NONE};
use crate::linearizable::search::Folded;

/// A write that happened or may have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    pub(crate) op: u32,
    pub(crate) chain: u32,
    pub(crate) position: u32,
    /// The epoch in which it entered a common past, from 1; `NONE` if it never did.
    pub(crate) epoch: u32,
}

/// Why the causal past of a key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// One value, or id of a delete, is written twice: a get does not say whose it returned.
    Repeated(Id),
    /// The pasts would take too much memory.
    TooLarge,
    /// The time was up.
    Late,
}

/// A past in the arena.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) common: Common,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// What a set of values covers, and whether one of them is in another's past.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) span: Span,
    pub(super) nested: bool,
}

/// The causal past of every write to one key.
#[derive(Debug)]
pub(crate) struct Causality {
    pub(crate) writes: Vec<Write>,
    pub(super) tables: Tables,
    /// All writes, each after those that it had read.
    pub(crate) order: Vec<u32>,
    pub(super) past: Vec<Span>,
    pub(super) arena: Vec<Block>,
    /// By set of values, as contexts name them. Only asked, never walked.
    pub(super) known: HashMap<u128, Known, BuildHasherDefault<Folded>>,
    pub(super) lineage: Lineage,
    /// By chain, by position from 1: the write.
    pub(super) chains: Vec<Vec<u32>>,
    pub(super) epochs: Epochs,
    pub(super) limits: Limits,
    pub(super) scratch: Cover,
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
            lineage: Lineage::default(),
            chains: Vec::new(),
            epochs: Epochs::default(),
            limits: Limits::current(),
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

    /// Fills a cover with writes and their pasts; says whether one of them is in another's past.
    pub(super) fn cover_writes(&self, writes: impl Iterator<Item = u32> + Clone, cover: &mut Cover) -> bool {
        cover.common = Common::NOTHING;
        cover.blocks.clear();
        let linked = |index: &u32| self.writes[*index as usize].chain != NONE;
        let mut last = Span::default();
        for index in writes.clone().filter(linked) {
            let span = self.past[index as usize];
            // Writes made from one context share their past.
            if span != last {
                self.join(cover, self.view(span));
                last = span;
            }
        }
        let nested = writes.clone().filter(linked).any(|index| self.covers(cover.view(), index));
        for index in writes.filter(linked) {
            let write = &self.writes[index as usize];
            if !cover.common.holds(write.epoch) {
                cover.add_point(write.chain, write.position);
            }
        }
        nested
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
        View { common: span.common, blocks: &self.arena[span.start as usize..span.end as usize] }
    }

    pub(crate) fn past(&self, index: u32) -> View<'_> {
        self.view(self.past[index as usize])
    }

    #[inline]
    pub(crate) fn covers(&self, view: View<'_>, index: u32) -> bool {
        let write = &self.writes[index as usize];
        view.common.holds(write.epoch) || view.reach(write.chain) >= write.position
    }

    /// Blocks that all pasts take together.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> usize {
        self.arena.len()
    }

    pub(crate) fn chain_count(&self) -> usize {
        self.chains.len()
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
