//! The world of real processes: nodes of their own process each, HTTPS, real disks, real time.
//!
//! What the kernel does to a process is done for real: `kill -9`, a start, an empty data directory.
//! Links and power are whole as long as the machine is, so faults on those belong to the simulated
//! world and are refused here. The plan of a run is the same from the same seed; what comes of it
//! depends on the machine.

mod director;
mod faults;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientOptions, NodeUrl, TlsTrust};
use quorate_env::{Clock, Random, SystemClock, TokioNetwork};
use quorate_processes::layout::tail;
use quorate_processes::state::NodeState;
use quorate_processes::{Lifetime, LocalCluster};

pub use self::faults::{Deed, ProcessFaults, Step};

use self::director::Director;
use super::stage::{Casting, GLANCE, IDLE_AGE_MAX, Stage};
use super::{Play, Played, World, WorldError};
use crate::fault::FaultKind;
use crate::members::Desk;
use crate::scenario::Scenario;
use crate::workload::Recorder;

/// Plays runs with real processes on this machine.
#[derive(Clone, Debug)]
pub struct ProcessWorld {
    /// What a node runs: the `quorate` program.
    pub program: PathBuf,
}

impl ProcessWorld {
    /// The kinds of fault that it can do.
    pub const KINDS: &[FaultKind] = &[
        FaultKind::Kill,
        FaultKind::Restart,
        FaultKind::RestartStorm,
        FaultKind::RollingRestart,
        FaultKind::Overload,
        FaultKind::Wipe,
        FaultKind::Join,
        FaultKind::Leave,
        FaultKind::Remove,
        FaultKind::Replace,
        FaultKind::Upgrade,
        FaultKind::Downgrade,
    ];
}

impl World for ProcessWorld {
    fn name(&self) -> &'static str {
        "process"
    }

    fn is_deterministic(&self) -> bool {
        false
    }

    fn refuses(&self, scenario: &Scenario) -> Option<String> {
        if !scenario.network.legs.is_empty() {
            return Some("has [network.legs], which need the simulated world (--world sim)".into());
        }
        let drawn = scenario.faults.iter().flat_map(|faults| &faults.random);
        let mut kinds = scenario.fault.iter().map(|fault| &fault.kind).chain(drawn);
        let kind = kinds.find(|kind| !Self::KINDS.contains(kind))?;
        let known: Vec<String> = Self::KINDS.iter().map(ToString::to_string).collect();
        Some(format!(
            "has a {kind}, which needs the simulated world (--world sim); with real processes there are {}",
            known.join(", ")
        ))
    }

    fn runs_at_a_time(&self) -> Option<NonZeroUsize> {
        // Two at once would take each other's processor, and be slow for that reason alone.
        Some(NonZeroUsize::MIN)
    }

    fn play(&self, play: &Play<'_>) -> Result<Played, WorldError> {
        if let Some(why) = self.refuses(play.scenario) {
            return Err(WorldError::SetUp(format!("scenario {} {why}", play.scenario.name)));
        }
        if play.seams.disk.is_some() || play.seams.engine.is_some() {
            return Err(WorldError::SetUp("nothing can be planted into a process".into()));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| set_up(&e))?;
        runtime.block_on(self.play_out(play))
    }
}

