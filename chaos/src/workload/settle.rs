//! Waiting until a healed store has come to rest: no hints left and nothing to refill, and since
//! then one whole round of anti-entropy on every member that found no difference; and members that
//! left hold nothing more.
//!
//! A node tells of its last clean round by when that began, on a clock of its own, which in a process
//! starts with it: that says which of its rounds it was, and nothing about anybody else's time. So
//! rounds are counted. The second new one that a node tells of began after the first had ended,
//! which was after the last hint was seen to be gone.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_client::{Client, ReadOptions};
use quorate_cluster::config::{AntiEntropy, StoreDefinition};
use quorate_env::Clock;
use serde::{Deserialize, Serialize};

/// Whether the store came to rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rest {
    /// It did.
    Reached,
    /// It did not before the deadline; the text says what was still going on.
    NotReached(String),
    /// Nobody waited: the store repairs nothing by itself.
    NotAwaited,
}

const POLL: Duration = Duration::from_millis(200);

/// What a store does by itself after a fault, and is therefore waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repairs {
    /// Hints are delivered.
    pub hints: bool,
    /// Copies are compared.
    pub anti_entropy: bool,
}

impl Repairs {
    /// What `store` does.
    #[must_use]
    pub fn of(store: &StoreDefinition) -> Self {
        Self { hints: store.hinted_handoff, anti_entropy: store.anti_entropy != AntiEntropy::Off }
    }
}

/// Who must come to rest.
#[derive(Clone, Copy, Debug)]
pub struct Resting<'a> {
    /// Names of all nodes in the order in which the client numbers them.
    pub nodes: &'a [String],
    /// The members, by number.
    pub members: &'a [usize],
    /// Members that left and still run, by number.
    pub departed: &'a [usize],
}

/// Polls the metrics of all nodes until every one is at rest, for at most `patience`.
pub async fn settle(
    client: &Client,
    resting: Resting<'_>,
    clock: &dyn Clock,
    repairs: Repairs,
    patience: Duration,
) -> Rest {
    let Resting { nodes, members, departed } = resting;
    if repairs == (Repairs { hints: false, anti_entropy: false }) && departed.is_empty() {
        return Rest::NotAwaited;
    }
    let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
    let give_up_ns = clock.monotonic_ns().saturating_add(patience_ns);
    let mut rounds = CleanRounds::default();
    loop {
        let mut waiting_for = None;
        let mut clean = Vec::with_capacity(members.len());
        for &i in members.iter().chain(departed) {
            let left = departed.contains(&i);
            match client.metrics(ReadOptions { node: Some(i) }).await {
                Ok(text) => {
                    waiting_for =
                        unrest(&text, left, repairs).map(|why| format!("{} {why}", nodes[i])).or(waiting_for);
                    if !left {
                        clean.push((i, gauge(&text, "quorate_anti_entropy_clean_ns").unwrap_or(0)));
                    }
                }
                Err(error) => waiting_for = Some(format!("{} does not answer: {error}", nodes[i])),
            }
        }
        let pending = match waiting_for {
            Some(why) => {
                // What is still brought to its place may make copies differ again.
                rounds = CleanRounds::default();
                why
            }
            None => match rounds.first_without(&clean).filter(|_| repairs.anti_entropy) {
                None => return Rest::Reached,
                Some(i) => format!("{} has not yet found all copies equal", nodes[i]),
            },
        };
        if clock.monotonic_ns() >= give_up_ns {
            return Rest::NotReached(pending);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What still goes on in a node by its metrics, if anything does.
fn unrest(metrics: &str, left: bool, repairs: Repairs) -> Option<String> {
    let some = |name, says: &str, what: &str| {
        let number = gauge(metrics, name);
        let count = || number.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
        (number != Some(0)).then(|| format!("{says} {} {what}", count()))
    };
    let hints = repairs.hints.then(|| some("quorate_hints_pending", "still keeps", "hint(s)"));
    hints.flatten().or_else(|| {
        if left {
            some("quorate_store_records", "left and still holds", "record(s)")
        } else {
            some("quorate_partitions_to_refill", "still refills", "partition(s)")
        }
    })
}

/// The clean rounds that each node has told of since nothing else was going on.
#[derive(Default)]
struct CleanRounds(BTreeMap<usize, Vec<u64>>);

impl CleanRounds {
    /// Takes what each node tells of its last clean round. Returns the first node that has not begun and
    /// ended one since this was first called.
    fn first_without(&mut self, told: &[(usize, u64)]) -> Option<usize> {
        for (node, round) in told {
            let seen = self.0.entry(*node).or_default();
            if seen.last() != Some(round) {
                seen.push(*round);
            }
        }
        // The one told of at first is old, the next may have been under way by then.
        told.iter().map(|(node, _)| *node).find(|node| self.0.get(node).is_none_or(|seen| seen.len() < 3))
    }
}

/// The value of a gauge without labels in Prometheus' text format.
pub(super) fn gauge(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(' ')?.trim();
        value.parse::<u64>().ok().or_else(|| value.parse::<f64>().ok().map(|v| v as u64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_read_by_their_whole_name() {
        let text = "# TYPE a gauge\na_b 3\na 17\nc{peer=\"n2\"} 1\nd 1e3\n";
        assert_eq!(gauge(text, "a"), Some(17));
        assert_eq!(gauge(text, "a_b"), Some(3));
        assert_eq!(gauge(text, "d"), Some(1_000));
        assert_eq!(gauge(text, "c"), None);
    }

    #[test]
    fn rounds_count_whatever_the_clock_of_their_node_shows() {
        // n0's clock is far ahead of any other, n1's began anew a moment ago.
        let mut rounds = CleanRounds::default();
        assert_eq!(rounds.first_without(&[(0, 900_000), (1, 7)]), Some(0), "from before the hints were gone");
        assert_eq!(rounds.first_without(&[(0, 900_000), (1, 7)]), Some(0));
        assert_eq!(rounds.first_without(&[(0, 901_000), (1, 8)]), Some(0), "may have begun before");
        assert_eq!(rounds.first_without(&[(0, 902_000), (1, 8)]), Some(1));
        assert_eq!(rounds.first_without(&[(0, 902_000), (1, 9)]), None);
    }

    #[test]
    fn what_still_goes_on_is_told() {
        let told = |hints: u64, refill: u64, records: u64, left| {
            let text = format!(
                "quorate_hints_pending {hints}\nquorate_partitions_to_refill {refill}\nquorate_store_records {records}\n"
            );
            unrest(&text, left, Repairs { hints: true, anti_entropy: true })
        };
        assert_eq!(told(0, 0, 9, false), None);
        assert!(told(2, 0, 9, false).is_some_and(|why| why.contains("2 hint")));
        assert!(told(0, 1, 9, false).is_some_and(|why| why.contains("refills")));
        assert!(told(0, 1, 9, true).is_some_and(|why| why.contains("holds")));
        assert_eq!(told(0, 1, 0, true), None);
    }
}
