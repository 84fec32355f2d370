//! The stages of a run, the same in every world: wait for the nodes, load, wait for rest, read
//! everything; and those who call the nodes in them.
//!
//! Not here: faults, and how nodes come to be; each world has its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_client::{Client, ReadOptions};
use quorate_cluster::config::{Member, Timing};
use quorate_env::{Clock, Random};

use crate::fault::FaultKind;
use crate::members::{Desk, Operator};
use crate::workload::{
    FinalReader, Recorder, Repairs, Rest, Resting, Worker, WorkerSetup, all_forgotten, final_reads, settle,
    value_id,
};
use crate::world::{Play, WorldError};

/// The host of the one who watches: no fault touches it.
pub(super) const WATCHER: &str = "watcher";

/// How often a stage looks whether the one before is over.
const LOOK: Duration = Duration::from_millis(10);

/// How long nodes may take to be ready before there was any fault.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long a healed store may take to come to rest.
const REST_PATIENCE: Duration = Duration::from_secs(120);

/// How long changes of the members may go on after everything was healed.
const CHANGE_PATIENCE: Duration = Duration::from_secs(60);

/// How long the operator waits for a node to say what view it is in.
pub(super) const GLANCE: Duration = Duration::from_millis(500);

/// Clients do not use a connection again that was idle for longer. Without power a node says no
/// goodbye, so an older connection may be to an earlier run of the node, and the first request on
/// it is reset: a failure of the connection, not of the store, which was owed to nobody.
pub(super) const IDLE_AGE_MAX: Duration = Duration::from_millis(400);

/// Mean pause between two operations of a client that overloads nodes.
const HASTE: Duration = Duration::from_millis(5);

/// How the end of a run went.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) rest: Rest,
    pub(super) stuck_change: Option<String>,
    pub(super) uncollected: Option<String>,
    pub(super) final_reads_failed: Vec<String>,
}