impl ProcessWorld {
    async fn play_out(&self, play: &Play<'_>) -> Result<Played, WorldError> {
        let home = tempfile::Builder::new().prefix("quorate-chaos-").tempdir().map_err(|e| set_up(&e))?;
        let section = &play.scenario.cluster;
        let protocol_max = section.held_back.then(|| section.protocol());
        let nodes = section.plans();
        let plain = quorate_processes::Plan::of_size(play.store.clone(), 0);
        let plan = quorate_processes::Plan { nodes, protocol_max, ..plain };
        let cluster =
            LocalCluster::start_with(&self.program, home.path(), &plan, Lifetime::WithHarness).await;
        let cluster = cluster.map_err(|e| set_up(&e))?;
        let states: Vec<NodeState> = cluster.state().nodes.iter().chain(cluster.spares()).cloned().collect();
        let everybody = section.everybody(|name| addresses(&states, name)).map_err(|e| set_up(&e))?;
        let clock = Arc::new(SystemClock::new());
        let trust = TlsTrust::from_ca_file(&cluster.state().ca, Arc::clone(&clock) as Arc<dyn Clock>);
        let trust = trust.map_err(|e| set_up(&e))?;
        let authorization = cluster.state().authorization().map_err(|e| set_up(&e))?;
        let client = |deadline| client(&states, &trust, deadline);
        let (recorder, stage) = (Recorder::new(), Stage::default());
        let desk = Desk::new(states.iter().map(|node| node.id.clone()).collect(), play.first.clone());
        let casting = Casting {
            play,
            random: Random::from_seed(play.seed),
            recorder: &recorder,
            stage: &stage,
            desk: &desk,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            everybody,
            authorization,
            client: &client,
        };
        let (crews, watcher) = casting.cast()?;
        let mut tasks = tokio::task::JoinSet::new();
        for crew in crews {
            tasks.spawn(async move { crew.run().await.map_err(|e| e.to_string()) });
        }
        tasks.spawn(watcher.run());
        let asking = client(GLANCE)?;
        let clock_too = Arc::clone(&clock) as Arc<dyn Clock>;
        let mut director = Director::new(play, cluster, desk.clone(), asking, clock_too);
        let ended = tokio::select! {
            biased;
            ended = director.run(&stage) => ended,
            failed = first_failure(&mut tasks) => failed,
        };
        let (events, machine) = director.stop().await;
        ended.map_err(|message| {
            let logs = states.iter().map(|node| format!("{}:\n{}", node.id, tail(&node.log)));
            let message =
                format!("{message}; the ends of the logs:\n{}", logs.collect::<Vec<_>>().join("\n"));
            WorldError::Stopped { at_ms: clock.monotonic_ns() / 1_000_000, message }
        })?;
        let ending = stage.ending();
        Ok(Played {
            operations: recorder.take(),
            events,
            load_start_ns: stage.load_start_ns().unwrap_or_default(),
            elapsed_ns: clock.monotonic_ns(),
            rest: ending.rest,
            stuck_change: ending.stuck_change,
            uncollected: ending.uncollected,
            final_reads_failed: ending.final_reads_failed,
            eras: desk.eras(),
            machine,
            logs: states.into_iter().map(|node| (node.id, tail(&node.log))).collect(),
            marks: None,
            trace: None,
        })
    }
}

/// Waits until one of the tasks fails; for ever if none does.
async fn first_failure(tasks: &mut tokio::task::JoinSet<Result<(), String>>) -> Result<(), String> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|e| e.to_string())??;
    }
    std::future::pending().await
}

/// Where peers and clients reach a node.
fn addresses(states: &[NodeState], name: &str) -> (String, String) {
    let state = states.iter().find(|state| state.id == name);
    let api = |state: &NodeState| state.url.trim_start_matches("https://").to_owned();
    state.map(|state| (state.peer.clone(), api(state))).unwrap_or_default()
}

fn client(nodes: &[NodeState], trust: &TlsTrust, deadline: Duration) -> Result<Client, WorldError> {
    let urls = nodes.iter().map(|node| node.url.parse::<NodeUrl>());
    let urls: Vec<NodeUrl> = urls.collect::<Result<_, _>>().map_err(|e| set_up(&e))?;
    let options = ClientOptions { deadline, idle_age_max: IDLE_AGE_MAX, ..ClientOptions::default() };
    Client::new(Arc::new(TokioNetwork), urls, Some(trust.clone()), options).map_err(|e| set_up(&e))
}

fn set_up(error: &dyn std::fmt::Display) -> WorldError {
    WorldError::SetUp(error.to_string())
}
