//! A linearizable store: compare-and-set, lost votes, changes of the members.

use super::lost_disk::{stop, votes};
use super::members::{expect_all, join, keys, put_all, settled};
use super::*;

fn store() -> StoreDefinition {
    StoreDefinition::profile("linearizable").unwrap()
}

pub(super) fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

async fn set_if(api: &str, condition: (&str, &str), value: &str) -> Reply {
    ask(api, "PUT", "/kv/k", &[condition], value.as_bytes()).await
}

/// Waits until all nodes are in the same stable view of `epoch` or a later one.
async fn past(nodes: &[&Running], epoch: u64) {
    let is_past = |node: &Running| {
        let version = node.coordinator.views.current().version();
        version.epoch >= epoch && version.phase == crate::membership::Phase::Stable
    };
    let waiting = async {
        while !nodes.iter().all(|node| is_past(node)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the views come");
}

#[tokio::test]
async fn a_write_replaces_exactly_what_its_etag_names() {
    let (nodes, _) = cluster(3, &store()).await;
    let [a, b, c] = [&nodes[0].api, &nodes[1].api, &nodes[2].api];
    assert_eq!(get(a, "k").await.status, 404);
    let created = set_if(a, ("if-none-match", "*"), "one").await;
    assert_eq!(created.status, 204);
    let first = header(&created, "etag").unwrap().to_owned();
    let again = set_if(b, ("if-none-match", "*"), "two").await;
    assert_eq!((again.status, again.json()["error"].as_str()), (412, Some("precondition_failed")));
    assert_eq!(
        (again.json()["maybe_applied"].as_bool(), header(&again, "etag")),
        (Some(false), Some(&*first))
    );
    let seen = get(c, "k").await;
    assert_eq!((seen.status, seen.body.as_slice()), (200, b"one".as_slice()));
    assert_eq!(header(&seen, "etag"), Some(&*first));
    assert!(header(&seen, "x-quorate-context").is_some());
    let second = set_if(b, ("if-match", &first), "two").await;
    assert_eq!(second.status, 204);
    assert_eq!(set_if(c, ("if-match", &first), "three").await.status, 412, "that is no longer there");
    assert_eq!(get(a, "k").await.body, b"two");
    assert_eq!(put(c, "k", None, "over it").await.status, 204, "a plain put asks for nothing");
    let second = header(&second, "etag").unwrap().to_owned();
    assert_eq!(ask(a, "DELETE", "/kv/k", &[("if-match", &second)], b"").await.status, 412);
    let last = header(&get(b, "k").await, "etag").unwrap().to_owned();
    assert_eq!(ask(a, "DELETE", "/kv/k", &[("if-match", &last)], b"").await.status, 204);
    let gone = get(b, "k").await;
    assert_eq!((gone.status, header(&gone, "etag")), (404, None));
    assert!(header(&gone, "x-quorate-version").is_some(), "it says which delete it was");
    assert_eq!(set_if(c, ("if-none-match", "*"), "anew").await.status, 204);
    for (condition, status) in [
        (("if-match", "unquoted"), 400),
        (("if-match", "*"), 400),
        (("if-match", "\"a\", \"b\""), 400),
        (("if-match", "\"never given\""), 412),
        (("if-none-match", "\"x\""), 400),
    ] {
        assert_eq!(set_if(a, condition, "no").await.status, status, "{condition:?}");
    }
    assert_eq!(get(c, "k").await.body, b"anew");
}

#[tokio::test]
async fn concurrent_increments_lose_none_and_happen_once() {
    let (nodes, _) = cluster(3, &store()).await;
    assert_eq!(put(&nodes[0].api, "k", None, "0").await.status, 204);
    let mut adders = tokio::task::JoinSet::new();
    for node in &nodes {
        let api = node.api.clone();
        adders.spawn(async move {
            let (mut certain, mut maybe) = (0_u64, 0_u64);
            while certain < 20 {
                let read = get(&api, "k").await;
                let Some(etag) = header(&read, "etag").map(str::to_owned) else { continue };
                let count: u64 = String::from_utf8(read.body).unwrap().parse().unwrap();
                let reply = set_if(&api, ("if-match", &etag), &(count + 1).to_string()).await;
                match reply.status {
                    204 => certain += 1,
                    412 => {}
                    _ => maybe += u64::from(reply.json()["maybe_applied"].as_bool().unwrap()),
                }
            }
            (certain, maybe)
        });
    }
    let (mut certain, mut maybe) = (0, 0);
    while let Some(added) = adders.join_next().await {
        let added = added.unwrap();
        (certain, maybe) = (certain + added.0, maybe + added.1);
    }
    let count: u64 = String::from_utf8(get(&nodes[1].api, "k").await.body).unwrap().parse().unwrap();
    assert!((certain..=certain + maybe).contains(&count), "{count} of {certain} and perhaps {maybe} more");
}

#[tokio::test]
async fn an_owner_whose_disk_was_lost_votes_only_behind_a_view_that_names_its_new_one() {
    let store = store();
    let (nodes, members) = cluster(3, &store).await;
    put_all(&nodes[0], &keys(0..40)).await;
    for node in &nodes {
        votes(node).await;
    }
    let mut nodes = nodes.into_iter();
    let (first, second, third) = (nodes.next().unwrap(), nodes.next().unwrap(), nodes.next().unwrap());
    stop(first).await;
    let third_disk = stop(third).await;
    let wiped = start(config(&members[0], &members, &store), SimulatedDisk::default()).await.unwrap();
    let refused = get(&second.api, "k0").await;
    assert_eq!(refused.status, 503, "one vote of three, and one owner that forgot: neither is a majority");
    let third = start(config(&members[2], &members, &store), third_disk).await.unwrap();
    ready(&wiped.api).await;
    past(&[&wiped, &second, &third], 2).await;
    assert!(wiped.coordinator.views.current().disk_of(members[0].id).is_some());
    // What the second owner voted is met through the one that was refilled.
    stop(second).await;
    expect_all(&wiped, &keys(0..40)).await;
    expect_all(&third, &keys(0..40)).await;
    assert_eq!(put(&third.api, "k0", None, "more").await.status, 204);
}

#[tokio::test]
async fn members_come_and_go_and_every_value_stays() {
    let store = store();
    let (nodes, members) = cluster(3, &store).await;
    put_all(&nodes[0], &keys(0..60)).await;
    let fourth = join(&members[0], &nodes[0], &store, "n4").await;
    let everybody: Vec<&Running> = nodes.iter().chain([&fourth]).collect();
    settled(&everybody, 2).await;
    expect_all(&fourth, &keys(0..60)).await;
    put_all(&fourth, &keys(60..80)).await;
    let left = ask(&nodes[1].api, "DELETE", "/cluster/members/n1", &[], b"").await;
    assert_eq!(left.status, 202);
    settled(&everybody, 3).await;
    falls(&nodes[0].api, "quorate_store_records", 0).await;
    let mut nodes = nodes.into_iter();
    stop(nodes.next().unwrap()).await;
    for node in nodes.chain([fourth]) {
        expect_all(&node, &keys(0..80)).await;
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_cannot_be_added() {
    let (nodes, _) = cluster(3, &store()).await;
    let absent = serde_json::json!({
        "id": "n4", "peer": free_address(), "api": free_address(), "capacity": 1, "zone": "",
    });
    let reply = ask(&nodes[0].api, "POST", "/cluster/members", &[], absent.to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (409, Some("not_there")));
    assert_eq!(nodes[0].coordinator.views.current().version().epoch, 1);
}
