//! The operation log: what clients called, when, and what they were told.
//!
//! [`Operation`] is one line of the JSON Lines format, [`History`] the compact form that the checkers
//! read, [`HistoryWriter`] and [`History::read`] the way out and in. A history says nothing about
//! nodes, faults or settings: a checker that needed those would be trusting what it is to judge.

mod compact;
mod error;
mod intern;
mod operation;
mod read;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use compact::{Entry, History, HistoryBuilder};
pub use error::{HistoryError, LineError};
pub use operation::{Argument, Function, Operation, Outcome};
pub use value::Value;
pub use write::{HistoryWriter, sort_by_invocation};

pub(crate) use compact::NONE;
pub(crate) use intern::Id;
