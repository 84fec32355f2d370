//! What a checker says: a verdict, the violations with the operations that prove them, and what could
//! not be judged. Serialised, it is one line of `quorate check --json` and the `verdict.json` of a run.
//!
//! Nothing here depends on the clock: the same history gives the same bytes. Only `elapsed_ms` would,
//! and it is left to the caller.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
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
    /// Several registers that transactions read and write together.
    MultiRegister,
    /// A string a key: get, put, append.
    Kv,
    /// A lock: acquire, release.
    Mutex,
    /// A set a key that only grows: add, get.
    Set,
}

impl Model {
    /// All models.
    pub const ALL: [Model; 7] = [
        Model::Register,
        Model::CasRegister,
        Model::MultiRegister,
        Model::Kv,
        Model::Mutex,
        Model::Set,
        Model::Siblings,
    ];

    /// The name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Model::Register => "register",
            Model::CasRegister => "cas-register",
            Model::Siblings => "siblings",
            Model::MultiRegister => "multi-register",
            Model::Kv => "kv",
            Model::Mutex => "mutex",
            Model::Set => "set",
        }
    }
}

impl std::str::FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Model::ALL.into_iter().find(|model| model.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Model::ALL.iter().map(|model| model.name()).collect();
            format!("unknown model {name:?}: one of {}", names.join(", "))
        })
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
            Model::Siblings => true,
            Model::Register
            | Model::CasRegister
            | Model::MultiRegister
            | Model::Kv
            | Model::Mutex
            | Model::Set => matches!(self, Kind::NotLinearizable | Kind::Phantom),
        }
    }
}

/// Which promise about sequences of operations was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// A get misses what its own session had written.
    ReadYourWrites,
    /// A get misses what its own session had read.
    MonotonicReads,
    /// A get shows a write, but not the one before it of the same session.
    MonotonicWrites,
    /// A get shows a write, but not what its session had read before it wrote.
    WritesFollowReads,
    /// A later get, by any client, misses what an earlier get had already shown.
    ReadsGoBack,
}

impl Guarantee {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::ReadYourWrites => "read-your-writes",
            Guarantee::MonotonicReads => "monotonic-reads",
            Guarantee::MonotonicWrites => "monotonic-writes",
            Guarantee::WritesFollowReads => "writes-follow-reads",
            Guarantee::ReadsGoBack => "reads-go-back",
        }
    }
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

/// Quantiles of a quantity over all operations that have one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many have one.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half of them are at most this.
    pub p50: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// 999 of 1000 are at most this.
    pub p999: f64,
    /// All are at most this.
    pub max: f64,
}

impl Distribution {
    /// The quantiles of some numbers, each multiplied by `unit`; none of none. Reorders the numbers.
    #[must_use]
    pub fn of(numbers: &mut [u64], unit: f64) -> Option<Distribution> {
        Distribution::with_zeros(0, numbers, unit)
    }

    /// As [`Distribution::of`], with so many zeros beside the numbers.
    #[must_use]
    pub fn with_zeros(zeros: u64, numbers: &mut [u64], unit: f64) -> Option<Distribution> {
        let count = zeros + numbers.len() as u64;
        let last = count.checked_sub(1)?;
        let sum: u128 = numbers.iter().map(|&number| u128::from(number)).sum();
        let mut at = |share: f64| {
            let place = ((count as f64 * share).ceil() as u64).saturating_sub(1).min(last);
            match usize::try_from(place.checked_sub(zeros).unwrap_or(u64::MAX)) {
                Ok(place) if place < numbers.len() => *numbers.select_nth_unstable(place).1 as f64 * unit,
                _ => 0.0,
            }
        };
        let (p50, p99, p999, max) = (at(0.5), at(0.99), at(0.999), at(1.0));
        let mean = sum as f64 / count as f64 * unit;
        Some(Distribution { count, mean, p50, p99, p999, max })
    }
}

/// Gets that were called so long after the last acknowledged write before them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Visibility {
    /// Less than so many milliseconds after it, and no less than in the entry before; none is no bound.
    pub below_ms: Option<f64>,
    /// How many gets.
    pub reads: u64,
    /// How many of them returned that write or one that is not older for certain.
    pub fresh: u64,
}

/// How a set fared, element by element, as Jepsen's set-full checker counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SetReport {
    /// Elements that somebody tried to add.
    pub attempts: u64,
    /// Present in the end, as far as anyone saw.
    pub stable: u64,
    /// Known to be there once, and absent from the last get that could tell.
    pub lost: u64,
    /// Never seen for certain, present or absent.
    pub never_read: u64,
    /// Stable, but some get missed them after they were known.
    pub stale: u64,
    /// Gets that returned an element more than once.
    pub duplicated: u64,
    /// Elements that were read although nobody tried to add them.
    pub unexpected: u64,
    /// From known to stable, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_latency_ms: Option<Distribution>,
    /// From known to lost, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_latency_ms: Option<Distribution>,
}

/// How far from the newest state the gets were.
///
/// ```
/// use quorate_check::history::History;
/// use quorate_check::{Options, check};
///
/// // The get was called 15 microseconds after the put of v2 had returned, and still saw v1.
/// let lines = r#"
/// {"process":1,"f":"put","key":"k","value":"v1","invoke_ns":1000,"return_ns":2000,"outcome":"ok"}
/// {"process":1,"f":"put","key":"k","value":"v2","invoke_ns":3000,"return_ns":5000,"outcome":"ok"}
/// {"process":2,"f":"get","key":"k","values":["v1"],"invoke_ns":20000,"return_ns":21000,"outcome":"ok"}
/// "#;
/// let history = History::from_jsonl(lines.as_bytes(), "example.jsonl")?;
/// let staleness = check(&history, &Options::default()).staleness.expect("values are unique");
/// assert_eq!((staleness.delta_ms_max, staleness.k_at_least), (Some(0.015), Some(2)));
/// # Ok::<(), quorate_check::history::HistoryError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Staleness {
    /// The smallest time by which all gets must be allowed to lag for the history to be linearizable
    /// (delta-atomicity), in milliseconds. None if it was not computed.
    pub delta_ms_max: Option<f64>,
    /// At least so many of the latest values must be allowed to a get; 1 is linearizable.
    pub k_at_least: Option<u64>,
    /// The fraction of successful gets that are stale for certain.
    pub stale_reads: f64,
    /// The smallest time by which all operations together must be stretched, half of it at each end, for
    /// the history to be linearizable (gamma), in milliseconds. None if it was not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma_ms_max: Option<f64>,
    /// Over all gets, how long before the get its value had been overwritten for certain, in
    /// milliseconds; 0 where it had not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_ms: Option<Distribution>,
    /// Over all gets, how many newer values had certainly been written before the get was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_versions: Option<Distribution>,
    /// Whether one of the latest two values is enough for every get: true or false if it is certain,
    /// none if it was not found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_atomic: Option<bool>,
    /// How likely a get was fresh, by how long before it the last write had been acknowledged: what PBS
    /// calls t-visibility, as it was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub t_visibility: Vec<Visibility>,
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
    /// How many values gets returned, final and raw reads included: by number of siblings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sibling_counts: BTreeMap<usize, u64>,
    /// How a set fared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetReport>,
    /// Operations in the order that proves a valid history linearizable and that was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified: Option<usize>,
    /// That order, for who wants to verify it once more.
    #[serde(skip)]
    pub certificate: Option<Certificate>,
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
            sibling_counts: BTreeMap::new(),
            set: None,
            certified: None,
            certificate: None,
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
