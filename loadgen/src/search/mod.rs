//! The highest rate that a store holds by an objective: grow until it misses, then bisect, then repeat the
//! trials at both edges.
//!
//! One trial is a throw of dice: near the edge a store holds a rate today and misses it tomorrow. So each
//! rate has votes, and the result is an interval: the highest rate that was held by most of its trials,
//! below the lowest that was missed by most of its. A trial that cannot be trusted has no vote. [`Search`]
//! is pure: it says which rate to try next, and is told what came of it.
//!
//! Not here: making a trial.

mod objective;
mod record;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use objective::{Objective, ObjectiveError};
pub use record::{BoundRecord, SearchRecord, Trial};

/// What one trial says about its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vote {
    /// The objective was met.
    Held,
    /// It was not, and that was the store's doing.
    Missed,
    /// It was not, but that may have been the generator's or the machine's doing.
    NotTrusted,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The interval is as narrow as it was to be, and both edges are confirmed.
    Found,
    /// Even the lowest rate was missed.
    NothingHeld,
    /// Even the highest rate was held.
    NothingMissed,
    /// Above what was held, up to what was missed, trials could not be trusted.
    NotTrusted,
    /// The trials that it may make did not suffice.
    TrialsExhausted,
    /// It was stopped.
    Interrupted,
}

/// What the trials come to so far, in operations a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// The highest rate that was held, below the lowest that was missed.
    pub held: Option<u64>,
    /// The lowest rate that the store missed.
    pub missed: Option<u64>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A trial at this rate, in operations a second.
    Try(u64),
    /// Nothing: it is over.
    Done(Ended),
}

/// How a search goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchSettings {
    /// The first rate, in operations a second.
    pub start: u64,
    /// The lowest rate worth a trial.
    pub lowest: u64,
    /// The highest.
    pub highest: u64,
    /// By how much rates grow until one is missed, or fall until one is held.
    pub growth: f64,
    /// How far above the held rate the missed one may be, as a part of it.
    pub resolution: f64,
    /// Votes that an edge of the interval needs.
    pub votes: u32,
    /// Trials at a rate that may be in vain because they cannot be trusted.
    pub attempts: u32,
    /// Trials in all.
    pub trials_max: u32,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self {
            start: 1000,
            lowest: 50,
            highest: 1_000_000,
            growth: 2.0,
            resolution: 0.05,
            votes: 2,
            attempts: 3,
            trials_max: 40,
        }
    }
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    settings: SearchSettings,
    tallies: BTreeMap<u64, Tally>,
    trials: u32,
}

/// The trials at one rate.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    held: u32,
    missed: u32,
    not_trusted: u32,
}

/// What most trials at a rate say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Held,
    Missed,
    /// It cannot be found out.
    NotTrusted,
    /// Another trial is needed.
    Open,
}

impl Search {
    /// A search that has not begun.
    #[must_use]
    pub fn new(settings: SearchSettings) -> Self {
        Self { settings, tallies: BTreeMap::new(), trials: 0 }
    }

    /// A trial at `rate` was made.
    pub fn record(&mut self, rate: u64, vote: Vote) {
        self.trials += 1;
        let tally = self.tallies.entry(rate).or_default();
        match vote {
            Vote::Held => tally.held += 1,
            Vote::Missed => tally.missed += 1,
            Vote::NotTrusted => tally.not_trusted += 1,
        }
    }

