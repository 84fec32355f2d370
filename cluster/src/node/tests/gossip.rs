//! What gossip does to a node's dealings with its peers.

use bytes::Bytes;

use super::*;
use crate::membership::gossip::Datagram;
use crate::rpc::{Request, Response};

fn plain(config: Config) -> NodeParts {
    parts(config, &SimulatedDisk::default(), Arc::new(SystemClock::new()), None)
}

#[tokio::test]
async fn a_peer_that_gossip_declares_down_counts_as_there_with_its_first_answer() {
    let members = members(3);
    let store = StoreDefinition::default();
    let node = |i: usize| plain(config(&members[i], &members, &store));
    let (first, second) = (Node::start(node(0)).await.unwrap(), Node::start(node(1)).await.unwrap());
    let peers = Arc::clone(&first.api.coordinator.peers);
    let version = first.api.coordinator.views.current().version();
    let task = tokio::spawn(second.run());
    let id = members[1].id;
    peers.declare(id, true);
    assert!(peers.is_suspected(id) && peers.suspected().contains(&id));
    let answer = peers.call(id, version, Request::Ping, Duration::from_secs(5)).await;
    assert_eq!(answer, Ok(Response::Pong));
    assert!(!peers.is_suspected(id), "it answers, whatever is said of it");
    peers.declare(id, true);
    peers.declare(id, false);
    assert!(!peers.is_suspected(id));
    task.abort();
}

#[tokio::test]
async fn gossip_to_a_peer_that_cannot_be_reached_is_lost_and_does_not_pile_up() {
    let members = members(3);
    let parts = plain(config(&members[0], &members, &StoreDefinition::default()));
    let node = Node::start(parts).await.unwrap();
    let coordinator = &node.api.coordinator;
    let view = coordinator.views.current().version();
    let datagram =
        || Datagram { view, spoken_to: None, suspected: None, packet: Bytes::from_static(b"news") };
    let accepted = (0..1000).filter(|_| coordinator.peers.cast(members[1].id, datagram())).count();
    assert_eq!(accepted, 16, "the rest is lost at once");
    assert!(!coordinator.peers.cast("stranger".parse().unwrap(), datagram()), "there is no way to it");
    assert!(!coordinator.peers.is_suspected(members[1].id), "gossip alone is no reason to pass it over");
}

#[tokio::test]
async fn who_is_alive_is_shown_with_incarnations_and_counted() {
    let (nodes, _) = cluster(3, &StoreDefinition::default()).await;
    let wait = async {
        loop {
            let view = ask(&nodes[1].api, "GET", "/cluster", &[], b"").await.json();
            let members = view["members"].as_array().unwrap().clone();
            if members.iter().all(|m| m["liveness"] == "alive" && m["incarnation"] == "1.0") {
                return ask(&nodes[1].api, "GET", "/metrics", &[], b"").await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let metrics = tokio::time::timeout(Duration::from_secs(60), wait).await.expect("all find each other");
    let metrics = String::from_utf8(metrics.body).unwrap();
    let value = |name: &str| {
        let line = metrics.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    assert_eq!(value("quorate_gossip_members{state=\"alive\"}"), 3);
    assert_eq!(value("quorate_gossip_members{state=\"down\"}"), 0);
    assert!(value("quorate_gossip_sent_total") > 0 && value("quorate_gossip_received_total") > 0);
    assert_eq!(value("quorate_gossip_ignored_total"), 0);
}
