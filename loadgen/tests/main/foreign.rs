//! Redis and etcd as targets: the real servers where they are installed, and peers that behave badly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_env::TokioNetwork;
use quorate_loadgen::target::{Endpoint, EtcdOptions, Observed};
use quorate_loadgen::{Call, CallKind, Completion, EtcdTarget, Outcome, RedisTarget, Target, ValueId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::servers::Server;

/// Ample for servers that answer, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// For peers that never do.
const IMPATIENT: Duration = Duration::from_millis(300);

fn endpoint(port: u16) -> Endpoint {
    Endpoint { host: "127.0.0.1".into(), port }
}

fn redis(port: u16, deadline: Duration) -> RedisTarget {
    RedisTarget::new(Arc::new(TokioNetwork), endpoint(port), deadline)
}

fn etcd(ports: &[u16], deadline: Duration) -> EtcdTarget {
    let endpoints = ports.iter().copied().map(endpoint).collect();
    let options = EtcdOptions { endpoints, trust: None, serializable: false, deadline };
    EtcdTarget::new(Arc::new(TokioNetwork), options).unwrap()
}

async fn call(target: &dyn Target, kind: CallKind, sequence: u64) -> Completion {
    let value = ValueId { process: 1, sequence };
    let mut bytes = Vec::new();
    value.encode(3000, &mut bytes);
    target.call(Call { kind, key: 7, key_name: "key7", value, bytes: &bytes, observe: true }).await
}

/// Makes a call that must go well, and returns what it saw.
async fn good(target: &dyn Target, kind: CallKind, sequence: u64) -> Observed {
    let completion = call(target, kind, sequence).await;
    assert_eq!((completion.outcome, &completion.error), (Outcome::Ok, &None), "{completion:?}");
    *completion.observed.unwrap()
}

/// A key that is written, read, overwritten and removed.
async fn a_life_of_a_key(target: &dyn Target) -> Vec<Option<String>> {
    let mut versions = Vec::new();
    assert!(good(target, CallKind::Get, 0).await.values.is_empty(), "nobody has written it yet");
    for sequence in 1..=2 {
        versions.push(good(target, CallKind::Put, sequence).await.version);
        let read = good(target, CallKind::Get, 0).await;
        assert_eq!((read.values, read.via), (vec![format!("v1-{sequence}")], Some(0)));
        versions.push(read.version);
    }
    versions.push(good(target, CallKind::Delete, 3).await.version);
    assert!(good(target, CallKind::Get, 0).await.values.is_empty(), "it is gone");
    versions
}

#[tokio::test]
async fn redis_keeps_what_it_is_given() {
    let Some(server) = Server::redis() else { return };
    let target = redis(server.port, DEADLINE);
    target.open(4).await.unwrap();
    a_life_of_a_key(&target).await;
    let version = target.version().await.unwrap();
    assert!(version.starts_with(['R', 'V']) && version.ends_with(|c: char| c.is_ascii_digit()), "{version}");
}

#[tokio::test]
async fn what_redis_refuses_did_not_happen_and_a_dead_server_is_one() {
    let Some(server) = Server::redis() else { return };
    let target = redis(server.port, DEADLINE);
    target.open(2).await.unwrap();
    good(&target, CallKind::Put, 1).await;
    let mut admin = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    admin.write_all(b"CONFIG SET maxmemory 1\r\n").await.unwrap();
    assert_eq!(admin.read(&mut [0; 100]).await.unwrap(), "+OK\r\n".len());
    let refused = call(&target, CallKind::Put, 2).await;
    assert_eq!((refused.outcome, refused.timed_out), (Outcome::Fail, false));
    assert_eq!(refused.error.unwrap().kind, "oom");
    assert_eq!(good(&target, CallKind::Get, 0).await.values, ["v1-1"], "the connection is still good");
    let port = server.port;
    drop(server);
    // What a kill does to open connections may be seen before the next call is sent, or only after.
    let mut last = call(&target, CallKind::Put, 3).await;
    for sequence in 4..8 {
        assert_ne!(last.outcome, Outcome::Ok);
        last = call(&target, CallKind::Put, sequence).await;
    }
    let error = last.error.unwrap();
    assert_eq!((last.outcome, error.kind.as_str()), (Outcome::Fail, "connect"));
    assert!(error.message.contains(&port.to_string()), "{}", error.message);
}

#[tokio::test]
async fn etcd_keeps_what_it_is_given_and_names_its_revisions() {
    let Some(server) = Server::etcd(None) else { return };
    let target = etcd(&[server.port], DEADLINE);
    target.open(4).await.unwrap();
    let versions = a_life_of_a_key(&target).await;
    assert_eq!(versions[0], versions[1], "a read names the revision of the write it saw");
    assert!(versions.iter().all(Option::is_some) && versions[0] != versions[2], "{versions:?}");
    let version = target.version().await.unwrap();
    assert!(version.starts_with("etcd 3."), "{version}");
}

#[tokio::test]
async fn a_member_that_is_away_costs_its_own_calls_only() {
    let Some(server) = Server::etcd(None) else { return };
    let dead = Peer::start(Manner::Closes).await;
    let both = etcd(&[server.port, dead.port], DEADLINE);
    let message = both.open(4).await.unwrap_err();
    assert!(message.contains(&dead.port.to_string()), "{message}");
    let (mut ok, mut fail) = (0, 0);
    for sequence in 0..10 {
        match call(&both, CallKind::Get, sequence).await.outcome {
            Outcome::Ok => ok += 1,
            Outcome::Fail => fail += 1,
            Outcome::Info => panic!("a get has no effect to doubt"),
        }
    }
    assert!(ok >= 5 && fail <= 5, "connections to the dead one are given up: {ok} {fail}");
}

/// How a peer behaves that is no store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Says something else.
    Garbage,
    /// Says something in another protocol at length.
    OtherProtocol,
    /// Closes as soon as it was asked.
    Closes,
    /// Begins an answer and closes.
    ClosesMidway,
    /// Never says anything.
    Silent,
}

