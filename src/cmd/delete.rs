//! `quorate delete`: removes a key.

use std::ffi::OsString;

use clap::Args;
use quorate_client::{ReadOptions, WriteOptions};
use serde_json::json;

use super::remote::{RemoteArgs, failed, key_bytes};
use crate::outcome::{Exit, Failure};
use crate::stdout;

/// Delete a key. Without --context it reads the key first and deletes what it read. Prints the
/// new context token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate delete cart-17
  quorate delete cart-17 --context \"$TOKEN\"")]
pub struct DeleteArgs {
    /// The key.
    key: OsString,
    /// The token of what is deleted.
    #[arg(long, value_name = "TOKEN")]
    context: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs it.
///
/// # Errors
/// If it was not acknowledged; the message says whether it may have happened.
pub async fn run(args: DeleteArgs, json: bool) -> Result<Exit, Failure> {
    let client = args.remote.client()?;
    let shown = args.key.to_string_lossy().into_owned();
    let key = key_bytes(args.key)?;
    let context = match args.context {
        Some(context) => context,
        None => client.get(&key, ReadOptions::default()).await.map_err(|e| failed(&e))?.context,
    };
    let reply = client.delete(&key, Some(&context), WriteOptions::default()).await.map_err(|e| failed(&e))?;
    if json {
        stdout::line(json!({ "key": shown, "context": reply.context }))?;
    } else {
        stdout::line(reply.context)?;
    }
    Ok(Exit::Held)
}
