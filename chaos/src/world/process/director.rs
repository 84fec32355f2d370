//! Does to real processes what the plan says, when it says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_env::Clock;
use quorate_processes::LocalCluster;

use crate::fault::{Effects, FaultEvent, FaultKind, Phase, Plan};
use crate::members::Desk;
use crate::world::Play;
use crate::world::stage::Stage;

/// How often it looks whether something is due.
const LOOK: Duration = Duration::from_millis(5);

pub(super) struct Director {
    plan: Plan,
    effects: Vec<Effects>,
    schedule: std::iter::Peekable<std::vec::IntoIter<(u64, Phase, usize)>>,
    /// How many faults keep a node down.
    down: BTreeMap<String, u32>,
    cluster: LocalCluster,
    desk: Desk,
    clock: Arc<dyn Clock>,
    events: Vec<FaultEvent>,
}

impl Director {
    /// Spare nodes are down until a fault starts them.
    pub(super) fn new(play: &Play<'_>, cluster: LocalCluster, desk: Desk, clock: Arc<dyn Clock>) -> Self {
        let section = &play.scenario.cluster;
        let nodes: Vec<String> = section.node_names().chain(section.spare_names()).collect();
        let clients: Vec<String> = play.scenario.workload.hosts().collect();
        Self {
            plan: play.plan.clone(),
            effects: play.plan.faults.iter().map(|f| Effects::of(f, &nodes, &clients)).collect(),
            schedule: play.plan.schedule().into_iter().peekable(),
            down: section.spare_names().map(|name| (name, 1)).collect(),
            cluster,
            desk,
            clock,
            events: Vec::new(),
        }
    }

    /// Applies faults as they fall due, until the run is over.
    ///
    /// # Errors
    /// If a node ended that nobody killed, or does not start, as text.
    pub(super) async fn run(&mut self, stage: &Stage) -> Result<(), String> {
        while !stage.is_over() {
            if let Some(start_ns) = stage.load_start_ns() {
                self.apply_due(start_ns).await?;
            }
            let ended = self.cluster.ended();
            if !ended.is_empty() {
                return Err(format!("ended by itself: {}", ended.join(", ")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Stops all nodes. Returns what was done.
    pub(super) async fn stop(self) -> Vec<FaultEvent> {
        self.cluster.stop().await;
        self.events
    }

    async fn apply_due(&mut self, start_ns: u64) -> Result<(), String> {
        for over in self.desk.take_over() {
            self.note(over, Phase::End);
        }
        let now_ns = self.clock.monotonic_ns();
        let is_due = |(at_ms, ..): &(u64, Phase, usize)| start_ns + at_ms * 1_000_000 <= now_ns;
        while let Some((_, phase, i)) = self.schedule.next_if(is_due) {
            // Noted before a fault begins and after it has ended, so that what clients see of it
            // lies between the two.
            match phase {
                Phase::Begin => {
                    self.note(i, phase);
                    self.begin(i).await?;
                }
                Phase::End => {
                    self.end(i)?;
                    self.note(i, phase);
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, fault: usize, event: Phase) {
        let planned = &self.plan.faults[fault];
        let at_ns = self.clock.monotonic_ns();
        self.events.push(FaultEvent { fault, event, kind: planned.kind, targets: planned.hosts(), at_ns });
    }

    async fn begin(&mut self, i: usize) -> Result<(), String> {
        let effects = self.effects[i].clone();
        for node in &effects.down {
            let count = self.down.entry(node.clone()).or_default();
            *count += 1;
            if *count == 1 {
                self.cluster.kill(node).await;
            }
            if self.plan.faults[i].kind == FaultKind::Wipe {
                self.cluster.wipe(node).map_err(|e| e.to_string())?;
            }
        }
        for node in &effects.starting {
            self.start_if_free(node)?;
        }
        self.desk.ask_for(i, &self.plan.faults[i]);
        Ok(())
    }

    fn end(&mut self, i: usize) -> Result<(), String> {
        let effects = self.effects[i].clone();
        effects.down.iter().try_for_each(|node| self.start_if_free(node))
    }

    fn start_if_free(&mut self, node: &str) -> Result<(), String> {
        let count = self.down.entry(node.to_owned()).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.cluster.start_node(node).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}
