//! What the load is put on, connected.
//!
//! Not here: whether it should be there (`store`), how it is spoken to (`quorate_loadgen::target`).

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_client::{Client, ClientOptions, HttpVersion, NodeUrl, ReadOptions, Retry, TlsTrust};
use quorate_env::{SystemClock, TokioNetwork};
use quorate_loadgen::plan::Http;
use quorate_loadgen::target::{EtcdOptions, EtcdTarget, RedisTarget};
use quorate_loadgen::{LoadPlan, NullTarget, QuorateTarget, Target, TargetName};

use super::args::{BenchArgs, Route};
use super::faults::FaultFlag;
use super::store::{Subject, Wanted};
use crate::outcome::Failure;

/// What the load is put on.
pub struct Opened {
    /// Ready to be called.
    pub target: Arc<dyn Target>,
    /// What it says it is, with its version; none if it does not say.
    pub version: Option<String>,
}

/// Connects to what is wanted, and asks what it is.
///
/// # Errors
/// If it does not answer, or not as what its name says; the message names it.
pub async fn open(
    wanted: &Wanted,
    subject: &Subject,
    plan: &LoadPlan,
    args: &BenchArgs,
    clock: Arc<SystemClock>,
) -> Result<Opened, Failure> {
    let silent = |why: String| Failure::setup(format_args!("the target does not answer: {why}"));
    let (name, network) = match wanted {
        Wanted::Own { .. } | Wanted::Running { name: TargetName::Quorate(_), .. } => {
            let client = client(subject, plan, args.route, clock, &args.fault)?;
            let version = nodes_version(&client).await;
            let target = if plan.only_reads() { QuorateTarget::for_reads } else { QuorateTarget::new };
            return Ok(Opened { target: Arc::new(target(client)), version });
        }
        Wanted::Running { name, .. } => (name, Arc::new(TokioNetwork)),
    };
    match name {
        TargetName::Etcd { endpoints, serializable, .. } => {
            let options = EtcdOptions {
                endpoints: endpoints.clone(),
                trust: trust(subject, clock)?,
                serializable: *serializable,
                deadline: plan.deadline,
            };
            let target = EtcdTarget::new(network, options).map_err(Failure::setup)?;
            target.open(plan.workers()).await.map_err(silent)?;
            let version = target.version().await;
            Ok(Opened { target: Arc::new(target), version })
        }
        TargetName::Redis(endpoint) => {
            let target = RedisTarget::new(network, endpoint.clone(), plan.deadline);
            target.open(plan.workers()).await.map_err(silent)?;
            let version = target.version().await;
            Ok(Opened { target: Arc::new(target), version })
        }
        TargetName::Null | TargetName::Quorate(_) => {
            Ok(Opened { target: Arc::new(NullTarget), version: None })
        }
    }
}

/// What the nodes of a Quorate store say they are, each version once.
async fn nodes_version(client: &Client) -> Option<String> {
    let mut versions = BTreeSet::new();
    for node in 0..client.node_count() {
        // A node that does not answer is told about when it is measured.
        let Ok(view) = client.cluster(ReadOptions { node: Some(node) }).await else { continue };
        versions.extend(view["version"].as_str().map(|version| format!("quorate {version}")));
    }
    let versions: Vec<String> = versions.into_iter().collect();
    (!versions.is_empty()).then(|| versions.join(", "))
}

/// A client for measuring: it never tries twice, and every operation in flight may keep its
/// connection, to whichever node it went, or its part of one in HTTP/2. It asks no node that a fault is
/// for: what is measured is what such a fault does to the others.
///
/// # Errors
/// If the nodes' URLs or the authority are not to be used.
pub fn client(
    subject: &Subject,
    plan: &LoadPlan,
    route: Route,
    clock: Arc<SystemClock>,
    faults: &[FaultFlag],
) -> Result<Client, Failure> {
    let trust = trust(subject, clock)?;
    let urls: Vec<NodeUrl> = subject
        .urls_without(faults)
        .map(|url| url.parse())
        .collect::<Result<_, _>>()
        .map_err(Failure::setup)?;
    let options = ClientOptions {
        http: spoken(plan),
        node_choice: route.choice(),
        deadline: plan.deadline,
        retry: Retry::Never,
        idle_connections_max: match plan.http {
            Http::One => plan.workers(),
            Http::Two => plan.connections_per_thread(),
        },
        ..ClientOptions::default()
    };
    Client::new(Arc::new(TokioNetwork), urls, trust, options).map_err(Failure::setup)
}

/// The HTTP that a plan says, as a client is told.
pub fn spoken(plan: &LoadPlan) -> HttpVersion {
    match plan.http {
        Http::One => HttpVersion::One,
        Http::Two => HttpVersion::Two { streams_max: plan.streams },
    }
}

fn trust(subject: &Subject, clock: Arc<SystemClock>) -> Result<Option<TlsTrust>, Failure> {
    subject.ca().map(|ca| TlsTrust::from_ca_file(ca, clock)).transpose().map_err(Failure::setup)
}
