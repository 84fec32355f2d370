//! Members whose disk is replaced by an older copy of it.

use super::lost_disk::{stop, unready};
use super::*;
use crate::config::AntiEntropy;

/// Waits until `node` has on its disk that the one of `of` has come further than `than`; how far.
async fn remembers(node: &Running, of: &Running, than: u64) -> u64 {
    let (views, of) = (&node.coordinator.views, of.coordinator.me);
    let waiting = async {
        loop {
            match views.noted_mark(of).await {
                Some(mark) if mark > than => return mark,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the mark is told and noted")
}

/// A write that the first two of three members acknowledged; then the first comes back on a disk from
/// before it, and finds only the third, who has it neither.
async fn an_old_disk_is_noticed(profile: &str) {
    let store = StoreDefinition {
        anti_entropy: AntiEntropy::Off,
        hinted_handoff: false,
        ..StoreDefinition::profile(profile).unwrap()
    };
    let (mut nodes, members) = cluster(3, &store).await;
    let restarted = async |n: usize, disk| start(config(&members[n], &members, &store), disk).await.unwrap();
    assert_eq!(put(&nodes[0].api, "k", None, "old").await.status, 204);
    let context = get(&nodes[0].api, "k").await.context();
    let (third, second, first) = (nodes.pop().unwrap(), nodes.pop().unwrap(), nodes.pop().unwrap());
    let before = remembers(&third, &first, 0).await;
    let disk = stop(first).await;
    let copy = disk.copied();
    let first = restarted(0, disk).await;
    ready(&first.api).await;
    remembers(&third, &first, before).await;
    remembers(&second, &first, before).await;
    let third = stop(third).await;
    let context = (profile != "linearizable").then_some(&*context);
    assert_eq!(put(&first.api, "k", context, "new").await.status, 204);
    let (_lost, second) = (stop(first).await, stop(second).await);

    let third = restarted(2, third).await;
    let first = restarted(0, copy).await;
    ready(&third.api).await;
    unready(&first.api, "its disk was lost").await;
    for node in [&first, &third] {
        let reply = get(&node.api, "k").await;
        assert_eq!(reply.status, 503, "two of three know only what was there before");
    }
    let second = restarted(1, second).await;
    ready(&first.api).await;
    for node in [&first, &second, &third] {
        assert_eq!(get(&node.api, "k").await.body, b"new");
    }
    // It is as good as the others again, and remembers that.
    assert_eq!(put(&first.api, "j", None, "v").await.status, 204);
    stop(second).await;
    let after = get(&third.api, "j").await;
    assert_eq!((after.status, after.body.as_slice()), (200, b"v".as_slice()));
}

#[tokio::test]
async fn copies_from_before_an_acknowledged_write_cast_no_votes() {
    an_old_disk_is_noticed("quorum").await;
}

#[tokio::test]
async fn votes_from_before_an_acknowledged_write_do_not_count() {
    an_old_disk_is_noticed("linearizable").await;
}

#[tokio::test]
async fn a_member_that_restarts_alone_asks_until_somebody_answers_and_serves_what_it_can() {
    let store = StoreDefinition {
        anti_entropy: AntiEntropy::Off,
        ..StoreDefinition::profile("always-write").unwrap()
    };
    let (mut nodes, members) = cluster(3, &store).await;
    assert_eq!(put(&nodes[0].api, "k", None, "v").await.status, 204);
    for node in &nodes {
        let local = async { while ask(&node.api, "GET", "/kv/k?local=1", &[], b"").await.status != 200 {} };
        tokio::time::timeout(PATIENCE, local).await.expect("all owners have it");
    }
    let mut disks = Vec::new();
    while let Some(node) = nodes.pop() {
        disks.push(stop(node).await);
    }
    let alone = start(config(&members[0], &members, &store), disks.pop().unwrap()).await.unwrap();
    assert_eq!(put(&alone.api, "k2", None, "v").await.status, 204, "it takes writes at once");
    let served = async { while get(&alone.api, "k").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, served).await.expect("a store of R = 1 does without the others");
}
