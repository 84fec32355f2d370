//! The final reads of `bench --check`: once the store has come to rest, every key from each
//! owner's own copy, then through a quorum of all owners. Without them a history cannot show
//! whether a write was lost or copies differ.
//!
//! Not here: judging what was read.

use std::sync::Arc;
use std::time::Duration;

use quorate_check::history::{Function, Operation, Outcome, Value};
use quorate_client::{Client, ReadOptions};
use quorate_cluster::config::Config;
use quorate_cluster::membership::View;
use quorate_env::{Clock as _, SystemClock};
use quorate_loadgen::ValueId;
use quorate_loadgen::workload::key_name;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often nodes are asked whether they have come to rest.
const POLL: Duration = Duration::from_millis(200);

/// How long they may take, on top of some rounds of anti-entropy.
const REST_MAX: Duration = Duration::from_secs(60);

/// Readers at a time.
const READERS: u64 = 16;

/// Logical processes of readers begin here: beyond those of any load.
const FIRST_PROCESS: u64 = 1 << 40;

/// Waits for rest, then reads keys 0 to `keys`-1 in every way. `client` numbers the nodes as
/// `config` lists its members. Returns all reads, or why there are none.
///
/// # Errors
/// If the store does not come to rest, or a read fails: then nothing can be said by some of them.
pub async fn read_all(
    client: &Client,
    config: &Config,
    keys: u64,
    period: Duration,
    clock: Arc<SystemClock>,
) -> Result<Vec<Operation>, String> {
    rest(client, config.members.len(), REST_MAX + period * 4).await?;
    let view = View::of_store(config.members.clone(), &config.store);
    let view = Arc::new(view);
    let mut all = Vec::new();
    // Copies first: a read through a quorum might repair the difference it should show.
    for own_copies in [true, false] {
        let mut readers = JoinSet::new();
        for number in 0..READERS {
            let reader = Reader {
                client: client.clone(),
                view: Arc::clone(&view),
                clock: Arc::clone(&clock),
                process: FIRST_PROCESS + number,
            };
            readers.spawn(async move {
                let mut read = Vec::new();
                for key in (number..keys).step_by(READERS as usize) {
                    reader.read(&key_name(key), key, own_copies, &mut read).await?;
                }
                Ok::<_, String>(read)
            });
        }
        while let Some(read) = readers.join_next().await {
            all.extend(read.map_err(|e| e.to_string())??);
        }
    }
    Ok(all)
}

/// Waits until no node keeps a hint and, since then, each has begun and ended a whole round of
/// anti-entropy without a difference. Rounds are told apart by when they began, on a clock of the
/// node's own: the second new one began after the first had ended, so after the hints were gone.
async fn rest(client: &Client, nodes: usize, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    let mut rounds: Vec<Vec<u64>> = vec![Vec::new(); nodes];
    loop {
        let mut pending = None;
        for (node, seen) in rounds.iter_mut().enumerate() {
            let metrics =
                client.metrics(ReadOptions { node: Some(node) }).await.map_err(|e| e.to_string())?;
            if gauge(&metrics, "quorate_hints_pending") != Some(0) {
                seen.clear();
                pending = Some(format!("node {} keeps hints", node + 1));
                continue;
            }
            let round = gauge(&metrics, "quorate_anti_entropy_clean_ns").unwrap_or(0);
            if seen.last() != Some(&round) {
                seen.push(round);
            }
            if seen.len() < 3 {
                pending = Some(format!("node {} has not yet found all copies equal", node + 1));
            }
        }
        match pending {
            None => return Ok(()),
            Some(why) if Instant::now() >= deadline => {
                return Err(format!("the store did not come to rest within {} s: {why}", patience.as_secs()));
            }
            Some(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The value of a gauge without labels in Prometheus' text format.
fn gauge(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

struct Reader {
    client: Client,
    view: Arc<View>,
    clock: Arc<SystemClock>,
    process: u64,
}

impl Reader {
    /// Reads one key: each owner's own copy, or once through all owners.
    async fn read(
        &self,
        key: &str,
        number: u64,
        own_copies: bool,
        read: &mut Vec<Operation>,
    ) -> Result<(), String> {
        let placement = self.view.placement();
        let members = self.view.members();
        let owners: Vec<_> = placement.owners(placement.partition_of(key.as_bytes())).collect();
        let own = (0..members.len()).filter(|index| owners.contains(&members[*index].id));
        let asked: Vec<usize> =
            if own_copies { own.collect() } else { vec![number as usize % members.len()] };
        for node in asked {
            let name = Value::from(members[node].id.as_str());
            let invoke_ns = self.clock.monotonic_ns();
            let options = ReadOptions { node: Some(node) };
            let reply = if own_copies {
                self.client.get_local(key, options).await
            } else {
                self.client.get_all_owners(key, options).await
            };
            let reply = reply.map_err(|e| format!("final read of {key} at {}: {e}", members[node].id))?;
            read.push(Operation {
                values: Some(reply.values.iter().map(|value| named(&value.bytes)).collect()),
                version: reply.version.map(Value::from),
                return_ns: Some(self.clock.monotonic_ns()),
                outcome: Outcome::Ok,
                via: Some(name.clone()),
                node: own_copies.then_some(name),
                r#final: true,
                ..Operation::invoked(self.process, Function::Get, key, invoke_ns)
            });
        }
        Ok(())
    }
}

/// A value by the name that it was written under; damaged ones are marked, so that a checker
/// sees what nobody wrote.
fn named(bytes: &[u8]) -> Value {
    let mut scratch = Vec::new();
    match ValueId::of(bytes) {
        Some(id) if id.is_whole(bytes, &mut scratch) => id.to_string().into(),
        Some(id) => format!("{id}!damaged").into(),
        None => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_read_by_their_whole_name() {
        let text = "# TYPE a gauge\na_b 3\na 17\nc{peer=\"n2\"} 1\n";
        assert_eq!((gauge(text, "a"), gauge(text, "a_b"), gauge(text, "c")), (Some(17), Some(3), None));
    }

    #[test]
    fn a_damaged_value_is_not_taken_for_what_was_written() {
        let id = ValueId { process: 1, sequence: 7 };
        let mut bytes = Vec::new();
        id.encode(64, &mut bytes);
        assert_eq!(named(&bytes), Value::from(id.to_string()));
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        assert_ne!(named(&bytes), Value::from(id.to_string()));
    }
}
