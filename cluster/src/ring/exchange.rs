//! The next placement from the one before, with as few copies moved as may be.
//!
//! Copies stay where they are but for three reasons: their node left, their node holds more than
//! its new quota, or their zones no longer spread. What is let go is given to nodes below their
//! quota, in two passes: first directly, at random among those that need it, then by chains in
//! which a node in between takes one copy and lets another go. The chains are found as in
//! a flow problem, cheapest first. Letting go of a copy that this same change brought costs
//! nothing, nor does giving one back to who had it before; anything else costs one more move.
//! A change that can be done directly thus moves exactly what the nodes below their quota lack.

use std::collections::VecDeque;

use super::deal::{Draws, extra, may_join};
use super::zones::Servers;

/// Nobody owns this copy (yet).
pub(super) const VACANT: u32 = u32::MAX;

/// Needy nodes looked at for one copy: enough to meet a legal one, few enough for large rings.
const CANDIDATES: usize = 16;

/// Changes `owners` (rows of `replicas` node indexes or [`VACANT`]) until every node holds its
/// quota, or gives nothing if no chain of exchanges leads there.
pub(super) fn exchange(
    servers: &Servers,
    owners: Vec<u32>,
    quotas: &[u32],
    replicas: usize,
    spread: usize,
    seed: u64,
) -> Option<Vec<u32>> {
    let mut table = Table::new(servers, owners, quotas, replicas, replicas - spread);
    let mut draws = Draws::new(seed);
    table.vacate_crowded();
    table.give_directly(&mut draws);
    while table.unsettled() {
        let chain = table.chain()?;
        table.follow(&chain);
    }
    Some(table.owners)
}

/// One step of a chain: in `slot`, whoever is there makes room for `to`.
#[derive(Clone, Copy, Debug)]
struct Step {
    slot: usize,
    to: u32,
}

struct Table<'a> {
    servers: &'a Servers,
    replicas: usize,
    extra_max: usize,
    /// Who owned what before the change.
    before: Vec<u32>,
    owners: Vec<u32>,
    /// By node: what it still lacks, below 0 where it holds too much.
    lacks: Vec<i64>,
    /// By node: every partition it ever owned during the change.
    seen_in: Vec<Vec<u32>>,
    /// Partitions in which two steps of the last chain stood in each other's way.
    barred: Vec<usize>,
}

impl<'a> Table<'a> {
    fn new(
        servers: &'a Servers,
        owners: Vec<u32>,
        quotas: &[u32],
        replicas: usize,
        extra_max: usize,
    ) -> Self {
        let mut lacks: Vec<i64> = quotas.iter().map(|q| i64::from(*q)).collect();
        let mut seen_in = vec![Vec::new(); quotas.len()];
        for (slot, owner) in owners.iter().enumerate() {
            if *owner != VACANT {
                lacks[*owner as usize] -= 1;
                seen_in[*owner as usize].push((slot / replicas) as u32);
            }
        }
        Self {
            servers,
            replicas,
            extra_max,
            before: owners.clone(),
            owners,
            lacks,
            seen_in,
            barred: Vec::new(),
        }
    }

    fn slots(&self, partition: usize) -> std::ops::Range<usize> {
        partition * self.replicas..(partition + 1) * self.replicas
    }

    fn partitions(&self) -> usize {
        self.owners.len() / self.replicas
    }

    fn zone(&self, node: u32) -> u32 {
        self.servers.zone_of[node as usize]
    }

