//! Whole nodes over loopback sockets, asked in plain HTTP.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod archive;
mod certificates;
mod documented;
mod full_disk;
mod gossip;
mod http2;
mod lost_disk;
mod old_disk;
mod members;
mod overload;
mod registers;
mod repair;
mod routing;
mod stop;
mod strangers;
mod tombstones;
mod upgrade;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use quorate_env::disk::SimulatedDisk;
use quorate_env::{Clock, Env, Random, SystemClock, TokioNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Node, NodeHandle, NodeParts, StartError};
use crate::config::{Administration, Config, Member, NodeSection, StoreDefinition};
use crate::coordinator::Coordinator;
use crate::tls::Certificates;

struct Running {
    handle: NodeHandle,
    coordinator: Arc<Coordinator>,
    api: String,
    task: JoinHandle<std::io::Result<()>>,
    disk: SimulatedDisk,
}

/// An address that no other test of this process is given, below the ports that the system hands
/// to outgoing connections, one of which could otherwise take it before the node does.
fn free_address() -> String {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(61).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.0.0.1:{}", 10_240 + number % 22_000);
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

fn members(count: usize) -> Vec<Member> {
    let member = |i| Member {
        id: format!("n{i}").parse().unwrap(),
        peer: free_address(),
        api: free_address(),
        capacity: 1,
        zone: String::new(),
    };
    (1..=count).map(member).collect()
}

fn config(member: &Member, members: &[Member], store: &StoreDefinition) -> Config {
    let node = NodeSection {
        id: member.id,
        listen: member.api.clone(),
        peer_listen: member.peer.clone(),
        data_dir: String::new(),
        capacity: member.capacity,
        zone: member.zone.clone(),
        seeds: Vec::new(),
        token_key_file: None,
        administration: Administration::Open,
        admin_token_file: None,
        protocol_max: None,
        threads: None,
    };
    Config::new(node, None, store.clone(), members.to_vec()).unwrap()
}

fn parts(
    config: Config,
    disk: &SimulatedDisk,
    clock: Arc<dyn Clock>,
    tls: Option<Arc<Certificates>>,
) -> NodeParts {
    // No two starts draw the same, as with processes: a node that lost its disk draws a new one.
    static STARTS: AtomicU64 = AtomicU64::new(0);
    let random = Random::from_seed(STARTS.fetch_add(1, Ordering::Relaxed));
    let env = Env { net: Arc::new(TokioNetwork), clock, random, disk: disk.mount() };
    NodeParts { config, env, engine: None, tls }
}

async fn start(config: Config, disk: SimulatedDisk) -> Result<Running, StartError> {
    start_with(config, disk, Arc::new(SystemClock::new()), None).await
}

async fn start_with(
    config: Config,
    disk: SimulatedDisk,
    clock: Arc<dyn Clock>,
    tls: Option<Arc<Certificates>>,
) -> Result<Running, StartError> {
    let node = Node::start(parts(config, &disk, clock, tls)).await?;
    Ok(run(node, disk))
}

fn run(node: Node, disk: SimulatedDisk) -> Running {
    let (handle, api) = (node.handle(), node.api_address().to_owned());
    let coordinator = Arc::clone(&node.api.coordinator);
    Running { handle, coordinator, api, task: tokio::spawn(node.run()), disk }
}

async fn cluster(count: usize, store: &StoreDefinition) -> (Vec<Running>, Vec<Member>) {
    let members = members(count);
    let mut nodes = Vec::new();
    for member in &members {
        nodes.push(start(config(member, &members, store), SimulatedDisk::default()).await.unwrap());
    }
    for node in &nodes {
        ready(&node.api).await;
    }
    (nodes, members)
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn metric(api: &str, name: &str) -> u64 {
    let text = String::from_utf8(ask(api, "GET", "/metrics", &[], b"").await.body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("there is no {name}"))
}

/// Asks until a metric is at least `least`.
async fn reaches(api: &str, name: &str, least: u64) {
    let waiting = async { while metric(api, name).await < least {} };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{name} does not reach {least}"));
}

/// Asks until a metric is at most `most`.
async fn falls(api: &str, name: &str, most: u64) {
    let waiting = async { while metric(api, name).await > most {} };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{name} stays above {most}"));
}

/// Asks until the node is ready: at first it waits for the others to say that the store is new.
async fn ready(api: &str) {
    let asking = async { while ask(api, "GET", "/readyz", &[], b"").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("the node becomes ready");
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn context(&self) -> String {
        let line =
            self.head.lines().find(|l| l.to_ascii_lowercase().starts_with("x-quorate-context:")).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn ask(api: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(api).await.unwrap();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..at].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    let body = answer[at + 4..].to_vec();
    let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    crate::api::openapi::check(method, path, status, content_type, &body);
    Reply { status, head, body }
}

async fn put(api: &str, key: &str, context: Option<&str>, value: &str) -> Reply {
    let headers: Vec<(&str, &str)> = context.map(|token| ("x-quorate-context", token)).into_iter().collect();
    ask(api, "PUT", &format!("/kv/{key}"), &headers, value.as_bytes()).await
}

async fn get(api: &str, key: &str) -> Reply {
    ask(api, "GET", &format!("/kv/{key}"), &[("accept", "application/json")], b"").await
}

#[tokio::test]
async fn siblings_are_kept_merged_and_deleted_through_any_node() {
    let (nodes, _) = cluster(3, &StoreDefinition::default()).await;
    let missing = get(&nodes[0].api, "cart").await;
    assert_eq!(missing.status, 404);
    assert_eq!(put(&nodes[0].api, "cart", None, "a").await.status, 204);
    assert_eq!(put(&nodes[1].api, "cart", Some(&missing.context()), "b").await.status, 204);
    let both = get(&nodes[2].api, "cart").await;
    assert_eq!(both.status, 300);
    assert_eq!(both.json()["values"].as_array().unwrap().len(), 2);
    let multipart = ask(&nodes[2].api, "GET", "/kv/cart", &[], b"").await;
    assert!(multipart.head.contains("multipart/mixed"));
    assert_eq!(put(&nodes[2].api, "cart", Some(&both.context()), "a+b").await.status, 204);
    let merged = get(&nodes[0].api, "cart").await;
    assert_eq!((merged.status, merged.body.as_slice()), (200, b"a+b".as_slice()));
    let bare = ask(&nodes[0].api, "DELETE", "/kv/cart", &[], b"").await;
    assert_eq!((bare.status, bare.json()["error"].as_str()), (428, Some("context_required")));
    let token = merged.context();
    let deleted = ask(&nodes[1].api, "DELETE", "/kv/cart", &[("x-quorate-context", &token)], b"").await;
    assert_eq!(deleted.status, 204);
    assert_eq!(get(&nodes[2].api, "cart").await.status, 404);
}

#[tokio::test]
async fn the_last_write_wins_where_the_store_says_so() {
    let store = StoreDefinition::profile("lww").unwrap();
    let (nodes, _) = cluster(3, &store).await;
    for (node, value) in nodes.iter().zip(["a", "b", "c"]) {
        assert_eq!(put(&node.api, "k", None, value).await.status, 204);
    }
    let last = get(&nodes[0].api, "k").await;
    assert_eq!((last.status, last.body.as_slice()), (200, b"c".as_slice()));
    assert_eq!(ask(&nodes[0].api, "DELETE", "/kv/k", &[], b"").await.status, 204);
    assert_eq!(get(&nodes[1].api, "k").await.status, 404);
}

#[tokio::test]
async fn bad_requests_are_refused_by_name_and_change_nothing() {
    let store = StoreDefinition {
        value_bytes_max: 8,
        key_bytes_max: 4,
        sibling_limit: 2,
        ..StoreDefinition::default()
    };
    let (nodes, _) = cluster(3, &store).await;
    let api = &nodes[0].api;
    let refused = |reply: Reply| {
        (
            reply.status,
            reply.json()["error"].as_str().unwrap().to_owned(),
            reply.json()["maybe_applied"].as_bool(),
        )
    };
    let expect = |status: u16, code: &str| (status, code.to_owned(), Some(false));
    assert_eq!(refused(put(api, "k", None, "123456789").await), expect(413, "value_too_large"));
    assert_eq!(refused(put(api, "kkkkk", None, "v").await), expect(400, "bad_key"));
    assert_eq!(refused(put(api, "", None, "v").await), expect(400, "bad_key"));
    assert_eq!(refused(put(api, "k", Some("garbage!"), "v").await), expect(400, "bad_context"));
    let of_another_key = get(api, "j").await.context();
    assert_eq!(refused(put(api, "k", Some(&of_another_key), "v").await), expect(400, "bad_context"));
    assert_eq!(refused(ask(api, "POST", "/kv/k", &[], b"").await), expect(405, "method_not_allowed"));
    assert_eq!(refused(ask(api, "GET", "/nothing", &[], b"").await), expect(404, "no_such_path"));
    assert_eq!(refused(ask(api, "GET", "/kv/k?r=7", &[], b"").await), expect(400, "bad_query"));
    assert_eq!(
        refused(ask(api, "PUT", "/kv/k", &[("if-none-match", "*")], b"v").await),
        expect(400, "not_linearizable")
    );
    assert_eq!(get(api, "k").await.status, 404);
    assert_eq!(put(api, "k", None, "a").await.status, 204);
    assert_eq!(put(api, "k", None, "b").await.status, 204);
    assert_eq!(refused(put(api, "k", None, "c").await), expect(409, "sibling_limit"));
    let token = get(api, "k").await.context();
    assert_eq!(put(api, "k", Some(&token), "ab").await.status, 204);
}

#[tokio::test]
async fn a_write_for_an_absent_owner_waits_on_a_fallback_and_reaches_it_on_return() {
    let (mut nodes, members) = cluster(
        4,
        &StoreDefinition { anti_entropy: crate::config::AntiEntropy::Off, ..StoreDefinition::default() },
    )
    .await;
    let gone = nodes.remove(0);
    gone.handle.shut_down();
    gone.task.await.unwrap().unwrap();
    let keys: Vec<String> = (0..20).map(|i| format!("k{i}")).collect();
    for key in &keys {
        assert_eq!(put(&nodes[0].api, key, None, "v").await.status, 204, "{key}");
        assert_eq!(get(&nodes[1].api, key).await.status, 200, "{key}");
    }
    let store =
        StoreDefinition { anti_entropy: crate::config::AntiEntropy::Off, ..StoreDefinition::default() };
    let back = start(config(&members[0], &members, &store), gone.disk).await.unwrap();
    let pending = async {
        loop {
            let mut hints = 0;
            for node in &nodes {
                let metrics =
                    String::from_utf8(ask(&node.api, "GET", "/metrics", &[], b"").await.body).unwrap();
                let line = metrics.lines().find(|l| l.starts_with("quorate_hints_pending")).unwrap();
                hints += line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
            }
            if hints == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), pending).await.expect("hints are delivered");
    let mut asked = 0;
    for node in &nodes {
        asked += metric(&node.api, "quorate_background_bytes_total").await;
    }
    assert!(asked > 0, "delivering hints is work that yields to requests");
    let mut owned = 0;
    for key in &keys {
        let local = ask(&back.api, "GET", &format!("/kv/{key}?local=1"), &[], b"").await;
        if local.head.contains("x-quorate-owner: true") {
            owned += 1;
            assert_eq!(local.status, 200, "{key}");
        }
    }
    assert!(owned > 0, "the node owns some of the keys");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let members = members(3);
    let taken = std::net::TcpListener::bind(&members[0].api).unwrap();
    let config = config(&members[0], &members, &StoreDefinition::default());
    let error = start(config, SimulatedDisk::default()).await.err().unwrap().to_string();
    assert!(
        error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("another process"),
        "{error}"
    );
}
