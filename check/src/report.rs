//! What a checker says: a verdict, the violations with the operations that prove them, and what could
//! not be judged. Serialised, it is one line of `quorate check --json` and the `verdict.json` of a run.
//!
//! Nothing here depends on the clock: the same history gives the same bytes. Only `elapsed_ms` would,
//! and it is left to the caller.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::Value;

/// The answer to "did it hold?". Ordered by how much it outweighs the others when several are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was judged held.
    #[default]
    Valid,
    /// It could not be decided within the budget, or something needed for it is missing.
    Unknown,
    /// Something was violated; the violations prove it.
    Invalid,
    /// The history could not be used at all.
    Error,
}

impl Verdict {
    /// The verdict over two histories, or two properties of one: error, invalid, unknown, valid.
    #[must_use]
    pub fn merge(self, other: Verdict) -> Verdict {
        self.max(other)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Verdict::Valid => "valid",
            Verdict::Unknown => "unknown",
            Verdict::Invalid => "invalid",
            Verdict::Error => "error",
        })
    }
}

/// What the store is supposed to behave like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Each key is one register: get, put, delete.
    Register,
    /// A register with compare-and-set.
    CasRegister,
    /// Each key holds the set of values that no later write has read: Dynamo's siblings.
    Siblings,
}

impl Model {
    /// The name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Model::Register => "register",
            Model::CasRegister => "cas-register",
            Model::Siblings => "siblings",
        }
    }
}

impl std::str::FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Model::Register, Model::CasRegister, Model::Siblings]
            .into_iter()
            .find(|model| model.name() == name)
            .ok_or_else(|| format!("unknown model {name:?}: one of register, cas-register, siblings"))
    }
}

/// What was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No order of the operations explains what the gets returned.
    NotLinearizable,
    /// A get missed an acknowledged write that was over before it began.
    Stale,
    /// An acknowledged write is gone and nothing that read it took its place.
    Lost,
    /// Of two writes that read the same state, one silently replaced the other.
    LostUpdate,
    /// A value is back although a write that had read it was acknowledged.
    Resurrected,
    /// A get returned what nobody wrote, or not there, or not yet.
    Phantom,
    /// Two values are shown as concurrent although one's writer had read the other.
    FalseSibling,
    /// After healing and rest, two replicas still differ.
    NotConverged,
    /// What a sequence of operations was promised, in one session or across clients.
    Session,
    /// An operation that was owed an answer did not get one.
    Unavailable,
}

impl Kind {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::NotLinearizable => "not-linearizable",
            Kind::Stale => "stale",
            Kind::Lost => "lost",
            Kind::LostUpdate => "lost-update",
            Kind::Resurrected => "resurrected",
            Kind::Phantom => "phantom",
            Kind::FalseSibling => "false-sibling",
            Kind::NotConverged => "not-converged",
            Kind::Session => "session",
            Kind::Unavailable => "unavailable",
        }
    }

    /// Whether this kind makes a history invalid under the model, or is only reported beside it.
    #[must_use]
    pub fn decides(self, model: Model) -> bool {
        match model {
            Model::Register | Model::CasRegister => matches!(self, Kind::NotLinearizable | Kind::Phantom),
            Model::Siblings => true,
        }
    }
}

/// Which promise about sequences of operations was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// A later get, by any client, misses what an earlier get had already shown.
    ReadsGoBack,
}

/// One thing that went wrong, and the operations that prove it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// What was violated.
    pub kind: Kind,
    /// For a session violation, which promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<Guarantee>,
    /// The key it is about.
    pub key: Value,
    /// The operations that prove it, numbered from 0 by invocation.
    pub operations: Vec<usize>,
    /// The story in a sentence.
    pub says: String,
    /// For a lost update in a history with final reads: whether the update is still missing at the end
    /// (true), or was only not seen for a while (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting: Option<bool>,
}

/// The first operation whose answer leaves no possible order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstImpossible {
    /// Its position among the client operation maps of the file, from 0.
    pub event: usize,
    /// Its number by invocation, from 0.
    pub operation: usize,
}