    fn others(&self, slot: usize) -> impl Iterator<Item = u32> + Clone + '_ {
        let slots = self.slots(slot / self.replicas);
        slots.filter(move |s| *s != slot).map(|s| self.owners[s]).filter(|owner| *owner != VACANT)
    }

    fn may_take(&self, slot: usize, node: u32) -> bool {
        may_join(self.others(slot), node, &self.servers.zone_of, self.extra_max)
    }

    fn set(&mut self, slot: usize, to: u32) {
        let from = std::mem::replace(&mut self.owners[slot], to);
        if from != VACANT {
            self.lacks[from as usize] += 1;
        }
        if to != VACANT {
            self.lacks[to as usize] -= 1;
            self.seen_in[to as usize].push((slot / self.replicas) as u32);
        }
    }

    /// Lets go of copies beyond what the spread allows, of the node that holds most above its
    /// quota first. Needed where a zone was added or a node changed its zone.
    fn vacate_crowded(&mut self) {
        for partition in 0..self.partitions() {
            loop {
                let there = || self.slots(partition).filter(|s| self.owners[*s] != VACANT);
                if extra(there().map(|s| self.owners[s]), &self.servers.zone_of) <= self.extra_max {
                    break;
                }
                let zone = |slot: usize| self.zone(self.owners[slot]);
                let crowded = |slot: &usize| there().any(|s| s != *slot && zone(s) == zone(*slot));
                let slot = there()
                    .filter(crowded)
                    .min_by_key(|s| self.lacks[self.owners[*s] as usize])
                    .expect("an extra copy shares its zone with another");
                self.set(slot, VACANT);
            }
        }
    }

    /// Gives what is vacant, and what nodes hold above their quota, to nodes that lack copies.
    fn give_directly(&mut self, draws: &mut Draws) {
        let mut needy: Vec<u32> =
            (0..self.lacks.len()).filter(|i| self.lacks[*i] > 0).map(|i| i as u32).collect();
        let mut partitions: Vec<usize> = (0..self.partitions()).collect();
        draws.shuffle(&mut partitions);
        for of_vacant in [true, false] {
            for partition in &partitions {
                let mut slots: Vec<usize> =
                    self.slots(*partition).filter(|s| self.is_free(*s, of_vacant)).collect();
                slots.sort_by_key(|s| if of_vacant { 0 } else { self.lacks[self.owners[*s] as usize] });
                for slot in slots {
                    if self.is_free(slot, of_vacant)
                        && let Some(node) = self.neediest(slot, &mut needy, draws)
                    {
                        self.set(slot, node);
                    }
                }
            }
        }
    }

    fn is_free(&self, slot: usize, of_vacant: bool) -> bool {
        match self.owners[slot] {
            VACANT => of_vacant,
            owner => !of_vacant && self.lacks[owner as usize] < 0,
        }
    }

    /// Of some needy nodes that may take `slot`, the one that lacks most.
    fn neediest(&self, slot: usize, needy: &mut Vec<u32>, draws: &mut Draws) -> Option<u32> {
        let mut best: Option<(i64, u32)> = None;
        let all = needy.len() <= CANDIDATES;
        for i in (0..needy.len().min(CANDIDATES)).rev() {
            if needy.is_empty() {
                break;
            }
            let at = if all { i } else { draws.below(needy.len()) };
            let node = needy[at];
            let lack = self.lacks[node as usize];
            if lack <= 0 {
                needy.swap_remove(at);
            } else if best.is_none_or(|(most, _)| lack > most) && self.may_take(slot, node) {
                best = Some((lack, node));
            }
        }
        best.map(|(_, node)| node)
    }

    fn unsettled(&self) -> bool {
        self.lacks.iter().any(|lack| *lack > 0)
    }

    /// The cheapest chain from a vacant copy, or from a node above its quota, to one below.
    fn chain(&self) -> Option<Vec<Step>> {
        let mut search = Search::new(self);
        for node in 0..self.lacks.len() as u32 {
            if self.lacks[node as usize] < 0 {
                search.begin(node);
            }
        }
        let mut first = true;
        loop {
            while let Some(node) = search.now.pop_front() {
                search.later.push_back(node);
                if let Some(end) = search.expand(node, Search::reach_freely) {
                    return Some(search.chain_to(end));
                }
            }
            if std::mem::take(&mut first) {
                for slot in (0..self.owners.len()).filter(|s| self.owners[*s] == VACANT) {
                    if let Some(end) = search.reach(slot) {
                        return Some(search.chain_to(end));
                    }
                }
            }
            let level = std::mem::take(&mut search.later);
            if level.is_empty() && search.now.is_empty() {
                return None;
            }
            for node in level {
                if let Some(end) = search.expand(node, Search::reach) {
                    return Some(search.chain_to(end));
                }
            }
        }
    }

    /// Makes the exchanges of a chain. If two steps in one partition stand in each other's way,
    /// it takes them all back and bars that partition from the next chain.
    fn follow(&mut self, chain: &[Step]) {
        let undo: Vec<Step> = chain.iter().map(|s| Step { slot: s.slot, to: self.owners[s.slot] }).collect();
        for step in chain {
            self.set(step.slot, step.to);
        }
        let clash =
            chain.iter().find(|step| !self.may_take(step.slot, step.to)).map(|s| s.slot / self.replicas);
        if let Some(partition) = clash {
            for step in undo.iter().rev() {
                self.set(step.slot, step.to);
            }
            self.barred.push(partition);
        } else {
            self.barred.clear();
        }
    }
}

