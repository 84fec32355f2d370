//! `latency.hlog`: an HdrHistogram log whose tags are `<operation>.<outcome>.<measure>`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

/// Nanoseconds in a millisecond: logs hold nanoseconds, people read milliseconds.
const NS_PER_MS: f64 = 1e6;

/// All intervals of a log put together, by tag.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    by_tag: BTreeMap<String, Histogram<u64>>,
    seconds: f64,
}

impl Latencies {
    /// Reads a log.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut latencies = Self::default();
        let mut deserializer = Deserializer::new();
        let mut span: Option<(f64, f64)> = None;
        for (number, entry) in IntervalLogIterator::new(bytes).enumerate() {
            let entry = entry.map_err(|e| format!("entry {}: {e:?}", number + 1))?;
            let LogEntry::Interval(interval) = entry else { continue };
            let damaged = |what: String| format!("entry {}: not a histogram: {what}", number + 1);
            let encoded =
                STANDARD.decode(interval.encoded_histogram()).map_err(|e| damaged(e.to_string()))?;
            let histogram: Histogram<u64> =
                deserializer.deserialize(&mut encoded.as_slice()).map_err(|e| damaged(e.to_string()))?;
            let start = interval.start_timestamp().as_secs_f64();
            let end = start + interval.duration().as_secs_f64();
            span = Some(span.map_or((start, end), |(from, to)| (from.min(start), to.max(end))));
            let tag = interval.tag().map_or_else(|| "all".to_owned(), |tag| tag.as_str().to_owned());
            let whole = latencies.by_tag.entry(tag).or_insert_with(|| {
                let mut empty = Histogram::new_from(&histogram);
                // A later interval may hold longer latencies than this one has room for.
                empty.auto(true);
                empty
            });
            whole.add(&histogram).map_err(|e| damaged(e.to_string()))?;
        }
        latencies.seconds = span.map_or(0.0, |(from, to)| to - from);
        Ok(latencies)
    }

    /// The time it covers, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The operations in it, in alphabetical order.
    #[must_use]
    pub fn operations(&self) -> Vec<&str> {
        let mut operations: Vec<&str> = self.by_tag.keys().filter_map(|tag| tag.split('.').next()).collect();
        operations.dedup();
        operations
    }

    /// How many samples a tag has.
    #[must_use]
    pub fn count(&self, operation: &str, outcome: &str, measure: &str) -> u64 {
        self.get(operation, outcome, measure).map_or(0, Histogram::len)
    }

    /// A quantile (0 to 1) in milliseconds; none without samples.
    #[must_use]
    pub fn quantile_ms(&self, operation: &str, outcome: &str, measure: &str, quantile: f64) -> Option<f64> {
        let histogram = self.get(operation, outcome, measure).filter(|h| !h.is_empty())?;
        Some(histogram.value_at_quantile(quantile) as f64 / NS_PER_MS)
    }

    /// The spectrum of a tag: (number of nines, milliseconds), from half to the last sample.
    #[must_use]
    pub fn spectrum(&self, operation: &str, outcome: &str, measure: &str) -> Vec<(f64, f64)> {
        const PER_NINE: u32 = 20;
        let Some(histogram) = self.get(operation, outcome, measure).filter(|h| !h.is_empty()) else {
            return Vec::new();
        };
        let nines_max = (histogram.len() as f64).log10();
        (0..)
            .map(|i| f64::from(i) / f64::from(PER_NINE))
            .take_while(|nines| *nines <= nines_max)
            .map(|nines| {
                let quantile = 1.0 - 10_f64.powf(-nines);
                (nines, histogram.value_at_quantile(quantile) as f64 / NS_PER_MS)
            })
            .collect()
    }

    fn get(&self, operation: &str, outcome: &str, measure: &str) -> Option<&Histogram<u64>> {
        self.by_tag.get(&format!("{operation}.{outcome}.{measure}"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::time::Duration;

    use hdrhistogram::serialization::V2Serializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

    use super::*;

    /// A log of ten seconds in two intervals, the values of each in milliseconds.
    pub(crate) fn log(tags: &[(&str, [&[u64]; 2])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut serializer = V2Serializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        let mut writer =
            builder.with_max_value_divisor(1e6).begin_log_with(&mut bytes, &mut serializer).unwrap();
        for (tag, intervals) in tags {
            for (i, values) in (0..).zip(intervals) {
                let mut histogram = Histogram::<u64>::new(3).unwrap();
                values.iter().for_each(|ms| histogram.record(ms * 1_000_000).unwrap());
                let start = Duration::from_secs(5 * i);
                writer.write_histogram(&histogram, start, Duration::from_secs(5), Tag::new(tag)).unwrap();
            }
        }
        bytes
    }

    #[test]
    fn intervals_are_put_together_by_tag() {
        let log = log(&[("get.ok.response", [&[1, 2], &[3, 100]]), ("put.ok.response", [&[7], &[]])]);
        let latencies = Latencies::parse(&log).unwrap();
        assert_eq!(latencies.operations(), ["get", "put"]);
        assert_eq!(latencies.count("get", "ok", "response"), 4);
        assert!((latencies.seconds() - 10.0).abs() < 1e-9);
        let p50 = latencies.quantile_ms("get", "ok", "response", 0.5).unwrap();
        assert!((1.99..2.01).contains(&p50), "{p50}");
        let max = latencies.spectrum("get", "ok", "response").last().unwrap().1;
        assert!((2.9..3.1).contains(&max), "the last whole point of four samples is three quarters: {max}");
        assert_eq!(latencies.quantile_ms("put", "fail", "response", 0.5), None);
    }

    #[test]
    fn damage_names_its_entry() {
        let mut damaged = log(&[("get.ok.response", [&[1], &[2]])]);
        damaged.extend_from_slice(b"Tag=x,0.0,1.0,1.0,notbase64!\n");
        assert!(Latencies::parse(&damaged).unwrap_err().contains("entry 3"));
    }
}
