//! `faults.jsonl`: when each fault began and ended, for bands in plots and for replay.

use std::io;

use serde::{Deserialize, Serialize};

/// Whether a fault begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultEvent {
    /// It begins.
    Begin,
    /// It is healed.
    End,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRecord {
    /// Which fault of the run, from 0; its beginning and its end have the same number.
    pub fault: u64,
    /// Whether it begins or ends.
    pub event: FaultEvent,
    /// What goes wrong.
    pub kind: String,
    /// Who is hit.
    pub targets: Vec<String>,
    /// When, in nanoseconds on the history's clock.
    pub at_ns: u64,
    /// What else there is to it, by kind.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub params: serde_json::Map<String, serde_json::Value>,
}

/// Writes `faults`, a line each.
///
/// # Errors
/// If writing fails.
pub fn write_faults(faults: &[FaultRecord], mut out: impl io::Write) -> io::Result<()> {
    for fault in faults {
        serde_json::to_writer(&mut out, fault)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
