//! Backups of local clusters of real processes, restored into others.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{Cluster, Ended, command, ended, nodes_of, quorate};

const KEYS: usize = 20;

fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

/// Backs up while somebody writes, into a file of this name.
fn back_up_under_load(cluster: &Cluster, file: &str) {
    let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !done.load(Ordering::Acquire) {
                cluster.client(&["put", &format!("meanwhile{written}"), "v"]).with(0);
                cluster.client(&["put", &format!("k{}", written % KEYS), "newer"]).with(0);
                begun.store(true, Ordering::Release);
                written += 1;
            }
            written
        });
        while !begun.load(Ordering::Acquire) {
            assert!(!writer.is_finished(), "the writer has failed");
            std::thread::yield_now();
        }
        let taken = cluster.client(&["cluster", "backup", file, "--json"]);
        done.store(true, Ordering::Release);
        assert!(writer.join().unwrap() > 0);
        let taken = taken.with(0).json();
        assert!(taken["entries"].as_u64().unwrap() >= KEYS as u64, "{taken}");
        assert_eq!(taken["partial"], false);
    });
}

#[test]
fn what_was_acknowledged_before_a_backup_is_in_another_cluster_after_a_restore() {
    let store = "profile = \"dynamo\"\npartitions = 64\n";
    let cluster = Cluster::up(store, "3");
    for i in 0..KEYS {
        cluster.client(&["put", &format!("k{i}"), &format!("v{i}")]).with(0);
    }
    for value in ["one", "two"] {
        cluster.client(&["put", "both", value]).with(0);
    }
    cluster.client(&["put", "gone", "v"]).with(0);
    let seen = cluster.client(&["get", "gone", "--json"]).with(0).json();
    cluster.client(&["delete", "gone", "--context", seen["context"].as_str().unwrap()]).with(0);
    let dir = TempDir::new().unwrap();
    let file = path(&dir, "it.backup");
    back_up_under_load(&cluster, &file);
    cluster.client(&["cluster", "backup", &file]).refused(&["it.backup", "there already"]);

    let other = Cluster::up(store, "5");
    other.client(&["put", "own", "v"]).with(0);
    other.client(&["cluster", "restore", &file]).refused(&["holds keys already", "\"own\"", "--merge"]);
    other.client(&["cluster", "restore", &file, "--merge", "--json"]).with(0);
    for i in 0..KEYS {
        let found = other.client(&["get", &format!("k{i}"), "--json"]).with(0).stdout;
        let values = serde_json::from_str::<serde_json::Value>(&found).unwrap()["values"].to_string();
        assert!(values.contains(&format!("v{i}")), "a blind put replaces nothing: {found}");
    }
    let both = other.client(&["get", "both", "--json"]).with(0).json();
    assert_eq!(both["values"].as_array().unwrap().len(), 2, "{both}");
    other.client(&["get", "gone"]).with(1);
    assert_eq!(other.client(&["get", "own"]).with(0).stdout, "v");

    let one = Cluster::up("profile = \"dynamo\"\npartitions = 64\nread_quorum = 1\n", "3");
    one.client(&["cluster", "restore", &file]).refused(&["read_quorum was 2 and is 1", "--other-definition"]);
    let restored = one.client(&["cluster", "restore", &file, "--other-definition"]).with(0);
    assert!(restored.stderr.contains("read_quorum was 2 and is 1"), "{restored:#?}");
    one.client(&["get", "both"]).with(0);
}

#[test]
fn registers_come_back_under_their_etags() {
    let store = "profile = \"linearizable\"\npartitions = 64\n";
    let cluster = Cluster::up(store, "4");
    for i in 0..KEYS {
        cluster.client(&["put", &format!("k{i}"), &format!("v{i}")]).with(0);
    }
    cluster.client(&["delete", "k0"]).with(0);
    let version = cluster.client(&["get", "k19", "--json"]).with(0).json()["version"].clone();
    let dir = TempDir::new().unwrap();
    let file = path(&dir, "it.backup");
    back_up_under_load(&cluster, &file);
    let other = Cluster::up(store, "3");
    other.client(&["cluster", "restore", &file]).with(0);
    for i in 1..KEYS {
        let found = other.client(&["get", &format!("k{i}"), "--json"]).with(0).json();
        let value = found["values"][0].to_string();
        assert!(value.contains(&format!("v{i}")) || value.contains("newer"), "{found}");
        if i == 19 && !value.contains("newer") {
            assert_eq!(found["version"], version);
        }
    }
}

