//! The hosts that nodes run on: each with a disk that outlives its crashes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use quorate_cluster::config::{Administration, Config, Member, NodeSection};
use quorate_cluster::node::{Node, NodeParts};
use quorate_env::{Env, Random, RandomStream, SimulatedDisk};

use super::SimNetwork;
use super::clock::NodeClock;
use super::wires::Wires;
use crate::trace::Tape;
use crate::world::{Play, Seams, WorldError};

/// Port of every node's API.
pub(super) const API_PORT: u16 = 80;
/// Port that peers connect to.
const PEER_PORT: u16 = 7000;

/// How long a simulated disk needs to sync when nothing is wrong with it.
pub(super) const SYNC_LATENCY: Duration = Duration::from_millis(1);

/// How long after its end a node is started again that its disk let down.
const START_AGAIN: Duration = Duration::from_millis(200);

/// How many bytes rot at a time: some hit records that are still in use.
const ROTTEN_BYTES: u32 = 40;

/// All nodes, spare ones last: each is a host of its own name.
pub(super) fn everybody(play: &Play<'_>) -> Result<Vec<Member>, WorldError> {
    let address = |name: &str| (format!("{name}:{PEER_PORT}"), format!("{name}:{API_PORT}"));
    play.scenario.cluster.everybody(address).map_err(WorldError::SetUp)
}

/// What of each node outlives its crashes.
#[derive(Clone, Default)]
pub(super) struct NodeHost {
    pub(super) disk: SimulatedDisk,
    pub(super) network: SimNetwork,
    pub(super) clock: NodeClock,
    /// The newest peer protocol that the next process speaks.
    protocol: Arc<AtomicU32>,
    /// How many disks it has had. A real process draws another incarnation whatever its disk says;
    /// here its randomness would begin again as the first start number does.
    disks: Arc<AtomicU64>,
}

impl NodeHost {
    /// Some bytes of what is stored turn into others. Says whether there were any.
    pub(super) fn rot(&self, random: &mut RandomStream) -> bool {
        self.disk.rot(ROTTEN_BYTES, |file| file.ends_with(".segment"), random)
    }

    /// The next process speaks no newer peer protocol.
    pub(super) fn hold_back(&self, protocol: u32) {
        self.protocol.store(protocol, Ordering::Relaxed);
    }

    /// What the disk held once is put back; the next process finds that.
    pub(super) fn put_back(&self, copy: &SimulatedDisk) {
        self.disk.restore(copy);
        self.disks.fetch_add(1, Ordering::Relaxed);
    }

    /// The disk is gone; the next process finds an empty one.
    pub(super) fn wipe(&self) {
        self.disk.wipe();
        self.disks.fetch_add(1, Ordering::Relaxed);
    }
}

/// All nodes, by name.
pub(super) type NodeHosts = BTreeMap<String, NodeHost>;

/// Registers a host for every node; they start with the first tick. Spare ones are told of the
/// members' addresses and nothing else.
pub(super) fn start(
    sim: &mut turmoil::Sim<'_>,
    play: &Play<'_>,
    random: Random,
    (wires, tape): (&Wires, Option<&Tape>),
) -> Result<NodeHosts, WorldError> {
    let everybody = everybody(play)?;
    let members = everybody[..play.scenario.cluster.nodes].to_vec();
    let mut nodes = NodeHosts::new();
    for member in &everybody {
        let name = member.id.to_string();
        let is_spare = !members.contains(member);
        let seeds = if is_spare { members.iter().map(|m| m.peer.clone()).collect() } else { Vec::new() };
        let known = if is_spare { Vec::new() } else { members.clone() };
        let section = NodeSection {
            id: member.id,
            listen: member.api.clone(),
            peer_listen: member.peer.clone(),
            data_dir: String::new(),
            capacity: member.capacity,
            zone: member.zone.clone(),
            seeds,
            token_key_file: None,
            administration: Administration::Open,
            admin_token_file: None,
            protocol_max: None,
            threads: None,
        };
        let mut config = Config::new(section, None, play.store.clone(), known)
            .map_err(|e| WorldError::SetUp(e.to_string()))?;
        config.timing.scrub = play.scenario.cluster.anti_entropy;
        let network = random.child("network");
        let delays = network.stream(&format!("legs-{name}"));
        let reorder = network.stream(&format!("reorder-{name}"));
        let node = NodeHost {
            network: SimNetwork::of_node(wires.clone(), &play.scenario.network.legs, delays, reorder)
                .taped(tape, &name),
            ..NodeHost::default()
        };
        node.disk.set_sync_latency(SYNC_LATENCY);
        node.hold_back(play.scenario.cluster.protocol());
        let host =
            Host { config, node: node.clone(), random: random.child(&name), seams: play.seams.clone() };
        sim.host(name.as_str(), move || host.clone().run());
        nodes.insert(name, node);
    }
    Ok(nodes)
}

#[derive(Clone)]
struct Host {
    config: Config,
    node: NodeHost,
    random: Random,
    seams: Seams,
}

impl Host {
    /// Runs the node, and starts it again if it ended because its disk failed: whoever runs nodes has
    /// something that does so, and only a node that ends by itself is a bug.
    async fn run(self) -> turmoil::Result {
        // Declared first, so that it is dropped last.
        let _closes_last = self.node.network.guard();
        let disk = &self.node.disk;
        loop {
            let failures = disk.counters().failures;
            let ended = Box::pin(self.clone().run_once()).await;
            if disk.counters().failures == failures {
                return ended;
            }
            // Whatever is left of the process is cut off from the disk.
            disk.kill();
            tokio::time::sleep(START_AGAIN).await;
        }
    }

    async fn run_once(self) -> turmoil::Result {
        let name = self.config.node.id.to_string();
        let mut disk = self.node.disk.mount();
        if let Some(wrap) = &self.seams.disk {
            disk = wrap(&name, disk);
        }
        let engine = match &self.seams.engine {
            Some(wrap) => {
                let engine =
                    quorate_cluster::store::open(self.config.store.engine, Arc::clone(&disk), None).await?;
                Some(wrap(&name, engine))
            }
            None => None,
        };
        let random = match self.node.disks.load(Ordering::Relaxed) {
            0 => self.random,
            lost => self.random.child(&format!("disk-{lost}")),
        };
        let clock = Arc::new(self.node.clock.clone());
        let env = Env { net: Arc::new(self.node.network.clone()), clock, random, disk };
        let mut config = self.config;
        config.node.protocol_max = Some(self.node.protocol.load(Ordering::Relaxed));
        let node = Node::start(NodeParts { config, env, engine, tls: None }).await?;
        node.run().await?;
        Err(format!("node {name} ended by itself").into())
    }
}
