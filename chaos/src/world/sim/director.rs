//! Does to the simulated world what the plan says, between two ticks.

use std::collections::BTreeMap;

use quorate_env::{Random, RandomStream, SimulatedDisk};

use super::node::{NodeHost, NodeHosts, SYNC_LATENCY};
use super::wires::{self, Wires};
use crate::fault::{
    Due, Effects, FaultEvent, FaultKind, LinkEffect, LinkTable, NodeState, NodeTable, PairState, Phase,
};
use crate::members::Desk;
use crate::scenario::NetworkSection;
use crate::world::Play;
use crate::world::script::Script;

pub(super) struct Director {
    script: Script,
    links: LinkTable,
    states: NodeTable,
    /// How often a node was told of a new state.
    issued: u64,
    nodes: NodeHosts,
    disk_random: BTreeMap<String, RandomStream>,
    /// Of each fault that puts old disks back: what they held when it began.
    copies: BTreeMap<usize, BTreeMap<String, SimulatedDisk>>,
    random: Random,
    wires: Wires,
    network: NetworkSection,
    hosts: Vec<String>,
    desk: Desk,
}

impl Director {
    /// Spare nodes are down until a fault starts them.
    pub(super) fn new(
        sim: &mut turmoil::Sim<'_>,
        play: &Play<'_>,
        random: Random,
        nodes: NodeHosts,
        wires: Wires,
        desk: Desk,
    ) -> Self {
        let section = &play.scenario.cluster;
        let members: Vec<String> = section.node_names().collect();
        let spares: Vec<String> = section.spare_names().collect();
        let clients: Vec<String> = play.scenario.workload.hosts().collect();
        for spare in &spares {
            sim.crash(spare.as_str());
        }
        let disk_random = members
            .iter()
            .chain(&spares)
            .map(|n| (n.clone(), random.child("faults").stream(&format!("disk-{n}"))))
            .collect();
        Self {
            script: Script::new(play.plan, &members, &spares, &clients),
            links: LinkTable::default(),
            states: NodeTable::default(),
            issued: 0,
            nodes,
            disk_random,
            copies: BTreeMap::new(),
            random,
            wires,
            network: play.scenario.network.clone(),
            hosts: members.into_iter().chain(spares).chain(clients).collect(),
            desk,
        }
    }

