//! Certificates that are wrong, late or new, between two sides over real sockets.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use quorate_env::{BoxStream, Network, SystemClock, TokioNetwork};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::testing::{Standing, TestAuthority};

/// In 2025, when what is good until 2030 is good.
const IN_2025: u64 = 1_750_000_000;

fn open(section: &TlsSection) -> Arc<Certificates> {
    Arc::new(Certificates::open(section, Arc::new(SystemClock::new())).unwrap())
}

fn network(certificates: &Arc<Certificates>) -> Arc<dyn Network> {
    PeerNetwork::over(Arc::new(TokioNetwork), Some(certificates))
}

/// Sends back what comes first on each connection, for ever. The address.
async fn echo(network: Arc<dyn Network>) -> String {
    let mut listener = network.bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_address().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    stream.write_u8(byte).await?;
                    stream.flush().await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}

async fn say(stream: &mut BoxStream) -> std::io::Result<u8> {
    stream.write_u8(7).await?;
    stream.flush().await?;
    stream.read_u8().await
}

/// A whole conversation, or why there is none.
async fn talk(network: &Arc<dyn Network>, address: &str) -> Result<u8, String> {
    let mut stream = network.connect(address).await.map_err(|e| e.to_string())?;
    say(&mut stream).await.map_err(|e| e.to_string())
}

