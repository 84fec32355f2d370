//! Waiting until a store that forgets deletes has forgotten them all, and has ever forgotten any.

use std::time::Duration;

use quorate_client::{Client, ReadOptions};
use quorate_env::Clock;

use super::settle::gauge;

const POLL: Duration = Duration::from_millis(200);

/// What the nodes tell of the collection of deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Rounds begun, of all nodes.
    rounds: u64,
    /// Deleted keys that nodes told of when they were last asked.
    left: u64,
    /// Deleted keys that nodes forgot since they were started.
    forgotten: u64,
}

impl Told {
    /// With what one node's metrics say.
    fn with(self, metrics: &str) -> Option<Self> {
        Some(Self {
            rounds: self.rounds + gauge(metrics, "quorate_collection_rounds_total")?,
            left: self.left + gauge(metrics, "quorate_tombstones")?,
            forgotten: self.forgotten + gauge(metrics, "quorate_tombstones_collected_total")?,
        })
    }

    /// Why that does not show that all deletes are forgotten, given what was told when this began to
    /// be waited for. The round that was under way then may have asked before the last delete.
    fn objection(self, began: Self) -> Option<String> {
        let Self { rounds, left, forgotten } = self;
        if left > 0 {
            Some(format!("{left} record(s) of deleted keys are kept, {forgotten} were forgotten"))
        } else if forgotten == 0 {
            Some("no deleted key was ever forgotten".into())
        } else {
            (rounds < began.rounds + 2).then(|| "no round of collection began and ended".into())
        }
    }
}

/// Polls the metrics of the members until no deleted key is kept, for at most `patience`.
///
/// # Errors
/// Says what there was still when it gave up.
pub async fn all_forgotten(
    client: &Client,
    nodes: &[String],
    members: &[usize],
    clock: &dyn Clock,
    patience: Duration,
) -> Result<(), String> {
    let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
    let give_up_ns = clock.monotonic_ns().saturating_add(patience_ns);
    let mut began = None;
    loop {
        let mut told = Ok(Told::default());
        for &i in members {
            let metrics = client.metrics(ReadOptions { node: Some(i) }).await.ok();
            told = told.and_then(|told: Told| {
                metrics
                    .and_then(|text| told.with(&text))
                    .ok_or_else(|| format!("{} does not answer", nodes[i]))
            });
        }
        let objection = match told {
            Ok(told) => told.objection(*began.get_or_insert(told)),
            Err(why) => Some(why),
        };
        let Some(why) = objection else { return Ok(()) };
        if clock.monotonic_ns() >= give_up_ns {
            return Err(why);
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_forgotten_only_if_a_whole_round_found_nothing_and_something_was_ever_forgotten() {
        let told = |rounds: u64, left: u64, forgotten: u64| {
            let text = format!(
                "quorate_collection_rounds_total {rounds}\nquorate_tombstones {left}\nquorate_tombstones_collected_total {forgotten}\n"
            );
            Told::default().with(&text)
        };
        let objects = |now: Option<Told>| {
            now.zip(told(7, 0, 0)).is_none_or(|(now, began)| now.objection(began).is_some())
        };
        assert!(!objects(told(9, 0, 3)));
        assert!(objects(told(8, 0, 3)) && objects(told(9, 1, 3)) && objects(told(9, 0, 0)));
        assert_eq!(Told::default().with("quorate_tombstones 1\n"), None);
    }
}
