//! Who is alive, by gossip and mutual probing (SWIM: Das, Gupta and Motivala, DSN 2002; Dynamo,
//! sections 4.8.2 and 4.8.3).
//!
//! Every node probes another about every second, directly and then through others, and news of who
//! came, is suspected or is down rides on those messages. They also say which view their sender
//! holds, so that whoever is behind pulls the newer one.
//!
//! What gossip says is a hint. It never decides who is a member: news of nodes that are not in this
//! node's view is ignored, so that nobody who was removed comes back by hearsay. And failure
//! detectors lie: a node that was declared down is only asked later than others, and counts as
//! there again with its first answer.
//!
//! In reading order: [`Incarnation`] orders the lives of one node, [`Datagram`] is what travels,
//! [`Detector`] decides (no clock, no socket, no randomness of its own), [`Gossiper`] drives it on
//! a node, [`Board`] shows what it found, and [`simulation`] drives thousands without a network.

mod board;
mod datagram;
mod detector;
mod gossiper;
mod identity;
mod pace;
pub mod simulation;
#[cfg(test)]
mod tests;

pub use board::{Board, Liveness, Seen};
pub use datagram::Datagram;
pub use detector::{Detector, Effect};
pub use gossiper::{Gossiper, HEARD_MAX, pull_newer_views};
pub use identity::{GossipId, Incarnation};
