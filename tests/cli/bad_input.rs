//! Bad input: a message that names the file, field or line and what to do, exit code 3, and
//! nothing lost.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::TcpListener;

use tempfile::TempDir;

use crate::harness::{Cluster, Running, file, quorate};
use rustix::process::Signal;

/// A node alone, on ports that the system chooses.
fn config(dir: &TempDir, listen: &str, store: &str) -> String {
    let data = dir.path().join("data");
    let text = format!(
        "[node]\nid = \"n1\"\nlisten = \"{listen}\"\npeer_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n\
         [store]\nreplicas = 1\nread_quorum = 1\nwrite_quorum = 1\n{store}\n",
        data.display()
    );
    file(dir, "n1.toml", &text)
}

#[test]
fn unknown_and_clashing_settings_are_named() {
    let dir = TempDir::new().unwrap();
    let misspelt = config(&dir, "127.0.0.1:0", "read_qorum = 2");
    quorate(&["serve", "--config", &misspelt]).refused(&[
        "n1.toml",
        "read_qorum",
        "did you mean `read_quorum`",
    ]);
    let clash = config(&dir, "127.0.0.1:0", "engine = \"memory\"\ndurability = \"commit\"");
    quorate(&["serve", "--config", &clash]).refused(&["n1.toml", "memory", "commit"]);
    quorate(&["serve", "--config", "nowhere.toml"]).refused(&["nowhere.toml"]);
    let torn = file(&dir, "torn.toml", "[node\n");
    quorate(&["serve", "--config", &torn]).refused(&["torn.toml"]);

    let store = file(&dir, "store.toml", "[store]\nreplicas = 3\nread_quorum = 4\n");
    quorate(&["cluster", "up", "--store", &store]).refused(&[
        "store.toml",
        "read_quorum",
        "4",
        "replicas",
        "3",
    ]);
    quorate(&["bench", "--profile", "dynmo"]).refused(&["dynmo", "did you mean `dynamo`"]);
    quorate(&["bench", "--nodes", "2"]).refused(&["--nodes 2", "replicas = 3"]);
    quorate(&["bench", "--value-bytes", "2 MiB"]).refused(&["2097152", "value_bytes_max = 1048576"]);
    quorate(&["bench", "--clients", "4", "--rate", "10"]).refused(&["clients (4)", "rate (10)"]);
    quorate(&["chaos", "run", "clam"]).refused(&["clam", "did you mean `calm`"]);
    let scenario = file(&dir, "s.toml", "[clutser]\nnodes = 5\n");
    quorate(&["chaos", "run", &scenario]).refused(&["s.toml", "clutser", "did you mean `cluster`"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = TempDir::new().unwrap();
    let config = config(&dir, &address, "");
    quorate(&["serve", "--config", &config]).refused(&["n1.toml", &address]);
}

#[test]
fn directories_that_cannot_be_used_are_named() {
    let dir = TempDir::new().unwrap();
    let blocking = file(&dir, "file", "not a directory");
    let below = format!("{blocking}/below");
    quorate(&["bench", "--out", &below]).refused(&["file"]);
    quorate(&["cluster", "up", "--dir", &below]).refused(&["file"]);
    let full = dir.path().display().to_string();
    quorate(&["bench", "--out", &full]).refused(&["not empty", &full]);
    quorate(&["chaos", "run", "calm", "--seed", "1", "--out", &full]).refused(&["not empty", &full]);
    quorate(&["cluster", "up", "--dir", &full]).refused(&["not empty", &full]);
    quorate(&["cluster", "status", "--dir", &full]).refused(&["cluster.json", "cluster up"]);
    quorate(&["report", &full]).refused(&["run.json"]);
    quorate(&["chaos", "replay", &full]).refused(&["run.json"]);

    let text = config(&dir, "127.0.0.1:0", "");
    let text = std::fs::read_to_string(text).unwrap().replace("/data\"", "/file\"");
    let config = file(&dir, "blocked.toml", &text);
    quorate(&["serve", "--config", &config]).refused(&["file"]);
}

#[test]
fn a_data_directory_of_another_store_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let first = config(&dir, "127.0.0.1:0", "");
    let mut node = Running::start(&["serve", "--config", &first]);
    node.wait_for("made a development authority");
    node.wait_for("peers at");
    node.signal(Signal::TERM);
    node.end().with(0);

    let other = config(&dir, "127.0.0.1:0", "partitions = 8");
    quorate(&["serve", "--config", &other]).refused(&["n1.toml", "partitions differ"]);
    let again = config(&dir, "127.0.0.1:0", "");
    let mut node = Running::start(&["serve", "--config", &again]);
    node.wait_for("peers at");
    node.signal(Signal::TERM);
    node.end().with(0);
}

#[test]
fn keys_values_and_tokens_that_cannot_be_are_refused_and_nothing_is_lost() {
    let cluster = Cluster::of_one();
    let token = cluster.client(&["put", "k", "v"]).with(0).stdout;
    let token = token.trim();
    cluster.client(&["put", "a-key-of-more-than-sixteen-bytes", "v"]).refused(&["400", "16", "32"]);
    cluster.client(&["put", "k", &"v".repeat(65)]).refused(&["413", "64"]);
    cluster.client(&["put", "k", "w", "--context", "garbage"]).refused(&["400", "context"]);
    cluster.client(&["put", "other", "w", "--context", token]).refused(&["400", "context"]);
    cluster.client(&["get", ""]).refused(&["KEY"]);
    assert_eq!(cluster.client(&["get", "k"]).with(0).stdout, "v");
    cluster.client(&["get", "other"]).with(1);

    quorate(&["get", "k", "--node", "127.0.0.1:1"]).refused(&["127.0.0.1:1", "https://"]);
    quorate(&["get", "k", "--node", "https://127.0.0.1:1"]).refused(&["--ca"]);
    quorate(&["get", "k", "--node", "http://127.0.0.1:1"]).refused(&["cannot connect"]);
    quorate(&["get", "k", "--dir", "/nowhere"]).refused(&["--node", "cluster up"]);
}

#[test]
fn a_data_directory_of_a_newer_format_is_refused_by_both_versions_and_left_as_it_is() {
    for (engine, name, newer, versions) in [
        ("log", "node.json", "{\"format\": 7, \"anything\": true}", ["format 7", "format 1"]),
        ("log", "log.format", "quorate-log 7\nanything\n", ["quorate-log 7", "quorate-log 1"]),
        ("sled", "log.format", "quorate-log 7\n", ["quorate-log 7", "quorate-log 1"]),
        ("fjall", "fjall/version", "FJL\u{7}", ["FJL\\x07", "FJL\\x03"]),
    ] {
        let dir = TempDir::new().unwrap();
        let config = config(&dir, "127.0.0.1:0", &format!("engine = \"{engine}\""));
        let path = dir.path().join("data").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, newer).unwrap();
        let segment = dir.path().join("data/log-0000000001.segment");
        std::fs::write(&segment, "what only the newer version understands").unwrap();
        quorate(&["serve", "--config", &config]).refused(&[
            name.rsplit('/').next().unwrap(),
            versions[0],
            versions[1],
        ]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
        assert_eq!(std::fs::read_to_string(&segment).unwrap(), "what only the newer version understands");
    }
}
