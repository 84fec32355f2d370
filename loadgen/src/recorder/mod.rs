//! Latencies of many operations in bounded memory: HDR histograms in nanoseconds, to three
//! digits, by operation, how it ended, and what was measured.
//!
//! Merging the recorders of several workers, seconds or generators is the same as having
//! recorded everything in one; percentiles must never be averaged instead.

mod series;
mod shared;
mod tally;

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;

use crate::target::{Outcome, UNANSWERED};
use crate::workload::OpKind;

pub use series::{Class, Measure, NotASeries, Series};
pub use tally::Tally;

pub(crate) use shared::SharedRecorder;

/// Significant decimal digits kept.
const DIGITS: u8 = 3;

/// One finished operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What it did.
    pub op: OpKind,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether its deadline ended it, so that it would have taken longer.
    pub timed_out: bool,
    /// From its slot to its reply, in nanoseconds.
    pub response_ns: u64,
    /// From sending to its reply.
    pub service_ns: u64,
    /// From its slot to sending; none in a closed loop.
    pub wait_ns: Option<u64>,
    /// How much of that was the generator's own doing; none in a closed loop.
    pub lateness_ns: Option<u64>,
}

/// Counts and latencies. What records operations while they are sent is a [`Tally`].
#[derive(Clone, Default)]
pub struct Recorder {
    latencies: [[Option<Box<Latencies>>; Class::ALL.len()]; OpKind::ALL.len()],
    outcomes: [[u64; Outcome::ALL.len()]; OpKind::ALL.len()],
    timeouts: [u64; OpKind::ALL.len()],
    errors: BTreeMap<(OpKind, String), u64>,
}

/// What nearly all operations are.
const USUAL: [OpKind; 2] = [OpKind::Get, OpKind::Put];

/// One histogram for each [`Measure`], in its order.
type Latencies = [Histogram<u64>; Measure::ALL.len()];

/// Equal if the same was recorded, whatever room there is.
impl PartialEq for Recorder {
    fn eq(&self, other: &Self) -> bool {
        self.series().eq(other.series())
            && self.outcomes == other.outcomes
            && self.timeouts == other.timeouts
            && self.errors == other.errors
    }
}

/// How much was recorded of what: the counts themselves are tens of thousands.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let series = self.series().map(|(series, histogram)| (series.to_string(), histogram.len()));
        f.debug_map().entries(series).finish()?;
        write!(f, ", outcomes {:?}, timeouts {:?}, errors {:?}", self.outcomes, self.timeouts, self.errors)
    }
}

fn no_latencies() -> Box<Latencies> {
    Box::new(std::array::from_fn(|_| empty()))
}

impl Recorder {
    /// Counts an operation and its latencies.
    pub fn record(&mut self, sample: &Sample) {
        let op = sample.op as usize;
        self.outcomes[op][sample.outcome as usize] += 1;
        self.timeouts[op] += u64::from(sample.timed_out);
        let class = Class::of(sample.outcome, sample.timed_out);
        let latencies = self.latencies[op][class as usize].get_or_insert_with(no_latencies);
        let mut put = |measure: Measure, value_ns: u64| {
            // Not the saturating way: that clamps to the present size instead of growing.
            latencies[measure as usize]
                .record(value_ns)
                .expect("a histogram that grows by itself takes any value");
        };
        put(Measure::Response, sample.response_ns);
        put(Measure::Service, sample.service_ns);
        if let Some(wait_ns) = sample.wait_ns {
            put(Measure::Wait, wait_ns);
        }
        if let Some(lateness_ns) = sample.lateness_ns {
            put(Measure::Lateness, lateness_ns);
        }
    }

    /// One that need not grow for latencies up to `max_ns` of what nearly all loads consist of. Growing
    /// takes time, and that may be the load's.
    #[must_use]
    pub fn with_room(max_ns: u64) -> Self {
        let mut recorder = Self::default();
        for op in USUAL {
            let mut latencies = no_latencies();
            latencies.iter_mut().for_each(|histogram| make_room(histogram, max_ns));
            recorder.latencies[op as usize][Class::Ok as usize] = Some(latencies);
        }
        recorder
    }

    /// Forgets everything and keeps the memory, which costs time to come by.
    pub fn clear(&mut self) {
        for histogram in self.latencies.iter_mut().flatten().flatten().flat_map(|latencies| &mut **latencies)
        {
            if !histogram.is_empty() {
                histogram.reset();
            }
        }
        self.outcomes = Default::default();
        self.timeouts = Default::default();
        self.errors.clear();
    }

