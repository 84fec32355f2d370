//! Which write had read which: the causal past of every write to one key.
//!
//! past(w) is the values in w's context and their pasts. Kept as a sparse vector over chains, as version
//! vectors are: each write extends a chain whose last write is in its past, or begins one, so that the
//! past of a write is a prefix of every chain. Clients that read before they write need about as many
//! chains as there are siblings; a blind write always begins one, and costs nothing else. Where a history
//! forks, the chain goes on with the branch that lives longest: under last-write-wins most branches die
//! at once, and one of them in its place would make all pasts grow with every fork.

use std::collections::HashMap;

use crate::history::{Function, History, Id, NONE};

/// A set of writes closed under "had read": of each chain listed, all writes up to a position. Sorted by
/// chain; positions count from 1.
pub(crate) type Cover = Vec<(u32, u32)>;

/// Entries over all pasts of one key that are kept at most: 1 GiB.
const ENTRIES_MAX: usize = 1 << 27;

/// A write that happened or may have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    pub(crate) op: u32,
    pub(crate) chain: u32,
    pub(crate) position: u32,
}

/// Why the causal past of a key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// One value, or id of a delete, is written twice: a get does not say whose it returned.
    Repeated(Id),
    /// The pasts would take too much memory.
    TooLarge,
}

/// The causal past of every write to one key.
#[derive(Debug)]
pub(crate) struct Causality {
    pub(crate) writes: Vec<Write>,
    by_value: HashMap<Id, u32>,
    by_op: HashMap<u32, u32>,
    past: Vec<Cover>,
    /// By write: of those that had read it, the one with the latest descendant; `NONE` if nobody had.
    heir: Vec<u32>,
    /// By chain, by position from 1: the write.
    chains: Vec<Vec<u32>>,
}

