//! What a lane records into: the counts of a [`Recorder`] in the making.
//!
//! Recording is a few instructions: which bucket a value belongs to follows from its leading zeros, and
//! smallest and largest follow from the buckets once they are looked at. The buckets are those of an HDR
//! histogram of three digits, so nothing is lost on the way to one.
//!
//! Not here: percentiles, merging, names.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{Class, Measure, Recorder, Sample, USUAL, no_latencies};
use crate::target::Outcome;
use crate::workload::OpKind;

/// Values up to twice this have a bucket each; above, each doubling has so many buckets.
const HALF: usize = 1024;
/// Of its base 2 logarithm, for shifts.
const HALF_BITS: u32 = HALF.ilog2();

/// Counts, to be moved into a [`Recorder`].
#[derive(Debug, Default)]
pub struct Tally {
    classes: [[Option<Box<[Counts; Measure::ALL.len()]>>; Class::ALL.len()]; OpKind::ALL.len()],
    outcomes: [[u64; Outcome::ALL.len()]; OpKind::ALL.len()],
    timeouts: [u64; OpKind::ALL.len()],
    errors: BTreeMap<(OpKind, String), u64>,
}

/// How many values fell into each bucket; as long as the largest needs. A second's worth, so 32 bits do.
#[derive(Debug, Default)]
struct Counts(Vec<u32>);

impl Counts {
    fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        match self.0.get_mut(bucket) {
            Some(count) => *count += 1,
            None => self.grow(bucket),
        }
    }

    #[cold]
    fn grow(&mut self, bucket: usize) {
        self.0.resize((bucket / HALF + 1) * HALF, 0);
        self.0[bucket] = 1;
    }

    fn move_to(&mut self, histogram: &mut Histogram<u64>) {
        // The greatest first: the histogram grows once.
        for (bucket, count) in self.0.iter_mut().enumerate().rev().filter(|(_, count)| **count > 0) {
            let taken = u64::from(std::mem::take(count));
            histogram
                .record_n(least(bucket), taken)
                .expect("a histogram that grows by itself takes any value");
        }
    }
}

/// The bucket of a value.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - (value | HALF as u64).leading_zeros()) - (HALF_BITS + 1);
    (shift as usize * HALF) + (value >> shift) as usize
}

/// The smallest value of a bucket.
fn least(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    ((bucket - shift * HALF) as u64) << shift
}

impl Tally {
    /// As [`Recorder::with_room`].
    #[must_use]
    pub fn with_room(max_ns: u64) -> Self {
        let mut tally = Self::default();
        for op in USUAL {
            let mut counts: Box<[Counts; Measure::ALL.len()]> = Box::default();
            for counts in counts.iter_mut() {
                counts.grow(bucket(max_ns));
                // What is written is there: memory that was only asked for is not.
                counts.0.fill(0);
            }
            tally.classes[op as usize][Class::Ok as usize] = Some(counts);
        }
        tally
    }

    /// Counts an operation and its latencies.
    pub fn record(&mut self, sample: &Sample) {
        let op = sample.op as usize;
        self.outcomes[op][sample.outcome as usize] += 1;
        self.timeouts[op] += u64::from(sample.timed_out);
        let class = Class::of(sample.outcome, sample.timed_out);
        let counts = self.classes[op][class as usize].get_or_insert_with(Box::default);
        counts[Measure::Response as usize].add(sample.response_ns);
        counts[Measure::Service as usize].add(sample.service_ns);
        if let Some(wait_ns) = sample.wait_ns {
            counts[Measure::Wait as usize].add(wait_ns);
        }
        if let Some(lateness_ns) = sample.lateness_ns {
            counts[Measure::Lateness as usize].add(lateness_ns);
        }
    }

    /// Counts an error by its kind.
    pub fn record_error(&mut self, op: OpKind, kind: &str) {
        *self.errors.entry((op, kind.to_owned())).or_default() += 1;
    }

    /// Moves everything to `recorder`; what is left is empty, and has room for as much again.
    pub fn move_to(&mut self, recorder: &mut Recorder) {
        for (classes, all) in self.classes.iter_mut().zip(&mut recorder.latencies) {
            for (counts, latencies) in classes.iter_mut().zip(all) {
                let Some(counts) = counts.as_deref_mut() else { continue };
                let latencies = latencies.get_or_insert_with(no_latencies);
                counts.iter_mut().zip(latencies.iter_mut()).for_each(|(counts, h)| counts.move_to(h));
            }
        }
        for (mine, theirs) in self.outcomes.iter().flatten().zip(recorder.outcomes.iter_mut().flatten()) {
            *theirs += mine;
        }
        for (mine, theirs) in self.timeouts.iter().zip(&mut recorder.timeouts) {
            *theirs += mine;
        }
        (self.outcomes, self.timeouts) = Default::default();
        for (error, count) in std::mem::take(&mut self.errors) {
            *recorder.errors.entry(error).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket_number in 0..40 * HALF {
            let from = least(bucket_number);
            assert_eq!(bucket(from), bucket_number);
            assert_eq!(bucket(least(bucket_number + 1) - 1), bucket_number);
        }
        assert_eq!(least(bucket(u64::MAX)) >> 53, u64::MAX >> 53);
    }

    proptest! {
        #[test]
        fn a_tally_comes_to_what_a_recorder_would_have_recorded(
            values in proptest::collection::vec((0..3_usize, 0..40_u32, any::<u64>()), 1..200),
        ) {
            let (mut tally, mut direct, mut moved) = Default::default();
            fn both(tally: &mut Tally, direct: &mut Recorder, sample: &Sample) {
                tally.record(sample);
                direct.record(sample);
            }
            let half = values.len() / 2;
            for (n, (outcome, bits, value)) in values.into_iter().enumerate() {
                let value = value >> (63 - bits);
                let sample = Sample {
                    op: OpKind::Put,
                    outcome: Outcome::ALL[outcome],
                    timed_out: value % 7 == 0,
                    response_ns: value,
                    service_ns: value / 2,
                    wait_ns: (value % 3 == 0).then_some(value / 3),
                    lateness_ns: None,
                };
                both(&mut tally, &mut direct, &sample);
                if n == half {
                    tally.move_to(&mut moved);
                }
            }
            tally.record_error(OpKind::Put, "deadline");
            direct.record_error(OpKind::Put, "deadline");
            tally.move_to(&mut moved);
            tally.move_to(&mut moved);
            prop_assert_eq!(moved.finished(), direct.finished());
            prop_assert_eq!(moved.timeouts(OpKind::Put), direct.timeouts(OpKind::Put));
            prop_assert_eq!(moved.errors(OpKind::Put).collect::<Vec<_>>(), [("deadline", 1)]);
            let figures = |recorder: &Recorder| {
                let one = |(series, histogram): (crate::recorder::Series, &Histogram<u64>)| {
                    let at = [0.0, 0.3, 0.5, 0.99, 1.0].map(|q| histogram.value_at_quantile(q));
                    (series, histogram.len(), histogram.min(), histogram.max(), at)
                };
                recorder.series().map(one).collect::<Vec<_>>()
            };
            prop_assert_eq!(figures(&moved), figures(&direct));
        }
    }
}
