//! Members that come back with an empty disk.

use super::members::{expect_all, join, keys, put_all, quiet, settled};
use super::*;
use crate::membership::SAME_BIRTH;

/// Waits until the node votes on views.
pub(super) async fn votes(node: &Running) {
    let waiting = async {
        while node.coordinator.views.abstains().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the node votes");
}

pub(super) async fn stop(node: Running) -> SimulatedDisk {
    node.handle.shut_down();
    node.task.await.unwrap().unwrap();
    node.disk
}

/// Asks until the node is not ready for a reason that contains `why`.
pub(super) async fn unready(api: &str, why: &str) {
    let asking = async {
        loop {
            let reply = ask(api, "GET", "/readyz", &[], b"").await;
            if reply.status == 503 && reply.json()["message"].as_str().unwrap().contains(why) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect(why);
}

#[tokio::test]
async fn a_member_whose_disk_was_lost_is_refilled_before_it_votes_on_anything() {
    let store = quiet("quorum");
    let (nodes, members) = cluster(3, &store).await;
    put_all(&nodes[0], &keys(0..40)).await;
    let mut disks = Vec::new();
    for node in &nodes {
        votes(node).await;
    }
    for node in nodes {
        disks.push(stop(node).await);
    }
    // Started again, the others are known to be older than an empty disk.
    let second = start(config(&members[1], &members, &store), disks[1].clone()).await.unwrap();
    let wiped = start(config(&members[0], &members, &store), SimulatedDisk::default()).await.unwrap();
    unready(&wiped.api, "its disk was lost").await;
    for key in keys(0..40) {
        let reply = get(&wiped.api, &key).await;
        assert_eq!(reply.status, 503, "one vote is missing, whatever the other has: {key}");
    }
    assert_eq!(put(&wiped.api, "new", None, "new").await.status, 204, "it takes writes all the same");
    // Nothing is known of the third owner, who may have what the second missed.
    assert_eq!(ask(&wiped.api, "GET", "/readyz", &[], b"").await.status, 503);
    let third = start(config(&members[2], &members, &store), disks[2].clone()).await.unwrap();
    ready(&wiped.api).await;
    for key in keys(0..40).iter().map(String::as_str).chain(["new"]) {
        let own = ask(&wiped.api, "GET", &format!("/kv/{key}?local=1"), &[], b"").await;
        assert_eq!(own.status, 200, "{key}");
    }
    // Two of three must vote for a change of the members, and one is gone.
    votes(&wiped).await;
    stop(third).await;
    let fourth = join(&members[1], &second, &store, "n4").await;
    settled(&[&wiped, &second, &fourth], 2).await;
    expect_all(&wiped, &keys(0..40)).await;
}

#[tokio::test]
async fn a_half_refilled_member_does_not_vote_after_a_restart_either() {
    let store = quiet("quorum");
    let (nodes, members) = cluster(3, &store).await;
    put_all(&nodes[0], &keys(0..10)).await;
    for node in nodes {
        stop(node).await;
    }
    let lost = SimulatedDisk::default();
    for _ in 0..2 {
        let alone = start(config(&members[0], &members, &store), lost.clone()).await.unwrap();
        unready(&alone.api, "to be refilled").await;
        assert_eq!(stop(alone).await.mount().list().unwrap(), lost.mount().list().unwrap());
    }
}

/// A store whose second and third node do what is said before the others are there, and to which a
/// fourth is added then: two of the three must vote for it.
async fn a_store_can_grow(early: impl AsyncFnOnce(&[Member], &StoreDefinition) -> Vec<SimulatedDisk>) {
    let store = quiet("quorum");
    let members = members(3);
    let mut nodes =
        vec![start(config(&members[0], &members, &store), SimulatedDisk::default()).await.unwrap()];
    let disks = early(&members, &store).await;
    for (member, disk) in members[1..].iter().zip(disks) {
        nodes.push(start(config(member, &members, &store), disk).await.unwrap());
    }
    for node in &nodes {
        ready(&node.api).await;
    }
    for node in &nodes {
        votes(node).await;
    }
    stop(nodes.remove(0)).await;
    let fourth = join(&members[1], &nodes[0], &store, "n4").await;
    settled(&[&nodes[0], &nodes[1], &fourth], 2).await;
    votes(&fourth).await;
}

#[tokio::test]
async fn nodes_of_a_new_store_that_are_started_by_and_by_vote_on_who_joins() {
    a_store_can_grow(async |_, _| {
        // Time itself is what makes the difference here.
        tokio::time::sleep(SAME_BIRTH + Duration::from_millis(100)).await;
        vec![SimulatedDisk::default(), SimulatedDisk::default()]
    })
    .await;
}

#[tokio::test]
async fn nodes_of_a_new_store_that_restart_before_they_meet_the_others_vote_on_who_joins() {
    a_store_can_grow(async |members, store| {
        let mut disks = Vec::new();
        for member in &members[1..] {
            let node = start(config(member, members, store), SimulatedDisk::default()).await.unwrap();
            disks.push(stop(node).await);
        }
        disks
    })
    .await;
}

#[tokio::test]
async fn with_too_few_owners_left_to_be_filled_from_it_votes_all_the_same() {
    let store = quiet("quorum");
    let (mut nodes, members) = cluster(4, &store).await;
    put_all(&nodes[0], &keys(0..20)).await;
    for node in &nodes {
        votes(node).await;
    }
    // What n1 and n2 own needs two other owners, and one of those is gone for good: three of four must
    // vote for its removal.
    stop(nodes.remove(1)).await;
    stop(nodes.remove(0)).await;
    let wiped = start(config(&members[0], &members, &store), SimulatedDisk::default()).await.unwrap();
    unready(&wiped.api, "to be refilled").await;
    votes(&wiped).await;
    let target = "/cluster/members/n2?dead=1";
    assert_eq!(ask(&nodes[0].api, "DELETE", target, &[], b"").await.status, 202);
    settled(&[&wiped, &nodes[0], &nodes[1]], 2).await;
    ready(&wiped.api).await;
    expect_all(&wiped, &keys(0..20)).await;
}

#[tokio::test]
async fn of_two_members_one_that_lost_its_disk_votes_again() {
    let store = StoreDefinition { replicas: 2, read_quorum: 1, write_quorum: 2, ..quiet("quorum") };
    let (mut nodes, members) = cluster(2, &store).await;
    put_all(&nodes[0], &keys(0..10)).await;
    for node in &nodes {
        votes(node).await;
    }
    stop(nodes.remove(1)).await;
    let wiped = start(config(&members[1], &members, &store), SimulatedDisk::default()).await.unwrap();
    ready(&wiped.api).await;
    let third = join(&members[0], &nodes[0], &store, "n3").await;
    settled(&[&nodes[0], &wiped, &third], 2).await;
    expect_all(&wiped, &keys(0..10)).await;
}
