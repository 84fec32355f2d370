//! Deletes that are forgotten once every member agrees.

use std::time::Duration;

use super::*;
use crate::config::{AntiEntropy, TombstoneCollection};

fn store() -> StoreDefinition {
    StoreDefinition {
        partitions: 4,
        anti_entropy: AntiEntropy::Every(Duration::from_millis(100)),
        tombstone_collection: TombstoneCollection::Every(Duration::from_millis(100)),
        ..StoreDefinition::default()
    }
}

async fn delete(api: &str, key: &str, context: &str) {
    let reply = ask(api, "DELETE", &format!("/kv/{key}"), &[("x-quorate-context", context)], b"").await;
    assert_eq!(reply.status, 204);
}

/// Writes and deletes `key`; the context of what was deleted.
async fn put_and_delete(api: &str, key: &str) -> String {
    assert_eq!(put(api, key, None, "old").await.status, 204);
    let context = get(api, key).await.context();
    delete(api, key, &context).await;
    context
}

/// Waits until no node keeps any record.
async fn all_is_forgotten(nodes: &[&Running]) {
    for node in nodes {
        falls(&node.api, "quorate_store_records", 0).await;
    }
}

async fn stop(node: Running) -> SimulatedDisk {
    node.handle.shut_down();
    node.task.await.unwrap().unwrap();
    node.disk
}

async fn copy_of(disk: &SimulatedDisk) -> SimulatedDisk {
    let (from, copy) = (disk.mount(), SimulatedDisk::default());
    let to = copy.mount();
    for name in from.list().unwrap() {
        to.write_atomic(&name, &from.read(&name).unwrap()).await.unwrap();
    }
    copy
}

#[tokio::test]
async fn a_deleted_key_is_forgotten_by_all_and_what_is_written_to_it_later_is_right() {
    let (nodes, _) = cluster(3, &store()).await;
    let api = &nodes[0].api;
    let before = put_and_delete(api, "k").await;
    let all: Vec<&Running> = nodes.iter().collect();
    all_is_forgotten(&all).await;
    let mut forgotten = 0;
    for node in &nodes {
        forgotten += metric(&node.api, "quorate_tombstones_collected_total").await;
    }
    assert!(forgotten >= 3, "every owner forgot it: {forgotten}");
    assert_eq!(get(&nodes[1].api, "k").await.status, 404);
    // By one who read what was deleted, and by one who read nothing: neither saw the other.
    assert_eq!(put(&nodes[1].api, "k", Some(&before), "a").await.status, 204);
    assert_eq!(put(&nodes[2].api, "k", None, "b").await.status, 204);
    let both = get(api, "k").await;
    assert_eq!((both.status, both.json()["values"].as_array().map(Vec::len)), (300, Some(2)));
    assert_eq!(put(api, "k", Some(&both.context()), "ab").await.status, 204);
    assert_eq!(get(&nodes[1].api, "k").await.body, b"ab");
}

#[tokio::test]
async fn nothing_is_forgotten_while_a_member_is_away() {
    let store = store();
    let (mut nodes, members) = cluster(4, &store).await;
    let gone = nodes.pop().unwrap();
    assert_eq!(put(&nodes[0].api, "k", None, "old").await.status, 204);
    let disk = stop(gone).await;
    let context = get(&nodes[0].api, "k").await.context();
    delete(&nodes[0].api, "k", &context).await;
    let rounds = metric(&nodes[0].api, "quorate_collection_rounds_total").await;
    reaches(&nodes[0].api, "quorate_collection_rounds_total", rounds + 3).await;
    let given_up = |why: &str| format!("quorate_collection_given_up_total{{why=\"{why}\"}}");
    // A hint for it may be found first.
    let mut reasons = 0;
    for why in ["unreachable", "keeping"] {
        reasons += metric(&nodes[0].api, &given_up(why)).await;
    }
    assert!(reasons >= 2, "{reasons}");
    let mut kept = 0;
    for node in &nodes {
        kept += metric(&node.api, "quorate_store_records").await;
        assert_eq!(metric(&node.api, "quorate_tombstones_collected_total").await, 0);
    }
    assert!(kept > 0);
    let back = start(config(&members[3], &members, &store), disk).await.unwrap();
    let all: Vec<&Running> = nodes.iter().chain([&back]).collect();
    all_is_forgotten(&all).await;
    assert_eq!(get(&back.api, "k").await.status, 404);
}

#[tokio::test]
async fn a_disk_put_back_from_before_a_collection_brings_nothing_back() {
    let store = store();
    let (mut nodes, members) = cluster(3, &store).await;
    for key in ["a", "b"] {
        assert_eq!(put(&nodes[0].api, key, None, "old").await.status, 204);
    }
    let contexts = [get(&nodes[0].api, "a").await.context(), get(&nodes[0].api, "b").await.context()];
    for node in &nodes {
        reaches(&node.api, "quorate_store_records", 2).await;
    }
    let last = nodes.pop().unwrap();
    let disk = stop(last).await;
    let old = copy_of(&disk).await;
    let node = start(config(&members[2], &members, &store), disk).await.unwrap();
    delete(&nodes[0].api, "a", &contexts[0]).await;
    for node in nodes.iter().chain([&node]) {
        falls(&node.api, "quorate_store_records", 1).await;
    }
    stop(node).await;
    // It keeps both values, and nobody knows any more that one of them was deleted.
    let restored = start(config(&members[2], &members, &store), old.clone()).await.unwrap();
    let waiting = async {
        while !restored.coordinator.views.is_obsolete() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it finds out");
    assert_eq!(get(&nodes[0].api, "a").await.status, 404, "nobody hears it");
    stop(restored).await;
    let refilled = start(config(&members[2], &members, &store), old).await.unwrap();
    ready(&refilled.api).await;
    let own = |key: &'static str| {
        let api = refilled.api.clone();
        async move { ask(&api, "GET", &format!("/kv/{key}?local=1"), &[], b"").await.status }
    };
    assert_eq!((own("a").await, own("b").await), (404, 200));
    assert_eq!(get(&refilled.api, "a").await.status, 404);
    // It has a part in what is collected from now on.
    delete(&nodes[0].api, "b", &contexts[1]).await;
    let all: Vec<&Running> = nodes.iter().chain([&refilled]).collect();
    all_is_forgotten(&all).await;
}
