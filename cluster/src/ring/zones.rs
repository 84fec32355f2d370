//! How many zones each partition's copies span, and what that costs in balance.
//!
//! A spread of z means: every partition has copies in at least z distinct zones. Counted by
//! what it forbids: of a partition's N copies at most N - z are *extra*, that is beyond the
//! first in their zone. The shares are then filled like water under one more limit: all zones
//! together hold at most (N - z) * Q extra copies. With as many zones wanted as replicas, no
//! zone takes more than one copy of each partition; with as many wanted as there are, every
//! zone takes at least one.
//!
//! That much is wanted as far as capacities permit. Where a small zone's nodes would hold more
//! than [`LOAD_MAX`] times their share without zones, one zone less is asked for, and the
//! zone is reported: a small server in a new zone must not drown in copies of everything.

use super::quota::{Claim, NUDGE, fair_shares, settle};
use super::{PlacementNode, ZoneShortfall};

/// What a zone's nodes may hold over their share without zones, for the spread's sake.
pub(super) const LOAD_MAX: f64 = 2.0;

/// The servers as numbers, in one order.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    pub capacities: Vec<u32>,
    /// Each server's index into `zones`.
    pub zone_of: Vec<u32>,
    /// Distinct names, sorted.
    pub zones: Vec<String>,
}

impl Servers {
    pub fn of(nodes: &[PlacementNode]) -> Self {
        let mut zones: Vec<String> = nodes.iter().map(|n| n.zone.clone()).collect();
        zones.sort_unstable();
        zones.dedup();
        let index = |n: &PlacementNode| zones.partition_point(|z| *z < n.zone) as u32;
        let zone_of = nodes.iter().map(index).collect();
        Self { capacities: nodes.iter().map(|n| n.capacity).collect(), zone_of, zones }
    }

    /// Zones that can hold anything.
    pub fn live_zones(&self) -> usize {
        self.sum_by_zone(|i| f64::from(self.capacities[i])).iter().filter(|capacity| **capacity > 0.0).count()
    }

    fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.zones.len()];
        for (i, zone) in self.zone_of.iter().enumerate() {
            members[*zone as usize].push(i);
        }
        members
    }

    fn sum_by_zone(&self, of: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.zones.len()];
        for (i, zone) in self.zone_of.iter().enumerate() {
            sums[*zone as usize] += of(i);
        }
        sums
    }
}

/// A spread and the shares under it.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    /// z: the distinct zones that each partition has copies in, at least.
    pub spread: usize,
    /// Each server's share, in copies.
    pub shares: Vec<f64>,
    /// Why the spread is less than replicas and zones alone permit.
    pub shortfall: Option<ZoneShortfall>,
}

impl Shares {
    /// The widest spread that overloads no zone, and the shares under it.
    pub fn of(servers: &Servers, partitions: u32, replicas: usize) -> Self {
        let plain = fair_shares(&servers.capacities, partitions, replicas);
        let mut shortfall = None;
        for spread in (2..=replicas.min(servers.live_zones())).rev() {
            let shares = under_spread(servers, &plain, partitions, replicas, spread);
            let over = |i: usize| if plain[i] > 0.0 { shares[i] / plain[i] } else { 0.0 };
            let worst = (0..shares.len()).max_by(|a, b| over(*a).total_cmp(&over(*b)));
            match worst.filter(|i| over(*i) > LOAD_MAX + NUDGE) {
                None => return Self { spread, shares, shortfall },
                Some(i) => {
                    let zone = || servers.zones[servers.zone_of[i] as usize].clone();
                    shortfall.get_or_insert_with(|| ZoneShortfall { zone: zone(), spread, over: over(i) });
                }
            }
        }
        Self { spread: 1, shares: plain, shortfall }
    }

    /// Shares as whole copies, near to what is held. `held` and `before` (the shares that it was
    /// held under) go by server; all 0 for a first placement.
    pub fn quotas(
        &self,
        servers: &Servers,
        partitions: u32,
        replicas: usize,
        held: &[u32],
        before: &[f64],
    ) -> Vec<u32> {
        let total = u64::from(partitions) * replicas as u64;
        let claim = |i: usize| Claim {
            share: self.shares[i],
            share_before: before[i],
            held: held[i],
            low: 0,
            high: partitions,
        };
        if self.spread == 1 {
            let claims: Vec<Claim> = (0..self.shares.len()).map(claim).collect();
            return settle(&claims, total);
        }
        let by_zone = self.zone_quotas(servers, partitions, replicas, held, before);
        let members = servers.members();
        let mut quotas = vec![0; self.shares.len()];
        for (members, total) in members.iter().zip(by_zone) {
            let claims: Vec<Claim> = members.iter().map(|i| claim(*i)).collect();
            for (i, quota) in members.iter().zip(settle(&claims, total)) {
                quotas[*i] = quota;
            }
        }
        quotas
    }

