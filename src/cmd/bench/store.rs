//! The store that is measured: one of our own, started for it, or one that runs already.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_client::{Client, ClientError, ClientOptions, NodeUrl, ReadOptions, TlsTrust};
use quorate_cluster::config::{Config, StoreDefinition};
use quorate_env::{SystemClock, TokioNetwork};
use quorate_loadgen::plan::Http;
use quorate_loadgen::{LoadPlan, TargetName};
use serde_json::{Value, json};

use super::BenchArgs;
use super::args::Route;
use super::faults::FaultFlag;
use super::target::spoken;
use crate::cmd::serve::read_config;
use crate::cmd::store::store_from;
use crate::outcome::{Failure, say};
use quorate_processes::{Lifetime, LocalCluster, Plan};

/// What is to be measured.
pub enum Wanted {
    /// A cluster of our own.
    Own {
        /// What its store promises.
        store: StoreDefinition,
        /// How many nodes.
        nodes: usize,
    },
    /// One that runs already.
    Running {
        /// What it is and where.
        name: TargetName,
        /// Whom to trust.
        ca: Option<PathBuf>,
    },
}

impl Wanted {
    /// What the flags ask for.
    ///
    /// # Errors
    /// If store, nodes and load do not fit together.
    pub fn from(args: &BenchArgs, plan: &LoadPlan) -> Result<Self, Failure> {
        if !args.target.is_empty() {
            let name: TargetName = args.target.join(",").parse().map_err(Failure::setup)?;
            let wanted = Self::Running { name, ca: args.ca.clone() };
            wanted.refuse_clashes(args, plan)?;
            return Ok(wanted);
        }
        let store = store_from(args.profile.as_deref(), args.store.as_deref())?;
        let nodes = usize::from(args.nodes);
        if nodes < usize::from(store.replicas) {
            return Err(Failure::setup(format_args!(
                "--nodes {nodes} clashes with replicas = {}: no node holds two copies of a key; \
                 start more nodes or lower replicas",
                store.replicas
            )));
        }
        if plan.value_bytes.largest() as u64 > store.value_bytes_max {
            return Err(Failure::setup(format_args!(
                "--value-bytes {} (up to {}) clashes with value_bytes_max = {}: the store would refuse such puts",
                plan.value_bytes,
                plan.value_bytes.largest(),
                store.value_bytes_max
            )));
        }
        Ok(Self::Own { store, nodes })
    }

    /// Refuses flags that mean nothing to a target that is no Quorate store.
    fn refuse_clashes(&self, args: &BenchArgs, plan: &LoadPlan) -> Result<(), Failure> {
        let Self::Running { name, ca } = self else { return Ok(()) };
        let encrypted = match name {
            TargetName::Quorate(_) => return Ok(()),
            TargetName::Etcd { tls, .. } => *tls,
            TargetName::Redis(_) | TargetName::Null => false,
        };
        let clash = |flag: &str, why: &str| {
            Err(Failure::setup(format_args!("{flag} clashes with --target {name}: {why}")))
        };
        if plan.http != Http::One {
            return clash("--http 2", "it has a protocol of its own; leave --http out");
        }
        if args.route != Route::Any {
            return clash("--route owner", "only nodes of Quorate tell who owns a key; leave it out");
        }
        match (ca, encrypted) {
            (Some(_), false) => return clash("--ca", "it is not encrypted; leave --ca out, or use etcds://"),
            (None, true) => {
                return clash("no --ca", "give the authority (PEM) that its certificate is checked by");
            }
            _ => {}
        }
        if args.check && *name == TargetName::Null {
            return clash("--check", "it keeps nothing, so there is nothing to judge; leave one out");
        }
        if args.check && !plan.load {
            return clash(
                "--check with --no-load",
                "what was there before is not in the history; let every key be written first",
            );
        }
        Ok(())
    }

    /// What the checker should hold a history against; none leaves it to guess.
    pub fn model(&self) -> Option<quorate_check::Model> {
        use quorate_cluster::config::Conflict;
        match self {
            Self::Own { store, .. } => Some(match store.conflict {
                Conflict::Siblings => quorate_check::Model::Siblings,
                Conflict::LastWriteWins | Conflict::Single => quorate_check::Model::Register,
            }),
            Self::Running { name, .. } => name.is_single_valued().then_some(quorate_check::Model::Register),
        }
    }

    /// What it promises, if that is known.
    pub fn store(&self) -> Option<&StoreDefinition> {
        match self {
            Self::Own { store, .. } => Some(store),
            Self::Running { .. } => None,
        }
    }

    /// Whether it is a Quorate store.
    pub fn is_quorate(&self) -> bool {
        matches!(self, Self::Own { .. } | Self::Running { name: TargetName::Quorate(_), .. })
    }

