//! `quorate cluster add` and `remove`: the members of a local cluster change while it serves.
//!
//! The nodes agree on the change and move the data by themselves; here it is asked for, watched,
//! and the process that it is about is started before or stopped after.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use quorate_client::{
    Client, ClientError, ClientOptions, Method, NodeChoice, NodeUrl, ReadOptions, Request, Retry, TlsTrust,
};
use quorate_cluster::config::parse_duration;
use quorate_env::{SystemClock, TokioNetwork};
use quorate_processes::state::{ClusterState, NodeState};
use quorate_processes::{Addition, ProcessError, add, discard, stop};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::DirArgs;
use crate::outcome::{Exit, Failure, say};
use crate::signals::Interrupts;
use crate::stdout;

/// How often the cluster is looked at while it changes.
const POLL: Duration = Duration::from_millis(100);
/// How long one question to a node may take: choosing a change takes rounds among all members.
const QUESTION: Duration = Duration::from_secs(10);

/// The variable whose token is shown instead of the cluster's own.
pub const ADMIN_TOKEN: &str = "QUORATE_ADMIN_TOKEN";

/// A node to add.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its share of the data relative to the others.
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    capacity: u32,
    /// The place whose failure takes it down with others.
    #[arg(long, value_name = "Z", default_value = "")]
    zone: String,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dir: DirArgs,
}

/// A node to remove.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Its name, such as n2.
    node: String,
    /// It is gone for good and hands nothing over: what only it held is lost.
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dir: DirArgs,
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// How long to wait for the data to move. It goes on moving after that.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub(super) timeout: Duration,
}

/// Adds a node and waits until it has its share.
///
/// # Errors
/// If it does not start, is refused, or takes too long.
pub async fn run_add(args: AddArgs, as_json: bool) -> Result<Exit, Failure> {
    let dir = args.dir.dir;
    let mut interrupts = Interrupts::listen().map_err(Failure::setup)?;
    let addition = Addition { capacity: args.capacity, zone: args.zone };
    let member = add(&dir, &addition).await?;
    let id = member.id.to_string();
    say(format_args!("{id} is up at https://{}; joining", member.api));
    let cluster = Watched::of(&dir, |node| node.id != id)?;
    let body = serde_json::to_vec(&member).map_err(Failure::setup)?;
    let asked = cluster.ask(Method::Post, "/cluster/members", &body).await;
    let epoch = match asked {
        Ok(epoch) => epoch,
        Err(refused) => {
            if refused.certain {
                discard(&dir, &id).await?;
            }
            return Err(refused.failure);
        }
    };
    let everybody = Watched::of(&dir, |_| true)?;
    let view = everybody.until_stable(epoch, args.wait.timeout, &mut interrupts).await?;
    let state = ClusterState::read(&dir)?;
    let node = state.node(&dir, &id)?;
    if as_json {
        stdout::line(json!({
            "id": id, "url": node.url, "pid": node.pid, "capacity": member.capacity, "zone": member.zone,
            "view": view,
        }))?;
    } else {
        stdout::line(format_args!("{id}  {}  pid {}", node.url, node.pid))?;
    }
    Ok(Exit::Held)
}

/// Removes a node, waits until it has handed over what it holds, and stops it.
///
/// # Errors
/// If it is refused or takes too long; the node then goes on running.
pub async fn run_remove(args: RemoveArgs, as_json: bool) -> Result<Exit, Failure> {
    let dir = args.dir.dir;
    let mut interrupts = Interrupts::listen().map_err(Failure::setup)?;
    let state = ClusterState::read(&dir)?;
    let node = state.node(&dir, &args.node)?.clone();
    let id = &node.id;
    if args.dead && node.is_running() {
        return Err(Failure::setup(format_args!(
            "{id} still runs (pid {}); without --dead it hands over what it holds",
            node.pid
        )));
    }
    if !args.dead && !node.is_running() {
        return Err(Failure::setup(format_args!(
            "{id} does not run, so it cannot hand over what it holds; start it with `quorate cluster up`, \
             or give it up with --dead"
        )));
    }
    let others = Watched::of(&dir, |other| other.id != *id)?;
    let query = if args.dead { "?dead=1" } else { "" };
    let target = format!("/cluster/members/{id}{query}");
    let epoch = others.ask(Method::Delete, &target, b"").await.map_err(|refused| refused.failure)?;
    let deadline = Instant::now() + args.wait.timeout;
    let view = others.until_stable(epoch, args.wait.timeout, &mut interrupts).await?;
    if !args.dead {
        let leaving = Watched::of(&dir, |other| other.id == *id)?;
        leaving.until_empty(id, deadline, &mut interrupts).await?;
    }
    if !stop(&dir, id).await? {
        return Err(Failure::unknown(format_args!(
            "{id} is no member any more but would not end; end it by hand"
        )));
    }
    if !args.dead {
        // Where deletes are forgotten a member that left is asked first whether it still keeps anything,
        // and held to until it is said not to come back. Elsewhere there is nobody to let go of.
        let _ = others.ask(Method::Delete, &format!("/cluster/members/{id}?dead=1"), b"").await;
    }
    if as_json {
        stdout::line(json!({ "id": id, "view": view, "handed_over": !args.dead, "stopped": true }))?;
    } else {
        stdout::line(format_args!("{id} is gone; its files are still in {}", home_of(&node).display()))?;
    }
    Ok(Exit::Held)
}

