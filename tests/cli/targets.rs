//! `quorate bench --target`: stores of others, and what is no store.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Cluster, Running, file, quorate};
use crate::servers::Server;

const SHORT: &[&str] = &["bench", "--duration", "2s", "--warmup", "200ms", "--keys", "100", "--rate", "200"];

fn run_json(dir: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join("run.json")).unwrap()).unwrap()
}

/// Measures `target` with its history judged: it must be linearizable.
fn measured_and_checked(target: &str, name: &str) {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let ended = quorate(&[SHORT, &["--target", target, "--check", "--out", dir.to_str().unwrap()]].concat());
    let ended = ended.with(0);
    assert!(ended.stdout.contains("checked: valid (register, "), "{ended:#?}");
    let record = run_json(&dir);
    let schema: Value = serde_json::from_str(quorate_loadgen::rundir::RUN_SCHEMA).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&record), "{record}");
    assert_eq!(record["config"]["target"][0], target);
    let version = record["versions"]["target"].as_str().unwrap();
    assert!(version.starts_with(name) && version.ends_with(|c: char| c.is_ascii_digit()), "{version}");
    assert!(ended.stdout.contains(&format!("measured: {version}\n")), "{ended:#?}");
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
    measured_and_checked(&format!("redis://127.0.0.1:{}", server.port), "Redis ");
}

#[test]
fn etcd_is_measured_and_judged() {
    let Some(server) = Server::etcd(None) else { return };
    measured_and_checked(&format!("etcd://127.0.0.1:{}", server.port), "etcd 3.");
}

/// Searches for the highest rate of `target`, in trials as short as can be.
fn searched(target: &str) {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("run");
    let words = ["bench", "--saturate", "--target", target, "--keys", "50", "--slo", "p99<50ms"];
    let short = ["--warmup", "100ms", "--duration", "300ms", "--deadline", "500ms"];
    let ended = quorate(&[&words[..], &short, &["--out", dir.to_str().unwrap()]].concat());
    let record = run_json(&dir);
    let schema: Value = serde_json::from_str(quorate_loadgen::rundir::RUN_SCHEMA).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&record), "{record}");
    let search = &record["search"];
    let trials = search["trials"].as_array().unwrap();
    assert!(!trials.is_empty() && ended.stderr.contains("trial 1: 1000/s"), "{ended:#?}");
    assert!(record["versions"]["target"].is_string(), "{record}");
    // How far a busy machine lets it get is not for a test to say; that nothing else is said is.
    let (held, missed) = (search["held_per_s"].as_f64(), search["missed_per_s"].as_f64());
    assert!(held.zip(missed).is_none_or(|(held, missed)| held < missed), "{search}");
    let code = match (search["ended"].as_str().unwrap(), held) {
        ("nothing-held", None) => 1,
        (_, None) => 2,
        (_, Some(_)) => 0,
    };
    let ended = ended.with(code);
    if let Some(held) = held {
        assert!(ended.stdout.contains(&format!("held {held}/s")), "{ended:#?}");
        assert_eq!(record["config"]["plan"]["pace"]["rate"], held, "the results are those of that rate");
        let log = std::fs::read_to_string(dir.join("latency.hlog")).unwrap();
        assert!(log.lines().count() > 4 && log.ends_with('\n'), "{log}");
        let csv = std::fs::read_to_string(dir.join("timeseries.csv")).unwrap();
        assert!(csv.lines().any(|line| line.starts_with("measure,")), "{csv}");
    }
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("trial")), "{left:?}");
}

#[test]
fn the_highest_rate_of_redis_is_searched_for() {
    let Some(server) = Server::redis() else { return };
    searched(&format!("redis://127.0.0.1:{}", server.port));
}

#[test]
fn the_highest_rate_of_etcd_is_searched_for() {
    let Some(server) = Server::etcd(None) else { return };
    searched(&format!("etcd://127.0.0.1:{}", server.port));
}

/// Says something to Redis, and waits until it has heard it.
fn tell(port: u16, words: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(words.as_bytes()).unwrap();
    // An answer, or the end of the connection.
    let _ = stream.read(&mut [0; 100]);
}

#[test]
fn a_target_that_stops_answering_or_dies_meanwhile_is_measured_as_what_it_is() {
    for (words, kind) in [("CLIENT PAUSE 600000 ALL\r\n", "deadline"), ("SHUTDOWN NOSAVE\r\n", "connect")] {
        let Some(server) = Server::redis() else { return };
        let parent = TempDir::new().unwrap();
        let dir = parent.path().join("run");
        let target = format!("redis://127.0.0.1:{}", server.port);
        let load = ["bench", "--target", &target, "--keys", "50", "--rate", "200", "--warmup", "0s"];
        let long = ["--duration", "4s", "--deadline", "300ms", "--out", dir.to_str().unwrap()];
        let mut bench = Running::start(&[&load[..], &long].concat());
        bench.wait_for("measure");
        tell(server.port, words);
        let ended = bench.end().with(0);
        let record = run_json(&dir);
        let errors = record["results"]["ops"].to_string();
        assert!(errors.contains(&format!("\"{kind}\"")), "{kind}: {errors}");
        assert!(ended.stdout.contains("errors of get") && ended.stdout.contains(kind), "{ended:#?}");
        let [offered, achieved] =
            ["offered_per_s", "achieved_per_s"].map(|rate| record[rate].as_f64().unwrap());
        assert!(achieved < 0.9 * offered, "what nobody answered counts as no answer: {record}");
        if kind == "deadline" {
            assert!(ended.stdout.contains(">="), "given up, and shown: {ended:#?}");
        }
    }
}

