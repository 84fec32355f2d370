//! Writes the files that grow while a run lasts, on a thread of its own: compressing
//! histograms takes milliseconds, which the runtime's threads must not be late for.
//!
//! A disk that fills does not end a run: a file stops where it last was whole, and whoever waits
//! for the end is told. The same if it hangs for so long that what waits for it would fill memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::{Interval, IntervalSink};
use crate::observe::Phase;
use crate::rundir::{hlog, timeseries};

const HLOG: &str = "latency.hlog";
const CSV: &str = "timeseries.csv";
/// Seconds that may wait for the disk. Each is a few megabytes at most.
const WAITING_MAX: usize = 60;

/// `latency.hlog` (the measurement) and `timeseries.csv` (warm-up and measurement).
pub struct IntervalFiles {
    /// None once finished; dropping it is what ends the thread.
    intervals: Option<mpsc::SyncSender<Interval>>,
    /// The first second that found no room to wait, from which on nothing more is written.
    left_out_from_s: Option<f64>,
    thread: Option<JoinHandle<Result<(), IntervalsLost>>>,
}

/// Files that end before the run did. What is in them is whole.
#[derive(Debug)]
pub struct IntervalsLost {
    /// Each with its name, the reason, and when it ended, in seconds of its phase.
    files: Vec<(&'static str, io::Error, Option<f64>)>,
}

impl fmt::Display for IntervalsLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, reason, until_s)) in self.files.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{name} is incomplete: {reason}")?;
            if let Some(until_s) = until_s {
                write!(f, " (nothing from second {until_s:.0} of the run on)")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for IntervalsLost {}

struct Files {
    hlog: Growing,
    csv: Growing,
    started_wall_ns: u64,
}

/// A file of which every piece is written whole or not at all.
struct Growing {
    name: &'static str,
    file: File,
    whole_bytes: u64,
    lost: Option<(io::Error, Option<f64>)>,
}

impl IntervalFiles {
    pub(super) fn create(directory: &Path, started_wall_ns: u64) -> io::Result<Self> {
        let mut head = Vec::new();
        hlog::write_head(started_wall_ns, &mut head)?;
        let mut files = Files {
            hlog: Growing::create(directory, HLOG)?,
            csv: Growing::create(directory, CSV)?,
            started_wall_ns,
        };
        files.hlog.append(&head, None);
        files.csv.append(format!("{}\n", timeseries::HEADER).as_bytes(), None);
        let (sender, intervals) = mpsc::sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("run-directory".to_owned()).spawn(move || {
            intervals.into_iter().for_each(|interval| files.write(&interval));
            files.lost()
        })?;
        Ok(Self { intervals: Some(sender), left_out_from_s: None, thread: Some(thread) })
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// If any of it could not be written.
    ///
    /// # Panics
    /// If the thread that writes has.
    pub fn finish(mut self) -> Result<(), IntervalsLost> {
        self.end()
    }

    /// Writes an interval of a run that is over, however long that takes.
    pub fn write(&mut self, interval: &Interval) {
        if let Some(intervals) = &self.intervals {
            // It refuses only after a panic, which `finish` passes on.
            let _ = intervals.send(interval.clone());
        }
    }

    fn end(&mut self) -> Result<(), IntervalsLost> {
        drop(self.intervals.take());
        let written = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        };
        // What the disk itself refused says more.
        written?;
        self.left_out_from_s.map_or(Ok(()), |from_s| {
            let lost = |name| (name, io::Error::other("the disk did not keep up"), Some(from_s));
            Err(IntervalsLost { files: [HLOG, CSV].map(lost).into() })
        })
    }
}

impl Drop for IntervalFiles {
    fn drop(&mut self) {
        // Without `finish` there is nobody to tell; what could be written is written.
        drop(self.intervals.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl IntervalSink for IntervalFiles {
    fn interval(&mut self, interval: &Interval) {
        let Some(intervals) = self.intervals.as_ref().filter(|_| self.left_out_from_s.is_none()) else {
            return;
        };
        // After a panic it refuses too, which `finish` passes on.
        if let Err(mpsc::TrySendError::Full(interval)) = intervals.try_send(interval.clone()) {
            self.left_out_from_s = Some(interval.start_ns as f64 / 1e9);
        }
    }
}

impl Files {
    fn write(&mut self, interval: &Interval) {
        let at_s = Some(interval.start_ns as f64 / 1e9);
        let mut row = Vec::new();
        let written = timeseries::write_row(interval, &mut row);
        self.csv.append_if(written, &row, at_s);
        if interval.phase == Phase::Measure {
            let since_start = interval.start_wall_ns.saturating_sub(self.started_wall_ns);
            let mut lines = Vec::new();
            let written = hlog::write_interval(interval, Duration::from_nanos(since_start), &mut lines);
            self.hlog.append_if(written, &lines, at_s);
        }
    }

    fn lost(self) -> Result<(), IntervalsLost> {
        let lost = |file: Growing| file.lost.map(|(reason, until_s)| (file.name, reason, until_s));
        let files: Vec<_> = [self.hlog, self.csv].into_iter().filter_map(lost).collect();
        if files.is_empty() { Ok(()) } else { Err(IntervalsLost { files }) }
    }
}

impl Growing {
    fn create(directory: &Path, name: &'static str) -> io::Result<Self> {
        Ok(Self { name, file: File::create(directory.join(name))?, whole_bytes: 0, lost: None })
    }

    fn append_if(&mut self, made: io::Result<()>, bytes: &[u8], at_s: Option<f64>) {
        match made {
            Ok(()) => self.append(bytes, at_s),
            Err(reason) => self.lose(reason, at_s),
        }
    }

    /// Appends all of it at once, so that a run that is killed keeps what it had.
    fn append(&mut self, bytes: &[u8], at_s: Option<f64>) {
        if self.lost.is_some() {
            return;
        }
        match self.file.write_all(bytes) {
            Ok(()) => self.whole_bytes += bytes.len() as u64,
            Err(reason) => self.lose(reason, at_s),
        }
    }

    fn lose(&mut self, reason: io::Error, at_s: Option<f64>) {
        // Half a line would make readers refuse all of it. Devices have no length to set.
        let _ = self.file.set_len(self.whole_bytes);
        self.lost.get_or_insert((reason, at_s));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::recorder::{Recorder, Sample};
    use crate::target::Outcome;
    use crate::workload::OpKind;

    fn second(number: u64) -> Interval {
        let mut recorder = Recorder::default();
        recorder.record(&Sample {
            op: OpKind::Get,
            outcome: Outcome::Ok,
            timed_out: false,
            response_ns: 1_000_000,
            service_ns: 1_000_000,
            wait_ns: Some(0),
            lateness_ns: Some(0),
        });
        Interval {
            phase: Phase::Measure,
            start_ns: number * 1_000_000_000,
            start_wall_ns: number * 1_000_000_000,
            duration_ns: 1_000_000_000,
            offered: 1,
            sent: 1,
            dropped: 0,
            backlog: 0,
            in_flight: 0,
            recorder,
            machine: None,
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_and_leaves_the_other_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("latency.hlog")).unwrap();
        let mut files = IntervalFiles::create(dir.path(), 0).unwrap();
        (0..3).for_each(|number| files.interval(&second(number)));
        let lost = files.finish().unwrap_err().to_string();
        assert!(lost.contains("latency.hlog is incomplete: No space left"), "{lost}");
        assert!(!lost.contains("timeseries"), "{lost}");
        let csv = std::fs::read_to_string(dir.path().join("timeseries.csv")).unwrap();
        assert_eq!(csv.lines().count(), 4, "the run went on");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_disk_that_hangs_costs_seconds_and_not_memory_without_end() {
        let dir = tempfile::tempdir().unwrap();
        // A pipe that nobody reads takes some of it and then nothing more.
        let path = dir.path().join(HLOG);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let unread = File::options().read(true).write(true).open(&path).unwrap();
        let mut files = IntervalFiles::create(dir.path(), 0).unwrap();
        (0..2000).for_each(|number| files.interval(&second(number)));
        let from_s = files.left_out_from_s.unwrap();
        assert!(from_s >= WAITING_MAX as f64, "{from_s}");
        // Once it takes everything again, it is still said.
        std::thread::spawn(move || io::copy(&mut &unread, &mut io::sink()));
        let lost = files.finish().unwrap_err().to_string();
        let said =
            format!("latency.hlog is incomplete: the disk did not keep up (nothing from second {from_s:.0}");
        assert!(lost.contains(&said) && lost.contains("timeseries.csv is incomplete"), "{lost}");
    }

    #[test]
    fn what_was_written_before_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = Growing::create(dir.path(), "timeseries.csv").unwrap();
        file.append(b"a whole line\n", Some(0.0));
        // As if half of the next had been taken.
        file.file.write_all(b"half a").unwrap();
        file.lose(io::ErrorKind::StorageFull.into(), Some(7.0));
        file.append(b"more\n", Some(8.0));
        assert_eq!(std::fs::read(dir.path().join("timeseries.csv")).unwrap(), b"a whole line\n");
        let lost = IntervalsLost { files: file.lost.map(|(e, s)| (file.name, e, s)).into_iter().collect() };
        assert!(lost.to_string().contains("nothing from second 7 of the run on"), "{lost}");
    }
}
