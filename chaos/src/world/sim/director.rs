//! Does to the simulated world what the plan says, between two ticks.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_env::{Random, RandomStream};

use super::node::{NodeHosts, SYNC_LATENCY};
use crate::fault::{Effects, FaultEvent, FaultKind, LinkEffect, LinkTable, PairState, Phase, Plan};
use crate::scenario::NetworkSection;
use crate::world::Play;

pub(super) struct Director {
    plan: Plan,
    effects: Vec<Effects>,
    schedule: std::vec::IntoIter<(u64, Phase, usize)>,
    next: Option<(u64, Phase, usize)>,
    links: LinkTable,
    /// How many faults keep a node down.
    down: BTreeMap<String, u32>,
    /// By how much the faults on a node's disk slow it, in all.
    slow: BTreeMap<String, Duration>,
    nodes: NodeHosts,
    disk_random: BTreeMap<String, RandomStream>,
    network: NetworkSection,
    hosts: Vec<String>,
    events: Vec<FaultEvent>,
}

impl Director {
    pub(super) fn new(play: &Play<'_>, random: Random, nodes: NodeHosts) -> Self {
        let names: Vec<String> = play.scenario.cluster.node_names().collect();
        let clients: Vec<String> = play.scenario.workload.hosts().collect();
        let effects = play.plan.faults.iter().map(|f| Effects::of(f, &names, &clients)).collect();
        let mut schedule = play.plan.schedule().into_iter();
        let next = schedule.next();
        let disk_random =
            names.iter().map(|n| (n.clone(), random.child("faults").stream(&format!("disk-{n}")))).collect();
        Self {
            plan: play.plan.clone(),
            effects,
            schedule,
            next,
            links: LinkTable::default(),
            down: BTreeMap::new(),
            slow: BTreeMap::new(),
            nodes,
            disk_random,
            network: play.scenario.network.clone(),
            hosts: names.into_iter().chain(clients).collect(),
            events: Vec::new(),
        }
    }

    /// Applies everything whose time has come, if the load began at `start_ns`.
    pub(super) fn apply_due(&mut self, sim: &mut turmoil::Sim<'_>, start_ns: u64) {
        let now_ns = u64::try_from(sim.elapsed().as_nanos()).unwrap_or(u64::MAX);
        while let Some((at_ms, phase, i)) = self.next {
            if start_ns + at_ms * 1_000_000 > now_ns {
                return;
            }
            match phase {
                Phase::Begin => self.begin(sim, i),
                Phase::End => self.end(sim, i),
            }
            let fault = &self.plan.faults[i];
            self.events.push(FaultEvent {
                fault: i,
                event: phase,
                kind: fault.kind,
                targets: fault.targets.clone(),
                at_ns: now_ns,
            });
            self.next = self.schedule.next();
        }
    }

    pub(super) fn into_events(self) -> Vec<FaultEvent> {
        self.events
    }

    fn begin(&mut self, sim: &mut turmoil::Sim<'_>, i: usize) {
        let effects = self.effects[i].clone();
        let cuts_power = self.plan.faults[i].kind == FaultKind::PowerCut;
        // Without power nothing leaves the node any more, not even the end of its connections, and
        // what was on the way to it is lost. The links themselves are in order again at once.
        let dark = Effects { links: self.all_links_of(&effects.down), ..Effects::default() };
        if cuts_power {
            self.links.begin(&dark);
            self.issue(sim);
        }
        for node in &effects.down {
            let count = self.down.entry(node.clone()).or_default();
            *count += 1;
            if *count == 1 {
                if let Some(host) = self.nodes.get(node) {
                    host.network.set_crashing(true);
                    sim.crash(node.as_str());
                    host.network.set_crashing(false);
                    host.disk.kill();
                }
            }
            if cuts_power
                && let (Some(host), Some(random)) = (self.nodes.get(node), self.disk_random.get_mut(node))
            {
                host.disk.power_cut(random);
            }
        }
        if cuts_power {
            self.links.end(&dark);
        }
        for (node, by) in &effects.slow_disks {
            *self.slow.entry(node.clone()).or_default() += *by;
            self.set_disk_speed(node);
        }
        self.links.begin(&effects);
        self.issue(sim);
    }

    fn end(&mut self, sim: &mut turmoil::Sim<'_>, i: usize) {
        let effects = self.effects[i].clone();
        self.links.end(&effects);
        self.issue(sim);
        for (node, by) in &effects.slow_disks {
            let slow = self.slow.entry(node.clone()).or_default();
            *slow = slow.saturating_sub(*by);
            self.set_disk_speed(node);
        }
        for node in &effects.down {
            let count = self.down.entry(node.clone()).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                sim.bounce(node.as_str());
            }
        }
    }

    fn all_links_of(&self, nodes: &[String]) -> Vec<(String, String, LinkEffect)> {
        let pairs = nodes.iter().flat_map(|node| {
            let others = self.hosts.iter().filter(move |other| *other != node);
            others.flat_map(move |other| {
                [(node, other), (other, node)].map(|(a, b)| (a.clone(), b.clone(), LinkEffect::Cut))
            })
        });
        pairs.collect()
    }

    fn set_disk_speed(&self, node: &str) {
        if let Some(host) = self.nodes.get(node) {
            let slow = self.slow.get(node).copied().unwrap_or_default();
            host.disk.set_sync_latency(SYNC_LATENCY + slow);
        }
    }

    fn issue(&mut self, sim: &turmoil::Sim<'_>) {
        for pair in self.links.take_changes() {
            set_link(sim, &pair, &self.network);
        }
    }
}

/// Brings turmoil's link from whatever it is to `state`. Its own operations do not combine, so this
/// starts from a healthy link each time; held messages that stay held are only touched in passing.
fn set_link(sim: &turmoil::Sim<'_>, state: &PairState, network: &NetworkSection) {
    let (a, b) = (state.a.as_str(), state.b.as_str());
    sim.release(a, b);
    if state.hold {
        sim.hold(a, b);
    }
    if state.cut_a_to_b {
        sim.partition_oneway(a, b);
    }
    if state.cut_b_to_a {
        sim.partition_oneway(b, a);
    }
    // Sets least and greatest alike, so the greatest is set again.
    sim.set_link_latency(a, b, network.latency_min + state.delay);
    sim.set_link_max_message_latency(a, b, network.latency_max + state.delay);
}
