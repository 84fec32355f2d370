//! Drives the built program as its users do: words in, exit code and output out.
//!
//! One binary with modules inside: each test binary costs a link.

mod backup;
mod bad_input;
mod bench;
mod chaos;
mod check;
mod cluster;
mod faults;
mod harness;
mod kills;
mod operate;
mod ring;
#[path = "../../loadgen/tests/main/servers.rs"]
mod servers;
mod targets;
mod usage;
