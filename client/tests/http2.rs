//! The client in HTTP/2 against servers that keep to it, break it, or leave: what shares a connection, and
//! whether it knows what may have happened. In memory, on paused time.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use quorate_client::{
    Client, ClientError, ClientOptions, Effect, HttpVersion, MalformedReply, ReadOptions, Retry, WriteOptions,
};
use quorate_env::{BoxFuture, BoxStream, Listener, Network};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinSet;

/// A network where a server of the test's own is at the other end of each connection, by its number.
struct Net<S> {
    connects: AtomicUsize,
    serve: S,
}

impl<S, F> Network for Net<S>
where
    S: Fn(usize, DuplexStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            tokio::spawn((self.serve)(self.connects.fetch_add(1, Ordering::Relaxed), theirs));
            Ok(Box::new(ours) as BoxStream)
        })
    }

    fn bind<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

fn options(streams_max: usize, idle_connections_max: usize) -> ClientOptions {
    let http = HttpVersion::Two { streams_max };
    ClientOptions { http, idle_connections_max, ..ClientOptions::default() }
}

fn client<S, F>(options: ClientOptions, serve: S) -> (Client, Arc<Net<S>>)
where
    S: Fn(usize, DuplexStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let net = Arc::new(Net { connects: AtomicUsize::new(0), serve });
    let urls = vec!["http://n1:7000".parse().unwrap()];
    (Client::new(Arc::<Net<S>>::clone(&net), urls, None, options).unwrap(), net)
}

async fn put(client: &Client) -> Result<(), ClientError> {
    client.put("k", b"v1", None, WriteOptions::default()).await.map(drop)
}

fn answer(mut respond: SendResponse<Bytes>, fields: &[(&str, &str)], body: &'static [u8]) {
    let status = if body.is_empty() { 204 } else { 200 };
    let mut head = hyper::Response::builder().status(status).header("x-quorate-context", "c1");
    for (name, value) in fields {
        head = head.header(*name, *value);
    }
    let mut sending = respond.send_response(head.body(()).unwrap(), false).unwrap();
    sending.send_data(Bytes::from_static(body), true).unwrap();
}

/// Answers requests of one connection only when so many are there.
async fn answer_in_groups(stream: DuplexStream, group: usize) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut waiting = Vec::new();
    while let Some(Ok((_, respond))) = connection.accept().await {
        waiting.push(respond);
        if waiting.len() == group {
            waiting.drain(..).for_each(|respond| answer(respond, &[], b"v1"));
        }
    }
}

async fn gets_at_once(client: &Client, count: usize) {
    let mut getting = JoinSet::new();
    for _ in 0..count {
        let client = client.clone();
        getting.spawn(async move { client.get("k", ReadOptions::default()).await.unwrap().values });
    }
    while let Some(values) = getting.join_next().await {
        assert_eq!(values.unwrap()[0].bytes, "v1");
    }
}

#[tokio::test(start_paused = true)]
async fn so_many_requests_share_so_many_connections() {
    for (streams, connections) in [(1, 4), (4, 1), (2, 2), (3, 2)] {
        let serve = move |_, stream| answer_in_groups(stream, streams);
        let (client, net) = client(options(streams, connections), serve);
        for _ in 0..3 {
            gets_at_once(&client, streams * connections).await;
        }
        assert_eq!(net.connects.load(Ordering::Relaxed), connections, "of {streams} at once");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_is_what_was_asked() {
    let serve = |_, stream: DuplexStream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(async move {
                let (head, mut body) = request.into_parts();
                let mut length = 0;
                while let Some(part) = body.data().await {
                    length += part.unwrap().len();
                }
                let field = |name| {
                    head.headers
                        .get(name)
                        .map_or("none", |value: &hyper::header::HeaderValue| value.to_str().unwrap())
                };
                let told = format!(
                    "{} {} {} {} {length}",
                    head.method,
                    head.uri,
                    field("x-quorate-context"),
                    field("x-quorate-deadline-ms")
                );
                answer(respond, &[("x-quorate-version", &told), ("x-quorate-context", "no")], b"");
            });
        }
    };
    let (client, _) = client(options(1, 1), serve);
    let written = client.put("k/1", b"v1", Some("c0"), WriteOptions::default()).await.unwrap();
    assert_eq!(written.version.as_deref(), Some("PUT http://n1:7000/kv/k%2F1 c0 5000 2"));
    assert_eq!(written.context, "c1", "the first field of that name");
    let deleted = client.delete("k", Some("c2"), WriteOptions::default()).await.unwrap();
    assert_eq!(deleted.version.as_deref(), Some("DELETE http://n1:7000/kv/k c2 5000 0"));
    let refused = client.put("k", b"", Some("c\r\nx: y"), WriteOptions::default()).await.unwrap_err();
    assert!(matches!(refused, ClientError::BadRequest { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn replies_that_are_too_large_are_refused_whether_they_say_so_or_not() {
    let serve = |number, stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, respond))) = connection.accept().await {
            match number {
                0 => answer(respond, &[("content-length", "1000")], &[0; 1000]),
                1 => answer(respond, &[], &[0; 1000]),
                _ => answer(respond, &[("x-long", "x".repeat(5000).as_str())], b""),
            }
        }
    };
    let limits = ClientOptions { body_bytes_max: 999, head_bytes_max: 4096, ..options(1, 1) };
    let (client, net) = client(limits, serve);
    for _ in 0..2 {
        let refused = client.get("k", ReadOptions::default()).await.unwrap_err();
        let ClientError::Malformed { source: MalformedReply::BodyTooLarge { bytes, .. }, .. } = refused
        else {
            panic!("{refused}")
        };
        assert_eq!(bytes, 1000);
    }
    let head = client.get("k", ReadOptions::default()).await.unwrap_err();
    assert!(matches!(head, ClientError::Malformed { .. }), "{head}");
    assert_eq!(head.effect(), Effect::Unknown);
    assert_eq!(net.connects.load(Ordering::Relaxed), 3, "none of them was used again");
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, 0], &stream.to_be_bytes(), payload].concat()
}

