//! What clients do, and the record of it. Knows no simulator: it runs on whatever network and clock
//! it is given; a bench uses the last two of its parts as well.
//!
//! [`Worker`] is one client of the `siblings` workload; [`Recorder`] keeps the history; [`settle()`]
//! waits for the store to come to rest, [`all_forgotten`] for its deletes to be collected; [`final_reads`] asks every node and then a quorum of all
//! for every key.

mod finals;
mod forgotten;
mod recorder;
mod settle;
mod worker;

pub use finals::{FinalReader, final_reads};
pub use forgotten::all_forgotten;
pub use recorder::{Call, ERROR_FIELD, HOST_FIELD, Recorder, STATUS_FIELD, value_id};
pub use settle::{Repairs, Rest, Resting, settle};
pub use worker::{Tamper, Worker, WorkerSetup};
