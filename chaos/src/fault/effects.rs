//! What a planned fault does, in terms of links, nodes, disks and clocks.

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
    /// Of a million segments so many are lost, and sent again by TCP.
    Loss(u32),
    /// Of a million segments so many arrive with other bytes than were sent.
    Corrupt(u32),
    /// Of a million segments so many are damaged, which TLS notices and ends the connection.
    Tear(u32),
    /// So many bytes get through in a second.
    Narrow(u64),
}

/// What happens to one node that goes on running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEffect {
    /// Its disk takes so much longer to sync.
    SlowDisk(Duration),
    /// Its disk has no space left.
    FullDisk,
    /// Of a million operations of its disk so many fail.
    DiskErrors(u32),
    /// Every message of a quorum operation that it is sent or sends as a replica waits up to so long, each
    /// for itself.
    Reordered(Duration),
    /// It does not get on, nor does its disk: together with a hold of all its links.
    Paused,
    /// It has more to do than it may bear.
    Overloaded,
}

/// How the time of day of one node is wrong. The clock that only measures how much time went by is
/// right: a real machine's does not jump either, and how fast it goes matters to nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockEffect {
    /// By so many nanoseconds.
    Offset(i64),
    /// By so many millionths of the time since it began.
    Drift(i64),
}

/// What a fault does for as long as it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Directed links (from, to) and what happens on them, in a fixed order.
    pub links: Vec<(String, String, LinkEffect)>,
    /// Nodes that do not run.
    pub down: Vec<String>,
    /// Nodes that run, but not as they should.
    pub nodes: Vec<(String, NodeEffect)>,
    /// Nodes whose time of day is wrong.
    pub clocks: Vec<(String, ClockEffect)>,
    /// Spare nodes that run from now on.
    pub starting: Vec<String>,
    /// Nodes that are killed at the end, and started again at once.
    pub restarting: Vec<String>,
}

