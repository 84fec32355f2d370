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
    child: Child,
    pub port: u16,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `redis-server`, without a disk; none, and a word on standard error, if it is not installed.
    pub fn redis() -> Option<Self> {
        Self::start("redis-server", b"PING\r\n", "+PONG", |port, _, _| {
            let port = port.to_string();
            ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]
                .map(str::to_owned)
                .to_vec()
        })
    }

    /// `etcd`, one member; none, and a word on standard error, if it is not installed.
    pub fn etcd() -> Option<Self> {
        let health = b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n";
        Self::start("etcd", health, "\"true\"", |port, peer_port, dir| {
            let (client, peer) =
                (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
            vec![
                format!("--data-dir={dir}/data"),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
            ]
        })
    }

    fn start(
        program: &str,
        question: &[u8],
        answer: &str,
        words: impl Fn(u16, u16, &str) -> Vec<String>,
    ) -> Option<Self> {
        // A port that was free may be taken by the time the server binds it: then another is tried.
        for _ in 0..3 {
            let dir = TempDir::new().unwrap();
            let (port, peer_port) = free_ports();
            let words = words(port, peer_port, dir.path().to_str().unwrap());
            let mut command = Command::new(program);
            command.args(words).current_dir(dir.path()).stdin(Stdio::null());
            let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
                Ok(child) => child,
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    eprintln!("SKIPPED: `{program}` is not installed, so this test has tested nothing");
                    return None;
                }
                Err(e) => panic!("{program}: {e}"),
            };
            let mut server = Self { child, port, _dir: dir };
            if server.answers(question, answer) {
                return Some(server);
            }
        }
        panic!("{program} did not start");
    }

    /// Waits until it answers; false if it has ended instead.
    fn answers(&mut self, question: &[u8], answer: &str) -> bool {
        let until = Instant::now() + START;
        while self.child.try_wait().unwrap().is_none() {
            if asked(self.port, question).is_ok_and(|reply| reply.contains(answer)) {
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

fn free_ports() -> (u16, u16) {
    // Both are held at once, so that they differ.
    let held = [0, 0].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let [client, peer] = held.each_ref().map(|listener| listener.local_addr().unwrap().port());
    (client, peer)
}
