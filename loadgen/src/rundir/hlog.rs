//! `latency.hlog`: the histograms of each second, as HdrHistogram's own tools read them.
//!
//! Values are nanoseconds. The tools' convention is a divisor of a million for the human
//! readable maximum, so that they show milliseconds; it stands in the head of the log.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::engine::Interval;

const NS_PER_MS: f64 = 1e6;

/// Writes the head of a log that begins at `started_wall_ns`.
pub(super) fn write_head(started_wall_ns: u64, mut out: impl Write) -> io::Result<()> {
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(started_wall_ns);
    // The first comment is how other implementations recognise the format.
    IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[values in nanoseconds; tags are operation.outcome.kind; measurement only]")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut out, &mut V2DeflateSerializer::new())
        .map(|_| ())
}

/// Writes a line for each histogram of an interval. `since_start` is when the interval began,
/// counted from the log's start.
pub(super) fn write_interval(
    interval: &Interval,
    since_start: Duration,
    mut out: impl Write,
) -> io::Result<()> {
    let mut lines = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new();
    let mut log = log.with_max_value_divisor(NS_PER_MS).begin_log_with(&mut lines, &mut serializer)?;
    for (series, histogram) in interval.recorder.series() {
        let tag = series.to_string();
        let duration = Duration::from_nanos(interval.duration_ns);
        log.write_histogram(histogram, since_start, duration, Tag::new(&tag)).map_err(io::Error::other)?;
    }
    drop(log);
    // A writer always begins with its head, which stands in the file already.
    let body = lines.split_inclusive(|&b| b == b'\n').filter(|line| !line.starts_with(b"#"));
    body.into_iter().try_for_each(|line| out.write_all(line))
}
