//! More than a node takes: refused at once, and nothing of it stored.

use super::*;
use crate::config::Limits;

/// One node that is a cluster by itself.
pub(super) fn alone() -> StoreDefinition {
    StoreDefinition { replicas: 1, read_quorum: 1, write_quorum: 1, ..StoreDefinition::default() }
}

pub(super) async fn one(change: impl FnOnce(&mut Config)) -> Running {
    let members = members(1);
    let mut config = config(&members[0], &members, &alone());
    change(&mut config);
    start(config, SimulatedDisk::default()).await.unwrap()
}

/// A client that says one thing at a time.
pub(super) struct Slow(pub(super) TcpStream);

impl Slow {
    pub(super) async fn connect(node: &Running) -> Self {
        Self(TcpStream::connect(&node.api).await.unwrap())
    }

    pub(super) async fn say(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// The head of the next answer, without its body.
    async fn hear(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// All that comes until the node hangs up.
    pub(super) async fn hear_all(&mut self) -> String {
        let mut all = Vec::new();
        let hearing = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut all));
        // Bytes that the node did not read make it a reset instead of an end.
        let _ = hearing.await.expect("the node hangs up");
        String::from_utf8(all).unwrap()
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to pass");
}

#[track_caller]
fn is_overloaded(reply: &Reply) {
    assert_eq!((reply.status, reply.json()["error"].as_str()), (503, Some("overloaded")), "{}", reply.head);
    assert_eq!(reply.json()["maybe_applied"].as_bool(), Some(false));
    assert!(reply.head.contains("retry-after: "), "{}", reply.head);
}

#[tokio::test]
async fn one_request_too_many_is_refused_at_once_and_stores_nothing() {
    let node = one(|config| config.limits = Limits { requests_max: 1, ..Limits::default() }).await;
    let mut slow = Slow::connect(&node).await;
    slow.say("PUT /kv/slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n").await;
    reaches(&node.api, "quorate_requests_in_hand", 1).await;
    is_overloaded(&put(&node.api, "k", None, "v").await);
    is_overloaded(&get(&node.api, "k").await);
    assert_eq!(metric(&node.api, "quorate_requests_overloaded_total").await, 2);
    slow.say("v1").await;
    assert!(slow.hear_all().await.starts_with("HTTP/1.1 204"));
    falls(&node.api, "quorate_requests_in_hand", 0).await;
    assert_eq!(get(&node.api, "k").await.status, 404);
    falls(&node.api, "quorate_requests_in_hand", 0).await;
    assert_eq!(put(&node.api, "k", None, "v").await.status, 204, "there is room again");
}

#[tokio::test]
async fn bodies_that_do_not_fit_together_are_refused_unread() {
    let node = one(|config| config.limits = Limits { request_bytes_max: 10, ..Limits::default() }).await;
    let mut slow = Slow::connect(&node).await;
    slow.say("PUT /kv/slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 8\r\n\r\n").await;
    reaches(&node.api, "quorate_requests_in_hand", 1).await;
    is_overloaded(&put(&node.api, "k", None, "12345").await);
    assert_eq!(put(&node.api, "k", None, "12").await.status, 204);
    slow.say("12345678").await;
    assert!(slow.hear_all().await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn a_client_beyond_the_bound_is_told_so_and_hung_up_on() {
    let node = one(|config| config.limits = Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = Slow::connect(&node).await;
    first.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(first.hear().await.starts_with("HTTP/1.1 200"));
    is_overloaded(&put(&node.api, "k", None, "v").await);
    drop(first);
    // The node learns of it when it gets to it.
    let again = async { while get(&node.api, "k").await.status == 503 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
    let missing = async {
        loop {
            let reply = get(&node.api, "k").await;
            if reply.status != 503 {
                return reply.status;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, missing).await.unwrap(), 404, "nothing was stored");
}

#[tokio::test]
async fn what_its_client_gave_up_is_not_done() {
    let node = one(|_| ()).await;
    let late = ask(&node.api, "PUT", "/kv/k", &[("x-quorate-deadline-ms", "0")], b"").await;
    assert_eq!((late.status, late.json()["maybe_applied"].as_bool()), (504, Some(false)));
    let late = ask(&node.api, "GET", "/kv/k", &[("x-quorate-deadline-ms", "0")], b"").await;
    assert_eq!((late.status, late.json()["error"].as_str()), (504, Some("deadline")));
    assert_eq!(metric(&node.api, "quorate_requests_expired_total").await, 2);
    let bad = ask(&node.api, "GET", "/kv/k", &[("x-quorate-deadline-ms", "soon")], b"").await;
    assert_eq!((bad.status, bad.json()["error"].as_str()), (400, Some("bad_deadline")));
    assert_eq!(get(&node.api, "k").await.status, 404);
}

#[tokio::test]
async fn a_short_deadline_is_kept_though_the_owners_are_silent() {
    let store = StoreDefinition::profile("quorum").unwrap();
    let members = members(3);
    let mut config = config(&members[0], &members, &store);
    (config.timing.request, config.timing.connect) = (2 * PATIENCE, 2 * PATIENCE);
    let node = start(config, SimulatedDisk::default()).await.unwrap();
    // Connected, and never an answer.
    let silent: Vec<_> = members[1..].iter().map(|m| std::net::TcpListener::bind(&m.peer).unwrap()).collect();
    // A machine may be so slow that nothing can be begun in time: then more time is given.
    for patience in (0..).map(|doubled| Duration::from_millis(50) * 2_u32.pow(doubled)) {
        let milliseconds = patience.as_millis().to_string();
        let late = ask(&node.api, "PUT", "/kv/k", &[("x-quorate-deadline-ms", &milliseconds)], b"v").await;
        assert_eq!(late.status, 504, "{}", String::from_utf8_lossy(&late.body));
        let says = late.json()["message"].as_str().unwrap().to_owned();
        assert!(says.contains(&format!("{patience:?}")), "the client's own deadline: {says}");
        let own = ask(&node.api, "GET", "/kv/k?local=1", &[], b"").await;
        if late.json()["maybe_applied"].as_bool() == Some(true) && own.status == 200 {
            assert_eq!(own.body, b"v", "the node asked holds it");
            break;
        }
        assert_eq!(own.status, 404, "what was certainly not applied is not there");
        assert!(patience < PATIENCE, "the node asked never holds it");
    }
    drop(silent);
}

#[tokio::test]
async fn clients_that_dawdle_are_hung_up_on_and_counted() {
    // Nothing else is asked of this one, which may be too slow to be heard in so short a time.
    let node = one(|config| config.timing.head = Duration::from_millis(100)).await;
    assert_eq!(Slow::connect(&node).await.hear_all().await, "");
    let mut head = Slow::connect(&node).await;
    head.say("GET /kv/k HTTP/1.1\r\nhost: ").await;
    head.hear_all().await;
    until(|| node.coordinator.metrics.clients_timed_out.get() == 2).await;
    let node = one(|_| ()).await;
    let mut body = Slow::connect(&node).await;
    body.say("PUT /kv/k HTTP/1.1\r\nhost: x\r\nx-quorate-deadline-ms: 50\r\ncontent-length: 9\r\n\r\n1234")
        .await;
    assert!(body.hear_all().await.starts_with("HTTP/1.1 408"));
    assert_eq!(node.coordinator.metrics.clients_timed_out.get(), 1);
    assert_eq!(get(&node.api, "k").await.status, 404, "half a value is none");
}

#[tokio::test]
async fn who_does_not_take_the_answer_is_hung_up_on() {
    let node = one(|config| config.timing.answer = Duration::from_millis(50)).await;
    let large = "v".repeat(1 << 20);
    assert_eq!(put(&node.api, "k", None, &large).await.status, 204);
    let mut deaf = Slow::connect(&node).await;
    // More than any socket buffers hold.
    for _ in 0..64 {
        deaf.say("GET /kv/k HTTP/1.1\r\nhost: x\r\n\r\n").await;
    }
    reaches(&node.api, "quorate_clients_timed_out_total", 1).await;
}

#[tokio::test]
async fn giants_are_refused_before_they_are_read() {
    let node = one(|_| ()).await;
    // Of the body not one byte is sent: the answer cannot have waited for it.
    let mut body = Slow::connect(&node).await;
    body.say("PUT /kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n").await;
    assert!(body.hear().await.starts_with("HTTP/1.1 413"));
    let endless = ask(&node.api, "GET", &format!("/kv/{}", "k".repeat(1025)), &[], b"").await;
    assert_eq!((endless.status, endless.json()["error"].as_str()), (400, Some("bad_key")));
    let mut head = Slow::connect(&node).await;
    head.say(&format!("GET /kv/k HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(100 << 10))).await;
    assert!(head.hear_all().await.starts_with("HTTP/1.1 431"));
    let mut garbage = Slow::connect(&node).await;
    garbage.say("\u{16}\u{3}\u{1}\u{2}\r\n\r\n").await;
    garbage.hear_all().await;
    reaches(&node.api, "quorate_requests_malformed_total", 2).await;
    assert_eq!(get(&node.api, "k").await.status, 404);
}
