//! The client: operations on a set of nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quorate_env::Network;

use crate::http::{Connection, ExchangeError, Limits, MalformedReply, Method, Request, Response};
use crate::pool::Pool;
use crate::reply::{CONTEXT_HEADER, ErrorBody};
use crate::{
    ClientError, ClientOptions, Effect, GetReply, NodeChoice, NodeUrl, PutReply, ReadOptions, Retry,
    SetupError, TlsTrust, WriteOptions,
};

/// All but what a path segment may hold unescaped (RFC 3986, section 2.3).
const KEY_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The query of a get that asks for one node's own copy.
const LOCAL: &str = "?local=1";

/// A client of one store. Cheap to clone; clones share connections and the round robin.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    net: Arc<dyn Network>,
    nodes: Vec<Node>,
    trust: Option<TlsTrust>,
    options: ClientOptions,
    next: AtomicUsize,
}

struct Node {
    url: NodeUrl,
    /// The URL as messages show it.
    name: String,
    /// The URL as connections and `Host` want it.
    authority: String,
    pool: Pool,
}

impl Client {
    /// A client of the store that `nodes` belong to. Connects to none of them yet.
    ///
    /// # Errors
    /// If there is no node, the fixed one is not among them, or one is `https` and there is
    /// no `trust`.
    pub fn new(
        net: Arc<dyn Network>,
        nodes: Vec<NodeUrl>,
        trust: Option<TlsTrust>,
        options: ClientOptions,
    ) -> Result<Self, SetupError> {
        if nodes.is_empty() {
            return Err(SetupError::NoNodes);
        }
        if let NodeChoice::Fixed(index) = options.node_choice
            && index >= nodes.len()
        {
            return Err(SetupError::NoSuchNode { index, nodes: nodes.len() });
        }
        if trust.is_none()
            && let Some(url) = nodes.iter().find(|url| url.is_tls())
        {
            return Err(SetupError::NoTrust { url: url.to_string() });
        }
        let nodes = nodes
            .into_iter()
            .map(|url| Node { name: url.to_string(), authority: url.authority(), pool: Pool::default(), url })
            .collect();
        Ok(Self { shared: Arc::new(Shared { net, nodes, trust, options, next: AtomicUsize::new(0) }) })
    }

