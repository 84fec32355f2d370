//! What a bench leaves behind: the files of its run directory, and what is printed.

use std::fs;
use std::io::IsTerminal as _;
use std::sync::Arc;

use quorate_chaos::expect::{Promise, Property, promise};
use quorate_chaos::fault::FaultEvent;
use quorate_chaos::run::faults_text;
use quorate_check::history::History;
use quorate_check::{Options, Report, check};
use quorate_loadgen::trust::MachineInfo;
use quorate_loadgen::windows::WindowResults;
use quorate_loadgen::{LoadPlan, RunDirectory, RunOutcome, RunRecord, Trust};
use quorate_report::{PAGE_FILE, RunData, operations_table, run_page, windows_table};
use serde_json::Value;

use super::args::Route;
use super::history::Recording;
use super::store::Wanted;
use crate::build_info;
use crate::cmd::check::{details, exit_of};
use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// A bench that has measured.
pub struct Finished {
    /// What came of it.
    pub outcome: RunOutcome,
    /// The load that was planned.
    pub plan: LoadPlan,
    /// Which nodes took the operations.
    pub route: Route,
    /// Where everything goes.
    pub directory: RunDirectory,
    /// What was measured.
    pub wanted: Wanted,
    /// What clients saw, if it was recorded.
    pub recording: Option<Arc<Recording>>,
    /// When it began, in nanoseconds since the Unix epoch.
    pub started_wall_ns: u64,
    /// What a reader of the results should know.
    pub troubles: Vec<String>,
    /// What was done to the store.
    pub faults: Vec<FaultEvent>,
    /// The time before, while and after that.
    pub windows: Vec<WindowResults>,
}

impl Finished {
    /// Writes all files, prints the results, and says how the command ends.
    ///
    /// # Errors
    /// If a file refuses.
    pub fn write_and_print(self, json: bool) -> Result<Exit, Failure> {
        let record = self.record();
        self.directory.write_record(&record).map_err(Failure::setup)?;
        if !self.faults.is_empty() {
            self.directory
                .write("faults.jsonl", faults_text(&self.faults).as_bytes())
                .map_err(Failure::setup)?;
        }
        let verdict = self.judged()?;
        let run = RunData::read(self.directory.path()).map_err(Failure::setup)?;
        self.directory.write(PAGE_FILE, run_page(&run).as_bytes()).map_err(Failure::setup)?;
        if json {
            stdout::bytes(record.to_json().as_bytes())?;
        } else {
            self.print(&record, &run, verdict.as_ref())?;
        }
        Ok(if self.outcome.interrupted {
            Exit::Unknown
        } else {
            verdict.map_or(Exit::Held, |report| exit_of(report.verdict))
        })
    }

    fn record(&self) -> RunRecord {
        let machine = MachineInfo::detect();
        let mut record =
            RunRecord::of("bench", "bench", &self.plan, &self.outcome, machine, self.started_wall_ns);
        record.command_line = build_info::command_line();
        record.revision = build_info::revision();
        record.versions = build_info::versions();
        record.windows.clone_from(&self.windows);
        if let Value::Object(described) = self.wanted.described() {
            record.config.extend(described);
        }
        record.config.insert("route".into(), self.route.name().into());
        if !self.troubles.is_empty() {
            record.config.insert("troubles".into(), self.troubles.clone().into());
        }
        record
    }

    /// Writes the history and its verdict, if there is one.
    fn judged(&self) -> Result<Option<Report>, Failure> {
        let Some(recording) = &self.recording else { return Ok(None) };
        let path = self.directory.file("history.jsonl.zst");
        recording.write(&path).map_err(|e| Failure::setup(format_args!("{}: {e}", path.display())))?;
        let history = History::read(&path).map_err(Failure::setup)?;
        let report = check(&history, &Options { model: self.wanted.model(), ..Options::default() });
        let mut text = serde_json::to_string_pretty(&report).map_err(Failure::setup)?;
        text.push('\n');
        self.directory.write("verdict.json", text.as_bytes()).map_err(Failure::setup)?;
        Ok(Some(report))
    }

    /// Says of what was broken whether the store had promised it on a calm day.
    fn promised(&self, report: &Report) -> Vec<String> {
        let Wanted::Own { store, .. } = &self.wanted else { return Vec::new() };
        let broken = |property: &&Property| report.violations.iter().any(|v| property.is_broken_by(v));
        let line = |property: &Property| {
            let promised = match promise(store, *property, &[]) {
                Promise::Holds => "promised, and broken",
                Promise::May | Promise::Shows | Promise::None => "not promised",
            };
            format!("{property}: {promised} by store `{}`", store.name)
        };
        Property::ALL.iter().filter(broken).map(line).collect()
    }

    fn print(&self, record: &RunRecord, run: &RunData, verdict: Option<&Report>) -> Result<(), Failure> {
        if let Some(load) = record.load.as_ref().filter(|load| load.loaded < load.keys) {
            let example =
                load.first_error.as_deref().map(|e| format!("; first error: {e}")).unwrap_or_default();
            say(format_args!("warning: {} of {} keys were loaded{example}", load.loaded, load.keys));
        }
        match (&record.results, &run.latencies) {
            (Some(results), Some(latencies)) => {
                let rows = quorate_report::data::operations(latencies);
                stdout::line(operations_table(&rows, colours()))?;
                stdout::line("latency in ms; response from the intended slot, svc (service) from sending")?;
                let offered =
                    record.offered_per_s.map(|rate| format!(" of {rate:.1} offered")).unwrap_or_default();
                stdout::line(format_args!("answered {:.1}/s{offered}", results.achieved_per_s))?;
                if let Some(error) = &results.first_error {
                    say(format_args!("first error: {error}"));
                }
            }
            _ => stdout::line("nothing was measured")?,
        }
        let windows = run.windows();
        if !windows.is_empty() {
            stdout::line(windows_table(&windows, colours()))?;
            stdout::line("response latency in ms of all operations; ratios to the p99 of the first line")?;
        }
        if let Some(trust) = &record.trust {
            stdout::line(trusted(trust))?;
        }
        if let Some(report) = verdict {
            let model = report.model.map_or("", quorate_check::Model::name);
            stdout::line(format_args!(
                "checked: {} ({model}, {} operations on {} keys)",
                report.verdict, report.operations, report.keys
            ))?;
            for line in details(report).into_iter().chain(self.promised(report)) {
                stdout::line(format_args!("  {line}"))?;
            }
        }
        if record.interrupted {
            stdout::line("interrupted: these results are partial")?;
        }
        let path = self.directory.path();
        let shown = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        stdout::line(format_args!("run: {}", shown.display()))?;
        stdout::line(format_args!("report: {}", shown.join(PAGE_FILE).display()))
    }
}

fn trusted(trust: &Trust) -> String {
    let reasons =
        if trust.reasons.is_empty() { String::new() } else { format!(": {}", trust.reasons.join("; ")) };
    format!("trust: {}{reasons}", trust.verdict)
}

/// Whether standard output is for eyes that want colours.
pub fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
