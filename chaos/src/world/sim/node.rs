//! The hosts that nodes run on: each with a disk that outlives its crashes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_cluster::config::{Config, Member, NodeId, NodeSection};
use quorate_cluster::node::{Node, NodeParts};
use quorate_env::{Env, Random, SimulatedDisk};

use super::{SimClock, SimNetwork};
use crate::scenario::Scenario;
use crate::world::{Play, Seams, WorldError};

/// Port of every node's API.
pub(super) const API_PORT: u16 = 80;
/// Port that peers connect to.
const PEER_PORT: u16 = 7000;

/// How long a simulated disk needs to sync when nothing is wrong with it.
pub(super) const SYNC_LATENCY: Duration = Duration::from_millis(1);

/// The members of the simulated cluster.
///
/// # Errors
/// Names a node id that is not one; there is none among `n1`, `n2` and so on.
pub(crate) fn members(scenario: &Scenario) -> Result<Vec<Member>, String> {
    let section = &scenario.cluster;
    section
        .node_names()
        .enumerate()
        .map(|(i, name)| {
            Ok(Member {
                id: name.parse::<NodeId>()?,
                peer: format!("{name}:{PEER_PORT}"),
                api: format!("{name}:{API_PORT}"),
                capacity: section.capacities.get(i).copied().unwrap_or(1),
                zone: section.zones.get(i).cloned().unwrap_or_default(),
            })
        })
        .collect()
}

/// What of each node outlives its crashes.
#[derive(Clone, Default)]
pub(super) struct NodeHost {
    pub(super) disk: SimulatedDisk,
    pub(super) network: SimNetwork,
}

/// All nodes, by name.
pub(super) type NodeHosts = BTreeMap<String, NodeHost>;

/// Registers a host for every node; they start with the first tick.
pub(super) fn start(
    sim: &mut turmoil::Sim<'_>,
    play: &Play<'_>,
    random: Random,
) -> Result<NodeHosts, WorldError> {
    let members = members(play.scenario).map_err(WorldError::SetUp)?;
    let mut nodes = NodeHosts::new();
    for member in &members {
        let name = member.id.to_string();
        let section = NodeSection {
            id: member.id,
            listen: member.api.clone(),
            peer_listen: member.peer.clone(),
            data_dir: String::new(),
            capacity: member.capacity,
            zone: member.zone.clone(),
            seeds: Vec::new(),
            token_key_file: None,
        };
        let config = Config::new(section, None, play.store.clone(), members.clone())
            .map_err(|e| WorldError::SetUp(e.to_string()))?;
        let node = NodeHost::default();
        node.disk.set_sync_latency(SYNC_LATENCY);
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
    async fn run(self) -> turmoil::Result {
        // Declared first, so that it is dropped last.
        let _closes_last = self.node.network.guard();
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
        let env = Env {
            net: Arc::new(self.node.network.clone()),
            clock: Arc::new(SimClock),
            random: self.random,
            disk,
        };
        let node = Node::start(NodeParts { config: self.config, env, engine, tls: None }).await?;
        node.run().await?;
        Err(format!("node {name} ended by itself").into())
    }
}