    /// Whole copies by zone. Zones with a full set or more are rounded apart from the others, so
    /// that rounding makes no extra copy that the spread forbids.
    fn zone_quotas(
        &self,
        servers: &Servers,
        partitions: u32,
        replicas: usize,
        held: &[u32],
        before: &[f64],
    ) -> Vec<u64> {
        let full = f64::from(partitions);
        let shares = servers.sum_by_zone(|i| self.shares[i]);
        let befores = servers.sum_by_zone(|i| before[i]);
        let helds = servers.sum_by_zone(|i| f64::from(held[i]));
        let sizes = servers.sum_by_zone(|_| 1.0);
        let is_big = |k: usize| shares[k] >= full - NUDGE;
        let (big, small): (Vec<usize>, Vec<usize>) = (0..shares.len()).partition(|k| is_big(*k));
        let extra: f64 = big.iter().map(|k| shares[*k] - full).sum();
        let extra_held: f64 = big.iter().map(|k| (helds[*k] - full).max(0.0)).sum();
        let whole =
            extra_held.clamp((extra + NUDGE).floor(), (extra - NUDGE).ceil().max((extra + NUDGE).floor()));
        let allowed = full * (replicas - self.spread) as f64;
        let big_total = whole.min(allowed) as u64 + u64::from(partitions) * big.len() as u64;
        let total = u64::from(partitions) * replicas as u64;
        let mut quotas = vec![0; shares.len()];
        for (zones, total) in [(&big, big_total), (&small, total.saturating_sub(big_total))] {
            let claims: Vec<Claim> = zones
                .iter()
                .map(|k| Claim {
                    share: shares[*k],
                    share_before: befores[*k],
                    held: helds[*k] as u32,
                    low: if is_big(*k) { partitions } else { 0 },
                    high: if is_big(*k) { (sizes[*k] * full) as u32 } else { partitions },
                })
                .collect();
            for (k, quota) in zones.iter().zip(settle(&claims, total)) {
                quotas[*k] = u64::from(quota);
            }
        }
        quotas
    }
}

/// Water-filled shares when every partition must have copies in `spread` zones. `plain` are the
/// shares without zones: where they keep the rule, they stay.
fn under_spread(
    servers: &Servers,
    plain: &[f64],
    partitions: u32,
    replicas: usize,
    spread: usize,
) -> Vec<f64> {
    let full = f64::from(partitions);
    let allowed = full * (replicas - spread) as f64;
    let extra = |zones: &[f64]| -> f64 { zones.iter().map(|copies| (copies - full).max(0.0)).sum() };
    if extra(&servers.sum_by_zone(|i| plain[i])) <= allowed + NUDGE {
        return plain.to_vec();
    }
    let holds = |level: f64, i: usize| (level * f64::from(servers.capacities[i])).min(full);
    let at = |level: f64| servers.sum_by_zone(|i| holds(level, i));
    let highest = full / f64::from(servers.capacities.iter().copied().filter(|c| *c > 0).min().unwrap_or(1));
    // The level at which all extra copies that are allowed have been dealt: the zones that hold a
    // full set by then are done.
    let crowded = level_where(highest, |level| extra(&at(level)) > allowed);
    let reached = at(crowded);
    let done: Vec<bool> = reached.iter().map(|copies| *copies >= full - NUDGE).collect();
    let open_copies =
        full * replicas as f64 - reached.iter().zip(&done).filter(|(_, d)| **d).map(|(c, _)| c).sum::<f64>();
    let firsts = |level: f64| -> f64 {
        at(level).iter().zip(&done).filter(|(_, done)| !**done).map(|(copies, _)| copies.min(full)).sum()
    };
    let open = level_where(highest, |level| firsts(level) > open_copies - NUDGE / 2.0);
    let members = servers.members();
    // An open zone that reaches a full set stops there, at a level of its own.
    let levels: Vec<f64> = at(open)
        .iter()
        .enumerate()
        .map(|(k, copies)| match (done[k], *copies > full) {
            (true, _) => crowded,
            (false, false) => open,
            (false, true) => {
                let members = &members[k];
                level_where(open, |level| members.iter().map(|i| holds(level, *i)).sum::<f64>() > full)
            }
        })
        .collect();
    (0..plain.len()).map(|i| holds(levels[servers.zone_of[i] as usize], i)).collect()
}

