//! Peers from the distribution's packages, where they are installed: etcd with three members, Redis with one.
//!
//! As they come, except for what the comparison is about: both sync every write before they acknowledge it.
//! etcd's clients and members speak TLS, as the reference cluster's do.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_client::TlsTrust;
use quorate_cluster::config::TlsSection;
use quorate_env::{SystemClock, TokioNetwork};
use quorate_loadgen::target::{Endpoint, EtcdOptions, EtcdTarget, RedisTarget};
use quorate_processes::pki;

use super::subject::{CONNECTIONS, Subject};
use crate::load::child::is_installed;

/// How long one operation may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long they may take to start.
const START: Duration = Duration::from_secs(30);
/// How often they are asked meanwhile.
const POLL: Duration = Duration::from_millis(50);

/// Processes that end with this.
pub struct Running(Vec<Child>);

impl Running {
    fn pids(&self) -> Vec<u32> {
        self.0.iter().map(Child::id).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// etcd in `directory`: its processes, the subject with linearizable gets, and that with serializable ones.
/// None if it is not installed.
///
/// # Panics
/// If it is, but does not come up.
pub async fn etcd(directory: &Path) -> Option<(Running, [Subject; 2])> {
    if !is_installed("etcd") {
        return None;
    }
    let (tls, _) =
        pki::own_certificates(&directory.join("tls"), "etcd", "127.0.0.1:0").expect("certificates");
    let ca = tls.ca.clone().expect("there is an authority");
    let ports = free_ports(6);
    let (clients, peers) = ports.split_at(3);
    let all: Vec<String> =
        peers.iter().enumerate().map(|(n, port)| format!("m{n}=https://127.0.0.1:{port}")).collect();
    let member = |n: usize| {
        let (client, peer) =
            (format!("https://127.0.0.1:{}", clients[n]), format!("https://127.0.0.1:{}", peers[n]));
        let TlsSection { cert, key, .. } = &tls;
        let words = [
            format!("--name=m{n}"),
            format!("--data-dir={}", directory.join(format!("etcd{n}")).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", all.join(",")),
            format!("--cert-file={cert}"),
            format!("--key-file={key}"),
            "--peer-auto-tls".to_owned(),
        ];
        start("etcd", &words)
    };
    let running = Running((0..3).map(member).collect());
    let target = |serializable| {
        let endpoint = |port: &u16| Endpoint { host: "127.0.0.1".to_owned(), port: *port };
        let trust = TlsTrust::from_ca_file(Path::new(&ca), Arc::new(SystemClock::new()));
        let options = EtcdOptions {
            endpoints: clients.iter().map(endpoint).collect(),
            trust: Some(trust.expect("a certificate")),
            serializable,
            deadline: DEADLINE,
        };
        Arc::new(EtcdTarget::new(Arc::new(TokioNetwork), options).expect("URLs"))
    };
    let (linearizable, serializable) = (target(false), target(true));
    until("etcd", async || linearizable.open(CONNECTIONS as usize).await).await;
    until("etcd", async || serializable.open(CONNECTIONS as usize).await).await;
    let linearizable = Subject::new("etcd", running.pids(), linearizable);
    linearizable.fill().await;
    let serializable = Subject::new("etcd", running.pids(), serializable);
    Some((running, [linearizable, serializable]))
}

/// Redis in `directory`, one server, which syncs its log before each acknowledgement; none if it is not
/// installed.
///
/// # Panics
/// If it is, but does not come up.
pub async fn redis(directory: &Path) -> Option<(Running, Subject)> {
    if !is_installed("redis-server") {
        return None;
    }
    let port = free_ports(1)[0];
    let directory = directory.display().to_string();
    let words = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--bind", "127.0.0.1"];
    let words = words.map(str::to_owned).into_iter();
    let words: Vec<String> =
        words.chain(["--dir".to_owned(), directory, "--port".to_owned(), port.to_string()]).collect();
    let running = Running(vec![start("redis-server", &words)]);
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port };
    let target = Arc::new(RedisTarget::new(Arc::new(TokioNetwork), endpoint, DEADLINE));
    until("redis-server", async || target.open(CONNECTIONS as usize).await).await;
    let subject = Subject::new("Redis", running.pids(), target);
    subject.fill().await;
    Some((running, subject))
}

fn start(program: &str, words: &[String]) -> Child {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Asks until the answer is good.
async fn until(program: &str, ask: impl AsyncFn() -> Result<(), String>) {
    let end = Instant::now() + START;
    while let Err(why) = ask().await {
        assert!(Instant::now() < end, "{program} did not start in {START:?}: {why}");
        tokio::time::sleep(POLL).await;
    }
}

/// Ports of loopback that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    // All are held at once, so that they differ.
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}
