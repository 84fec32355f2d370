//! The final reads: every key from each owner's own copy, then through a quorum of all owners.

use std::time::Duration;

use quorate_check::history::{Function, Value};
use quorate_client::{Client, ReadOptions};
use quorate_env::Clock;

use super::recorder::{HOST_FIELD, Recorder};

/// After healing every read must succeed sooner or later; so often it is asked. All attempts are one
/// operation of the history.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// Who reads, and where it is written down.
pub struct FinalReader<'a> {
    /// How it reaches the nodes.
    pub client: &'a Client,
    /// Names of the nodes in the order in which `client` numbers them.
    pub nodes: &'a [String],
    /// The nodes that quorums are asked through, by number.
    pub through: &'a [usize],
    /// The host it runs on.
    pub host: &'a str,
    /// Where it writes what it saw.
    pub recorder: &'a Recorder,
    /// Its clock.
    pub clock: &'a dyn Clock,
    /// How the history names a value.
    pub named: fn(&[u8]) -> Value,
}

/// Reads all `keys`, each with the names of the nodes that own it, and records what came. Returns
/// the reads that failed to the end, as text. Only owners are asked for their own copies: a node that
/// should hold none and says so would look like a difference.
pub async fn final_reads(reader: &FinalReader<'_>, keys: &[(String, Vec<String>)]) -> Vec<String> {
    let process = reader.recorder.fresh_process();
    let mut failed = Vec::new();
    for (key, owners) in keys {
        for (i, node) in reader.nodes.iter().enumerate().filter(|(_, node)| owners.contains(node)) {
            if let Err(error) = read(reader, process, key, i, true).await {
                failed.push(format!("{key} on {node}: {error}"));
            }
        }
    }
    for (number, (key, _)) in keys.iter().enumerate() {
        let Some(&i) = reader.through.get(number % reader.through.len().max(1)) else { continue };
        if let Err(error) = read(reader, process, key, i, false).await {
            failed.push(format!("{key} through {}: {error}", reader.nodes[i]));
        }
    }
    failed
}

async fn read(
    reader: &FinalReader<'_>,
    process: u64,
    key: &str,
    node: usize,
    own_copy: bool,
) -> Result<(), String> {
    let name = Value::from(reader.nodes[node].as_str());
    let call = reader.recorder.invoke(reader.clock, process, Function::Get, key, |op| {
        op.r#final = true;
        op.via = Some(name.clone());
        op.node = own_copy.then_some(name);
        op.extra.insert(HOST_FIELD.into(), reader.host.into());
    });
    let mut attempt = 1;
    loop {
        let options = ReadOptions { node: Some(node) };
        let answer = if own_copy {
            reader.client.get_local(key, options).await
        } else {
            reader.client.get_all_owners(key, options).await
        };
        match answer {
            Ok(reply) => {
                reader.recorder.ok(reader.clock, call, |op| {
                    op.values = Some(reply.values.iter().map(|value| (reader.named)(&value.bytes)).collect());
                    op.version = reply.version.map(Value::from);
                });
                return Ok(());
            }
            Err(error) if attempt == ATTEMPTS => {
                reader.recorder.fail(reader.clock, call, error.kind(), error.status());
                return Err(error.to_string());
            }
            Err(_) => attempt += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
