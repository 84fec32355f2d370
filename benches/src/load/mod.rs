//! The load generator against others and against theory: what the bench `load` is made of.
//!
//! Every part that takes processor time is a process of its own (the bench itself, started again with
//! another argument), so that its cost can be read from the system, and on a core of its own.
//!
//! Not here: the bars, and the table of them (`benches/load.rs`).

pub mod bare; // the least that a paced generator can be
pub mod child; // processes on cores, and what they cost
pub mod drive; // this repository's generator
pub mod recording; // what it costs to record
pub mod server; // what is asked
pub mod theory; // what must come out
