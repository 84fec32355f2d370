//! The hosts that clients run on, and the one that watches over the stages of a run: wait for the
//! nodes, load, wait for rest, read everything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_client::{Client, ClientOptions, NodeUrl, ReadOptions};
use quorate_cluster::config::{AntiEntropy, Timing};
use quorate_env::{Clock, Network, Random};

use super::node::{API_PORT, everybody};
use super::{SimClock, SimNetwork};
use crate::members::{Desk, Operator};
use crate::scenario::WorkloadSection;
use crate::workload::{
    FinalReader, Recorder, Repairs, Rest, Resting, Worker, WorkerSetup, final_reads, settle,
};
use crate::world::{Play, WorldError};

/// The host of the one who watches: no fault touches it.
const WATCHER: &str = "watcher";

/// How often a stage looks whether the one before is over.
const LOOK: Duration = Duration::from_millis(10);

/// How long nodes may take to be ready before there was any fault.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long a healed store may take to come to rest.
const REST_PATIENCE: Duration = Duration::from_secs(120);

/// How long changes of the members may go on after everything was healed.
const CHANGE_PATIENCE: Duration = Duration::from_secs(60);

/// How long the operator waits for a node to say what view it is in.
const GLANCE: Duration = Duration::from_millis(500);

/// Clients do not use a connection again that was idle for longer. Without power a node says no
/// goodbye, so an older connection may be to an earlier run of the node, and the first request on
/// it is reset: a failure of the connection, not of the store, which was owed to nobody.
const IDLE_AGE_MAX: Duration = Duration::from_millis(400);

/// How the end of a run went.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) rest: Rest,
    pub(super) final_reads_failed: Vec<String>,
}

/// What the hosts of one run tell each other outside the simulated network. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Stage {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    load_start_ns: Option<u64>,
    workers_done: usize,
    ending: Option<Ending>,
}

impl Stage {
    pub(super) fn load_start_ns(&self) -> Option<u64> {
        self.lock().load_start_ns
    }

