//! What a bench leaves behind: the files of its run directory, and what is printed.

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal as _;
use std::sync::Arc;

use quorate_chaos::expect::{PropertyVerdict, fault_classes, weigh};
use quorate_chaos::fault::{FaultEvent, Plan, PlannedFault};
use quorate_chaos::run::faults_text;
use quorate_check::history::History;
use quorate_check::{Kind, Options, Report, Verdict, check};
use quorate_cluster::config::StoreDefinition;
use quorate_loadgen::rundir::IntervalsLost;
use quorate_loadgen::search::{Ended, SearchRecord};
use quorate_loadgen::trust::MachineInfo;
use quorate_loadgen::windows::WindowResults;
use quorate_loadgen::{LoadPlan, RunDirectory, RunOutcome, RunRecord, Trust};
use quorate_report::{PAGE_FILE, RunData, operations_table, run_page, search_table, windows_table};
use serde_json::Value;

use super::args::Route;
use super::history::Recording;
use super::store::Wanted;
use crate::build_info;
use crate::cmd::check::{details, exit_of};
use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// Violations of one kind that `verdict.json` lists; all are counted.
const LISTED_MAX: usize = 100;

/// A bench that has measured.
pub struct Finished {
    /// What came of it.
    pub outcome: RunOutcome,
    /// The load that was planned.
    pub plan: LoadPlan,
    /// The search that it was, if it was one; the outcome is then that of its best trial.
    pub search: Option<SearchRecord>,
    /// What the store says it is, with its version.
    pub target_version: Option<String>,
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
    /// Files that end before the run did.
    pub lost: Option<IntervalsLost>,
    /// What was to be done to the store.
    pub planned: Plan,
    /// What was done to it.
    pub faults: Vec<FaultEvent>,
    /// The time before, while and after that.
    pub windows: Vec<WindowResults>,
}

impl Finished {
    /// Writes all files, prints the results, and says how the command ends. What was measured is
    /// printed even if nothing of it can be written.
    ///
    /// # Errors
    /// If a file refuses, or one of those that grew during the run has.
    pub fn write_and_print(self, json: bool) -> Result<Exit, Failure> {
        let record = self.record();
        let written = self.write(&record);
        let verdict = written.as_ref().ok().and_then(Option::as_ref);
        if json {
            stdout::bytes(record.to_json().as_bytes())?;
        } else {
            self.print(&record, verdict)?;
        }
        let verdict = written?;
        if let Some(lost) = &self.lost {
            return Err(Failure::setup(format_args!("{}: {lost}", self.directory.path().display())));
        }
        Ok(if self.outcome.interrupted {
            Exit::Unknown
        } else if let Some(search) = &self.search {
            exit_of_search(search.ended, search.held_per_s.is_some())
        } else {
            verdict.map_or(Exit::Held, |judged| judged.exit())
        })
    }

    /// Writes everything that is not there yet, the most important first.
    fn write(&self, record: &RunRecord) -> Result<Option<Judged>, Failure> {
        self.directory.write_record(record).map_err(Failure::setup)?;
        if !self.faults.is_empty() {
            let text = faults_text(&self.faults);
            self.directory.write("faults.jsonl", text.as_bytes()).map_err(Failure::setup)?;
        }
        let verdict = self.judged()?;
        let run = RunData::read(self.directory.path()).map_err(Failure::setup)?;
        self.directory.write(PAGE_FILE, run_page(&run).as_bytes()).map_err(Failure::setup)?;
        Ok(verdict)
    }

    fn record(&self) -> RunRecord {
        let machine = MachineInfo::detect();
        let mut record =
            RunRecord::of("bench", "bench", &self.plan, &self.outcome, machine, self.started_wall_ns);
        record.command_line = build_info::command_line();
        record.revision = build_info::revision();
        record.versions = build_info::versions();
        record.versions.extend(self.target_version.clone().map(|version| ("target".to_owned(), version)));
        record.windows.clone_from(&self.windows);
        record.search.clone_from(&self.search);
        if let Value::Object(described) = self.wanted.described() {
            record.config.extend(described);
        }
        record.config.insert("route".into(), self.route.name().into());
        if !self.wanted.is_quorate()
            && let Some(Value::Object(plan)) = record.config.get_mut("plan")
        {
            // It has a protocol of its own.
            plan.remove("http");
        }
        let lost = self.lost.iter().map(ToString::to_string);
        let troubles: Vec<String> = self.troubles.iter().cloned().chain(lost).collect();
        if !troubles.is_empty() {
            record.config.insert("troubles".into(), troubles.into());
        }
        record
    }