/// How far from the newest state the gets were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Staleness {
    /// The smallest time by which all gets must be allowed to lag for the history to be linearizable
    /// (delta-atomicity), in milliseconds. None if it was not computed.
    pub delta_ms_max: Option<f64>,
    /// At least so many of the latest values must be allowed to a get; 1 is linearizable.
    pub k_at_least: Option<u64>,
    /// The fraction of successful gets that are stale for certain.
    pub stale_reads: f64,
}

/// Something that the history or the budget did not allow to judge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NotJudged {
    /// The property.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// All that was found out about one history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The file, as the caller named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The answer.
    pub verdict: Verdict,
    /// What it was judged against; none if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The methods that were used, joined by `+`.
    pub algorithm: String,
    /// Client operations in the history.
    pub operations: usize,
    /// Different keys in it.
    pub keys: usize,
    /// How long the check took, if the caller wants to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<f64>,
    /// What went wrong, at most [`crate::Options::violations_max`] of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// How many violations of each kind there are in all, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub violation_counts: BTreeMap<String, u64>,
    /// The smallest set of operations found that cannot be ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Vec<usize>>,
    /// The first operation whose answer leaves no possible order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_impossible: Option<FirstImpossible>,
    /// How far from the newest state the gets were; needs unique writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staleness: Option<Staleness>,
    /// What could not be judged, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_judged: Vec<NotJudged>,
    /// What a reader should know about the history.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why the history could not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Report {
    /// The report on a history that could not be read or used.
    #[must_use]
    pub fn error(message: impl fmt::Display) -> Self {
        Report { verdict: Verdict::Error, error: Some(message.to_string()), ..Report::empty() }
    }

    pub(crate) fn empty() -> Self {
        Report {
            file: None,
            verdict: Verdict::Valid,
            model: None,
            algorithm: String::new(),
            operations: 0,
            keys: 0,
            elapsed_ms: None,
            violations: Vec::new(),
            violation_counts: BTreeMap::new(),
            witness: None,
            first_impossible: None,
            staleness: None,
            not_judged: Vec::new(),
            warnings: Vec::new(),
            error: None,
        }
    }

    /// How many violations of a kind there are, listed or not.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.violation_counts.get(kind.name()).copied().unwrap_or(0)
    }

    /// Takes in violations that were found elsewhere ([`crate::availability::unavailable`]): they count,
    /// and decide the verdict as their kind does under the report's model.
    pub fn include(&mut self, violations: Vec<Violation>) {
        for violation in violations {
            if self.model.is_none_or(|model| violation.kind.decides(model)) {
                self.verdict = self.verdict.merge(Verdict::Invalid);
            }
            *self.violation_counts.entry(violation.kind.name().to_owned()).or_default() += 1;
            self.violations.push(violation);
        }
    }

    pub(crate) fn not_judged(&mut self, what: &str, why: impl Into<String>) {
        let entry = NotJudged { what: what.to_owned(), why: why.into() };
        if !self.not_judged.contains(&entry) {
            self.not_judged.push(entry);
        }
    }
}

/// Collects violations: counts all, keeps some of each kind. What is not kept is never put into words.
#[derive(Debug)]
pub(crate) struct Findings {
    kept_max: u64,
    counts: BTreeMap<Kind, u64>,
    kept: Vec<Violation>,
}

impl Findings {
    pub(crate) fn new(kept_max: usize) -> Self {
        Findings { kept_max: kept_max as u64, counts: BTreeMap::new(), kept: Vec::new() }
    }

    pub(crate) fn add(&mut self, kind: Kind, violation: impl FnOnce() -> Violation) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= self.kept_max {
            self.kept.push(violation());
        }
    }

    /// Moves everything into the report, in order of kind and then of operations.
    pub(crate) fn into_report(mut self, report: &mut Report, model: Model) {
        self.kept.sort_by(|a, b| (a.kind, &a.operations).cmp(&(b.kind, &b.operations)));
        for (kind, &count) in &self.counts {
            if kind.decides(model) {
                report.verdict = report.verdict.merge(Verdict::Invalid);
            }
            if count > self.kept_max {
                report.warnings.push(format!("{}: {} of {count} are listed", kind.name(), self.kept_max));
            }
            report.violation_counts.insert(kind.name().to_owned(), count);
        }
        report.violations = self.kept;
    }
}
