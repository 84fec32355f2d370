//! The directory of one run: everything to understand it, judge it again and replay it.
//!
//! `run.json` says where it comes from, `scenario.toml` what was done with nothing left to draw,
//! `history.jsonl.zst`, `faults.jsonl` and `verdict.json` what happened; `nodes/` holds the ends of the
//! logs of real processes; `trace.jsonl`, where it was asked for, what happened second by second as hashes. In the simulated world the three that say what happened hold nothing of the
//! machine or the time of day: a replay gives the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use quorate_check::history::{HistoryWriter, Operation};
use quorate_loadgen::rundir::{Revision, SCHEMA_VERSION};
use quorate_loadgen::trust::{self, Figures, MachineInfo};
use serde::Serialize;
use serde_json::json;

use super::Run;
use crate::fault::FaultEvent;
use crate::trace::TRACE_FILE;

/// Where a run comes from: what its bytes do not depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The command line.
    pub command: Vec<String>,
    /// The revision of the code, if it is known.
    pub revision: Option<Revision>,
    /// Versions of the program and what it was built with, by name.
    pub versions: BTreeMap<String, String>,
    /// The machine.
    pub machine: Option<MachineInfo>,
}

/// A run directory that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It holds something already.
    #[error("{}: not empty; name a directory that is empty or absent", .0.display())]
    NotEmpty(PathBuf),
    /// A file cannot be written or read.
    #[error("{}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {why}", .file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Writes `run` into `dir`, which must be empty or absent.
///
/// # Errors
/// If it holds something, or a file cannot be written.
pub fn write(dir: &Path, run: &Run, provenance: &Provenance) -> Result<(), DirectoryError> {
    let io = |file: &Path| {
        let file = file.to_owned();
        move |source| DirectoryError::Io { file, source }
    };
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(DirectoryError::NotEmpty(dir.to_owned()));
    }
    fs::create_dir_all(dir).map_err(io(dir))?;
    let put = |name: &str, bytes: &[u8]| {
        let file = dir.join(name);
        fs::write(&file, bytes).map_err(io(&file))
    };
    put("scenario.toml", run.explicit.to_toml().as_bytes())?;
    put("faults.jsonl", faults_text(&run.played.events).as_bytes())?;
    put("verdict.json", verdict_text(run).as_bytes())?;
    put("run.json", pretty(&run_json(run, provenance)).as_bytes())?;
    if !run.played.logs.is_empty() {
        let nodes = dir.join("nodes");
        fs::create_dir_all(&nodes).map_err(io(&nodes))?;
    }
    if let Some(trace) = &run.played.trace {
        put(TRACE_FILE, trace.text().as_bytes())?;
    }
    for (node, log) in &run.played.logs {
        put(&format!("nodes/{node}.log"), log.as_bytes())?;
    }
    let file = dir.join("history.jsonl.zst");
    write_history(&file, &run.played.operations).map_err(io(&file))
}

fn write_history(file: &Path, operations: &[Operation]) -> io::Result<()> {
    let mut writer = HistoryWriter::zst(BufWriter::new(fs::File::create(file)?))?;
    for operation in operations {
        writer.write(operation)?;
    }
    writer.finish()?.flush()
}

/// The lines of a history, without compression.
///
/// # Panics
/// Never: every operation has a JSON form.
pub fn history_text(operations: &[Operation]) -> Vec<u8> {
    let mut writer = HistoryWriter::plain(Vec::new());
    for operation in operations {
        writer.write(operation).expect("writing to memory does not fail");
    }
    writer.finish().expect("writing to memory does not fail")
}

/// The lines of `faults.jsonl`.
///
/// # Panics
/// Never: every event has a JSON form.
pub fn faults_text(events: &[FaultEvent]) -> String {
    let mut text = String::new();
    for event in events {
        text.push_str(&serde_json::to_string(event).expect("an event has a JSON form"));
        text.push('\n');
    }
    text
}

/// The text of `verdict.json`.
pub(super) fn verdict_text(run: &Run) -> String {
    pretty(&run.verdict)
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("what is written here has a JSON form");
    text.push('\n');
    text
}

fn run_json(run: &Run, provenance: &Provenance) -> serde_json::Value {
    let elapsed_s = run.played.elapsed_ns as f64 / 1e9;
    let load_s = run.explicit.workload.duration.as_secs_f64();
    let by_clients = run.played.operations.iter().filter(|op| !op.r#final).count();
    let achieved_per_s = by_clients as f64 / load_s;
    json!({
        "schema_version": SCHEMA_VERSION,
        "kind": "chaos",
        "name": run.explicit.name,
        "world": run.world,
        "command_line": provenance.command,
        "revision": provenance.revision,
        "machine": provenance.machine,
        "versions": provenance.versions,
        "profile": run.store.name,
        "seed": run.seed,
        "tick_ms": u64::try_from(run.explicit.network.tick.as_millis()).unwrap_or(u64::MAX),
        "config": {
            "store": run.store,
            "cluster": run.explicit.cluster,
            "network": run.explicit.network,
            "workload": run.explicit.workload,
        },
        // Clients of a chaos run wait for their answers: nothing is offered that is not achieved.
        "offered_per_s": null,
        "achieved_per_s": achieved_per_s,
        "results": {
            "verdict": run.verdict.verdict,
            "operations": run.played.operations.len(),
            "elapsed_s": elapsed_s,
        },
        "trust": trusted(run, achieved_per_s, provenance),
    })
}

/// How far the run can be trusted; null where nobody could look at the machine.
fn trusted(run: &Run, achieved_per_s: f64, provenance: &Provenance) -> serde_json::Value {
    if run.is_deterministic {
        // Simulated time does not pass while the machine is busy with something else.
        return json!({ "verdict": trust::Verdict::Valid, "reasons": [] });
    }
    let figures = run.played.machine.map(|machine| Figures {
        achieved_per_s,
        cores: provenance.machine.as_ref().and_then(|machine| machine.cores),
        own_cpu_cores: Some(machine.own_cpu_cores),
        steal_percent: machine.steal_percent,
        run_queue_percent: machine.run_queue_percent,
        ..Figures::default()
    });
    json!(figures.map(Figures::judge_light))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_loadgen::trust::LoadOnMachine;

    use super::*;
    use crate::run::run;
    use crate::scenario::Scenario;
    use crate::world::{Seams, SimulatedWorld};

    #[test]
    fn only_simulated_time_is_trusted_whatever_the_machine_does() {
        let calm = Scenario::from_toml("[workload]\nduration = \"1s\"\n", "test", "calm").unwrap();
        let mut run = run(&SimulatedWorld, &calm, "quorum", 1, &Seams::default()).unwrap();
        let busy =
            LoadOnMachine { own_cpu_cores: 0.1, steal_percent: Some(30.0), run_queue_percent: Some(1.0) };
        run.played.machine = Some(busy);
        let verdict = |run: &Run| run_json(run, &Provenance::default())["trust"]["verdict"].clone();
        assert_eq!(verdict(&run), "valid");
        (run.world, run.is_deterministic) = ("process", false);
        assert_eq!(verdict(&run), "disturbed");
        let schema = serde_json::from_str(include_str!("../../schemas/run.schema.json")).unwrap();
        let schema = jsonschema::validator_for(&schema).unwrap();
        assert!(schema.is_valid(&run_json(&run, &Provenance::default())));
        run.played.machine = None;
        assert_eq!(verdict(&run), serde_json::Value::Null, "nobody looked");
        assert!(schema.is_valid(&run_json(&run, &Provenance::default())));
    }
}
