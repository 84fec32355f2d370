//! `--fault`: what is done to nodes of a cluster of our own while it is measured.
//!
//! Not here: doing it to a process (`quorate_chaos::world`).

use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_chaos::fault::{FaultEvent, FaultKind, Plan, PlannedFault, Settings};
use quorate_chaos::world::{Deed, ProcessFaults, Step};
use quorate_client::Client;
use quorate_cluster::config::parse_duration;
use quorate_env::SystemClock;
use quorate_loadgen::windows::{Window, Windows};
use quorate_loadgen::{Interval, IntervalSink};
use quorate_processes::LocalCluster;
use tokio::sync::oneshot;

use crate::outcome::Failure;

/// How often it looks whether something is due.
const LOOK: Duration = Duration::from_millis(5);

/// How long a calm must at least be for what follows to be compared with: it is looked at by the second.
const CALM_MIN: Duration = Duration::from_secs(1);

/// `KIND:NODE@AT+FOR`, times from the beginning of the measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultFlag {
    kind: FaultKind,
    /// The node's name.
    pub node: String,
    at: Duration,
    lasts: Duration,
}

impl FromStr for FaultFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not KIND:NODE@AT+FOR, such as kill:n3@10s+5s");
        let (kind, rest) = text.split_once(':').ok_or_else(form)?;
        let (node, times) = rest.split_once('@').ok_or_else(form)?;
        let (at, lasts) = times.split_once('+').ok_or_else(form)?;
        let kind = match kind {
            "kill" => FaultKind::Kill,
            "wipe" => FaultKind::Wipe,
            other => {
                return Err(format!("`{other}`: choose kill (and start again) or wipe (with an empty disk)"));
            }
        };
        if node.is_empty() {
            return Err(form());
        }
        Ok(Self { kind, node: node.to_owned(), at: parse_duration(at)?, lasts: parse_duration(lasts)? })
    }
}

/// Refuses faults that cannot be done one after the other within the measurement.
///
/// # Errors
/// Which one, and why.
pub fn validate(faults: &[FaultFlag], nodes: usize, measured: Duration) -> Result<(), Failure> {
    let mut free_from = Duration::ZERO;
    for fault in faults {
        let say = |why: &str| Failure::setup(format_args!("--fault {}:{}: {why}", fault.kind, fault.node));
        let known = quorate_processes::Plan::names(nodes);
        if !known.contains(&fault.node) {
            return Err(say(&format!("no such node; there are {}", known.join(", "))));
        }
        if fault.at < free_from.max(CALM_MIN) {
            return Err(say(
                "begins too soon; leave a calm second or more before the first, and list them in \
                 order, one after the other",
            ));
        }
        if fault.at + fault.lasts >= measured {
            return Err(say("is not over before the measurement ends; give a longer --duration"));
        }
        free_from = fault.at + fault.lasts;
    }
    let mut hit: Vec<&String> = faults.iter().map(|fault| &fault.node).collect();
    hit.sort_unstable();
    hit.dedup();
    if hit.len() >= nodes {
        return Err(Failure::setup(
            "every node has a --fault: load goes to nodes without one; leave at least one",
        ));
    }
    Ok(())
}

/// The faults as a plan, times from the beginning of the measurement.
pub fn plan(faults: &[FaultFlag]) -> Plan {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let planned = |(number, flag): (usize, &FaultFlag)| PlannedFault {
        fault: number,
        kind: flag.kind,
        targets: vec![flag.node.clone()],
        joining: Vec::new(),
        from_ms: millis(flag.at),
        until_ms: millis(flag.at + flag.lasts),
        settings: Settings::default(),
    };
    Plan { faults: faults.iter().enumerate().map(planned).collect() }
}

/// What was done when, on the clock of the measurement, and what the load was like meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Beginnings and ends.
    pub events: Vec<FaultEvent>,
    /// The stretches between them; none if nothing was to be done.
    pub windows: Windows,
}

/// Does what a plan says. `client` numbers the nodes as `cluster` does.
pub struct Faulter<'a> {
    pub cluster: &'a mut LocalCluster,
    pub client: Client,
    pub plan: Plan,
    pub clock: Arc<SystemClock>,
    pub deeds: Arc<Mutex<Deeds>>,
}

