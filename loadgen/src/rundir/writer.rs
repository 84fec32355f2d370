//! Writes the files that grow while a run lasts, on a thread of its own: compressing
//! histograms takes milliseconds, which the runtime's threads must not be late for.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::{Interval, IntervalSink};
use crate::observe::Phase;
use crate::rundir::{hlog, timeseries};

/// `latency.hlog` (the measurement) and `timeseries.csv` (warm-up and measurement).
pub struct IntervalFiles {
    /// None once finished; dropping it is what ends the thread.
    intervals: Option<mpsc::Sender<Interval>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

struct Files {
    hlog: BufWriter<File>,
    csv: BufWriter<File>,
    started_wall_ns: u64,
}

impl IntervalFiles {
    pub(super) fn create(directory: &Path, started_wall_ns: u64) -> io::Result<Self> {
        let mut files = Files {
            hlog: BufWriter::new(File::create(directory.join("latency.hlog"))?),
            csv: BufWriter::new(File::create(directory.join("timeseries.csv"))?),
            started_wall_ns,
        };
        hlog::write_head(started_wall_ns, &mut files.hlog)?;
        writeln!(files.csv, "{}", timeseries::HEADER)?;
        let (sender, intervals) = mpsc::channel();
        let thread = std::thread::Builder::new().name("run-directory".to_owned()).spawn(move || {
            // Each second is flushed: an interrupted run keeps what it has.
            intervals.into_iter().try_for_each(|interval| files.write(&interval))
        })?;
        Ok(Self { intervals: Some(sender), thread: Some(thread) })
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// If any of it could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        drop(self.intervals.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the thread that writes the run directory panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for IntervalFiles {
    fn drop(&mut self) {
        // Without `finish` there is nobody to tell; what could be written is written.
        let _ = self.end();
    }
}

impl IntervalSink for IntervalFiles {
    fn interval(&mut self, interval: &Interval) {
        if let Some(intervals) = &self.intervals {
            // It refuses only after an error, which `finish` reports.
            let _ = intervals.send(interval.clone());
        }
    }
}

impl Files {
    fn write(&mut self, interval: &Interval) -> io::Result<()> {
        timeseries::write_row(interval, &mut self.csv)?;
        self.csv.flush()?;
        if interval.phase == Phase::Measure {
            let since_start = interval.start_wall_ns.saturating_sub(self.started_wall_ns);
            hlog::write_interval(interval, Duration::from_nanos(since_start), &mut self.hlog)?;
            self.hlog.flush()?;
        }
        Ok(())
    }
}
