//! Takes real processes through the faults of a run, from the beginning of the load to its end.

use std::sync::Arc;
use std::time::Duration;

use quorate_client::Client;
use quorate_env::Clock;
use quorate_loadgen::trust::{LoadOnMachine, Probed, SystemProbe};
use quorate_processes::LocalCluster;

use super::faults::{Deed, ProcessFaults, Step};
use crate::fault::FaultEvent;
use crate::members::Desk;
use crate::world::Play;
use crate::world::stage::Stage;

/// How often it looks whether something is due.
const LOOK: Duration = Duration::from_millis(5);

pub(super) struct Director {
    faults: ProcessFaults,
    cluster: LocalCluster,
    desk: Desk,
    clock: Arc<dyn Clock>,
    /// How long the load lasts.
    load_ns: u64,
    probe: SystemProbe,
    /// The machine when the load began.
    then: Option<Probed>,
    machine: Option<LoadOnMachine>,
}

impl Director {
    /// `client` asks nodes whether they are ready.
    pub(super) fn new(
        play: &Play<'_>,
        cluster: LocalCluster,
        desk: Desk,
        client: Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let section = &play.scenario.cluster;
        let members: Vec<String> = section.node_names().collect();
        let spares: Vec<String> = section.spare_names().collect();
        Self {
            faults: ProcessFaults::new(play.plan, &members, &spares, client, Arc::clone(&clock)),
            cluster,
            desk,
            clock,
            load_ns: u64::try_from(play.scenario.workload.duration.as_nanos()).unwrap_or(u64::MAX),
            probe: SystemProbe::new(),
            then: None,
            machine: None,
        }
    }

    /// Applies faults as they fall due, until the run is over.
    ///
    /// # Errors
    /// If a node ended that nobody killed, or does not start, as text.
    pub(super) async fn run(&mut self, stage: &Stage) -> Result<(), String> {
        while !stage.is_over() {
            if let Some(start_ns) = stage.load_start_ns() {
                self.look_at_the_machine(start_ns);
                for over in self.desk.take_over() {
                    self.faults.is_over(over);
                }
                let deeds = self.faults.apply_due(&mut self.cluster, start_ns).await;
                for Deed { fault, step, .. } in deeds.map_err(|e| e.to_string())? {
                    if step == Step::Begins {
                        self.desk.ask_for(fault, self.faults.fault(fault));
                    }
                }
            }
            let ended = self.cluster.ended();
            if !ended.is_empty() {
                return Err(format!("ended by itself: {}", ended.join(", ")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Stops all nodes. Returns what was done, and what the machine was like under the load.
    pub(super) async fn stop(self) -> (Vec<FaultEvent>, Option<LoadOnMachine>) {
        self.cluster.stop().await;
        (self.faults.events().to_vec(), self.machine)
    }

    fn look_at_the_machine(&mut self, start_ns: u64) {
        if self.machine.is_some() {
            return;
        }
        match self.then {
            None => self.then = self.probe.read(),
            Some(then) if self.clock.monotonic_ns() >= start_ns.saturating_add(self.load_ns) => {
                self.machine = self.probe.read().map(|now| now.since(&then));
            }
            Some(_) => {}
        }
    }
}
