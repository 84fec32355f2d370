//! The client over TLS on loopback: the right CA works, others are refused with a reason.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_client::{Client, ClientError, ClientOptions, Effect, HttpVersion, ReadOptions, TlsTrust};
use quorate_env::{Network, SystemClock, TokioNetwork};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    Ca { pem, issuer: Issuer::new(params, key) }
}

/// The server's side, with a certificate for `name`.
fn acceptor(ca: &Ca, name: &str, protocols: &[&[u8]]) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca.issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A server with a certificate for `name`, which answers every request alike.
async fn serve(ca: &Ca, name: &str) -> u16 {
    serve_counted(ca, name, &[], Arc::default()).await
}

async fn serve_counted(ca: &Ca, name: &str, protocols: &[&[u8]], handshakes: Arc<AtomicUsize>) -> u16 {
    let acceptor = acceptor(ca, name, protocols);
    let mut listener = TokioNetwork.bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_address().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            handshakes.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Quorate-Context: c\r\n\r\nv1";
                    stream.write_all(reply).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    port
}

fn trust(ca: &Ca) -> TlsTrust {
    TlsTrust::from_ca_pem(ca.pem.as_bytes(), "ca.pem", Arc::new(SystemClock::new())).unwrap()
}

fn client(port: u16, ca: &Ca) -> Client {
    client_with(port, ca, ClientOptions::default())
}

fn client_with(port: u16, ca: &Ca, options: ClientOptions) -> Client {
    let url = format!("https://127.0.0.1:{port}").parse().unwrap();
    Client::new(Arc::new(TokioNetwork), vec![url], Some(trust(ca)), options).unwrap()
}

#[tokio::test]
async fn gets_over_tls_and_keeps_the_connection() {
    let ca = ca();
    let handshakes = Arc::new(AtomicUsize::new(0));
    let client = client(serve_counted(&ca, "127.0.0.1", &[], Arc::clone(&handshakes)).await, &ca);
    for _ in 0..3 {
        assert_eq!(client.get("k", ReadOptions::default()).await.unwrap().values[0].bytes, "v1");
    }
    assert_eq!(handshakes.load(Ordering::Relaxed), 1);
}

async fn refusal(port: u16, trusted: &Ca) -> ClientError {
    client(port, trusted).get("k", ReadOptions::default()).await.unwrap_err()
}

#[tokio::test]
async fn wrong_ca_wrong_name_and_no_tls_are_refused_with_a_reason() {
    let (right, wrong) = (ca(), ca());
    let other_ca = refusal(serve(&right, "127.0.0.1").await, &wrong).await;
    assert!(other_ca.to_string().contains("not issued by the given CA"), "{other_ca}");
    assert_eq!(other_ca.effect(), Effect::Never);

    let other_name = refusal(serve(&right, "store.example").await, &right).await;
    assert!(other_name.to_string().contains("not for `127.0.0.1`"), "{other_name}");

    let mut listener = TokioNetwork.bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_address().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let plain = refusal(port, &right).await;
    assert!(matches!(plain, ClientError::Handshake { .. }), "{plain}");
}

#[tokio::test]
async fn what_does_not_fit_at_once_arrives_whole_and_so_does_the_end() {
    let ca = ca();
    let acceptor = acceptor(&ca, "127.0.0.1", &[]);
    // Less than a record, and less than a handshake's message.
    let (ours, theirs) = tokio::io::duplex(1000);
    let echo = tokio::spawn(async move {
        let mut stream = acceptor.accept(theirs).await.unwrap();
        let mut all = Vec::new();
        // An end without a word would be an error.
        stream.read_to_end(&mut all).await.unwrap();
        for piece in all.chunks(7_000) {
            stream.write_all(piece).await.unwrap();
        }
        stream.shutdown().await.unwrap();
    });
    let mut stream = trust(&ca).wrap("127.0.0.1", Box::new(ours)).await.unwrap();
    let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    stream.write_all(&sent).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    echo.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_cut_off_does_not_pass_for_one_that_ended() {
    let ca = ca();
    let acceptor = acceptor(&ca, "127.0.0.1", &[]);
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let cut = tokio::spawn(async move {
        let mut stream = acceptor.accept(theirs).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        stream.flush().await.unwrap();
    });
    let mut stream = trust(&ca).wrap("127.0.0.1", Box::new(ours)).await.unwrap();
    cut.await.unwrap();
    let mut received = Vec::new();
    let error = stream.read_to_end(&mut received).await.unwrap_err();
    assert_eq!((error.kind(), received.len()), (std::io::ErrorKind::UnexpectedEof, 15));
}

#[tokio::test]
async fn who_does_not_speak_http_2_is_told_from_who_does_before_anything_is_sent() {
    let ca = ca();
    let http = HttpVersion::Two { streams_max: 1 };
    for protocols in [&[][..], &[b"http/1.1".as_slice()]] {
        let port = serve_counted(&ca, "127.0.0.1", protocols, Arc::default()).await;
        let client = client_with(port, &ca, ClientOptions { http, ..ClientOptions::default() });
        let refused = client.get("k", ReadOptions::default()).await.unwrap_err();
        assert!(matches!(refused, ClientError::Handshake { .. }), "{refused}");
        assert!(refused.to_string().contains("does not speak HTTP/2; ask it in HTTP/1.1"), "{refused}");
        assert_eq!(refused.effect(), Effect::Never);
    }
}
