//! The client against scripted servers: what it sends, what it makes of good and bad replies,
//! and whether it knows what may have happened. In memory, on paused time.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_client::{
    Client, ClientError, ClientOptions, Effect, GetStatus, MalformedReply, NodeChoice, ReadOptions, Retry,
    SetupError, WriteOptions,
};
use quorate_env::{BoxFuture, BoxStream, Listener, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// What a scripted server does with one connection, request by request.
#[derive(Clone, Debug)]
enum Act {
    /// Reads one request and writes these bytes.
    Reply(String),
    /// Reads the head of a request, writes these bytes, and reads nothing more.
    ReplyToHead(String),
    /// Reads one request and closes.
    ReadAndClose,
    /// Reads one request and says nothing for ever.
    ReadAndHang,
    /// Closes at once.
    Close,
}

/// One connection's fate.
#[derive(Clone, Debug)]
enum Fate {
    Refused,
    Hangs,
    Accepted(Vec<Act>),
}

/// A network where each connect meets the next fate; it notes addresses and requests.
struct Scripted {
    fates: Mutex<VecDeque<Fate>>,
    requests: Arc<Mutex<Vec<String>>>,
    connects: Mutex<Vec<String>>,
}

impl Scripted {
    fn new(fates: Vec<Fate>) -> Arc<Self> {
        Arc::new(Self {
            fates: Mutex::new(fates.into()),
            requests: Arc::default(),
            connects: Mutex::default(),
        })
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn connects(&self) -> Vec<String> {
        self.connects.lock().unwrap().clone()
    }
}

impl Network for Scripted {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            self.connects.lock().unwrap().push(address.to_owned());
            let fate = self.fates.lock().unwrap().pop_front().expect("more connects than the script has");
            match fate {
                Fate::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
                Fate::Hangs => std::future::pending().await,
                Fate::Accepted(acts) => {
                    let (ours, theirs) = tokio::io::duplex(1 << 20);
                    tokio::spawn(serve(theirs, acts, Arc::clone(&self.requests)));
                    Ok(Box::new(ours) as BoxStream)
                }
            }
        })
    }

    fn bind<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

async fn serve(mut stream: DuplexStream, acts: Vec<Act>, requests: Arc<Mutex<Vec<String>>>) {
    for act in acts {
        if matches!(act, Act::Close) {
            return;
        }
        if let Act::ReplyToHead(bytes) = act {
            let mut head = Vec::new();
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(bytes.as_bytes()).await.unwrap();
            return std::future::pending().await;
        }
        let Some(request) = read_request(&mut stream).await else { return };
        requests.lock().unwrap().push(request);
        match act {
            Act::Reply(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
            Act::ReadAndHang => std::future::pending().await,
            Act::ReadAndClose | Act::Close | Act::ReplyToHead(_) => return,
        }
    }
    // Stays open until the client leaves.
    let _ = stream.read(&mut [0]).await;
}

async fn read_request(stream: &mut DuplexStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("Content-Length: "))
                .map_or(0, |l| l.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return None;
        }
    }
}

fn reply(status: &str, fields: &str, body: &str) -> Act {
    Act::Reply(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len()))
}

fn ok(body: &str) -> Act {
    reply("200 OK", "X-Quorate-Context: c1\r\n", body)
}

fn stored() -> Act {
    Act::Reply("HTTP/1.1 204 No Content\r\nX-Quorate-Context: c2\r\n\r\n".into())
}

fn accepted(acts: impl IntoIterator<Item = Act>) -> Fate {
    Fate::Accepted(acts.into_iter().collect())
}

fn client(net: &Arc<Scripted>, nodes: &[&str], options: ClientOptions) -> Client {
    let nodes = nodes.iter().map(|n| n.parse().unwrap()).collect();
    Client::new(Arc::clone(net) as Arc<dyn Network>, nodes, None, options).unwrap()
}

fn one(fates: Vec<Fate>) -> (Arc<Scripted>, Client) {
    let net = Scripted::new(fates);
    let client = client(&net, &["http://n1:7000"], ClientOptions::default());
    (net, client)
}

async fn put(client: &Client) -> Result<String, ClientError> {
    client.put("k", b"v1", None, WriteOptions::default()).await.map(|reply| reply.context)
}

async fn get(client: &Client) -> Result<quorate_client::GetReply, ClientError> {
    client.get("k", ReadOptions::default()).await
}

