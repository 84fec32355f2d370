//! The state of every link under all the faults that are active at once.
//!
//! The simulator keeps one state per link, so the end of one fault would end another's effect. Here
//! every effect is counted per directed link, and only the resulting state is issued.
//! Invariant: a directed link is cut exactly while some active fault cuts it, and once every fault
//! has ended every link is healthy. A cut wins over a hold; delays add up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::wire::WireCounts;
use super::{Effects, LinkEffect, Wire};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    cut: u32,
    hold: u32,
    delay: Duration,
    wire: WireCounts,
}

/// What a link between two hosts should be like now. `a` sorts before `b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairState {
    /// One end.
    pub a: String,
    /// The other.
    pub b: String,
    /// Messages from `a` to `b` are lost.
    pub cut_a_to_b: bool,
    /// Messages from `b` to `a` are lost.
    pub cut_b_to_a: bool,
    /// Messages are kept back, in the directions that are not cut.
    pub hold: bool,
    /// Messages take this much longer.
    pub delay: Duration,
    /// What happens to the bytes from `a` to `b`.
    pub wire_a_to_b: Wire,
    /// What happens to the bytes from `b` to `a`.
    pub wire_b_to_a: Wire,
}

impl PairState {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let is_open = !self.cut_a_to_b && !self.cut_b_to_a && !self.hold && self.delay.is_zero();
        is_open && self.wire_a_to_b.is_sound() && self.wire_b_to_a.is_sound()
    }
}

/// Counts of active effects per directed link.
#[derive(Clone, Debug, Default)]
pub struct LinkTable {
    counts: BTreeMap<(String, String), Counts>,
    /// Pairs touched since the last [`LinkTable::take_changes`], with their state before.
    touched: BTreeMap<(String, String), PairState>,
}

impl LinkTable {
    /// A fault begins.
    pub fn begin(&mut self, effects: &Effects) {
        for (from, to, effect) in &effects.links {
            let counts = self.touch(from, to);
            match effect {
                LinkEffect::Cut => counts.cut += 1,
                LinkEffect::Hold => counts.hold += 1,
                LinkEffect::Delay(by) => counts.delay += *by,
                LinkEffect::Loss(ppm) => counts.wire.loss_ppm += *ppm,
                LinkEffect::Corrupt(ppm) => counts.wire.corrupt_ppm += *ppm,
                LinkEffect::Tear(ppm) => counts.wire.torn_ppm += *ppm,
                LinkEffect::Narrow(bytes_per_s) => counts.wire.narrow(*bytes_per_s),
            }
        }
    }

    /// A fault that had begun ends.
    ///
    /// # Panics
    /// If it had not begun: the driver has lost count.
    pub fn end(&mut self, effects: &Effects) {
        for (from, to, effect) in &effects.links {
            let counts = self.touch(from, to);
            let left = match effect {
                LinkEffect::Cut => counts.cut.checked_sub(1).map(|n| counts.cut = n),
                LinkEffect::Hold => counts.hold.checked_sub(1).map(|n| counts.hold = n),
                LinkEffect::Delay(by) => counts.delay.checked_sub(*by).map(|d| counts.delay = d),
                LinkEffect::Loss(ppm) => less(&mut counts.wire.loss_ppm, *ppm),
                LinkEffect::Corrupt(ppm) => less(&mut counts.wire.corrupt_ppm, *ppm),
                LinkEffect::Tear(ppm) => less(&mut counts.wire.torn_ppm, *ppm),
                LinkEffect::Narrow(bytes_per_s) => counts.wire.widen(*bytes_per_s),
            };
            assert!(left.is_some(), "a fault on {from} > {to} ended that had not begun");
        }
    }

    /// The state of the link between two hosts.
    #[must_use]
    pub fn state(&self, one: &str, other: &str) -> PairState {
        let (a, b) = if one < other { (one, other) } else { (other, one) };
        let get = |from: &str, to: &str| {
            self.counts.get(&(from.to_owned(), to.to_owned())).cloned().unwrap_or_default()
        };
        let (there, back) = (get(a, b), get(b, a));
        PairState {
            a: a.to_owned(),
            b: b.to_owned(),
            cut_a_to_b: there.cut > 0,
            cut_b_to_a: back.cut > 0,
            hold: there.hold > 0 || back.hold > 0,
            delay: there.delay.max(back.delay),
            wire_a_to_b: there.wire.state(),
            wire_b_to_a: back.wire.state(),
        }
    }