    /// How many nodes it knows.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.shared.nodes.len()
    }

    /// The URL of a node, 0-based.
    #[must_use]
    pub fn node_url(&self, node: usize) -> Option<&NodeUrl> {
        self.shared.nodes.get(node).map(|n| &n.url)
    }

    /// Reads a key through a quorum. Not found is an answer, not an error.
    ///
    /// # Errors
    /// If no valid answer came.
    pub async fn get(&self, key: impl AsRef<[u8]>, options: ReadOptions) -> Result<GetReply, ClientError> {
        self.read_key(key.as_ref(), options, "").await
    }

    /// Reads the asked node's own copy alone, without merge or repair.
    ///
    /// # Errors
    /// If no valid answer came.
    pub async fn get_local(
        &self,
        key: impl AsRef<[u8]>,
        options: ReadOptions,
    ) -> Result<GetReply, ClientError> {
        self.read_key(key.as_ref(), options, LOCAL).await
    }

    /// Reads a key with the vote of every owner, and of nobody else: what a test asks at the end.
    ///
    /// # Errors
    /// If no valid answer came.
    pub async fn get_all_owners(
        &self,
        key: impl AsRef<[u8]>,
        options: ReadOptions,
    ) -> Result<GetReply, ClientError> {
        self.read_key(key.as_ref(), options, "?quorum=all").await
    }

    async fn read_key(&self, key: &[u8], options: ReadOptions, query: &str) -> Result<GetReply, ClientError> {
        let local = query == LOCAL;
        let target = key_target(key, query);
        // Siblings in JSON: one parser less, and every value exactly as stored.
        let headers = [("Accept", "application/json")];
        let request = Request { method: Method::Get, target: &target, headers: &headers, body: b"" };
        let (node, response) = self.request_any(&request, options.node).await?;
        let found = matches!(response.status, 200 | 300)
            || (response.status == 404 && response.header(CONTEXT_HEADER).is_some())
            || (response.status == 404 && local);
        if !found {
            return Err(self.refusal(node, &response));
        }
        GetReply::read(&response, node, local).map_err(|source| self.malformed(node, source))
    }

    /// Stores a value. With the context of an earlier reply it replaces exactly what that
    /// reply covered; without one it stands beside whatever there is.
    ///
    /// # Errors
    /// If it was not acknowledged; [`ClientError::effect`] says whether it may be stored.
    pub async fn put(
        &self,
        key: impl AsRef<[u8]>,
        value: &[u8],
        context: Option<&str>,
        options: WriteOptions<'_>,
    ) -> Result<PutReply, ClientError> {
        self.write_key(Method::Put, key.as_ref(), value, context, options).await
    }

    /// Removes what `context` covers.
    ///
    /// # Errors
    /// If it was not acknowledged; [`ClientError::effect`] says whether it may have happened.
    pub async fn delete(
        &self,
        key: impl AsRef<[u8]>,
        context: Option<&str>,
        options: WriteOptions<'_>,
    ) -> Result<PutReply, ClientError> {
        self.write_key(Method::Delete, key.as_ref(), b"", context, options).await
    }

    async fn write_key(
        &self,
        method: Method,
        key: &[u8],
        body: &[u8],
        context: Option<&str>,
        options: WriteOptions<'_>,
    ) -> Result<PutReply, ClientError> {
        let target = key_target(key, "");
        let mut headers = Vec::with_capacity(4);
        if method == Method::Put {
            headers.push(("Content-Type", options.content_type.unwrap_or("application/octet-stream")));
        }
        headers.extend(context.map(|token| (CONTEXT_HEADER, token)));
        headers.extend(options.if_match.map(|etag| ("If-Match", etag)));
        headers.extend(options.if_none_match.then_some(("If-None-Match", "*")));
        let request = Request { method, target: &target, headers: &headers, body };
        let (node, response) = self.request_any(&request, options.node).await?;
        if response.status >= 300 {
            return Err(self.refusal(node, &response));
        }
        PutReply::read(&response, node).map_err(|source| self.malformed(node, source))
    }

    /// A node's view of the cluster, as JSON.
    ///
    /// # Errors
    /// If no valid answer came.
    pub async fn cluster(&self, options: ReadOptions) -> Result<serde_json::Value, ClientError> {
        let (node, response) = self.get_ok("/cluster", options).await?;
        serde_json::from_slice(&response.body).map_err(|e| self.malformed(node, e.into()))
    }

    /// A node's metrics in Prometheus' text format.
    ///
    /// # Errors
    /// If no valid answer came.
    pub async fn metrics(&self, options: ReadOptions) -> Result<String, ClientError> {
        let (node, response) = self.get_ok("/metrics", options).await?;
        let text = std::str::from_utf8(&response.body);
        text.map(str::to_owned).map_err(|_| self.malformed(node, MalformedReply::NotText))
    }

    /// Whether a node says that it takes requests.
    ///
    /// # Errors
    /// If it does not answer at all.
    pub async fn is_ready(&self, options: ReadOptions) -> Result<bool, ClientError> {
        let request = Request { method: Method::Get, target: "/readyz", headers: &[], body: b"" };
        Ok(self.request_any(&request, options.node).await?.1.status == 200)
    }

    async fn get_ok(&self, target: &str, options: ReadOptions) -> Result<(usize, Response), ClientError> {
        let request = Request { method: Method::Get, target, headers: &[], body: b"" };
        let (node, response) = self.request_any(&request, options.node).await?;
        if response.status == 200 { Ok((node, response)) } else { Err(self.refusal(node, &response)) }
    }

    /// Sends any request to a node of the caller's or of the policy's choice, under the
    /// client's deadline and retry policy, and returns that node and whatever it replied.
    /// Error statuses are replies here.
    ///
    /// # Errors
    /// If no reply came.
    pub async fn request_any(
        &self,
        request: &Request<'_>,
        node: Option<usize>,
    ) -> Result<(usize, Response), ClientError> {
        let options = &self.shared.options;
        let first = node.unwrap_or_else(|| self.choose());
        let may_move = node.is_none() && options.node_choice == NodeChoice::RoundRobin;
        let mut progress = Progress { node: first, may_move, sent: false, pending: None };
        let outcome = tokio::time::timeout(options.deadline, self.attempts(request, &mut progress)).await;
        match outcome {
            Ok(result) => result.map(|response| (progress.node, response)),
            // Interrupted while pausing before another attempt: what it would have retried is the news.
            Err(_) => Err(progress.pending.take().unwrap_or_else(|| ClientError::Deadline {
                node: self.node_name(progress.node),
                sent: progress.sent,
                deadline: options.deadline,
            })),
        }
    }

    /// Sends `request` until it may have happened or attempts run out. Every attempt before
    /// the last certainly did not happen, so `progress.sent` speaks of the current one alone.
    async fn attempts(
        &self,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Result<Response, ClientError> {
        let (more, pause) = match self.shared.options.retry {
            Retry::Never => (0, Duration::ZERO),
            Retry::IfNeverHappened { attempts, pause } => (attempts, pause),
        };
        for _ in 0..more {
            let result = self.attempt(request, progress).await.and_then(|response| {
                // An error reply counts as a failed attempt only if it denies any effect.
                let refusal = (response.status >= 400).then(|| self.refusal(progress.node, &response));
                refusal
                    .filter(|e| e.effect() == Effect::Never && e.status() >= Some(500))
                    .map_or(Ok(response), Err)
            });
            match result {
                Err(error) if error.effect() == Effect::Never => {
                    let asked = match &error {
                        ClientError::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
                        _ => Duration::ZERO,
                    };
                    progress.pending = Some(error);
                    tokio::time::sleep(pause.max(asked)).await;
                    progress.pending = None;
                    if progress.may_move {
                        progress.node = (progress.node + 1) % self.shared.nodes.len();
                    }
                    progress.sent = false;
                }
                other => return other,
            }
        }
        self.attempt(request, progress).await
    }

    /// One attempt on one connection.
    async fn attempt(&self, request: &Request<'_>, progress: &mut Progress) -> Result<Response, ClientError> {
        let shared = &self.shared;
        let options = &shared.options;
        let Some(node) = shared.nodes.get(progress.node) else {
            return Err(ClientError::BadRequest { why: "there is no node of that number" });
        };
        let mut connection = match node.pool.take(options.idle_age_max).await {
            Some(connection) => connection,
            None => self.connect(node).await?,
        };
        let limits =
            Limits { head_bytes_max: options.head_bytes_max, body_bytes_max: options.body_bytes_max };
        match connection.exchange(&node.authority, request, limits, &mut progress.sent).await {
            Ok(response) => {
                node.pool.give_back(connection, options.idle_connections_max);
                Ok(response)
            }
            Err(ExchangeError::BadRequest(why)) => Err(ClientError::BadRequest { why }),
            Err(ExchangeError::Lost(source)) => {
                Err(ClientError::ConnectionLost { node: node.name.clone(), sent: progress.sent, source })
            }
            Err(ExchangeError::Malformed(source)) => {
                Err(ClientError::Malformed { node: node.name.clone(), source })
            }
        }
    }

    async fn connect(&self, node: &Node) -> Result<Connection, ClientError> {
        let stream = self
            .shared
            .net
            .connect(&node.authority)
            .await
            .map_err(|source| ClientError::Connect { node: node.name.clone(), source })?;
        match &self.shared.trust {
            Some(trust) if node.url.is_tls() => {
                let encrypted = Box::pin(trust.wrap(node.url.host(), stream)).await;
                let stream =
                    encrypted.map_err(|why| ClientError::Handshake { node: node.name.clone(), why })?;
                Ok(Connection::new(stream, true))
            }
            _ => Ok(Connection::new(stream, false)),
        }
    }

    fn choose(&self) -> usize {
        match self.shared.options.node_choice {
            NodeChoice::Fixed(index) => index,
            NodeChoice::RoundRobin => {
                self.shared.next.fetch_add(1, Ordering::Relaxed) % self.shared.nodes.len()
            }
        }
    }

    fn refusal(&self, node: usize, response: &Response) -> ClientError {
        // A proxy's HTML, say, tells nothing of effect: it stays unknown.
        let body: ErrorBody = serde_json::from_slice(&response.body).unwrap_or_default();
        let retry_after = response.header("Retry-After").and_then(|seconds| seconds.parse().ok());
        ClientError::Refused {
            node: self.node_name(node),
            status: response.status,
            code: body.error,
            message: body.message,
            maybe_applied: body.maybe_applied,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn malformed(&self, node: usize, source: MalformedReply) -> ClientError {
        ClientError::Malformed { node: self.node_name(node), source }
    }

    fn node_name(&self, node: usize) -> String {
        self.shared.nodes.get(node).map_or_else(|| format!("node {node}"), |n| n.name.clone())
    }
}

/// How far an operation got, readable when its deadline cuts it off.
struct Progress {
    node: usize,
    /// Whether the next attempt may ask another node.
    may_move: bool,
    sent: bool,
    /// The failure that is about to be retried.
    pending: Option<ClientError>,
}

fn key_target(key: &[u8], query: &str) -> String {
    let mut target = String::with_capacity(4 + key.len() + query.len());
    target.push_str("/kv/");
    match std::str::from_utf8(key) {
        Ok(text) => target.extend(utf8_percent_encode(text, KEY_ESCAPES)),
        Err(_) => target.extend(percent_encoding::percent_encode(key, KEY_ESCAPES)),
    }
    target.push_str(query);
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_byte_by_byte() {
        assert_eq!(key_target(b"plain-key_1.~", ""), "/kv/plain-key_1.~");
        assert_eq!(key_target(b"a/b?c#d e%", "?local=1"), "/kv/a%2Fb%3Fc%23d%20e%25?local=1");
        assert_eq!(key_target("\u{e9}".as_bytes(), ""), "/kv/%C3%A9");
        assert_eq!(key_target(&[0xff, 0x00], ""), "/kv/%FF%00");
    }
}
