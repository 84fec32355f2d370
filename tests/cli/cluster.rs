//! A local cluster of real processes, from up to down.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::harness::{Cluster, nodes_of, quorate, quorate_with_input};

#[test]
fn values_go_in_come_out_and_go_away() {
    let cluster = Cluster::up("profile = \"dynamo\"\n", "3");
    let status = cluster.client(&["cluster", "status", "--json"]).with(0).json();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);

    cluster.client(&["get", "k"]).with(1);
    let first = cluster.client(&["put", "k", "v1"]).with(0).stdout;
    assert_eq!(cluster.client(&["get", "k"]).with(0).stdout, "v1");

    // A blind put stands beside the first; one with the context of both replaces both.
    cluster.client(&["put", "k", "v2"]).with(0);
    let siblings = cluster.client(&["get", "k", "--json"]).with(0).json();
    assert_eq!(siblings["values"].as_array().unwrap().len(), 2, "{siblings}");
    let both = siblings["context"].as_str().unwrap();
    cluster.client(&["put", "k", "v3", "--context", both]).with(0);
    assert_eq!(cluster.client(&["get", "k"]).with(0).stdout, "v3");

    // The first context is old by now: what it did not see survives.
    cluster.client(&["delete", "k", "--context", first.trim()]).with(0);
    assert_eq!(cluster.client(&["get", "k"]).with(0).stdout, "v3");
    cluster.client(&["delete", "k"]).with(0);
    cluster.client(&["get", "k"]).with(1);
}

#[test]
fn bytes_are_bytes() {
    let cluster = Cluster::of_one();
    let bytes = [0_u8, 255, 10, 13, 34];
    quorate_with_input(&["put", "b/\u{e9}?", "-", "--dir", &cluster.path()], &bytes).with(0);
    let found = cluster.client(&["get", "b/\u{e9}?", "--json"]).with(0).json();
    assert_eq!(found["values"][0]["value"], "base64:AP8KDSI=");
}

#[test]
fn down_means_gone_and_up_again_means_the_same_data() {
    let cluster = Cluster::of_one();
    cluster.client(&["put", "k", "kept"]).with(0);
    let nodes = nodes_of(&cluster.dir());
    quorate(&["cluster", "up", "--dir", &cluster.path()]).refused(&["already up", "n1"]);
    cluster.client(&["cluster", "down"]).with(0);
    assert!(nodes.iter().all(|node| node.is_gone()));
    assert!(cluster.client(&["cluster", "status"]).with(1).stdout.contains("not running"));
    assert_eq!(cluster.client(&["cluster", "down", "--json"]).with(0).json()["stopped"], 0);

    quorate(&["cluster", "up", "--profile", "lww", "--dir", &cluster.path()])
        .refused(&["other settings", "lww"]);
    cluster.client(&["cluster", "up"]).with(0);
    assert_eq!(cluster.client(&["get", "k"]).with(0).stdout, "kept");
}

#[test]
fn down_ends_only_what_up_started() {
    let cluster = Cluster::of_one();
    cluster.client(&["cluster", "down"]).with(0);
    // As if the node's pid had been given to someone else since: this very test.
    let path = cluster.dir().join("cluster.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
    state["nodes"][0]["pid"] = std::process::id().into();
    std::fs::write(&path, state.to_string()).unwrap();
    assert_eq!(cluster.client(&["cluster", "down", "--json"]).with(0).json()["stopped"], 0);
}