    /// What the trials come to so far.
    #[must_use]
    pub fn interval(&self) -> Interval {
        let missed = self.tallies.keys().copied().find(|rate| self.standing(*rate) == Standing::Missed);
        Interval { held: self.edges().0, missed }
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Next {
        let settings = &self.settings;
        if self.trials >= settings.trials_max {
            return Next::Done(Ended::TrialsExhausted);
        }
        // A rate whose trials say nothing yet, or contradict each other, comes first.
        if let Some(rate) = self.tallies.keys().copied().find(|rate| self.standing(*rate) == Standing::Open) {
            return Next::Try(rate);
        }
        match self.edges() {
            (None, None) => Next::Try(settings.start),
            (Some(held), None) if held >= settings.highest => Next::Done(Ended::NothingMissed),
            (Some(held), None) => Next::Try(rounded(held as f64 * settings.growth).min(settings.highest)),
            (None, Some(upper)) if upper > settings.lowest => {
                Next::Try(rounded(upper as f64 / settings.growth).max(settings.lowest))
            }
            (None, Some(upper)) => self.confirmed(&[upper], Ended::NothingHeld),
            (Some(held), Some(upper)) => {
                let ratio = upper as f64 / held as f64;
                let middle = rounded((held as f64 * upper as f64).sqrt());
                let narrow = ratio <= 1.0 + settings.resolution || middle <= held || middle >= upper;
                if narrow {
                    return self.confirmed(&[held, upper], Ended::Found);
                }
                // A freak miss on the way up would cost the whole bisection below it.
                if ratio >= settings.growth * 0.95 && !self.is_confirmed(upper) {
                    return Next::Try(upper);
                }
                Next::Try(middle)
            }
        }
    }

    /// The end, once enough trials agree on these rates.
    fn confirmed(&self, edges: &[u64], ended: Ended) -> Next {
        if let Some(rate) = edges.iter().copied().find(|rate| !self.is_confirmed(*rate)) {
            return Next::Try(rate);
        }
        let is_trusted = edges.last().is_some_and(|upper| self.standing(*upper) == Standing::Missed);
        Next::Done(if is_trusted { ended } else { Ended::NotTrusted })
    }

    /// The highest rate that was held below the lowest that was not, and that one.
    fn edges(&self) -> (Option<u64>, Option<u64>) {
        let rates = || self.tallies.keys().copied();
        let upper =
            rates().find(|rate| matches!(self.standing(*rate), Standing::Missed | Standing::NotTrusted));
        let held = rates()
            .rev()
            .find(|rate| self.standing(*rate) == Standing::Held && upper.is_none_or(|upper| *rate < upper));
        (held, upper)
    }

    fn standing(&self, rate: u64) -> Standing {
        let tally = self.tallies.get(&rate).copied().unwrap_or_default();
        match tally.held.cmp(&tally.missed) {
            std::cmp::Ordering::Greater => Standing::Held,
            std::cmp::Ordering::Less => Standing::Missed,
            std::cmp::Ordering::Equal if tally.not_trusted >= self.settings.attempts => Standing::NotTrusted,
            std::cmp::Ordering::Equal => Standing::Open,
        }
    }

    fn is_confirmed(&self, rate: u64) -> bool {
        let tally = self.tallies.get(&rate).copied().unwrap_or_default();
        tally.held.max(tally.missed) >= self.settings.votes || tally.not_trusted >= self.settings.attempts
    }
}

/// A rate to three digits: more would pretend to a precision that no trial has.
fn rounded(rate: f64) -> u64 {
    let step = 10_f64.powf((rate.log10().floor() - 2.0).max(0.0));
    ((rate / step).round() * step) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::{Draws, Purpose};

    /// Searches a store; returns how it ended, and after how many trials.
    fn search(mut store: impl FnMut(u64, &mut Draws) -> Vote, seed: u64) -> (Ended, Interval, u32) {
        let mut search = Search::new(SearchSettings::default());
        for trial in 0.. {
            match search.next() {
                Next::Done(ended) => return (ended, search.interval(), trial),
                Next::Try(rate) => {
                    let mut draws = Draws::new(seed, Purpose::Operations, u64::from(trial));
                    search.record(rate, store(rate, &mut draws));
                }
            }
        }
        unreachable!("trials are bounded")
    }

    fn below(knee: f64) -> impl FnMut(u64, &mut Draws) -> Vote {
        move |rate, _| if (rate as f64) < knee { Vote::Held } else { Vote::Missed }
    }

    /// A queue whose 99th percentile grows as it fills, measured with some noise: 20 ms are reached at `knee`.
    fn noisy(knee: f64, spread: f64) -> impl FnMut(u64, &mut Draws) -> Vote {
        let capacity = knee / 0.9;
        move |rate, draws| {
            let load = rate as f64 / capacity;
            let p99_ms = if load < 1.0 { 2.0 / (1.0 - load) } else { 5000.0 };
            if p99_ms * (spread * draws.normal()).exp() < 20.0 { Vote::Held } else { Vote::Missed }
        }
    }

    #[test]
    fn the_edge_of_a_store_lies_within_the_interval_which_is_narrow() {
        for knee in [51.0, 77.0, 999.0, 1000.5, 1001.0, 5432.1, 123_456.0, 999_999.0] {
            let (ended, interval, trials) = search(below(knee), 1);
            assert_eq!(ended, Ended::Found, "{knee}");
            let (Some(held), Some(missed)) = (interval.held, interval.missed) else { panic!("{interval:?}") };
            assert!((held as f64) < knee && knee <= missed as f64, "{knee}: {interval:?}");
            // Whole operations a second are all the precision there is.
            assert!(missed as f64 <= (held as f64 * 1.05).max(held as f64 + 1.0), "{knee}: {interval:?}");
            assert!(trials <= 22, "{knee}: {trials} trials");
        }
    }

    #[test]
    fn every_edge_was_tried_at_least_twice() {
        let mut tried: BTreeMap<u64, u32> = BTreeMap::new();
        let mut store = below(3333.0);
        let (_, interval, _) = search(
            |rate, draws| {
                *tried.entry(rate).or_default() += 1;
                store(rate, draws)
            },
            1,
        );
        for edge in [interval.held, interval.missed].into_iter().flatten() {
            assert!(tried[&edge] >= 2, "{edge}: {tried:?}");
        }
    }

    #[test]
    fn noise_moves_the_interval_little() {
        let mut far = 0;
        for seed in 0..300 {
            let knee = 700.0 * 1.01_f64.powf(seed as f64);
            let (ended, interval, trials) = search(noisy(knee, 0.3), seed);
            assert!(matches!(ended, Ended::Found | Ended::TrialsExhausted), "{seed}: {ended:?}");
            assert!(trials <= 40);
            let held = interval.held.unwrap_or_default() as f64;
            let missed = interval.missed.unwrap_or_default() as f64;
            far += u32::from(!(held > knee * 0.9 && missed < knee * 1.1));
        }
        // A third of noise in the latency is four percent in the rate.
        assert!(far <= 15, "{far} of 300 intervals are more than 10 % off");
    }

    #[test]
    fn freak_misses_are_outvoted() {
        let mut far = 0;
        for seed in 0..300 {
            let mut store = below(7000.0);
            let hiccups = |rate, draws: &mut Draws| {
                let vote = store(rate, draws);
                if draws.unit() < 0.05 { Vote::Missed } else { vote }
            };
            let (_, interval, _) = search(hiccups, seed);
            far += u32::from(!(6300..7000).contains(&interval.held.unwrap_or_default()));
        }
        assert!(far <= 30, "{far} of 300 are more than 10 % off though every twentieth trial is");
    }

    #[test]
    fn trials_that_cannot_be_trusted_are_made_again_and_change_nothing() {
        for seed in 0..50 {
            let mut store = below(2500.0);
            let disturbed = |rate, draws: &mut Draws| {
                let vote = store(rate, draws);
                if vote == Vote::Missed && draws.unit() < 0.3 { Vote::NotTrusted } else { vote }
            };
            let (ended, interval, _) = search(disturbed, seed);
            let held = interval.held.unwrap_or_default();
            assert!((2300..2500).contains(&held), "{seed}: {ended:?} {interval:?}");
            assert!(interval.missed.is_none_or(|missed| missed >= 2500), "{interval:?}");
        }
    }

    #[test]
    fn the_generators_limit_is_never_called_the_stores() {
        let limited = |rate, _: &mut Draws| if rate < 6000 { Vote::Held } else { Vote::NotTrusted };
        let (ended, interval, _) = search(limited, 1);
        assert_eq!((ended, interval.missed), (Ended::NotTrusted, None));
        assert!((5700..6000).contains(&interval.held.unwrap_or_default()), "{interval:?}");
        let hopeless = |_, _: &mut Draws| Vote::NotTrusted;
        let (ended, interval, trials) = search(hopeless, 1);
        assert_eq!((ended, interval), (Ended::NotTrusted, Interval::default()));
        assert!(trials <= 20, "{trials}");
    }

    #[test]
    fn what_lies_beyond_the_rates_worth_a_trial_is_said() {
        let (ended, interval, _) = search(below(10.0), 1);
        assert_eq!((ended, interval), (Ended::NothingHeld, Interval { held: None, missed: Some(50) }));
        let (ended, interval, _) = search(below(f64::INFINITY), 1);
        assert_eq!(
            (ended, interval),
            (Ended::NothingMissed, Interval { held: Some(1_000_000), missed: None })
        );
    }

    #[test]
    fn a_search_that_is_cut_short_has_an_interval_all_the_same() {
        let mut search = Search::new(SearchSettings { trials_max: 3, ..SearchSettings::default() });
        let mut store = below(3000.0);
        while let Next::Try(rate) = search.next() {
            let vote = store(rate, &mut Draws::new(1, Purpose::Operations, 0));
            search.record(rate, vote);
        }
        assert_eq!(search.next(), Next::Done(Ended::TrialsExhausted));
        assert_eq!(search.interval(), Interval { held: Some(2000), missed: Some(4000) });
    }
}
