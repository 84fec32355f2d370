//! Rot and loss behind a node's back, repaired by whole nodes though nobody reads the keys.

use quorate_env::disk::SimulatedDisk;

use super::*;
use crate::config::AntiEntropy;
use crate::store::{Engine, LogEngine, LogOptions, Promise, Write};

/// Copies are compared and verified all the time; nothing else repairs.
fn restless(member: &Member, members: &[Member]) -> Config {
    let store = StoreDefinition {
        replicas: 3,
        partitions: 4,
        read_repair: false,
        anti_entropy: AntiEntropy::Every(Duration::from_millis(50)),
        ..StoreDefinition::default()
    };
    let mut config = config(member, members, &store);
    config.timing.scrub = Duration::from_millis(20);
    config
}

struct Nodes {
    running: Vec<Running>,
    engines: Vec<Arc<dyn Engine>>,
}

async fn restless_cluster() -> Nodes {
    let members = members(3);
    let mut nodes = Nodes { running: Vec::new(), engines: Vec::new() };
    for member in &members {
        let disk = SimulatedDisk::default();
        let log = LogEngine::open(disk.mount(), LogOptions::default()).await.unwrap();
        let engine: Arc<dyn Engine> = Arc::new(log);
        let config = restless(member, &members);
        let env = Env {
            net: Arc::new(TokioNetwork),
            clock: Arc::new(SystemClock::new()),
            random: Random::from_seed(7).child(member.id.as_str()),
            disk: disk.mount(),
        };
        let parts = NodeParts { config, env, engine: Some(Arc::clone(&engine)), tls: None };
        let node = Node::start(parts).await.unwrap();
        nodes.running.push(run(node, disk));
        nodes.engines.push(engine);
    }
    for node in &nodes.running {
        ready(&node.api).await;
    }
    nodes
}

/// Asks until every node holds `value` itself.
async fn is_everywhere(nodes: &Nodes, key: &str, value: &str) {
    for node in &nodes.running {
        let own = async {
            loop {
                let local = ask(&node.api, "GET", &format!("/kv/{key}?local=1"), &[], b"").await;
                if local.status == 200 && local.body == value.as_bytes() {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), own).await.expect("the copy is repaired");
    }
}

/// Rots all that a disk holds of `value`.
fn rot(disk: &SimulatedDisk, value: &str) {
    let mounted = disk.mount();
    let mut found = 0;
    for name in mounted.list().unwrap() {
        let bytes = mounted.read(&name).unwrap();
        for (at, _) in bytes.windows(value.len()).enumerate().filter(|(_, w)| *w == value.as_bytes()) {
            disk.flip_byte(&name, at as u64).unwrap();
            found += 1;
        }
    }
    assert!(found > 0, "{value} is on the disk");
}

#[tokio::test]
async fn a_record_that_rots_is_found_and_repaired_though_nobody_reads_it() {
    let nodes = restless_cluster().await;
    assert_eq!(put(&nodes.running[0].api, "cart", None, "three apples").await.status, 204);
    is_everywhere(&nodes, "cart", "three apples").await;
    let victim = &nodes.running[1];
    rot(&victim.disk, "three apples");
    // Only metrics are read from here on.
    reaches(&victim.api, "quorate_scrub_damaged_total", 1).await;
    let repaired = async { while metric(&victim.api, "quorate_store_damaged_records").await > 0 {} };
    tokio::time::timeout(Duration::from_secs(60), repaired).await.expect("the record is repaired");
    let released = async { while metric(&victim.api, "quorate_quarantined_records").await > 0 {} };
    tokio::time::timeout(Duration::from_secs(60), released).await.expect("it votes again");
    is_everywhere(&nodes, "cart", "three apples").await;
    assert_eq!(metric(&victim.api, "quorate_damage_found_total").await, 1);
    assert_eq!(metric(&victim.api, "quorate_tree_mismatches_total").await, 0);
}

#[tokio::test]
async fn a_record_deleted_behind_the_nodes_back_comes_back() {
    let nodes = restless_cluster().await;
    assert_eq!(put(&nodes.running[0].api, "cart", None, "three apples").await.status, 204);
    is_everywhere(&nodes, "cart", "three apples").await;
    // A tree that knew nothing of the key could not miss it.
    for node in &nodes.running {
        reaches(&node.api, "quorate_anti_entropy_clean_ns", 1).await;
    }
    let (victim, engine) = (&nodes.running[2], &nodes.engines[2]);
    let stored = engine.keys(b"d", None, 10).unwrap().remove(0);
    engine.apply(vec![Write::Delete { key: stored }], Promise::Synced).await.unwrap();
    reaches(&victim.api, "quorate_tree_mismatches_total", 1).await;
    is_everywhere(&nodes, "cart", "three apples").await;
    let votes = async { while metric(&victim.api, "quorate_partitions_to_refill").await > 0 {} };
    tokio::time::timeout(Duration::from_secs(60), votes).await.expect("it votes again");
}

#[tokio::test]
async fn a_node_that_lost_all_its_records_gets_them_back() {
    let mut nodes = restless_cluster().await;
    for i in 0..50 {
        let key = format!("k{i}");
        assert_eq!(put(&nodes.running[0].api, &key, None, &key).await.status, 204);
    }
    for i in 0..50 {
        is_everywhere(&nodes, &format!("k{i}"), &format!("k{i}")).await;
    }
    // All records go behind the node's back, as with a disk that was replaced under it.
    let engine = nodes.engines.remove(1);
    let lost = engine.keys(b"d", None, 100).unwrap();
    assert_eq!(lost.len(), 50);
    let batch = lost.into_iter().map(|key| Write::Delete { key }).collect();
    engine.apply(batch, Promise::Synced).await.unwrap();
    for i in 0..50 {
        is_everywhere(&nodes, &format!("k{i}"), &format!("k{i}")).await;
    }
    let mut moved = 0;
    for node in &nodes.running {
        moved += metric(&node.api, "quorate_anti_entropy_sent_total").await;
        moved += metric(&node.api, "quorate_anti_entropy_received_total").await;
    }
    assert!(moved >= 50, "{moved} records were moved");
}
