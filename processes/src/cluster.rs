//! A whole local cluster: made, started, stopped; its nodes killed and started again one by one.

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};

use quorate_cluster::config::{
    Administration, Config, Member, NodeSection, PeerTraffic, StoreDefinition, TlsSection,
};
use quorate_env::Random;
use rand::Rng as _;

use super::child::NodeProcess;
use super::layout::{Layout, make_dir, write_file, write_secret};
use super::pki::{Authority, hosts_of};
use super::ports::free_ports;
use super::state::{ClusterState, NodeState};
use super::{ProcessError, child};

/// How long nodes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until this process ends, however it ends.
    WithHarness,
    /// Until they are stopped.
    Detached,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the store promises.
    pub store: StoreDefinition,
    /// The nodes, spare ones last.
    pub nodes: Vec<NodePlan>,
    /// Where the nodes' logs go; none is beside their data.
    pub logs: Option<PathBuf>,
    /// The newest peer protocol that nodes speak; none is all that their program knows.
    pub protocol_max: Option<u32>,
    /// How the nodes talk to each other.
    pub peers: PeerTraffic,
}

/// A node to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// Its name.
    pub id: String,
    /// Its share of the data, relative to the others.
    pub capacity: u32,
    /// Its zone; empty for none.
    pub zone: String,
    /// It is laid out, but neither started nor a member until somebody makes it so.
    pub is_spare: bool,
}

impl Plan {
    /// `count` nodes of capacity 1, called `n1`, `n2`, and so on.
    #[must_use]
    pub fn of_size(store: StoreDefinition, count: usize) -> Self {
        let node = |id| NodePlan { id, capacity: 1, zone: String::new(), is_spare: false };
        Self {
            store,
            nodes: Self::names(count).into_iter().map(node).collect(),
            logs: None,
            protocol_max: None,
            peers: PeerTraffic::Mutual,
        }
    }

    /// How `count` nodes are called that nobody gave names: `n01` before `n10` once there are ten,
    /// so that names sort as they count.
    #[must_use]
    pub fn names(count: usize) -> Vec<String> {
        let width = count.to_string().len();
        (1..=count).map(|number| format!("n{number:0width$}")).collect()
    }

    /// The same, with the nodes' logs in `dir`.
    #[must_use]
    pub fn with_logs(self, dir: PathBuf) -> Self {
        Self { logs: Some(dir), ..self }
    }
}

/// A running local cluster.
pub struct LocalCluster {
    state: ClusterState,
    spares: Vec<NodeState>,
    nodes: Vec<NodeProcess>,
    program: PathBuf,
    lifetime: Lifetime,
}

impl LocalCluster {
    /// Makes a cluster in `dir`, which must be absent or empty, and waits until it answers.
    /// If it does not come up, what came up is stopped again.
    ///
    /// # Errors
    /// If anything refuses; with the log of the node it was.
    pub async fn start(dir: &Path, plan: &Plan, lifetime: Lifetime) -> Result<Self, ProcessError> {
        Self::start_with(&own_program()?, dir, plan, lifetime).await
    }

    /// As [`LocalCluster::start`], with nodes that run `program`.
    ///
    /// # Errors
    /// If anything refuses; with the log of the node it was.
    pub async fn start_with(
        program: &Path,
        dir: &Path,
        plan: &Plan,
        lifetime: Lifetime,
    ) -> Result<Self, ProcessError> {
        let mut layout = Layout::claim(dir)?;
        if layout.state_file().exists() {
            return Err(ProcessError::NotEmpty(dir.to_owned()));
        }
        if let Some(logs) = &plan.logs {
            layout = layout.with_logs(logs.clone());
        }
        let (state, spares) = lay_out(&layout, plan)?;
        Self::launch(program, &layout, state, spares, lifetime).await
    }

    /// Starts the cluster that `dir` holds again, as it was.
    ///
    /// # Errors
    /// If there is none, it runs already, or it does not come up.
    pub async fn restart(dir: &Path, lifetime: Lifetime) -> Result<Self, ProcessError> {
        let layout = Layout::existing(dir)?;
        let state = ClusterState::read(dir)?;
        let running: Vec<String> = state.running().map(|node| node.id.clone()).collect();
        if !running.is_empty() {
            return Err(ProcessError::AlreadyUp { dir: dir.to_owned(), running });
        }
        Self::launch(&own_program()?, &layout, state, Vec::new(), lifetime).await
    }

