//! Sending: to which node, how often, until when.
//!
//! Nothing is sent again unless it certainly did not happen: a failed write may have, and sending
//! it once more could bring back what was since overwritten.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_env::random::mix;
use tokio::time::Instant;

use super::{Client, Shared};
use crate::http::{Connection, ExchangeError, Limits, MalformedReply, Method, Request, Response};
use crate::nodes::Node;
use crate::placement::Placement;
use crate::{ClientError, Effect, NodeUrl, Retry};

/// How long the client still waits.
const DEADLINE_HEADER: &str = "X-Quorate-Deadline-Ms";

/// The view that the answering node is in.
const VIEW_HEADER: &str = "X-Quorate-View";

impl Client {
    pub(super) async fn send(
        &self,
        request: &Request<'_>,
        node: Option<usize>,
        key: Option<&[u8]>,
    ) -> Result<(usize, Response), ClientError> {
        let deadline = Instant::now() + self.shared.options.deadline;
        if node.is_none() {
            self.keep_placement(deadline).await;
        }
        self.send_until(request, node, key, deadline).await
    }

    async fn send_until(
        &self,
        request: &Request<'_>,
        node: Option<usize>,
        key: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<(usize, Response), ClientError> {
        let shared = &self.shared;
        let may_move = node.is_none() && shared.router.may_move();
        let route = node.map_or_else(|| shared.router.nodes_for(key, &shared.nodes), |node| vec![node]);
        let tell = key.is_some() && shared.options.tell_deadline;
        let mut progress =
            Progress { asked: Vec::new(), route, may_move, deadline, tell, sent: false, pending: None };
        progress.move_on(shared);
        let outcome = tokio::time::timeout_at(deadline, self.attempts(request, &mut progress)).await;
        match outcome {
            Ok(result) => result.map(|response| (progress.node(), response)),
            // Interrupted while pausing before another attempt: what it would have retried is the news.
            Err(_) => Err(progress.pending.take().unwrap_or_else(|| {
                let node = progress.node();
                if let Some(node) = shared.nodes.get(node) {
                    node.failed();
                }
                let (node, deadline) = (self.node_name(node), shared.options.deadline);
                ClientError::Deadline { node, sent: progress.sent, deadline }
            })),
        }
    }

    /// Asks who owns what, if this client wants to know and it is time: the first time before
    /// anything is sent, later beside it.
    async fn keep_placement(&self, deadline: Instant) {
        let router = &self.shared.router;
        if router.knows_nothing() {
            if let Some(_question) = router.question(Instant::now()) {
                // Any node takes any request: one that could not be asked is no reason to fail.
                let _ = self.fetch_placement(deadline).await;
            }
        } else if let Some(question) = router.question(Instant::now()) {
            let client = self.clone();
            tokio::spawn(async move {
                let _question = question;
                let _ = client.fetch_placement(Instant::now() + client.shared.options.deadline).await;
            });
        }
    }

    async fn fetch_placement(&self, deadline: Instant) -> Result<(), ClientError> {
        let shared = &self.shared;
        let request = Request { method: Method::Get, target: "/cluster", headers: &[], body: b"" };
        let mut last = Ok(());
        for _ in 0..shared.nodes.len() {
            let fetched = self.send_until(&request, None, None, deadline).await;
            last = fetched.and_then(|(node, response)| {
                if response.status != 200 {
                    return Err(self.refusal(node, &response));
                }
                let placement = Placement::read(&response.body).map_err(|e| self.malformed(node, e))?;
                self.learn(placement, node)
            });
            if last.is_ok() {
                break;
            }
        }
        last
    }

    fn learn(&self, placement: Placement, from: usize) -> Result<(), ClientError> {
        let shared = &self.shared;
        let scheme = if shared.tls { "https" } else { "http" };
        let urls = placement.nodes.iter().map(|api| format!("{scheme}://{api}").parse::<NodeUrl>());
        let urls: Vec<NodeUrl> = urls.collect::<Result<_, _>>().map_err(|_| {
            self.malformed(from, MalformedReply::BadPlacement("a node has no address that can be asked"))
        })?;
        let numbers = urls.into_iter().map(|url| shared.nodes.number_of(url)).collect();
        shared.router.learn(placement, numbers);
        Ok(())
    }

    /// Sends `request` until it may have happened or attempts run out. Every attempt before
    /// the last certainly did not happen, so `progress.sent` speaks of the current one alone.
    async fn attempts(
        &self,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Result<Response, ClientError> {
        let (more, mut pause) = match self.shared.options.retry {
            Retry::Never => (0, Duration::ZERO),
            Retry::IfNeverHappened { attempts, pause } => (attempts, pause),
        };
        for _ in 0..more {
            let result = self.attempt(request, progress).await.and_then(|response| {
                // An error reply counts as a failed attempt only if it denies any effect.
                let refusal = (response.status >= 400).then(|| self.refusal(progress.node(), &response));
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
                    let wait = self.jittered(pause).max(asked);
                    pause = pause.saturating_mul(2);
                    if Instant::now() + wait >= progress.deadline {
                        return Err(error);
                    }
                    progress.pending = Some(error);
                    tokio::time::sleep(wait).await;
                    progress.pending = None;
                    progress.move_on(&self.shared);
                    progress.sent = false;
                }
                other => return other,
            }
        }
        self.attempt(request, progress).await
    }

    /// Half to one and a half of `pause`.
    fn jittered(&self, pause: Duration) -> Duration {
        let count = self.shared.retries.fetch_add(1, Ordering::Relaxed);
        let drawn = mix(self.shared.options.jitter_seed ^ mix(count)) >> 11;
        pause.mul_f64(0.5 + drawn as f64 / (1_u64 << 53) as f64)
    }

    /// One attempt on one connection.
    async fn attempt(&self, request: &Request<'_>, progress: &mut Progress) -> Result<Response, ClientError> {
        let shared = &self.shared;
        let Some(node) = shared.nodes.get(progress.node()) else {
            return Err(ClientError::BadRequest { why: "there is no node of that number" });
        };
        let result = if progress.tell {
            let left = progress.deadline.saturating_duration_since(Instant::now()).as_millis().to_string();
            let mut headers = Vec::with_capacity(request.headers.len() + 1);
            headers.extend_from_slice(request.headers);
            headers.push((DEADLINE_HEADER, left.as_str()));
            let request = Request { headers: &headers, ..*request };
            self.exchange(&node, &request, &mut progress.sent).await
        } else {
            self.exchange(&node, request, &mut progress.sent).await
        };
        match &result {
            Ok(response) => {
                node.answered();
                if shared.router.wants_placement()
                    && let Some(view) = response.header(VIEW_HEADER)
                {
                    shared.router.heard(view);
                }
            }
            Err(ClientError::BadRequest { .. }) => {}
            Err(_) => node.failed(),
        }
        result
    }

    async fn exchange(
        &self,
        node: &Node,
        request: &Request<'_>,
        sent: &mut bool,
    ) -> Result<Response, ClientError> {
        let options = &self.shared.options;
        let mut connection = match node.pool.take(options.idle_age_max).await {
            Some(connection) => connection,
            None => self.connect(node).await?,
        };
        let limits =
            Limits { head_bytes_max: options.head_bytes_max, body_bytes_max: options.body_bytes_max };
        match connection.exchange(&node.authority, request, limits, sent).await {
            Ok(response) => {
                node.pool.give_back(connection, options.idle_connections_max);
                Ok(response)
            }
            Err(ExchangeError::BadRequest(why)) => Err(ClientError::BadRequest { why }),
            Err(ExchangeError::Lost(source)) => {
                Err(ClientError::ConnectionLost { node: node.name.clone(), sent: *sent, source })
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
}

/// How far an operation got, readable when its deadline cuts it off.
struct Progress {
    /// The nodes asked so far, the current one last.
    asked: Vec<usize>,
    /// Those to ask before any others.
    route: Vec<usize>,
    /// Whether the next attempt may ask another node.
    may_move: bool,
    deadline: Instant,
    /// Whether nodes are told the deadline.
    tell: bool,
    sent: bool,
    /// The failure that is about to be retried.
    pending: Option<ClientError>,
}

impl Progress {
    fn node(&self) -> usize {
        self.asked.last().copied().unwrap_or_default()
    }

    /// On to the next node, or the same if no other may be asked.
    fn move_on(&mut self, shared: &Shared) {
        let next = match self.route.get(self.asked.len()) {
            Some(next) => *next,
            None if self.may_move => shared.router.after(&self.asked, &shared.nodes),
            None => self.node(),
        };
        self.asked.push(next);
    }
}
