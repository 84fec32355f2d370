//! Working out the past of every write to a key, in the order of their calls: once for each list of values
//! that contexts name.

use super::causality::{Causality, Known, Span, Unclear, Write};
use super::cover::{Block, Cover};
use super::lineage::Lineage;
use crate::history::{History, NONE};

/// Blocks over all pasts of one key that are kept at most: 1 GiB.
const BLOCKS_MAX: usize = (1 << 30) / size_of::<Block>();

impl Causality {
    pub(super) fn fill(&mut self, history: &History, key: usize) -> Result<(), Unclear> {
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
            if self.tables.deadline.step() {
                return Err(Unclear::Late);
            }
            self.link(history, index, &mut parents);
            if self.arena.len() > BLOCKS_MAX {
                return Err(Unclear::TooLarge);
            }
        }
        self.lineage = Lineage::default();
        Ok(())
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
            // A context may name what only came later: then its parents are not the whole list.
            let whole = !cut && !parents.is_empty() && context.len() == parents.len();
            let list = whole.then(|| self.tables.marks.listed(context).hash);
            let known = match list.and_then(|hash| self.known.get(&hash)) {
                Some(known) => *known,
                None => self.join_all(parents),
            };
            self.past[at as usize] = known.span;
            self.extend_chain(at, parents);
            self.order.push(at);
            self.begin_epoch(at, parents);
            if let Some(hash) = list {
                // The others who name this list know of a new epoch, too.
                self.known.insert(hash, Known { span: self.past[at as usize], ..known });
            }
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
    fn join_all(&mut self, writes: &[u32]) -> Known {
        let mut scratch = std::mem::take(&mut self.scratch);
        let nested = self.cover_writes(writes.iter().copied(), &mut scratch);
        let span = self.keep(&scratch);
        self.scratch = scratch;
        Known { span, nested }
    }

    pub(super) fn keep(&mut self, cover: &Cover) -> Span {
        let start = u32::try_from(self.arena.len()).unwrap_or(NONE);
        self.arena.extend_from_slice(&cover.blocks);
        let end = u32::try_from(self.arena.len()).unwrap_or(NONE);
        Span { common: cover.common, start, end }
    }
}
