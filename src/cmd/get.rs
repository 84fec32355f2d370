//! `quorate get`: reads a key.

use std::ffi::OsString;
use std::io::IsTerminal as _;

use clap::Args;
use quorate_client::{ReadOptions, Value};
use serde_json::json;

use super::remote::{RemoteArgs, failed, key_bytes};
use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// Read a key. One value is printed as it is; of several siblings each gets a line. The context
/// token goes to standard error (with --json it is part of the result).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate get cart-17
  quorate get cart-17 --node https://127.0.0.1:4001 --ca quorate-cluster/ca.pem --json")]
pub struct GetArgs {
    /// The key.
    key: OsString,
    /// Ask for the node's own copy alone, without merge or repair.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs it. A key that is not there is exit code 1.
///
/// # Errors
/// If no valid answer came.
pub async fn run(args: GetArgs, json: bool) -> Result<Exit, Failure> {
    let client = args.remote.client()?;
    let shown = args.key.to_string_lossy().into_owned();
    let key = key_bytes(args.key)?;
    let options = ReadOptions::default();
    let reply =
        if args.local { client.get_local(&key, options).await } else { client.get(&key, options).await };
    let reply = reply.map_err(|e| failed(&e))?;
    let exit = if reply.values.is_empty() { Exit::Violated } else { Exit::Held };
    if json {
        let values: Vec<_> = reply.values.iter().map(value_json).collect();
        stdout::line(
            json!({ "key": shown, "values": values, "context": reply.context, "version": reply.version, "etag": reply.etag }),
        )?;
        return Ok(exit);
    }
    match reply.values.as_slice() {
        [] => say(format_args!("{shown}: not found")),
        [only] => {
            stdout::bytes(&only.bytes)?;
            // Files and pipes get the value and nothing else; a prompt wants a line of its own.
            if std::io::stdout().is_terminal() {
                stdout::bytes(b"\n")?;
            }
        }
        siblings => {
            say(format_args!("{shown}: {} siblings; a put with their context replaces them", siblings.len()));
            for sibling in siblings {
                stdout::bytes(&sibling.bytes)?;
                stdout::bytes(b"\n")?;
            }
        }
    }
    if !reply.context.is_empty() {
        say(format_args!("context: {}", reply.context));
    }
    Ok(exit)
}

/// Text as text, other bytes as an array of numbers nobody wants: `base64:` as in histories.
fn value_json(value: &Value) -> serde_json::Value {
    let text = match std::str::from_utf8(&value.bytes) {
        Ok(text) if !text.starts_with("base64:") => text.to_owned(),
        _ => format!("base64:{}", base64(&value.bytes)),
    };
    json!({ "value": text, "content_type": value.content_type })
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &'static [u8]) -> serde_json::Value {
        value_json(&Value { bytes: bytes.into(), content_type: "text/plain".into() })["value"].take()
    }

    #[test]
    fn values_are_text_where_they_can_be() {
        assert_eq!(shown("h\u{e9}".as_bytes()), "h\u{e9}");
        assert_eq!(shown(&[0xff, 0x00]), "base64:/wA=");
        assert_eq!(shown(b"base64:x"), "base64:YmFzZTY0Ong=", "what looks encoded is encoded");
    }
}
