//! The plainest case with the least memory: one key, puts of unique values and gets of them. It is what
//! a harness that writes unique values records, so ten million operations of it must fit.
//!
//! The rules are those of [`super::zones`], straight from the entries of the history, with 16 bytes a
//! value. Whatever is not plain (a repeated value, a delete, a cas, a phantom, ties within a process) and
//! whatever is wrong is left to the general road, which also finds the witness.

use super::clusters::Scratch;
use crate::history::{Function, History, Id, NEVER, NONE, Outcome};

/// What came of the plain case.
pub(crate) enum Quick {
    /// There is an order, by operation number; empty if it was not asked for.
    Linearizable(Vec<u32>),
    /// Not linearizable: what was called until then, in nanoseconds, contradicts itself.
    Contradiction { until: i64 },
    /// Not plain, or it saw the future.
    NotHere,
}

#[derive(Clone, Copy)]
struct Zone {
    f: i64,
    s: i64,
}

/// Judges a key if it is plain; with the order, if `certify`.
pub(crate) fn judge(
    history: &History,
    key: usize,
    initial: Id,
    scratch: &mut Scratch,
    certify: bool,
) -> Quick {
    let of_key = history.of_key(key);
    let mut zones = vec![Zone { f: i64::MIN, s: i64::MIN }];
    scratch.claim(initial, 0);
    let quick = if !collect(history, of_key, &mut zones, scratch) {
        Quick::NotHere
    } else if let Some(conflict) = find_conflict(&zones) {
        Quick::Contradiction { until: complete(history, of_key, conflict, scratch) }
    } else {
        Quick::Linearizable(if certify { order(history, of_key, &zones, scratch) } else { Vec::new() })
    };
    scratch.clear();
    quick
}

/// When the operations that make a conflict had all returned.
fn complete(history: &History, of_key: &[u32], (a, b): (Zone, Zone), scratch: &Scratch) -> i64 {
    let ends = of_key.iter().filter_map(|&number| {
        let entry = history.entry(number);
        let makes = [a, b].iter().any(|zone| entry.ret == zone.f || entry.invoke == zone.s);
        (makes && cluster_of(history, number, scratch) != NONE).then_some(entry.ret)
    });
    ends.max().unwrap_or(NEVER)
}

/// Builds the zones; false if the key is not plain.
fn collect(history: &History, of_key: &[u32], zones: &mut Vec<Zone>, scratch: &mut Scratch) -> bool {
    let mut plain = true;
    for &number in of_key {
        let entry = history.entry(number);
        let last_return = &mut scratch.last_return[entry.process as usize];
        plain &= *last_return != entry.invoke;
        *last_return = entry.ret;
        plain &= !scratch.deadline.step();
        match (entry.f, entry.outcome) {
            (_, Outcome::Fail) | (Function::Get, _) => {}
            (Function::Put, _) => {
                let cluster = u32::try_from(zones.len()).unwrap_or(NONE);
                plain &= scratch.cluster_of(entry.value) == NONE;
                scratch.claim(entry.value, cluster);
                zones.push(Zone { f: entry.ret, s: entry.invoke });
            }
            _ => plain = false,
        }
        if !plain {
            break;
        }
    }
    if of_key.len() > scratch.last_return.len() {
        scratch.last_return.fill(i64::MIN);
    } else {
        for &number in of_key {
            scratch.last_return[history.entry(number).process as usize] = i64::MIN;
        }
    }
    plain
        && of_key.iter().all(|&number| {
            let entry = history.entry(number);
            if !entry.is_ok(Function::Get) || history.is_raw(number) {
                return true;
            }
            let value = match history.values_of(number) {
                [] => super::NOT_FOUND,
                [one] => *one,
                _ => return false,
            };
            let cluster = scratch.cluster_of(value);
            let Some(zone) = zones.get_mut(cluster as usize) else { return false };
            // A get that was over before its put was called saw the future. Earlier gets were called
            // before this one, so if `s` is after its return, it is the put's call.
            if entry.ret < zone.s {
                return false;
            }
            zone.f = zone.f.min(entry.ret);
            zone.s = zone.s.max(entry.invoke);
            !scratch.deadline.step()
        })
}

