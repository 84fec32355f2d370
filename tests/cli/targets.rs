//! `quorate bench --target`: stores of others, and what is no store.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{file, quorate};
use crate::servers::Server;

const SHORT: &[&str] = &["bench", "--duration", "2s", "--warmup", "200ms", "--keys", "100", "--rate", "200"];

fn run_json(dir: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join("run.json")).unwrap()).unwrap()
}

/// Measures `target` with its history judged: it must be linearizable.
fn measured_and_checked(target: &str) {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let ended = quorate(&[SHORT, &["--target", target, "--check", "--out", dir.to_str().unwrap()]].concat());
    let ended = ended.with(0);
    assert!(ended.stdout.contains("checked: valid (register, "), "{ended:#?}");
    let record = run_json(&dir);
    let schema: Value = serde_json::from_str(quorate_loadgen::rundir::RUN_SCHEMA).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&record), "{record}");
    assert_eq!(record["config"]["target"][0], target);
    let ok = |op: &str| record["results"]["ops"][op]["ok"].as_u64().unwrap();
    assert!(ok("get") > 100 && ok("put") > 100, "{record}");
    assert_eq!(record["load"]["loaded"], 100);
    assert!(
        quorate(&["check", "--model", "register", dir.to_str().unwrap()]).with(0).stdout.contains("valid")
    );
}

#[test]
fn redis_is_measured_and_judged() {
    let Some(server) = Server::redis() else { return };
    measured_and_checked(&format!("redis://127.0.0.1:{}", server.port));
}

#[test]
fn etcd_is_measured_and_judged() {
    let Some(server) = Server::etcd() else { return };
    measured_and_checked(&format!("etcd://127.0.0.1:{}", server.port));
}

#[test]
fn the_generator_alone_can_be_measured() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("run").display().to_string();
    let record = quorate(&[SHORT, &["--target", "null", "--json", "--out", &out]].concat()).with(0).json();
    assert_eq!(record["config"]["target"][0], "null");
    assert_eq!(record["results"]["dropped"], 0);
}

#[test]
fn a_target_that_does_not_answer_is_no_measurement() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("run").display().to_string();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = mute.local_addr().unwrap().to_string();
    for scheme in ["http", "redis", "etcd"] {
        for address in ["127.0.0.1:1", &mute] {
            let target = format!("{scheme}://{address}");
            let words = ["bench", "--target", &target, "--deadline", "300ms", "--out", &out];
            quorate(&words).refused(&["the target does not answer", address]);
        }
    }
    // An authority that has nothing to do with the server, which does not even speak TLS.
    let ca = file(&parent, "ca.pem", "not a certificate");
    let target = format!("etcds://{mute}");
    quorate(&["bench", "--target", &target, "--ca", &ca, "--out", &out])
        .refused(&["ca.pem", "no PEM certificate"]);
}

#[test]
fn what_cannot_be_asked_of_a_target_is_refused_before_anything_is_sent() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("run").display().to_string();
    let ca = file(&parent, "ca.pem", "");
    for (words, parts) in [
        (&["etcd"][..], &["`etcd`", "etcd://host:port"][..]),
        (&["redis://a:1", "--ca", &ca], &["--ca", "redis://a:1", "not encrypted"]),
        (&["etcds://a:1"], &["--ca", "etcds://a:1"]),
        (&["redis://a:1", "--route", "owner"], &["--route owner", "redis://a:1"]),
        (&["null", "--check"], &["--check", "null", "nothing to judge"]),
        (&["etcd://a:1", "--check", "--no-load"], &["--no-load", "etcd://a:1"]),
    ] {
        quorate(&[&["bench", "--out", &out, "--target"], words].concat()).refused(parts);
        assert!(!Path::new(&out).exists(), "refused before a directory was made");
    }
}
