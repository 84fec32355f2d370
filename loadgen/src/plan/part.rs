//! One schedule over several machines: which of its slots one of them takes.
//!
//! Every machine walks the whole schedule and takes every n-th slot, so that together they make
//! exactly the load that one alone would have made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most machines that one schedule is split over.
const PARTS_MAX: u32 = 10_000;

/// One of several parts, as in `2/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Part {
    number: u32,
    of: u32,
}

/// Words that are no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a part such as 1/3, 2/3 or 3/3 (of at most {PARTS_MAX})")]
pub struct NotAPart(String);

impl Part {
    /// Which one, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number
    }

    /// Of how many.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }

    /// Whether it takes slot, or loads key, number `index`.
    #[must_use]
    pub fn takes(self, index: u64) -> bool {
        index % u64::from(self.of) == u64::from(self.number - 1)
    }
}

impl FromStr for Part {
    type Err = NotAPart;

    fn from_str(text: &str) -> Result<Self, NotAPart> {
        let parsed =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) && of <= PARTS_MAX => Ok(Self { number, of }),
            _ => Err(NotAPart(text.to_owned())),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl From<Part> for String {
    fn from(part: Part) -> Self {
        part.to_string()
    }
}

impl TryFrom<String> for Part {
    type Error = NotAPart;

    fn try_from(text: String) -> Result<Self, NotAPart> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn every_slot_is_taken_by_exactly_one_part() {
        let parts: Vec<Part> = ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        assert!((0..100).all(|index| parts.iter().filter(|part| part.takes(index)).count() == 1));
        assert_eq!(parts[1].to_string(), "2/3");
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "1/99999"] {
            let message = text.parse::<Part>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{text}`")), "{message}");
        }
    }
}
