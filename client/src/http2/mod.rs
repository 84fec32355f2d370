//! HTTP/2 as the client needs it: several requests in flight on each connection, nothing sent twice,
//! everything bounded, and of every failure whether the node may have done what was asked.
//!
//! By hyper. A connection is driven by a task of its own on the runtime that opened it; dropping an
//! exchange takes its request back (RST_STREAM), and the connection closes when nobody holds it.
//!
//! Not here: falling back to HTTP/1.1. Who asks for HTTP/2 measures HTTP/2.

mod connection;
mod io;
mod pool;

pub(crate) use connection::Http2;
pub(crate) use pool::{Bounds, SharedPool};