    /// How `run.json` names it.
    pub fn described(&self) -> Value {
        match self {
            Self::Own { store, nodes } => json!({ "nodes": nodes, "transport": "https", "store": store }),
            Self::Running { name: TargetName::Quorate(urls), .. } => {
                json!({ "target": urls.iter().map(NodeUrl::to_string).collect::<Vec<_>>() })
            }
            Self::Running { name, .. } => json!({ "target": [name.to_string()] }),
        }
    }
}

/// It, running.
pub struct Subject {
    own: Option<(LocalCluster, PathBuf)>,
    /// Its nodes, if it is a Quorate store.
    urls: Vec<String>,
    ca: Option<PathBuf>,
}

impl Subject {
    /// Starts a cluster in the run directory, or asks every node of a running one whether it is
    /// there.
    ///
    /// # Errors
    /// If it does not come up, or does not answer.
    pub async fn start(
        wanted: &Wanted,
        plan: &LoadPlan,
        run: &Path,
        clock: Arc<SystemClock>,
    ) -> Result<Self, Failure> {
        match wanted {
            Wanted::Own { store, nodes } => {
                say(format_args!("starting {nodes} nodes of store `{}`", store.name));
                let dir = run.join("cluster");
                let nodes = Plan::of_size(store.clone(), *nodes).with_logs(absolute(run)?.join("nodes"));
                let cluster = LocalCluster::start(&dir, &nodes, Lifetime::WithHarness).await?;
                let (urls, ca) = (cluster.urls(), Some(cluster.state().ca.clone()));
                Ok(Self { own: Some((cluster, dir)), urls, ca })
            }
            Wanted::Running { name, ca } => {
                let urls = match name {
                    TargetName::Quorate(urls) => urls.iter().map(NodeUrl::to_string).collect(),
                    TargetName::Etcd { .. } | TargetName::Redis(_) | TargetName::Null => Vec::new(),
                };
                let subject = Self { own: None, urls, ca: ca.clone() };
                subject.answers(plan, clock).await?;
                Ok(subject)
            }
        }
    }

    /// Whether every node of a Quorate store that runs already is there. Other stores are asked by
    /// their own target, when it connects.
    async fn answers(&self, plan: &LoadPlan, clock: Arc<SystemClock>) -> Result<(), Failure> {
        if self.urls.is_empty() {
            return Ok(());
        }
        let trust =
            self.ca().map(|ca| TlsTrust::from_ca_file(ca, clock)).transpose().map_err(Failure::setup)?;
        let urls: Vec<NodeUrl> =
            self.urls.iter().map(|url| url.parse()).collect::<Result<_, _>>().map_err(Failure::setup)?;
        let count = urls.len();
        let options = ClientOptions { http: spoken(plan), ..ClientOptions::default() };
        let client = Client::new(Arc::new(TokioNetwork), urls, trust, options).map_err(Failure::setup)?;
        for node in 0..count {
            client.is_ready(ReadOptions { node: Some(node) }).await.map_err(|e| {
                use ClientError::{ConnectionLost, Handshake, Malformed};
                let is_refused = matches!(e, Handshake { .. } | Malformed { .. } | ConnectionLost { .. });
                let hint = if plan.http == Http::Two && is_refused {
                    " (a server that does not speak HTTP/2 needs --http 1)"
                } else {
                    ""
                };
                Failure::setup(format_args!("the target does not answer: {e}{hint}"))
            })?;
        }
        Ok(())
    }

    /// The base URLs of the nodes that no fault is for.
    pub fn urls_without(&self, faults: &[FaultFlag]) -> impl Iterator<Item = &String> {
        let names = self.own.iter().flat_map(|(cluster, _)| &cluster.state().nodes);
        let hit: Vec<&String> = names
            .filter(|node| faults.iter().any(|fault| fault.node == node.id))
            .map(|node| &node.url)
            .collect();
        self.urls.iter().filter(move |url| !hit.contains(url))
    }

    /// The nodes of a cluster of our own.
    pub fn own(&mut self) -> Option<&mut LocalCluster> {
        self.own.as_mut().map(|(cluster, _)| cluster)
    }

    /// Whom to trust.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// The configuration of a node of a cluster of our own; all know all members.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn config(&self) -> Result<Option<Config>, Failure> {
        let node = self.own.as_ref().and_then(|(cluster, _)| cluster.state().nodes.first());
        node.map(|node| read_config(&node.config)).transpose()
    }

    /// Stops a cluster of our own and removes its data unless it is to be kept. Returns what a
    /// reader of the results should know.
    pub async fn stop(self, keep: bool) -> Vec<String> {
        let Some((mut cluster, dir)) = self.own else { return Vec::new() };
        let mut troubles: Vec<String> =
            cluster.ended().into_iter().map(|node| format!("node {node} ended during the run")).collect();
        let killed = cluster.stop().await;
        troubles.extend(killed.into_iter().map(|node| format!("node {node} did not stop and was killed")));
        if !keep && let Err(e) = std::fs::remove_dir_all(&dir) {
            troubles.push(format!("{}: cannot be removed: {e}", dir.display()));
        }
        troubles
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|e| Failure::setup(format_args!("{}: {e}", path.display())))
}