#[test]
fn what_only_others_keep_for_dead_owners_is_taken_along() {
    let store = "profile = \"dynamo\"\npartitions = 64\n";
    let cluster = Cluster::up(store, "5");
    for node in &nodes_of(&cluster.dir())[..3] {
        kill_process(Pid::from_raw(node.pid).unwrap(), Signal::KILL).unwrap();
        assert!(node.is_gone());
    }
    // Three copies on five nodes: of some of these keys all owners are dead.
    let keys: Vec<String> = (0..40).map(|i| format!("h{i}")).collect();
    for key in &keys {
        cluster.client(&["put", key, key]).with(0);
    }
    let dir = TempDir::new().unwrap();
    let file = path(&dir, "it.backup");
    let refused = cluster.client(&["cluster", "backup", &file, "--timeout", "1s"]).with(2);
    for part in ["partition 0", "n1, n2, n3 do not answer", "W = 2", "at most 1"] {
        assert!(refused.stderr.contains(part), "`{part}`: {refused:#?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left of it");
    let taken = cluster.client(&["cluster", "backup", &file, "--partial", "--json"]).with(0).json();
    assert_eq!((&taken["partial"], &taken["lacking"]["n2"]), (&true.into(), &64.into()), "{taken}");

    let other = Cluster::up(store, "3");
    let restored = other.client(&["cluster", "restore", &file]).with(0);
    assert!(restored.stderr.contains("partial"), "{restored:#?}");
    for key in &keys {
        assert_eq!(other.client(&["get", key]).with(0).stdout, *key);
    }
}

#[test]
fn a_file_that_is_no_whole_backup_changes_nothing() {
    let cluster = Cluster::of_one();
    cluster.client(&["put", "k", "v"]).with(0);
    let dir = TempDir::new().unwrap();
    let file = path(&dir, "it.backup");
    let strange = ended(
        command(&["cluster", "backup", &file, "--dir", &cluster.path()])
            .env("QUORATE_ADMIN_TOKEN", "a token of somebody else")
            .output()
            .unwrap(),
    );
    strange.refused(&["that is not the token"]);
    cluster.client(&["cluster", "backup", &file]).with(0);
    let whole = std::fs::read(&file).unwrap();
    let verified = cluster.client(&["cluster", "restore", &file, "--verify", "--json"]).with(0).json();
    assert_eq!((&verified["entries"], &verified["store"]["replicas"]), (&1.into(), &1.into()));

    let spoiled = |name: &str, bytes: &[u8], says: &[&str]| {
        let file = path(&dir, name);
        std::fs::write(&file, bytes).unwrap();
        let parts = [&[name], says].concat();
        cluster.client(&["cluster", "restore", &file, "--verify"]).refused(&parts);
        cluster.client(&["cluster", "restore", &file, "--merge"]).refused(&parts);
    };
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    spoiled("cut", &whole[..whole.len() - 9], &["is cut off", "copy it again"]);
    spoiled("rotten", &changed(whole.len() / 2), &["is damaged at byte", "use another backup"]);
    let mut newer = whole.clone();
    newer[16] = 9;
    spoiled("newer", &newer, &["format 9", "the version that took it"]);
    spoiled("else", b"once upon a time there was", &["is no backup"]);
    cluster.client(&["cluster", "restore", &path(&dir, "none")]).refused(&["none", "No such file"]);
    assert!(Path::new(&file).exists());
    assert_eq!(cluster.client(&["get", "k"]).with(0).stdout, "v");
}

/// What a get says that asks this node alone.
fn get_through(cluster: &Cluster, node: usize, key: &str) -> Ended {
    let text = std::fs::read_to_string(cluster.dir().join("cluster.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (url, ca) = (state["nodes"][node]["url"].as_str().unwrap(), state["ca"].as_str().unwrap());
    quorate(&["get", key, "--node", url, "--ca", ca])
}

/// Ends some nodes of a cluster and takes their disks away.
fn destroy(cluster: &Cluster, nodes: &[usize]) {
    let pids = nodes_of(&cluster.dir());
    for at in nodes {
        kill_process(Pid::from_raw(pids[*at].pid).unwrap(), Signal::KILL).unwrap();
        assert!(pids[*at].is_gone());
        std::fs::remove_dir_all(cluster.dir().join("nodes").join(format!("n{}", at + 1)).join("data"))
            .unwrap();
    }
}

#[test]
fn what_is_left_goes_on_when_it_is_forced_to() {
    // W = 3: a write that the survivor lacks would be lost.
    let cluster = Cluster::up("profile = \"quorum\"\nwrite_quorum = 3\npartitions = 64\n", "3");
    for i in 0..KEYS {
        cluster.client(&["put", &format!("k{i}"), &format!("v{i}")]).with(0);
    }
    cluster.client(&["cluster", "recover", "--lost", "n2"]).refused(&["n2 still runs"]);
    destroy(&cluster, &[1, 2]);
    get_through(&cluster, 0, "k1").with(2);
    cluster.client(&["cluster", "remove", "n2", "--dead"]).with(3);
    let lost = ["cluster", "recover", "--lost", "n2", "--lost", "n3"];
    cluster.client(&lost).refused(&["would be lost", "--force", "2 new one(s)"]);
    let forced = [&lost[..], &["--force", "--json"]].concat();
    let recovered = cluster.client(&forced).with(0).json();
    assert_eq!(recovered["joined"].as_array().unwrap().len(), 2, "{recovered}");
    assert_eq!(recovered["partitions_gone"], 0);
    for i in 0..KEYS {
        assert_eq!(cluster.client(&["get", &format!("k{i}")]).with(0).stdout, format!("v{i}"));
    }
    cluster.client(&["put", "after", "v"]).with(0);
    // There is a majority again.
    cluster.client(&["cluster", "add"]).with(0);
    assert_eq!(cluster.client(&["get", "after"]).with(0).stdout, "v");
}

#[test]
fn what_is_left_of_a_linearizable_store_goes_into_a_new_one() {
    let store = "profile = \"linearizable\"\npartitions = 64\n";
    let cluster = Cluster::up(store, "3");
    for i in 0..KEYS {
        cluster.client(&["put", &format!("k{i}"), "v"]).with(0);
    }
    destroy(&cluster, &[0, 2]);
    get_through(&cluster, 1, "k1").with(2);
    let refused = cluster.client(&["cluster", "recover", "--lost", "n1", "--lost", "n3", "--force"]);
    refused.refused(&["linearizable", "backup --partial"]);
    let dir = TempDir::new().unwrap();
    let file = path(&dir, "left.backup");
    let left = cluster.client(&["cluster", "backup", &file, "--partial", "--json"]).with(0).json();
    assert!(left["entries"].as_u64().unwrap() > 0, "{left}");
    let other = Cluster::up(store, "3");
    let restored = other.client(&["cluster", "restore", &file, "--json"]).with(0).json();
    assert_eq!(restored["restored"], left["entries"]);
}