/// The largest level up to `highest` at which `above` does not yet hold; `above` is monotone.
fn level_where(highest: f64, above: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, highest);
    if !above(high) {
        return high;
    }
    // Halved until neighbouring floats are met: at most some 60 halvings below the first digit.
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if above(middle) { high = middle } else { low = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    /// Servers of these zones, each with the capacities of its servers.
    fn servers(zones: &[Vec<u32>]) -> Servers {
        let of_zone = |(zone, capacities): (usize, &Vec<u32>)| {
            let node = move |(i, capacity): (usize, &u32)| PlacementNode {
                id: format!("z{zone}n{i}").parse().unwrap(),
                capacity: *capacity,
                zone: format!("z{zone}"),
            };
            capacities.iter().enumerate().map(node).collect::<Vec<_>>()
        };
        Servers::of(&zones.iter().enumerate().flat_map(of_zone).collect::<Vec<_>>())
    }

    #[test]
    fn a_zone_without_capacity_is_no_zone_and_hides_no_shortfall() {
        assert_eq!(servers(&[vec![1], vec![0]]).live_zones(), 1);
        // Three copies in three zones would put a full set on a zone that should hold a twentieth.
        let small = Shares::of(&servers(&[vec![9, 9, 0], vec![9, 9], vec![1, 1]]), 64, 3);
        assert_eq!(small.shortfall.map(|short| (short.zone, short.spread)), Some(("z2".into(), 3)));
    }

    #[test]
    fn zones_with_more_than_a_full_set_get_no_more_than_they_should() {
        // Of what is extra the fraction goes to the others, since nobody holds it.
        for (zones, partitions, expected) in [
            (&[vec![8, 8], vec![10], vec![2, 2]][..], 60, &[96, 60, 24][..]),
            (&[vec![20, 20], vec![20], vec![3, 3], vec![2]], 60, &[105, 53, 16, 6]),
            (&[vec![8, 8], vec![10], vec![2, 2]], 63, &[100, 63, 26]),
        ] {
            let servers = servers(zones);
            let shares = Shares::of(&servers, partitions, 3);
            assert_eq!(shares.spread, 2);
            let none = vec![0; servers.capacities.len()];
            let nothing = vec![0.0; none.len()];
            assert_eq!(shares.zone_quotas(&servers, partitions, 3, &none, &nothing), expected, "{zones:?}");
        }
    }

    proptest! {
        #[test]
        fn whole_copies_by_zone_add_up_near_the_shares_and_make_no_extra_copy(
            zones in prop::collection::vec(prop::collection::vec(1_u32..40, 1..4), 2..5),
            partitions in 1_u32..80, replicas in 2_usize..4,
        ) {
            let servers = servers(&zones);
            prop_assume!(servers.capacities.len() >= replicas);
            let shares = Shares::of(&servers, partitions, replicas);
            prop_assume!(shares.spread > 1);
            let none = vec![0; servers.capacities.len()];
            let zone_shares = servers.sum_by_zone(|i| shares.shares[i]);
            let quotas = shares.zone_quotas(&servers, partitions, replicas, &none, &vec![0.0; none.len()]);
            let full = u64::from(partitions);
            prop_assert_eq!(quotas.iter().sum::<u64>(), full * replicas as u64);
            let extra: u64 = quotas.iter().map(|quota| quota.saturating_sub(full)).sum();
            prop_assert!(extra <= full * (replicas - shares.spread) as u64, "{:?} {:?}", quotas, zone_shares);
            for ((quota, share), zone) in quotas.iter().zip(&zone_shares).zip(&zones) {
                prop_assert!((*quota as f64 - share).abs() < 1.0 + NUDGE, "{:?} {:?}", quotas, zone_shares);
                prop_assert!(*quota <= full * zone.len() as u64);
            }
            // What is held so already stays.
            let held = shares.quotas(&servers, partitions, replicas, &none, &vec![0.0; none.len()]);
            let again = shares.quotas(&servers, partitions, replicas, &held, &shares.shares);
            prop_assert_eq!(held, again);
        }
    }
}
