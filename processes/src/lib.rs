//! Local clusters of real processes: the harness's hands on this machine.
//!
//! A cluster lives in one directory: certificates and token key, one directory a node with its
//! configuration, data and log, and `cluster.json`, which says what was started. Nodes are this
//! same program run as `quorate serve`.
//!
//! Invariant: nothing outlives its purpose. Nodes of a bench hold the read end of a pipe whose
//! write end is the harness's; they leave when it closes, even if the harness was killed.
//! Nodes that `cluster up` leaves running are ended only after their identity was checked.
//!
//! Not here: what a node does, and what is measured.

pub mod change; // one node more, or one less
pub mod child; // one node's process
pub mod cluster; // all of them
pub mod error; // what can go wrong
pub mod health; // is it answering yet
pub mod layout; // which file is where
pub mod pki; // development certificates
pub mod ports; // addresses nobody uses
pub mod runtime; // the threads that a server's process works on
pub mod state; // cluster.json, and whether a pid is still ours

pub use change::{Addition, add, discard, stop};
pub use cluster::{Lifetime, LocalCluster, NodePlan, Plan, own_program, threads_of_each};
pub use error::ProcessError;
pub use runtime::server_runtime;
