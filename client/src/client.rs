//! The client: operations on a set of nodes.

mod attempts;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quorate_env::Network;

use crate::http::{MalformedReply, Method, Request, Response};
use crate::nodes::Nodes;
use crate::reply::{CONTEXT_HEADER, ErrorBody};
use crate::routing::Router;
use crate::{
    ClientError, ClientOptions, GetAnswer, GetReply, HttpVersion, NodeChoice, NodeUrl, PutReply, ReadOptions,
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
    nodes: Nodes,
    /// Whether nodes that are heard of are asked by https.
    tls: bool,
    trust: Option<TlsTrust>,
    options: ClientOptions,
    router: Arc<Router>,
    retries: AtomicU64,
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
        let trust = match options.http {
            HttpVersion::One => trust,
            HttpVersion::Two { .. } => trust.map(|trust| trust.speaking(b"h2")),
        };
        let (tls, router) = (nodes.iter().all(NodeUrl::is_tls), Arc::new(Router::new(options.node_choice)));
        let (nodes, retries) = (Nodes::new(nodes), AtomicU64::new(0));
        Ok(Self { shared: Arc::new(Shared { net, nodes, tls, trust, options, router, retries }) })
    }

    /// A client of the same store that knows and has learned nothing and shares no connection with this
    /// one: for another thread, or another runtime.
    #[must_use]
    pub fn apart(&self) -> Self {
        let shared = &self.shared;
        let urls = (0..shared.nodes.len()).filter_map(|node| self.node_url(node)).collect();
        Self {
            shared: Arc::new(Shared {
                net: Arc::clone(&shared.net),
                nodes: Nodes::new(urls),
                tls: shared.tls,
                trust: shared.trust.clone(),
                options: shared.options.clone(),
                router: Arc::new(Router::new(shared.options.node_choice)),
                retries: AtomicU64::new(0),
            }),
        }
    }

    /// How many nodes it knows.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.shared.nodes.len()
    }

    /// The URL of a node, 0-based.
    #[must_use]
    pub fn node_url(&self, node: usize) -> Option<NodeUrl> {
        self.shared.nodes.get(node).map(|n| n.url.clone())
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

    /// Reads a key through a quorum as [`Self::get`] does, without copying anything out of the answer.
    ///
    /// # Errors
    /// If no valid answer came.
    pub async fn get_answer(
        &self,
        key: impl AsRef<[u8]>,
        options: ReadOptions,
    ) -> Result<GetAnswer, ClientError> {
        let (node, response) = self.fetch_key(key.as_ref(), options, "").await?;
        GetAnswer::read(response, node).map_err(|source| self.malformed(node, source))
    }

    async fn read_key(&self, key: &[u8], options: ReadOptions, query: &str) -> Result<GetReply, ClientError> {
        let (node, response) = self.fetch_key(key, options, query).await?;
        GetReply::read(&response, node, query == LOCAL).map_err(|source| self.malformed(node, source))
    }

    async fn fetch_key(
        &self,
        key: &[u8],
        options: ReadOptions,
        query: &str,
    ) -> Result<(usize, Response), ClientError> {
        let target = key_target(key, query);
        // Siblings in JSON: one parser less, and every value exactly as stored.
        let headers = [("Accept", "application/json")];
        let request = Request { method: Method::Get, target: &target, headers: &headers, body: b"" };
        let (node, response) = self.send(&request, options.node, Some(key)).await?;
        let found = matches!(response.status, 200 | 300)
            || (response.status == 404 && response.header(CONTEXT_HEADER).is_some())
            || (response.status == 404 && query == LOCAL);
        if found { Ok((node, response)) } else { Err(self.refusal(node, &response)) }
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
        let (headers, count) = write_headers(method, context, &options);
        let request = Request { method, target: &target, headers: &headers[..count], body };
        let (node, response) = self.send(&request, options.node, Some(key)).await?;
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
        self.send(request, node, None).await
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

/// The fields of a write, and how many there are.
fn write_headers<'a>(
    method: Method,
    context: Option<&'a str>,
    options: &WriteOptions<'a>,
) -> ([(&'static str, &'a str); 4], usize) {
    let fields = [
        (method == Method::Put)
            .then(|| ("Content-Type", options.content_type.unwrap_or("application/octet-stream"))),
        context.map(|token| (CONTEXT_HEADER, token)),
        options.if_match.map(|etag| ("If-Match", etag)),
        options.if_none_match.then_some(("If-None-Match", "*")),
    ];
    let (mut headers, mut count) = ([("", ""); 4], 0);
    for field in fields.into_iter().flatten() {
        headers[count] = field;
        count += 1;
    }
    (headers, count)
}

fn key_target(key: &[u8], query: &str) -> String {
    let mut target = String::with_capacity(4 + key.len() + query.len());
    target.push_str("/kv/");
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    match std::str::from_utf8(key) {
        Ok(text) if key.iter().all(is_plain) => target.push_str(text),
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
