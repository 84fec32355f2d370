//! As much HTTP/1.1 as the store's contract needs: one request at a time on a kept-alive
//! connection, bodies with a `Content-Length`, everything bounded.
//!
//! Not here: chunked bodies, pipelining, redirects, retries. What a server sends beyond the
//! contract is an error, never a guess.

mod connection;
mod request;
mod response;

pub(crate) use connection::{Connection, Exchange, ExchangeError, Limits};
pub(crate) use request::NumberField;
pub use request::{Method, Request};
pub use response::{MalformedReply, Response};
