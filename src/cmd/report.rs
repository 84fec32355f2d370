//! `quorate report`: tables and report.html of runs.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use quorate_report::data::operations;
use quorate_report::{
    Campaign, PAGE_FILE, ReadError, RunData, campaign_page, campaign_table, operations_table, run_page,
    verdict_lines,
};
use serde_json::json;

use crate::cmd::bench::colours;
use crate::outcome::{Exit, Failure};
use crate::stdout;

/// Print the tables of runs and write their report.html anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate report results/latest
  quorate report results/chaos/* --no-write")]
pub struct ReportArgs {
    /// Run directories, or campaigns.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Print only; leave the directories as they are.
    #[arg(long)]
    no_write: bool,
}

/// Runs it.
///
/// # Errors
/// If a directory is no run, or a file in it is damaged.
pub fn run(args: ReportArgs, json: bool) -> Result<Exit, Failure> {
    for dir in &args.runs {
        match RunData::read(dir) {
            Ok(run) => one(&run, args.no_write, json)?,
            Err(ReadError::NotARun(_)) => {
                let campaign = Campaign::read(dir).map_err(Failure::setup)?;
                let campaign = campaign.ok_or_else(|| Failure::setup(ReadError::NotARun(dir.clone())))?;
                many(&campaign, args.no_write, json)?;
            }
            Err(e) => return Err(Failure::setup(e)),
        }
    }
    Ok(Exit::Held)
}

fn one(run: &RunData, no_write: bool, json: bool) -> Result<(), Failure> {
    let page = write(&run.dir, &run_page(run), no_write)?;
    let rows = run.latencies.as_ref().map(operations).unwrap_or_default();
    if json {
        return stdout::line(json!({ "run": run.dir, "report": page, "record": run.run }));
    }
    stdout::line(format_args!("{}", run.dir.display()))?;
    if !rows.is_empty() {
        stdout::line(operations_table(&rows, &run.all_however_ended(), colours()))?;
    }
    for line in verdict_lines(&run.verdicts) {
        stdout::line(line)?;
    }
    said(page.as_deref())
}

fn many(campaign: &Campaign, no_write: bool, json: bool) -> Result<(), Failure> {
    let page = write(&campaign.dir, &campaign_page(campaign), no_write)?;
    if json {
        let runs: Vec<_> =
            campaign.runs.iter().map(|run| json!({ "run": run.path, "verdicts": run.verdicts })).collect();
        return stdout::line(json!({ "campaign": campaign.dir, "report": page, "runs": runs }));
    }
    stdout::line(format_args!("{}", campaign.dir.display()))?;
    stdout::line(campaign_table(campaign, colours()))?;
    said(page.as_deref())
}

fn said(page: Option<&Path>) -> Result<(), Failure> {
    page.map_or(Ok(()), |page| stdout::line(format_args!("report: {}", page.display())))
}

fn write(dir: &Path, page: &str, no_write: bool) -> Result<Option<PathBuf>, Failure> {
    if no_write {
        return Ok(None);
    }
    let path = dir.join(PAGE_FILE);
    fs::write(&path, page)
        .map_err(|e| Failure::setup(format_args!("{}: cannot write: {e}", path.display())))?;
    Ok(Some(path))
}