impl Causality {
    pub(crate) fn build(history: &History, key: usize) -> Result<Causality, Unclear> {
        let mut causality = Causality {
            writes: Vec::new(),
            by_value: HashMap::new(),
            by_op: HashMap::new(),
            past: Vec::new(),
            heir: Vec::new(),
            chains: Vec::new(),
        };
        for &op in history.of_key(key) {
            let entry = history.entry(op);
            if entry.may_have_written() {
                let index = u32::try_from(causality.writes.len()).unwrap_or(NONE);
                causality.writes.push(Write { op, chain: NONE, position: 0 });
                causality.by_op.insert(op, index);
                if entry.value != NONE && causality.by_value.insert(entry.value, index).is_some() {
                    return Err(Unclear::Repeated(entry.value));
                }
            }
        }
        causality.past.resize(causality.writes.len(), Vec::new());
        let mut entries = 0;
        let mut parents = Vec::new();
        causality.find_heirs(history);
        for index in 0..u32::try_from(causality.writes.len()).unwrap_or(NONE) {
            entries += causality.link(history, index, &mut parents);
            if entries > ENTRIES_MAX {
                return Err(Unclear::TooLarge);
            }
        }
        Ok(causality)
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
                if self.heir[parent as usize] == NONE || latest_here > latest[parent as usize] {
                    latest[parent as usize] = latest_here;
                    self.heir[parent as usize] = index;
                }
            }
        }
    }

    /// Gives a write its past, and first those of what it had read, which by equal stamps may stand
    /// after it. Returns the entries added.
    fn link(&mut self, history: &History, index: u32, parents: &mut Vec<u32>) -> usize {
        let mut entries = 0;
        let mut open = vec![index];
        let mut begun = std::collections::BTreeSet::new();
        while let Some(&at) = open.last() {
            if self.writes[at as usize].chain != NONE {
                open.pop();
                continue;
            }
            begun.insert(at);
            self.parents(history, at, parents);
            // A circle can only be made of equal stamps: it is cut where it closes.
            let unlinked = parents
                .iter()
                .copied()
                .find(|&parent| self.writes[parent as usize].chain == NONE && !begun.contains(&parent));
            if let Some(parent) = unlinked {
                open.push(parent);
                continue;
            }
            let mut past = Cover::new();
            for &parent in parents.iter() {
                if self.writes[parent as usize].chain != NONE {
                    self.add(&mut past, parent);
                }
            }
            entries += past.len();
            self.extend_chain(at, &past);
            self.past[at as usize] = past;
            open.pop();
        }
        entries
    }

    /// The writes that a write's context names. A value that is called only later is no past; who
    /// recorded such a context is told so by the phantom check.
    fn parents(&self, history: &History, index: u32, parents: &mut Vec<u32>) {
        parents.clear();
        let op = self.writes[index as usize].op;
        for value in history.context_of(op) {
            if let Some(&parent) = self.by_value.get(value)
                && parent != index
                && history.entry(self.writes[parent as usize].op).invoke <= history.entry(op).invoke
            {
                parents.push(parent);
            }
        }
    }

    fn extend_chain(&mut self, index: u32, past: &Cover) {
        let may_follow = |tail: u32| {
            let heir = self.heir[tail as usize];
            heir == index || self.writes[heir as usize].chain != NONE
        };
        let goes_on = self.heir[index as usize] != NONE;
        let free = past
            .iter()
            .filter(|_| goes_on)
            .find(|&&(chain, position)| {
                let members = &self.chains[chain as usize];
                members.len() == position as usize && members.last().is_some_and(|&tail| may_follow(tail))
            })
            .map(|&(chain, _)| chain);
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

    /// Adds a write and its past to a cover.
    pub(crate) fn add(&self, cover: &mut Cover, index: u32) {
        let write = &self.writes[index as usize];
        join(cover, &self.past[index as usize]);
        join(cover, &[(write.chain, write.position)]);
    }

    /// The write behind a value that a get returned.
    pub(crate) fn write_of(&self, value: Id) -> Option<u32> {
        self.by_value.get(&value).copied()
    }

    /// The write that an operation is.
    pub(crate) fn write_of_op(&self, op: u32) -> Option<u32> {
        self.by_op.get(&op).copied()
    }

    /// The values with all that their writers had read.
    pub(crate) fn cover(&self, values: &[Id]) -> Cover {
        let mut cover = Cover::new();
        for index in values.iter().filter_map(|&value| self.write_of(value)) {
            self.add(&mut cover, index);
        }
        cover
    }

    pub(crate) fn past(&self, index: u32) -> &Cover {
        &self.past[index as usize]
    }

    pub(crate) fn covers(&self, cover: &Cover, index: u32) -> bool {
        let write = &self.writes[index as usize];
        reach(cover, write.chain) >= write.position
    }

    /// The writes of a chain, in order; the first has position 1.
    pub(crate) fn chain(&self, chain: u32) -> &[u32] {
        &self.chains[chain as usize]
    }

    /// Deletes that happened or may have happened, in order of invocation.
    pub(crate) fn deletes<'a>(&'a self, history: &'a History) -> impl Iterator<Item = u32> + 'a {
        (0_u32..)
            .zip(&self.writes)
            .filter(|(_, write)| history.entry(write.op).f == Function::Delete)
            .map(|(index, _)| index)
    }
}

/// How far a cover reaches into a chain; 0 is not at all.
pub(crate) fn reach(cover: &Cover, chain: u32) -> u32 {
    cover.binary_search_by_key(&chain, |&(chain, _)| chain).map_or(0, |at| cover[at].1)
}

/// Adds one cover to another.
pub(crate) fn join(cover: &mut Cover, other: &[(u32, u32)]) {
    if let [(chain, position)] = other {
        match cover.binary_search_by_key(chain, |&(chain, _)| chain) {
            Ok(at) => cover[at].1 = cover[at].1.max(*position),
            Err(at) => cover.insert(at, (*chain, *position)),
        }
        return;
    }
    if cover.is_empty() {
        cover.extend_from_slice(other);
        return;
    }
    let mut joined = Cover::with_capacity(cover.len() + other.len());
    let (mut left, mut right) = (cover.iter().copied().peekable(), other.iter().copied().peekable());
    loop {
        joined.push(match (left.peek(), right.peek()) {
            (Some(&a), Some(&b)) if a.0 == b.0 => {
                left.next();
                right.next();
                (a.0, a.1.max(b.1))
            }
            (Some(&a), Some(&b)) if a.0 < b.0 => {
                left.next();
                a
            }
            (_, Some(&b)) => {
                right.next();
                b
            }
            (Some(&a), None) => {
                left.next();
                a
            }
            (None, None) => break,
        });
    }
    *cover = joined;
}