/// Against a server of one connection with these acts, what a put fails with.
async fn put_failure(acts: Vec<Act>) -> ClientError {
    put(&one(vec![Fate::Accepted(acts)]).1).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_session_of_operations_uses_one_connection_and_carries_the_context() {
    let siblings = r#"{"values":[{"value":"djE=","content_type":"a/b"},{"value":"djI=","content_type":""}]}"#;
    let (net, client) = one(vec![accepted([
        reply("404 Not Found", "X-Quorate-Context: c0\r\n", r#"{"error":"not-found","message":""}"#),
        stored(),
        ok("v1"),
        reply("300 Multiple Choices", "X-Quorate-Context: c3\r\nETag: \"e\"\r\n", siblings),
        stored(),
        reply("200 OK", "", "raw"),
    ])]);
    let missing = get(&client).await.unwrap();
    assert_eq!(
        (missing.status, missing.values.len(), missing.context.as_str()),
        (GetStatus::NotFound, 0, "c0")
    );
    let written = client.put("k/1", b"v1", Some("c0"), WriteOptions::default()).await.unwrap();
    assert_eq!(written.context, "c2");
    assert_eq!(get(&client).await.unwrap().values[0].bytes, "v1");
    let both = get(&client).await.unwrap();
    let bytes: Vec<_> = both.values.iter().map(|v| v.bytes.as_ref()).collect();
    assert_eq!(bytes, [b"v1", b"v2"]);
    assert_eq!(both.etag.as_deref(), Some("\"e\""));
    client.delete("k", Some("c3"), WriteOptions::default()).await.unwrap();
    assert_eq!(client.get_local("k", ReadOptions::default()).await.unwrap().values[0].bytes, "raw");

    let requests = net.requests();
    assert_eq!(net.connects(), ["n1:7000"], "one connection for all");
    assert!(requests[0].starts_with("GET /kv/k HTTP/1.1\r\nHost: n1:7000\r\nAccept: application/json\r\n"));
    assert!(requests[1].starts_with("PUT /kv/k%2F1 HTTP/1.1\r\n") && requests[1].ends_with("\r\n\r\nv1"));
    assert!(requests[1].contains("\r\nX-Quorate-Context: c0\r\n"));
    assert!(requests[4].starts_with("DELETE /kv/k HTTP/1.1\r\n"));
    assert!(requests[5].starts_with("GET /kv/k?local=1 HTTP/1.1\r\n"));
}

#[tokio::test(start_paused = true)]
async fn connect_refused_and_connect_hanging_certainly_did_not_happen() {
    let (_, client) = one(vec![Fate::Refused, Fate::Hangs]);
    let refused = put(&client).await.unwrap_err();
    assert!(matches!(refused, ClientError::Connect { .. }), "{refused}");
    assert_eq!(refused.effect(), Effect::Never);
    let hanging = put(&client).await.unwrap_err();
    assert!(matches!(hanging, ClientError::Deadline { sent: false, .. }), "{hanging}");
    assert_eq!(hanging.effect(), Effect::Never);
}

#[tokio::test(start_paused = true)]
async fn a_reply_lost_after_send_leaves_the_effect_unknown() {
    let closed = put_failure(vec![Act::ReadAndClose]).await;
    assert!(matches!(closed, ClientError::ConnectionLost { sent: true, .. }), "{closed}");
    assert_eq!(closed.effect(), Effect::Unknown);

    let started = tokio::time::Instant::now();
    let silent = put_failure(vec![Act::ReadAndHang]).await;
    assert!(matches!(silent, ClientError::Deadline { sent: true, .. }), "{silent}");
    assert_eq!(silent.effect(), Effect::Unknown);
    // Time is simulated here: the timer's own rounding is all there may be on top.
    assert!(started.elapsed() >= Duration::from_secs(5) && started.elapsed() <= Duration::from_millis(5_002));

    let half = put_failure(vec![Act::Reply("HTTP/1.1 204 No".into()), Act::ReadAndClose]).await;
    assert_eq!(half.effect(), Effect::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_failed_is_not_used_again() {
    let (net, client) = one(vec![accepted([Act::ReadAndHang]), accepted([ok("v1")])]);
    assert!(put(&client).await.is_err());
    assert_eq!(get(&client).await.unwrap().status, GetStatus::Found);
    assert_eq!(net.connects().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_was_closed_is_noticed_before_anything_is_sent() {
    let (net, client) = one(vec![accepted([stored(), Act::Close]), accepted([stored()])]);
    put(&client).await.unwrap();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    put(&client).await.unwrap();
    assert_eq!(net.connects().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn connection_close_and_old_age_end_a_connection() {
    let bye = reply("200 OK", "X-Quorate-Context: c\r\nConnection: close\r\n", "v");
    let (net, client) = one(vec![accepted([bye]), accepted([ok("v")]), accepted([ok("v")])]);
    get(&client).await.unwrap();
    get(&client).await.unwrap();
    tokio::time::advance(Duration::from_secs(21)).await;
    get(&client).await.unwrap();
    assert_eq!(net.connects().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn malformed_replies_are_errors_of_unknown_effect_that_say_what_is_wrong() {
    for (bytes, says) in [
        ("SSH-2.0-x\r\n\r\n", "not HTTP/1"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "no X-Quorate-Context"),
        ("HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "not one number"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "status 200 is not an answer"),
        ("HTTP/1.1 204 No Content\r\nX-Quorate-Context: c\r\n\r\nmore", "bytes after"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", "longer than"),
    ] {
        let error = put_failure(vec![Act::Reply(bytes.into())]).await;
        assert_eq!(error.effect(), Effect::Unknown, "{bytes:?}");
        assert!(matches!(error, ClientError::Malformed { .. }), "{bytes:?}: {error}");
        assert!(error.to_string().contains(says), "{bytes:?}: {error}");
    }
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000));
    let error = put_failure(vec![Act::Reply(long_head)]).await;
    assert!(
        matches!(error, ClientError::Malformed { source: MalformedReply::HeadTooLarge { .. }, .. }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_stores_errors_come_with_status_code_message_and_effect() {
    let body = r#"{"error":"quorum-not-met","message":"1 of 2","maybe_applied":true}"#;
    let unknown = put_failure(vec![reply("503 Service Unavailable", "Retry-After: 2\r\n", body)]).await;
    assert_eq!(
        (unknown.status(), unknown.kind(), unknown.effect()),
        (Some(503), "quorum-not-met", Effect::Unknown)
    );
    assert!(unknown.to_string().contains("1 of 2"), "{unknown}");
    assert!(matches!(unknown, ClientError::Refused { retry_after: Some(wait), .. } if wait.as_secs() == 2));

    let body = r#"{"error":"too-large","message":"m","maybe_applied":false}"#;
    let never = put_failure(vec![reply("413 Content Too Large", "", body)]).await;
    assert_eq!((never.status(), never.effect()), (Some(413), Effect::Never));

    let html = put_failure(vec![reply("502 Bad Gateway", "", "<html>")]).await;
    assert_eq!((html.status(), html.kind(), html.effect()), (Some(502), "refused", Effect::Unknown));

    let (_, client) = one(vec![accepted([reply("404 Not Found", "", "<html>")])]);
    assert_eq!(
        get(&client).await.unwrap_err().status(),
        Some(404),
        "a 404 without context is not the store's"
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_body_refused_by_its_head_is_a_refusal_and_not_a_deadline() {
    let body = r#"{"error":"too-large","message":"m","maybe_applied":false}"#;
    let Act::Reply(refusal) = reply("413 Content Too Large", "", body) else { unreachable!() };
    let (net, client) = one(vec![accepted([Act::ReplyToHead(refusal)]), accepted([stored()])]);
    let value = vec![b'v'; 8 << 20];
    let error = client.put("k", &value, None, WriteOptions::default()).await.unwrap_err();
    assert_eq!((error.status(), error.effect()), (Some(413), Effect::Never), "{error}");
    put(&client).await.unwrap();
    assert_eq!(net.connects().len(), 2, "half a request is left in the first connection");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_twice_unless_it_certainly_did_not_happen() {
    let retry = Retry::IfNeverHappened { attempts: 2, pause: Duration::from_millis(10) };
    let options = ClientOptions { retry, ..ClientOptions::default() };
    let nodes = ["http://n1:1", "http://n2:2", "http://n3:3"];
    let denied = r#"{"error":"overloaded","message":"","maybe_applied":false}"#;

    let net =
        Scripted::new(vec![Fate::Refused, accepted([reply("503 X", "", denied)]), accepted([stored()])]);
    put(&client(&net, &nodes, options.clone())).await.unwrap();
    assert_eq!(net.connects(), ["n1:1", "n2:2", "n3:3"]);

    let net = Scripted::new(vec![Fate::Refused, accepted([Act::ReadAndClose])]);
    let error = put(&client(&net, &nodes, options.clone())).await.unwrap_err();
    assert_eq!((error.effect(), net.connects().len()), (Effect::Unknown, 2));

    let net = Scripted::new(vec![Fate::Refused, Fate::Refused, Fate::Refused]);
    let error = put(&client(&net, &nodes, options)).await.unwrap_err();
    assert_eq!((error.effect(), net.connects().len()), (Effect::Never, 3));

    let net = Scripted::new(vec![Fate::Refused]);
    assert!(put(&client(&net, &nodes, ClientOptions::default())).await.is_err());
    assert_eq!(net.connects().len(), 1, "no retries unless asked for");
}

#[tokio::test(start_paused = true)]
async fn the_policy_chooses_the_node_and_the_operation_can_overrule_it() {
    let fates = || (0..3).map(|_| accepted([ok("v"), ok("v")])).collect();
    let nodes = ["http://n1:1", "http://n2:2", "http://n3:3"];
    let net = Scripted::new(fates());
    let round = client(&net, &nodes, ClientOptions::default());
    for expected in [0, 1, 2, 0] {
        assert_eq!(get(&round).await.unwrap().node, expected);
    }
    let fixed_options = ClientOptions { node_choice: NodeChoice::Fixed(1), ..ClientOptions::default() };
    let fixed = client(&Scripted::new(fates()), &nodes, fixed_options);
    assert_eq!(get(&fixed).await.unwrap().node, 1);
    assert_eq!(fixed.get("k", ReadOptions { node: Some(2) }).await.unwrap().node, 2);
    let nowhere = fixed.get("k", ReadOptions { node: Some(9) }).await.unwrap_err();
    assert!(matches!(nowhere, ClientError::BadRequest { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_would_break_the_request_is_refused_before_sending() {
    let (net, client) = one(vec![accepted([stored()])]);
    let error = client.put("k", b"v", Some("a\r\nX: y"), WriteOptions::default()).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Never);
    assert!(net.requests().is_empty());
}

#[test]
fn impossible_clients_are_refused() {
    let net: Arc<dyn Network> = Scripted::new(vec![]);
    let make = |nodes: &[&str], options| {
        let nodes = nodes.iter().map(|n| n.parse().unwrap()).collect();
        Client::new(Arc::clone(&net), nodes, None, options).err().unwrap()
    };
    assert!(matches!(make(&[], ClientOptions::default()), SetupError::NoNodes));
    assert!(matches!(make(&["https://n1:1"], ClientOptions::default()), SetupError::NoTrust { .. }));
    let fixed = ClientOptions { node_choice: NodeChoice::Fixed(3), ..ClientOptions::default() };
    assert!(matches!(make(&["http://n1:1"], fixed), SetupError::NoSuchNode { index: 3, nodes: 1 }));
}

#[tokio::test(start_paused = true)]
async fn cluster_metrics_and_readiness_are_fetched() {
    let (_, client) = one(vec![accepted([
        reply("200 OK", "", r#"{"view":1}"#),
        reply("200 OK", "", "a_total 1\n"),
        reply("503 X", "", "{}"),
        reply("200 OK", "", "not json"),
    ])]);
    assert_eq!(client.cluster(ReadOptions::default()).await.unwrap()["view"], 1);
    assert_eq!(client.metrics(ReadOptions::default()).await.unwrap(), "a_total 1\n");
    assert!(!client.is_ready(ReadOptions::default()).await.unwrap());
    assert!(client.cluster(ReadOptions::default()).await.is_err());
}

/// What a node says of who owns what: two partitions of one copy each on two nodes, the keys `a`
/// on the first and `b` on the second, or the other way round.
fn placement(view: &str, swapped: bool) -> Act {
    let owners = if swapped { "AQAAAA==" } else { "AAABAA==" };
    let body = format!(
        r#"{{"view":"{view}","placement":{{"partitions":2,"replicas":1,"owners":"{owners}",
            "nodes":[{{"api":"n1:1"}},{{"api":"n2:2"}}]}}}}"#
    );
    reply("200 OK", "", &body)
}

fn ok_under(view: &str) -> Act {
    reply("200 OK", &format!("X-Quorate-Context: t\r\nX-Quorate-View: {view}\r\n"), "v")
}

fn asks_owners() -> ClientOptions {
    ClientOptions { node_choice: NodeChoice::Owner, ..ClientOptions::default() }
}

async fn get_key(client: &Client, key: &str) -> usize {
    client.get(key, ReadOptions::default()).await.unwrap().node
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_owners_learns_who_they_are_and_adds_those_it_was_not_given() {
    let net = Scripted::new(vec![
        accepted([placement("1-stable", false), ok_under("1-stable"), ok_under("1-stable")]),
        accepted([ok_under("1-stable")]),
    ]);
    let client = client(&net, &["http://n1:1"], asks_owners());
    assert_eq!((get_key(&client, "a").await, get_key(&client, "b").await), (0, 1));
    assert_eq!(get_key(&client, "a").await, 0, "asked once is enough");
    assert_eq!(net.connects(), ["n1:1", "n2:2"]);
    assert_eq!(client.node_url(1).unwrap().to_string(), "http://n2:2");
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_a_newer_view_and_old_age_make_it_ask_again() {
    let net = Scripted::new(vec![
        accepted([
            placement("1-stable", false),
            ok_under("2-copying"),
            ok_under("2-copying"),
            placement("3-stable", false),
            ok_under("3-stable"),
        ]),
        accepted([placement("2-copying", true), ok_under("2-copying"), ok_under("2-copying")]),
    ]);
    let client = client(&net, &["http://n1:1"], asks_owners());
    assert_eq!(get_key(&client, "a").await, 0, "and is told that its view is old");
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(get_key(&client, "a").await, 0, "it asks beside its requests");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(get_key(&client, "a").await, 1, "the owners have changed places");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(get_key(&client, "a").await, 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(get_key(&client, "a").await, 0, "and back, though nobody told");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_answer_is_passed_over_for_a_while() {
    let net = Scripted::new(vec![
        accepted([placement("1-stable", false), ok_under("1-stable"), ok_under("1-stable")]),
        Fate::Refused,
        accepted([ok_under("1-stable")]),
    ]);
    let retry = Retry::IfNeverHappened { attempts: 1, pause: Duration::from_millis(10) };
    let client = client(&net, &["http://n1:1"], ClientOptions { retry, ..asks_owners() });
    assert_eq!(get_key(&client, "b").await, 0, "whoever else is there takes it");
    assert_eq!(net.connects(), ["n1:1", "n2:2"]);
    // Its only owner: there is nobody better to ask first, but it may be back by now.
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(get_key(&client, "b").await, 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_heed_the_store_and_are_not_begun_in_vain() {
    let denied = |seconds: u32| {
        let body = r#"{"error":"overloaded","message":"","maybe_applied":false}"#;
        reply("503 X", &format!("Retry-After: {seconds}\r\n"), body)
    };
    let retry = Retry::IfNeverHappened { attempts: 9, pause: Duration::from_millis(100) };
    let options = ClientOptions { retry, jitter_seed: 1, ..ClientOptions::default() };
    let took = |acts: Vec<Act>, options| async move {
        let began = tokio::time::Instant::now();
        let net = Scripted::new(vec![accepted(acts)]);
        let result = put(&client(&net, &["http://n1:1"], options)).await;
        (result, began.elapsed())
    };
    let (result, three) = took(vec![denied(0), denied(0), denied(0), stored()], options.clone()).await;
    result.unwrap();
    // 100, 200 and 400 ms, each give or take a half.
    assert!(three >= Duration::from_millis(350) && three < Duration::from_millis(1050), "{three:?}");
    let other = ClientOptions { jitter_seed: 2, ..options.clone() };
    let (_, others) = took(vec![denied(0), denied(0), denied(0), stored()], other).await;
    assert_ne!(three, others, "two clients do not come back together");

    let (result, waited) = took(vec![denied(2), stored()], options.clone()).await;
    result.unwrap();
    assert_eq!(waited, Duration::from_secs(2), "as long as the store asks for");
    let (result, waited) = took(vec![denied(60)], options).await;
    assert_eq!(result.unwrap_err().status(), Some(503));
    assert_eq!(waited, Duration::ZERO, "its deadline is nearer than that");
}

#[tokio::test(start_paused = true)]
async fn nodes_are_told_how_long_the_client_waits() {
    let (net, client) = one(vec![accepted([ok("v")])]);
    get(&client).await.unwrap();
    assert!(net.requests()[0].contains("X-Quorate-Deadline-Ms: 5000\r\n"), "{}", net.requests()[0]);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_request_on_a_connection_moves_no_deadline_of_a_later_one() {
    let found = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Quorate-Context: c\r\n\r\n".to_owned();
    let deadline = Duration::from_millis(100);
    for by_another_task in [false, true] {
        for pause_ms in [60, 100, 160] {
            let acts = vec![Act::Reply(found.clone()), Act::ReadAndHang];
            let net = Scripted::new(vec![Fate::Accepted(acts)]);
            let options = ClientOptions { deadline, ..ClientOptions::default() };
            let url = "http://n1:7000".parse().unwrap();
            let client = Client::new(net, vec![url], None, options).unwrap();
            client.get("k", ReadOptions::default()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let begun = tokio::time::Instant::now();
            let get = async move { client.get("k", ReadOptions::default()).await.unwrap_err() };
            let error = if by_another_task { tokio::spawn(get).await.unwrap() } else { get.await };
            assert!(error.is_deadline(), "{error}");
            let waited = begun.elapsed();
            assert!(waited >= deadline && waited < deadline + Duration::from_millis(3), "{waited:?}");
        }
    }
}