    /// Applies everything whose time has come, if the load began at `start_ns`.
    pub(super) fn apply_due(&mut self, sim: &mut turmoil::Sim<'_>, start_ns: u64) {
        let now_ns = u64::try_from(sim.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for over in self.desk.take_over() {
            self.script.note(over, 0, Phase::End, now_ns);
        }
        while let Some(Due { phase, fault, strike, .. }) = self.script.next_due(start_ns, now_ns) {
            self.script.note(fault, strike, phase, now_ns);
            match phase {
                Phase::Begin => self.begin(sim, fault, strike, now_ns),
                Phase::End => self.end(sim, fault, strike),
            }
        }
    }

    pub(super) fn into_events(self) -> Vec<FaultEvent> {
        self.script.into_events()
    }

    fn begin(&mut self, sim: &mut turmoil::Sim<'_>, i: usize, strike: usize, now_ns: u64) {
        let effects = self.script.effects(i, strike);
        let kind = self.script.fault(i).kind;
        let cuts_power = kind.cuts_power();
        // Without power nothing leaves the node any more, not even the end of its connections, and
        // what was on the way to it is lost. The links themselves are in order again at once.
        let dark = Effects { links: self.all_links_of(&effects.down), ..Effects::default() };
        if cuts_power {
            self.links.begin(&dark);
            self.issue(sim);
        }
        for node in &effects.down {
            self.take_down(sim, node);
            if cuts_power
                && let (Some(host), Some(random)) = (self.nodes.get(node), self.disk_random.get_mut(node))
            {
                host.disk.power_cut(random);
                if kind == FaultKind::Wipe {
                    host.wipe();
                }
            }
        }
        if let Some(protocol) = kind.speaks() {
            self.script.remark("peer_protocol", &protocol.to_string());
            for node in &effects.down {
                if let Some(host) = self.nodes.get(node) {
                    host.hold_back(protocol);
                }
            }
        }
        if cuts_power {
            self.links.end(&dark);
        }
        if kind == FaultKind::Rot {
            self.rot(i);
        }
        if kind == FaultKind::RestoreDisk {
            let copy = |node: &String| Some((node.clone(), self.nodes.get(node)?.disk.copied()));
            self.copies.insert(i, effects.restarting.iter().filter_map(copy).collect());
        }
        for (node, clock) in &effects.clocks {
            if let Some(host) = self.nodes.get(node) {
                host.clock.begin(i, *clock, now_ns);
            }
        }
        self.states.begin(&effects);
        self.links.begin(&effects);
        self.issue(sim);
        for node in &effects.starting {
            self.start_if_free(sim, node);
        }
        self.desk.ask_for(i, self.script.fault(i));
    }

    /// A disk that was wiped a moment ago, or has taken no record yet, has nothing that could rot.
    fn rot(&mut self, i: usize) {
        let mut sound = Vec::new();
        for node in &self.script.fault(i).targets {
            if let (Some(host), Some(random)) = (self.nodes.get(node), self.disk_random.get_mut(node))
                && !host.rot(random)
            {
                sound.push(node.clone());
            }
        }
        if !sound.is_empty() {
            self.script.remark("nothing_to_rot", &sound.join(", "));
        }
    }

    fn start_if_free(&mut self, sim: &mut turmoil::Sim<'_>, node: &str) {
        if self.script.may_run(node) {
            sim.bounce(node);
        }
    }

    fn end(&mut self, sim: &mut turmoil::Sim<'_>, i: usize, strike: usize) {
        let effects = self.script.effects(i, strike);
        self.links.end(&effects);
        self.states.end(&effects);
        self.issue(sim);
        for (node, _) in &effects.clocks {
            if let Some(host) = self.nodes.get(node) {
                host.clock.end(i);
            }
        }
        for node in &effects.down {
            self.start_if_free(sim, node);
        }
        let mut copies = self.copies.remove(&i).unwrap_or_default();
        for node in &effects.restarting {
            self.take_down(sim, node);
            if let (Some(host), Some(copy)) = (self.nodes.get(node), copies.remove(node)) {
                host.put_back(&copy);
            }
            self.start_if_free(sim, node);
        }
    }

    /// One more fault keeps a node down: its process ends, if that ran until now.
    fn take_down(&mut self, sim: &mut turmoil::Sim<'_>, node: &str) {
        if self.script.goes_down(node)
            && let Some(host) = self.nodes.get(node)
        {
            host.network.set_crashing(true);
            sim.crash(node);
            host.network.set_crashing(false);
            host.disk.kill();
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

    fn issue(&mut self, sim: &turmoil::Sim<'_>) {
        for (node, state) in self.states.take_changes() {
            if let Some(host) = self.nodes.get(&node) {
                self.issued += 1;
                let errors = self.random.child("faults").stream(&format!("errors-{node}-{}", self.issued));
                set_node(host, state, errors);
            }
        }
        for pair in self.links.take_changes() {
            set_link(sim, &pair, &self.network);
            let (a, b) = (pair.a.as_str(), pair.b.as_str());
            for (from, to, wire) in [(a, b, pair.wire_a_to_b), (b, a, pair.wire_b_to_a)] {
                let link = (sim.lookup(from), sim.lookup(to));
                self.wires.set(link, wire, || wires::stream(self.random, from, to));
            }
        }
    }
}

/// Brings a node's disk and messages into `state`. What fails is drawn from `errors`.
fn set_node(host: &NodeHost, state: NodeState, errors: RandomStream) {
    host.disk.set_sync_latency(SYNC_LATENCY + state.sync_delay);
    host.disk.set_capacity(state.is_full.then_some(0));
    host.disk.set_errors(state.errors_ppm, errors);
    host.disk.set_stalled(state.is_paused);
    host.network.set_reordered(state.reordered);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use turmoil::net::{TcpListener, TcpStream};

    use super::*;

    /// `a` sends a byte to `b` every 10 ms for half a second; from `at_ms` to `until_ms` the link is
    /// in the given state. Returns (sent, arrived) in milliseconds for every byte that arrived.
    fn arrivals(at_ms: u128, until_ms: u128, state: PairState) -> Vec<(u64, u64)> {
        let network = NetworkSection::default();
        let mut sim = turmoil::Builder::new()
            .rng_seed(1)
            .tick_duration(network.tick)
            .min_message_latency(network.latency_min)
            .max_message_latency(network.latency_max)
            .simulation_duration(Duration::from_secs(60))
            .build();
        let arrived: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
        let log = Arc::clone(&arrived);
        let now_ms = || u64::try_from(turmoil::sim_elapsed().unwrap().as_millis()).unwrap();
        sim.host("b", move || {
            let log = Arc::clone(&log);
            async move {
                let listener = TcpListener::bind(("0.0.0.0", 1)).await?;
                let (mut stream, _) = listener.accept().await?;
                loop {
                    let sent = stream.read_u64().await?;
                    log.lock().unwrap().push((sent, now_ms()));
                }
            }
        });
        sim.client("a", async move {
            let mut stream = TcpStream::connect(("b", 1)).await?;
            for _ in 0..50 {
                stream.write_u64(now_ms()).await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        });
        let healthy = PairState {
            cut_a_to_b: false,
            cut_b_to_a: false,
            hold: false,
            delay: Duration::ZERO,
            ..state.clone()
        };
        let (mut begun, mut ended) = (false, false);
        while !sim.step().unwrap() {
            let elapsed_ms = sim.elapsed().as_millis();
            if !begun && elapsed_ms >= at_ms {
                set_link(&sim, &state, &network);
                begun = true;
            } else if !ended && elapsed_ms >= until_ms {
                set_link(&sim, &healthy, &network);
                ended = true;
            }
        }
        arrived.lock().unwrap().clone()
    }

    fn healthy() -> PairState {
        LinkTable::default().state("a", "b")
    }

    #[test]
    fn a_held_link_delivers_everything_once_it_is_released() {
        let arrived = arrivals(200, 400, PairState { hold: true, ..healthy() });
        assert_eq!(arrived.len(), 50);
        assert!(arrived.iter().all(|(_, at)| !(210..400).contains(at)), "{arrived:?}");
        assert!(arrived.iter().any(|(sent, at)| *sent < 300 && *at >= 400));
    }

    #[test]
    fn a_cut_link_loses_what_is_sent_and_its_connection_never_recovers() {
        let arrived = arrivals(200, 400, PairState { cut_a_to_b: true, ..healthy() });
        assert!(arrived.iter().all(|(sent, _)| *sent <= 202) && arrived.len() >= 15, "{arrived:?}");
    }

    #[test]
    fn a_cut_the_other_way_does_not_stop_these_messages() {
        assert_eq!(arrivals(200, 400, PairState { cut_b_to_a: true, ..healthy() }).len(), 50);
    }

    #[test]
    fn a_cut_wins_over_a_hold() {
        let arrived = arrivals(200, 400, PairState { cut_a_to_b: true, hold: true, ..healthy() });
        assert!(arrived.iter().all(|(sent, _)| *sent <= 202), "{arrived:?}");
    }

    #[test]
    fn a_delay_ends_with_its_fault() {
        let arrived = arrivals(200, 400, PairState { delay: Duration::from_millis(50), ..healthy() });
        assert_eq!(arrived.len(), 50);
        let took = |from: u64, until: u64| {
            let of_then = arrived.iter().filter(move |(sent, _)| (from..until).contains(sent));
            of_then.map(|(sent, at)| at - sent).collect::<Vec<_>>()
        };
        assert!(took(0, 190).iter().all(|ms| *ms <= 10), "{arrived:?}");
        assert!(took(210, 390).iter().all(|ms| (50..=60).contains(ms)), "{arrived:?}");
        assert!(took(460, 600).iter().all(|ms| *ms <= 10), "{arrived:?}");
    }
}
