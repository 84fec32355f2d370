//! Nodes that join, leave and are removed while clients write.

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

/// Adds a node that knows nothing but a seed's address.
pub(super) async fn join(seed: &Member, through: &Running, store: &StoreDefinition, id: &str) -> Running {
    join_from(seed, through, store, id, "").await.0
}

/// As [`join`], in a zone; also what the cluster answered.
async fn join_from(
    seed: &Member,
    through: &Running,
    store: &StoreDefinition,
    id: &str,
    zone: &str,
) -> (Running, Reply) {
    let member = Member {
        id: id.parse().unwrap(),
        peer: free_address(),
        api: free_address(),
        capacity: 1,
        zone: zone.to_owned(),
    };
    let mut config = config(
        &member,
        std::slice::from_ref(&member),
        &StoreDefinition { replicas: 1, read_quorum: 1, write_quorum: 1, ..store.clone() },
    );
    config.store = store.clone();
    config.members = Vec::new();
    config.node.seeds = vec![seed.peer.clone()];
    let node = start(config, SimulatedDisk::default()).await.unwrap();
    let body = serde_json::to_vec(&member).unwrap();
    let reply = ask(&through.api, "POST", "/cluster/members", &[], &body).await;
    assert_eq!(reply.status, 202, "{}", String::from_utf8_lossy(&reply.body));
    (node, reply)
}

async fn view_of(node: &Running) -> String {
    ask(&node.api, "GET", "/cluster", &[], b"").await.json()["view"].as_str().unwrap().to_owned()
}

/// Waits until all nodes are in the same stable view of `epoch`.
pub(super) async fn settled(nodes: &[&Running], epoch: u64) {
    let wanted = format!("{epoch}-stable");
    let wait = async {
        loop {
            let mut views = Vec::new();
            for node in nodes {
                views.push(view_of(node).await);
            }
            if views.iter().all(|view| *view == wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the change goes through");
}

pub(super) async fn put_all(node: &Running, keys: &[String]) {
    for key in keys {
        assert_eq!(put(&node.api, key, None, key).await.status, 204, "{key}");
    }
}

pub(super) async fn expect_all(node: &Running, keys: &[String]) {
    for key in keys {
        let reply = get(&node.api, key).await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, key.as_bytes()), "{key}");
    }
}

pub(super) fn keys(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("k{i}")).collect()
}

pub(super) fn quiet(profile: &str) -> StoreDefinition {
    // Without anti-entropy only the transfer itself can have brought the data.
    StoreDefinition {
        anti_entropy: crate::config::AntiEntropy::Off,
        read_repair: false,
        partitions: 32,
        ..StoreDefinition::profile(profile).unwrap()
    }
}

#[tokio::test]
async fn a_node_that_joins_serves_what_was_written_before_and_what_is_written_meanwhile() {
    let store = quiet("quorum");
    let (nodes, members) = cluster(3, &store).await;
    put_all(&nodes[0], &keys(0..40)).await;
    let fourth = join(&members[0], &nodes[1], &store, "n4").await;
    put_all(&nodes[2], &keys(40..80)).await;
    settled(&[&nodes[0], &nodes[1], &nodes[2], &fourth], 2).await;
    expect_all(&fourth, &keys(0..80)).await;
    let mut owned = 0;
    for key in keys(0..80) {
        let local = ask(&fourth.api, "GET", &format!("/kv/{key}?local=1"), &[], b"").await;
        if local.head.contains("x-quorate-owner: true") {
            owned += 1;
            assert_eq!(local.status, 200, "{key}");
        }
    }
    assert!(owned > 20, "the new node owns its share: {owned}");
    let asked = metric(&fourth.api, "quorate_background_bytes_total").await;
    assert!(asked > 0, "taking over is work that yields to requests");
}

