//! `--fault`: what is done to nodes of a cluster of our own while it is measured.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_chaos::fault::{FaultEvent, FaultKind, Phase};
use quorate_client::{Client, ReadOptions};
use quorate_cluster::config::parse_duration;
use quorate_env::{Clock as _, SystemClock};
use quorate_loadgen::windows::Window;
use quorate_loadgen::{Interval, IntervalSink};
use quorate_processes::LocalCluster;
use tokio::sync::oneshot;

use crate::outcome::Failure;

/// How often a node that was started is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(50);

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
        if fault.at.is_zero() || fault.at < free_from {
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

/// What was done when, on the clock of the measurement.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Beginnings and ends.
    pub events: Vec<FaultEvent>,
    /// The stretches between them; empty if nothing was done.
    pub windows: Vec<Window>,
}

/// Does what the flags say. `client` numbers the nodes as `cluster` does.
pub struct Faulter<'a> {
    pub cluster: &'a mut LocalCluster,
    pub client: Client,
    pub flags: &'a [FaultFlag],
    pub clock: Arc<SystemClock>,
    pub deeds: Arc<Mutex<Deeds>>,
}

impl Faulter<'_> {
    /// Waits for the measurement to begin, then for each fault in turn.
    ///
    /// # Errors
    /// If a node does not start again.
    pub async fn run(self, measuring: oneshot::Receiver<u64>) -> Result<(), Failure> {
        let Ok(start_ns) = measuring.await else { return Ok(()) };
        let flags = self.flags;
        if !flags.is_empty() {
            self.deeds().windows.push(Window { name: "calm".into(), from_ns: 0 });
        }
        for (number, flag) in flags.iter().enumerate() {
            self.wait_until(start_ns, flag.at).await;
            self.note(start_ns, number, Phase::Begin, &format!("{} {}", flag.kind, flag.node));
            self.cluster.kill(&flag.node).await;
            if flag.kind == FaultKind::Wipe {
                self.cluster.wipe(&flag.node)?;
            }
            self.wait_until(start_ns, flag.at + flag.lasts).await;
            self.cluster.start_node(&flag.node)?;
            self.note(start_ns, number, Phase::End, &format!("{} comes back", flag.node));
            self.wait_until_ready(&flag.node).await;
            let from_ns = self.clock.monotonic_ns().saturating_sub(start_ns);
            self.deeds().windows.push(Window { name: format!("{} is back", flag.node), from_ns });
        }
        Ok(())
    }

    async fn wait_until(&self, start_ns: u64, at: Duration) {
        let at_ns = start_ns + u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_nanos(at_ns.saturating_sub(self.clock.monotonic_ns()))).await;
    }

    async fn wait_until_ready(&self, node: &str) {
        let number = self.cluster.state().nodes.iter().position(|known| known.id == node);
        while !matches!(self.client.is_ready(ReadOptions { node: number }).await, Ok(true)) {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn note(&self, start_ns: u64, number: usize, event: Phase, name: &str) {
        let flag = &self.flags[number];
        let at_ns = self.clock.monotonic_ns().saturating_sub(start_ns);
        let mut deeds = self.deeds();
        deeds.events.push(FaultEvent {
            fault: number,
            event,
            kind: flag.kind,
            targets: vec![flag.node.clone()],
            at_ns,
        });
        deeds.windows.push(Window { name: name.to_owned(), from_ns: at_ns });
    }

    fn deeds(&self) -> std::sync::MutexGuard<'_, Deeds> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the seconds of a run, and passes them on.
pub struct Kept<'a, S> {
    pub sink: &'a mut S,
    pub intervals: Vec<Interval>,
}

impl<S: IntervalSink> IntervalSink for Kept<'_, S> {
    fn interval(&mut self, interval: &Interval) {
        self.sink.interval(interval);
        self.intervals.push(interval.clone());
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
        for (flags, nodes, word) in [
            (&["kill:n4@5s+5s"][..], 3, "n1, n2, n3"),
            (&["kill:n1@0s+5s"], 3, "too soon"),
            (&["kill:n1@5s+5s", "kill:n2@9s+5s"], 3, "too soon"),
            (&["kill:n1@5s+25s"], 3, "--duration"),
            (&["kill:n1@5s+5s", "kill:n2@10s+5s"], 2, "every node"),
        ] {
            assert!(check(flags, nodes).unwrap_err().contains(word), "{flags:?}");
        }
    }
}
