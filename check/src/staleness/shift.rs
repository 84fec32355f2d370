//! Delta and gamma: by how much stamps must be moved for the zones of a key to agree.
//!
//! Delta (Golab, Li and Shah, PODC 2011): the smallest time by which the calls of all gets must be moved
//! back. Gamma (Golab et al., ICDCS 2014): the smallest time by which all operations must be stretched,
//! half of it at each end.
//!
//! Cluster A must come before B if f(A) < s(B). In a pair that must each come before the other, one of the
//! two edges has to go: removing A -> B costs s(B) - f(A), and under delta is impossible if not a get but
//! the put of B was called after f(A). The whole costs as much as its dearest pair. To find it without
//! looking at all pairs, clusters are taken in a fixed shuffled order: whether a cluster has a pair dearer
//! than the dearest so far is one binary search, and only if so all its pairs are looked at. That happens
//! O(log n) times, expected over the shuffle, so all is O(n log n).

use crate::deadline::Deadline;
use crate::linearizable::clusters::Clusters;
use crate::linearizable::machine::spread;
use crate::linearizable::{Op, Step};

/// What a cluster has to do with shifts.
#[derive(Debug, Clone, Copy)]
struct Zone {
    f: i64,
    put_call: i64,
    /// The latest call of a get; the smallest time without one.
    latest: i64,
}

impl Zone {
    fn s(&self) -> i64 {
        self.put_call.max(self.latest)
    }
}

/// Both shifts, in nanoseconds; `i64::MAX` if none is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shifts {
    pub(crate) delta_ns: i64,
    pub(crate) gamma_ns: i64,
}

impl Shifts {
    pub(crate) fn of(ops: &[Op], clusters: &Clusters, deadline: &Deadline) -> Shifts {
        let mut zones: Vec<Zone> = clusters
            .list
            .iter()
            .map(|cluster| Zone { f: cluster.f, put_call: cluster.put_call, latest: i64::MIN })
            .collect();
        for (op, &cluster) in ops.iter().zip(&clusters.of_op) {
            if let (Step::Read(_), Some(zone)) = (op.step, zones.get_mut(cluster as usize)) {
                zone.latest = zone.latest.max(op.call);
            }
        }
        // What nobody read and never returned must come before nothing.
        zones.retain(|zone| zone.f != i64::MAX);
        zones.sort_by_key(|zone| zone.f);
        // Moving stamps only removes edges, so who is in no conflict now never is.
        let reach = Reach::new(&zones, Zone::s);
        let mut in_conflict: Vec<Zone> = (0..zones.len())
            .filter(|&at| reach.latest_but(&zones, at, zones[at].s()) > zones[at].f)
            .map(|at| zones[at])
            .collect();
        drop(reach);
        in_conflict.shrink_to_fit();
        Shifts {
            delta_ns: dearest::<Delta>(&in_conflict, deadline),
            gamma_ns: dearest::<Gamma>(&in_conflict, deadline),
        }
    }
}

/// One of the two ways of moving stamps.
trait Way {
    /// What it costs to remove the edge from a cluster to another; 0 if there is none.
    fn cost(from: &Zone, to: &Zone) -> i64;
    /// The cluster's `s` after a shift.
    fn s(zone: &Zone, shift: i64) -> i64;
    /// By how much `f` moves meanwhile.
    fn f_moves(shift: i64) -> i64;
}

struct Delta;
struct Gamma;

impl Way for Delta {
    fn cost(from: &Zone, to: &Zone) -> i64 {
        if from.f >= to.s() {
            0
        } else if from.f < to.put_call {
            i64::MAX
        } else {
            to.latest.saturating_sub(from.f)
        }
    }
    fn s(zone: &Zone, shift: i64) -> i64 {
        zone.put_call.max(zone.latest.saturating_sub(shift))
    }
    fn f_moves(_: i64) -> i64 {
        0
    }
}

impl Way for Gamma {
    fn cost(from: &Zone, to: &Zone) -> i64 {
        to.s().saturating_sub(from.f).max(0)
    }
    // Half at each end: only the sum matters, so all of it is taken from `f < s` at once.
    fn s(zone: &Zone, _: i64) -> i64 {
        zone.s()
    }
    fn f_moves(shift: i64) -> i64 {
        shift
    }
}

/// The dearest pair, for zones in order of `f`; only a part of it when the time is up.
fn dearest<W: Way>(zones: &[Zone], deadline: &Deadline) -> i64 {
    let mut order: Vec<u32> = (0..u32::try_from(zones.len()).unwrap_or(u32::MAX)).collect();
    order.sort_unstable_by_key(|&at| spread(u64::from(at)) as u64);
    let mut shift = 0;
    let mut reach = Reach::new(zones, |zone| W::s(zone, shift));
    for at in order {
        if deadline.step() {
            break;
        }
        let at = at as usize;
        let zone = &zones[at];
        // Edges from others into this one begin before its `s`; is there one among those that this one
        // must come before too?
        let before = W::s(zone, shift).saturating_sub(W::f_moves(shift));
        let from = zone.f.saturating_add(W::f_moves(shift));
        if reach.latest_but(zones, at, before) <= from {
            continue;
        }
        if deadline.is_over() {
            break;
        }
        let pair = |other: &Zone| W::cost(zone, other).min(W::cost(other, zone));
        let others = zones.iter().enumerate().filter(|(other, _)| *other != at);
        shift = others.map(|(_, other)| pair(other)).max().unwrap_or(0).max(shift);
        if shift == i64::MAX {
            break;
        }
        reach = Reach::new(zones, |zone| W::s(zone, shift));
    }
    shift
}

/// The two latest `s` among the zones up to each place in order of `f`.
struct Reach {
    latest: Vec<(i64, u32, i64)>,
}

impl Reach {
    fn new(zones: &[Zone], s: impl Fn(&Zone) -> i64) -> Self {
        let mut best = (i64::MIN, u32::MAX, i64::MIN);
        let latest = (0_u32..)
            .zip(zones)
            .map(|(at, zone)| {
                let s = s(zone);
                if s > best.0 {
                    best = (s, at, best.0);
                } else if s > best.2 {
                    best.2 = s;
                }
                best
            })
            .collect();
        Reach { latest }
    }

    /// The latest `s` of zones other than this one whose `f` is before a time.
    fn latest_but(&self, zones: &[Zone], at: usize, before: i64) -> i64 {
        let count = zones.partition_point(|zone| zone.f < before);
        let Some(&(first, whose, second)) = count.checked_sub(1).and_then(|last| self.latest.get(last))
        else {
            return i64::MIN;
        };
        if whose as usize == at { second } else { first }
    }
}
