//! A server that costs as little as possible, so that what is measured is who asks: one thread, one fixed
//! answer of 1 KiB for every request, HTTP or HTTPS, and if wanted a stall of 100 ms each second.
//!
//! It prints its port, then each stall as it ends, and lives until its standard input ends. The answer is
//! one that a generator takes for a value of its own, so that it checks all of it.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use quorate_loadgen::ValueId;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::child::monotonic_ns;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 1024;
/// How long it stalls, and how often.
const STALL: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_secs(1);

/// Serves until standard input ends. With `ca_file`, HTTPS with a certificate of a new authority, whose own
/// goes there.
///
/// # Panics
/// If the machine does not let it.
pub fn serve(ca_file: Option<&str>, stalls: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(|| {
        // The parent is gone or has enough.
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    runtime.block_on(async {
        let acceptor = ca_file.map(acceptor);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        say(format_args!("{}", listener.local_addr().expect("an address").port()));
        if stalls {
            tokio::spawn(stall());
        }
        let reply: Arc<[u8]> = reply().into();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (reply, acceptor) = (Arc::clone(&reply), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => answer(stream, &reply).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            answer(stream, &reply).await;
                        }
                    }
                }
            });
        }
    });
}

/// Answers each request alike: requests have no body and are not pipelined.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, reply: &[u8]) {
    let mut input = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        match stream.read(&mut input[filled..]).await {
            Ok(read) if read > 0 => filled += read,
            _ => return,
        }
        if input[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            let sent = async {
                stream.write_all(reply).await?;
                stream.flush().await
            };
            if sent.await.is_err() {
                return;
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

/// Keeps the only thread to itself now and then, and says when.
async fn stall() {
    let mut due = tokio::time::interval(PERIOD);
    due.tick().await;
    loop {
        due.tick().await;
        let from = monotonic_ns();
        std::thread::sleep(STALL);
        say(format_args!("stall {from} {}", monotonic_ns()));
    }
}

fn say(line: std::fmt::Arguments<'_>) {
    let mut output = std::io::stdout().lock();
    // Nobody may be listening any more.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn acceptor(ca_file: &str) -> TlsAcceptor {
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
    TlsAcceptor::from(Arc::new(config))
}