    pub(super) fn ending(&self) -> Ending {
        let unfinished = || Ending {
            rest: Rest::NotReached("the run ended before".into()),
            final_reads_failed: Vec::new(),
        };
        self.lock().ending.clone().unwrap_or_else(unfinished)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers the clients' hosts and the watcher's.
pub(super) fn start(
    sim: &mut turmoil::Sim<'_>,
    play: &Play<'_>,
    random: Random,
    recorder: &Recorder,
    stage: &Stage,
    desk: &Desk,
) -> Result<(), WorldError> {
    let section = &play.scenario.workload;
    let members = everybody(play.scenario).map_err(WorldError::SetUp)?;
    let nodes: Vec<String> = members.iter().map(|m| m.id.to_string()).collect();
    let load_ns = u64::try_from(section.duration.as_nanos()).unwrap_or(u64::MAX);
    for (place, host) in section.hosts().enumerate() {
        let mut workers = Vec::new();
        for number in (1..=section.clients).filter(|n| (n - 1) % 2 == place) {
            let number = number as u64;
            workers.push(Worker::new(WorkerSetup {
                number,
                host: host.clone(),
                client: client(&nodes, section.deadline)?,
                nodes: nodes.clone(),
                desk: desk.clone(),
                recorder: recorder.clone(),
                clock: Arc::new(SimClock),
                random: random.child("workload").stream(&format!("client-{number}")),
                section: section.clone(),
                tamper: play.seams.token.clone(),
            }));
        }
        let stage = stage.clone();
        sim.client(host.as_str(), async move {
            let start_ns = loop {
                if let Some(start_ns) = stage.load_start_ns() {
                    break start_ns;
                }
                tokio::time::sleep(LOOK).await;
            };
            let tasks: Vec<_> =
                workers.into_iter().map(|worker| tokio::spawn(worker.run(start_ns + load_ns))).collect();
            for task in tasks {
                task.await?;
                stage.lock().workers_done += 1;
            }
            Ok(())
        });
    }
    let operator = Operator {
        client: client(&nodes, section.deadline)?,
        glance: client(&nodes, GLANCE)?,
        nodes: nodes.clone(),
        descriptions: members.into_iter().map(|m| (m.id.to_string(), m)).collect(),
        desk: desk.clone(),
        clock: Arc::new(SimClock),
    };
    let changes_members = play.plan.faults.iter().any(|fault| fault.kind.changes_members());
    let watcher = Watcher {
        client: client(&nodes, section.deadline)?,
        keys: keys(section, play.partition_of),
        operator: changes_members.then_some(operator),
        desk: desk.clone(),
        nodes,
        recorder: recorder.clone(),
        stage: stage.clone(),
        clients: section.clients,
        load_ns,
        repairs: Repairs {
            hints: play.store.hinted_handoff,
            anti_entropy: play.store.anti_entropy != AntiEntropy::Off,
        },
    };
    sim.client(WATCHER, watcher.run());
    Ok(())
}

/// All keys, each with its partition.
fn keys(section: &WorkloadSection, partition_of: &dyn Fn(&str) -> u32) -> Vec<(String, u32)> {
    (1..=section.keys)
        .map(|i| {
            let key = format!("k{i}");
            let partition = partition_of(&key);
            (key, partition)
        })
        .collect()
}

fn client(nodes: &[String], deadline: Duration) -> Result<Client, WorldError> {
    let set_up = |e: &dyn std::fmt::Display| WorldError::SetUp(e.to_string());
    let urls: Vec<NodeUrl> = nodes
        .iter()
        .map(|node| format!("http://{node}:{API_PORT}").parse::<NodeUrl>())
        .collect::<Result<_, _>>()
        .map_err(|e| set_up(&e))?;
    let net: Arc<dyn Network> = Arc::new(SimNetwork::default());
    let options = ClientOptions { deadline, idle_age_max: IDLE_AGE_MAX, ..ClientOptions::default() };
    Client::new(net, urls, None, options).map_err(|e| set_up(&e))
}

struct Watcher {
    client: Client,
    nodes: Vec<String>,
    keys: Vec<(String, u32)>,
    operator: Option<Operator>,
    desk: Desk,
    recorder: Recorder,
    stage: Stage,
    clients: usize,
    load_ns: u64,
    repairs: Repairs,
}

impl Watcher {
    async fn run(mut self) -> turmoil::Result {
        self.wait_until_ready().await?;
        let clock = SimClock;
        let start_ns = clock.monotonic_ns();
        let operator = self.operator.take().map(|operator| tokio::spawn(operator.run()));
        self.stage.lock().load_start_ns = Some(start_ns);
        while clock.monotonic_ns() < start_ns + self.load_ns || self.stage.lock().workers_done < self.clients
        {
            tokio::time::sleep(LOOK).await;
        }
        // What clients gave up on may still be going on at its node for a request's time.
        tokio::time::sleep(Timing::default().request).await;
        let unchanged = self.wait_for_changes().await;
        let (members, departed) = (self.desk.members(), self.desk.departed());
        let resting = Resting { nodes: &self.nodes, members: &members, departed: &departed };
        let mut rest = settle(&self.client, resting, &clock, self.repairs, REST_PATIENCE).await;
        if let Some(why) = unchanged {
            rest = Rest::NotReached(why);
        }
        let reader = FinalReader {
            client: &self.client,
            nodes: &self.nodes,
            through: &members,
            host: WATCHER,
            recorder: &self.recorder,
            clock: &clock,
        };
        let eras = self.desk.eras();
        let owners_of =
            |partition| eras.last().map(|era| era.owners_of(partition).to_vec()).unwrap_or_default();
        let keys: Vec<(String, Vec<String>)> =
            self.keys.iter().map(|(key, partition)| (key.clone(), owners_of(*partition))).collect();
        let final_reads_failed = final_reads(&reader, &keys).await;
        self.desk.close();
        if let Some(operator) = operator {
            operator.await?;
        }
        self.stage.lock().ending = Some(Ending { rest, final_reads_failed });
        Ok(())
    }

    /// Waits until no change of the members is asked for or under way. Says what still was when it
    /// gave up.
    async fn wait_for_changes(&self) -> Option<String> {
        let clock = SimClock;
        let patience_ns = u64::try_from(CHANGE_PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        let give_up_ns = clock.monotonic_ns().saturating_add(patience_ns);
        loop {
            let pending = self.desk.pending();
            if pending.is_none() || clock.monotonic_ns() >= give_up_ns {
                return pending;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn wait_until_ready(&self) -> turmoil::Result {
        let clock = SimClock;
        let patience_ns = u64::try_from(START_PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        for i in self.desk.members() {
            let node = &self.nodes[i];
            while !matches!(self.client.is_ready(ReadOptions { node: Some(i) }).await, Ok(true)) {
                if clock.monotonic_ns() > patience_ns {
                    return Err(format!("{node} is not ready after {} s", START_PATIENCE.as_secs()).into());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}