#[test]
fn certificates_are_checked_and_what_to_do_is_said() {
    let cluster = Cluster::of_one();
    let of_node = |file: &str| cluster.dir().join("nodes/n1").join(file).display().to_string();
    let (ca, certificate, key) =
        (cluster.dir().join("ca.pem").display().to_string(), of_node("cert.pem"), of_node("key.pem"));
    let parent = TempDir::new().unwrap();
    let out = |name: &str| parent.path().join(name).display().to_string();
    let url = nodes_url(&cluster.dir());
    // A certificate, but not that of whoever issued this one.
    let wrong = ["bench", "--target", &url, "--ca", &certificate, "--out", &out("wrong")];
    quorate(&wrong).refused(&[&url, "not issued by the given CA"]);
    // TLS and the CA are right, and it is no etcd.
    let other = url.replace("https", "etcds");
    let words = ["bench", "--target", &other, "--ca", &ca, "--out", &out("other")];
    quorate(&words).refused(&[&other, "is this etcd's client port?"]);

    let Some(server) = Server::etcd(Some([&certificate, &key])) else { return };
    let target = format!("etcds://127.0.0.1:{}", server.port);
    let words = ["--target", &target, "--ca", &ca, "--check", "--out", &out("etcd")];
    assert!(quorate(&[SHORT, &words].concat()).with(0).stdout.contains("checked: valid (register, "));
    let wrong = ["bench", "--target", &target, "--ca", &certificate, "--out", &out("etcd-wrong")];
    quorate(&wrong).refused(&[&target, "not issued by the given CA"]);
    let plain = ["bench", "--target", &target.replace("etcds", "etcd"), "--out", &out("plain")];
    quorate(&plain).refused(&["etcd://127.0.0.1", "write etcds://"]);
}

fn nodes_url(cluster: &Path) -> String {
    let text = std::fs::read_to_string(cluster.join("cluster.json")).unwrap();
    let state: Value = serde_json::from_str(&text).unwrap();
    state["nodes"][0]["url"].as_str().unwrap().to_owned()
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
fn parts_of_a_load_are_put_together_again() {
    let parent = TempDir::new().unwrap();
    let path = |name: &str| parent.path().join(name).display().to_string();
    let (first, second, all) = (path("1"), path("2"), path("all"));
    let part = |part: &str, out: &str| {
        let words = ["--target", "null", "--part", part, "--json", "--out", out];
        quorate(&[SHORT, &words].concat()).with(0).json()
    };
    let offered =
        [part("1/2", &first), part("2/2", &second)].map(|run| run["results"]["offered"].as_u64().unwrap());
    assert!(offered.iter().all(|offered| (100..300).contains(offered)), "{offered:?}");

    quorate(&["bench", "--merge", &first, "--out", &all]).refused(&["missing: 2/2"]);
    quorate(&["bench", "--merge", &first, &first, "--out", &all]).refused(&["are both part 1/2"]);
    let ended = quorate(&["bench", "--merge", &first, &second, "--out", &all]).with(0);
    for part in ["get", "put", "trust: ", "apart (use --start-at)", "report.html"] {
        assert!(ended.stdout.contains(part), "`{part}` is not in {ended:#?}");
    }
    let merged = run_json(Path::new(&all));
    assert_eq!(merged["results"]["offered"], offered.iter().sum::<u64>());
    assert_eq!(merged["config"]["parts"][1]["part"], "2/2");
    for file in ["latency.hlog", "timeseries.csv", "report.html"] {
        assert!(std::fs::metadata(Path::new(&all).join(file)).unwrap().len() > 0, "{file}");
    }
    assert!(quorate(&["report", &all]).with(0).stdout.contains("put"));

    let late = ["--target", "null", "--part", "1/2", "--start-at", "1", "--out", &path("late")];
    quorate(&[SHORT, &late].concat()).refused(&["--start-at was missed by"]);
    let in_ms = ["--target", "null", "--part", "1/2", "--start-at", "1900000000000", "--out", &path("ms")];
    quorate(&[SHORT, &in_ms].concat()).refused(&[
        "--start-at is",
        "days ahead",
        "in seconds since the Unix epoch",
    ]);
    let closed = ["bench", "--target", "null", "--part", "1/2", "--clients", "3", "--out", &path("closed")];
    quorate(&closed).refused(&["clients (3) and part (1/2) clash"]);
}

#[test]
fn a_disk_that_fills_costs_files_and_not_the_measurement() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("run");
    // No file may grow beyond 30 units, which is an error like that of a full disk; a unit is 512 or
    // 1024 bytes, as the shell likes.
    let script = "trap '' XFSZ; ulimit -f 30; exec \"$@\"";
    let words =
        ["bench", "--target", "null", "--rate", "3000", "--duration", "5s", "--warmup", "0s", "--keys", "50"];
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_quorate")])
        .args(words)
        .args(["--out", out.to_str().unwrap()])
        .output()
        .unwrap();
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("File too large") && stderr.contains(out.to_str().unwrap()), "{stderr}");
    for part in ["get", "put", "trust: "] {
        assert!(stdout.contains(part), "the figures are printed all the same: {stdout}");
    }
    let csv = std::fs::read_to_string(out.join("timeseries.csv")).unwrap();
    assert!(csv.lines().count() >= 6, "the run went on to its end: {csv}");
    // What there is of the log is whole.
    let log = std::fs::read_to_string(out.join("latency.hlog")).unwrap();
    assert!(log.ends_with('\n') && log.lines().count() > 4, "{log}");
    let record = run_json(&out);
    let troubles = record["config"]["troubles"].to_string();
    assert!(troubles.contains("latency.hlog is incomplete"), "{troubles}");
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
