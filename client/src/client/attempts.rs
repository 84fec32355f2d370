//! Sending: to which node, how often, until when.
//!
//! Nothing is sent again unless it certainly did not happen: a failed write may have, and sending
//! it once more could bring back what was since overwritten.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_env::BoxStream;
use quorate_env::random::mix;
use tokio::time::Instant;

use super::{Client, Shared};
use crate::http::{
    Connection, Exchange, ExchangeError, Limits, MalformedReply, Method, NumberField, Request, Response,
};
use crate::http2::{Bounds, Http2};
use crate::nodes::Node;
use crate::placement::Placement;
use crate::routing::Route;
use crate::{ClientError, Effect, HttpVersion, NodeUrl, Retry, TlsTrust};

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
        let mut now = Instant::now();
        let deadline = now + self.shared.options.deadline;
        if node.is_none() && self.shared.router.wants_placement() {
            // In boxes: what is rare, so that the future of every operation is small.
            Box::pin(self.keep_placement(deadline)).await;
            now = Instant::now();
        }
        self.send_until(request, node, key, (now, deadline)).await
    }

    async fn send_until(
        &self,
        request: &Request<'_>,
        node: Option<usize>,
        key: Option<&[u8]>,
        (now, deadline): (Instant, Instant),
    ) -> Result<(usize, Response), ClientError> {
        let shared = &self.shared;
        let may_move = node.is_none() && shared.router.may_move();
        let route = node.map_or_else(|| shared.router.nodes_for(key, &shared.nodes), Route::One);
        let tell = key.is_some() && shared.options.tell_deadline;
        let (asked, sent) = (Vec::new(), false);
        let node = route.get(0).unwrap_or_default();
        let mut progress = Progress { node, asked, route, may_move, now, deadline, tell, sent };
        // Small allocations are taken from and returned to where the allocator has them at hand, and a
        // large one is not: hence parts.
        let response = Box::pin(self.attempts(request, &mut progress)).await?;
        Ok((progress.node, response))
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
            let fetched = self.send_until(&request, None, None, (Instant::now(), deadline)).await;
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
    /// the last certainly did not happen, so `progress.sent` speaks of the current one alone. Each attempt
    /// ends at the deadline, and no pause is begun that would.
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
                    let wait = self.jittered(pause).max(asked);
                    pause = pause.saturating_mul(2);
                    if Instant::now() + wait >= progress.deadline {
                        return Err(error);
                    }
                    Box::pin(tokio::time::sleep(wait)).await;
                    progress.now = Instant::now();
                    if progress.now >= progress.deadline {
                        // Overslept: what it would have retried is the news.
                        return Err(error);
                    }
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
        let Some(node) = shared.nodes.get(progress.node) else {
            return Err(ClientError::BadRequest { why: "there is no node of that number" });
        };
        let result = self.exchange(&node, request, progress).await;
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
        progress: &mut Progress,
    ) -> Result<Response, ClientError> {
        let options = &self.shared.options;
        let exchanged = match options.http {
            HttpVersion::One => {
                let taken = node.pool.take(options.idle_age_max, progress.now).await;
                let mut connection = match taken {
                    Some(connection) => connection,
                    None => Box::pin(self.in_time(node, progress, self.connect(node))).await?,
                };
                let exchange = self.exchange_of(node, request, progress);
                let exchanged = Box::pin(connection.exchange(exchange, &mut progress.sent)).await;
                if exchanged.is_ok() {
                    node.pool.give_back(connection, options.idle_connections_max, progress.now);
                }
                exchanged
            }
            HttpVersion::Two { streams_max } => {
                Box::pin(self.exchange_beside_others(node, request, progress, streams_max)).await?
            }
        };
        exchanged.map_err(|error| match error {
            ExchangeError::BadRequest(why) => ClientError::BadRequest { why },
            ExchangeError::Lost(source) => {
                ClientError::ConnectionLost { node: node.name.clone(), sent: progress.sent, source }
            }
            ExchangeError::Malformed(source) => ClientError::Malformed { node: node.name.clone(), source },
            ExchangeError::Unprocessed { why, .. } => {
                ClientError::Unprocessed { node: node.name.clone(), why }
            }
            ExchangeError::Deadline => self.out_of_time(node, progress.sent),
        })
    }

    /// An exchange on a connection on which there may be others. What went wrong with it beyond the one
    /// request is the connection's, which then takes no more: it may be one that nobody answers on.
    async fn exchange_beside_others(
        &self,
        node: &Node,
        request: &Request<'_>,
        progress: &mut Progress,
        streams_max: usize,
    ) -> Result<Result<Response, ExchangeError>, ClientError> {
        let options = &self.shared.options;
        let (connections_max, idle_age_max) = (options.idle_connections_max, options.idle_age_max);
        let bounds = Bounds { streams_max, connections_max, idle_age_max };
        let lease = node.shared.take(bounds, progress.now);
        let connection = match lease.connection() {
            Some(connection) => connection,
            None => self.in_time(node, progress, lease.open(self.connect_http2(node))).await?,
        };
        let exchange = self.exchange_of(node, request, progress);
        let exchanged = connection.exchange(exchange, &mut progress.sent).await;
        match &exchanged {
            Ok(_) | Err(ExchangeError::BadRequest(_) | ExchangeError::Unprocessed { goes_on: true, .. }) => {}
            Err(_) => lease.retire(),
        }
        Ok(exchanged)
    }

    /// Connects before the deadline or not at all.
    async fn in_time<T>(
        &self,
        node: &Node,
        progress: &mut Progress,
        connecting: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        // Rare enough for a timer of its own.
        let connected = Box::pin(tokio::time::timeout_at(progress.deadline, connecting)).await;
        progress.now = Instant::now();
        connected.map_err(|_| self.out_of_time(node, false))?
    }

    fn exchange_of<'a>(&self, node: &'a Node, request: &'a Request<'a>, progress: &Progress) -> Exchange<'a> {
        let options = &self.shared.options;
        let left = progress.deadline.saturating_duration_since(progress.now).as_millis();
        let left = NumberField { name: DEADLINE_HEADER, value: u64::try_from(left).unwrap_or(u64::MAX) };
        Exchange {
            host: &node.authority,
            request,
            added: progress.tell.then_some(left),
            limits: Limits { head_bytes_max: options.head_bytes_max, body_bytes_max: options.body_bytes_max },
            deadline: progress.deadline,
        }
    }

    fn out_of_time(&self, node: &Node, sent: bool) -> ClientError {
        ClientError::Deadline { node: node.name.clone(), sent, deadline: self.shared.options.deadline }
    }

    async fn connect(&self, node: &Node) -> Result<Connection, ClientError> {
        let stream = self.reach(node).await?;
        match self.trust_for(node) {
            Some(trust) => {
                let encrypted = Box::pin(trust.wrap(node.url.host(), stream)).await;
                let stream = encrypted.map_err(|why| unshaken(node, why))?;
                Ok(Connection::new(stream, true))
            }
            None => Ok(Connection::new(stream, false)),
        }
    }

    async fn connect_http2(&self, node: &Node) -> Result<Http2, ClientError> {
        let mut stream = self.reach(node).await?;
        let trust = self.trust_for(node);
        if let Some(trust) = trust {
            let encrypted = Box::pin(trust.wrap_http2(node.url.host(), stream)).await;
            stream = encrypted.map_err(|why| unshaken(node, why))?;
        }
        let head_bytes_max = self.shared.options.head_bytes_max;
        let begun = Http2::begin(stream, &node.authority, trust.is_some(), head_bytes_max).await;
        begun.map_err(|source| ClientError::Connect { node: node.name.clone(), source })
    }

    async fn reach(&self, node: &Node) -> Result<BoxStream, ClientError> {
        let connected = self.shared.net.connect(&node.authority).await;
        connected.map_err(|source| ClientError::Connect { node: node.name.clone(), source })
    }

    fn trust_for(&self, node: &Node) -> Option<&TlsTrust> {
        self.shared.trust.as_ref().filter(|_| node.url.is_tls())
    }
}

fn unshaken(node: &Node, why: String) -> ClientError {
    ClientError::Handshake { node: node.name.clone(), why }
}

/// How far an operation got.
struct Progress {
    /// The node that is asked now.
    node: usize,
    /// Those asked before it, in order.
    asked: Vec<usize>,
    /// Those to ask before any others.
    route: Route,
    /// Whether the next attempt may ask another node.
    may_move: bool,
    /// When this attempt began, or was connected: the clock is not asked more often than that.
    now: Instant,
    deadline: Instant,
    /// Whether nodes are told the deadline.
    tell: bool,
    /// Whether any byte of this attempt may have left.
    sent: bool,
}

impl Progress {
    /// On to the next node, or the same if no other may be asked.
    fn move_on(&mut self, shared: &Shared) {
        self.asked.push(self.node);
        self.node = match self.route.get(self.asked.len()) {
            Some(next) => next,
            None if self.may_move => shared.router.after(&self.asked, &shared.nodes),
            None => self.node,
        };
    }
}