/// Someone who believes `ca` and shows the certificate of a section, whoever issued it. What the other
/// side showed, and whether it answered.
async fn intrude(address: &str, ca: &str, shown: Option<&TlsSection>) -> (Vec<u8>, std::io::Result<u8>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(section) => {
            let certificate = CertificateDer::from_pem_file(&section.cert).unwrap();
            let key = PrivateKeyDer::from_pem_file(&section.key).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let stream = TokioNetwork.connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let theirs = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let mut stream: BoxStream = Box::new(stream);
    let answer = say(&mut stream).await;
    (theirs, answer)
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[tokio::test]
async fn peers_of_one_authority_talk_and_others_are_refused_by_both_sides() {
    let (ours, theirs) = (TestAuthority::new(), TestAuthority::new());
    let places = [Place::new(), Place::new(), Place::new()];
    let server = open(&ours.write(places[0].path(), 2100));
    let friend = open(&ours.write(places[1].path(), 2100));
    let foreign = theirs.write(places[2].path(), 2100);
    let address = echo(network(&server)).await;
    assert_eq!(talk(&network(&friend), &address).await, Ok(7));
    assert_eq!((server.peers_failed(), friend.peers_failed()), (0, 0));

    let stranger = open(&foreign);
    let why = talk(&network(&stranger), &address).await.unwrap_err();
    assert!(why.contains("not issued by the authority in tls.ca"), "{why}");
    assert_eq!(stranger.peers_failed(), 1);

    // Who believes the server is not yet believed.
    assert!(intrude(&address, ours.pem(), Some(&foreign)).await.1.is_err());
    assert!(intrude(&address, ours.pem(), None).await.1.is_err());
    let counted = async {
        while server.peers_failed() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("all three are counted");
    assert_eq!(intrude(&address, ours.pem(), Some(&friend.section)).await.1.unwrap(), 7);
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_both_sides_in_words() {
    let authority = TestAuthority::new();
    let places = [Place::new(), Place::new()];
    let fresh = open(&authority.write(places[0].path(), 2100));
    let section = authority.write(places[1].path(), 2024);
    let at_start = Certificates::open(&section, Arc::new(SystemClock::new())).err().unwrap().to_string();
    assert!(at_start.contains("cert.pem") && at_start.contains("has expired"), "{at_start}");

    // By its own clock all is well.
    let late = Arc::new(Certificates::open(&section, Arc::new(Standing(1_600_000_000))).unwrap());
    let why = talk(&network(&fresh), &echo(network(&late)).await).await.unwrap_err();
    assert!(why.contains("peer's certificate: it has expired"), "{why}");
    let why = talk(&network(&late), &echo(network(&fresh)).await).await.unwrap_err();
    assert!(why.contains("refuses this node's certificate: it has expired"), "{why}");
}

#[tokio::test]
async fn certificates_are_replaced_for_new_connections_and_those_that_are_there_go_on() {
    let authority = TestAuthority::new();
    let places = [Place::new(), Place::new()];
    let section = authority.write(places[0].path(), 2100);
    let (server, friend) = (open(&section), open(&authority.write(places[1].path(), 2100)));
    let address = echo(network(&server)).await;
    let shown = || async { intrude(&address, authority.pem(), Some(&friend.section)).await.0 };
    let before = shown().await;
    let mut open_connection = network(&friend).connect(&address).await.unwrap();
    assert_eq!(say(&mut open_connection).await.unwrap(), 7);
    assert_eq!(server.look(), Look::Same);

    // Half of a replacement cannot be used.
    let (old_key, old_certificate) = (std::fs::read(&section.key), std::fs::read(&section.cert));
    authority.write(places[0].path(), 2101);
    let new_certificate = std::fs::read(&section.cert).unwrap();
    std::fs::write(&section.cert, old_certificate.unwrap()).unwrap();
    assert_eq!(server.look(), Look::Unusable);
    assert_eq!(server.look(), Look::Same, "said once");
    assert_eq!(shown().await, before);
    std::fs::write(&section.cert, new_certificate).unwrap();
    assert_eq!(server.look(), Look::Replaced);
    assert_ne!(shown().await, before);
    assert_eq!(say(&mut open_connection).await.unwrap(), 7, "nothing was cut off");
    assert_eq!(talk(&network(&friend), &address).await, Ok(7));
    assert_eq!((server.replaced(), server.unusable()), (1, 1));

    // A missing file, and one of another authority, change nothing.
    std::fs::remove_file(&section.key).unwrap();
    assert_eq!(server.look(), Look::Unusable);
    assert_eq!(talk(&network(&friend), &address).await, Ok(7));
    std::fs::write(&section.key, old_key.unwrap()).unwrap();
    assert_eq!(server.look(), Look::Unusable);
}

#[tokio::test]
async fn an_authority_is_replaced_too() {
    let (old, new) = (TestAuthority::new(), TestAuthority::new());
    let places = [Place::new(), Place::new()];
    let section = old.write(places[0].path(), 2100);
    let server = open(&section);
    let address = echo(network(&server)).await;
    let newcomer = open(&new.write(places[1].path(), 2100));
    assert!(talk(&network(&newcomer), &address).await.is_err());
    // Both are believed while certificates are replaced node by node.
    for (file, certificates) in
        [(section.ca.as_ref().unwrap(), &server), (newcomer.section.ca.as_ref().unwrap(), &newcomer)]
    {
        std::fs::write(file, format!("{}{}", old.pem(), new.pem())).unwrap();
        assert_eq!(certificates.look(), Look::Replaced);
    }
    assert_eq!(talk(&network(&newcomer), &address).await, Ok(7));
}

#[tokio::test]
async fn tls_on_one_side_only_is_named() {
    let (authority, place) = (TestAuthority::new(), Place::new());
    let certificates = open(&authority.write(place.path(), 2100));
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await?;
        stream.write_all(b"quorate, not TLS").await?;
        stream.read_to_end(&mut Vec::new()).await
    });
    let why = talk(&network(&certificates), &address).await.unwrap_err();
    assert!(why.contains("does not speak TLS"), "{why}");
    let encrypted = echo(network(&certificates)).await;
    let clear: Arc<dyn Network> = Arc::new(TokioNetwork);
    let mut stream = clear.connect(&encrypted).await.unwrap();
    stream.write_all(b"quorate, not TLS").await.unwrap();
    let mut answer = Vec::new();
    // Bytes that were not read make it a reset instead of an end.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"quorate"), "nothing is answered in the clear");
    let counted = async {
        while certificates.peers_failed() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("both are counted");
}

#[test]
fn files_that_do_not_fit_are_named() {
    let (authority, place, other) = (TestAuthority::new(), Place::new(), Place::new());
    let section = authority.write(place.path(), 2030);
    let another = authority.write(other.path(), 2030);
    let says = |section: TlsSection| {
        Certificates::open(&section, Arc::new(Standing(IN_2025))).err().unwrap().to_string()
    };
    let missing = says(TlsSection { cert: "nowhere.pem".into(), ..section.clone() });
    assert!(missing.contains("nowhere.pem") && missing.contains("tls.cert"), "{missing}");
    let swapped = says(TlsSection { key: section.cert.clone(), ..section.clone() });
    assert!(swapped.contains("tls.key"), "{swapped}");
    let mixed = says(TlsSection { key: another.key, ..section.clone() });
    assert!(mixed.contains("does not go with"), "{mixed}");
    let no_authority = says(TlsSection { ca: Some(section.key.clone()), ..section });
    assert!(no_authority.contains("tls.ca"), "{no_authority}");
}

#[test]
fn when_a_certificate_expires_is_known() {
    let (authority, place) = (TestAuthority::new(), Place::new());
    let section = authority.write(place.path(), 2030);
    let certificates = Certificates::open(&section, Arc::new(Standing(IN_2025))).unwrap();
    // 1 January 2030, 00:00 UTC.
    assert_eq!(certificates.expire_at_s(), Some(1_893_456_000));
}