/// Gibbons and Korach's rules: two zones that break them.
fn find_conflict(zones: &[Zone]) -> Option<(Zone, Zone)> {
    let mut forward: Vec<Zone> = zones.iter().copied().filter(|zone| zone.f < zone.s).collect();
    // Nearly sorted as it is, since clusters are in order of their puts' calls.
    forward.sort_by_key(|zone| zone.f);
    if let Some(pair) = forward.windows(2).find(|pair| pair[1].f < pair[0].s) {
        return Some((pair[0], pair[1]));
    }
    // The first forward zone that begins at or after the backward zone's `s`: it moves little from one
    // cluster to the next.
    let mut at = 0_usize;
    zones.iter().filter(|zone| zone.f >= zone.s).find_map(|backward| {
        while at > 0 && forward[at - 1].f >= backward.s {
            at -= 1;
        }
        while at < forward.len() && forward[at].f < backward.s {
            at += 1;
        }
        let holder = forward[..at].last()?;
        (backward.f < holder.s).then_some((*holder, *backward))
    })
}

/// The cluster of an operation that must or may be placed.
fn cluster_of(history: &History, number: u32, scratch: &Scratch) -> u32 {
    let entry = history.entry(number);
    match (entry.f, entry.outcome) {
        (_, Outcome::Fail) | (Function::Get, Outcome::Info) => NONE,
        (Function::Get, Outcome::Ok) if history.is_raw(number) => NONE,
        (Function::Get, Outcome::Ok) => {
            scratch.cluster_of(history.values_of(number).first().copied().unwrap_or(super::NOT_FOUND))
        }
        _ => scratch.cluster_of(entry.value),
    }
}

/// Clusters by `f + s`, in each the put and then the gets by their calls: if A must come before B and not
/// the other way round, then f(A) < s(B) and s(A) <= f(B), so its sum is the smaller one.
fn order(history: &History, of_key: &[u32], zones: &[Zone], scratch: &Scratch) -> Vec<u32> {
    let sum = |zone: &Zone| zone.f.cast_unsigned().wrapping_add(zone.s.cast_unsigned());
    let mut by_sum: Vec<(u64, u32)> =
        (1_u32..).zip(&zones[1..]).map(|(cluster, zone)| (sum(zone), cluster)).collect();
    by_sum.sort();
    let cluster_of = |number: u32| cluster_of(history, number, scratch);
    // By cluster: how many operations it has, then where the next one of them goes.
    let mut place = vec![0_u32; zones.len()];
    for &number in of_key {
        if let Some(count) = place.get_mut(cluster_of(number) as usize) {
            *count += 1;
        }
    }
    let mut next = std::mem::take(&mut place[0]);
    for &(_, cluster) in &by_sum {
        let slot = &mut place[cluster as usize];
        // What never returned and nobody read need not have happened.
        let unseen = *slot == 1 && zones[cluster as usize].f == NEVER;
        let count = if unseen { 0 } else { *slot };
        *slot = if unseen { NONE } else { next };
        next += count;
    }
    drop(by_sum);
    let mut order = vec![NONE; next as usize];
    // Puts first: by equal stamps a get may stand before its put in the file.
    for puts in [true, false] {
        for &number in of_key {
            if (history.entry(number).f == Function::Put) != puts {
                continue;
            }
            if scratch.deadline.step() {
                return Vec::new();
            }
            if let Some(slot) = place.get_mut(cluster_of(number) as usize).filter(|slot| **slot != NONE) {
                order[*slot as usize] = number;
                *slot += 1;
            }
        }
    }
    order
}