fn reset(reason: Reason) -> Vec<u8> {
    frame(RST_STREAM, 1, &u32::from(reason).to_be_bytes())
}

fn go_away(last: u32, reason: Reason) -> Vec<u8> {
    frame(GOAWAY, 0, &[last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat())
}

/// Says `said` to the head of the first request, and then hangs up or says nothing more. Counts requests.
async fn say_to_a_head(mut stream: DuplexStream, said: Vec<u8>, hangs_up: bool, requests: Arc<AtomicUsize>) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, &[])).await.unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            requests.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&said).await.unwrap();
            if hangs_up {
                return;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_says_whether_the_request_may_have_been_processed() {
    for (what, said, hangs_up, kind, effect, connections) in [
        ("refused", reset(Reason::REFUSED_STREAM), false, "unprocessed", Effect::Never, 1),
        ("gone before", go_away(0, Reason::NO_ERROR), false, "unprocessed", Effect::Never, 2),
        ("calmed", go_away(0, Reason::ENHANCE_YOUR_CALM), false, "unprocessed", Effect::Never, 2),
        ("gone after", go_away(1, Reason::NO_ERROR), true, "connection-lost", Effect::Unknown, 2),
        ("broken off", reset(Reason::INTERNAL_ERROR), false, "connection-lost", Effect::Unknown, 2),
        ("cancelled", reset(Reason::CANCEL), false, "connection-lost", Effect::Unknown, 2),
        ("closed", Vec::new(), true, "connection-lost", Effect::Unknown, 2),
        ("silent", Vec::new(), false, "deadline", Effect::Unknown, 2),
        (
            "not HTTP/2",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            false,
            "malformed-reply",
            Effect::Unknown,
            2,
        ),
    ] {
        let requests = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&requests);
        let serve = move |_, stream| say_to_a_head(stream, said.clone(), hangs_up, Arc::clone(&counted));
        let (client, net) = client(options(4, 1), serve);
        let error = put(&client).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (kind, effect), "{what}: {error}");
        assert_eq!(requests.load(Ordering::Relaxed), 1, "{what}: nothing is sent again by itself");
        put(&client).await.unwrap_err();
        assert_eq!(net.connects.load(Ordering::Relaxed), connections, "{what}");
        if what == "not HTTP/2" {
            assert!(error.to_string().contains("HTTP/1.1 only"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_processed_may_be_retried_where_that_is_asked_for() {
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    let serve = move |number, stream| {
        let counted = Arc::clone(&counted);
        async move {
            match number {
                0 => say_to_a_head(stream, go_away(0, Reason::NO_ERROR), false, counted).await,
                _ => answer_in_groups(stream, 1).await,
            }
        }
    };
    let retry = Retry::IfNeverHappened { attempts: 1, pause: Duration::from_millis(10) };
    let (client, net) = client(ClientOptions { retry, ..options(1, 1) }, serve);
    gets_at_once(&client, 1).await;
    assert_eq!((requests.load(Ordering::Relaxed), net.connects.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn one_that_times_out_leaves_the_others_alone_and_the_connection_to_them() {
    let serve = |number, stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut unanswered = Vec::new();
        while let Some(Ok((request, respond))) = connection.accept().await {
            // The first connection answers only what is asked last, and late.
            match (number, request.uri().path()) {
                (0, "/kv/never") => unanswered.push(respond),
                (0, _) => {
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(3)).await;
                        answer(respond, &[], b"v1");
                    });
                }
                _ => answer(respond, &[], b"v1"),
            }
        }
    };
    let (client, net) = client(options(2, 1), serve);
    let never = {
        let client = client.clone();
        tokio::spawn(async move { client.get("never", ReadOptions::default()).await })
    };
    tokio::time::sleep(Duration::from_secs(4)).await;
    let late = {
        let client = client.clone();
        tokio::spawn(async move { client.get("late", ReadOptions::default()).await })
    };
    let never = never.await.unwrap().unwrap_err();
    assert!(matches!(never, ClientError::Deadline { sent: true, .. }), "{never}");
    // Nobody may be there any more: others are not to find out one by one.
    client.get("k", ReadOptions::default()).await.unwrap();
    assert_eq!(net.connects.load(Ordering::Relaxed), 2);
    assert_eq!(late.await.unwrap().unwrap().values[0].bytes, "v1", "it was under way, and came");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_went_away_while_idle_is_not_used() {
    let serve = |_, stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, respond) = connection.accept().await.unwrap().unwrap();
        answer(respond, &[], b"");
        connection.graceful_shutdown();
        while let Some(Ok(_)) = connection.accept().await {}
    };
    let (client, net) = client(options(8, 1), serve);
    for connections in 1..4 {
        put(&client).await.unwrap();
        assert_eq!(net.connects.load(Ordering::Relaxed), connections);
        // Until it has heard of it.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
