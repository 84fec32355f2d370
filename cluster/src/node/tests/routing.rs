//! Clients that ask owners, against whole nodes.

use quorate_client::{Client, ClientOptions, GetStatus, NodeChoice, ReadOptions, Retry, WriteOptions};

use super::members::{join, settled};
use super::*;
use crate::config::Placement;

fn client(nodes: &[&Running], node_choice: NodeChoice) -> Client {
    let urls = nodes.iter().map(|node| format!("http://{}", node.api).parse().unwrap()).collect();
    let retry = Retry::IfNeverHappened { attempts: 5, pause: Duration::from_millis(10) };
    let options = ClientOptions { node_choice, retry, ..ClientOptions::default() };
    Client::new(Arc::new(TokioNetwork), urls, None, options).unwrap()
}

fn keys() -> Vec<String> {
    (0..60).map(|i| format!("key-{i}")).collect()
}

async fn put_and_get(client: &Client, keys: &[String]) {
    for key in keys {
        client.put(key, b"v", None, WriteOptions::default()).await.unwrap();
        let found = client.get(key, ReadOptions::default()).await.unwrap();
        assert_ne!(found.status, GetStatus::NotFound, "{key}");
    }
}

async fn detours(nodes: &[&Running]) -> u64 {
    let mut sum = 0;
    for node in nodes {
        sum += metric(&node.api, "quorate_coordinated_for_others_total").await;
    }
    sum
}

#[tokio::test]
async fn a_client_that_asks_owners_spares_the_detour() {
    for placement in [Placement::Quota, Placement::Tokens] {
        let store = StoreDefinition { placement, partitions: 64, ..StoreDefinition::default() };
        let (nodes, _) = cluster(5, &store).await;
        let nodes: Vec<&Running> = nodes.iter().collect();
        put_and_get(&client(&nodes, NodeChoice::RoundRobin), &keys()).await;
        let any = detours(&nodes).await;
        assert!(any > 20, "two of five nodes do not own a key: {any}");
        // It is told of one node only, and finds the others.
        put_and_get(&client(&nodes[..1], NodeChoice::Owner), &keys()).await;
        assert_eq!(detours(&nodes).await, any, "{placement}");
    }
}

#[tokio::test]
async fn it_follows_a_change_of_the_members() {
    let store = StoreDefinition { partitions: 64, ..StoreDefinition::profile("quorum").unwrap() };
    let (nodes, members) = cluster(3, &store).await;
    let client = client(&[&nodes[0]], NodeChoice::Owner);
    put_and_get(&client, &keys()).await;
    let fourth = join(&members[0], &nodes[1], &store, "n4").await;
    let all = [&nodes[0], &nodes[1], &nodes[2], &fourth];
    settled(&all, 2).await;
    // It is told by the first answer, and asks beside the next ones.
    let follows = async {
        loop {
            let before = detours(&all).await;
            put_and_get(&client, &keys()).await;
            if client.node_count() == 4 && detours(&all).await == before {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, follows).await.expect("it sends to the new owners");
    let asked = metric(&fourth.api, "quorate_gets_total").await;
    assert!(asked > 0, "the new node is an owner like the others");
}

#[tokio::test]
async fn it_goes_on_while_an_owner_is_away() {
    let store = StoreDefinition { partitions: 64, ..StoreDefinition::profile("quorum").unwrap() };
    let (mut nodes, _) = cluster(3, &store).await;
    let client = client(&[&nodes[1]], NodeChoice::Owner);
    put_and_get(&client, &keys()).await;
    let gone = nodes.remove(0);
    gone.handle.shut_down();
    gone.task.await.unwrap().unwrap();
    put_and_get(&client, &keys()).await;
}