impl Effects {
    /// The effects of `fault` among `nodes` and the clients' hosts, the given time (from 0) that it strikes.
    ///
    /// A partition that names no client host lies between nodes alone and every client reaches both
    /// sides; one that names a client host puts that host on its side and the others on the other.
    #[must_use]
    pub fn of(fault: &PlannedFault, strike: usize, nodes: &[String], clients: &[String]) -> Self {
        let targets = &fault.targets;
        let splits_clients = targets.iter().any(|t| clients.contains(t));
        let others: Vec<&String> = nodes
            .iter()
            .chain(clients.iter().filter(|_| splits_clients))
            .filter(|host| !targets.contains(host))
            .collect();
        let everyone: Vec<&String> = nodes.iter().chain(clients).collect();
        let mut effects = Self::default();
        match fault.kind {
            FaultKind::Partition | FaultKind::Flapping => {
                effects.between(targets, &others, LinkEffect::Cut, true, true);
            }
            FaultKind::Hold => effects.between(targets, &others, LinkEffect::Hold, true, true),
            FaultKind::OneWay => {
                let out = fault.direction() == Direction::Out;
                effects.between(targets, &others, LinkEffect::Cut, out, !out);
            }
            FaultKind::Bridge => {
                if let [bridge] = targets.as_slice() {
                    let [one, other] = halves(bridge, nodes);
                    effects.between(&one, &other.iter().collect::<Vec<_>>(), LinkEffect::Cut, true, true);
                }
            }
            FaultKind::Ring => effects.apart(targets, |i, j| !are_neighbours(i, j, targets.len())),
            FaultKind::Isolate => {
                effects.between(targets, &others, LinkEffect::Cut, true, true);
                effects.apart(targets, |_, _| true);
            }
            FaultKind::Latency | FaultKind::SlowNode => {
                effects.between(targets, &everyone, LinkEffect::Delay(fault.add()), true, true);
                if fault.kind == FaultKind::SlowNode {
                    effects.on_each(targets, NodeEffect::SlowDisk(fault.add()));
                }
            }
            FaultKind::ClockSkew | FaultKind::ClockJump | FaultKind::ClockDrift => {
                let clock = fault.clock();
                effects.clocks = targets.iter().map(|target| (target.clone(), clock)).collect();
            }
            FaultKind::Loss => effects.of_wires(targets, &everyone, LinkEffect::Loss(fault.rate_ppm())),
            FaultKind::Throttle => {
                effects.of_wires(targets, &everyone, LinkEffect::Narrow(fault.settings.bandwidth()));
            }
            FaultKind::Corrupt => {
                effects.of_wires(targets, &everyone, LinkEffect::Corrupt(fault.rate_ppm()));
                for (from, to, effect) in &mut effects.links {
                    if clients.contains(from) || clients.contains(to) {
                        *effect = LinkEffect::Tear(fault.rate_ppm());
                    }
                }
            }
            FaultKind::Reorder => effects.on_each(targets, NodeEffect::Reordered(fault.add())),
            FaultKind::SlowDisk => effects.on_each(targets, NodeEffect::SlowDisk(fault.add())),
            FaultKind::DiskFull => effects.on_each(targets, NodeEffect::FullDisk),
            FaultKind::IoErrors => {
                effects.on_each(targets, NodeEffect::DiskErrors(fault.rate_ppm()));
                effects.restarting.clone_from(targets);
            }
            FaultKind::RestoreDisk => effects.restarting.clone_from(targets),
            FaultKind::Pause => {
                effects.between(targets, &everyone, LinkEffect::Hold, true, true);
                effects.on_each(targets, NodeEffect::Paused);
            }
            FaultKind::Overload => effects.on_each(targets, NodeEffect::Overloaded),
            FaultKind::RollingRestart => effects.down.extend(targets.get(strike).cloned()),
            FaultKind::Kill => {
                effects.down.clone_from(targets);
                // The kernel of a killed process refuses connections; the simulator would let them
                // hang. What the dying process still sent (FIN) must get out, so one way only.
                effects.between(targets, &everyone, LinkEffect::Cut, false, true);
            }
            FaultKind::Restart
            | FaultKind::RestartStorm
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

    /// An effect on all links of the targets, both ways.
    fn of_wires(&mut self, targets: &[String], everyone: &[&String], effect: LinkEffect) {
        self.between(targets, everyone, effect, true, true);
    }

    fn on_each(&mut self, targets: &[String], effect: NodeEffect) {
        self.nodes.extend(targets.iter().map(|target| (target.clone(), effect)));
    }

    /// Cuts those pairs of `targets`, both ways, whose places `are_apart` names.
    fn apart(&mut self, targets: &[String], are_apart: impl Fn(usize, usize) -> bool) {
        for (i, one) in targets.iter().enumerate() {
            for (j, other) in targets.iter().enumerate() {
                if i != j && are_apart(i, j) {
                    self.links.push((one.clone(), other.clone(), LinkEffect::Cut));
                }
            }
        }
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

/// The nodes on either side of a bridge: the others from the one after it on, in a circle, the first half
/// of them and the rest.
fn halves(bridge: &str, nodes: &[String]) -> [Vec<String>; 2] {
    let at = nodes.iter().position(|node| node == bridge).unwrap_or(0);
    let others: Vec<String> = (1..nodes.len()).map(|step| nodes[(at + step) % nodes.len()].clone()).collect();
    let (one, other) = others.split_at(others.len() / 2);
    [one.to_vec(), other.to_vec()]
}

fn are_neighbours(one: usize, other: usize, count: usize) -> bool {
    let apart = one.abs_diff(other);
    apart == 1 || apart + 1 == count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Settings;

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
            settings: Settings { add: Some(Duration::from_millis(7)), ..Settings::default() },
        }
    }

    fn links(kind: FaultKind, targets: &[&str]) -> Vec<String> {
        let effects =
            Effects::of(&fault(kind, targets), 0, &names(&["n1", "n2", "n3"]), &names(&["c1", "c2"]));
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

    /// The pairs of five nodes that do not see each other, each once.
    fn unseen(kind: FaultKind, targets: &[&str]) -> Vec<String> {
        let nodes = names(&["n1", "n2", "n3", "n4", "n5"]);
        let effects = Effects::of(&fault(kind, targets), 0, &nodes, &names(&["c1"]));
        let is_cut = |from: &str, to: &str| {
            effects.links.iter().any(|(a, b, effect)| a == from && b == to && *effect == LinkEffect::Cut)
        };
        let mut unseen = Vec::new();
        for (i, one) in nodes.iter().enumerate() {
            for other in &nodes[i + 1..] {
                assert_eq!(is_cut(one, other), is_cut(other, one), "{one} and {other}");
                if is_cut(one, other) {
                    unseen.push(format!("{one}{other}"));
                }
            }
            assert!(!is_cut(one, "c1") && !is_cut("c1", one));
        }
        unseen
    }

    #[test]
    fn partitions_have_the_shape_that_they_are_named_after() {
        assert_eq!(unseen(FaultKind::Bridge, &["n4"]), ["n1n2", "n1n3", "n2n5", "n3n5"]);
        let all = ["n1", "n2", "n3", "n4", "n5"];
        assert_eq!(unseen(FaultKind::Ring, &all), ["n1n3", "n1n4", "n2n4", "n2n5", "n3n5"]);
        assert_eq!(
            unseen(FaultKind::Isolate, &["n1", "n3"]),
            ["n1n2", "n1n3", "n1n4", "n1n5", "n2n3", "n3n4", "n3n5"]
        );
        assert_eq!(unseen(FaultKind::Partition, &["n1", "n3"]).len(), 6);
    }

    #[test]
    fn a_clock_goes_wrong_the_way_it_is_told() {
        let clock = |kind, direction| {
            let mut fault = fault(kind, &["n2"]);
            fault.settings = Settings { direction: Some(direction), rate: Some(0.25), ..fault.settings };
            Effects::of(&fault, 0, &names(&["n1", "n2"]), &[]).clocks
        };
        let behind = clock(FaultKind::ClockSkew, Direction::Behind);
        assert_eq!(behind, [("n2".to_owned(), ClockEffect::Offset(-7_000_000))]);
        let fast = clock(FaultKind::ClockDrift, Direction::Ahead);
        assert_eq!(fast, [("n2".to_owned(), ClockEffect::Drift(250_000))]);
    }

    #[test]
    fn bytes_change_between_nodes_and_where_there_is_tls_the_connection_ends() {
        let effects =
            Effects::of(&fault(FaultKind::Corrupt, &["n1"]), 0, &names(&["n1", "n2"]), &names(&["c1"]));
        let described: Vec<String> =
            effects.links.iter().map(|(from, to, effect)| format!("{from}>{to} {effect:?}")).collect();
        let expected =
            ["n1>n2 Corrupt(10000)", "n2>n1 Corrupt(10000)", "n1>c1 Tear(10000)", "c1>n1 Tear(10000)"];
        assert_eq!(described, expected);
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
