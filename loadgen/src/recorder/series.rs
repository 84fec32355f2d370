//! What one histogram is about, and its tag: `get.ok.response`.

use std::fmt;

use crate::target::Outcome;
use crate::workload::OpKind;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// From the intended slot to the reply: what a user waits.
    Response,
    /// From sending to the reply: what the store takes.
    Service,
    /// From the slot to sending.
    Wait,
    /// The part of the wait that is the generator's own doing: all of it if a connection was
    /// free at the slot, otherwise up to when the slot was queued.
    Lateness,
}

impl Measure {
    /// All of them, in the order of tags.
    pub const ALL: [Self; 4] = [Self::Response, Self::Service, Self::Wait, Self::Lateness];

    /// The last part of a tag.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Service => "service",
            Self::Wait => "wait",
            Self::Lateness => "lateness",
        }
    }
}

/// How an operation ended, as far as its latency is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It happened.
    Ok,
    /// Answered: it did not happen.
    Fail,
    /// Broken off: it may have happened.
    Info,
    /// Given up at its deadline. The latency is censored: the true one is longer.
    Timeout,
}

impl Class {
    /// All of them, in the order of tags.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Fail, Self::Info, Self::Timeout];

    /// The class of an operation.
    #[must_use]
    pub fn of(outcome: Outcome, timed_out: bool) -> Self {
        match outcome {
            _ if timed_out => Self::Timeout,
            Outcome::Ok => Self::Ok,
            Outcome::Fail => Self::Fail,
            Outcome::Info => Self::Info,
        }
    }

    /// The middle part of a tag.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
            Self::Timeout => "timeout",
        }
    }
}

/// Which histogram. Its `Display` is the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// What was done.
    pub op: OpKind,
    /// How it ended.
    pub class: Class,
    /// What was measured.
    pub measure: Measure,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.op, self.class.name(), self.measure.name())
    }
}
