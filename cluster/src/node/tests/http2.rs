//! The same API in HTTP/2, and what only HTTP/2 lets a client do: ask a lot at once, take back, take
//! nothing, and say nothing while it does.

use bytes::Bytes;
use h2::Reason;
use h2::client::{Builder, SendRequest};
use quorate_client::{Client, ClientOptions, Effect, HttpVersion, ReadOptions, TlsTrust, WriteOptions};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::overload::{Slow, alone, one};
use super::stop::{Gated, lazy, plain};
use super::strangers::certificate;
use super::*;
use crate::config::Limits;

/// A connection in HTTP/2.
#[derive(Clone)]
struct Http2(SendRequest<Bytes>);

impl Http2 {
    async fn to(node: &Running) -> Self {
        Self::over(TcpStream::connect(&node.api).await.unwrap(), &Builder::new()).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, builder: &Builder) -> Self {
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self(requests)
    }

    /// Sends a request without its body, and says where that goes and where the answer comes from.
    async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        is_whole: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
        let mut request = hyper::Request::builder().method(method).uri(format!("http://x{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = self.0.clone().ready().await?;
        ready.send_request(request.body(()).unwrap(), is_whole)
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Result<Reply, h2::Error> {
        let (answer, mut sending) = self.begin(method, path, headers, body.is_empty()).await?;
        if !body.is_empty() {
            sending.send_data(Bytes::from_static(body.as_bytes()), true)?;
        }
        whole(answer).await
    }
}

async fn whole(answer: h2::client::ResponseFuture) -> Result<Reply, h2::Error> {
    let (head, mut receiving) = answer.await?.into_parts();
    let mut body = Vec::new();
    while let Some(part) = receiving.data().await {
        let part = part?;
        receiving.flow_control().release_capacity(part.len())?;
        body.extend_from_slice(&part);
    }
    let field = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        format!("{name}: {}\r\n", value.to_str().unwrap())
    };
    let text = head.headers.iter().map(field).collect();
    Ok(Reply { status: head.status.as_u16(), head: text, body })
}

/// The refusal that a whole answer is, which has to come over HTTP/2 as over HTTP/1.1.
#[track_caller]
fn refused(reply: &Reply) -> (u16, String, Option<bool>) {
    let json = reply.json();
    (reply.status, json["error"].as_str().unwrap().to_owned(), json["maybe_applied"].as_bool())
}

/// A connection of which a test writes every byte.
struct Raw(TcpStream);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method GET`, `:scheme http`, `:path /` by their numbers in the static table.
const GET_ROOT: [u8; 3] = [0x82, 0x86, 0x84];
/// `:method` in letters, since the table has no PUT; then as above.
const PUT_ROOT: [u8; 7] = [0x02, 3, b'P', b'U', b'T', 0x86, 0x84];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

impl Raw {
    /// Connects and says what comes first, and `frames`, in one piece.
    async fn say(node: &Running, frames: &[Vec<u8>]) -> Self {
        let mut stream = TcpStream::connect(&node.api).await.unwrap();
        let settings = frame(SETTINGS, 0, 0, &[]);
        let first = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &frames.concat()].concat();
        stream.write_all(&first).await.unwrap();
        Self(stream)
    }

    /// The stream and the code (the last four bytes, or those after the last stream's number) of the next
    /// frame of a kind.
    async fn hear(&mut self, wanted: u8) -> (u32, Reason) {
        let hearing = async {
            loop {
                let mut head = [0; 9];
                self.0.read_exact(&mut head).await.unwrap();
                let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                self.0.read_exact(&mut payload).await.unwrap();
                if head[3] == wanted {
                    let at = if wanted == GOAWAY { 4 } else { 0 };
                    let code: [u8; 4] = payload[at..at + 4].try_into().unwrap();
                    let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                    return (stream, Reason::from(u32::from_be_bytes(code)));
                }
            }
        };
        tokio::time::timeout(PATIENCE, hearing).await.expect("the frame comes")
    }
}

/// A client that offers these protocols in its handshake, and what was agreed on.
async fn encrypted(
    node: &Running,
    ca: &str,
    offered: &[&[u8]],
) -> (tokio_rustls::client::TlsStream<TcpStream>, Option<Vec<u8>>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(&node.api).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    (stream, agreed)
}

async fn uses_contexts(client: &Http2) {
    let missing = client.ask("GET", "/kv/cart", &[], "").await.unwrap();
    assert_eq!(refused(&missing), (404, "not_found".into(), Some(false)));
    for value in ["a", "b"] {
        assert_eq!(client.ask("PUT", "/kv/cart", &[], value).await.unwrap().status, 204);
    }
    let both = client.ask("GET", "/kv/cart", &[("accept", "application/json")], "").await.unwrap();
    assert_eq!((both.status, both.json()["values"].as_array().unwrap().len()), (300, 2));
    let context = both.context();
    let headers = [("x-quorate-context", context.as_str())];
    let merged = client.ask("PUT", "/kv/cart", &headers, "a+b").await.unwrap();
    assert_eq!(merged.status, 204);
    let found = client.ask("GET", "/kv/cart", &[], "").await.unwrap();
    assert_eq!((found.status, found.body.as_slice()), (200, b"a+b".as_slice()));
    let context = merged.context();
    let deleted = client.ask("DELETE", "/kv/cart", &[("x-quorate-context", &context)], "").await.unwrap();
    assert_eq!(deleted.status, 204);
    assert_eq!(client.ask("GET", "/kv/cart", &[], "").await.unwrap().status, 404);
    let deadline = [("x-quorate-deadline-ms", "0")];
    let late = client.ask("PUT", "/kv/cart", &deadline, "v").await.unwrap();
    assert_eq!(refused(&late), (504, "deadline".into(), Some(false)));
}

#[tokio::test]
async fn who_asks_for_http_2_gets_it_and_everybody_else_http_1() {
    let members = members(1);
    let (tls, ca) = certificate();
    let config = config(&members[0], &members, &alone());
    let clock = Arc::new(SystemClock::new());
    let node = start_with(config, SimulatedDisk::default(), clock, Some(tls)).await.unwrap();
    let (stream, agreed) = encrypted(&node, &ca, &[b"h2", b"http/1.1"]).await;
    assert_eq!(agreed.as_deref(), Some(b"h2".as_slice()));
    uses_contexts(&Http2::over(stream, &Builder::new()).await).await;
    for offered in [&[b"http/1.1".as_slice()][..], &[]] {
        let (mut stream, agreed) = encrypted(&node, &ca, offered).await;
        assert_eq!(agreed.as_deref(), offered.first().copied());
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{offered:?}");
    }

    let node = one(|_| ()).await;
    uses_contexts(&Http2::to(&node).await).await;
    assert_eq!(get(&node.api, "cart").await.status, 404, "the same port speaks both");
}

#[tokio::test]
async fn many_requests_go_over_one_connection_at_once_and_large_values_whole() {
    let node = one(|_| ()).await;
    let client = Http2::to(&node).await;
    let large: &'static str = Box::leak("0123456789".repeat(100_000).into_boxed_str());
    let mut putting = JoinSet::new();
    for number in 0..40 {
        let client = client.clone();
        let value = if number % 10 == 0 { large } else { "small" };
        putting.spawn(async move {
            let path = format!("/kv/k{number}");
            let put = client.ask("PUT", &path, &[], value).await.unwrap().status;
            let found = client.ask("GET", &path, &[], "").await.unwrap();
            (put, found.status, found.body == value.as_bytes())
        });
    }
    while let Some(ended) = putting.join_next().await {
        assert_eq!(ended.unwrap(), (204, 200, true));
    }
    let too_large: &'static str = Box::leak("x".repeat((1 << 20) + 1).into_boxed_str());
    let giant = client.ask("PUT", "/kv/giant", &[], too_large).await.unwrap();
    assert_eq!(refused(&giant), (413, "value_too_large".into(), Some(false)));
    assert_eq!(client.ask("GET", "/kv/giant", &[], "").await.unwrap().status, 404);
}

#[tokio::test]
async fn requests_of_one_connection_are_admitted_like_any_other() {
    let node = one(|config| config.limits = Limits { requests_max: 1, ..Limits::default() }).await;
    let client = Http2::to(&node).await;
    let (slow, mut sending) = client.begin("PUT", "/kv/slow", &[], false).await.unwrap();
    reaches(&node.api, "quorate_requests_in_hand", 1).await;
    let second = client.ask("GET", "/kv/k", &[], "").await.unwrap();
    assert_eq!(refused(&second), (503, "overloaded".into(), Some(false)));
    assert!(second.head.contains("retry-after: "), "{}", second.head);
    sending.send_data(Bytes::from_static(b"v"), true).unwrap();
    assert_eq!(whole(slow).await.unwrap().status, 204);

    let node = one(|config| config.limits = Limits { connections_max: 1, ..Limits::default() }).await;
    let first = Http2::to(&node).await;
    assert_eq!(first.ask("GET", "/healthz", &[], "").await.unwrap().status, 200);
    let beyond = Http2::to(&node).await;
    let turned_away = beyond.ask("GET", "/kv/k", &[], "").await.unwrap();
    assert_eq!(refused(&turned_away), (503, "overloaded".into(), Some(false)));
    let hung_up = async { while beyond.ask("GET", "/kv/k", &[], "").await.is_ok() {} };
    tokio::time::timeout(PATIENCE, hung_up).await.expect("and is hung up on");
}

#[tokio::test]
async fn more_at_once_than_a_connection_may_is_refused_unprocessed() {
    let node = one(|config| config.limits = Limits { streams_max: 2, ..Limits::default() }).await;
    // Of a body, not one byte.
    let puts: Vec<_> = [1, 3, 5].iter().map(|id| frame(HEADERS, END_HEADERS, *id, &PUT_ROOT)).collect();
    let mut client = Raw::say(&node, &puts).await;
    assert_eq!(client.hear(RST_STREAM).await, (5, Reason::REFUSED_STREAM));
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_ends_the_connection() {
    let node = one(|_| ()).await;
    let flood: Vec<_> = (0..1000)
        .map(|number| 2 * number + 1)
        .flat_map(|id| {
            let cancel = u32::from(Reason::CANCEL).to_be_bytes();
            let get = frame(HEADERS, END_HEADERS | END_STREAM, id, &GET_ROOT);
            [get, frame(RST_STREAM, 0, id, &cancel)]
        })
        .collect();
    let mut client = Raw::say(&node, &flood).await;
    assert_eq!(client.hear(GOAWAY).await.1, Reason::ENHANCE_YOUR_CALM);
    reaches(&node.api, "quorate_requests_malformed_total", 1).await;
}

#[tokio::test]
async fn heads_that_are_too_long_are_refused_and_endless_ones_end_the_connection() {
    let node = one(|_| ()).await;
    let client = Http2::to(&node).await;
    let long = "x".repeat(70 << 10);
    let refused = client.ask("GET", "/kv/k", &[("x-long", &long)], "").await.unwrap();
    assert_eq!(refused.status, 431);
    assert_eq!(client.ask("GET", "/healthz", &[], "").await.unwrap().status, 200, "others go on");
    let endless = "x".repeat(4 << 20);
    assert!(client.ask("GET", "/kv/k", &[("x-long", &endless)], "").await.is_err());
    reaches(&node.api, "quorate_requests_malformed_total", 1).await;
}

#[tokio::test]
async fn clients_that_dawdle_in_http_2_are_hung_up_on_and_counted() {
    let node = one(|config| config.timing.head = Duration::from_millis(100)).await;
    assert_eq!(Slow::connect(&node).await.hear_all().await, "", "not even a first byte");
    let mut settings_only = Raw::say(&node, &[]).await;
    assert_eq!(settings_only.hear(GOAWAY).await.1, Reason::NO_ERROR);
    let head = frame(HEADERS, END_STREAM, 1, &GET_ROOT);
    let mut half_a_head = Raw::say(&node, &[head]).await;
    assert_eq!(half_a_head.hear(GOAWAY).await.1, Reason::NO_ERROR);
    assert_eq!(node.coordinator.metrics.clients_timed_out.get(), 3);
}

#[tokio::test]
async fn who_makes_no_room_for_the_answer_is_hung_up_on() {
    let node = one(|config| config.timing.answer = Duration::from_millis(50)).await;
    assert_eq!(put(&node.api, "k", None, &"v".repeat(1 << 20)).await.status, 204);
    let stream = TcpStream::connect(&node.api).await.unwrap();
    let client = Http2::over(stream, Builder::new().initial_window_size(1000)).await;
    let (answer, _) = client.begin("GET", "/kv/k", &[], true).await.unwrap();
    let (head, mut receiving) = answer.await.unwrap().into_parts();
    assert_eq!(head.status.as_u16(), 200);
    // What came is kept, and no room is made for more.
    let broken = async { while let Some(Ok(_)) = receiving.data().await {} };
    tokio::time::timeout(PATIENCE, broken).await.expect("the node hangs up");
    reaches(&node.api, "quorate_clients_timed_out_total", 1).await;
}

#[tokio::test]
async fn a_node_that_stops_answers_what_it_has_in_hand_and_takes_nothing_more() {
    let (members, engine) = (members(1), Gated::new());
    let gated = Arc::<Gated>::clone(&engine);
    let parts = NodeParts { engine: Some(gated), ..plain(&members[0], &members, &lazy(alone())) };
    let stopping = Node::start(parts).await.unwrap();
    let (handle, api) = (stopping.handle(), stopping.api_address().to_owned());
    let running = tokio::spawn(stopping.run());
    let stream = TcpStream::connect(&api).await.unwrap();
    let client = Http2::over(stream, &Builder::new()).await;
    let putting = client.clone();
    let putting = tokio::spawn(async move { putting.ask("PUT", "/kv/k", &[], "v").await });
    engine.has_one().await;
    handle.shut_down();
    let refused = async {
        loop {
            if let Err(error) = client.ask("GET", "/healthz", &[], "").await {
                return error;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("nothing more is taken");
    assert!(refused.is_go_away() && refused.is_remote(), "{refused}");
    engine.open();
    assert_eq!(putting.await.unwrap().unwrap().status, 204);
    running.await.unwrap().unwrap();
}

/// The store's own client, which shares one connection among so many requests.
fn client_of(api: &str, ca: &str, streams_max: usize) -> Client {
    let trust = TlsTrust::from_ca_pem(ca.as_bytes(), "test", Arc::new(SystemClock::new())).unwrap();
    let options = ClientOptions {
        http: HttpVersion::Two { streams_max },
        idle_connections_max: 1,
        deadline: PATIENCE,
        ..ClientOptions::default()
    };
    let url = format!("https://{api}").parse().unwrap();
    Client::new(Arc::new(TokioNetwork), vec![url], Some(trust), options).unwrap()
}

#[tokio::test]
async fn the_client_carries_contexts_over_tls_and_knows_what_a_stop_has_done() {
    let (members, engine) = (members(1), Gated::new());
    let (tls, ca) = certificate();
    let gated = Arc::<Gated>::clone(&engine);
    let parts =
        NodeParts { engine: Some(gated), tls: Some(tls), ..plain(&members[0], &members, &lazy(alone())) };
    let node = Node::start(parts).await.unwrap();
    let (handle, client) = (node.handle(), client_of(node.api_address(), &ca, 16));
    let metrics = Arc::clone(&node.api.coordinator.metrics);
    let running = tokio::spawn(node.run());
    let mut putting = JoinSet::new();
    for number in 0..8 {
        let client = client.clone();
        putting.spawn(
            async move { client.put(format!("k{number}"), b"v", None, WriteOptions::default()).await },
        );
    }
    let all_in_hand = async {
        while metrics.puts.get() < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_in_hand).await.expect("all are in hand at once");
    engine.has_one().await;
    handle.shut_down();
    let refused = async {
        loop {
            if let Err(error) = client.metrics(ReadOptions::default()).await {
                return error;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("nothing more is taken");
    assert_eq!(refused.effect(), Effect::Never, "{refused}");
    engine.open();
    while let Some(put) = putting.join_next().await {
        put.unwrap().unwrap();
    }
    running.await.unwrap().unwrap();

    let (tls, ca) = certificate();
    let (config, clock) = (config(&members[0], &members, &alone()), Arc::new(SystemClock::new()));
    let node = start_with(config, SimulatedDisk::default(), clock, Some(tls)).await.unwrap();
    let client = client_of(&node.api, &ca, 2);
    let first = client.put("k", b"a", None, WriteOptions::default()).await.unwrap();
    client.put("k", b"b", None, WriteOptions::default()).await.unwrap();
    let both = client.get("k", ReadOptions::default()).await.unwrap();
    assert_eq!(both.values.len(), 2);
    let one_left = client.put("k", b"c", Some(&first.context), WriteOptions::default()).await.unwrap();
    assert_ne!(one_left.context, both.context);
    let merged = client.get("k", ReadOptions::default()).await.unwrap();
    client.delete("k", Some(&merged.context), WriteOptions::default()).await.unwrap();
    assert!(client.get("k", ReadOptions::default()).await.unwrap().values.is_empty());
}
