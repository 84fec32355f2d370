//! The hosts that clients run on, and the one that watches over the stages of a run: wait for the
//! nodes, load, wait for rest, read everything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_client::{Client, ClientOptions, NodeUrl, ReadOptions};
use quorate_cluster::config::{AntiEntropy, Timing};
use quorate_env::{Clock, Network, Random};

use super::node::API_PORT;
use super::{SimClock, SimNetwork};
use crate::scenario::WorkloadSection;
use crate::workload::{FinalReader, Recorder, Repairs, Rest, Worker, WorkerSetup, final_reads, settle};
use crate::world::{Play, WorldError};

/// The host of the one who watches: no fault touches it.
const WATCHER: &str = "watcher";

/// How often a stage looks whether the one before is over.
const LOOK: Duration = Duration::from_millis(10);

/// How long nodes may take to be ready before there was any fault.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long a healed store may take to come to rest.
const REST_PATIENCE: Duration = Duration::from_secs(120);

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
) -> Result<(), WorldError> {
    let section = &play.scenario.workload;
    let nodes: Vec<String> = play.scenario.cluster.node_names().collect();
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
    let watcher = Watcher {
        client: client(&nodes, section.deadline)?,
        keys: keys(section, play.owners_of),
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

fn keys(section: &WorkloadSection, owners_of: &dyn Fn(&str) -> Vec<String>) -> Vec<(String, Vec<String>)> {
    (1..=section.keys)
        .map(|i| {
            let key = format!("k{i}");
            let owners = owners_of(&key);
            (key, owners)
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
    keys: Vec<(String, Vec<String>)>,
    recorder: Recorder,
    stage: Stage,
    clients: usize,
    load_ns: u64,
    repairs: Repairs,
}

impl Watcher {
    async fn run(self) -> turmoil::Result {
        self.wait_until_ready().await?;
        let clock = SimClock;
        let start_ns = clock.monotonic_ns();
        self.stage.lock().load_start_ns = Some(start_ns);
        while clock.monotonic_ns() < start_ns + self.load_ns || self.stage.lock().workers_done < self.clients
        {
            tokio::time::sleep(LOOK).await;
        }
        // What clients gave up on may still be going on at its node for a request's time.
        tokio::time::sleep(Timing::default().request).await;
        let rest = settle(&self.client, &self.nodes, &clock, self.repairs, REST_PATIENCE).await;
        let reader = FinalReader {
            client: &self.client,
            nodes: &self.nodes,
            host: WATCHER,
            recorder: &self.recorder,
            clock: &clock,
        };
        let final_reads_failed = final_reads(&reader, &self.keys).await;
        self.stage.lock().ending = Some(Ending { rest, final_reads_failed });
        Ok(())
    }

    async fn wait_until_ready(&self) -> turmoil::Result {
        let clock = SimClock;
        let patience_ns = u64::try_from(START_PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        for (i, node) in self.nodes.iter().enumerate() {
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
