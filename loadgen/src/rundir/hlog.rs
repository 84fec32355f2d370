//! `latency.hlog`: the histograms of each second, as HdrHistogram's own tools read them.
//!
//! Values are nanoseconds. The tools' convention is a divisor of a million for the human
//! readable maximum, so that they show milliseconds; it stands in the head of the log.
//!
//! Reading is for putting runs together; reports read logs of anybody with a reader of their own.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::engine::Interval;
use crate::recorder::Series;

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

/// A log, read.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// When it began, since the Unix epoch.
    pub(super) start: Duration,
    /// Its lines, as they stand.
    pub(super) lines: Vec<LogLine>,
}

/// One histogram of one interval, as it stands in the log: unpacked, those of an hour would take gigabytes.
#[derive(Debug)]
pub(super) struct LogLine {
    /// When the interval began, since the log's start.
    pub(super) since_start: Duration,
    pub(super) series: Series,
    packed: Box<[u8]>,
}

impl LogLine {
    /// What it holds.
    pub(super) fn histogram(&self) -> Histogram<u64> {
        Deserializer::new().deserialize(&mut &*self.packed).expect("it was unpacked when it was read")
    }
}

/// Reads a log that [`write_head`] and [`write_interval`] wrote, and shows every histogram to `each`. The error
/// says which entry is wrong, and how.
pub(super) fn read(bytes: &[u8], mut each: impl FnMut(Series, &Histogram<u64>)) -> Result<Log, String> {
    let mut log = Log::default();
    let mut deserializer = Deserializer::new();
    for (number, entry) in (1..).zip(IntervalLogIterator::new(bytes)) {
        let damaged = |what: &dyn std::fmt::Display| format!("entry {number}: {what}");
        match entry.map_err(|e| damaged(&format_args!("{e:?}")))? {
            LogEntry::StartTime(start) => log.start = start,
            LogEntry::BaseTime(_) => {}
            LogEntry::Interval(interval) => {
                let tag = interval.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
                let series = tag.parse().map_err(|e| damaged(&e))?;
                let packed = STANDARD.decode(interval.encoded_histogram()).map_err(|e| damaged(&e))?;
                let histogram = deserializer.deserialize(&mut packed.as_slice()).map_err(|e| damaged(&e))?;
                each(series, &histogram);
                let since_start = interval.start_timestamp();
                log.lines.push(LogLine { since_start, series, packed: packed.into() });
            }
        }
    }
    Ok(log)
}
