//! Carries out the faults of a plan on the processes of a local cluster, and finds out when a node
//! that was started serves again.
//!
//! A process that is started takes its time: it reads its log, and finds the others. So a fault is
//! over not when the node's process begins, but once the node says that it is ready.
//!
//! Not here: what a run does about a fault besides (members, the end of the run).

use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ReadOptions};
use quorate_env::Clock;
use quorate_processes::{LocalCluster, ProcessError};
use tokio::task::JoinSet;

use crate::fault::{Due, Effects, FaultEvent, FaultKind, Phase, Plan, PlannedFault};
use crate::world::script::Script;

/// How often a node that was started is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It begins.
    Begins,
    /// Its nodes were started again.
    Heals,
    /// Its nodes are ready.
    IsOver,
}

/// A step of a fault that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The fault's number in the plan.
    pub fault: usize,
    /// Which step.
    pub step: Step,
    /// When, in nanoseconds of the clock.
    pub at_ns: u64,
}

/// A plan that is being carried out on processes.
pub struct ProcessFaults {
    script: Script,
    /// How it asks nodes whether they are ready.
    client: Client,
    /// Names of all nodes in the order in which `client` numbers them.
    nodes: Vec<String>,
    clock: Arc<dyn Clock>,
    /// Ends with the number of a fault when all its nodes are ready.
    returning: JoinSet<usize>,
    open: usize,
}

impl ProcessFaults {
    /// The faults of `plan` among `members` and `spares`, which `client` numbers in that order.
    #[must_use]
    pub fn new(
        plan: &Plan,
        members: &[String],
        spares: &[String],
        client: Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            // Links are whole as long as the machine is: clients' hosts do not matter.
            script: Script::new(plan, members, spares, &[]),
            client,
            nodes: members.iter().chain(spares).cloned().collect(),
            clock,
            returning: JoinSet::new(),
            open: plan.faults.len(),
        }
    }

    /// Does everything whose time has come, if the load began at `start_ns`, and returns it.
    ///
    /// # Errors
    /// If a node does not start, or its data cannot be removed.
    pub async fn apply_due(
        &mut self,
        cluster: &mut LocalCluster,
        start_ns: u64,
    ) -> Result<Vec<Deed>, ProcessError> {
        let mut deeds = Vec::new();
        while let Some(back) = self.returning.try_join_next() {
            // One that panicked leaves its fault open: nobody can say that the node is back.
            if let Ok(fault) = back {
                deeds.push(self.is_over(fault));
            }
        }
        let now_ns = self.clock.monotonic_ns();
        while let Some(Due { phase, fault, strike, .. }) = self.script.next_due(start_ns, now_ns) {
            let at_ns = self.clock.monotonic_ns();
            match phase {
                // Noted before it begins, so that what clients see of it comes after.
                Phase::Begin => {
                    self.script.note(fault, strike, phase, at_ns);
                    deeds.push(Deed { fault, step: Step::Begins, at_ns });
                    self.begin(cluster, fault, strike).await?;
                }
                Phase::End => {
                    deeds.push(Deed { fault, step: Step::Heals, at_ns });
                    let started = self.start_again(cluster, fault, strike)?;
                    if !self.script.is_last(fault, strike) {
                        // It comes again, whether or not its nodes are ready by then.
                        self.script.note(fault, strike, Phase::End, self.clock.monotonic_ns());
                    } else if started.is_empty() {
                        deeds.push(self.is_over(fault));
                    } else {
                        self.await_return(fault, &started);
                    }
                }
            }
        }
        Ok(deeds)
    }

    /// A fault of the plan is over, because its nodes are ready, or because someone else says so.
    pub fn is_over(&mut self, fault: usize) -> Deed {
        let at_ns = self.clock.monotonic_ns();
        let last = self.script.fault(fault).strikes().len().saturating_sub(1);
        self.script.note(fault, last, Phase::End, at_ns);
        self.open -= 1;
        Deed { fault, step: Step::IsOver, at_ns }
    }

    /// Whether every fault is over.
    #[must_use]
    pub fn are_all_over(&self) -> bool {
        self.open == 0
    }

    /// A fault by its number.
    #[must_use]
    pub fn fault(&self, number: usize) -> &PlannedFault {
        self.script.fault(number)
    }

    /// What was done so far.
    #[must_use]
    pub fn events(&self) -> &[FaultEvent] {
        self.script.events()
    }

    async fn begin(
        &mut self,
        cluster: &mut LocalCluster,
        fault: usize,
        strike: usize,
    ) -> Result<(), ProcessError> {
        let Effects { down, starting, .. } = self.script.effects(fault, strike);
        for node in &down {
            if self.script.goes_down(node) {
                cluster.kill(node).await;
            }
            if self.script.fault(fault).kind == FaultKind::Wipe {
                cluster.wipe(node)?;
            }
            if let Some(protocol) = self.script.fault(fault).kind.speaks() {
                cluster.hold_back(node, protocol)?;
            }
        }
        for node in &starting {
            self.start_if_free(cluster, node)?;
        }
        Ok(())
    }

    /// Starts those nodes of a fault that no other fault keeps down; returns them.
    fn start_again(
        &mut self,
        cluster: &mut LocalCluster,
        fault: usize,
        strike: usize,
    ) -> Result<Vec<String>, ProcessError> {
        let mut started = Vec::new();
        for node in self.script.effects(fault, strike).down {
            if self.start_if_free(cluster, &node)? {
                started.push(node);
            }
        }
        Ok(started)
    }

    fn start_if_free(&mut self, cluster: &mut LocalCluster, node: &str) -> Result<bool, ProcessError> {
        let is_free = self.script.may_run(node);
        if is_free {
            cluster.start_node(node)?;
        }
        Ok(is_free)
    }

    fn await_return(&mut self, fault: usize, started: &[String]) {
        let client = self.client.clone();
        let place = |node: &String| self.nodes.iter().position(|known| known == node);
        let numbers: Vec<usize> = started.iter().filter_map(place).collect();
        self.returning.spawn(async move {
            for number in numbers {
                while !matches!(client.is_ready(ReadOptions { node: Some(number) }).await, Ok(true)) {
                    tokio::time::sleep(ASK_EVERY).await;
                }
            }
            fault
        });
    }
}