/// What the parts of one run tell each other outside the network. Cheap to clone.
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

    /// Returns when the load begins, with the time at which it did.
    async fn load_started(&self) -> u64 {
        loop {
            if let Some(start_ns) = self.load_start_ns() {
                return start_ns;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether everything is over.
    pub(super) fn is_over(&self) -> bool {
        self.lock().ending.is_some()
    }

    pub(super) fn ending(&self) -> Ending {
        let unfinished = || Ending {
            rest: Rest::NotReached("the run ended before".into()),
            stuck_change: None,
            uncollected: None,
            final_reads_failed: Vec::new(),
        };
        self.lock().ending.clone().unwrap_or_else(unfinished)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it takes to cast a run.
pub(super) struct Casting<'a> {
    pub(super) play: &'a Play<'a>,
    pub(super) random: Random,
    pub(super) recorder: &'a Recorder,
    pub(super) stage: &'a Stage,
    pub(super) desk: &'a Desk,
    pub(super) clock: Arc<dyn Clock>,
    /// All nodes, spare ones last.
    pub(super) everybody: Vec<Member>,
    /// What the operator shows as an administrator.
    pub(super) authorization: Option<String>,
    /// Makes a client that waits so long, and numbers the nodes in that order.
    pub(super) client: &'a dyn Fn(Duration) -> Result<Client, WorldError>,
}

/// The clients of one host.
pub(super) struct Crew {
    pub(super) host: String,
    workers: Vec<Shift>,
    stage: Stage,
}

/// When a client works, in nanoseconds from the start of the load.
struct Shift {
    worker: Worker,
    from_ns: u64,
    until_ns: u64,
}

impl Crew {
    /// Works while the load lasts.
    ///
    /// # Errors
    /// If one of them panicked.
    pub(super) async fn run(self) -> Result<(), tokio::task::JoinError> {
        let start_ns = self.stage.load_started().await;
        let work = |Shift { worker, from_ns, until_ns }| async move {
            if from_ns > 0 {
                tokio::time::sleep(Duration::from_nanos(from_ns)).await;
            }
            Box::pin(worker.run(start_ns + until_ns)).await;
        };
        let tasks: Vec<_> = self.workers.into_iter().map(|shift| tokio::spawn(work(shift))).collect();
        for task in tasks {
            task.await?;
            self.stage.lock().workers_done += 1;
        }
        Ok(())
    }
}

impl Casting<'_> {
    /// Those who work, and the one who watches.
    pub(super) fn cast(self) -> Result<(Vec<Crew>, Watcher), WorldError> {
        let section = &self.play.scenario.workload;
        let nodes: Vec<String> = self.everybody.iter().map(|m| m.id.to_string()).collect();
        let load_ns = u64::try_from(section.duration.as_nanos()).unwrap_or(u64::MAX);
        let mut crews = Vec::new();
        for (place, host) in section.hosts().enumerate() {
            let mut workers = Vec::new();
            for number in (1..=section.clients).filter(|n| (n - 1) % 2 == place) {
                let worker = self.worker(number, &host, &nodes, None)?;
                workers.push(Shift { worker, from_ns: 0, until_ns: load_ns });
            }
            crews.push(Crew { host, workers, stage: self.stage.clone() });
        }
        let extra = self.cast_overloads(&mut crews, &nodes)?;
        let operator = Operator {
            client: (self.client)(section.deadline)?,
            glance: (self.client)(GLANCE)?,
            nodes: nodes.clone(),
            authorization: self.authorization,
            descriptions: self.everybody.into_iter().map(|m| (m.id.to_string(), m)).collect(),
            desk: self.desk.clone(),
            clock: Arc::clone(&self.clock),
        };
        let changes_members = self.play.plan.faults.iter().any(|fault| fault.kind.changes_members());
        let keys = (1..=section.keys).map(|i| format!("k{i}"));
        let store = self.play.store;
        let watcher = Watcher {
            client: (self.client)(section.deadline)?,
            keys: keys.map(|key| (key.clone(), (self.play.partition_of)(&key))).collect(),
            operator: changes_members.then_some(operator),
            desk: self.desk.clone(),
            nodes,
            recorder: self.recorder.clone(),
            stage: self.stage.clone(),
            clock: self.clock,
            clients: section.clients + extra,
            load_ns,
            repairs: Repairs::of(store),
            collects: store.collects_tombstones(),
        };
        Ok((crews, watcher))
    }

    /// The clients that come for a while only, by turns on the hosts of all crews. Returns how many.
    fn cast_overloads(&self, crews: &mut [Crew], nodes: &[String]) -> Result<usize, WorldError> {
        let mut extra = 0;
        for fault in self.play.plan.faults.iter().filter(|fault| fault.kind == FaultKind::Overload) {
            let place = |target: &String| nodes.iter().position(|node| node == target);
            let targets: Vec<usize> = fault.targets.iter().filter_map(place).collect();
            for _ in 0..fault.settings.clients() {
                extra += 1;
                let number = self.play.scenario.workload.clients + extra;
                let crew = &mut crews[number % 2];
                let worker = self.worker(number, &crew.host, nodes, Some(targets.clone()))?;
                let (from_ns, until_ns) = (fault.from_ms * 1_000_000, fault.until_ms * 1_000_000);
                crew.workers.push(Shift { worker, from_ns, until_ns });
            }
        }
        Ok(extra)
    }

    /// Client `number`; one that is to ask `only` some nodes hardly pauses.
    fn worker(
        &self,
        number: usize,
        host: &str,
        nodes: &[String],
        only: Option<Vec<usize>>,
    ) -> Result<Worker, WorldError> {
        let mut section = self.play.scenario.workload.clone();
        if only.is_some() {
            section.think_time = HASTE.min(section.think_time);
        }
        Ok(Worker::new(WorkerSetup {
            number: number as u64,
            host: host.to_owned(),
            client: (self.client)(section.deadline)?,
            nodes: nodes.to_vec(),
            desk: self.desk.clone(),
            only,
            recorder: self.recorder.clone(),
            clock: Arc::clone(&self.clock),
            random: self.random.child("workload").stream(&format!("client-{number}")),
            section,
            registers: self.play.store.is_linearizable(),
            tamper: self.play.seams.token.clone(),
        }))
    }
}

/// Takes a run from stage to stage.
pub(super) struct Watcher {
    client: Client,
    /// Names of all nodes in the order in which `client` numbers them.
    nodes: Vec<String>,
    /// All keys, each with its partition.
    keys: Vec<(String, u32)>,
    /// Who has members changed, if anybody may.
    operator: Option<Operator>,
    desk: Desk,
    recorder: Recorder,
    stage: Stage,
    clock: Arc<dyn Clock>,
    /// How many clients there are.
    clients: usize,
    /// How long the load goes on, in nanoseconds.
    load_ns: u64,
    repairs: Repairs,
    /// Whether the store forgets deletes.
    collects: bool,
}

impl Watcher {
    /// Runs all stages.
    ///
    /// # Errors
    /// If a node is not ready in time before anything was done to it, as text.
    pub(super) async fn run(mut self) -> Result<(), String> {
        self.wait_until_ready().await?;
        let clock = Arc::clone(&self.clock);
        let start_ns = clock.monotonic_ns();
        let operators = self.operator.take().map(|operator| {
            let rival = tokio::spawn(operator.clone().run_as_rival());
            [tokio::spawn(operator.run()), rival]
        });
        self.stage.lock().load_start_ns = Some(start_ns);
        while clock.monotonic_ns() < start_ns + self.load_ns || self.stage.lock().workers_done < self.clients
        {
            tokio::time::sleep(LOOK).await;
        }
        // What clients gave up on may still be going on at its node for a request's time.
        tokio::time::sleep(Timing::default().request).await;
        let stuck_change = self.wait_for_changes().await;
        let (members, departed) = (self.desk.members(), self.desk.departed());
        let resting = Resting { nodes: &self.nodes, members: &members, departed: &departed };
        let rest = settle(&self.client, resting, &*clock, self.repairs, REST_PATIENCE).await;
        let uncollected = match self.collects {
            true => all_forgotten(&self.client, &self.nodes, &members, &*clock, REST_PATIENCE).await.err(),
            false => None,
        };
        let reader = FinalReader {
            client: &self.client,
            nodes: &self.nodes,
            through: &members,
            host: WATCHER,
            recorder: &self.recorder,
            clock: &*clock,
            named: value_id,
        };
        let eras = self.desk.eras();
        let owners_of =
            |partition| eras.last().map(|era| era.owners_of(partition).to_vec()).unwrap_or_default();
        let keys: Vec<(String, Vec<String>)> =
            self.keys.iter().map(|(key, partition)| (key.clone(), owners_of(*partition))).collect();
        let final_reads_failed = final_reads(&reader, &keys).await;
        self.desk.close();
        for operator in operators.into_iter().flatten() {
            operator.await.map_err(|e| e.to_string())?;
        }
        self.stage.lock().ending = Some(Ending { rest, stuck_change, uncollected, final_reads_failed });
        Ok(())
    }

    /// Waits until no change of the members is asked for or under way. Says what still was when it
    /// gave up.
    async fn wait_for_changes(&self) -> Option<String> {
        let give_up_ns = self.after(CHANGE_PATIENCE);
        loop {
            let pending = self.desk.pending();
            if pending.is_none() || self.clock.monotonic_ns() >= give_up_ns {
                return pending;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn wait_until_ready(&self) -> Result<(), String> {
        let give_up_ns = self.after(START_PATIENCE);
        for i in self.desk.members() {
            let node = &self.nodes[i];
            while !matches!(self.client.is_ready(ReadOptions { node: Some(i) }).await, Ok(true)) {
                if self.clock.monotonic_ns() > give_up_ns {
                    return Err(format!("{node} is not ready after {} s", START_PATIENCE.as_secs()));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    fn after(&self, patience: Duration) -> u64 {
        let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        self.clock.monotonic_ns().saturating_add(patience_ns)
    }
}