    /// Whether nothing ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.finished() == 0 && self.errors.is_empty()
    }

    /// Counts an error by its kind.
    pub fn record_error(&mut self, op: OpKind, kind: &str) {
        *self.errors.entry((op, kind.to_owned())).or_default() += 1;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (series, histogram) in other.series() {
            self.add_histogram(series, histogram);
        }
        for (mine, theirs) in self.outcomes.iter_mut().flatten().zip(other.outcomes.iter().flatten()) {
            *mine += theirs;
        }
        for (mine, theirs) in self.timeouts.iter_mut().zip(&other.timeouts) {
            *mine += theirs;
        }
        for (error, count) in &other.errors {
            *self.errors.entry(error.clone()).or_default() += count;
        }
    }

    /// Adds a histogram that was recorded elsewhere; its counts are apart.
    pub fn add_histogram(&mut self, series: Series, histogram: &Histogram<u64>) {
        let latencies =
            self.latencies[series.op as usize][series.class as usize].get_or_insert_with(no_latencies);
        let mine = &mut latencies[series.measure as usize];
        mine.add(histogram).expect("a histogram that grows by itself takes any other");
    }

    /// Adds operations that were counted elsewhere.
    pub fn add_count(&mut self, op: OpKind, outcome: Outcome, count: u64) {
        self.outcomes[op as usize][outcome as usize] += count;
    }

    /// Adds operations of these that were ended by their deadline.
    pub fn add_timeouts(&mut self, op: OpKind, count: u64) {
        self.timeouts[op as usize] += count;
    }

    /// Adds errors that were counted elsewhere.
    pub fn add_errors(&mut self, op: OpKind, kind: &str, count: u64) {
        *self.errors.entry((op, kind.to_owned())).or_default() += count;
    }

    /// The histograms that hold anything, in nanoseconds.
    pub fn series(&self) -> impl Iterator<Item = (Series, &Histogram<u64>)> {
        OpKind::ALL.into_iter().flat_map(move |op| {
            Class::ALL.into_iter().flat_map(move |class| {
                let latencies = self.latencies[op as usize][class as usize].as_deref();
                let named =
                    latencies.into_iter().flat_map(|latencies| Measure::ALL.into_iter().zip(latencies));
                named
                    .filter(|(_, histogram)| !histogram.is_empty())
                    .map(move |(measure, histogram)| (Series { op, class, measure }, histogram))
            })
        })
    }

    /// The histograms that `wanted` picks, as one.
    #[must_use]
    pub fn merged(&self, wanted: impl Fn(Series) -> bool) -> Histogram<u64> {
        let mut all = empty();
        self.merge_into(&mut all, wanted);
        all
    }

    /// Adds the histograms that `wanted` picks to `all`.
    pub(crate) fn merge_into(&self, all: &mut Histogram<u64>, wanted: impl Fn(Series) -> bool) {
        for (_, histogram) in self.series().filter(|(series, _)| wanted(*series)) {
            all.add(histogram).expect("a histogram that grows by itself takes any other");
        }
    }

    /// How many operations of a kind ended so.
    #[must_use]
    pub fn count(&self, op: OpKind, outcome: Outcome) -> u64 {
        self.outcomes[op as usize][outcome as usize]
    }

    /// How many operations of any kind ended so.
    #[must_use]
    pub fn count_all(&self, outcome: Outcome) -> u64 {
        OpKind::ALL.into_iter().map(|op| self.count(op, outcome)).sum()
    }

    /// How many operations ended at all.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.outcomes.iter().flatten().sum()
    }

    /// How many operations the store answered in time, whatever it said: neither given up, nor without a
    /// connection that lasted until there was an answer. A store that is gone refuses connections at once,
    /// and must not look like one that keeps up.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let is_unanswered = |kind: &String| UNANSWERED.contains(&kind.as_str());
        let unanswered =
            self.errors.iter().filter(|((_, kind), _)| is_unanswered(kind)).map(|(_, count)| count);
        self.finished().saturating_sub(self.timeouts.iter().chain(unanswered).sum())
    }

    /// How many operations of a kind were ended by their deadline.
    #[must_use]
    pub fn timeouts(&self, op: OpKind) -> u64 {
        self.timeouts[op as usize]
    }

    /// Errors of a kind of operation, by their own kind.
    pub fn errors(&self, op: OpKind) -> impl Iterator<Item = (&str, u64)> {
        self.errors.iter().filter(move |((of, _), _)| *of == op).map(|((_, kind), n)| (kind.as_str(), *n))
    }
}

/// Has `histogram`, which is empty, take all values up to `max_ns` without growing.
pub(crate) fn make_room(histogram: &mut Histogram<u64>, max_ns: u64) {
    histogram.record(max_ns).expect("a histogram that grows by itself takes any value");
    histogram.reset();
}

