//! Backups of whole stores, restored into others.

use super::lost_disk::stop;
use super::members::{expect_all, keys, put_all};
use super::registers::header;
use super::*;
use crate::archive::{Entry, Portion, decode, encode};
use crate::config::{AntiEntropy, NodeId};

/// Nothing but requests brings copies anywhere.
fn still(profile: &str) -> StoreDefinition {
    StoreDefinition {
        anti_entropy: AntiEntropy::Off,
        read_repair: false,
        hinted_handoff: false,
        partitions: 16,
        ..StoreDefinition::profile(profile).unwrap()
    }
}

async fn back_up(api: &str, partitions: u32, partial: bool) -> Result<Vec<Entry>, Reply> {
    let mut all = Vec::new();
    for partition in 0..partitions {
        let query = if partial { "?partial=1" } else { "" };
        let reply = ask(api, "GET", &format!("/cluster/backup/{partition}{query}"), &[], b"").await;
        if reply.status != 200 {
            return Err(reply);
        }
        let portion: Portion = decode(&reply.body).unwrap();
        assert_eq!(portion.next, None, "few keys are one portion");
        all.extend(portion.entries);
    }
    Ok(all)
}

async fn restore(api: &str, entries: &[Entry]) -> Reply {
    ask(api, "POST", "/cluster/restore", &[], &encode(&entries)).await
}

fn owners(node: &Running, key: &str) -> Vec<NodeId> {
    let view = node.coordinator.views.current();
    view.write_owners(view.placement().partition_of(key.as_bytes()))
}

#[tokio::test]
async fn a_write_that_only_others_keep_for_its_owners_is_in_the_backup() {
    let store = still("dynamo");
    let (mut nodes, members) = cluster(5, &store).await;
    put_all(&nodes[0], &keys(0..20)).await;
    let away = owners(&nodes[0], "hinted");
    let mut gone = Vec::new();
    for owner in &away {
        let at = nodes.iter().position(|node| node.coordinator.me == *owner).unwrap();
        gone.push((*owner, stop(nodes.remove(at)).await));
    }
    assert_eq!((nodes.len(), put(&nodes[0].api, "hinted", None, "kept").await.status), (2, 204));
    let refused = back_up(&nodes[0].api, 16, false).await.unwrap_err();
    assert_eq!((refused.status, refused.error().as_str()), (503, "not_covered"));
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(away.iter().all(|owner| message.contains(&owner.to_string())), "{message}");
    let of_two = back_up(&nodes[0].api, 16, true).await.ok().unwrap();
    assert!(of_two.iter().any(|entry| entry.key == "hinted"));

    for (owner, disk) in gone {
        let member = members.iter().find(|member| member.id == owner).unwrap();
        nodes.push(start(config(member, &members, &store), disk).await.unwrap());
    }
    for node in &nodes {
        ready(&node.api).await;
    }
    let owner = nodes.iter().find(|node| node.coordinator.me == away[0]).unwrap();
    let local = ask(&owner.api, "GET", "/kv/hinted?local=1", &[], b"").await;
    assert_eq!(local.status, 404, "no owner has it");
    let backup = back_up(&owner.api, 16, false).await.ok().unwrap();
    assert_eq!(backup.len(), 21);

    let (others, _) = cluster(3, &StoreDefinition { partitions: 8, ..store }).await;
    let done = restore(&others[1].api, &backup).await;
    assert_eq!((done.status, &done.json()["restored"]), (200, &serde_json::json!(21)));
    assert_eq!(done.json()["short"], 0);
    expect_all(&others[0], &keys(0..20)).await;
    assert_eq!(get(&others[2].api, "hinted").await.body, b"kept");
}

