//! Framed messages between peers over one connection each way, many in flight.
//!
//! A connection opens with a hello that carries the store definition and the versions of the messages
//! that its sender speaks: peers of another store, or without a version in common, are refused by name.
//! Every request carries the version of the view it was sent under and the time its sender will still wait. A connection that stays silent while answers
//! are due is closed: a half-open one looks just like a slow one, and waiting for ever is worse.
//! Whatever was pending on a closed connection has an unknown outcome.
//!
//! Gossip travels on the same connections, one way and ahead of everything that waits: a message
//! that cannot be written soon is lost, like a datagram, and nothing is ever answered to it.
//!
//! Not here: what a request means (`node` routes it), who should be asked (`coordinator`).

mod frame;
#[cfg(test)]
mod golden;
mod message;
mod peers;
mod protocol;
mod server;
#[cfg(test)]
mod tests;

pub use frame::FrameError;
pub use message::{
    AskVoter, Hello, HelloReply, Holding, Offer, Request, RequestFrame, Response, ResponseFrame, Standing,
};
pub(crate) use peers::gossip_frame_bytes;
pub use peers::{CallError, Peers, Spoken};
pub use protocol::{PROTOCOL_NEWEST, PROTOCOL_OLDEST, Versions};
pub use server::{PeerServer, Service, serve, under_view};