    async fn launch(
        program: &Path,
        layout: &Layout,
        mut state: ClusterState,
        spares: Vec<NodeState>,
        lifetime: Lifetime,
    ) -> Result<Self, ProcessError> {
        let mut nodes = Vec::with_capacity(state.nodes.len());
        let started = async {
            for node in &mut state.nodes {
                let process = NodeProcess::spawn(program, node, lifetime)?;
                node.pid = process.pid();
                nodes.push(process);
            }
            // Before the wait: should this process be killed now, `cluster down` still finds them.
            state.write(layout)?;
            for node in &mut nodes {
                node.wait_until_healthy(&state.ca).await?;
            }
            for node in &mut nodes {
                node.wait_until_ready(&state.ca).await?;
            }
            Ok(())
        };
        match started.await {
            Ok(()) => Ok(Self { state, spares, nodes, program: program.to_owned(), lifetime }),
            Err(error) => {
                for node in nodes {
                    node.stop().await;
                }
                Err(error)
            }
        }
    }

    /// What was started.
    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    /// The nodes that are laid out and no members yet.
    pub fn spares(&self) -> &[NodeState] {
        &self.spares
    }

    /// Ends the node's process with SIGKILL: it gets no chance to say goodbye. Nothing happens if it
    /// does not run.
    pub async fn kill(&mut self, id: &str) {
        if let Some(at) = self.nodes.iter().position(|node| node.id() == id) {
            self.nodes.swap_remove(at).kill().await;
        }
    }

    /// Starts a node, spare or member, that does not run. Does not wait for it to answer.
    ///
    /// # Errors
    /// If there is no such node, or its program does not start.
    pub fn start_node(&mut self, id: &str) -> Result<(), ProcessError> {
        let known = self.state.nodes.iter_mut().chain(&mut self.spares).find(|node| node.id == id);
        let node = known.ok_or_else(|| ProcessError::NotLaidOut(id.to_owned()))?;
        let process = NodeProcess::spawn(&self.program, node, self.lifetime)?;
        node.pid = process.pid();
        self.nodes.push(process);
        Ok(())
    }

    /// Removes all data of a node that does not run, as if its disk had been lost.
    ///
    /// # Errors
    /// If there is no such node, or the data cannot be removed.
    pub fn wipe(&self, id: &str) -> Result<(), ProcessError> {
        let known = self.state.nodes.iter().chain(&self.spares).find(|node| node.id == id);
        let node = known.ok_or_else(|| ProcessError::NotLaidOut(id.to_owned()))?;
        let data = node.data_dir();
        match std::fs::remove_dir_all(&data) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(ProcessError::file(&data, "remove the directory")(e))
            }
            _ => Ok(()),
        }
    }

    /// Has a node speak no newer peer protocol than `protocol_max` from its next start on.
    ///
    /// # Errors
    /// If there is no such node, or its configuration cannot be read or written.
    pub fn hold_back(&self, id: &str, protocol_max: u32) -> Result<(), ProcessError> {
        let known = self.state.nodes.iter().chain(&self.spares).find(|node| node.id == id);
        let path = &known.ok_or_else(|| ProcessError::NotLaidOut(id.to_owned()))?.config;
        let text = std::fs::read_to_string(path).map_err(ProcessError::file(path, "read the file"))?;
        let mut config = Config::from_toml(&text)?;
        config.node.protocol_max = Some(protocol_max);
        write_file(path, config.to_toml().as_bytes())
    }

    /// The base URLs of all members.
    pub fn urls(&self) -> Vec<String> {
        self.state.nodes.iter().map(|node| node.url.clone()).collect()
    }

    /// The nodes that have ended by themselves, each with how.
    pub fn ended(&mut self) -> Vec<String> {
        let ended = self.nodes.iter_mut().filter_map(|node| Some((node.ended()?, node.id().to_owned())));
        ended.map(|(status, id)| format!("{id} ({status})")).collect()
    }

    /// Stops all nodes. Returns those that had to be killed.
    pub async fn stop(self) -> Vec<String> {
        let mut stopping = tokio::task::JoinSet::new();
        for node in self.nodes {
            stopping.spawn(async move {
                let id = node.id().to_owned();
                node.stop().await.then_some(id)
            });
        }
        let mut killed: Vec<String> = stopping.join_all().await.into_iter().flatten().collect();
        killed.sort_unstable();
        killed
    }
}