/// Breadth first over nodes: a node is reached through a slot that another makes room in.
struct Search<'a, 'b> {
    table: &'b Table<'a>,
    /// By node: the slot it was reached through, and whether it was.
    through: Vec<Option<usize>>,
    /// Nodes not reached yet, by zone.
    unreached: Vec<Vec<u32>>,
    is_root: Vec<bool>,
    /// Reached at this cost and not yet asked for what the change brought them.
    now: VecDeque<u32>,
    /// Reached at this cost and not yet asked for what they always had.
    later: VecDeque<u32>,
}

impl<'a, 'b> Search<'a, 'b> {
    fn new(table: &'b Table<'a>) -> Self {
        let mut unreached = vec![Vec::new(); table.servers.zones.len()];
        for node in 0..table.lacks.len() as u32 {
            if table.lacks[node as usize] >= 0 {
                unreached[table.zone(node) as usize].push(node);
            }
        }
        Self {
            table,
            through: vec![None; table.lacks.len()],
            unreached,
            is_root: vec![false; table.lacks.len()],
            now: VecDeque::new(),
            later: VecDeque::new(),
        }
    }

    fn begin(&mut self, node: u32) {
        self.is_root[node as usize] = true;
        self.now.push_back(node);
    }

    /// Reaches on through every slot that `node` has. Gives the first found that lacks a copy.
    fn expand(&mut self, node: u32, reach: impl Fn(&mut Self, usize) -> Option<u32>) -> Option<u32> {
        let table = self.table;
        for partition in &table.seen_in[node as usize] {
            let mut slots = table.slots(*partition as usize);
            if let Some(slot) = slots.find(|s| table.owners[*s] == node)
                && let Some(end) = reach(self, slot)
            {
                return Some(end);
            }
        }
        None
    }

    /// Reaches whoever may take `slot` at no cost: anybody if its owner is new to the partition,
    /// else who owned the partition before.
    fn reach_freely(&mut self, slot: usize) -> Option<u32> {
        let table = self.table;
        let row = &table.before[table.slots(slot / table.replicas)];
        if !row.contains(&table.owners[slot]) {
            return self.reach(slot);
        }
        for former in row.iter().filter(|former| **former != VACANT) {
            let is_open = table.lacks[*former as usize] >= 0 && self.through[*former as usize].is_none();
            if is_open
                && *former != table.owners[slot]
                && table.may_take(slot, *former)
                && !self.is_barred(slot)
            {
                self.through[*former as usize] = Some(slot);
                if table.lacks[*former as usize] > 0 {
                    return Some(*former);
                }
                self.now.push_back(*former);
            }
        }
        None
    }

    fn is_barred(&self, slot: usize) -> bool {
        self.table.barred.contains(&(slot / self.table.replicas))
    }

    /// Reaches whoever may take `slot`.
    fn reach(&mut self, slot: usize) -> Option<u32> {
        let table = self.table;
        let spent = extra(table.others(slot), &table.servers.zone_of);
        if spent > table.extra_max || self.is_barred(slot) {
            return None;
        }
        for zone in 0..self.unreached.len() {
            let there = table.others(slot).any(|other| table.zone(other) as usize == zone);
            if self.unreached[zone].is_empty() || (there && spent == table.extra_max) {
                continue;
            }
            let mut unreached = std::mem::take(&mut self.unreached[zone]);
            unreached.retain(|node| self.through[*node as usize].is_none());
            for node in unreached {
                if table.others(slot).any(|other| other == node) || table.owners[slot] == node {
                    self.unreached[zone].push(node);
                    continue;
                }
                self.through[node as usize] = Some(slot);
                if table.lacks[node as usize] > 0 {
                    return Some(node);
                }
                self.now.push_back(node);
            }
        }
        None
    }

    /// The steps to `end`, last first.
    fn chain_to(&self, end: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut to = end;
        while let Some(slot) = self.through[to as usize] {
            steps.push(Step { slot, to });
            let from = self.table.owners[slot];
            if from == VACANT || self.is_root[from as usize] {
                break;
            }
            to = from;
        }
        steps
    }
}
