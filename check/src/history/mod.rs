//! The operation log: what clients called, when, and what they were told.
//!
//! [`Operation`] is one line of the JSON Lines format, [`History`] the compact form that the checkers
//! read, [`HistoryWriter`] and [`History::read`] the way out and in. A history says nothing about
//! nodes, faults or settings: a checker that needed those would be trusting what it is to judge.

mod builder;
mod convert;
mod compact;
mod edn;
mod error;
mod events;
mod format;
mod intern;
mod line;
mod operation;
mod read;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use builder::HistoryBuilder;
pub use compact::{Conventions, Entry, History};
pub use error::{HistoryError, LineError};
pub use format::Format;
pub use operation::{Argument, Function, Operation, Outcome};
pub use value::Value;
pub use write::{HistoryWriter, sort_by_invocation};

pub(crate) use compact::{NEVER, NONE};
pub(crate) use intern::Id;