    /// Writes the history and its verdict, if there is one.
    fn judged(&self) -> Result<Option<Judged>, Failure> {
        let Some(recording) = &self.recording else { return Ok(None) };
        let path = self.directory.file("history.jsonl.zst");
        recording.write(&path).map_err(|e| Failure::setup(format_args!("{}: {e}", path.display())))?;
        let history = History::read(&path).map_err(Failure::setup)?;
        // All of them: which promise one breaks is a matter of more than its kind.
        let options =
            Options { model: self.wanted.model(), violations_max: usize::MAX, ..Options::default() };
        let judged = Judged::of(check(&history, &options), self.wanted.store(), &self.done());
        let text = judged.to_json().map_err(Failure::setup)?;
        self.directory.write("verdict.json", text.as_bytes()).map_err(Failure::setup)?;
        Ok(Some(judged))
    }

    /// The faults that were begun.
    fn done(&self) -> Plan {
        let is_done = |fault: &&PlannedFault| self.faults.iter().any(|event| event.fault == fault.fault);
        Plan { faults: self.planned.faults.iter().filter(is_done).cloned().collect() }
    }

    fn print(&self, record: &RunRecord, verdict: Option<&Judged>) -> Result<(), Failure> {
        if self.outcome.load.as_ref().is_some_and(|load| load.given_up) {
            say("loading was given up: the store acknowledges nothing any more; is it still there?");
        }
        if let Some(load) = record.load.as_ref().filter(|load| load.loaded < load.keys) {
            let example =
                load.first_error.as_deref().map(|e| format!("; first error: {e}")).unwrap_or_default();
            say(format_args!("warning: {} of {} keys were loaded{example}", load.loaded, load.keys));
        }
        figures(record)?;
        if let Some(judged) = verdict {
            let report = &judged.report;
            let model = report.model.map_or("", quorate_check::Model::name);
            stdout::line(format_args!(
                "checked: {} ({model}, {} operations on {} keys)",
                report.verdict, report.operations, report.keys
            ))?;
            for line in details(report).into_iter().chain(judged.promises()) {
                stdout::line(format_args!("  {line}"))?;
            }
        }
        places(record, &self.directory)
    }
}

/// Prints what was measured, and how far it can be trusted.
///
/// # Errors
/// If standard output is closed.
///
/// # Panics
/// Never: a record is plain data.
pub fn figures(record: &RunRecord) -> Result<(), Failure> {
    let json = serde_json::to_value(record).expect("a record is plain data");
    let run = RunData { run: json, ..RunData::default() };
    if let Some(target) = record.versions.get("target") {
        stdout::line(format_args!("measured: {target}"))?;
    }
    match &record.results {
        Some(results) => {
            let (rows, all) = (run.operations(), run.all_however_ended());
            stdout::line(operations_table(&rows, &all, colours()))?;
            stdout::line("latency in ms; response from the intended slot, svc (service) from sending")?;
            if let Some(connections) = shared_connections(record) {
                stdout::line(connections)?;
            }
            if all.iter().any(|all| all.timeouts > 0) {
                stdout::line(
                    "all ended: whatever became of them; >= where some were given up at their deadline",
                )?;
            }
            let offered =
                record.offered_per_s.map(|rate| format!(" of {rate:.1} offered")).unwrap_or_default();
            // Who is refused at once is answered too.
            let ok = if results.ok_per_s < 0.999 * results.achieved_per_s {
                format!(", {:.1}/s of them ok", results.ok_per_s)
            } else {
                String::new()
            };
            stdout::line(format_args!("answered {:.1}/s{offered}{ok}", results.achieved_per_s))?;
            for line in run.errors() {
                stdout::line(format_args!("errors of {line}"))?;
            }
            if let Some(error) = &results.first_error {
                say(format_args!("first error: {error}"));
            }
        }
        None if record.search.is_some() => {}
        None => stdout::line("nothing was measured")?,
    }
    if let Some(search) = &record.search {
        stdout::line(search_table(&run.trials(), colours()))?;
        stdout::line(
            "response latency in ms of all operations, trial by trial; any other table here is of the",
        )?;
        stdout::line("last trial at the highest rate that was held")?;
        stdout::line(search.said())?;
    }
    let windows = run.windows();
    if !windows.is_empty() {
        stdout::line(windows_table(&windows, colours()))?;
        stdout::line("response latency in ms of all operations; ratios to the p99 of the first line")?;
    }
    if let Some(trust) = &record.trust {
        // Offered and answered stand above.
        let facts: Vec<String> =
            run.generator().iter().skip(2).map(|(name, value)| format!("{name} {value}")).collect();
        stdout::line(facts.join("; "))?;
        stdout::line(trusted(trust))?;
    }
    Ok(())
}

