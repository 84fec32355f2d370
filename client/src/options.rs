//! How a client behaves, as a whole and per operation.

use std::time::Duration;

/// Which HTTP is spoken to nodes. There is no falling back from one to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1: one request at a time on each connection.
    #[default]
    One,
    /// HTTP/2: by agreement in the TLS handshake (ALPN `h2`), without TLS by prior knowledge.
    Two {
        /// Requests in flight on one connection at once. Servers are asked to allow at least 100
        /// (RFC 9113, section 6.5.2); what is beyond a server's own bound waits for its turn.
        streams_max: usize,
    },
}

/// Settings of a whole client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Which HTTP is spoken.
    pub http: HttpVersion,
    /// Which node takes an operation that does not name one.
    pub node_choice: NodeChoice,
    /// How long one operation may take in all: connecting, sending, waiting, retrying.
    pub deadline: Duration,
    /// Whether operations that certainly did not happen are sent again.
    pub retry: Retry,
    /// Spreads the pauses before retries, so that clients that were refused together do not come
    /// back together. Draw it; clients with the same number pause alike.
    pub jitter_seed: u64,
    /// Whether nodes are told how long this client waits (`X-Quorate-Deadline-Ms`), so that they
    /// drop what it has given up.
    pub tell_deadline: bool,
    /// Idle connections kept per node. More may be open at once; those above are closed after use. In
    /// HTTP/2 connections are shared rather than opened beyond it, as long as they have room.
    pub idle_connections_max: usize,
    /// An idle connection older than this is closed instead of used. Keep it below the
    /// server's own limit, or requests meet connections that are just being closed.
    pub idle_age_max: Duration,
    /// Largest reply head accepted, in bytes.
    pub head_bytes_max: usize,
    /// Largest reply body accepted, in bytes: several siblings of the largest value, in base64.
    pub body_bytes_max: usize,
}

impl Default for ClientOptions {
    /// HTTP/1.1, round robin, 5 s, no retries, 128 idle connections for 20 s, 16 KiB heads, 64 MiB bodies.
    fn default() -> Self {
        Self {
            http: HttpVersion::One,
            node_choice: NodeChoice::RoundRobin,
            deadline: Duration::from_secs(5),
            retry: Retry::Never,
            jitter_seed: 0,
            tell_deadline: true,
            idle_connections_max: 128,
            idle_age_max: Duration::from_secs(20),
            head_bytes_max: 16 * 1024,
            body_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Which node takes an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChoice {
    /// Always the node with this 0-based index.
    Fixed(usize),
    /// Each operation the next one, in the order given.
    RoundRobin,
    /// The first owner of the key that seems to be up, else another owner, else any node; nodes
    /// that the store names are added to those given (Dynamo, section 6.4).
    Owner,
}

/// Whether an operation is sent again. Only ever after [`Effect::Never`](crate::Effect::Never):
/// a failed write may have happened, and sending it again could bring back what was since
/// overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Report the first failure. Load generators and histories want this.
    Never,
    /// Up to so many more attempts within the deadline, each at the next node unless the
    /// node was named or is fixed.
    IfNeverHappened {
        /// Attempts after the first.
        attempts: u32,
        /// Pause before the first, give or take a half; each further one is twice as long. What
        /// the store asks for in `Retry-After` counts if it is longer. A pause beyond the deadline
        /// is not begun.
        pause: Duration,
    },
}

/// Settings of one read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// The node to ask, 0-based; none leaves it to [`ClientOptions::node_choice`].
    pub node: Option<usize>,
}

/// Settings of one write.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions<'a> {
    /// The node to ask, 0-based; none leaves it to [`ClientOptions::node_choice`].
    pub node: Option<usize>,
    /// `Content-Type` stored with the value; none is `application/octet-stream`.
    pub content_type: Option<&'a str>,
    /// Write only if the current version has this `ETag` (linearizable stores).
    pub if_match: Option<&'a str>,
    /// Write only if there is no value (linearizable stores).
    pub if_none_match: bool,
}
