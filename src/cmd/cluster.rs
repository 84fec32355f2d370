//! `quorate cluster`: a local cluster of real processes that stays up.

mod administered;
mod backup;
mod members;
mod recover;
mod restore;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::remote::DEFAULT_DIR;
use super::store::store_from;
use crate::outcome::{Exit, Failure, say};
use crate::signals::Interrupts;
use crate::stdout;
use quorate_processes::health::HealthProbe;
use quorate_processes::state::ClusterState;
use quorate_processes::{Lifetime, LocalCluster, Plan, ProcessError, cluster};

/// A local cluster of real processes that stays up.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  quorate cluster up && quorate put k v && quorate get k && quorate cluster down")]
pub struct ClusterArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start one, or start the one that is there again.
    #[command(after_help = "Example:\n  quorate cluster up --profile quorum --nodes 5 --dir my-cluster")]
    Up(UpArgs),
    /// Stop it. Its data stays.
    #[command(after_help = "Example:\n  quorate cluster down --dir my-cluster")]
    Down(DirArgs),
    /// Start one more node, and wait until it has its share of the data.
    #[command(after_help = "\
Examples:
  quorate cluster add --dir my-cluster
  quorate cluster add --capacity 4 --zone rack2 --dir my-cluster

The nodes ask for the token in my-cluster/admin.token, or the one in QUORATE_ADMIN_TOKEN.")]
    Add(members::AddArgs),
    /// Take a node out: it hands over what it holds and is stopped.
    #[command(after_help = "\
Examples:
  quorate cluster remove n2 --dir my-cluster
  quorate cluster remove n3 --dead --dir my-cluster

The nodes ask for the token in my-cluster/admin.token, or the one in QUORATE_ADMIN_TOKEN.")]
    Remove(members::RemoveArgs),
    /// Copy all keys of a store into a file while it serves: every write acknowledged before, with its
    /// siblings, deletes and contexts.
    #[command(after_help = "\
Examples:
  quorate cluster backup monday.backup --dir my-cluster
  QUORATE_ADMIN_TOKEN=$(cat pki/admin.token) \\
    quorate cluster backup monday.backup --node https://10.0.0.1:4000 --ca pki/ca.pem

Exit code 2 if too many nodes are away for every acknowledged write to be found.")]
    Backup(backup::BackupArgs),
    /// Merge a backup into a running store, which may have another number of nodes.
    #[command(after_help = "\
Examples:
  quorate cluster restore monday.backup --verify
  quorate cluster restore monday.backup --dir new-cluster

It may be interrupted, and given again with --merge.")]
    Restore(restore::RestoreArgs),
    /// Go on with the survivors after a majority of the nodes was lost for good. New nodes take the places
    /// of the lost; what only those had is lost.
    #[command(after_help = "\
Example:
  quorate cluster recover --lost n2 --lost n3 --force --dir my-cluster

Without --force it says what may be lost, and changes nothing.")]
    Recover(recover::RecoverArgs),
    /// Which nodes run and answer, and what the first that does thinks of the others. Exit code 1 if
    /// one does not answer.
    #[command(after_help = "Example:\n  quorate cluster status --dir my-cluster --json")]
    Status(DirArgs),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// A built-in store definition (dynamo unless --store is given).
    #[arg(long, value_name = "NAME", conflicts_with = "store")]
    profile: Option<String>,
    /// A file with a [store] section.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// How many nodes (3 unless given).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    nodes: Option<u16>,
    #[command(flatten)]
    dir: DirArgs,
}

#[derive(Debug, Args)]
struct DirArgs {
    /// Holds its data, certificates and logs.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,
}

/// Runs it.
///
/// # Errors
/// If the cluster cannot be started, found or stopped.
pub async fn run(args: ClusterArgs, json: bool) -> Result<Exit, Failure> {
    match args.action {
        Action::Up(args) => up(args, json).await,
        Action::Add(args) => members::run_add(args, json).await,
        Action::Remove(args) => members::run_remove(args, json).await,
        Action::Recover(args) => recover::run(args, json).await,
        Action::Backup(args) => backup::run(args, json).await,
        Action::Restore(args) => restore::run(args, json).await,
        Action::Down(args) => down(&args.dir, json).await,
        Action::Status(args) => status(&args.dir, json).await,
    }
}

