//! What a scenario file says of a fault.

use std::time::Duration;

use quorate_cluster::config::{ConfigError, format_duration};
use quorate_cluster::rpc::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::scenario::{bad, text};
use crate::words::words;

words! {
    /// What goes wrong.
    pub enum FaultKind {
        /// Messages between the targets and the rest are lost, both ways.
        Partition = "partition",
        /// Messages between the targets and the rest are kept back, then all delivered: an outage
        /// that connections survive.
        Hold = "hold",
        /// Messages from the targets (or to them, by `direction`) are lost, the others arrive.
        OneWay = "one-way",
        /// `kill -9`; started again at the end.
        Kill = "kill",
        /// `kill -9`, and started again at once.
        Restart = "restart",
        /// Power is cut: nobody hears of it and what was not synced is lost. Started again at the end.
        PowerCut = "power-cut",
        /// Every message of the targets takes longer by `add`.
        Latency = "latency",
        /// Like `latency`, and the targets' disks sync more slowly by `add`.
        SlowNode = "slow-node",
        /// Power is cut and the disk is gone: the node comes back at the end with an empty one.
        Wipe = "wipe",
        /// Some bytes of what the targets have stored turn into others, unnoticed; the nodes run on.
        Rot = "rot",
        /// A spare node is started and made a member.
        Join = "join",
        /// A member is asked to leave; its process goes on, to hand over what it holds.
        Leave = "leave",
        /// A member's power is cut for good, and it is removed as dead.
        Remove = "remove",
        /// A member is removed like that, and a spare node joins.
        Replace = "replace",
        /// `kill -9`, and started again at once to speak the newest peer protocol.
        Upgrade = "upgrade",
        /// `kill -9`, and started again at once, held back to the oldest peer protocol.
        Downgrade = "downgrade",
    }
}

impl FaultKind {
    /// Whether its targets must be nodes: clients' hosts have links, but nothing to kill.
    #[must_use]
    pub fn is_on_nodes(self) -> bool {
        match self {
            Self::Partition | Self::Hold | Self::OneWay | Self::Latency => false,
            Self::Kill
            | Self::Restart
            | Self::PowerCut
            | Self::SlowNode
            | Self::Wipe
            | Self::Rot
            | Self::Join
            | Self::Leave
            | Self::Remove
            | Self::Replace
            | Self::Upgrade
            | Self::Downgrade => true,
        }
    }

    /// Whether it asks for a change of the members. Such a fault is not healed: it is over when
    /// every member is in the view that it made.
    #[must_use]
    pub fn changes_members(self) -> bool {
        matches!(self, Self::Join | Self::Leave | Self::Remove | Self::Replace)
    }

    /// Whether it starts spare nodes.
    #[must_use]
    pub fn starts_spares(self) -> bool {
        matches!(self, Self::Join | Self::Replace)
    }

    /// Whether its targets never run again.
    #[must_use]
    pub fn is_for_good(self) -> bool {
        matches!(self, Self::Remove | Self::Replace)
    }

    /// Whether nothing that a target sent or was sent arrives any more, and what it had not synced
    /// is lost.
    #[must_use]
    pub fn cuts_power(self) -> bool {
        matches!(self, Self::PowerCut | Self::Wipe) || self.is_for_good()
    }

    /// Whether it has a beginning only.
    #[must_use]
    pub fn is_instant(self) -> bool {
        matches!(self, Self::Restart | Self::Rot) || self.speaks().is_some() || self.changes_members()
    }

    /// The newest peer protocol that its targets speak from their next start on, if it changes that.
    #[must_use]
    pub fn speaks(self) -> Option<u32> {
        match self {
            Self::Upgrade => Some(PROTOCOL_NEWEST),
            Self::Downgrade => Some(PROTOCOL_OLDEST),
            _ => None,
        }
    }

    /// Whether it adds time to messages.
    #[must_use]
    pub fn is_slowness(self) -> bool {
        matches!(self, Self::Latency | Self::SlowNode)
    }
}

words! {
    /// Which way a `one-way` fault loses messages.
    pub enum Direction {
        /// From the targets to the rest.
        Out = "out",
        /// From the rest to the targets.
        In = "in",
    }
}

/// Who is hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// One node, drawn.
    One,
    /// As many nodes as leave a majority, drawn.
    Minority,
    /// The least majority of the nodes, drawn.
    Majority,
    /// The owners of a key: `primaries-of k1`.
    PrimariesOf(String),
    /// These nodes and client hosts.
    Names(Vec<String>),
    /// Any number of nodes up to a minority, drawn; for network faults perhaps a client host too.
    Random,
}

