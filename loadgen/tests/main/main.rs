//! Whole runs, in one binary: link time is the slow part of tests.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod engine;
mod foreign;
mod parts;
mod quorate;
mod run_directory;
mod servers;
mod support;