/// Prints where the files are.
///
/// # Errors
/// If standard output is closed.
pub fn places(record: &RunRecord, directory: &RunDirectory) -> Result<(), Failure> {
    if record.interrupted {
        stdout::line("interrupted: these results are partial")?;
    }
    let path = directory.path();
    let shown = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    stdout::line(format_args!("run: {}", shown.display()))?;
    stdout::line(format_args!("report: {}", shown.join(PAGE_FILE).display()))
}

/// What the checkers found, held against what the store had promised.
struct Judged {
    report: Report,
    /// Every property, if it is known what store it was.
    properties: Vec<PropertyVerdict>,
    store: String,
}

impl Judged {
    /// `done` are the faults that the store had to bear.
    fn of(mut report: Report, store: Option<&StoreDefinition>, done: &Plan) -> Self {
        let properties = store.map(|store| weigh(store, &fault_classes(done, store), &report.violations));
        let mut listed: BTreeMap<Kind, usize> = BTreeMap::new();
        report.violations.retain(|violation| {
            let count = listed.entry(violation.kind).or_default();
            *count += 1;
            *count <= LISTED_MAX
        });
        let store = store.map(|store| store.name.clone()).unwrap_or_default();
        Self { report, properties: properties.unwrap_or_default(), store }
    }

    /// As of a chaos run: a broken promise is a violation, what was never promised is none. Of a store
    /// that nobody knows, whatever was found is.
    fn exit(&self) -> Exit {
        match self.report.verdict {
            Verdict::Invalid if self.properties.is_empty() => Exit::Violated,
            Verdict::Valid | Verdict::Invalid => {
                let is_broken = self.properties.iter().any(PropertyVerdict::is_violated);
                if is_broken { Exit::Violated } else { Exit::Held }
            }
            undecided @ (Verdict::Unknown | Verdict::Error) => exit_of(undecided),
        }
    }

    /// Says of what was broken whether the store had promised it.
    fn promises(&self) -> Vec<String> {
        let line = |fared: &PropertyVerdict| {
            let promised = if fared.is_violated() { "promised, and broken" } else { "not promised" };
            format!("{}: {promised} by store `{}`", fared.property, self.store)
        };
        self.properties.iter().filter(|fared| fared.broken > 0).map(line).collect()
    }

    /// The text of `verdict.json`: the report, and what had been promised.
    fn to_json(&self) -> serde_json::Result<String> {
        let mut value = serde_json::to_value(&self.report)?;
        if let (Value::Object(fields), false) = (&mut value, self.properties.is_empty()) {
            fields.insert("properties".into(), serde_json::to_value(&self.properties)?);
        }
        Ok(serde_json::to_string_pretty(&value)? + "\n")
    }
}

/// How operations shared connections, where they may have (HTTP/2).
fn shared_connections(record: &RunRecord) -> Option<String> {
    let plan = record.config.get("plan")?;
    let [http, connections, streams] = ["http", "connections", "streams"].map(|name| plan[name].as_u64());
    let each = |streams| match streams {
        1 => "one operation at a time".to_owned(),
        more => format!("up to {more} operations at once"),
    };
    let carrying = match record.load_loop.as_deref() {
        Some("closed") => "a connection for each client".to_owned(),
        _ => format!("up to {} connections to each node, {} on each", connections?, each(streams?)),
    };
    (http? == 2).then(|| format!("HTTP/2: {carrying}"))
}

