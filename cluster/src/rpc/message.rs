//! What peers say to each other.
//!
//! A message's bytes follow from the order of variants and fields. What a released version knows stays as
//! it is; new variants come last.

use bytes::Bytes;
use quorate_env::Leg;
use serde::{Deserialize, Deserializer, Serialize};

use super::Versions;
use crate::config::{NodeId, StoreDefinition};
use crate::membership::gossip::Datagram;
use crate::membership::{Ballot, Disks, Report, View, ViewVersion, Vote};
use crate::merkle::{Node, Root, Salt};
use crate::register;
use crate::replica::{Keyed, LeafAnswer, LeafAsk, Page, Quiet, Tombstone, TombstonePage, Wanted};
use crate::version::Fingerprint;

/// The first frame of whoever connects. Every version reads it, whatever else that appends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Tells this protocol from others that may come to the port.
    pub magic: [u8; 8],
    /// The oldest version of the messages that the sender speaks. To a node of version 7 it is the only one.
    pub version: u32,
    /// Who connects.
    pub from: NodeId,
    /// Who they mean to reach: an address may have passed to somebody else. A node that only
    /// knows the address of a seed names nobody.
    pub to: Option<NodeId>,
    /// The chain of views that they belong to; nothing from a node that does not know one yet.
    pub lineage: Option<u64>,
    /// The store definition as JSON, so that a refusal can name what differs.
    pub store: String,
    /// What else it speaks; nothing, not even a byte for that, from a node of version 7.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "if_there")]
    pub offer: Option<Offer>,
}

/// What a hello says beyond version 7.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The newest version of the messages that the sender speaks.
    pub newest: u32,
    /// The release that it runs, for people.
    pub release: String,
}

/// A value at the end of a message, or nothing if the message ends before it. Frames carry checksums, so
/// that nothing else cuts them short.
fn if_there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(from).unwrap_or_default())
}

impl Hello {
    /// What `from`, which speaks `versions` and serves `store`, says to a node that it does not know, in no
    /// cluster yet.
    ///
    /// # Panics
    /// Never: a definition has a JSON form.
    #[must_use]
    pub fn new(from: NodeId, versions: Versions, store: &StoreDefinition) -> Self {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            magic: *crate::node::MAGIC,
            version: versions.oldest,
            from,
            to: None,
            lineage: None,
            store: serde_json::to_string(store).expect("a definition has a JSON form"),
            offer: versions.are_offered().then_some(Offer { newest: versions.newest, release }),
        }
    }

    /// What its sender speaks.
    #[must_use]
    pub fn versions(&self) -> Versions {
        let newest = self.offer.as_ref().map_or(self.version, |offer| offer.newest.max(self.version));
        Versions { oldest: self.version, newest }
    }
}

/// The first frame of whoever is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Requests may follow, in the version that the hello named.
    Welcome,
    /// The connection is closed after this; says why.
    Refused(String),
    /// Requests may follow, in another version that the hello offered.
    Speak {
        /// Which.
        version: u32,
        /// The release that the receiver of the hello runs, for people.
        release: String,
    },
}

