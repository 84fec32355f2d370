//! Chains: which write goes on from which.
//!
//! Each write extends a chain whose last write is in its past, or begins one, so that the past of a write
//! is a prefix of every chain. Clients that read before they write need about as many chains as there
//! are siblings; a blind write always begins one. Where a history forks, the chain goes on with the branch
//! that lives longest: under last-write-wins most branches die at once, and one of them in its place would
//! make all pasts grow with every fork. Branches that die soon, such as what only a delete had read, get
//! chains beside those that live on: pasts list chains eight at a time.

use super::causality::Causality;
use super::cover::LANES;
use crate::history::{History, NONE};

/// Who had read whom, in the long run: known while chains are made.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    /// By write: of those that had read it, the one with the latest descendant; `NONE` if nobody had.
    heir: Vec<u32>,
    /// By write: its latest descendant, itself if nobody had read it.
    pub(super) latest: Vec<u32>,
    /// The next chain to give away, and how many of its block are left: among the lasting, and among
    /// those that die soon.
    lasting: (u32, usize),
    short: (u32, usize),
}

impl Causality {
    pub(super) fn find_heirs(&mut self, history: &History) {
        let count = self.writes.len();
        let (mut heir, mut latest) = (vec![NONE; count], vec![0; count]);
        let mut parents = Vec::new();
        for index in (0..u32::try_from(count).unwrap_or(NONE)).rev() {
            if self.tables.deadline.step() {
                break;
            }
            let latest_here = latest[index as usize].max(index);
            latest[index as usize] = latest_here;
            self.parents(history, index, &mut parents);
            for &parent in &parents {
                // Of those that live equally long the first: the sooner a chain goes on, the fewer begin.
                if heir[parent as usize] == NONE || latest_here >= latest[parent as usize] {
                    latest[parent as usize] = latest_here;
                    heir[parent as usize] = index;
                }
            }
        }
        self.lineage = Lineage { heir, latest, ..Lineage::default() };
    }

    pub(super) fn extend_chain(&mut self, index: u32, parents: &[u32]) {
        let Lineage { heir, latest, .. } = &self.lineage;
        let goes_on = heir[index as usize] != NONE;
        let may_follow = |tail: u32| {
            let heir = heir[tail as usize];
            let lives = latest[index as usize] >= latest[tail as usize];
            lives && (heir == index || self.writes[heir as usize].chain != NONE)
        };
        let is_free = |chain: u32, position: u32| {
            let members = &self.chains[chain as usize];
            members.len() == position as usize && members.last().is_some_and(|&tail| may_follow(tail))
        };
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
        let dies_soon = !goes_on || latest[index as usize] < index.saturating_add(self.limits.short_life);
        let chain = free.unwrap_or_else(|| self.new_chain(dies_soon));
        let members = &mut self.chains[chain as usize];
        members.push(index);
        let position = u32::try_from(members.len()).unwrap_or(NONE);
        let write = &mut self.writes[index as usize];
        (write.chain, write.position) = (chain, position);
    }

    fn new_chain(&mut self, dies_soon: bool) -> u32 {
        let Lineage { lasting, short, .. } = &mut self.lineage;
        let (next, left) = if dies_soon { short } else { lasting };
        if *left == 0 {
            *next = u32::try_from(self.chains.len()).unwrap_or(NONE);
            *left = LANES;
            self.chains.resize(self.chains.len() + LANES, Vec::new());
        }
        *left -= 1;
        *next += 1;
        *next - 1
    }
}
