//! What peers say to each other.

use bytes::Bytes;
use quorate_env::Leg;
use serde::{Deserialize, Serialize};

use crate::config::NodeId;
use crate::replica::{KeyDigest, PartitionDigest};

/// The first frame of whoever connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Tells this protocol from others that may come to the port.
    pub magic: [u8; 8],
    /// [`super::PROTOCOL_VERSION`].
    pub version: u32,
    /// Who connects.
    pub from: NodeId,
    /// Who they mean to reach: an address may have passed to somebody else.
    pub to: NodeId,
    /// The store definition as JSON, so that a refusal can name what differs.
    pub store: String,
}

/// The first frame of whoever is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Requests may follow.
    Welcome,
    /// The connection is closed after this; says why.
    Refused(String),
}

/// A request and what it travels with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFrame {
    /// Chosen by the sender; the response repeats it.
    pub id: u64,
    /// The version of the view that the sender chose the receiver by.
    pub view: u64,
    /// How long the sender will still wait, in milliseconds.
    pub remaining_ms: u32,
    /// What is asked.
    pub request: Request,
}

/// A response to the request with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseFrame {
    /// The request's.
    pub id: u64,
    /// What is answered.
    pub response: Response,
}

/// What a peer may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Whether it is there.
    Ping,
    /// Its copy of a key, or what it keeps of it for others.
    Read {
        /// The key's partition.
        partition: u32,
        /// The key.
        key: Bytes,
    },
    /// To merge a record into its copy, or to keep it for `hint_for`.
    Store {
        /// The key's partition.
        partition: u32,
        /// The key.
        key: Bytes,
        /// An encoded [`crate::version::Record`].
        record: Bytes,
        /// The owner that the receiver stands in for.
        hint_for: Option<NodeId>,
        /// Whether it must be synced whatever the store promises: hints and transfers hand over
        /// responsibility, so they need more than a put does.
        synced: bool,
    },
    /// Digests of whole partitions.
    PartitionDigests {
        /// Which.
        partitions: Vec<u32>,
    },
    /// Digests of the keys of one partition, in key order.
    KeyDigests {
        /// Which.
        partition: u32,
        /// From behind this key.
        after: Option<Bytes>,
        /// At most so many.
        limit: u32,
    },
}

impl Request {
    /// The legs of PBS that the request and its response travel, if they are a put's or a get's.
    #[must_use]
    pub fn legs(&self) -> Option<(Leg, Leg)> {
        match self {
            Self::Read { .. } => Some((Leg::Read, Leg::Response)),
            Self::Store { synced: false, .. } => Some((Leg::Write, Leg::Ack)),
            Self::Ping | Self::Store { .. } | Self::PartitionDigests { .. } | Self::KeyDigests { .. } => None,
        }
    }
}

/// What a peer may answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To a ping.
    Pong,
    /// To a read: an encoded record.
    Found(Bytes),
    /// To a read: nothing. `complete` as in [`crate::quorum::ReadReply::NotFound`].
    NotFound {
        /// Whether its word counts.
        complete: bool,
    },
    /// To a read: something that can no longer be read.
    Damaged,
    /// To a store: done, as durably as was asked.
    Stored,
    /// To partition digests, in the order asked.
    PartitionDigests(Vec<PartitionDigest>),
    /// To key digests.
    KeyDigests(Vec<KeyDigest>),
    /// It would not or could not; says why.
    Refused {
        /// For people.
        why: String,
        /// Whether something may have been stored nevertheless.
        maybe_applied: bool,
        /// Whether it had no space left.
        disk_full: bool,
    },
}
