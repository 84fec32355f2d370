//! What a scenario file says of a fault.

use std::time::Duration;

use quorate_cluster::config::{ConfigError, format_duration};
use serde::{Deserialize, Serialize};

use super::{FaultKind, Settings, Targets};
use crate::scenario::{bad, text};

/// The least number of nodes in a circle of which some do not see each other.
const RING_MIN: usize = 4;

/// One `[[fault]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Who is hit.
    pub targets: Targets,
    /// When, from the start of the load.
    #[serde(with = "text")]
    pub at: Duration,
    /// For how long. `restart`, `rolling-restart`, `rot`, `upgrade`, `downgrade` and changes of the members
    /// go without; `clock-jump` may.
    #[serde(default, with = "text", rename = "for")]
    pub lasts: Duration,
    /// What else there is to say.
    #[serde(flatten)]
    pub settings: Settings,
}

/// Who there is in a scenario.
pub(crate) struct Hosts<'a> {
    /// Members at first.
    pub(crate) nodes: &'a [String],
    /// Nodes that are no members at first.
    pub(crate) spares: &'a [String],
    /// Clients' hosts.
    pub(crate) clients: &'a [String],
    /// The zone of each node, if they have zones.
    pub(crate) zones: &'a [String],
}

impl Hosts<'_> {
    fn all(&self) -> impl Iterator<Item = &String> {
        self.nodes.iter().chain(self.spares).chain(self.clients)
    }

    /// The members of `zone` at first.
    pub(crate) fn of_zone(&self, zone: &str) -> Vec<String> {
        let members = self.nodes.iter().zip(self.zones);
        members.filter(|(_, of)| *of == zone).map(|(node, _)| node.clone()).collect()
    }
}

impl FaultSpec {
    /// A fault with the defaults of a file.
    #[must_use]
    pub fn new(kind: FaultKind, targets: Targets, at: Duration, lasts: Duration) -> Self {
        Self { kind, targets, at, lasts, settings: Settings::default() }
    }

    pub(crate) fn validate(&self, hosts: &Hosts<'_>, load: Duration) -> Result<(), ConfigError> {
        if self.at >= load {
            return bad(
                "fault.at",
                &format_duration(self.at),
                &format!("the load is over after {} (workload.duration)", format_duration(load)),
            );
        }
        self.settings.validate(self.kind)?;
        self.validate_change(hosts.spares)?;
        if self.lasts.is_zero() && !self.kind.may_have_no_end() {
            return bad(
                "fault.for",
                &"0s",
                &format!("say how long the {} lasts, such as for = \"5s\"", self.kind),
            );
        }
        if self.kind == FaultKind::RollingRestart && !self.lasts.is_zero() && self.targets != Targets::Random
        {
            return bad(
                "fault.for",
                &format_duration(self.lasts),
                "it is over when every target has had its turn; leave `for` out and say `every`",
            );
        }
        if let Some(every) = self.settings.every
            && self.kind != FaultKind::RollingRestart
            && every > self.lasts
        {
            return Err(ConfigError::Clash {
                first: format!("fault.every = {}", format_duration(every)),
                second: format!("for = {}", format_duration(self.lasts)),
                why: format!("the {} is over before it comes again", self.kind),
            });
        }
        self.validate_targets(hosts)?;
        self.validate_shape(hosts)
    }

    fn validate_change(&self, spares: &[String]) -> Result<(), ConfigError> {
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
        Ok(())
    }

    /// Checks that those named exist and can be hit.
    fn validate_targets(&self, hosts: &Hosts<'_>) -> Result<(), ConfigError> {
        match &self.targets {
            Targets::PrimariesOf(key) if key.is_empty() => {
                bad("fault.targets", &"primaries-of", "name the key: \"primaries-of k1\"")
            }
            Targets::Zone(zone) if hosts.of_zone(zone).is_empty() => {
                let mut zones = hosts.zones.to_vec();
                zones.sort();
                zones.dedup();
                let there_are = if zones.is_empty() {
                    "there are none (cluster.zones)".to_owned()
                } else {
                    format!("there are {}", zones.join(", "))
                };
                bad(
                    "fault.targets",
                    &format!("zone {zone}"),
                    &format!("no member is in that zone; {there_are}"),
                )
            }
            Targets::Names(names) if names.is_empty() => {
                bad("fault.targets", &"[]", "name at least one node")
            }
            Targets::Names(names) => {
                for name in names {
                    if !hosts.all().any(|host| host == name) {
                        let all: Vec<&str> = hosts.all().map(String::as_str).collect();
                        return bad(
                            "fault.targets",
                            name,
                            &format!("no such host; there are {}", all.join(", ")),
                        );
                    }
                    if self.kind.is_on_nodes() && hosts.clients.contains(name) {
                        return bad(
                            "fault.targets",
                            name,
                            &format!("{} hits nodes, not the clients' hosts", self.kind),
                        );
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Checks that so many targets give the shape that the kind is about.
    fn validate_shape(&self, hosts: &Hosts<'_>) -> Result<(), ConfigError> {
        let named = match &self.targets {
            Targets::Names(names) => names.clone(),
            Targets::All => hosts.nodes.to_vec(),
            Targets::Zone(zone) => hosts.of_zone(zone),
            _ => Vec::new(),
        };
        let how_many = |count: usize| format!("{count} node(s)");
        match self.kind {
            kind if kind.has_sides()
                && named.iter().all(|name| hosts.nodes.contains(name))
                && hosts.nodes.iter().all(|node| named.contains(node)) =>
            {
                bad("fault.targets", &"all nodes", &format!("a {kind} leaves somebody on the other side"))
            }
            FaultKind::Bridge => {
                let is_one = match &self.targets {
                    Targets::One | Targets::Random => true,
                    Targets::Names(names) => names.len() == 1,
                    _ => false,
                };
                if !is_one {
                    return bad(
                        "fault.targets",
                        &"several",
                        "one node is the bridge: choose \"one\" or name it",
                    );
                }
                if hosts.nodes.len() < 3 {
                    let why = "a bridge stands between two halves: use at least 3 nodes (cluster.nodes)";
                    return bad("fault.targets", &how_many(hosts.nodes.len()), why);
                }
                Ok(())
            }
            FaultKind::Ring => {
                let count = match &self.targets {
                    Targets::Random => hosts.nodes.len(),
                    Targets::All | Targets::Zone(_) | Targets::Names(_) => named.len(),
                    _ => return bad("fault.targets", &"drawn", "choose \"all\", a zone or a list of nodes"),
                };
                if count < RING_MIN {
                    let why = format!("of fewer than {RING_MIN} in a circle everybody sees everybody");
                    return bad("fault.targets", &how_many(count), &why);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
