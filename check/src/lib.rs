//! Did the store keep its word? The operation log and the checkers that judge it.
//!
//! A [`history::History`] holds what clients called, when, and what they were told. [`check`] says
//! whether a store with the promised behaviour could have answered like that, and if not, which
//! operations prove it:
//!
//! ```
//! use quorate_check::history::History;
//! use quorate_check::{Kind, Options, Verdict, check};
//!
//! // v2 was acknowledged before the get began, yet the get still saw v1.
//! let lines = r#"
//! {"process":1,"f":"put","key":"k","value":"v1","invoke_ns":10,"return_ns":20,"outcome":"ok"}
//! {"process":1,"f":"put","key":"k","value":"v2","invoke_ns":30,"return_ns":40,"outcome":"ok"}
//! {"process":2,"f":"get","key":"k","values":["v1"],"invoke_ns":50,"return_ns":60,"outcome":"ok"}
//! "#;
//! let history = History::from_jsonl(lines.as_bytes(), "example.jsonl")?;
//! let report = check(&history, &Options::default());
//! assert_eq!(report.verdict, Verdict::Invalid);
//! assert_eq!(report.count(Kind::NotLinearizable), 1);
//! assert_eq!(report.first_impossible.map(|first| first.operation), Some(2));
//! # Ok::<(), quorate_check::history::HistoryError>(())
//! ```
//!
//! | question | module |
//! |---|---|
//! | is each key a register that changes at one moment? | `linearizable` |
//! | how far behind were the gets? | `staleness` |
//! | was anything read that nobody wrote? | `phantom` |
//! | were concurrent writes kept, and only those? | `siblings` |
//! | did operations succeed while faults were on? | [`availability`] |
//!
//! This crate has no runtime, does no I/O but reading and writing histories, and knows nothing of nodes,
//! faults or settings: what it judges is what clients saw.

pub mod availability;
pub mod certificate;
mod check;
mod deadline;
mod explain;
pub mod history;
mod linearizable;
#[cfg(test)]
mod mutation;
mod phantom;
mod report;
mod say;
mod sets;
mod siblings;
mod staleness;
#[cfg(test)]
mod testing;

pub use certificate::Certificate;
pub use check::{Options, check, check_path, guess_model, initial_of};
pub use explain::explain;
pub use report::{
    Distribution, FirstImpossible, Guarantee, Kind, Model, NotJudged, Report, SetReport, Staleness, Verdict,
    Violation, Visibility,
};
