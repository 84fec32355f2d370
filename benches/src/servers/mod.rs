//! Whole servers beside each other on one machine: the reference cluster, a bare HTTPS server, etcd, Redis.
//!
//! All of them are real processes on loopback, asked by the same client code over connections that stay
//! open, by turns, so that whatever else the machine does meets all of them; the median turn counts.
//! Each subject's processor time is read from `/proc`, so on Linux alone, and is that of all its nodes.
//!
//! Not here: the bars, and which subjects are compared (`benches/limits.rs`, `benches/peers.rs`).

pub mod bare; // the least that an HTTPS server can be
pub mod cluster; // this repository's
pub mod others; // etcd and Redis
pub mod subject; // one of them, under load
pub mod turns; // all of them, in turn
