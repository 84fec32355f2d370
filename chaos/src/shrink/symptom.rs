//! When two runs fail alike.

use std::fmt;

use quorate_check::{Kind, Violation};

use crate::expect::{Property, RunVerdict};

/// A broken promise, by what it was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symptom {
    /// The property.
    pub property: Property,
    /// The kinds of violations that broke it; none where it is not a matter of what clients saw.
    pub kinds: Vec<Kind>,
}

impl Symptom {
    /// What `verdict` shows of `property`, or of the first property in the promise table that was promised
    /// and broken. None if it was not.
    #[must_use]
    pub fn of(verdict: &RunVerdict, property: Option<Property>) -> Option<Self> {
        let wanted = |broken: &Property| property.is_none_or(|property| property == *broken);
        let property = verdict.violated().map(|p| p.property).find(wanted)?;
        let mut kinds: Vec<Kind> =
            verdict.violations.iter().filter(|v| breaks(property, v)).map(|v| v.kind).collect();
        kinds.sort();
        kinds.dedup();
        Some(Self { property, kinds })
    }

    /// Whether another run fails like that: the same promise broken by a violation of one of these kinds.
    #[must_use]
    pub fn is_in(&self, verdict: &RunVerdict) -> bool {
        Self::of(verdict, Some(self.property)).is_some_and(|other| {
            self.kinds.is_empty() || self.kinds.iter().any(|kind| other.kinds.contains(kind))
        })
    }

    /// The first violation of that kind, in words.
    #[must_use]
    pub fn example<'a>(&self, verdict: &'a RunVerdict) -> Option<&'a str> {
        let alike = |v: &&Violation| breaks(self.property, v) && self.kinds.contains(&v.kind);
        verdict.violations.iter().find(alike).map(|violation| violation.says.as_str())
    }
}

fn breaks(property: Property, violation: &Violation) -> bool {
    match property {
        // Judged by when, too.
        Property::BoundedLoss => matches!(violation.kind, Kind::Lost | Kind::Resurrected),
        property => property.is_broken_by(violation),
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.property)?;
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        if kinds.is_empty() { Ok(()) } else { write!(f, " ({})", kinds.join(", ")) }
    }
}
