//! A first placement: partitions dealt to nodes so that every quota is met exactly.
//!
//! The nodes are laid on a line, zone by zone, each as long as its quota, and partition p takes
//! the nodes at p, p + Q, p + 2Q and so on. No quota is longer than Q, so no partition meets a
//! node twice; a zone of length L is met floor(L/Q) or ceil(L/Q) times by each, so copies are
//! spread over zones as evenly as the quotas are. Then partitions swap owners at random,
//! wherever both stay legal: neighbours on the line would else share all their partitions, and a
//! node that dies would burden a handful of others instead of all.

use quorate_env::random::mix;

use super::zones::Servers;

/// Swaps tried per owner. Four touch each owner eight times on average.
const SWAPS_PER_OWNER: u64 = 4;

/// Random numbers from a seed, the same on every machine.
pub(super) struct Draws(u64);

impl Draws {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// Below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * bound as u128) >> 64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Deals `partitions` rows of `replicas` owners. `quotas` add up to that many owners, none above
/// `partitions`, and admit the spread.
pub(super) fn deal(
    servers: &Servers,
    quotas: &[u32],
    partitions: u32,
    replicas: usize,
    spread: usize,
    seed: u64,
) -> Vec<u32> {
    let mut by_zone = vec![0_u64; servers.zones.len()];
    for (i, quota) in quotas.iter().enumerate() {
        by_zone[servers.zone_of[i] as usize] += u64::from(*quota);
    }
    // Zones with a full set first: the small ones then lie together on the line, and each
    // partition meets as many of them as any other, give or take one.
    let small = |i: usize| by_zone[servers.zone_of[i] as usize] < u64::from(partitions);
    let mut line: Vec<usize> = (0..quotas.len()).filter(|i| quotas[*i] > 0).collect();
    line.sort_by_key(|i| (small(*i), servers.zone_of[*i], *i));

    let mut owners = vec![0; partitions as usize * replicas];
    let mut at = 0_u64;
    for i in line {
        for _ in 0..quotas[i] {
            let (layer, partition) = (at / u64::from(partitions), at % u64::from(partitions));
            owners[partition as usize * replicas + layer as usize] = i as u32;
            at += 1;
        }
    }
    let mut mixing = Mixing { owners, replicas, zone_of: &servers.zone_of, extra_max: replicas - spread };
    mixing.run(&mut Draws::new(seed));
    mixing.owners
}

struct Mixing<'a> {
    owners: Vec<u32>,
    replicas: usize,
    zone_of: &'a [u32],
    extra_max: usize,
}

impl Mixing<'_> {
    fn run(&mut self, draws: &mut Draws) {
        let slots = self.owners.len();
        for _ in 0..slots as u64 * SWAPS_PER_OWNER {
            let (a, b) = (draws.below(slots), draws.below(slots));
            if self.takes(a, self.owners[b]) && self.takes(b, self.owners[a]) {
                self.owners.swap(a, b);
            }
        }
    }

    /// Whether the partition of `slot` may have `node` there instead.
    fn takes(&self, slot: usize, node: u32) -> bool {
        let first = slot - slot % self.replicas;
        let others = (first..first + self.replicas).filter(|s| *s != slot).map(|s| self.owners[s]);
        may_join(others, node, self.zone_of, self.extra_max)
    }
}

/// Whether `node` may own a partition beside `others`: it is not there yet, and copies beyond the
/// first in their zone stay within `extra_max`.
pub(super) fn may_join(
    others: impl Iterator<Item = u32> + Clone,
    node: u32,
    zone_of: &[u32],
    extra_max: usize,
) -> bool {
    if others.clone().any(|other| other == node) {
        return false;
    }
    let zone = zone_of[node as usize];
    let there = others.clone().any(|other| zone_of[other as usize] == zone);
    extra(others, zone_of) + usize::from(there) <= extra_max
}

/// Copies beyond the first in their zone.
pub(super) fn extra(owners: impl Iterator<Item = u32> + Clone, zone_of: &[u32]) -> usize {
    let zone = |node: u32| zone_of[node as usize];
    owners
        .clone()
        .enumerate()
        .filter(|(i, node)| owners.clone().take(*i).any(|before| zone(before) == zone(*node)))
        .count()
}