#[tokio::test]
async fn siblings_deletes_and_contexts_are_restored_and_merged_with_what_is_there() {
    let store = still("quorum");
    let (nodes, _) = cluster(3, &store).await;
    let api = &nodes[0].api;
    put(api, "both", None, "one").await;
    put(&nodes[1].api, "both", None, "two").await;
    put(api, "gone", None, "v").await;
    let token = get(api, "gone").await.context();
    ask(api, "DELETE", "/kv/gone", &[("x-quorate-context", &token)], b"").await;
    let old = get(api, "both").await.context();
    let backup = back_up(api, 16, false).await.ok().unwrap();
    assert_eq!(backup.len(), 2);

    let (others, _) = cluster(4, &store).await;
    put(&others[0].api, "both", None, "three").await;
    for _ in 0..2 {
        assert_eq!(restore(&others[3].api, &backup).await.status, 200);
    }
    let three = get(&others[1].api, "both").await;
    assert_eq!(three.json()["values"].as_array().unwrap().len(), 3, "versions are merged");
    // A token from before the backup replaces what it covered, and nothing else.
    put(&others[2].api, "both", Some(&old), "one and two").await;
    assert_eq!(get(&others[0].api, "both").await.json()["values"].as_array().unwrap().len(), 2);
    assert_eq!(get(&others[0].api, "gone").await.status, 404);
    put(&others[0].api, "gone", Some(&token), "v").await;
    assert_eq!(get(&others[1].api, "gone").await.body, b"v", "its old token is still good");

    let of_lww = cluster(3, &still("lww")).await.0;
    let refused = restore(&of_lww[0].api, &backup).await;
    assert_eq!((refused.status, refused.error().as_str()), (409, "not_of_this_store"));
    let garbage = ask(&of_lww[0].api, "POST", "/cluster/restore", &[], b"garbage").await;
    assert_eq!((garbage.status, garbage.error().as_str()), (400, "bad_batch"));
    let nowhere = ask(api, "GET", "/cluster/backup/16", &[], b"").await;
    assert_eq!((nowhere.status, nowhere.error().as_str()), (400, "bad_partition"));
    let unknown = ask(api, "GET", "/cluster/backup/1?from=2", &[], b"").await;
    assert_eq!((unknown.status, unknown.error().as_str()), (400, "bad_query"));
}

#[tokio::test]
async fn a_restored_register_keeps_its_etag_and_one_that_was_written_its_value() {
    let store = StoreDefinition { partitions: 16, ..StoreDefinition::profile("linearizable").unwrap() };
    let (nodes, _) = cluster(3, &store).await;
    let api = &nodes[0].api;
    for key in ["k", "j", "gone"] {
        assert_eq!(put(api, key, None, "old").await.status, 204);
    }
    assert_eq!(ask(api, "DELETE", "/kv/gone", &[], b"").await.status, 204);
    let etag = header(&get(api, "k").await, "etag").unwrap().to_owned();
    let backup = back_up(api, 16, false).await.ok().unwrap();

    let (others, _) = cluster(4, &store).await;
    assert_eq!(put(&others[0].api, "j", None, "new").await.status, 204);
    let done = restore(&others[1].api, &backup).await;
    assert_eq!((done.status, done.json()), (200, serde_json::json!({"restored": 2, "kept": 1, "short": 0})));
    assert_eq!(get(&others[2].api, "j").await.body, b"new");
    assert_eq!(get(&others[2].api, "gone").await.status, 404);
    let seen = get(&others[3].api, "k").await;
    assert_eq!((seen.body.as_slice(), header(&seen, "etag")), (b"old".as_slice(), Some(&*etag)));
    let changed = ask(&others[0].api, "PUT", "/kv/k", &[("if-match", &etag)], b"newer").await;
    assert_eq!(changed.status, 204);
    // Once more: what is there by now stays, and is not what was there before.
    let again = restore(&others[2].api, &backup).await;
    assert_eq!(again.json(), serde_json::json!({"restored": 1, "kept": 2, "short": 0}));
    assert_eq!(get(&others[1].api, "k").await.body, b"newer");
}
