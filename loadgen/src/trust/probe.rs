//! What the operating system says of the generator and the machine while a run lasts.

use std::fs;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Reads the counters. Only for real runs: it reads the real clock and `/proc`.
#[derive(Debug)]
pub struct SystemProbe {
    start: Instant,
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    at_ns: u64,
    own_cpu_ns: u64,
    /// Stolen and total processor time of the machine, in the kernel's ticks.
    steal: Option<(u64, u64)>,
    run_queue_ns: Option<u64>,
}

/// The load between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadOnMachine {
    /// Cores' worth of time that this process used.
    pub own_cpu_cores: f64,
    /// Percent of processor time taken by other guests of the host.
    pub steal_percent: Option<f64>,
    /// Time that this process' threads were ready to run but did not, in percent of the time
    /// between; several threads can wait at once.
    pub run_queue_percent: Option<f64>,
}

impl SystemProbe {
    /// A probe of this process and machine.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// The counters now.
    #[must_use]
    pub fn read(&mut self) -> Option<Probed> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let own_cpu_ns = u64::try_from(cpu.tv_sec).ok()? * 1_000_000_000 + u64::try_from(cpu.tv_nsec).ok()?;
        Some(Probed {
            at_ns: u64::try_from(self.start.elapsed().as_nanos()).ok()?,
            own_cpu_ns,
            steal: fs::read_to_string("/proc/stat").ok().as_deref().and_then(parse_steal),
            run_queue_ns: run_queue_ns(),
        })
    }
}

impl Default for SystemProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl Probed {
    /// The load since `then`.
    #[must_use]
    pub fn since(&self, then: &Self) -> LoadOnMachine {
        let elapsed_ns = self.at_ns.saturating_sub(then.at_ns).max(1) as f64;
        let steal_percent = self.steal.zip(then.steal).map(|((stolen, total), (stolen_then, total_then))| {
            let total = total.saturating_sub(total_then).max(1);
            100.0 * stolen.saturating_sub(stolen_then) as f64 / total as f64
        });
        // A thread that has ended takes its count with it: that must not look like time won.
        let run_queue_percent = self
            .run_queue_ns
            .zip(then.run_queue_ns)
            .map(|(now, then)| 100.0 * now.saturating_sub(then) as f64 / elapsed_ns);
        LoadOnMachine {
            own_cpu_cores: self.own_cpu_ns.saturating_sub(then.own_cpu_ns) as f64 / elapsed_ns,
            steal_percent,
            run_queue_percent,
        }
    }
}

/// Stolen and total ticks from the first line of `/proc/stat`: user, nice, system, idle,
/// iowait, irq, softirq, steal. Guest time is within user time already.
fn parse_steal(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let mut ticks = [0_u64; 8];
    for tick in &mut ticks {
        *tick = fields.next()?.parse().ok()?;
    }
    Some((ticks[7], ticks.iter().sum()))
}

/// Nanoseconds that all threads of this process have waited for a processor: the second field
/// of each `schedstat`. That of the process alone covers only its first thread.
fn run_queue_ns() -> Option<u64> {
    let mut total = 0;
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may have ended in the meantime.
        if let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) {
            total += parse_schedstat(&text)?;
        }
    }
    Some(total)
}

fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_formats_are_read() {
        let stat = "cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 1 2 3\n";
        assert_eq!(parse_steal(stat), Some((35, 1000)));
        assert_eq!(parse_steal("cpu 1 2\n"), None);
        assert_eq!(parse_schedstat("123 456 7\n"), Some(456));
    }

    #[test]
    fn shares_are_of_the_time_between() {
        let then = Probed { at_ns: 0, own_cpu_ns: 0, steal: Some((0, 0)), run_queue_ns: Some(0) };
        let now = Probed {
            at_ns: 2_000_000_000,
            own_cpu_ns: 1_000_000_000,
            steal: Some((20, 400)),
            run_queue_ns: Some(100_000_000),
        };
        let load = now.since(&then);
        assert_eq!(
            (load.own_cpu_cores, load.steal_percent, load.run_queue_percent),
            (0.5, Some(5.0), Some(5.0))
        );
    }

    #[test]
    fn this_process_can_be_probed() {
        let mut probe = SystemProbe::new();
        let then = probe.read();
        let now = probe.read();
        let load = now.zip(then).map(|(now, then)| now.since(&then));
        assert!(load.is_some_and(|load| load.own_cpu_cores >= 0.0));
    }
}
