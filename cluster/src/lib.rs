//! The reference peer: one node of a Dynamo-style replicated key-value store.
//!
//! Modules are declared in the order in which a newcomer should read them: the pure ones
//! first, then what drives them. A node knows nothing of load, faults or checks; everything
//! it gets from outside comes through [`quorate_env::Env`].
//!
//! The design is that of DeCandia et al., "Dynamo: Amazon's Highly Available Key-value
//! Store" (SOSP 2007); modules name the section they follow.

pub mod config; // what a store promises, and how one node is set up
pub mod ring; // who owns a key
pub mod version; // which write saw which
pub mod paxos; // a voter that keeps its promises
pub mod membership; // who is in the cluster
pub mod quorum; // how N replicas answer as one
pub mod register; // how they answer as one that never goes back
pub mod merkle; // where two copies of a partition differ
pub mod store; // the records of one node, on disk or in memory
pub mod replica; // what one node does with its own copies
pub mod tls; // certificates, and mutual TLS between peers
pub mod rpc; // messages between peers
pub mod archive; // what a backup is
pub mod admission; // what a node takes on
pub mod coordinator; // drives the quorums over the peers
pub mod transfer; // brings copies to where they belong
pub mod metrics; // what a node counts
pub mod marks; // what tests must have seen it do
pub mod api; // HTTPS for clients
pub mod node; // wires it all; starts and stops
pub mod planted; // mistakes on purpose, in tests

#[cfg(test)]
mod testing;