pub(crate) fn empty() -> Histogram<u64> {
    // Starts small and grows with the largest value: most series never see a second.
    Histogram::new(DIGITS).expect("three digits are within what a histogram can keep")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let sample =
            (0..4_usize, 0..3_usize, any::<bool>(), 0..10_000_000_000_u64, 0..1_000_000_u64, any::<bool>());
        let sample = sample.prop_map(|(op, outcome, timed_out, service_ns, wait_ns, open)| Sample {
            op: OpKind::ALL[op],
            outcome: Outcome::ALL[outcome],
            timed_out,
            response_ns: service_ns + wait_ns,
            service_ns,
            wait_ns: open.then_some(wait_ns),
            lateness_ns: open.then_some(wait_ns / 2),
        });
        proptest::collection::vec(sample, 0..200)
    }

    fn recorded(samples: &[Sample]) -> Recorder {
        let mut recorder = Recorder::default();
        for sample in samples {
            recorder.record(sample);
            if sample.outcome != Outcome::Ok {
                recorder.record_error(sample.op, "deadline");
            }
        }
        recorder
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn merging_parts_equals_the_whole(samples in samples(), cut in 0.0..1.0_f64) {
            let (left, right) = samples.split_at((samples.len() as f64 * cut) as usize);
            let (left, right) = (recorded(left), recorded(right));
            let whole = recorded(&samples);
            let mut merged = left.clone();
            merged.merge(&right);
            prop_assert_eq!(&merged, &whole);
            let mut swapped = right;
            swapped.merge(&left);
            prop_assert_eq!(&swapped, &whole);
            prop_assert_eq!(whole.finished(), samples.len() as u64);
        }
    }

    #[test]
    fn what_was_cleared_records_like_what_is_new() {
        let sample = |service_ns| Sample {
            op: OpKind::Put,
            outcome: Outcome::Fail,
            timed_out: true,
            response_ns: service_ns,
            service_ns,
            wait_ns: None,
            lateness_ns: None,
        };
        assert!(Recorder::with_room(u64::MAX >> 1).is_empty());
        let mut cleared = recorded(&[sample(70_000_000_000), sample(5)]);
        assert!(!cleared.is_empty());
        cleared.clear();
        assert!(cleared.is_empty() && cleared.series().next().is_none());
        let fresh = recorded(&[sample(9)]);
        cleared.merge(&fresh);
        for q in [0.0, 0.5, 1.0] {
            let of = |recorder: &Recorder| recorder.merged(|_| true).value_at_quantile(q);
            assert_eq!(of(&cleared), of(&fresh));
        }
        let all = cleared.merged(|_| true);
        assert_eq!((all.min(), all.max(), all.len()), (9, 9, 2));
        assert_eq!((cleared.finished(), cleared.timeouts(OpKind::Put)), (1, 1));
        assert_eq!(cleared.errors(OpKind::Put).collect::<Vec<_>>(), [("deadline", 1)]);
    }

    #[test]
    fn latencies_come_back_to_three_digits_however_they_arrive() {
        let mut recorder = Recorder::default();
        for service_ns in [3_000_000_000, 1_234_567, 17] {
            recorder.record(&Sample {
                op: OpKind::Get,
                outcome: Outcome::Ok,
                timed_out: false,
                response_ns: service_ns,
                service_ns,
                wait_ns: None,
                lateness_ns: None,
            });
        }
        let service = recorder.merged(|series| series.measure == Measure::Service);
        for (q, expected) in [(0.1, 17.0), (0.5, 1_234_567.0), (1.0, 3e9)] {
            let value = service.value_at_quantile(q) as f64;
            assert!((value / expected - 1.0).abs() < 0.001, "{value} is not {expected}");
        }
    }

    #[test]
    fn refused_connections_are_no_answers_and_refused_requests_are() {
        let sample = |outcome, timed_out| Sample {
            op: OpKind::Get,
            outcome,
            timed_out,
            response_ns: 1,
            service_ns: 1,
            wait_ns: None,
            lateness_ns: None,
        };
        let mut recorder = Recorder::default();
        recorder.record(&sample(Outcome::Ok, false));
        for kind in ["connect", "connection-lost", "handshake", "unprocessed", "overloaded"] {
            recorder.record(&sample(Outcome::Fail, false));
            recorder.record_error(OpKind::Get, kind);
        }
        recorder.record(&sample(Outcome::Fail, true));
        recorder.record_error(OpKind::Get, "deadline");
        assert_eq!((recorder.finished(), recorder.answered()), (7, 2));
    }

    #[test]
    fn timeouts_stand_apart_from_answers() {
        let sample = Sample {
            op: OpKind::Put,
            outcome: Outcome::Info,
            timed_out: true,
            response_ns: 5_000_000_000,
            service_ns: 5_000_000_000,
            wait_ns: Some(0),
            lateness_ns: Some(0),
        };
        let recorder = recorded(&[sample, Sample { timed_out: false, ..sample }]);
        assert_eq!((recorder.count(OpKind::Put, Outcome::Info), recorder.timeouts(OpKind::Put)), (2, 1));
        let tags: Vec<_> = recorder.series().map(|(series, _)| series.to_string()).collect();
        assert!(tags.contains(&"put.timeout.response".to_owned()), "{tags:?}");
        assert!(tags.contains(&"put.info.response".to_owned()), "{tags:?}");
        assert_eq!(recorder.errors(OpKind::Put).collect::<Vec<_>>(), [("deadline", 2)]);
    }
}