fn trusted(trust: &Trust) -> String {
    let reasons =
        if trust.reasons.is_empty() { String::new() } else { format!(": {}", trust.reasons.join("; ")) };
    format!("trust: {}{reasons}", trust.verdict)
}

/// A search that found a rate has measured, however it ended; an objective that even the lowest rate missed
/// is a bar that was missed.
fn exit_of_search(ended: Ended, held_any: bool) -> Exit {
    match ended {
        Ended::Interrupted => Exit::Unknown,
        Ended::NothingHeld => Exit::Violated,
        Ended::Found | Ended::NothingMissed | Ended::NotTrusted | Ended::TrialsExhausted => {
            if held_any {
                Exit::Held
            } else {
                Exit::Unknown
            }
        }
    }
}

/// Whether standard output is for eyes that want colours.
pub fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_check::Violation;

    use super::*;
    use crate::cmd::bench::faults::{self, FaultFlag};

    /// What a checker would report of a history that shows `kind` once.
    fn report(kind: Kind) -> Report {
        let violation = Violation {
            kind,
            guarantee: None,
            key: "k1".into(),
            operations: vec![3],
            says: "v7 is gone".into(),
            lasting: None,
        };
        let history = History::from_operations(&[]).unwrap();
        Report {
            verdict: Verdict::Invalid,
            violations: vec![violation],
            ..check(&history, &Options::default())
        }
    }

    fn judged(kind: Kind, profile: Option<&str>, flags: &[&str]) -> (Exit, Vec<String>) {
        let flags: Vec<FaultFlag> = flags.iter().map(|flag| flag.parse().unwrap()).collect();
        let store = profile.map(|profile| StoreDefinition::profile(profile).unwrap());
        let judged = Judged::of(report(kind), store.as_ref(), &faults::plan(&flags));
        (judged.exit(), judged.promises())
    }

    #[test]
    fn a_search_that_found_nothing_missed_its_bar_unless_it_could_not_tell() {
        assert_eq!(exit_of_search(Ended::Found, true), Exit::Held);
        assert_eq!(
            exit_of_search(Ended::NotTrusted, true),
            Exit::Held,
            "a bench that measured, whatever its trust"
        );
        assert_eq!(exit_of_search(Ended::NotTrusted, false), Exit::Unknown);
        assert_eq!(exit_of_search(Ended::NothingHeld, false), Exit::Violated);
        assert_eq!(exit_of_search(Ended::Interrupted, true), Exit::Unknown);
    }

    #[test]
    fn a_broken_promise_is_a_violation_and_what_was_never_promised_is_none() {
        let (kill, wipes) = ("kill:n1@1s+1s", ["wipe:n1@1s+1s", "wipe:n2@5s+1s"]);
        for (kind, profile, flags, exit, word) in [
            (Kind::Lost, "dynamo", &[][..], Exit::Violated, "promised, and broken"),
            (Kind::Lost, "quorum", &[kill], Exit::Violated, "promised, and broken"),
            (Kind::Lost, "quorum", &wipes[..1], Exit::Violated, "promised, and broken"),
            (Kind::Lost, "quorum", &wipes, Exit::Held, "not promised"),
            (Kind::Lost, "lww", &[], Exit::Held, "not promised"),
            (Kind::Stale, "dynamo", &[], Exit::Violated, "promised, and broken"),
            (Kind::Stale, "always-write", &[], Exit::Held, "not promised"),
            (Kind::NotLinearizable, "dynamo", &[], Exit::Held, "not promised"),
        ] {
            let (ended, lines) = judged(kind, Some(profile), flags);
            assert_eq!((ended, lines.len()), (exit, 1), "{kind:?} {profile} {flags:?}: {lines:?}");
            assert!(lines[0].contains(word) && lines[0].contains(profile), "{lines:?}");
        }
        assert_eq!(judged(Kind::Lost, None, &[]), (Exit::Violated, vec![]), "a store that nobody knows");
    }
}