/// Stops the cluster that `dir` holds. Returns how many nodes ran, and those that would not go.
///
/// # Errors
/// If there is no cluster.
pub async fn stop_detached(dir: &Path) -> Result<(usize, Vec<String>), ProcessError> {
    let state = ClusterState::read(dir)?;
    let mut stopping = tokio::task::JoinSet::new();
    for node in state.running().cloned() {
        stopping.spawn(async move {
            let gone = child::end(node.pid, || node.is_running()).await;
            (!gone).then_some(node.id)
        });
    }
    let running = stopping.len();
    Ok((running, stopping.join_all().await.into_iter().flatten().collect()))
}

/// The file of this program: nodes run it too.
///
/// # Errors
/// If the operating system does not say.
pub fn own_program() -> Result<PathBuf, ProcessError> {
    std::env::current_exe().map_err(ProcessError::file(Path::new("quorate"), "find this program's own file"))
}

/// Writes everything that the nodes need. What does not fit together is refused before the
/// first file is written. Returns the cluster and its spare nodes.
fn lay_out(layout: &Layout, plan: &Plan) -> Result<(ClusterState, Vec<NodeState>), ProcessError> {
    let random = Random::from_system();
    let everybody = everybody(layout, plan, random)?;
    let is_member = |(_, node): &(&Member, &NodePlan)| !node.is_spare;
    let members: Vec<Member> =
        everybody.iter().zip(&plan.nodes).filter(is_member).map(|(member, _)| member.clone()).collect();
    let configs: Vec<Config> =
        everybody.iter().map(|node| first_config(layout, plan, node, &members)).collect::<Result<_, _>>()?;

    let authority = Authority::new()?;
    write_file(&layout.ca_file(), authority.own().certificate_pem.as_bytes())?;
    write_secret(&layout.ca_key_file(), authority.own().key_pem.as_bytes())?;
    let mut token_key = [0; 32];
    random.stream("token-key").fill_bytes(&mut token_key);
    write_secret(&layout.token_key_file(), &token_key)?;
    let mut admin_token = [0; 32];
    random.stream("admin-token").fill_bytes(&mut admin_token);
    let admin_token: String = admin_token.iter().map(|byte| format!("{byte:02x}")).collect();
    write_secret(&layout.admin_token_file(), admin_token.as_bytes())?;
    let nodes: Vec<NodeState> =
        configs.iter().map(|config| write_node(layout, &authority, config)).collect::<Result<_, _>>()?;
    let (members, spares) =
        nodes.into_iter().partition(|node| members.iter().any(|m| m.id.as_str() == node.id));
    Ok((ClusterState::new(plan.store.name.clone(), layout, members), spares))
}

/// Names and addresses.
fn everybody(layout: &Layout, plan: &Plan, random: Random) -> Result<Vec<Member>, ProcessError> {
    let ports = free_ports(plan.nodes.len() * 2, random)?;
    let member = |(node, pair): (&NodePlan, &[u16])| {
        let id = node.id.parse();
        Ok(Member {
            id: id.map_err(|why| ProcessError::BadState { path: layout.state_file(), why })?,
            api: format!("127.0.0.1:{}", pair[0]),
            peer: format!("127.0.0.1:{}", pair[1]),
            capacity: node.capacity,
            zone: node.zone.clone(),
        })
    };
    plan.nodes.iter().zip(ports.chunks_exact(2)).map(member).collect()
}

/// How many threads each of so many nodes has: they share the machine's cores.
#[must_use]
pub fn threads_of_each(nodes: usize) -> NonZeroU16 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let each = u16::try_from(cores / nodes.max(1)).unwrap_or(u16::MAX);
    NonZeroU16::new(each).unwrap_or(NonZeroU16::MIN)
}

/// The configuration of one of the nodes that a cluster is started with.
fn first_config(
    layout: &Layout,
    plan: &Plan,
    member: &Member,
    members: &[Member],
) -> Result<Config, ProcessError> {
    // Who is no member is told where members are, and learns the rest from them.
    let is_spare = !members.contains(member);
    let seeds = if is_spare { members.iter().map(|m| m.peer.clone()).collect() } else { Vec::new() };
    let known = if is_spare { Vec::new() } else { members.to_vec() };
    let habits = (threads_of_each(plan.nodes.len()), plan.peers);
    let mut config = node_config(layout, plan.store.clone(), habits, member, seeds, known)?;
    config.node.protocol_max = plan.protocol_max;
    Ok(config)
}