/// A listener on loopback.
struct Peer {
    port: u16,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let answer: &[u8] = match manner {
                    Manner::Garbage => b"\x00\xffwhat?\r\n\r\n\x00 is this, is it you, and is this all of it",
                    Manner::OtherProtocol => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                    Manner::ClosesMidway => b"$3000\r\nv1-1|ABC",
                    Manner::Closes => b"",
                    Manner::Silent => {
                        silent.push(stream);
                        continue;
                    }
                };
                // Something has to be asked first, or the question itself would fail.
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            }
        });
        Self { port, connections, task }
    }
}

#[tokio::test]
async fn who_does_not_answer_as_the_store_is_refused_by_name() {
    for manner in
        [Manner::Garbage, Manner::OtherProtocol, Manner::Closes, Manner::ClosesMidway, Manner::Silent]
    {
        let peer = Peer::start(manner).await;
        let messages = [
            redis(peer.port, IMPATIENT).open(2).await.unwrap_err(),
            etcd(&[peer.port], IMPATIENT).open(2).await.unwrap_err(),
        ];
        let expected = match manner {
            Manner::Garbage | Manner::OtherProtocol => ["does not speak Redis", "does not speak HTTP/2"],
            Manner::Closes => ["connection lost", "connection lost"],
            Manner::ClosesMidway => ["connection lost", "does not speak HTTP/2"],
            Manner::Silent => ["does not answer within 300 ms"; 2],
        };
        for ((message, expected), scheme) in messages.iter().zip(expected).zip(["redis", "etcd"]) {
            let name = format!("{scheme}://127.0.0.1:{}", peer.port);
            assert!(message.contains(expected) && message.contains(&name), "{manner:?}: {message}");
        }
    }
    // Who does not say what it is must not hold up who measures it.
    let silent = Peer::start(Manner::Silent).await;
    assert_eq!(redis(silent.port, IMPATIENT).version().await, None);
    assert_eq!(etcd(&[silent.port], IMPATIENT).version().await, None);
    let message = redis(1, IMPATIENT).open(1).await.unwrap_err();
    assert!(message.contains("redis://127.0.0.1:1: cannot connect"), "{message}");
}

#[tokio::test]
async fn a_write_without_an_answer_may_have_happened_and_its_connection_is_given_up() {
    for manner in [Manner::Garbage, Manner::Closes, Manner::ClosesMidway, Manner::Silent] {
        let peer = Peer::start(manner).await;
        let targets: [Box<dyn Target>; 2] =
            [Box::new(redis(peer.port, IMPATIENT)), Box::new(etcd(&[peer.port], IMPATIENT))];
        for (number, target) in targets.iter().enumerate() {
            for (kind, outcome) in [
                (CallKind::Get, Outcome::Fail),
                (CallKind::Put, Outcome::Info),
                (CallKind::Delete, Outcome::Info),
            ] {
                let completion = call(&**target, kind, 1).await;
                let why = format!("{manner:?} {number} {completion:?}");
                assert_eq!(
                    (completion.outcome, completion.timed_out),
                    (outcome, manner == Manner::Silent),
                    "{why}"
                );
                assert_eq!(completion.observed.unwrap().via, Some(0));
            }
            assert_eq!(peer.connections.load(Ordering::SeqCst), 3 * (number + 1), "{manner:?}");
        }
    }
}
