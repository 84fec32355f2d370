//! A whole local cluster: made, started, stopped.

use std::path::{Path, PathBuf};

use quorate_cluster::config::{Config, Member, NodeSection, StoreDefinition, TlsSection};
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
    /// How many nodes, all of capacity 1.
    pub nodes: usize,
    /// Where the nodes' logs go; none is beside their data.
    pub logs: Option<PathBuf>,
}

/// A running local cluster.
pub struct LocalCluster {
    state: ClusterState,
    nodes: Vec<NodeProcess>,
}

impl LocalCluster {
    /// Makes a cluster in `dir`, which must be absent or empty, and waits until it answers.
    /// If it does not come up, what came up is stopped again.
    ///
    /// # Errors
    /// If anything refuses; with the log of the node it was.
    pub async fn start(dir: &Path, plan: &Plan, lifetime: Lifetime) -> Result<Self, ProcessError> {
        let mut layout = Layout::claim(dir)?;
        if layout.state_file().exists() {
            return Err(ProcessError::NotEmpty(dir.to_owned()));
        }
        if let Some(logs) = &plan.logs {
            layout = layout.with_logs(logs.clone());
        }
        let state = lay_out(&layout, plan)?;
        Self::launch(&layout, state, lifetime).await
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
        Self::launch(&layout, state, lifetime).await
    }

    async fn launch(
        layout: &Layout,
        mut state: ClusterState,
        lifetime: Lifetime,
    ) -> Result<Self, ProcessError> {
        let program = std::env::current_exe()
            .map_err(ProcessError::file(Path::new("quorate"), "find this program's own file"))?;
        let mut nodes = Vec::with_capacity(state.nodes.len());
        let started = async {
            for node in &mut state.nodes {
                let url = node.url.clone();
                let process =
                    NodeProcess::spawn(&program, &node.id, url, &node.config, node.log.clone(), lifetime)?;
                node.pid = process.pid();
                nodes.push(process);
            }
            // Before the wait: should this process be killed now, `cluster down` still finds them.
            state.write(layout)?;
            for node in &mut nodes {
                node.wait_until_healthy(&state.ca).await?;
            }
            Ok(())
        };
        match started.await {
            Ok(()) => Ok(Self { state, nodes }),
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

    /// The base URLs of all nodes.
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

/// Writes everything that the nodes need. What does not fit together is refused before the
/// first file is written.
fn lay_out(layout: &Layout, plan: &Plan) -> Result<ClusterState, ProcessError> {
    let random = Random::from_system();
    let members = members(layout, plan, random)?;
    let configs: Vec<Config> =
        members.iter().map(|member| node_config(layout, plan, member, &members)).collect::<Result<_, _>>()?;

    let authority = Authority::new()?;
    write_file(&layout.ca_file(), authority.own().certificate_pem.as_bytes())?;
    write_secret(&layout.ca_key_file(), authority.own().key_pem.as_bytes())?;
    let mut token_key = [0; 32];
    random.stream("token-key").fill_bytes(&mut token_key);
    write_secret(&layout.token_key_file(), &token_key)?;
    let nodes =
        configs.iter().map(|config| write_node(layout, &authority, config)).collect::<Result<_, _>>()?;
    Ok(ClusterState::new(plan.store.name.clone(), layout.ca_file(), nodes))
}

/// Names and addresses.
fn members(layout: &Layout, plan: &Plan, random: Random) -> Result<Vec<Member>, ProcessError> {
    let ports = free_ports(plan.nodes * 2, random)?;
    // `n01` before `n10` once there are ten: names sort as they count.
    let width = plan.nodes.to_string().len();
    let member = |(i, pair): (usize, &[u16])| {
        let id = format!("n{:0width$}", i + 1).parse();
        Ok(Member {
            id: id.map_err(|why| ProcessError::BadState { path: layout.state_file(), why })?,
            api: format!("127.0.0.1:{}", pair[0]),
            peer: format!("127.0.0.1:{}", pair[1]),
            capacity: 1,
            zone: String::new(),
        })
    };
    ports.chunks_exact(2).enumerate().map(member).collect()
}

fn node_config(
    layout: &Layout,
    plan: &Plan,
    member: &Member,
    all: &[Member],
) -> Result<Config, ProcessError> {
    let dir = layout.node_dir(member.id.as_str());
    let node = NodeSection {
        id: member.id,
        listen: member.api.clone(),
        peer_listen: member.peer.clone(),
        data_dir: dir.join("data").display().to_string(),
        capacity: member.capacity,
        zone: member.zone.clone(),
        seeds: Vec::new(),
        token_key_file: Some(layout.token_key_file().display().to_string()),
    };
    let tls = TlsSection {
        cert: dir.join("cert.pem").display().to_string(),
        key: dir.join("key.pem").display().to_string(),
        ca: Some(layout.ca_file().display().to_string()),
    };
    Ok(Config::new(node, Some(tls), plan.store.clone(), all.to_vec())?)
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
    use super::*;

    #[test]
    fn what_is_laid_out_is_what_a_node_reads() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::claim(dir.path()).unwrap();
        let store = StoreDefinition::profile("quorum").unwrap();
        let state = lay_out(&layout, &Plan { store: store.clone(), nodes: 4, logs: None }).unwrap();
        assert_eq!(state.nodes.len(), 4);
        for node in &state.nodes {
            let config = Config::from_toml(&std::fs::read_to_string(&node.config).unwrap()).unwrap();
            assert_eq!(config.store, store);
            assert_eq!(config.members.len(), 4);
            assert_eq!(format!("https://{}", config.node.listen), node.url);
            assert!(super::super::pki::server_config(&config.tls.unwrap()).is_ok());
            assert!(std::fs::metadata(config.node.token_key_file.unwrap()).unwrap().len() >= 16);
        }
    }

    #[test]
    fn too_few_nodes_are_refused_with_both_values() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::claim(dir.path()).unwrap();
        let store = StoreDefinition::profile("dynamo").unwrap();
        let error = lay_out(&layout, &Plan { store, nodes: 2, logs: None }).unwrap_err().to_string();
        assert!(error.contains("replicas = 3") && error.contains("2 member(s)"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
    }
}
