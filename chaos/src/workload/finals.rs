//! The final reads: every key from each owner's own copy, then through a quorum of all owners.

use std::time::Duration;

use base64::Engine as _;
use quorate_check::history::{Function, Value};
use quorate_client::{Client, ClientError, Method, ReadOptions, Request, Response};
use quorate_env::Clock;
use serde::Deserialize;

use super::recorder::{HOST_FIELD, Recorder, value_id};
use super::worker::ids;

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
    /// The host it runs on.
    pub host: &'a str,
    /// Where it writes what it saw.
    pub recorder: &'a Recorder,
    /// Its clock.
    pub clock: &'a dyn Clock,
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
        let i = number % reader.nodes.len();
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
        let answer = if own_copy {
            let reply = reader.client.get_local(key, ReadOptions { node: Some(node) }).await;
            reply.map(|reply| ids(&reply)).map_err(|e| (e.to_string(), e.kind().to_owned()))
        } else {
            from_all_owners(reader.client, key, node).await
        };
        match answer {
            Ok(values) => {
                reader.recorder.ok(reader.clock, call, |op| op.values = Some(values));
                return Ok(());
            }
            Err((says, kind)) if attempt == ATTEMPTS => {
                reader.recorder.fail(reader.clock, call, &kind, None);
                return Err(says);
            }
            Err(_) => attempt += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A get that needs the vote of every owner.
async fn from_all_owners(client: &Client, key: &str, node: usize) -> Result<Vec<Value>, (String, String)> {
    let target = format!("/kv/{key}?quorum=all");
    let headers = [("Accept", "application/json")];
    let request = Request { method: Method::Get, target: &target, headers: &headers, body: b"" };
    let no_answer = |e: ClientError| (e.to_string(), e.kind().to_owned());
    let (_, response) = client.request_any(&request, Some(node)).await.map_err(no_answer)?;
    values(&response).map_err(|why| (why, "malformed-reply".to_owned()))
}

fn values(response: &Response) -> Result<Vec<Value>, String> {
    #[derive(Deserialize)]
    struct Siblings {
        values: Vec<Sibling>,
    }
    #[derive(Deserialize)]
    struct Sibling {
        value: String,
    }
    match response.status {
        200 => Ok(vec![value_id(&response.body)]),
        300 => {
            let siblings: Siblings = serde_json::from_slice(&response.body).map_err(|e| e.to_string())?;
            let decode = |s: Sibling| base64::engine::general_purpose::STANDARD.decode(s.value);
            let bytes: Result<Vec<Vec<u8>>, _> = siblings.values.into_iter().map(decode).collect();
            Ok(bytes.map_err(|e| e.to_string())?.iter().map(|b| value_id(b)).collect())
        }
        404 => Ok(Vec::new()),
        status => Err(format!("status {status}: {}", String::from_utf8_lossy(&response.body))),
    }
}
