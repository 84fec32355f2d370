//! One node more in a local cluster, or one less: its files and its process.
//!
//! Not here: telling the other nodes (`POST` and `DELETE /cluster/members`).

use std::fs;
use std::num::NonZeroU16;
use std::path::Path;

use quorate_cluster::config::{Config, Member};
use quorate_env::Random;

use super::child::{self, NodeProcess};
use super::cluster::{node_config, own_program, write_node};
use super::layout::Layout;
use super::pki::Authority;
use super::ports::free_ports;
use super::state::{ClusterState, NodeState};
use super::{Lifetime, ProcessError};

/// What the new node is like.
#[derive(Clone, Debug)]
pub struct Addition {
    /// Its share of the data relative to the others.
    pub capacity: u32,
    /// The place whose failure takes it down with others.
    pub zone: String,
}

/// Lays out a node in the cluster of `dir`, starts it and waits until it answers. It knows the
/// running nodes as seeds and is no member yet.
///
/// # Errors
/// If no node runs to ask, or the new one does not come up; nothing of it is left then.
pub async fn add(dir: &Path, addition: &Addition) -> Result<Member, ProcessError> {
    let layout = Layout::existing(dir)?;
    let state = ClusterState::read(dir)?;
    let seeds: Vec<String> = state.running().map(|node| node.peer.clone()).collect();
    let Some(known) = state.nodes.first().filter(|_| !seeds.is_empty()) else {
        return Err(ProcessError::NotUp(dir.to_owned()));
    };
    let text =
        fs::read_to_string(&known.config).map_err(ProcessError::file(&known.config, "read the file"))?;
    let Config { node, store, tls, .. } = Config::from_toml(&text)?;
    let habits = (node.threads.unwrap_or(NonZeroU16::MIN), tls.map(|tls| tls.peers).unwrap_or_default());
    let bad = |why| ProcessError::BadState { path: layout.state_file(), why };
    let id = next_name(&layout, &state)?.parse().map_err(bad)?;
    let ports = free_ports(2, Random::from_system())?;
    let member = Member {
        id,
        api: format!("127.0.0.1:{}", ports[0]),
        peer: format!("127.0.0.1:{}", ports[1]),
        capacity: addition.capacity,
        zone: addition.zone.clone(),
    };
    let config = node_config(&layout, store, habits, &member, seeds, Vec::new())?;
    let authority = Authority::read(&layout.ca_file(), &layout.ca_key_file())?;
    let node = write_node(&layout, &authority, &config)?;
    let started = launch(&layout, node).await;
    if started.is_err() {
        discard(dir, member.id.as_str()).await?;
    }
    started.map(|()| member)
}

async fn launch(layout: &Layout, mut node: NodeState) -> Result<(), ProcessError> {
    let mut process = NodeProcess::spawn(&own_program()?, &node, Lifetime::Detached)?;
    node.pid = process.pid();
    // Read again: another command may have changed it meanwhile. And before the wait, so that
    // `cluster down` finds the node even if this process is killed.
    let mut state = ClusterState::read(layout.root())?;
    state.nodes.push(node);
    state.nodes.sort_by(|a, b| a.id.cmp(&b.id));
    state.write(layout)?;
    process.wait_until_healthy(&state.ca).await
}

/// A name that no node of this cluster has or had: one that is gone may not come back as another.
fn next_name(layout: &Layout, state: &ClusterState) -> Result<String, ProcessError> {
    let nodes = layout.node_dir("");
    let entries = fs::read_dir(&nodes).map_err(ProcessError::file(&nodes, "read the directory"))?;
    let dirs = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names = dirs.chain(state.nodes.iter().map(|node| node.id.clone()));
    let number = |name: String| name.strip_prefix('n')?.parse::<u32>().ok();
    let width = state.nodes.first().map_or(1, |node| node.id.len() - 1);
    let next = names.filter_map(number).max().unwrap_or(0) + 1;
    Ok(format!("n{next:0width$}"))
}

/// Ends a node's process and takes it out of `cluster.json`; its data stays. Says whether it is
/// gone: one that will not end stays listed.
///
/// # Errors
/// If there is no such node, or the file refuses.
pub async fn stop(dir: &Path, id: &str) -> Result<bool, ProcessError> {
    let layout = Layout::existing(dir)?;
    let node = ClusterState::read(dir)?.node(dir, id)?.clone();
    if !child::end(node.pid, || node.is_running()).await {
        return Ok(false);
    }
    let mut state = ClusterState::read(dir)?;
    state.nodes.retain(|node| node.id != id);
    state.write(&layout)?;
    Ok(true)
}

/// Undoes [`add`] for a node that never became a member.
///
/// # Errors
/// As [`stop`], or if its directory cannot be removed.
pub async fn discard(dir: &Path, id: &str) -> Result<(), ProcessError> {
    let layout = Layout::existing(dir)?;
    if ClusterState::read(dir)?.node(dir, id).is_ok() {
        stop(dir, id).await?;
    }
    let home = layout.node_dir(id);
    fs::remove_dir_all(&home).map_err(ProcessError::file(&home, "remove the directory"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::layout::make_dir;

    #[test]
    fn names_are_not_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::claim(dir.path()).unwrap();
        let node = |id: &str| NodeState {
            id: id.into(),
            pid: 0,
            url: String::new(),
            peer: String::new(),
            config: "c".into(),
            log: "l".into(),
        };
        let state =
            |ids: &[&str]| ClusterState::new("s".into(), &layout, ids.iter().map(|id| node(id)).collect());
        make_dir(&layout.node_dir("n1")).unwrap();
        assert_eq!(next_name(&layout, &state(&["n1", "n3"])).unwrap(), "n4");
        make_dir(&layout.node_dir("n7")).unwrap();
        assert_eq!(next_name(&layout, &state(&["n1", "n3"])).unwrap(), "n8", "n7 was removed");
        assert_eq!(next_name(&layout, &state(&["n01", "n09"])).unwrap(), "n10");
    }
}
