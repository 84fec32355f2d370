//! `quorate cluster recover`: what is left of a local cluster goes on after a majority of its nodes was
//! lost for good.
//!
//! New nodes are started for those that were lost, and a survivor is told to go on with them without
//! asking for votes, which nobody is left to give.

use clap::Args;
use quorate_client::Method;
use quorate_processes::state::ClusterState;
use quorate_processes::{Addition, add, discard, stop};
use serde_json::json;

use super::DirArgs;
use super::members::{WaitArgs, Watched};
use crate::outcome::{Exit, Failure, say};
use crate::signals::Interrupts;
use crate::stdout;

/// What was lost.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// A node that is lost for good and will never come back on its disk; given once for each.
    #[arg(long, value_name = "NODE", required = true)]
    lost: Vec<String>,
    /// Do it. Without this it is only said what may be lost.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dir: DirArgs,
}

/// Replaces what was lost.
///
/// # Errors
/// If nodes that are said to be lost run, it is refused, or data takes too long to move.
pub async fn run(args: RecoverArgs, as_json: bool) -> Result<Exit, Failure> {
    let dir = args.dir.dir;
    let mut interrupts = Interrupts::listen().map_err(Failure::setup)?;
    let state = ClusterState::read(&dir)?;
    for id in &args.lost {
        let node = state.node(&dir, id)?;
        if node.is_running() {
            return Err(Failure::setup(format_args!(
                "{id} still runs (pid {}), so it is not lost",
                node.pid
            )));
        }
    }
    let is_lost = |id: &str| args.lost.iter().any(|lost| lost == id);
    let left = state.nodes.iter().filter(|node| !is_lost(&node.id)).count();
    let survivors = Watched::of(&dir, |node| !is_lost(&node.id))?;
    let store = survivors.store().await?;
    let replicas = store["replicas"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
    if store["consistency"] == "linearizable" {
        return Err(Failure::setup(
            "what the lost nodes of a linearizable store had chosen cannot be told from what is left, so it \
             does not go on; `quorate cluster backup --partial` saves what there is, for a new store",
        ));
    }
    let missing = replicas.saturating_sub(left);
    let lost = args.lost.join(", ");
    if !args.force {
        return Err(Failure::setup(format_args!(
            "without {lost} the other {left} node(s) would go on as they are, with {missing} new one(s): writes \
             that only the lost nodes acknowledged would be lost, and so would keys of which they had all \
             copies; those nodes must never come back on their disks. Give --force if that is wanted, and \
             `quorate cluster backup --partial` a copy first"
        )));
    }
    let mut members = Vec::new();
    for _ in 0..missing {
        let member = add(&dir, &Addition { capacity: 1, zone: String::new() }).await?;
        say(format_args!("{} is up at https://{}", member.id, member.api));
        members.push(member);
    }
    let body = serde_json::to_vec(&json!({ "lost": args.lost, "join": members })).map_err(Failure::setup)?;
    let answer = match survivors.ask_for(Method::Post, "/cluster/recover", &body).await {
        Ok(answer) => answer,
        Err(refused) => {
            if refused.certain {
                for member in &members {
                    discard(&dir, member.id.as_str()).await?;
                }
            }
            return Err(refused.failure);
        }
    };
    let (gone, in_doubt) = (&answer["partitions_gone"], &answer["partitions_in_doubt"]);
    say(format_args!("no copy is left of {gone} partition(s); of {in_doubt} the last writes may be lost"));
    for id in &args.lost {
        // It does not run: this takes it off the list.
        stop(&dir, id).await?;
    }
    let epoch = super::members::epoch_of(answer["view"].as_str().unwrap_or_default()).unwrap_or_default();
    let everybody = Watched::of(&dir, |_| true)?;
    let view = everybody.until_stable(epoch, args.wait.timeout, &mut interrupts).await?;
    if as_json {
        stdout::line(json!({
            "lost": args.lost, "joined": members, "view": view, "partitions_gone": gone,
            "partitions_in_doubt": in_doubt,
        }))?;
    } else {
        stdout::line(format_args!("the cluster goes on without {lost}, in view {view}"))?;
    }
    Ok(Exit::Held)
}