    /// The states to issue: of all pairs whose state is not what it was at the last call.
    pub fn take_changes(&mut self) -> Vec<PairState> {
        std::mem::take(&mut self.touched)
            .into_iter()
            .map(|((a, b), before)| (self.state(&a, &b), before))
            .filter(|(now, before)| now != before)
            .map(|(now, _)| now)
            .collect()
    }

    /// The directed links that lose messages now.
    #[must_use]
    pub fn cut_links(&self) -> BTreeSet<(String, String)> {
        self.counts.iter().filter(|(_, c)| c.cut > 0).map(|(link, _)| link.clone()).collect()
    }

    fn touch(&mut self, from: &str, to: &str) -> &mut Counts {
        let pair =
            if from < to { (from.to_owned(), to.to_owned()) } else { (to.to_owned(), from.to_owned()) };
        if !self.touched.contains_key(&pair) {
            let before = self.state(from, to);
            self.touched.insert(pair, before);
        }
        self.counts.entry((from.to_owned(), to.to_owned())).or_default()
    }
}

/// Takes `by` away, if there is so much.
fn less(sum: &mut u32, by: u32) -> Option<()> {
    *sum = sum.checked_sub(by)?;
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;

    fn effects() -> impl Strategy<Value = Effects> {
        let effect = prop_oneof![
            3 => Just(LinkEffect::Cut),
            1 => Just(LinkEffect::Hold),
            1 => (1_u64..50).prop_map(|ms| LinkEffect::Delay(Duration::from_millis(ms))),
            1 => (1_u32..500_000).prop_map(LinkEffect::Loss),
            1 => (1_u32..500_000).prop_map(LinkEffect::Corrupt),
            1 => (1_u32..500_000).prop_map(LinkEffect::Tear),
            1 => (1_u64..5).prop_map(LinkEffect::Narrow),
        ];
        let link = (0_u8..4, 0_u8..4, effect)
            .prop_filter("a link has two ends", |(a, b, _)| a != b)
            .prop_map(|(a, b, effect)| (format!("n{a}"), format!("n{b}"), effect));
        prop::collection::vec(link, 1..8).prop_map(|links| Effects { links, ..Effects::default() })
    }

    proptest! {
        /// Each step begins the next fault or ends one that is active, in any order.
        #[test]
        fn a_link_is_cut_exactly_while_a_fault_cuts_it(
            faults in prop::collection::vec(effects(), 1..8),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 32),
        ) {
            let mut table = LinkTable::default();
            let mut issued: BTreeMap<(String, String), PairState> = BTreeMap::new();
            let mut waiting: Vec<&Effects> = faults.iter().collect();
            let mut active: Vec<&Effects> = Vec::new();
            let mut picks = picks.iter().cycle();
            while !waiting.is_empty() || !active.is_empty() {
                let pick = picks.next().unwrap().index(waiting.len() + active.len());
                if pick < waiting.len() {
                    let fault = waiting.swap_remove(pick);
                    table.begin(fault);
                    active.push(fault);
                } else {
                    let fault = active.swap_remove(pick - waiting.len());
                    table.end(fault);
                }
                for state in table.take_changes() {
                    issued.insert((state.a.clone(), state.b.clone()), state);
                }
                let expected: BTreeSet<(String, String)> = active
                    .iter()
                    .flat_map(|fault| &fault.links)
                    .filter(|(_, _, effect)| *effect == LinkEffect::Cut)
                    .map(|(from, to, _)| (from.clone(), to.clone()))
                    .collect();
                prop_assert_eq!(table.cut_links(), expected.clone());
                for ((a, b), state) in &issued {
                    let narrow = active.iter().flat_map(|fault| &fault.links).filter_map(|(from, to, effect)| match effect {
                        LinkEffect::Narrow(bytes_per_s) if from == a && to == b => Some(*bytes_per_s),
                        _ => None,
                    });
                    prop_assert_eq!(state.wire_a_to_b.bytes_per_s, narrow.min());
                }
                // What was issued is what is: nobody relies on a state that was never told.
                for ((a, b), state) in &issued {
                    prop_assert_eq!(state, &table.state(a, b));
                    prop_assert_eq!(state.cut_a_to_b, expected.contains(&(a.clone(), b.clone())));
                }
                for (a, b) in &expected {
                    let pair = if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
                    prop_assert!(issued.contains_key(&pair), "a cut of {} > {} was never issued", a, b);
                }
            }
            prop_assert!(issued.values().all(PairState::is_healthy));
        }
    }
}