/// A request and what it travels with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFrame {
    /// Chosen by the sender; the response repeats it.
    pub id: u64,
    /// The version of the view that the sender chose the receiver by.
    pub view: ViewVersion,
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
        /// The [`crate::version::Fingerprint`] of the sender's own copy: an equal one need not be sent.
        own: Option<Fingerprint>,
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
    /// The newest view it knows.
    FetchView,
    /// To take a view if it is newer than its own.
    LearnView {
        /// The view.
        view: Box<View>,
    },
    /// To vote on the view of an epoch: to promise, or with a view to accept it.
    Vote {
        /// Whose view is chosen.
        epoch: u64,
        /// Under which ballot.
        ballot: Ballot,
        /// What to accept.
        view: Option<Box<View>>,
    },
    /// To know the sender by its disk, if it is not known by any yet.
    Introduce {
        /// The disk.
        disk: u64,
    },
    /// What the sender says of itself; the receiver answers in kind.
    Report(Report),
    /// A message of gossip. It is the only request that is never answered.
    Gossip(Datagram),
    /// Some records of one partition, in the order of their keys.
    Page {
        /// Which.
        partition: u32,
        /// From behind this key.
        after: Option<Bytes>,
    },
    /// How far the receiver holds a partition.
    Standing {
        /// Which.
        partition: u32,
    },
    /// Whether anything is left on the receiver from before the view that it is in.
    Quiet,
    /// Some deleted keys of one partition, in their order.
    Tombstones {
        /// Which.
        partition: u32,
        /// From behind this key.
        after: Option<Bytes>,
    },
    /// To forget deleted keys that are still as they were told of.
    Forget {
        /// Their partition.
        partition: u32,
        /// Which.
        tombstones: Vec<Tombstone>,
    },
    /// The roots of the trees of whole partitions.
    Roots {
        /// Which.
        partitions: Vec<u32>,
    },
    /// The sums of the children of inner nodes.
    TreeNodes {
        /// How to shorten them.
        salt: Salt,
        /// Which.
        nodes: Vec<Node>,
    },
    /// What differs under some nodes, key by key.
    Compare {
        /// How fingerprints were shortened.
        salt: Salt,
        /// Where, and what the sender has there.
        leaves: Vec<LeafAsk>,
    },
    /// Its part in an operation on a register.
    Register {
        /// The key's partition.
        partition: u32,
        /// The key.
        key: Bytes,
        /// What it is to do.
        ask: AskVoter,
    },
    /// As which disk it votes on registers.
    VoterName,
    /// To merge some records, synced, and to send others.
    Exchange {
        /// What the receiver lacks.
        records: Vec<Keyed>,
        /// What the sender lacks.
        wanted: Vec<Wanted>,
    },
    /// Some of what the receiver keeps of one partition for others, in the order of its keys.
    Hints {
        /// Which.
        partition: u32,
        /// From behind this key.
        after: Option<Bytes>,
    },
    /// What its clock shows.
    Clock,
    /// How far the sender's disk has come, which is durable there.
    Mark {
        /// So far.
        mark: u64,
    },
    /// To take a view that was ordered after a majority of the members was lost for good.
    TakeOrder {
        /// The view.
        view: Box<View>,
    },
}

/// What an owner of a register is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskVoter {
    /// What it has accepted.
    Look {
        /// With the value, or only under which ballot.
        whole: bool,
    },
    /// To promise to accept nothing below a ballot, and what it has accepted.
    Promise {
        /// Which.
        ballot: register::Ballot,
        /// With the value, or only under which ballot and whose.
        whole: bool,
    },
    /// To accept a write.
    Accept {
        /// Under which ballot.
        ballot: register::Ballot,
        /// Which.
        write: register::Write,
    },
}

impl Request {
    /// The first version of the messages that knows it. It is not sent to a peer of an earlier one.
    #[must_use]
    pub fn since(&self) -> u32 {
        match self {
            Self::Ping | Self::FetchView | Self::LearnView { .. } | Self::Vote { .. } => 7,
            Self::Introduce { .. } | Self::Report(_) | Self::Gossip(_) | Self::Quiet => 7,
            Self::Read { .. } | Self::Store { .. } | Self::Page { .. } | Self::Standing { .. } => 7,
            Self::Roots { .. } | Self::Tombstones { .. } | Self::Forget { .. } => 7,
            Self::TreeNodes { .. } | Self::Compare { .. } | Self::Exchange { .. } => 7,
            Self::Register { .. } | Self::VoterName => 7,
            Self::Hints { .. } | Self::Clock | Self::Mark { .. } | Self::TakeOrder { .. } => 8,
        }
    }

    /// The legs of PBS that the request and its response travel, if they are a put's or a get's.
    #[must_use]
    pub fn legs(&self) -> Option<(Leg, Leg)> {
        match self {
            Self::Read { .. } => Some((Leg::Read, Leg::Response)),
            Self::Store { synced: false, .. } => Some((Leg::Write, Leg::Ack)),
            Self::Register { ask: AskVoter::Accept { .. }, .. } => Some((Leg::Write, Leg::Ack)),
            Self::Register { .. } => Some((Leg::Read, Leg::Response)),
            _ => None,
        }
    }