impl Serialize for Targets {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One => s.serialize_str("one"),
            Self::Minority => s.serialize_str("minority"),
            Self::Majority => s.serialize_str("majority"),
            Self::PrimariesOf(key) => s.serialize_str(&format!("primaries-of {key}")),
            Self::Names(names) => names.serialize(s),
            Self::Random => s.serialize_str("random"),
        }
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a word in quotes or a list of names")]
        enum Shape {
            Word(String),
            Names(Vec<String>),
        }
        Ok(match Shape::deserialize(d)? {
            Shape::Names(names) => Self::Names(names),
            Shape::Word(word) => match word.as_str() {
                "one" => Self::One,
                "minority" => Self::Minority,
                "majority" => Self::Majority,
                "random" => Self::Random,
                other => match other.strip_prefix("primaries-of") {
                    Some(key) => Self::PrimariesOf(key.trim().to_owned()),
                    None => {
                        return Err(serde::de::Error::custom(format!(
                            "targets `{other}`: choose one, minority, majority, random, \"primaries-of KEY\" or a list of names"
                        )));
                    }
                },
            },
        })
    }
}

/// One `[[fault]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Who is hit.
    pub targets: Targets,
    /// When, from the start of the load.
    #[serde(with = "text")]
    pub at: Duration,
    /// For how long. `restart`, `rot`, `upgrade`, `downgrade` and changes of the members go without.
    #[serde(default, with = "text", rename = "for")]
    pub lasts: Duration,
    /// For `latency` and `slow-node`: by how much. Default 100ms.
    #[serde(default = "add_default", with = "text", skip_serializing_if = "is_add_default")]
    pub add: Duration,
    /// For `one-way`: which messages are lost. Default `out`.
    #[serde(default = "direction_default", skip_serializing_if = "is_direction_default")]
    pub direction: Direction,
}

const ADD_DEFAULT: Duration = Duration::from_millis(100);

fn add_default() -> Duration {
    ADD_DEFAULT
}

fn is_add_default(add: &Duration) -> bool {
    *add == ADD_DEFAULT
}

fn direction_default() -> Direction {
    Direction::Out
}

fn is_direction_default(direction: &Direction) -> bool {
    *direction == Direction::Out
}

impl FaultSpec {
    /// A fault with the defaults of a file.
    #[must_use]
    pub fn new(kind: FaultKind, targets: Targets, at: Duration, lasts: Duration) -> Self {
        Self { kind, targets, at, lasts, add: ADD_DEFAULT, direction: Direction::Out }
    }

    /// `spares` are those of `hosts` that are no members at first.
    pub(crate) fn validate(
        &self,
        hosts: &[String],
        spares: &[String],
        load: Duration,
    ) -> Result<(), ConfigError> {
        if self.at >= load {
            return bad(
                "fault.at",
                &format_duration(self.at),
                &format!("the load is over after {} (workload.duration)", format_duration(load)),
            );
        }
        if self.kind.changes_members() {
            if !self.lasts.is_zero() {
                return bad(
                    "fault.for",
                    &format_duration(self.lasts),
                    &format!("a {} is not undone; leave `for` out", self.kind),
                );
            }
            if !matches!(self.targets, Targets::One | Targets::Names(_)) {
                return bad(
                    "fault.targets",
                    &"several",
                    &format!("a {} is asked for by name: choose \"one\" or a list of nodes", self.kind),
                );
            }
        }
        if self.kind == FaultKind::Join
            && let Targets::Names(names) = &self.targets
            && let Some(member) = names.iter().find(|name| !spares.contains(name))
        {
            return bad(
                "fault.targets",
                member,
                &format!("only spare nodes join; there are {} (cluster.spares)", spares.len()),
            );
        }
        if self.lasts.is_zero() && !self.kind.is_instant() {
            return bad(
                "fault.for",
                &"0s",
                &format!("say how long the {} lasts, such as for = \"5s\"", self.kind),
            );
        }
        if self.kind.is_slowness()
            && (self.add < Duration::from_millis(1) || self.add > Duration::from_secs(60))
        {
            return bad("fault.add", &format_duration(self.add), "choose 1ms to 60s");
        }
        if let Targets::Names(names) = &self.targets {
            if names.is_empty() {
                return bad("fault.targets", &"[]", "name at least one node");
            }
            for name in names {
                if !hosts.contains(name) {
                    return bad(
                        "fault.targets",
                        name,
                        &format!("no such host; there are {}", hosts.join(", ")),
                    );
                }
                if self.kind.is_on_nodes() && name.starts_with('c') {
                    return bad(
                        "fault.targets",
                        name,
                        &format!("{} hits nodes, not the clients' hosts", self.kind),
                    );
                }
            }
        }
        Ok(())
    }
}
