//! What a planned fault does, in terms of links, nodes and disks.

use std::time::Duration;

use super::{Direction, FaultKind, PlannedFault};

/// What happens to messages of one directed link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEffect {
    /// They are lost.
    Cut,
    /// They are kept back.
    Hold,
    /// They take longer by this.
    Delay(Duration),
}

/// What a fault does for as long as it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Directed links (from, to) and what happens on them, in a fixed order.
    pub links: Vec<(String, String, LinkEffect)>,
    /// Nodes that do not run.
    pub down: Vec<String>,
    /// Nodes whose disk syncs are slower, and by how much.
    pub slow_disks: Vec<(String, Duration)>,
    /// Spare nodes that run from now on.
    pub starting: Vec<String>,
}

impl Effects {
    /// The effects of `fault` among `nodes` and the clients' hosts.
    ///
    /// A partition that names no client host lies between nodes alone and every client reaches both
    /// sides; one that names a client host puts that host on its side and the others on the other.
    #[must_use]
    pub fn of(fault: &PlannedFault, nodes: &[String], clients: &[String]) -> Self {
        let targets = &fault.targets;
        let splits_clients = targets.iter().any(|t| clients.contains(t));
        let others: Vec<&String> = nodes
            .iter()
            .chain(clients.iter().filter(|_| splits_clients))
            .filter(|host| !targets.contains(host))
            .collect();
        let mut effects = Self::default();
        match fault.kind {
            FaultKind::Partition => effects.between(targets, &others, LinkEffect::Cut, true, true),
            FaultKind::Hold => effects.between(targets, &others, LinkEffect::Hold, true, true),
            FaultKind::OneWay => {
                let out = fault.direction == Direction::Out;
                effects.between(targets, &others, LinkEffect::Cut, out, !out);
            }
            FaultKind::Latency | FaultKind::SlowNode => {
                let everyone: Vec<&String> = nodes.iter().chain(clients).collect();
                effects.between(targets, &everyone, LinkEffect::Delay(fault.add), true, true);
                if fault.kind == FaultKind::SlowNode {
                    effects.slow_disks = targets.iter().map(|t| (t.clone(), fault.add)).collect();
                }
            }
            FaultKind::Kill => {
                effects.down.clone_from(targets);
                // The kernel of a killed process refuses connections; the simulator would let them
                // hang. What the dying process still sent (FIN) must get out, so one way only.
                let everyone: Vec<&String> = nodes.iter().chain(clients).collect();
                effects.between(targets, &everyone, LinkEffect::Cut, false, true);
            }
            FaultKind::Restart
            | FaultKind::Upgrade
            | FaultKind::Downgrade
            | FaultKind::PowerCut
            | FaultKind::Wipe
            | FaultKind::Remove
            | FaultKind::Replace => effects.down.clone_from(targets),
            FaultKind::Rot | FaultKind::Join | FaultKind::Leave => {}
        }
        effects.starting.clone_from(&fault.joining);
        effects
    }

    fn between(&mut self, inside: &[String], others: &[&String], effect: LinkEffect, out: bool, into: bool) {
        for inner in inside {
            for other in others.iter().filter(|o| **o != inner) {
                if out {
                    self.links.push((inner.clone(), (*other).clone(), effect));
                }
                // Between two targets the other one lists this direction as its own.
                if into && !(out && inside.contains(other)) {
                    self.links.push(((*other).clone(), inner.clone(), effect));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    fn fault(kind: FaultKind, targets: &[&str]) -> PlannedFault {
        PlannedFault {
            fault: 0,
            kind,
            targets: names(targets),
            joining: Vec::new(),
            from_ms: 0,
            until_ms: 1,
            add: Duration::from_millis(7),
            direction: Direction::Out,
        }
    }

    fn links(kind: FaultKind, targets: &[&str]) -> Vec<String> {
        let effects = Effects::of(&fault(kind, targets), &names(&["n1", "n2", "n3"]), &names(&["c1", "c2"]));
        effects.links.iter().map(|(from, to, _)| format!("{from}>{to}")).collect()
    }

    #[test]
    fn a_partition_without_client_hosts_leaves_clients_both_sides() {
        assert_eq!(links(FaultKind::Partition, &["n1"]), ["n1>n2", "n2>n1", "n1>n3", "n3>n1"]);
        assert_eq!(links(FaultKind::OneWay, &["n1"]), ["n1>n2", "n1>n3"]);
    }

    #[test]
    fn a_client_host_stands_on_the_side_it_is_listed_on() {
        let cut = links(FaultKind::Partition, &["n1", "c1"]);
        for link in ["n1>c2", "c2>n1", "c1>n2", "n2>c1", "c1>c2"] {
            assert!(cut.iter().any(|l| l == link), "{link} is not cut");
        }
        assert!(!cut.iter().any(|l| l == "n1>c1" || l == "c1>n1"));
    }

    #[test]
    fn no_link_is_listed_twice() {
        for kind in FaultKind::ALL {
            let mut all = links(*kind, &["n1", "n2"]);
            let count = all.len();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), count, "{kind}");
        }
    }
}
