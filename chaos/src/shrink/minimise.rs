//! Making something smaller for as long as it still fails, whatever it is and whoever says so.
//!
//! Parts of a list are left out by delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input", IEEE TSE 2002): large ones first, then smaller ones, at last each by itself, so
//! that what is left cannot spare any single part. Everything else goes down by trying what is smaller, the
//! smallest first.
//!
//! Pure: candidates in, an answer of the [`Oracle`] out. Not here: running anything ([`super::Trials`]),
//! what a smaller scenario is ([`super::reduce`]).

use std::ops::Range;

/// Nothing more may be tried: the bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no more may be tried")]
pub struct Spent;

/// Knows what still fails.
pub trait Oracle<T> {
    /// The place of the first of `candidates` that still fails; none if none does.
    ///
    /// # Errors
    /// [`Spent`] if nobody may try as many as it takes to say.
    fn first(&mut self, candidates: &[T]) -> Result<Option<usize>, Spent>;
}

/// One way to make something smaller: brings it as far down as it goes, and says whether it went down at all.
pub type Pass<'a, T> = &'a dyn Fn(&mut T, &mut dyn Oracle<T>) -> Result<bool, Spent>;

/// Applies all `passes` in turn until none makes `best` any smaller.
///
/// # Errors
/// [`Spent`]; `best` is the smallest so far all the same.
pub fn fixpoint<T>(best: &mut T, passes: &[Pass<'_, T>], oracle: &mut dyn Oracle<T>) -> Result<(), Spent> {
    loop {
        let mut went_down = false;
        for pass in passes {
            went_down |= pass(best, oracle)?;
        }
        if !went_down {
            return Ok(());
        }
    }
}

/// Leaves parts of a list out until no single one can be spared. `count` says how many parts there are,
/// `without` makes the candidates that lack those in a range: none where that makes no sense.
///
/// # Errors
/// [`Spent`]; `best` is the smallest so far all the same.
pub fn leave_out<T>(
    best: &mut T,
    count: impl Fn(&T) -> usize,
    without: impl Fn(&T, Range<usize>) -> Vec<T>,
    oracle: &mut dyn Oracle<T>,
) -> Result<bool, Spent> {
    let mut went_down = false;
    let mut size = count(best);
    while size > 0 {
        let mut at = 0;
        let mut left_out = false;
        loop {
            let mut offers = Vec::new();
            let mut places = Vec::new();
            let all = count(best);
            for from in (at..all).step_by(size) {
                for offer in without(best, from..(from + size).min(all)) {
                    offers.push(offer);
                    places.push(from);
                }
            }
            let Some(found) = oracle.first(&offers)? else { break };
            // What comes next has moved to the place of what was left out.
            at = places[found];
            *best = offers.swap_remove(found);
            left_out = true;
        }
        went_down |= left_out;
        size = match size {
            // One that was needed while another was there may not be any more.
            1 => usize::from(left_out),
            _ => size.div_ceil(2),
        }
        .min(count(best));
    }
    Ok(went_down)
}

/// Takes the first of the candidates of `smaller` that still fails, and again from there, until none does.
/// Every candidate must be smaller than what it is made from, or this never ends.
///
/// # Errors
/// [`Spent`]; `best` is the smallest so far all the same.
pub fn descend<T>(
    best: &mut T,
    smaller: impl Fn(&T) -> Vec<T>,
    oracle: &mut dyn Oracle<T>,
) -> Result<bool, Spent> {
    let mut went_down = false;
    loop {
        let mut offers = smaller(best);
        let Some(found) = oracle.first(&offers)? else { return Ok(went_down) };
        *best = offers.swap_remove(found);
        went_down = true;
    }
}

/// What to try in place of `value`, from `least` upwards, each step halving what is left of the way: one
/// below `value` is the last.
#[must_use]
pub fn towards(value: u64, least: u64) -> Vec<u64> {
    let mut offers = Vec::new();
    let mut distance = value.saturating_sub(least);
    while distance > 0 {
        offers.push(value - distance);
        distance /= 2;
    }
    offers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Fails where a function says so, and counts how often it was asked.
    struct Told<F>(F, usize);

    impl<T, F: Fn(&T) -> bool> Oracle<T> for Told<F> {
        fn first(&mut self, candidates: &[T]) -> Result<Option<usize>, Spent> {
            let found = candidates.iter().position(&self.0);
            self.1 += found.map_or(candidates.len(), |i| i + 1);
            Ok(found)
        }
    }

    fn without(list: &[u32], range: Range<usize>) -> Vec<Vec<u32>> {
        let mut less = list.to_owned();
        less.drain(range);
        vec![less]
    }

    fn shortest(list: &[u32], fails: impl Fn(&Vec<u32>) -> bool) -> (Vec<u32>, usize) {
        let mut best = list.to_vec();
        let mut told = Told(fails, 0);
        leave_out(&mut best, Vec::len, |list, range| without(list, range), &mut told).unwrap();
        (best, told.1)
    }

    #[test]
    fn two_of_many_are_found_in_few_questions() {
        let many: Vec<u32> = (0..256).collect();
        let (left, asked) = shortest(&many, |list| list.contains(&17) && list.contains(&201));
        assert_eq!(left, [17, 201]);
        assert!(asked < 100, "{asked}");
    }

    #[test]
    fn numbers_are_tried_from_the_least_upwards() {
        assert_eq!(towards(10, 1), [1, 6, 8, 9]);
        assert_eq!(towards(2, 1), [1]);
        assert!(towards(1, 1).is_empty() && towards(0, 1).is_empty());
    }

    #[test]
    fn the_smallest_so_far_is_kept_when_nothing_more_may_be_tried() {
        struct Twice(u32);
        impl Oracle<u64> for Twice {
            fn first(&mut self, candidates: &[u64]) -> Result<Option<usize>, Spent> {
                self.0 += 1;
                if self.0 > 2 { Err(Spent) } else { Ok(candidates.len().checked_sub(1)) }
            }
        }
        let mut best = 100;
        let down = |best: &mut u64, oracle: &mut dyn Oracle<u64>| descend(best, |n| towards(*n, 0), oracle);
        assert_eq!(fixpoint(&mut best, &[&down], &mut Twice(0)), Err(Spent));
        assert_eq!(best, 98);
    }

    proptest! {
        /// What fails whenever a certain set is there is brought down to that set.
        #[test]
        fn exactly_what_is_needed_is_left(
            count in 1_u32..40,
            needed in prop::collection::btree_set(0_u32..40, 0..6),
        ) {
            let needed: BTreeSet<u32> = needed.into_iter().filter(|n| *n < count).collect();
            let all: Vec<u32> = (0..count).collect();
            let (left, _) = shortest(&all, |list| needed.iter().all(|n| list.contains(n)));
            prop_assert_eq!(left, needed.into_iter().collect::<Vec<_>>());
        }

        /// Whatever fails and does not, what is left fails, and would not without any one of its parts.
        #[test]
        fn no_single_part_can_be_spared(count in 1_u32..12, seed: u64) {
            let all: Vec<u32> = (0..count).collect();
            let fails = |list: &Vec<u32>| {
                let set = list.iter().fold(0_u64, |set, n| set | 1 << n);
                list.len() == count as usize || quorate_env::random::mix(seed ^ set).is_multiple_of(3)
            };
            let (left, _) = shortest(&all, fails);
            prop_assert!(fails(&left));
            for i in 0..left.len() {
                prop_assert!(!fails(&without(&left, i..i + 1)[0]), "{left:?} can spare number {i}");
            }
        }

        /// With several ways to go down, none of them leads any further at the end.
        #[test]
        fn at_a_fixpoint_no_pass_goes_down(a in 0_u64..500, b in 0_u64..500, seed: u64) {
            let fails = move |pair: &(u64, u64)| {
                *pair == (a, b) || quorate_env::random::mix(seed ^ (pair.0 << 20) ^ pair.1).is_multiple_of(5)
            };
            let first = |pair: &(u64, u64)| {
                let other = pair.1;
                towards(pair.0, 0).into_iter().map(|n| (n, other)).collect::<Vec<_>>()
            };
            let second = |pair: &(u64, u64)| {
                let other = pair.0;
                towards(pair.1, 0).into_iter().map(|n| (other, n)).collect::<Vec<_>>()
            };
            let mut best = (a, b);
            let passes: [Pass<'_, (u64, u64)>; 2] = [
                &|best, oracle| descend(best, first, oracle),
                &|best, oracle| descend(best, second, oracle),
            ];
            fixpoint(&mut best, &passes, &mut Told(fails, 0)).unwrap();
            prop_assert!(fails(&best));
            prop_assert!(!first(&best).iter().chain(&second(&best)).any(fails));
        }
    }
}
