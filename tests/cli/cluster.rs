//! A local cluster of real processes, from up to down.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::harness::{Cluster, command, ended, nodes_of, quorate, quorate_with_input};

#[test]
fn values_go_in_come_out_and_go_away() {
    let cluster = Cluster::up("profile = \"dynamo\"\n", "3");
    let status = cluster.client(&["cluster", "status", "--json"]).with(0).json();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(status["nodes"][0]["liveness"], "alive", "{status}");

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

/// The nodes of `cluster status`, by name.
fn status_of(cluster: &Cluster) -> Vec<String> {
    let status = cluster.client(&["cluster", "status", "--json"]).with(0).json();
    status["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn nodes_come_and_go_and_what_was_written_stays() {
    let cluster = Cluster::up("profile = \"quorum\"\npartitions = 16\n", "3");
    for key in ["a", "b", "c", "d"] {
        cluster.client(&["put", key, key]).with(0);
    }
    let added = cluster.client(&["cluster", "add", "--capacity", "2", "--zone", "z2", "--json"]).with(0);
    assert!(added.stderr.contains("n4 is up"), "{}", added.stderr);
    let added = added.json();
    assert_eq!((added["id"].as_str(), added["view"].as_str()), (Some("n4"), Some("2-stable")));
    assert_eq!((added["capacity"].as_u64(), added["zone"].as_str()), (Some(2), Some("z2")));
    assert_eq!(status_of(&cluster), ["n1", "n2", "n3", "n4"]);

    let fourth = nodes_of(&cluster.dir()).remove(3);
    let second = nodes_of(&cluster.dir()).remove(1);
    let removed = cluster.client(&["cluster", "remove", "n2", "--json"]).with(0).json();
    assert_eq!((removed["handed_over"].as_bool(), removed["view"].as_str()), (Some(true), Some("3-stable")));
    assert!(second.is_gone());
    assert_eq!(status_of(&cluster), ["n1", "n3", "n4"]);

    // Three nodes hold three copies of everything: one more cannot go, and nothing changes.
    cluster.client(&["cluster", "remove", "n1"]).refused(&["refuses the change", "2 node(s)", "add a node"]);
    cluster.client(&["cluster", "remove", "n4", "--dead"]).refused(&["n4 still runs", "--dead"]);
    cluster.client(&["cluster", "remove", "n2"]).refused(&["no node n2", "n1, n3, n4"]);

    // A name is not given twice, also after the node is dead.
    cluster.client(&["cluster", "add"]).with(0);
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(fourth.pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert!(fourth.is_gone());
    cluster.client(&["cluster", "remove", "n4"]).refused(&["n4 does not run", "--dead"]);
    let removed = cluster.client(&["cluster", "remove", "n4", "--dead", "--json"]).with(0).json();
    assert_eq!(removed["handed_over"].as_bool(), Some(false));
    assert_eq!(status_of(&cluster), ["n1", "n3", "n5"]);
    for key in ["a", "b", "c", "d"] {
        assert_eq!(cluster.client(&["get", key]).with(0).stdout, key);
    }

    // The nodes that joined are there again after a restart.
    cluster.client(&["cluster", "down"]).with(0);
    cluster.client(&["cluster", "add"]).refused(&["no node of this cluster runs", "cluster up"]);
    cluster.client(&["cluster", "up"]).with(0);
    assert_eq!(cluster.client(&["get", "d"]).with(0).stdout, "d");
}

#[test]
fn a_node_that_the_cluster_does_not_want_leaves_nothing_behind() {
    let cluster =
        Cluster::up("replicas = 1\nread_quorum = 1\nwrite_quorum = 1\nplacement = \"tokens\"\n", "1");
    cluster.client(&["cluster", "add"]).refused(&["refuses the change", "placed by `tokens`"]);
    assert_eq!(status_of(&cluster), ["n1"]);
    assert!(!cluster.dir().join("nodes/n2").exists());
}

#[test]
fn members_are_changed_with_the_token_of_the_cluster_and_no_other() {
    let cluster = Cluster::up("profile = \"quorum\"\npartitions = 16\n", "3");
    let dir = cluster.path();
    let mut with_another = command(&["cluster", "remove", "n3", "--dir", &dir]);
    let refused =
        ended(with_another.env("QUORATE_ADMIN_TOKEN", "not the token of this cluster").output().unwrap());
    refused.refused(&["refuses the change", "admin_token_file"]);
    assert_eq!(status_of(&cluster), ["n1", "n2", "n3"]);

    let token = cluster.dir().join("admin.token");
    let kept = std::fs::read_to_string(&token).unwrap();
    std::fs::write(&token, "a new token for everybody").unwrap();
    cluster.client(&["cluster", "add"]).with(0);
    let mut with_the_old = command(&["cluster", "remove", "n4", "--dir", &dir]);
    ended(with_the_old.env("QUORATE_ADMIN_TOKEN", kept).output().unwrap()).refused(&["refuses the change"]);
    assert_eq!(status_of(&cluster), ["n1", "n2", "n3", "n4"]);
}
