//! What does not belong here: other protocols on the TLS port, and clocks that are hours apart.

use quorate_client::{Client, ClientOptions, ReadOptions, TlsTrust, WriteOptions};

use super::overload::{Slow, alone};
use super::*;
use crate::testing::TestAuthority;

/// A certificate for this machine, and what clients trust it by.
pub(super) fn certificate() -> (Arc<Certificates>, String) {
    let (dir, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    let section = authority.write(dir.path(), 2100);
    let certificates = Certificates::open(&section, Arc::new(SystemClock::new())).unwrap();
    (Arc::new(certificates), authority.pem().to_owned())
}

#[tokio::test]
async fn garbage_and_silence_on_the_tls_port_are_counted_and_disturb_nobody() {
    let members = members(1);
    let mut config = config(&members[0], &members, &alone());
    config.timing.head = Duration::from_millis(500);
    let clock = Arc::new(SystemClock::new());
    let (tls, ca) = certificate();
    let node = start_with(config, SimulatedDisk::default(), clock.clone(), Some(tls)).await.unwrap();

    let mut silent = Slow::connect(&node).await;
    let mut plain = Slow::connect(&node).await;
    plain.say("GET /kv/k HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut alert = Vec::new();
    // Bytes that the node did not read make it a reset instead of an end.
    let _ = tokio::time::timeout(PATIENCE, plain.0.read_to_end(&mut alert)).await.expect("it hangs up");
    assert!(!alert.starts_with(b"HTTP"), "nothing is answered in the clear");
    assert_eq!(silent.hear_all().await, "");

    let trust = TlsTrust::from_ca_pem(ca.as_bytes(), "test", clock).unwrap();
    let url = format!("https://{}", node.api).parse().unwrap();
    let client =
        Client::new(Arc::new(TokioNetwork), vec![url], Some(trust), ClientOptions::default()).unwrap();
    client.put("k", b"v", None, WriteOptions::default()).await.unwrap();
    let text = client.metrics(ReadOptions::default()).await.unwrap();
    for counted in ["quorate_handshakes_failed_total 1", "quorate_clients_timed_out_total 1"] {
        assert!(text.lines().any(|line| line == counted), "{counted}");
    }
}

/// A clock that is hours ahead.
struct Ahead(SystemClock);

impl Clock for Ahead {
    fn wall_ns(&self) -> u64 {
        self.0.wall_ns() + 2 * 3600 * 1_000_000_000
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }
}

/// Three nodes; the clock of the first is hours ahead.
async fn with_one_clock_ahead(profile: &str) -> Vec<Running> {
    let store = StoreDefinition::profile(profile).unwrap();
    let members = members(3);
    let mut nodes = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let clock: Arc<dyn Clock> =
            if at == 0 { Arc::new(Ahead(SystemClock::new())) } else { Arc::new(SystemClock::new()) };
        let config = config(member, &members, &store);
        nodes.push(start_with(config, SimulatedDisk::default(), clock, None).await.unwrap());
    }
    for node in &nodes {
        ready(&node.api).await;
    }
    nodes
}

#[tokio::test]
async fn a_clock_that_is_hours_ahead_is_refused_where_the_last_write_wins_and_nowhere_else() {
    let nodes = with_one_clock_ahead("lww").await;
    let refused = put(&nodes[0].api, "k", None, "from the future").await;
    let says = refused.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(refused.status, 503, "{says}");
    assert!(says.contains("correct the clocks"), "{says}");
    let mut counted = 0;
    for node in &nodes[1..] {
        counted += metric(&node.api, "quorate_clock_skew_refused_total").await;
    }
    assert!(counted >= 1, "somebody refused it");
    for node in &nodes[1..] {
        assert_eq!(put(&node.api, "j", None, "now").await.status, 204);
        let found = get(&node.api, "j").await;
        assert_eq!((found.status, found.body.as_slice()), (200, b"now".as_slice()));
    }

    let nodes = with_one_clock_ahead("dynamo").await;
    assert_eq!(put(&nodes[0].api, "k", None, "v").await.status, 204, "no clock decides here");
    assert_eq!(get(&nodes[1].api, "k").await.status, 200);
}
