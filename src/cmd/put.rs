//! `quorate put`: writes a key.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;

use clap::Args;
use quorate_client::WriteOptions;
use serde_json::json;

use super::remote::{RemoteArgs, failed, key_bytes};
use crate::outcome::{Exit, Failure};
use crate::stdout;

/// Write a key. With the context of an earlier get or put it replaces exactly what that one saw;
/// without, it stands beside whatever there is. Prints the new context token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate put cart-17 '3 apples'
  quorate put cart-17 --context \"$TOKEN\" < cart.json")]
pub struct PutArgs {
    /// The key.
    key: OsString,
    /// The value; `-` or nothing reads it from standard input.
    #[arg(allow_hyphen_values = true)]
    value: Option<OsString>,
    /// The token of what this write replaces.
    #[arg(long, value_name = "TOKEN")]
    context: Option<String>,
    /// What the value is; stored with it.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs it.
///
/// # Errors
/// If it was not acknowledged; the message says whether it may be stored.
pub async fn run(args: PutArgs, json: bool) -> Result<Exit, Failure> {
    let client = args.remote.client()?;
    let shown = args.key.to_string_lossy().into_owned();
    let key = key_bytes(args.key)?;
    let value = match args.value {
        Some(value) if value != "-" => value.into_vec(),
        _ => from_stdin()?,
    };
    let options = WriteOptions { content_type: args.content_type.as_deref(), ..WriteOptions::default() };
    let reply = client.put(&key, &value, args.context.as_deref(), options).await.map_err(|e| failed(&e))?;
    if json {
        stdout::line(
            json!({ "key": shown, "context": reply.context, "version": reply.version, "etag": reply.etag }),
        )?;
    } else {
        stdout::line(reply.context)?;
    }
    Ok(Exit::Held)
}

fn from_stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut value);
    read.map_err(|e| Failure::setup(format_args!("standard input: cannot read the value: {e}")))?;
    Ok(value)
}
