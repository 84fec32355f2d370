//! A store whose nodes do not all speak the newest peer protocol: upgraded one after the other, and back.

use super::*;
use crate::config::QuorumKind;
use crate::rpc::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};

/// The version in which `of` is spoken to by the node at `api`; nothing before it was.
async fn protocol(api: &str, of: &str) -> Option<u64> {
    let body = ask(api, "GET", "/cluster", &[], b"").await.body;
    let cluster: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let member = cluster["members"].as_array().unwrap().iter().find(|member| member["id"] == of);
    member.unwrap()["protocol"].as_u64()
}

/// Waits until every node speaks to every other in the version that the two have in common.
async fn agreed(nodes: &[Running], speak: &[u32]) {
    for (from, node) in nodes.iter().enumerate() {
        for (to, theirs) in speak.iter().enumerate() {
            let common = u64::from(speak[from].min(*theirs));
            let agreed = async {
                while protocol(&node.api, &format!("n{}", to + 1)).await != Some(common) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, agreed).await.expect("both speak it");
        }
    }
}

/// Asks until that succeeds: what is sent to a node just as it stops is lost.
async fn succeeds(api: &str, method: &str, path: &str, body: &[u8]) -> Reply {
    let asking = async {
        loop {
            let reply = ask(api, method, path, &[], body).await;
            if reply.status < 300 {
                return reply;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{method} {path} never succeeds"))
}

/// A put through each node, read through all of them.
async fn serves(nodes: &[Running], stage: &str) {
    for (through, writer) in nodes.iter().enumerate() {
        let path = format!("/kv/{stage}-{through}");
        succeeds(&writer.api, "PUT", &path, stage.as_bytes()).await;
        for reader in nodes {
            assert_eq!(succeeds(&reader.api, "GET", &path, b"").await.body, stage.as_bytes());
        }
    }
}

#[tokio::test]
async fn nodes_are_upgraded_one_after_the_other_and_back_while_the_store_serves() {
    // Every copy is asked for: nobody can be left out unnoticed.
    let store = StoreDefinition {
        read_quorum: 3,
        write_quorum: 3,
        quorum: QuorumKind::Strict,
        ..StoreDefinition::default()
    };
    let members = members(3);
    let held_back = |at: usize, max: u32| {
        let mut config = config(&members[at], &members, &store);
        config.node.protocol_max = Some(max);
        config
    };
    let mut speak = [PROTOCOL_OLDEST; 3];
    let mut nodes = Vec::new();
    for (at, max) in speak.into_iter().enumerate() {
        nodes.push(start(held_back(at, max), SimulatedDisk::default()).await.unwrap());
    }
    for node in &nodes {
        ready(&node.api).await;
    }
    agreed(&nodes, &speak).await;
    serves(&nodes, "held-back").await;
    let steps = [
        (0, PROTOCOL_NEWEST),
        (1, PROTOCOL_NEWEST),
        (0, PROTOCOL_OLDEST),
        (2, PROTOCOL_NEWEST),
        (0, PROTOCOL_NEWEST),
    ];
    for (step, (at, max)) in steps.into_iter().enumerate() {
        let old = nodes.remove(at);
        old.handle.shut_down();
        old.task.await.unwrap().unwrap();
        speak[at] = max;
        nodes.insert(at, start(held_back(at, max), old.disk).await.unwrap());
        for node in &nodes {
            ready(&node.api).await;
        }
        agreed(&nodes, &speak).await;
        serves(&nodes, &format!("step-{step}")).await;
    }
    assert_eq!(speak, [PROTOCOL_NEWEST; 3]);
    for stage in ["held-back", "step-0", "step-3"] {
        let got = ask(&nodes[0].api, "GET", &format!("/kv/{stage}-1"), &[], b"").await;
        assert_eq!(got.body, stage.as_bytes(), "what was written before is there");
    }
}