fn home_of(node: &NodeState) -> PathBuf {
    node.config.parent().map_or_else(|| node.config.clone(), Path::to_owned)
}

/// What the nodes take as proof of an administrator: the token in the environment, or else the one
/// that lies beside `cluster.json`.
pub fn authorization(state: &ClusterState) -> Result<Option<String>, Failure> {
    match bearer() {
        Some(shown) => Ok(Some(shown)),
        None => Ok(state.authorization()?),
    }
}

/// The token in the environment, as it is shown.
pub fn bearer() -> Option<String> {
    let token = std::env::var(ADMIN_TOKEN).ok()?;
    let token = token.trim();
    (!token.is_empty()).then(|| format!("Bearer {token}"))
}

/// Some running nodes, each asked by name.
pub(super) struct Watched {
    client: Client,
    /// What is shown as an administrator.
    authorization: Option<String>,
    names: Vec<String>,
}

/// A change that was not made, or may not have been.
pub(super) struct NotMade {
    /// Whether it certainly was not.
    pub(super) certain: bool,
    pub(super) failure: Failure,
}

impl Watched {
    pub(super) fn of(dir: &Path, chosen: impl Fn(&NodeState) -> bool) -> Result<Self, Failure> {
        let state = ClusterState::read(dir)?;
        let nodes: Vec<&NodeState> = state.running().filter(|node| chosen(node)).collect();
        if nodes.is_empty() {
            return Err(ProcessError::NotUp(dir.to_owned()).into());
        }
        let trust =
            TlsTrust::from_ca_file(&state.ca, Arc::new(SystemClock::new())).map_err(Failure::setup)?;
        let urls = nodes.iter().map(|node| node.url.parse()).collect::<Result<Vec<NodeUrl>, _>>();
        let options = ClientOptions {
            node_choice: NodeChoice::RoundRobin,
            deadline: QUESTION,
            retry: Retry::Never,
            ..ClientOptions::default()
        };
        let urls = urls.map_err(Failure::setup)?;
        let client =
            Client::new(Arc::new(TokioNetwork), urls, Some(trust), options).map_err(Failure::setup)?;
        let authorization = authorization(&state)?;
        Ok(Self { client, authorization, names: nodes.into_iter().map(|node| node.id.clone()).collect() })
    }

    /// Asks for a change; the epoch of the view that it makes.
    async fn ask(&self, method: Method, target: &str, body: &[u8]) -> Result<u64, NotMade> {
        let answer = self.ask_for(method, target, body).await?;
        let epoch = answer["view"].as_str().and_then(epoch_of);
        let unnamed = || Failure::unknown("the answer names no view");
        epoch.ok_or_else(|| NotMade { certain: false, failure: unnamed() })
    }

    /// Asks for a change; what is answered when it is made.
    pub(super) async fn ask_for(&self, method: Method, target: &str, body: &[u8]) -> Result<Value, NotMade> {
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(self.authorization.as_deref().map(|shown| ("Authorization", shown)));
        let request = Request { method, target, headers: &headers, body };
        let (_, response) = self.client.request_any(&request, Some(0)).await.map_err(|error| NotMade {
            certain: error.effect() == quorate_client::Effect::Never,
            failure: Failure::unknown(error),
        })?;
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if response.status == 202 {
            return Ok(answer);
        }
        let why = answer["message"].as_str().unwrap_or("it does not say why");
        let message = format!("the cluster refuses the change: {why}");
        // Somebody else's change, or too few nodes: it may well succeed later.
        let later = response.status >= 500 || answer["error"] == "change_outrun";
        let failure = if later { Failure::unknown(message) } else { Failure::setup(message) };
        Err(NotMade { certain: answer["maybe_applied"] == false, failure })
    }

