//! What is due when, which nodes are kept down by how many faults, and what was done: the part of
//! carrying out a plan that is the same in every world.
//!
//! Not here: doing any of it; each world has a director of its own.

use std::collections::BTreeMap;
use std::iter::Peekable;

use crate::fault::{Due, Effects, FaultEvent, Phase, Plan, PlannedFault, STRIKE};

/// A plan that is being carried out.
pub(super) struct Script {
    plan: Plan,
    /// By fault, then by strike.
    effects: Vec<Vec<Effects>>,
    schedule: Peekable<std::vec::IntoIter<Due>>,
    /// How many faults keep a node down.
    down: BTreeMap<String, u32>,
    events: Vec<FaultEvent>,
}

impl Script {
    /// The script of `plan` among `members`, `spares` and the clients' hosts. Spare nodes are down until
    /// a fault starts them.
    pub(super) fn new(plan: &Plan, members: &[String], spares: &[String], clients: &[String]) -> Self {
        let nodes: Vec<String> = members.iter().chain(spares).cloned().collect();
        Self {
            plan: plan.clone(),
            effects: plan
                .faults
                .iter()
                .map(|fault| {
                    let strikes = 0..fault.strikes().len();
                    strikes.map(|strike| Effects::of(fault, strike, &nodes, clients)).collect()
                })
                .collect(),
            schedule: plan.schedule().into_iter().peekable(),
            down: spares.iter().map(|name| (name.clone(), 1)).collect(),
            events: Vec::new(),
        }
    }

    /// The next beginning or end whose time has come, if the load began at `start_ns`.
    pub(super) fn next_due(&mut self, start_ns: u64, now_ns: u64) -> Option<Due> {
        self.schedule.next_if(|due| start_ns + due.at_ms * 1_000_000 <= now_ns)
    }

    /// A fault by its number.
    pub(super) fn fault(&self, number: usize) -> &PlannedFault {
        &self.plan.faults[number]
    }

    /// What a fault does the given time (from 0) that it strikes.
    pub(super) fn effects(&self, number: usize, strike: usize) -> Effects {
        self.effects[number][strike].clone()
    }

    /// Whether it does not come again after that time.
    pub(super) fn is_last(&self, number: usize, strike: usize) -> bool {
        strike + 1 >= self.effects[number].len()
    }

    /// One more fault keeps `node` down. Whether it ran until now.
    pub(super) fn goes_down(&mut self, node: &str) -> bool {
        let count = self.down.entry(node.to_owned()).or_default();
        *count += 1;
        *count == 1
    }

    /// One fault less keeps `node` down. Whether nothing does any more.
    pub(super) fn may_run(&mut self, node: &str) -> bool {
        let count = self.down.entry(node.to_owned()).or_default();
        *count = count.saturating_sub(1);
        *count == 0
    }

    /// A fault began for the given time (from 0), or ended.
    pub(super) fn note(&mut self, number: usize, strike: usize, event: Phase, at_ns: u64) {
        let fault = &self.plan.faults[number];
        let (kind, targets) = (fault.kind, fault.hosts());
        let mut params = BTreeMap::new();
        if strike > 0 {
            params.insert(STRIKE.to_owned(), (strike + 1).to_string());
        }
        self.events.push(FaultEvent { fault: number, event, kind, targets, at_ns, params });
    }

    /// Something to add to what was noted last.
    pub(super) fn remark(&mut self, name: &str, value: &str) {
        if let Some(event) = self.events.last_mut() {
            event.params.insert(name.to_owned(), value.to_owned());
        }
    }

    /// All that was done so far.
    pub(super) fn events(&self) -> &[FaultEvent] {
        &self.events
    }

    /// All that was done.
    pub(super) fn into_events(self) -> Vec<FaultEvent> {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{FaultKind, Settings};

    #[test]
    fn a_node_runs_again_once_no_fault_keeps_it_down_and_spares_wait_to_be_started() {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let fault = |fault, from_ms, until_ms| PlannedFault {
            fault,
            kind: FaultKind::Kill,
            targets: names(&["n1"]),
            joining: Vec::new(),
            from_ms,
            until_ms,
            settings: Settings::default(),
        };
        let plan = Plan { faults: vec![fault(0, 10, 30), fault(1, 20, 40)] };
        let mut script = Script::new(&plan, &names(&["n1", "n2"]), &names(&["n3"]), &[]);
        let ms = 1_000_000;
        assert_eq!(script.next_due(5 * ms, 14 * ms), None, "times count from the start of the load");
        let first = Due { at_ms: 10, phase: Phase::Begin, fault: 0, strike: 0 };
        assert_eq!(script.next_due(5 * ms, 15 * ms), Some(first));
        assert_eq!(script.next_due(5 * ms, 15 * ms), None);
        assert!(script.goes_down("n1") && !script.goes_down("n1"));
        assert!(!script.may_run("n1") && script.may_run("n1"));
        assert!(script.may_run("n3"), "only its being a spare kept it down");
        script.note(1, 1, Phase::End, 7);
        assert_eq!((script.events()[0].strike(), script.fault(1).strikes().len()), ("2", 1));
        script.remark("nothing", "to do");
        assert_eq!(script.events()[0].targets, ["n1"]);
        assert_eq!(script.into_events()[0].params.len(), 2);
    }
}