async fn up(args: UpArgs, json: bool) -> Result<Exit, Failure> {
    let dir = args.dir.dir.clone();
    let starting = async {
        if dir.join("cluster.json").exists() {
            same_settings(&args)?;
            LocalCluster::restart(&dir, Lifetime::Detached).await.map_err(Failure::from)
        } else {
            let store = store_from(args.profile.as_deref(), args.store.as_deref())?;
            let plan = Plan::of_size(store, usize::from(args.nodes.unwrap_or(3)));
            LocalCluster::start(&dir, &plan, Lifetime::Detached).await.map_err(Failure::from)
        }
    };
    let mut interrupts = Interrupts::listen().map_err(Failure::setup)?;
    let cluster = tokio::select! {
        biased;
        () = interrupts.wait() => None,
        started = starting => Some(started?),
    };
    let Some(cluster) = cluster else {
        if let Ok((stopped, _)) = cluster::stop_detached(&dir).await {
            say(format_args!("interrupted; stopped {stopped} node(s) that were starting"));
        }
        return Ok(Exit::Unknown);
    };
    print_nodes(cluster.state(), &dir, json)?;
    Ok(Exit::Held)
}

/// A cluster that is there keeps its settings: refuses others instead of ignoring them.
fn same_settings(args: &UpArgs) -> Result<(), Failure> {
    let dir = &args.dir.dir;
    let state = ClusterState::read(dir)?;
    let other = |what: String| Err(ProcessError::OtherSettings { dir: dir.clone(), what }.into());
    if let Some(nodes) = args.nodes.filter(|n| usize::from(*n) != state.nodes.len()) {
        return other(format!("{} nodes, not {nodes}", state.nodes.len()));
    }
    if args.profile.is_some() || args.store.is_some() {
        let store = store_from(args.profile.as_deref(), args.store.as_deref())?;
        let Some(node) = state.nodes.first() else { return Ok(()) };
        let config = super::serve::read_config(&node.config)?;
        if config.store != store {
            return other(format!("store `{}`, not `{}`", config.store.name, store.name));
        }
    }
    Ok(())
}

fn print_nodes(state: &ClusterState, dir: &Path, json: bool) -> Result<(), Failure> {
    if json {
        let nodes: Vec<_> = state
            .nodes
            .iter()
            .map(|n| json!({ "id": n.id, "url": n.url, "pid": n.pid, "log": n.log }))
            .collect();
        return stdout::line(json!({ "dir": dir, "store": state.store, "ca": state.ca, "nodes": nodes }));
    }
    for node in &state.nodes {
        stdout::line(format_args!("{}  {}  pid {}", node.id, node.url, node.pid))?;
    }
    say(format_args!("store `{}` is up; clients trust {}", state.store, state.ca.display()));
    let shown = dir.display();
    say(format_args!("try: quorate put k v --dir {shown}    stop: quorate cluster down --dir {shown}"));
    Ok(())
}

async fn down(dir: &Path, json: bool) -> Result<Exit, Failure> {
    let (ran, stubborn) = cluster::stop_detached(dir).await?;
    if json {
        stdout::line(json!({ "stopped": ran - stubborn.len(), "still_running": stubborn }))?;
    } else {
        stdout::line(format_args!("stopped {} node(s)", ran - stubborn.len()))?;
    }
    if stubborn.is_empty() {
        return Ok(Exit::Held);
    }
    Err(Failure::unknown(format_args!("{} would not end; end it by hand", stubborn.join(", "))))
}

async fn status(dir: &Path, json: bool) -> Result<Exit, Failure> {
    let state = ClusterState::read(dir)?;
    let mut nodes = Vec::with_capacity(state.nodes.len());
    // As the first node that answers sees them.
    let mut members = None;
    for node in &state.nodes {
        let says = if node.is_running() {
            let probe = HealthProbe::new(&node.url, &state.ca).map_err(Failure::setup)?;
            let says = probe.ask().await;
            if says.is_ok() && members.is_none() {
                members = probe.members().await;
            }
            says.map_or_else(|why| format!("not answering: {why}"), |()| "up".into())
        } else {
            "not running".to_owned()
        };
        nodes.push((node, says));
    }
    let members = members.unwrap_or_default();
    let seen = |id: &str| members.iter().find(|(name, ..)| name == id);
    let all_up = nodes.iter().all(|(_, says)| says == "up");
    if json {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(n, says)| {
                let seen = seen(&n.id);
                json!({
                    "id": n.id, "url": n.url, "pid": n.pid, "status": says,
                    "liveness": seen.map(|s| &s.1), "incarnation": seen.map(|s| &s.2),
                })
            })
            .collect();
        stdout::line(json!({ "dir": dir, "store": state.store, "ca": state.ca, "nodes": nodes }))?;
    } else {
        for (node, says) in nodes {
            let (liveness, incarnation) = seen(&node.id).map_or(("-", "-"), |s| (&s.1, &s.2));
            stdout::line(format_args!(
                "{}  {}  {says}  gossip: {liveness}, incarnation {incarnation}",
                node.id, node.url
            ))?;
        }
    }
    Ok(if all_up { Exit::Held } else { Exit::Violated })
}