    /// Waits until all are in one stable view of `epoch` or later, which is returned.
    pub(super) async fn until_stable(
        &self,
        epoch: u64,
        wait: Duration,
        interrupts: &mut Interrupts,
    ) -> Result<String, Failure> {
        let deadline = Instant::now() + wait;
        let mut shown = String::new();
        loop {
            let mut views = Vec::with_capacity(self.names.len());
            for node in 0..self.names.len() {
                views.push(self.view_of(node).await);
            }
            if let Some(view) = settled(&views, epoch) {
                return Ok(view);
            }
            let progress = self.names.iter().zip(&views).map(|(name, view)| match view {
                Ok(view) => format!("{name} {view}"),
                Err(_) => format!("{name} does not answer"),
            });
            let progress = progress.collect::<Vec<_>>().join(", ");
            if progress != shown {
                say(format_args!("moving data: {progress}"));
                shown = progress;
            }
            pause(deadline, interrupts, &shown).await?;
        }
    }

    /// The definition of the store.
    pub(super) async fn store(&self) -> Result<Value, Failure> {
        let cluster = self.client.cluster(ReadOptions { node: Some(0) }).await.map_err(Failure::unknown)?;
        Ok(cluster["store"].clone())
    }

    async fn view_of(&self, node: usize) -> Result<String, ClientError> {
        let cluster = self.client.cluster(ReadOptions { node: Some(node) }).await?;
        Ok(cluster["view"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the one node has handed over everything.
    async fn until_empty(
        &self,
        id: &str,
        deadline: Instant,
        interrupts: &mut Interrupts,
    ) -> Result<(), Failure> {
        let mut shown = None;
        loop {
            // A node that does not answer now may do so again.
            let left =
                self.client.metrics(ReadOptions { node: Some(0) }).await.ok().and_then(|text| records(&text));
            if left == Some(0) {
                return Ok(());
            }
            if left != shown {
                match left {
                    Some(left) => say(format_args!("{id} still holds {left} record(s)")),
                    None => say(format_args!("{id} does not answer")),
                }
                shown = left;
            }
            pause(deadline, interrupts, &format!("{id} has not handed over everything")).await?;
        }
    }
}

/// The stable view that all are in, if there is one of `epoch` or later.
fn settled(views: &[Result<String, ClientError>], epoch: u64) -> Option<String> {
    let first = views.first()?.as_ref().ok()?;
    let same = views.iter().all(|view| view.as_ref().is_ok_and(|view| view == first));
    let reached = first.ends_with("-stable") && epoch_of(first)? >= epoch;
    (same && reached).then(|| first.clone())
}

pub(super) fn epoch_of(view: &str) -> Option<u64> {
    view.split_once('-')?.0.parse().ok()
}

fn records(metrics: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix("quorate_store_records ")?.parse().ok())
}

async fn pause(deadline: Instant, interrupts: &mut Interrupts, last: &str) -> Result<(), Failure> {
    let goes_on = "the change goes on by itself; watch it with `quorate cluster status`";
    if Instant::now() >= deadline {
        return Err(Failure::unknown(format_args!("not done in time ({last}); {goes_on}")));
    }
    tokio::select! {
        biased;
        () = interrupts.wait() => Err(Failure::unknown(format_args!("interrupted; {goes_on}"))),
        () = sleep(POLL) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_must_be_in_one_stable_view() {
        let settled = |views: &[&str], epoch| {
            settled(&views.iter().map(|view| Ok((*view).to_owned())).collect::<Vec<_>>(), epoch)
        };
        assert_eq!(settled(&["2-stable", "2-stable"], 2).as_deref(), Some("2-stable"));
        assert_eq!(settled(&["3-stable", "3-stable"], 2).as_deref(), Some("3-stable"), "another came after");
        assert_eq!(settled(&["2-stable", "2-reading-new"], 2), None);
        assert_eq!(settled(&["1-stable", "1-stable"], 2), None, "not begun");
        assert_eq!(settled(&["2-copying", "2-copying"], 2), None);
        assert_eq!(settled(&[], 2), None);
    }

    #[test]
    fn what_a_node_still_holds_is_in_its_metrics() {
        assert_eq!(records("# TYPE quorate_store_records gauge\nquorate_store_records 12\n"), Some(12));
        assert_eq!(records("quorate_store_records_x 12\n"), None);
    }
}
