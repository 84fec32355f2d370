//! What load is put on: anything with gets, puts and deletes that says how each ended.

mod contents;
mod etcd;
pub mod name;
mod null;
mod quorate;
mod redis;
mod single;

use std::fmt;
use std::sync::Arc;

use quorate_env::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::value::ValueId;

pub use etcd::{EtcdOptions, EtcdTarget};
pub use name::{Endpoint, TargetName, TargetNameError};
pub use null::NullTarget;
pub use quorate::QuorateTarget;
pub use redis::RedisTarget;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It certainly did not happen; also a get without an answer.
    Fail,
    /// It may have happened, or may still.
    Info,
}

impl Outcome {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Fail, Self::Info];

    /// The name in tags, files and histories.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One round trip to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Read.
    Get,
    /// Write.
    Put,
    /// Remove.
    Delete,
}

/// A call to make.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What to do.
    pub kind: CallKind,
    /// The number of the key.
    pub key: u64,
    /// The name of the key.
    pub key_name: &'a str,
    /// The name of what is written.
    pub value: ValueId,
    /// The bytes to put.
    pub bytes: &'a [u8],
    /// Whether [`Completion::observed`] is wanted.
    pub observe: bool,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The outcome.
    pub outcome: Outcome,
    /// What was wrong, if anything was; also set for an `ok` get that returned damaged bytes.
    pub error: Option<CallError>,
    /// Whether the deadline ended it: the true latency is longer than the measured one.
    pub timed_out: bool,
    /// What a history needs.
    pub observed: Option<Box<Observed>>,
}

/// The kinds of errors that say that no answer came, other than by the deadline.
pub const UNANSWERED: [&str; 5] = ["bad-request", "connect", "connection-lost", "handshake", "unprocessed"];

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// Short, for counting; one of [`UNANSWERED`] if no answer came.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
}

/// What a history needs to know of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What a get returned.
    pub values: Vec<String>,
    /// The values that the sent token covered.
    pub context: Vec<String>,
    /// The store's own name for the writes that the call was about.
    pub version: Option<String>,
    /// The node asked, 0-based.
    pub via: Option<usize>,
}

impl Completion {
    /// It happened.
    #[must_use]
    pub fn ok() -> Self {
        Self { outcome: Outcome::Ok, error: None, timed_out: false, observed: None }
    }

    /// It ended otherwise.
    #[must_use]
    pub fn error(outcome: Outcome, kind: &str, message: String) -> Self {
        let error = CallError { kind: kind.to_owned(), message };
        Self { outcome, error: Some(error), timed_out: false, observed: None }
    }
}

/// A store under load. Each call ends by itself within the plan's deadline.
pub trait Target: Send + Sync + 'static {
    /// Makes a call.
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Completion>;

    /// The same store for a generator's thread that shares no connections with the others; none
    /// if this target is as good for all of them. Called once for each thread, on its runtime.
    fn for_thread(&self) -> Option<Arc<dyn Target>> {
        None
    }
}
