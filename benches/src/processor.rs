//! What processor time processes have taken, as Linux counts it.

use std::fs;

/// Linux counts in hundredths of a second, whatever the kernel's own clock.
const TICK_NS: f64 = 1e7;

/// User and system time of a process, that of its threads that have ended too, in nanoseconds, to 10 ms;
/// nothing if it is gone or the system does not say.
#[must_use]
pub fn of_process(pid: u32) -> f64 {
    read(&pid.to_string(), 11)
}

/// The same of this process.
#[must_use]
pub fn own() -> f64 {
    read("self", 11)
}

/// The same of all children that have ended.
#[must_use]
pub fn of_ended_children() -> f64 {
    read("self", 13)
}

/// Whether the system says at all.
#[must_use]
pub fn is_known() -> bool {
    fs::exists("/proc/self/stat").unwrap_or(false)
}

/// Two neighbouring fields of `/proc/<process>/stat`, counted from after the program's name, which may hold
/// anything.
fn read(process: &str, field: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |n: usize| after_name.split_whitespace().nth(n).and_then(|t| t.parse::<f64>().ok());
    (ticks(field).unwrap_or_default() + ticks(field + 1).unwrap_or_default()) * TICK_NS
}
