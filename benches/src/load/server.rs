//! A server that costs as little as possible, so that what is measured is who asks: one thread on one epoll,
//! one fixed answer of 1 KiB for every request, HTTP or HTTPS, and if wanted a stall of 100 ms each second.
//!
//! It prints its port, then each stall as it ends, and lives until its standard input ends. The answer is
//! one that a generator takes for a value of its own, so that it checks all of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_loadgen::ValueId;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::event::epoll;
use rustix::time::Timespec;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::child::monotonic_ns;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 1024;
/// How long it stalls, and how often.
const STALL: Duration = Duration::from_millis(100);
const PERIOD_NS: u64 = 1_000_000_000;
/// Pauses of the processor between two looks at what came, some microseconds.
const PAUSES: u32 = 256;
/// The number of the listener among the connections.
const LISTENER: u64 = u64::MAX;

/// What a server does besides answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It sleeps while there is nothing to answer.
    Calm,
    /// It stalls each second.
    Stalling,
    /// It never sleeps, so that nobody who asks pays for waking it up.
    Awake,
}

impl Manner {
    /// Its name among arguments.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Stalling => "stalling",
            Self::Awake => "awake",
        }
    }

    /// The one of that name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let all = [Self::Calm, Self::Stalling, Self::Awake];
        all.into_iter().find(|manner| manner.name() == name).expect("a manner")
    }
}

/// Serves until standard input ends. With `ca_file`, HTTPS with a certificate of a new authority, whose own
/// goes there.
///
/// # Panics
/// If the machine does not let it.
pub fn serve(ca_file: Option<&str>, manner: Manner) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let tls = ca_file.map(tls);
    say(format_args!("{}", listener.local_addr().expect("an address").port()));
    let idle_ns = Arc::new(AtomicU64::new(0));
    std::thread::spawn({
        let idle_ns = Arc::clone(&idle_ns);
        move || {
            // The parent is gone or has enough; each line before asks how long there was nothing to do.
            for _ in io::stdin().lines().map_while(Result::ok) {
                say(format_args!("idle {} {}", idle_ns.load(Ordering::Relaxed), monotonic_ns()));
            }
            std::process::exit(0);
        }
    });
    Loop::new(listener, tls, manner, idle_ns).run();
}

/// All connections of a server.
struct Loop {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    manner: Manner,
    idle_ns: Arc<AtomicU64>,
    connections: BTreeMap<u64, Connection>,
    accepted: u64,
}

impl Loop {
    fn new(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        manner: Manner,
        idle_ns: Arc<AtomicU64>,
    ) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN).expect("a listener can be watched");
        Self { epoll, listener, tls, manner, idle_ns, connections: BTreeMap::new(), accepted: 0 }
    }

    fn run(mut self) {
        let reply = reply();
        let mut stall_ns = monotonic_ns() + PERIOD_NS;
        let mut events = Vec::with_capacity(256);
        let mut idle_since = None;
        loop {
            let timeout = match self.manner {
                Manner::Calm => None,
                Manner::Awake => Some(timespec(0)),
                Manner::Stalling => Some(timespec(stall_ns.saturating_sub(monotonic_ns()))),
            };
            events.clear();
            let waited =
                epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref());
            assert!(matches!(waited, Ok(_) | Err(rustix::io::Errno::INTR)), "epoll: {waited:?}");
            if self.manner == Manner::Awake {
                self.count_idle(events.is_empty(), &mut idle_since);
                if events.is_empty() {
                    // Where cores are threads of one, asking without a pause would slow down who asks us.
                    (0..PAUSES).for_each(|_| std::hint::spin_loop());
                }
            }
            for event in &events {
                let number = event.data.u64();
                if number == LISTENER {
                    self.accept();
                } else if let Some(connection) = self.connections.get_mut(&number)
                    && connection.serve(&reply).is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
                {
                    self.connections.remove(&number);
                }
            }
            if self.manner == Manner::Stalling && monotonic_ns() >= stall_ns {
                // The only thread keeps itself from answering, and says when.
                let from = monotonic_ns();
                std::thread::sleep(STALL);
                say(format_args!("stall {from} {}", monotonic_ns()));
                stall_ns += PERIOD_NS;
            }
        }
    }

    fn count_idle(&self, is_idle: bool, since: &mut Option<u64>) {
        match (is_idle, *since) {
            (true, None) => *since = Some(monotonic_ns()),
            (false, Some(from)) => {
                self.idle_ns.fetch_add(monotonic_ns() - from, Ordering::Relaxed);
                *since = None;
            }
            _ => {}
        }
    }

    fn accept(&mut self) {
        let (stream, _) = self.listener.accept().expect("a connection");
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("a socket");
        let number = self.accepted;
        self.accepted += 1;
        let data = epoll::EventData::new_u64(number);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).expect("a socket can be watched");
        let tls = self.tls.as_ref().map(|config| {
            ServerConnection::new(Arc::clone(config)).expect("a configuration that was tried before")
        });
        self.connections.insert(number, Connection { stream, tls, input: Vec::new(), output: Vec::new() });
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}

/// One connection: requests have no body and are not pipelined.
struct Connection {
    stream: TcpStream,
    tls: Option<ServerConnection>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    /// Takes what is there, and answers each request alike.
    fn serve(&mut self, reply: &[u8]) -> io::Result<()> {
        let Self { stream, tls, input, output } = self;
        let mut some = [0; 4096];
        match tls {
            None => match stream.read(&mut some)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => input.extend_from_slice(&some[..read]),
            },
            Some(tls) => {
                if tls.read_tls(stream)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                tls.process_new_packets().map_err(io::Error::other)?;
                match tls.reader().read(&mut some) {
                    Ok(read) => input.extend_from_slice(&some[..read]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let is_whole = input.ends_with(b"\r\n\r\n");
        if is_whole {
            input.clear();
        }
        match tls {
            // Answers are short, and one at a time: there is always room for them.
            None if is_whole => stream.write_all(reply),
            None => Ok(()),
            Some(tls) => {
                if is_whole {
                    tls.writer().write_all(reply)?;
                }
                output.clear();
                while tls.wants_write() {
                    tls.write_tls(output)?;
                }
                stream.write_all(output)
            }
        }
    }
}

/// A get's answer with what a store of three nodes puts into its head.
fn reply() -> Vec<u8> {
    let mut value = Vec::new();
    ValueId { process: 0, sequence: 1 }.encode(VALUE_BYTES, &mut value);
    let mut reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
         x-quorate-context: AQEAAAAAAAAAAQJuMQEAAAAAAAAAAQAAAAAAAAAB\r\nx-quorate-version: 1.n1.1\r\n\
         x-quorate-view: 1\r\ncontent-length: {}\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n",
        value.len()
    )
    .into_bytes();
    reply.extend_from_slice(&value);
    reply
}

/// A line for the parent.
pub fn say(line: std::fmt::Arguments<'_>) {
    let mut output = io::stdout().lock();
    // Nobody may be listening any more.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn tls(ca_file: &str) -> Arc<ServerConfig> {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::<String>::new()).expect("no names are good names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(ca_file, ca.self_signed(&ca_key).expect("a certificate").pem())
        .expect("the file can be written");
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a good name");
    let certificate: CertificateDer<'static> =
        certificate.signed_by(&key, &issuer).expect("a certificate").der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions that exist")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key is the certificate's");
    Arc::new(config)
}
