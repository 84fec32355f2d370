//! Tries candidates on several threads, with the same outcome as on one.
//!
//! Threads look ahead: they try candidates that would never be tried if an earlier one fails. What counts,
//! towards the bound too, is only what one thread alone would have tried.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::minimise::{Oracle, Spent};

/// How much may be tried.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// So many different candidates.
    pub runs: u64,
    /// Until this says so. What is found by then depends on the machine.
    pub is_over: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// How it gets on.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a, T> {
    /// So many candidates were tried, those that were tried ahead too.
    Tried(u64),
    /// A smaller one still fails.
    Smaller(&'a T),
}

/// An oracle that tries.
pub struct Trials<'a, T> {
    fails: &'a (dyn Fn(&T) -> bool + Sync),
    /// Two candidates of one name are the same.
    name: fn(&T) -> String,
    jobs: NonZeroUsize,
    limits: Limits<'a>,
    told: &'a mut dyn FnMut(Told<'_, T>),
    known: BTreeMap<String, bool>,
    counted: BTreeSet<String>,
}

impl<'a, T: Sync> Trials<'a, T> {
    /// Tries by `fails` on `jobs` threads within `limits`.
    pub fn new(
        fails: &'a (dyn Fn(&T) -> bool + Sync),
        name: fn(&T) -> String,
        jobs: NonZeroUsize,
        limits: Limits<'a>,
        told: &'a mut dyn FnMut(Told<'_, T>),
    ) -> Self {
        Self { fails, name, jobs, limits, told, known: BTreeMap::new(), counted: BTreeSet::new() }
    }

    /// Different candidates that were tried, whatever was tried ahead.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counted.len() as u64
    }

    /// How many of `names`, in order, may be tried.
    fn within(&self, names: &[String]) -> usize {
        let left = self.limits.runs.saturating_sub(self.counted());
        let mut fresh = BTreeSet::new();
        for (i, name) in names.iter().enumerate() {
            if !self.counted.contains(name) && fresh.insert(name) && fresh.len() as u64 > left {
                return i;
            }
        }
        names.len()
    }

    /// Makes known what becomes of all candidates up to the first that fails.
    fn try_all(&mut self, candidates: &[T], names: &[String]) {
        let end = names.iter().position(|name| self.known.get(name) == Some(&true)).unwrap_or(names.len());
        let mut seen = BTreeSet::new();
        let open: Vec<usize> =
            (0..end).filter(|i| !self.known.contains_key(&names[*i]) && seen.insert(&names[*i])).collect();
        let (next, first) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let (fails, is_over) = (self.fails, self.limits.is_over);
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..self.jobs.get().min(open.len()) {
                let (sender, open, next, first) = (sender.clone(), &open, &next, &first);
                scope.spawn(move || {
                    while !is_over.is_some_and(|is_over| is_over()) {
                        let Some(&i) = open.get(next.fetch_add(1, Ordering::SeqCst)) else { return };
                        // Handed out in order, so all before the first that fails are tried.
                        if i > first.load(Ordering::SeqCst) {
                            return;
                        }
                        let failed = fails(&candidates[i]);
                        if failed {
                            first.fetch_min(i, Ordering::SeqCst);
                        }
                        if sender.send((i, failed)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for (i, failed) in receiver {
                self.known.insert(names[i].clone(), failed);
                (self.told)(Told::Tried(self.known.len() as u64));
            }
        });
    }
}

impl<T: Sync> Oracle<T> for Trials<'_, T> {
    fn first(&mut self, candidates: &[T]) -> Result<Option<usize>, Spent> {
        let names: Vec<String> = candidates.iter().map(self.name).collect();
        let names = &names[..self.within(&names)];
        self.try_all(candidates, names);
        for (i, name) in names.iter().enumerate() {
            // Unknown only if the time was over before.
            let failed = *self.known.get(name).ok_or(Spent)?;
            self.counted.insert(name.clone());
            if failed {
                (self.told)(Told::Smaller(&candidates[i]));
                return Ok(Some(i));
            }
        }
        if names.len() < candidates.len() { Err(Spent) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    type Answers = Vec<Result<Option<usize>, Spent>>;

    /// The answers to several questions, and what counted.
    fn ask(
        questions: &[Vec<u64>],
        fails: &(dyn Fn(&u64) -> bool + Sync),
        jobs: usize,
        runs: u64,
    ) -> (Answers, u64) {
        let mut quiet = |_: Told<'_, u64>| {};
        let jobs = NonZeroUsize::new(jobs).unwrap();
        let limits = Limits { runs, is_over: None };
        let mut trials = Trials::new(fails, u64::to_string, jobs, limits, &mut quiet);
        let answers = questions.iter().map(|question| trials.first(question)).collect();
        (answers, trials.counted())
    }

    #[test]
    fn what_is_known_costs_nothing_and_the_bound_is_kept() {
        let odd = |n: &u64| n % 2 == 1;
        let questions = [vec![2, 4, 3, 5], vec![2, 4], vec![6, 8], vec![2, 3]];
        let (answers, counted) = ask(&questions, &odd, 1, 4);
        assert_eq!(answers, [Ok(Some(2)), Ok(None), Err(Spent), Ok(Some(1))]);
        assert_eq!(counted, 4);
    }

    #[test]
    fn nothing_is_tried_once_the_time_is_over() {
        let is_over = || true;
        let fails = |_: &u64| -> bool { panic!("tried") };
        let mut quiet = |_: Told<'_, u64>| {};
        let limits = Limits { runs: 9, is_over: Some(&is_over) };
        let mut trials = Trials::new(&fails, u64::to_string, NonZeroUsize::MIN, limits, &mut quiet);
        assert_eq!(trials.first(&[1]), Err(Spent));
    }

    proptest! {
        #[test]
        fn any_number_of_threads_says_the_same(
            questions in prop::collection::vec(prop::collection::vec(0_u64..40, 0..12), 1..6),
            failing in prop::collection::btree_set(0_u64..40, 0..8),
            runs in 0_u64..60,
        ) {
            let fails = move |n: &u64| failing.contains(n);
            let alone = ask(&questions, &fails, 1, runs);
            prop_assert!(alone.1 <= runs);
            for jobs in [2, 5] {
                prop_assert_eq!(&ask(&questions, &fails, jobs, runs), &alone);
            }
        }
    }
}