impl Faulter<'_> {
    /// Waits for the measurement to begin, then for each fault in turn.
    ///
    /// # Errors
    /// If a node does not start again.
    pub async fn run(self, measuring: oneshot::Receiver<u64>) -> Result<(), Failure> {
        let Self { cluster, client, plan, clock, deeds } = self;
        let Ok(start_ns) = measuring.await else { return Ok(()) };
        if plan.faults.is_empty() {
            return Ok(());
        }
        let begin = |deeds: &mut Deeds, name: String, at_ns: u64| {
            deeds.windows.begin(Window { name, from_ns: at_ns.saturating_sub(start_ns) });
        };
        begin(&mut locked(&deeds), "calm".into(), start_ns);
        let nodes: Vec<String> = cluster.state().nodes.iter().map(|node| node.id.clone()).collect();
        let mut faults = ProcessFaults::new(&plan, &nodes, &[], client, clock);
        while !faults.are_all_over() {
            let done = faults.apply_due(cluster, start_ns).await?;
            {
                let mut deeds = locked(&deeds);
                for Deed { fault, step, at_ns } in done {
                    let PlannedFault { kind, targets, .. } = faults.fault(fault);
                    let node = targets.join(", ");
                    let name = match step {
                        Step::Begins => format!("{kind} {node}"),
                        Step::Heals => format!("{node} comes back"),
                        Step::IsOver => format!("{node} is back"),
                    };
                    begin(&mut deeds, name, at_ns);
                }
                let since = |event: &FaultEvent| FaultEvent {
                    at_ns: event.at_ns.saturating_sub(start_ns),
                    ..event.clone()
                };
                deeds.events = faults.events().iter().map(since).collect();
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// What was done so far.
pub fn locked(deeds: &Mutex<Deeds>) -> MutexGuard<'_, Deeds> {
    deeds.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes the seconds of a run on, and gathers them by what was done meanwhile.
pub struct Gathered<'a, S> {
    pub sink: &'a mut S,
    pub deeds: &'a Mutex<Deeds>,
}

impl<S: IntervalSink> IntervalSink for Gathered<'_, S> {
    fn interval(&mut self, interval: &Interval) {
        self.sink.interval(interval);
        locked(self.deeds).windows.add(interval);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        let fault: FaultFlag = "wipe:n2@10s+500ms".parse().unwrap();
        let expected = FaultFlag {
            kind: FaultKind::Wipe,
            node: "n2".into(),
            at: Duration::from_secs(10),
            lasts: Duration::from_millis(500),
        };
        assert_eq!(fault, expected);
        for wrong in ["", "kill", "kill:n1", "kill:n1@3s", "hug:n1@3s+1s", "kill:@3s+1s", "kill:n1@x+1s"] {
            assert!(wrong.parse::<FaultFlag>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_anything_starts() {
        let check = |flags: &[&str], nodes| {
            let flags: Vec<FaultFlag> = flags.iter().map(|flag| flag.parse().unwrap()).collect();
            validate(&flags, nodes, Duration::from_secs(30)).map_err(|e| e.to_string())
        };
        assert_eq!(check(&["kill:n1@5s+5s", "wipe:n2@10s+5s"], 3), Ok(()));
        assert_eq!(check(&["kill:n1@1s+5s"], 3), Ok(()), "a calm second is there to compare with");
        for (flags, nodes, word) in [
            (&["kill:n4@5s+5s"][..], 3, "n1, n2, n3"),
            (&["kill:n1@0s+5s"], 3, "too soon"),
            (&["kill:n1@999ms+5s"], 3, "too soon"),
            (&["kill:n1@5s+5s", "kill:n2@9s+5s"], 3, "too soon"),
            (&["kill:n1@5s+25s"], 3, "--duration"),
            (&["kill:n1@5s+5s", "kill:n2@10s+5s"], 2, "every node"),
        ] {
            assert!(check(flags, nodes).unwrap_err().contains(word), "{flags:?}");
        }
    }
}
