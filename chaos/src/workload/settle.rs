//! Waiting until a healed store has come to rest: no hints left and nothing to refill, and since
//! then one whole round of anti-entropy on every member that found no difference; and members that
//! left hold nothing more.

use std::time::Duration;

use quorate_client::{Client, ReadOptions};
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
    // Since when no node has had a hint, as far as the polls show.
    let mut hintless_since: Option<u64> = None;
    loop {
        let mut waiting_for = None;
        let mut clean = Vec::with_capacity(members.len());
        for &i in members.iter().chain(departed) {
            let (node, left) = (&nodes[i], departed.contains(&i));
            match client.metrics(ReadOptions { node: Some(i) }).await {
                Ok(text) => {
                    let hints = gauge(&text, "quorate_hints_pending");
                    if !left {
                        clean.push((node, gauge(&text, "quorate_anti_entropy_clean_ns").unwrap_or(0)));
                    }
                    let records = gauge(&text, "quorate_store_records");
                    if left && records != Some(0) {
                        waiting_for = Some(format!("{node} left and still holds {records:?} record(s)"));
                    }
                    let refill = gauge(&text, "quorate_partitions_to_refill");
                    if !left && refill != Some(0) {
                        waiting_for = Some(format!("{node} still refills {refill:?} partition(s)"));
                    }
                    if repairs.hints && hints != Some(0) {
                        let count =
                            hints.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
                        waiting_for = Some(format!("{node} still keeps {count} hint(s)"));
                    }
                }
                Err(error) => waiting_for = Some(format!("{node} does not answer: {error}")),
            }
        }
        let pending = match waiting_for {
            Some(why) => {
                hintless_since = None;
                why
            }
            None => {
                // A round that begins only now has seen everything that hints brought.
                let since = *hintless_since.get_or_insert_with(|| clock.monotonic_ns());
                match clean.iter().find(|(_, round)| repairs.anti_entropy && *round < since) {
                    None => return Rest::Reached,
                    Some((node, _)) => format!("{node} has not yet found all copies equal"),
                }
            }
        };
        if clock.monotonic_ns() >= give_up_ns {
            return Rest::NotReached(pending);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The value of a gauge without labels in Prometheus' text format.
fn gauge(text: &str, name: &str) -> Option<u64> {
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
}
