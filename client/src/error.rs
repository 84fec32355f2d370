//! What can go wrong, and whether the operation may have happened all the same.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::http::MalformedReply;

/// Whether a failed operation may have changed the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It certainly did not happen, and will not: it may be sent again.
    Never,
    /// It may have happened, or may still: sending it again could apply it twice.
    Unknown,
}

/// A failed operation. Reads fail in the same ways; they have no effect to ask about.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request could not be put into HTTP; nothing was sent.
    #[error("cannot be sent: {why}")]
    BadRequest {
        /// What about it.
        why: &'static str,
    },
    /// No connection came about, so nothing was sent.
    #[error("{node}: cannot connect: {source}")]
    Connect {
        /// The node asked.
        node: String,
        /// The network's reason.
        source: io::Error,
    },
    /// The TLS handshake failed, so nothing was sent.
    #[error("{node}: TLS handshake failed: {why}")]
    Handshake {
        /// The node asked.
        node: String,
        /// The reason, with what to do if it is the certificate.
        why: String,
    },
    /// The connection ended or broke before a whole reply was there.
    #[error("{node}: connection lost {}: {source}", if *.sent { "after the request was sent" } else { "before anything was sent" })]
    ConnectionLost {
        /// The node asked.
        node: String,
        /// Whether any byte of the request may have left.
        sent: bool,
        /// The network's reason.
        source: io::Error,
    },
    /// The node said that it did not process the request (HTTP/2: it refused the stream, or goes away).
    #[error("{node}: did not process the request: {why}")]
    Unprocessed {
        /// The node asked.
        node: String,
        /// Why not.
        why: String,
    },
    /// The deadline passed.
    #[error("{node}: no reply within {} ms{}", .deadline.as_millis(), if *.sent { "" } else { " (nothing was sent)" })]
    Deadline {
        /// The node asked.
        node: String,
        /// Whether any byte of the request may have left.
        sent: bool,
        /// How long the operation was given.
        deadline: Duration,
    },
    /// A reply came that is not HTTP, or not what the store's contract says.
    #[error("{node}: reply not understood: {source}")]
    Malformed {
        /// The node asked.
        node: String,
        /// What about it.
        source: MalformedReply,
    },
    /// The store answered with an error.
    #[error("{node}: {status} {code}: {message}")]
    Refused {
        /// The node asked.
        node: String,
        /// HTTP status.
        status: u16,
        /// The store's error code (`error` of its JSON), empty if it gave none.
        code: String,
        /// The store's explanation.
        message: String,
        /// What the store says about effect; none if it says nothing.
        maybe_applied: Option<bool>,
        /// When to try again, if the store said.
        retry_after: Option<Duration>,
    },
}

impl ClientError {
    /// Whether the operation may have happened.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Self::BadRequest { .. }
            | Self::Connect { .. }
            | Self::Handshake { .. }
            | Self::ConnectionLost { sent: false, .. }
            | Self::Unprocessed { .. }
            | Self::Deadline { sent: false, .. }
            | Self::Refused { maybe_applied: Some(false), .. } => Effect::Never,
            Self::ConnectionLost { sent: true, .. }
            | Self::Deadline { sent: true, .. }
            | Self::Malformed { .. }
            | Self::Refused { maybe_applied: Some(true) | None, .. } => Effect::Unknown,
        }
    }

    /// A short name of the kind of error, for counting: the store's own code where it gave one.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::BadRequest { .. } => "bad-request",
            Self::Connect { .. } => "connect",
            Self::Handshake { .. } => "handshake",
            Self::ConnectionLost { .. } => "connection-lost",
            Self::Unprocessed { .. } => "unprocessed",
            Self::Deadline { .. } => "deadline",
            Self::Malformed { .. } => "malformed-reply",
            Self::Refused { code, .. } if code.is_empty() => "refused",
            Self::Refused { code, .. } => code,
        }
    }

    /// HTTP status, if the store answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::BadRequest { .. }
            | Self::Connect { .. }
            | Self::Handshake { .. }
            | Self::ConnectionLost { .. }
            | Self::Unprocessed { .. }
            | Self::Deadline { .. }
            | Self::Malformed { .. } => None,
        }
    }

    /// Whether the client gave up waiting, so that the latency is only known to be at least that.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        matches!(self, Self::Deadline { .. })
    }
}

/// A client that cannot be made as asked.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not a node URL.
    #[error("`{url}` is not a node URL: {why}")]
    BadUrl {
        /// As given.
        url: String,
        /// What about it.
        why: &'static str,
    },
    /// No nodes.
    #[error("no node URL was given")]
    NoNodes,
    /// The fixed node is not among the nodes.
    #[error("node {index} was chosen, but only {nodes} are given")]
    NoSuchNode {
        /// 0-based.
        index: usize,
        /// How many there are.
        nodes: usize,
    },
    /// An `https` URL without a root certificate.
    #[error("{url} needs a root certificate to check the node by: give its CA file (PEM)")]
    NoTrust {
        /// The URL.
        url: String,
    },
    /// The CA file cannot be read.
    #[error("{}: cannot read CA file: {source}", .path.display())]
    CaUnreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The CA file holds no usable certificate.
    #[error("{origin}: not a usable CA file: {why}")]
    BadCa {
        /// The file, or what the bytes were called.
        origin: String,
        /// What about it.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(sent: bool) -> ClientError {
        let source = io::Error::from(io::ErrorKind::ConnectionReset);
        ClientError::ConnectionLost { node: "http://n1:1".into(), sent, source }
    }

    fn refused(maybe_applied: Option<bool>) -> ClientError {
        ClientError::Refused {
            node: "http://n1:1".into(),
            status: 503,
            code: "quorum-not-met".into(),
            message: "1 of 2".into(),
            maybe_applied,
            retry_after: None,
        }
    }

    #[test]
    fn only_what_certainly_did_not_happen_is_never() {
        assert_eq!(lost(false).effect(), Effect::Never);
        assert_eq!(lost(true).effect(), Effect::Unknown);
        assert_eq!(refused(Some(false)).effect(), Effect::Never);
        assert_eq!(refused(Some(true)).effect(), Effect::Unknown);
        assert_eq!(refused(None).effect(), Effect::Unknown, "silence is not a promise");
    }

    #[test]
    fn messages_name_node_and_reason() {
        assert_eq!(
            lost(true).to_string(),
            "http://n1:1: connection lost after the request was sent: connection reset"
        );
        assert_eq!(refused(None).to_string(), "http://n1:1: 503 quorum-not-met: 1 of 2");
        assert_eq!(refused(None).kind(), "quorum-not-met");
    }
}
