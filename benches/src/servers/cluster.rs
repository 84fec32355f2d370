//! The reference cluster: three nodes, each a process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_client::{Client, ClientOptions, NodeUrl, TlsTrust};
use quorate_cluster::config::{PeerTraffic, StoreDefinition};
use quorate_env::{SystemClock, TokioNetwork};
use quorate_loadgen::QuorateTarget;
use quorate_processes::{Lifetime, LocalCluster, Plan};

use super::subject::{CONNECTIONS, Subject};

/// Nodes of a cluster.
pub const NODES: usize = 3;

/// The release binary beside a bench, which the nodes run.
#[must_use]
pub fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.parent()?.parent()?.join("quorate");
    program.exists().then_some(program)
}

/// Starts a cluster in `directory` that keeps `store` and whose nodes talk so, and fills it.
///
/// # Panics
/// If it does not come up.
pub async fn start(
    name: &str,
    program: &Path,
    directory: &Path,
    (store, peers): (StoreDefinition, PeerTraffic),
) -> (LocalCluster, Subject) {
    let plan = Plan { peers, ..Plan::of_size(store, NODES) };
    let started =
        LocalCluster::start_with(program, &directory.join(name), &plan, Lifetime::WithHarness).await;
    let cluster = started.expect("the cluster comes up");
    let pids = cluster.state().nodes.iter().map(|node| node.pid).collect();
    let subject = Subject::new(name, pids, target(&cluster.urls(), &cluster.state().ca));
    subject.fill().await;
    (cluster, subject)
}

/// What asks the nodes at `urls`, each in turn.
///
/// # Panics
/// If a URL or the authority's certificate is none.
#[must_use]
pub fn target(urls: &[String], ca_file: &Path) -> Arc<QuorateTarget> {
    let trust = TlsTrust::from_ca_file(ca_file, Arc::new(SystemClock::new())).expect("a certificate");
    let urls: Vec<NodeUrl> = urls.iter().map(|url| url.parse().expect("a URL")).collect();
    let options = ClientOptions { idle_connections_max: CONNECTIONS as usize, ..ClientOptions::default() };
    let client = Client::new(Arc::new(TokioNetwork), urls, Some(trust), options).expect("a client");
    Arc::new(QuorateTarget::new(client))
}
