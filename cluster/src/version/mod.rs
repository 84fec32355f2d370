//! Which write saw which: dots, contexts, sibling sets, stamps.
//!
//! Dynamo, section 4.4, with dotted version vectors (Almeida, Baquero, Gonçalves, Preguiça and
//! Fonte, "Scalable and accurate causality tracking for eventually consistent stores", DAIS
//! 2014) in place of vector clocks. Pure.
//!
//! Contexts here are exact: per actor a prefix and the dots beyond it, never a bare maximum,
//! so no merge can take a write for seen that was not.

mod context;
mod fingerprint;
mod record;
mod siblings;
mod stamp;

pub use context::{Actor, Context, Dot};
pub use fingerprint::Fingerprint;
pub use record::{KindMismatch, Payload, Record, Undecodable};
pub use siblings::{Sibling, SiblingSet};
pub use stamp::{HybridClock, SKEW_MAX, SharedClock, SkewError, Stamp, Stamped};
