//! One call from a history to a report: picks the model and the methods, runs every checker that
//! applies, and says what could not be judged.

mod causal;
mod parts;
mod register;
mod verdict;

use std::path::Path;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::history::{Format, Function, History, Id, Value};
use crate::linearizable::rounds::Budget;
use crate::linearizable::{NOT_FOUND, shrink};
use crate::report::{Model, Report, Verdict};

/// How to check.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the store should behave like; guessed from the history if none.
    pub model: Option<Model>,
    /// What every key holds before the first write. If none, what the source's format says: 0 for
    /// registers in EDN, the empty string for strings in EDN and kv logs, else not found.
    pub initial: Option<Value>,
    /// Gives up with `unknown` after so long, whatever the model. Without it the verdict depends on the
    /// history alone.
    pub timeout: Option<Duration>,
    /// Violations to list of each kind; all are counted.
    pub violations_max: usize,
    /// Configurations that the general search may remember at one time, at most 68 bytes each.
    pub search_configurations_max: usize,
    /// Steps of the search to spend on making the witness of a contradiction smaller that it found.
    pub witness_steps_max: u64,
    /// Whether a valid verdict is to carry an order that was verified.
    pub certify: bool,
    /// Whether to measure how far from linearizable a history is.
    pub distances: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            model: None,
            initial: None,
            timeout: None,
            violations_max: 100,
            search_configurations_max: 4_000_000,
            witness_steps_max: shrink::STEPS,
            certify: true,
            distances: true,
        }
    }
}

/// Reads and checks a file or run directory; what cannot be read gives the verdict `error`.
#[must_use]
pub fn check_path(path: &Path, options: &Options) -> Report {
    let mut report = match History::read(path) {
        Ok(history) => check(&history, options),
        Err(error) => Report::error(error),
    };
    report.file = Some(path.display().to_string());
    report
}

/// The model that the history looks like: what its functions say (`txn`, `acquire`, `add`, `append`),
/// else `siblings` if any get returned several values or any write carried a context, `cas-register` if
/// there is a cas, else `register`.
#[must_use]
pub fn guess_model(history: &History) -> Model {
    if let Some(model) = history.conventions().model {
        return model;
    }
    let mut has_cas = false;
    for entry in history.entries() {
        match entry.f() {
            Function::Txn => return Model::MultiRegister,
            Function::Acquire | Function::Release => return Model::Mutex,
            Function::Add => return Model::Set,
            Function::Append => return Model::Kv,
            Function::Cas => has_cas = true,
            Function::Get | Function::Put | Function::Delete => {}
        }
    }
    if history.has_siblings() {
        Model::Siblings
    } else if has_cas {
        Model::CasRegister
    } else {
        Model::Register
    }
}

/// What every key holds before the first write, if the caller does not say so: a matter of the format.
#[must_use]
pub fn initial_of(format: Format, model: Model) -> Option<Value> {
    match (format, model) {
        (Format::Edn | Format::KvLog, Model::Kv) => Some(Value::from("")),
        (Format::Edn, Model::Register | Model::CasRegister | Model::MultiRegister) => Some(Value::Integer(0)),
        _ => None,
    }
}

/// Checks a history.
///
/// A store that keeps concurrent writes side by side, and lost one of two that had read the same value:
///
/// ```
/// use quorate_check::history::History;
/// use quorate_check::{Kind, Model, Options, Verdict, check};
///
/// let lines = r#"
/// {"process":1,"f":"put","key":"k","value":"a","invoke_ns":10,"return_ns":20,"outcome":"ok"}
/// {"process":1,"f":"put","key":"k","value":"b","context":["a"],"invoke_ns":30,"return_ns":40,"outcome":"ok"}
/// {"process":2,"f":"put","key":"k","value":"c","context":["a"],"invoke_ns":30,"return_ns":45,"outcome":"ok"}
/// {"process":3,"f":"get","key":"k","values":["c"],"invoke_ns":50,"return_ns":60,"outcome":"ok"}
/// "#;
/// let history = History::from_jsonl(lines.as_bytes(), "example.jsonl")?;
/// let report = check(&history, &Options { model: Some(Model::Siblings), ..Options::default() });
/// assert_eq!(report.verdict, Verdict::Invalid);
/// let lost = report.violations.iter().find(|violation| violation.kind == Kind::LostUpdate);
/// assert_eq!(lost.map(|lost| lost.operations.as_slice()), Some([1, 2, 3].as_slice()));
/// # Ok::<(), quorate_check::history::HistoryError>(())
/// ```
#[must_use]
pub fn check(history: &History, options: &Options) -> Report {
    let deadline = Deadline::after(options.timeout);
    let model = options.model.unwrap_or_else(|| guess_model(history));
    let mut report = Report {
        model: Some(model),
        operations: history.entries().len(),
        keys: history.keys(),
        ..Report::empty()
    };
    if history.entries().is_empty() {
        report.algorithm = "none".to_owned();
        report.warnings.push("the history has no client operations".to_owned());
        return report;
    }
    if let Some(other) = unsupported(history, model) {
        report.algorithm = "none".to_owned();
        report.verdict = Verdict::Error;
        report.error =
            Some(format!("model {}: the history has a {other}, which it does not know", model.name()));
        return report;
    }
    let options = Options {
        initial: options.initial.clone().or_else(|| initial_of(history.conventions().format, model)),
        ..options.clone()
    };
    match model {
        Model::Siblings => causal::check_siblings(history, &options, &deadline, report),
        Model::Register | Model::CasRegister => register::check(history, &options, model, &deadline, report),
        Model::Mutex => parts::check_mutex(history, &options, &deadline, report),
        Model::Kv => parts::check_kv(history, &options, &deadline, report),
        Model::MultiRegister => parts::check_multi_register(history, &options, &deadline, report),
        Model::Set => parts::check_set(history, &options, &deadline, report),
    }
}

fn unsupported(history: &History, model: Model) -> Option<Function> {
    let knows = |f: Function| match model {
        Model::Register | Model::CasRegister | Model::Siblings => {
            matches!(f, Function::Get | Function::Put | Function::Delete | Function::Cas)
        }
        Model::MultiRegister => f == Function::Txn,
        Model::Kv => matches!(f, Function::Get | Function::Put | Function::Append | Function::Delete),
        Model::Mutex => matches!(f, Function::Acquire | Function::Release),
        Model::Set => matches!(f, Function::Get | Function::Add),
    };
    history.entries().iter().map(|entry| entry.f()).find(|&f| !knows(f))
}

/// The number of the initial state: "not found", a value of the history, or one that it never mentions.
fn initial_state(history: &History, options: &Options) -> Id {
    match &options.initial {
        None => NOT_FOUND,
        Some(value) => history
            .find_value(value)
            .unwrap_or_else(|| Id::try_from(history.value_count()).unwrap_or(NOT_FOUND)),
    }
}

fn initial_value(history: &History, options: &Options) -> Option<Id> {
    options.initial.as_ref().and_then(|value| history.find_value(value))
}

fn budget(options: &Options, deadline: &Deadline) -> Budget {
    Budget {
        configurations: options.search_configurations_max,
        deadline: deadline.clone(),
        witness_steps: options.witness_steps_max,
    }
}