/// The configuration of a node, whose files are all where `layout` has them. It is a member among
/// `members`, or if there are none it finds the others through `seeds`.
pub(super) fn node_config(
    layout: &Layout,
    store: StoreDefinition,
    (threads, peers): (NonZeroU16, PeerTraffic),
    member: &Member,
    seeds: Vec<String>,
    members: Vec<Member>,
) -> Result<Config, ProcessError> {
    let home = layout.node_dir(member.id.as_str());
    let path = |file: &str| home.join(file).display().to_string();
    let node = NodeSection {
        id: member.id,
        listen: member.api.clone(),
        peer_listen: member.peer.clone(),
        data_dir: path("data"),
        capacity: member.capacity,
        zone: member.zone.clone(),
        seeds,
        token_key_file: Some(layout.token_key_file().display().to_string()),
        administration: Administration::Guarded,
        admin_token_file: Some(layout.admin_token_file().display().to_string()),
        protocol_max: None,
        threads: Some(threads),
    };
    let tls = TlsSection {
        cert: path("cert.pem"),
        key: path("key.pem"),
        ca: Some(layout.ca_file().display().to_string()),
        peers,
    };
    Ok(Config::new(node, Some(tls), store, members)?)
}

pub(super) fn write_node(
    layout: &Layout,
    authority: &Authority,
    config: &Config,
) -> Result<NodeState, ProcessError> {
    let node = &config.node;
    let id = node.id.as_str();
    make_dir(&layout.node_dir(id))?;
    if let Some(tls) = &config.tls {
        let issued = authority.issue(id, &hosts_of(&node.listen))?;
        write_file(Path::new(&tls.cert), issued.certificate_pem.as_bytes())?;
        write_secret(Path::new(&tls.key), issued.key_pem.as_bytes())?;
    }
    let path = layout.config_file(id);
    write_file(&path, config.to_toml().as_bytes())?;
    let log = layout.log_file(id);
    if let Some(parent) = log.parent() {
        make_dir(parent)?;
    }
    let url = format!("https://{}", node.listen);
    Ok(NodeState { id: id.to_owned(), pid: 0, url, peer: node.peer_listen.clone(), config: path, log })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Arc;

    use quorate_cluster::tls::Certificates;
    use quorate_env::SystemClock;

    use super::*;

    #[test]
    fn what_is_laid_out_is_what_a_node_reads() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::claim(dir.path()).unwrap();
        let store = StoreDefinition::profile("quorum").unwrap();
        let state = lay_out(&layout, &Plan::of_size(store.clone(), 4)).unwrap().0;
        assert_eq!(state.nodes.len(), 4);
        for node in &state.nodes {
            let config = Config::from_toml(&std::fs::read_to_string(&node.config).unwrap()).unwrap();
            assert_eq!(config.store, store);
            assert_eq!(config.members.len(), 4);
            assert_eq!(config.node.threads, Some(threads_of_each(4)), "they share the cores");
            assert_eq!(format!("https://{}", config.node.listen), node.url);
            let tls = config.tls.unwrap();
            assert_eq!(tls.peers, PeerTraffic::Mutual);
            assert!(Certificates::open(&tls, Arc::new(SystemClock::new())).is_ok(), "peers would take it");
            assert!(std::fs::metadata(config.node.token_key_file.unwrap()).unwrap().len() >= 16);
            assert_eq!(config.node.administration, Administration::Guarded);
            let token = std::fs::read_to_string(config.node.admin_token_file.unwrap()).unwrap();
            assert_eq!(state.authorization().unwrap(), Some(format!("Bearer {token}")));
        }
    }

    #[test]
    fn too_few_nodes_are_refused_with_both_values() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::claim(dir.path()).unwrap();
        let store = StoreDefinition::profile("dynamo").unwrap();
        let error = lay_out(&layout, &Plan::of_size(store, 2)).unwrap_err().to_string();
        assert!(error.contains("replicas = 3") && error.contains("2 member(s)"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
    }
}
