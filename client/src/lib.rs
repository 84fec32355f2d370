//! A store's client: gets, puts and deletes over [`quorate_env::Network`].
//!
//! Used by the load generator, the command line and the simulator alike, so it draws no
//! hidden time or randomness: only `tokio::time` and the network it is given. It speaks just
//! enough HTTP/1.1 for the store (`Content-Length` always, kept-alive connections), because
//! a general client costs a quarter more CPU and retries behind the caller's back. HTTP/2, for those who
//! ask for it, is hyper's, below anything of it that would connect or try again by itself.
//!
//! Every failure says whether the operation may have happened ([`ClientError::effect`]), and
//! nothing is sent twice unless it certainly did not.
//!
//! It may ask any node, or the owners of a key, as a node tells who they are (`placement`).
//!
//! Not here: what a context token holds, how a history is judged.

pub mod client;
pub mod error;
pub mod http;
pub mod options;
pub mod reply;
pub mod tls;
pub mod url;

mod http2; // several requests on one connection
mod nodes; // who is known, and answered lately
mod placement; // who owns a key
mod pool; // idle connections
mod routing; // whom to ask

pub use client::Client;
pub use error::{ClientError, Effect, SetupError};
pub use http::{MalformedReply, Method, Request, Response};
pub use options::{ClientOptions, HttpVersion, NodeChoice, ReadOptions, Retry, WriteOptions};
pub use placement::read_owners;
pub use reply::{GetAnswer, GetReply, GetStatus, PutReply, Value};
pub use tls::TlsTrust;
pub use url::NodeUrl;
