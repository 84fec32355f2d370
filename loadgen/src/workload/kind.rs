//! What an operation does, and how kinds are mixed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    /// Reads a key.
    Get,
    /// Writes a key, with the newest context seen for it.
    Put,
    /// Removes a key, with the newest context seen for it.
    Delete,
    /// Reads a key, then writes it with what the read gave; measured as one.
    Update,
    /// Writes a key that is new.
    Insert,
}

impl OpKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Delete, Self::Update, Self::Insert];

    /// The name in tags, files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Update => "update",
            Self::Insert => "insert",
        }
    }

    /// Whether it carries a value.
    #[must_use]
    pub fn writes_a_value(self) -> bool {
        match self {
            Self::Put | Self::Update | Self::Insert => true,
            Self::Get | Self::Delete => false,
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How operations are mixed, by relative weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Weight of gets.
    pub get: f64,
    /// Weight of puts.
    pub put: f64,
    /// Weight of deletes.
    pub delete: f64,
    /// Weight of updates.
    pub update: f64,
    /// Weight of inserts.
    pub insert: f64,
}

impl Default for Mix {
    /// Nothing at all, so that a configured mix holds what it names.
    fn default() -> Self {
        Self { get: 0.0, put: 0.0, delete: 0.0, update: 0.0, insert: 0.0 }
    }
}

impl Mix {
    /// Half gets, half puts.
    #[must_use]
    pub fn half_and_half() -> Self {
        Self { get: 0.5, put: 0.5, ..Self::default() }
    }

    /// The weights in the order of [`OpKind::ALL`].
    #[must_use]
    pub fn weights(&self) -> [f64; 5] {
        [self.get, self.put, self.delete, self.update, self.insert]
    }

    /// The part of all operations that are inserts.
    pub(super) fn insert_share(&self) -> f64 {
        self.insert / self.weights().iter().sum::<f64>()
    }

    /// The kind that `unit` (0 to 1) falls to, inserts left out: which operations those are, is not drawn
    /// but follows from the index.
    pub(super) fn pick_of_others(&self, unit: f64) -> OpKind {
        let weights = Self { insert: 0.0, ..*self }.weights();
        let mut left = unit * weights.iter().sum::<f64>();
        let mut last = OpKind::Get;
        for (kind, weight) in OpKind::ALL.into_iter().zip(weights) {
            if weight > 0.0 {
                last = kind;
                if left < weight {
                    return kind;
                }
                left -= weight;
            }
        }
        // Rounding may leave a crumb beyond the end.
        last
    }
}
