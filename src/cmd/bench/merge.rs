//! `quorate bench --merge`: the runs of all parts of one load as one run.
//!
//! Not here: whether they belong together, and the adding (`quorate_loadgen::rundir`).

use quorate_env::{Clock as _, SystemClock};
use quorate_loadgen::rundir::merge;
use quorate_report::{PAGE_FILE, RunData, run_page};

use super::{BenchArgs, finish};
use crate::build_info;
use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// Merges them, writes the run directory and prints the results.
///
/// # Errors
/// If they are not all parts of one load, or a file refuses.
pub fn run(args: &BenchArgs, json: bool) -> Result<Exit, Failure> {
    let mut merged = merge(&args.merge).map_err(|e| Failure::setup(format_args!("--merge: {e}")))?;
    let directory = super::run_directory(args.out.as_deref(), SystemClock::new().wall_ns())?;
    merged.write_intervals(&directory).map_err(Failure::setup)?;
    merged.record.command_line = build_info::command_line();
    directory.write_record(&merged.record).map_err(Failure::setup)?;
    let run = RunData::read(directory.path()).map_err(Failure::setup)?;
    directory.write(PAGE_FILE, run_page(&run).as_bytes()).map_err(Failure::setup)?;
    if json {
        stdout::bytes(merged.record.to_json().as_bytes())?;
    } else {
        say(format_args!("{} parts put together", args.merge.len()));
        finish::figures(&merged.record)?;
        finish::places(&merged.record, &directory)?;
    }
    Ok(if merged.record.interrupted { Exit::Unknown } else { Exit::Held })
}
