//! What one histogram is about, and its tag: `get.ok.response`.

use std::fmt;
use std::str::FromStr;

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

/// A tag that no series has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tag such as get.ok.response")]
pub struct NotASeries(String);

impl FromStr for Series {
    type Err = NotASeries;

    fn from_str(tag: &str) -> Result<Self, NotASeries> {
        let parse = || {
            let mut words = tag.split('.');
            let (op, class, measure) = (words.next()?, words.next()?, words.next()?);
            let series = Self {
                op: OpKind::ALL.into_iter().find(|o| o.name() == op)?,
                class: Class::ALL.into_iter().find(|c| c.name() == class)?,
                measure: Measure::ALL.into_iter().find(|m| m.name() == measure)?,
            };
            words.next().is_none().then_some(series)
        };
        parse().ok_or_else(|| NotASeries(tag.to_owned()))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.op, self.class.name(), self.measure.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn tags_read_back_as_what_they_were_and_nothing_else_does() {
        for op in OpKind::ALL {
            for class in Class::ALL {
                for measure in Measure::ALL {
                    let series = Series { op, class, measure };
                    assert_eq!(series.to_string().parse::<Series>().unwrap(), series);
                }
            }
        }
        for tag in ["", "get", "get.ok", "get.ok.response.more", "GET.ok.response", "get.ok.wall"] {
            assert!(tag.parse::<Series>().unwrap_err().to_string().contains(tag));
        }
    }
}
