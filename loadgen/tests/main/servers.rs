//! Real servers of other stores, started for a test on loopback in a directory of their own and
//! ended with it, also when it panics.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running server.
pub struct Server {
    running: Running,
    /// Where clients connect.
    pub port: u16,
    ports: [u16; 3],
    _dir: TempDir,
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// `redis-server`, without a disk; none, and a word on standard error, if it is not installed.
    pub fn redis() -> Option<Self> {
        Self::start("redis-server", b"PING\r\n", "+PONG", |[port, ..], dir| {
            let words = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir", dir, "--port"];
            words.map(str::to_owned).into_iter().chain([port.to_string()]).collect()
        })
    }

    /// `etcd`, one member, encrypted if a certificate and its key are given; none, and a word on
    /// standard error, if it is not installed.
    pub fn etcd(tls: Option<[&str; 2]>) -> Option<Self> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let health = b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n";
        Self::start("etcd", health, "\"true\"", |[metrics, client, peer], dir| {
            let client = format!("{scheme}://127.0.0.1:{client}");
            let peer = format!("http://127.0.0.1:{peer}");
            let mut words = vec![
                format!("--data-dir={dir}/data"),
                format!("--listen-metrics-urls=http://127.0.0.1:{metrics}"),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
            ];
            if let Some([certificate, key]) = tls {
                words.extend([format!("--cert-file={certificate}"), format!("--key-file={key}")]);
            }
            words
        })
        .map(|server| Self { port: server.ports[1], ..server })
    }

    /// Starts a program with three ports to listen on, the first of which answers when it is up.
    fn start(
        program: &str,
        question: &[u8],
        answer: &str,
        words: impl Fn([u16; 3], &str) -> Vec<String>,
    ) -> Option<Self> {
        // A port that was free may be taken by the time the server binds it: then another is tried.
        for _ in 0..3 {
            let dir = TempDir::new().unwrap();
            let ports = free_ports();
            let words = words(ports, dir.path().to_str().unwrap());
            let mut command = Command::new(program);
            command.args(words).stdin(Stdio::null());
            let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
                Ok(child) => child,
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    eprintln!("SKIPPED: `{program}` is not installed, so this test has tested nothing");
                    return None;
                }
                Err(e) => panic!("{program}: {e}"),
            };
            let mut server = Self { running: Running(child), port: ports[0], ports, _dir: dir };
            if server.answers(question, answer) {
                return Some(server);
            }
        }
        panic!("{program} did not start");
    }

    /// Waits until it answers; false if it has ended instead.
    fn answers(&mut self, question: &[u8], answer: &str) -> bool {
        let until = Instant::now() + START;
        while self.running.0.try_wait().unwrap().is_none() {
            if asked(self.ports[0], question).is_ok_and(|reply| reply.contains(answer)) {
                return true;
            }
            assert!(Instant::now() < until, "a server did not answer in {START:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

fn asked(port: u16, question: &[u8]) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(question)?;
    let (mut reply, mut buffer) = (String::new(), [0; 4096]);
    // Redis keeps the connection open: its one line is all there is to wait for.
    while !reply.starts_with('+') {
        match stream.read(&mut buffer)? {
            0 => break,
            n => reply.push_str(&String::from_utf8_lossy(&buffer[..n])),
        }
    }
    Ok(reply)
}

fn free_ports() -> [u16; 3] {
    // All are held at once, so that they differ.
    let held = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    held.each_ref().map(|listener| listener.local_addr().unwrap().port())
}
