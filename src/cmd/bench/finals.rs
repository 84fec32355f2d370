//! The final reads of `bench --check`: once the store has come to rest, every key from each
//! owner's own copy, then through a quorum of all owners. Without them a history cannot show
//! whether a write was lost or copies differ.
//!
//! Not here: judging what was read.

use std::sync::Arc;
use std::time::Duration;

use quorate_chaos::workload::{FinalReader, Recorder, Repairs, Rest, Resting, final_reads, settle};
use quorate_check::history::{Operation, Value};
use quorate_client::Client;
use quorate_cluster::config::{AntiEntropy, Config};
use quorate_cluster::membership::View;
use quorate_env::SystemClock;
use quorate_loadgen::ValueId;
use quorate_loadgen::workload::key_name;
use tokio::task::JoinSet;

/// How long the store may take to come to rest, on top of some rounds of anti-entropy.
const REST_MAX: Duration = Duration::from_secs(60);

/// Readers at a time.
const READERS: usize = 16;

/// Logical processes of readers come after this one: beyond those of any load.
const LAST_PROCESS: u64 = 1 << 40;

/// The host of readers, as the history has it.
const HOST: &str = "bench";

/// Waits for rest, then reads `keys`, given by their numbers, in every way. `client` numbers the nodes as
/// `config` lists its members. Returns all reads, or why there are none.
///
/// # Errors
/// If the store does not come to rest, or a read fails: then nothing can be said by some of them.
pub async fn read_all(
    client: &Client,
    config: &Config,
    keys: &[u64],
    clock: Arc<SystemClock>,
) -> Result<Vec<Operation>, String> {
    let nodes: Arc<Vec<String>> = Arc::new(config.members.iter().map(|m| m.id.to_string()).collect());
    let members: Arc<Vec<usize>> = Arc::new((0..nodes.len()).collect());
    let period = match config.store.anti_entropy {
        AntiEntropy::Every(period) => period,
        AntiEntropy::Off => Duration::ZERO,
    };
    let resting = Resting { nodes: &nodes, members: &members, departed: &[] };
    let patience = REST_MAX + period * 4;
    if let Rest::NotReached(why) =
        settle(client, resting, &*clock, Repairs::of(&config.store), patience).await
    {
        return Err(format!("the store did not come to rest within {} s: {why}", patience.as_secs()));
    }
    let view = View::of_store(config.members.clone(), &config.store);
    let placement = view.placement();
    let owned = |key: u64| {
        let name = key_name(key);
        let owners = placement.owners(placement.partition_of(name.as_bytes()));
        (name, owners.map(|id| id.to_string()).collect())
    };
    let recorder = Recorder::beyond(LAST_PROCESS);
    let mut readers = JoinSet::new();
    for number in 0..READERS {
        let share: Vec<(String, Vec<String>)> =
            keys.iter().skip(number).step_by(READERS).copied().map(owned).collect();
        let (client, recorder, clock) = (client.clone(), recorder.clone(), Arc::clone(&clock));
        let (nodes, members) = (Arc::clone(&nodes), Arc::clone(&members));
        readers.spawn(async move {
            let reader = FinalReader {
                client: &client,
                nodes: &nodes,
                through: &members,
                host: HOST,
                recorder: &recorder,
                clock: &*clock,
                named,
            };
            final_reads(&reader, &share).await
        });
    }
    while let Some(failed) = readers.join_next().await {
        if let Some(read) = failed.map_err(|e| e.to_string())?.first() {
            return Err(format!("final read of {read}"));
        }
    }
    Ok(recorder.take())
}

/// A value by the name that it was written under; damaged ones are marked, so that a checker
/// sees what nobody wrote.
fn named(bytes: &[u8]) -> Value {
    match ValueId::of(bytes) {
        Some(id) if id.is_whole(bytes) => id.to_string().into(),
        Some(id) => format!("{id}!damaged").into(),
        None => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
