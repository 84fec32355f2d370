//! Several machines as docs/operate.md sets them up, as far as one machine has them: three addresses.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Running, quorate};

const NODE: &str = include_str!("../../docs/deploy/node.toml");

/// Makes certificates for some nodes with the script of the documentation.
fn certificates(dir: &Path, nodes: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy/certificates.sh");
    let made = Command::new(script).arg(dir).args(nodes).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Two ports that nobody uses on the three addresses.
fn ports() -> [u16; 2] {
    let free =
        |port: u16| (1..=3).all(|host| std::net::TcpListener::bind(format!("127.0.0.{host}:{port}")).is_ok());
    let mut found =
        (0..).map(|n| 10_240 + (std::process::id() as u16).wrapping_mul(31).wrapping_add(n) % 20_000);
    std::array::from_fn(|_| found.find(|port| free(*port)).unwrap())
}

struct Machines {
    dir: TempDir,
    ports: [u16; 2],
}

impl Machines {
    fn new() -> Self {
        let machines = Self { dir: TempDir::new().unwrap(), ports: ports() };
        certificates(&machines.etc(), &["n1=127.0.0.1", "n2=127.0.0.2", "n3=127.0.0.3"]);
        machines
    }

    fn etc(&self) -> std::path::PathBuf {
        self.dir.path().join("etc")
    }

    /// The documentation's file with this machine's addresses and directories.
    fn start(&self, node: u8) -> Running {
        let home = self.etc().join(format!("n{node}"));
        let own = |text: &str| text.replacen("10.0.0.1", &format!("10.0.0.{node}"), 2);
        let text = own(&NODE.replacen("id = \"n1\"", &format!("id = \"n{node}\""), 1))
            .replace("10.0.0.", "127.0.0.")
            .replace(":4000", &format!(":{}", self.ports[0]))
            .replace(":5000", &format!(":{}", self.ports[1]))
            .replace("/etc/quorate", &home.display().to_string())
            .replace("/var/lib/quorate", &home.join("data").display().to_string());
        let config = home.join("node.toml");
        std::fs::write(&config, text).unwrap();
        Running::serve(&["--config", &config.display().to_string(), "--log-format", "json"])
    }

    fn client(&self, words: &[&str]) -> crate::harness::Ended {
        let (url, ca) = (self.url(2), self.etc().join("ca.pem").display().to_string());
        let mut all = words.to_vec();
        all.extend(["--node", &url, "--ca", &ca]);
        quorate(&all)
    }

    /// Asks again until it works.
    fn patiently(&self, words: &[&str]) -> crate::harness::Ended {
        let started = std::time::Instant::now();
        loop {
            let ended = self.client(words);
            if ended.code == Some(0) {
                return ended;
            }
            assert!(started.elapsed() < std::time::Duration::from_secs(60), "{ended:#?}");
        }
    }

    fn url(&self, node: u8) -> String {
        format!("https://127.0.0.{node}:{}", self.ports[0])
    }
}

#[test]
fn three_machines_serve_take_new_certificates_and_refuse_those_of_strangers() {
    let machines = Machines::new();
    let mut nodes: Vec<Running> = (1..=3).map(|node| machines.start(node)).collect();
    for node in &mut nodes {
        node.wait_for("peers at");
    }
    // Until they have found each other there is no quorum; and each of them votes in reads only once it
    // knows from the others that its empty disk is a new one.
    machines.patiently(&["put", "first", "v"]);
    machines.patiently(&["get", "first"]);
    machines.client(&["put", "k", "v"]).with(0);
    assert_eq!(machines.client(&["get", "k"]).with(0).stdout, "v");

    // New certificates are taken without a restart.
    certificates(&machines.etc(), &["n1=127.0.0.1", "n2=127.0.0.2"]);
    for node in &mut nodes[..2] {
        node.wait_for("certificates were replaced");
    }
    assert_eq!(machines.client(&["get", "k"]).with(0).stdout, "v");

    // What asks other programs to read their files again does not end a node.
    nodes[1].signal(Signal::HUP);
    nodes[1].wait_for("SIGHUP");
    assert_eq!(machines.client(&["get", "k"]).with(0).stdout, "v");

    // A node that comes back with a certificate of another authority is told so, and serves nobody.
    let third = nodes.remove(2);
    third.signal(Signal::TERM);
    third.end().with(0);
    let strange = machines.dir.path().join("strange");
    certificates(&strange, &["n3=127.0.0.3"]);
    for file in ["cert.pem", "key.pem", "ca.pem"] {
        std::fs::copy(strange.join("n3").join(file), machines.etc().join("n3").join(file)).unwrap();
    }
    let mut third = machines.start(3);
    third.wait_for("not issued by the authority in tls.ca");
    machines.client(&["put", "k2", "v"]).with(0);
    third.signal(Signal::TERM);
    third.end().with(0);

    // Every line is one object, and a stop is graceful.
    let first = nodes.remove(0);
    first.signal(Signal::TERM);
    let ended = first.end().with(0);
    let lines: Vec<serde_json::Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "stopped" && line["level"] == "INFO"), "{lines:?}");
    assert!(lines.iter().all(|line| line["timestamp"].as_str().is_some_and(|t| t.ends_with('Z'))));
    let second = nodes.remove(0);
    second.signal(Signal::TERM);
    second.end().with(0);
}

#[test]
fn a_certificate_that_peers_would_refuse_ends_the_start_with_its_name() {
    let machines = Machines::new();
    let strange = machines.dir.path().join("strange");
    certificates(&strange, &["n1=127.0.0.1"]);
    let home = machines.etc().join("n1");
    for file in ["cert.pem", "key.pem"] {
        std::fs::copy(strange.join("n1").join(file), home.join(file)).unwrap();
    }
    machines.start(1).end().refused(&["cert.pem", "peers would refuse it", "not issued by the authority"]);
    std::fs::write(home.join("admin.token"), "short").unwrap();
    certificates(&machines.etc(), &["n1=127.0.0.1"]);
    std::fs::write(home.join("admin.token"), "short").unwrap();
    machines.start(1).end().refused(&["admin_token_file", "at least 16"]);
}
