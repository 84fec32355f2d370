//! The machine a run was made on, as far as figures depend on it.

use std::fs;

use serde::{Deserialize, Serialize};

/// A machine. What cannot be found out is empty or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineInfo {
    /// Operating system and architecture.
    pub platform: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor model.
    pub cpu_model: String,
    /// Cores this process may use.
    pub cores: Option<usize>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
}

impl MachineInfo {
    /// This machine.
    #[must_use]
    pub fn detect() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu_model: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default().to_owned(),
            cores: std::thread::available_parallelism().ok().map(Into::into),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal").and_then(kibibytes),
        }
    }
}

/// The first `name : value` of a file of such lines.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.trim() == name)
        .map(|(_, v)| v.trim())
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|n| n * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_formats_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2.6GHz\nmodel name\t: another\n";
        assert_eq!(field(cpuinfo, "model name"), Some("A CPU @ 2.6GHz"));
        assert_eq!(kibibytes("8000 kB"), Some(8_192_000));
        assert!(MachineInfo::detect().cores.is_some());
    }
}