#[tokio::test]
async fn a_node_that_leaves_hands_everything_over_even_with_a_write_quorum_of_one() {
    let store = quiet("always-write");
    let (mut nodes, _) = cluster(4, &store).await;
    put_all(&nodes[0], &keys(0..40)).await;
    let reply = ask(&nodes[2].api, "DELETE", "/cluster/members/n1", &[], b"").await;
    assert_eq!(reply.status, 202);
    put_all(&nodes[1], &keys(40..60)).await;
    settled(&[&nodes[0], &nodes[1], &nodes[2], &nodes[3]], 2).await;
    let gone = nodes.remove(0);
    let handed_over = async {
        loop {
            let metrics = String::from_utf8(ask(&gone.api, "GET", "/metrics", &[], b"").await.body).unwrap();
            if metrics.lines().any(|l| l == "quorate_store_records 0") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, handed_over).await.expect("nothing stays behind");
    let asked = metric(&gone.api, "quorate_background_bytes_total").await;
    assert!(asked > 0, "so is handing over");
    gone.handle.shut_down();
    gone.task.await.unwrap().unwrap();
    expect_all(&nodes[2], &keys(0..60)).await;
}

#[tokio::test]
async fn a_dead_node_is_removed_and_its_partitions_find_new_owners() {
    let store = quiet("quorum");
    let (mut nodes, _) = cluster(4, &store).await;
    put_all(&nodes[0], &keys(0..40)).await;
    let dead = nodes.remove(3);
    dead.task.abort();
    let reply = ask(&nodes[0].api, "DELETE", "/cluster/members/n4?dead=1", &[], b"").await;
    assert_eq!(reply.status, 202, "{}", String::from_utf8_lossy(&reply.body));
    settled(&[&nodes[0], &nodes[1], &nodes[2]], 2).await;
    expect_all(&nodes[1], &keys(0..40)).await;
}

#[tokio::test]
async fn of_two_administrators_at_once_one_is_refused_and_the_ring_does_not_fork() {
    let store = quiet("dynamo");
    let (nodes, _) = cluster(5, &store).await;
    let (a, b) = tokio::join!(
        ask(&nodes[0].api, "DELETE", "/cluster/members/n4", &[], b""),
        ask(&nodes[1].api, "DELETE", "/cluster/members/n5", &[], b""),
    );
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409]);
    settled(&nodes.iter().collect::<Vec<_>>(), 2).await;
    let members =
        ask(&nodes[2].api, "GET", "/cluster", &[], b"").await.json()["members"].as_array().unwrap().len();
    assert_eq!(members, 4);
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused() {
    let (nodes, members) = cluster(3, &quiet("dynamo")).await;
    let api = &nodes[0].api;
    let refused = |reply: Reply| (reply.status, reply.json()["message"].as_str().unwrap().to_owned());
    let (status, why) = refused(ask(api, "DELETE", "/cluster/members/n1", &[], b"").await);
    assert!(status == 409 && why.contains("2 node(s) would be left"), "{why}");
    let known = serde_json::to_vec(&members[1]).unwrap();
    let (status, why) = refused(ask(api, "POST", "/cluster/members", &[], &known).await);
    assert!(status == 409 && why.contains("n2 is a member already"), "{why}");
    let (status, why) = refused(ask(api, "POST", "/cluster/members", &[], b"{\"id\":\"N 9\"}").await);
    assert!(status == 400 && why.contains("a-z"), "{why}");
    for (body, says) in [
        (r#"{"id":"n4","peer":"","api":"127.0.0.1:9"}"#, "host:port"),
        (r#"{"id":"n4","peer":"127.0.0.1:8","api":"127.0.0.1:9","capacity":0}"#, "at least 1"),
    ] {
        let (status, why) = refused(ask(api, "POST", "/cluster/members", &[], body.as_bytes()).await);
        assert!(status == 400 && why.contains(says), "{why}");
    }
    let same = Member { id: "n4".parse().unwrap(), ..members[2].clone() };
    let same = serde_json::to_vec(&same).unwrap();
    let (status, why) = refused(ask(api, "POST", "/cluster/members", &[], &same).await);
    assert!(status == 409 && why.contains("an address of node n3"), "{why}");
    assert_eq!(ask(api, "PUT", "/cluster/members", &[], b"").await.status, 405);
}

#[tokio::test]
async fn a_zone_that_is_too_small_is_named_and_counted_and_serves_all_the_same() {
    let store = StoreDefinition { replicas: 2, read_quorum: 1, write_quorum: 2, ..quiet("quorum") };
    let (nodes, members) = cluster(4, &store).await;
    assert_eq!(metric(&nodes[0].api, "quorate_zone_too_small").await, 0);
    put_all(&nodes[0], &keys(0..10)).await;
    let (fifth, reply) = join_from(&members[0], &nodes[0], &store, "n5", "lonely").await;
    assert!(reply.json()["zone_too_small"].as_str().unwrap().contains("\"lonely\" is too small"));
    settled(&[&nodes[0], &nodes[1], &nodes[2], &nodes[3], &fifth], 2).await;
    assert_eq!(metric(&nodes[1].api, "quorate_zone_too_small").await, 1);
    let cluster = ask(&nodes[2].api, "GET", "/cluster", &[], b"").await.json();
    assert!(cluster["zone_too_small"].as_str().unwrap().contains("add capacity there"));
    expect_all(&fifth, &keys(0..10)).await;
}
