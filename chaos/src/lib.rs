//! Scenarios, faults as data, the simulated world, verdicts, campaigns, replay.
//!
//! A [`scenario::Scenario`] and a seed give a [`fault::Plan`]; a [`world::World`] plays it with the
//! very node and client code of the product; [`run`] judges what happened by the promise table of
//! [`expect`] and writes it down; [`campaign`] does so for many seeds at once, and [`shrink`] finds the
//! least that a failed run takes.
//!
//! Everything random comes from the seed through named streams, so the same scenario, profile and
//! seed give the same bytes, on any machine, with any number of jobs.
//!
//! Not here: how a history is checked (`quorate-check`), printing, command lines.

mod words;

pub mod scenario; // what a file says
pub mod fault; // what goes wrong, when, to whom
pub mod workload; // what clients do, and the record of it
pub mod members; // who is asked to join and leave, and who owned what when
pub mod trace; // what it did, second by second, as hashes
pub mod world; // where it happens
pub mod expect; // what must hold
pub mod run; // one run, judged and written down
pub mod campaign; // many of them
pub mod swarm; // scenarios that a seed makes up
pub mod shrink; // the smallest one that still fails