    /// Whether it means the same whatever view the receiver is in: it is about views.
    #[must_use]
    pub fn is_about_views(&self) -> bool {
        match self {
            Self::Ping | Self::FetchView | Self::LearnView { .. } | Self::Vote { .. } => true,
            Self::Introduce { .. } | Self::Report(_) | Self::Gossip(_) | Self::Quiet => true,
            Self::VoterName | Self::Clock | Self::Mark { .. } | Self::TakeOrder { .. } => true,
            Self::Read { .. } | Self::Store { .. } | Self::Page { .. } | Self::Standing { .. } => false,
            Self::Roots { .. } | Self::Tombstones { .. } | Self::Forget { .. } => false,
            Self::TreeNodes { .. } | Self::Compare { .. } | Self::Exchange { .. } => false,
            Self::Register { .. } | Self::Hints { .. } => false,
        }
    }
}

/// How far a node holds a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// Some of what was acknowledged there may be missing.
    Lacking,
    /// It has all that it was given on its first disk, as far as it knows.
    New,
    /// All that was acknowledged there, or was merged with the other owners since.
    Whole,
}

/// What a node says of one of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// How far it holds it.
    pub standing: Standing,
    /// How long it has held its disk, in milliseconds.
    pub age_ms: u64,
}

/// What a peer may answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To a ping.
    Pong,
    /// To a read: an encoded record.
    Found(Bytes),
    /// To a read: an encoded record that may lack something. As [`crate::quorum::ReadReply::Partial`].
    Partial(Bytes),
    /// To a read: a copy with the fingerprint that came with it. `complete`: as [`Response::Found`], else as
    /// [`Response::Partial`].
    Same {
        /// Whether it lacks nothing.
        complete: bool,
    },
    /// To a read: nothing. `complete` as in [`crate::quorum::ReadReply::NotFound`].
    NotFound {
        /// Whether its word counts.
        complete: bool,
    },
    /// To a read: something that can no longer be read.
    Damaged,
    /// To a store: done, as durably as was asked.
    Stored,
    /// To a look at a register: what was accepted, if anything.
    Looked(Option<register::Seen>),
    /// To a ballot of a register.
    Voted(register::Vote),
    /// As which disk it votes on registers; none if as the first it had.
    VoterName(Option<u64>),
    /// The receiver is in another view than the request was sent under, or came into another while
    /// it did what was asked. It may have done it, but that does not count in either view.
    OtherView(ViewVersion),
    /// To fetch view.
    View(Box<View>),
    /// To learn view: done.
    Learned,
    /// To a vote; nothing if it does not decide on that epoch.
    Vote(Option<Box<Vote<View>>>),
    /// To an introduction.
    Introduced(Disks),
    /// To a report.
    Report(Report),
    /// To a page, and how far the sender holds the partition.
    Page(Page, Holding),
    /// To standing.
    Standing(Holding),
    /// To quiet.
    Quiet(Quiet),
    /// To tombstones.
    Tombstones(TombstonePage),
    /// To forget: how many were.
    Forgotten(u64),
    /// To roots, in the order asked; nothing for a partition whose tree is not there yet.
    Roots(Vec<Option<Root>>),
    /// To tree nodes, in the order asked: sixteen sums as [`Salt::pack`] packs them, or nothing
    /// where the tree ends.
    TreeNodes(Vec<Option<Bytes>>),
    /// To a comparison, in the order asked. May stop early; it answers at least one.
    Compared(Vec<LeafAnswer>),
    /// To an exchange: all that was sent is stored, and these are the records wanted, in the order
    /// asked. May stop early; it answers at least one.
    Exchanged(Vec<Option<Bytes>>),
    /// It would not or could not; says why.
    Refused {
        /// For people.
        why: String,
        /// Whether something may have been stored nevertheless.
        maybe_applied: bool,
        /// Whether it had no space left.
        disk_full: bool,
    },
    /// To hints.
    Hints(Page),
    /// To a look at the clock, in nanoseconds since the Unix epoch.
    Clock {
        /// What it showed.
        wall_ns: u64,
    },
    /// To a mark.
    Mark {
        /// The highest that the sender told before, if it told any.
        before: Option<u64>,
    },
}

impl Response {
    /// Says no, for people to read why; `maybe_applied` if something may have been stored all the
    /// same.
    #[must_use]
    pub fn refused(why: impl Into<String>, maybe_applied: bool) -> Self {
        Self::Refused { why: why.into(), maybe_applied, disk_full: false }
    }
}
