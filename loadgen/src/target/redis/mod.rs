//! Redis as a target: `GET`, `SET` and `DEL`, one command at a time on each connection.
//!
//! The client is our own: those of the crates put a task between caller and socket, which shares one
//! connection among all callers and connects again by itself. That is right for an application,
//! and here it would measure the client. An update is a `GET` and then a `SET`, without `WATCH`: it
//! reads before it writes, and does not notice what happened in between.
//!
//! Not here: clusters, passwords, TLS.

mod resp;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use quorate_env::{BoxFuture, BoxStream, Network};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use self::resp::{Reply, encode, parse};
use super::name::Endpoint;
use super::single::{Answer, Protocol, SingleValued, Trouble};
use super::{Call, CallError, CallKind, Completion, Target};

/// Buffers keep at most this many bytes between calls.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// A Redis server under load.
pub struct RedisTarget(SingleValued<Redis>);

impl RedisTarget {
    /// The server at `endpoint`, whose calls end within `deadline`. Connects only when needed.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, endpoint: Endpoint, deadline: Duration) -> Self {
        Self(SingleValued::new(Redis { network, endpoint }, deadline))
    }

    /// Opens `connections` and asks whether the server answers.
    ///
    /// # Errors
    /// A sentence for people that names the server.
    pub async fn open(&self, connections: usize) -> Result<(), String> {
        self.0.open(connections).await
    }

    /// What it says it is, such as `Redis 7.0.15`; none if it does not say.
    pub async fn version(&self) -> Option<String> {
        self.0.version().await
    }
}

impl Target for RedisTarget {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Completion> {
        Box::pin(self.0.call(call))
    }

    fn for_thread(&self) -> Option<Arc<dyn Target>> {
        Some(Arc::new(Self(self.0.afresh())))
    }
}

struct Redis {
    network: Arc<dyn Network>,
    endpoint: Endpoint,
}

struct Connection {
    stream: BoxStream,
    output: Vec<u8>,
    input: Vec<u8>,
}

impl Protocol for Redis {
    type Connection = Connection;

    fn nodes(&self) -> usize {
        1
    }

    fn name(&self, _: usize) -> String {
        format!("redis://{}", self.endpoint)
    }

    async fn connect(&self, _: usize) -> Result<Connection, CallError> {
        let stream = self.network.connect(&self.endpoint.to_string()).await;
        let stream = stream.map_err(|e| error("connect", format!("cannot connect: {e}")))?;
        Ok(Connection { stream, output: Vec::new(), input: Vec::new() })
    }

    async fn exchange(
        &self,
        connection: &mut Connection,
        call: &Call<'_>,
        sent: &mut bool,
    ) -> Result<Answer, Trouble> {
        let key = call.key_name.as_bytes();
        let reply = match call.kind {
            CallKind::Get => connection.ask(&[b"GET", key], sent).await?,
            CallKind::Put => connection.ask(&[b"SET", key, call.bytes], sent).await?,
            CallKind::Delete => connection.ask(&[b"DEL", key], sent).await?,
        };
        match (call.kind, reply) {
            (CallKind::Get, Reply::Bulk(value)) => Ok(Answer { value: Some(value), version: None }),
            (CallKind::Get, Reply::Nil) | (CallKind::Delete, Reply::Integer(_)) => Ok(Answer::default()),
            (CallKind::Put, Reply::Simple(word)) if word == "OK" => Ok(Answer::default()),
            // A command that ends in an error has changed nothing.
            (_, Reply::Error(message)) => Err(Trouble::Refused(refusal(message))),
            (kind, other) => {
                let message = format!("an answer that does not fit a {kind:?}: {other:?}");
                Err(Trouble::Broken(error("malformed", message)))
            }
        }
    }

    async fn version(&self, connection: &mut Connection) -> Option<String> {
        match connection.ask(&[b"INFO", b"server"], &mut false).await {
            Ok(Reply::Bulk(info)) => version_in(&String::from_utf8_lossy(&info)),
            Ok(_) | Err(_) => None,
        }
    }

    fn is_quiet(connection: &mut Connection) -> bool {
        let mut byte = [0; 1];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut connection.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        connection.input.is_empty() && read.is_pending()
    }
}

impl Connection {
    async fn ask(&mut self, words: &[&[u8]], sent: &mut bool) -> Result<Reply, Trouble> {
        let lost = |why: &str| Trouble::Broken(error("connection-lost", format!("connection lost: {why}")));
        self.output.clear();
        encode(words, &mut self.output);
        *sent = true;
        self.stream.write_all(&self.output).await.map_err(|e| lost(&e.to_string()))?;
        loop {
            let parsed = parse(&self.input);
            match parsed.map_err(|e| Trouble::Broken(error("malformed", e.to_string())))? {
                Some((reply, length)) => {
                    self.input.drain(..length);
                    self.output.shrink_to(KEPT_BYTES_MAX);
                    self.input.shrink_to(KEPT_BYTES_MAX);
                    return Ok(reply);
                }
                None => match self.stream.read_buf(&mut self.input).await {
                    Ok(0) => return Err(lost("it was closed before the answer was whole")),
                    Ok(_) => {}
                    Err(e) => return Err(lost(&e.to_string())),
                },
            }
        }
    }
}

fn error(kind: &str, message: String) -> CallError {
    CallError { kind: kind.to_owned(), message }
}

/// An error reply, counted by the word it begins with, such as `OOM`.
fn refusal(message: String) -> CallError {
    let code = message.split(' ').next().filter(|word| word.len() <= 20).unwrap_or("ERR").to_lowercase();
    CallError { kind: code, message }
}

/// The name and version in the answer to `INFO`. Valkey gives both: that of Redis it is compatible with, and its own.
fn version_in(info: &str) -> Option<String> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let own = field("valkey_version").map(|version| ("Valkey", version));
    let (name, version) = own.or(field("redis_version").map(|version| ("Redis", version)))?;
    Some(format!("{name} {}", version.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_what_it_says_it_is() {
        let redis = "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\n";
        assert_eq!(version_in(redis).as_deref(), Some("Redis 7.0.15"));
        let valkey = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n";
        assert_eq!(version_in(valkey).as_deref(), Some("Valkey 8.0.1"));
        assert_eq!(version_in("# Server\r\n"), None);
    }
}
