//! Whole nodes whose peers talk in mutual TLS.

use quorate_client::{Client, ClientOptions, Method, ReadOptions, Request, TlsTrust, WriteOptions};
use quorate_env::Network as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::*;
use crate::testing::TestAuthority;

struct Secured {
    nodes: Vec<Running>,
    members: Vec<Member>,
    authority: TestAuthority,
    files: Vec<(tempfile::TempDir, crate::config::TlsSection)>,
}

async fn secured() -> Secured {
    let (members, authority) = (members(3), TestAuthority::new());
    let (mut nodes, mut files) = (Vec::new(), Vec::new());
    for member in &members {
        let dir = tempfile::tempdir().unwrap();
        let section = authority.write(dir.path(), 2100);
        let clock = Arc::new(SystemClock::new());
        let tls = Arc::new(Certificates::open(&section, clock.clone()).unwrap());
        let mut config = config(member, &members, &StoreDefinition::default());
        config.node.administration = Administration::Guarded;
        nodes.push(start_with(config, SimulatedDisk::default(), clock, Some(tls)).await.unwrap());
        files.push((dir, section));
    }
    Secured { nodes, members, authority, files }
}

impl Secured {
    fn client(&self) -> Client {
        let clock = Arc::new(SystemClock::new());
        let trust = TlsTrust::from_ca_pem(self.authority.pem().as_bytes(), "test", clock).unwrap();
        let urls = self.nodes.iter().map(|node| format!("https://{}", node.api).parse().unwrap()).collect();
        Client::new(Arc::new(TokioNetwork), urls, Some(trust), ClientOptions::default()).unwrap()
    }

    async fn ready(&self, client: &Client) {
        let all = async {
            for node in 0..self.nodes.len() {
                while !matches!(client.is_ready(ReadOptions { node: Some(node) }).await, Ok(true)) {}
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("they find each other");
    }
}

#[tokio::test]
async fn a_cluster_serves_and_nobody_without_a_certificate_is_heard_by_peers() {
    let secured = secured().await;
    let client = secured.client();
    secured.ready(&client).await;
    client.put("k", b"v", None, WriteOptions::default()).await.unwrap();
    for node in 0..3 {
        let found = client.get("k", ReadOptions { node: Some(node) }).await.unwrap();
        assert_eq!(found.values.len(), 1, "{found:?}");
    }
    // A peer that could say hello to anybody in the clear is not even answered.
    let mut stranger = TcpStream::connect(&secured.members[0].peer).await.unwrap();
    stranger.write_all(&[0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0]).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stranger.read_to_end(&mut answer)).await.expect("it hangs up");
    let text = client.metrics(ReadOptions { node: Some(0) }).await.unwrap();
    assert!(text.contains("quorate_peer_handshakes_failed_total 1\n"), "{text}");

    // Replaced on all, one after the other; new connections need them.
    let mut secured = secured;
    for (dir, _) in &secured.files {
        secured.authority.write(dir.path(), 2101);
    }
    let client = secured.client();
    for node in 0..3 {
        let replaced = async {
            loop {
                let text = client.metrics(ReadOptions { node: Some(node) }).await.unwrap();
                if text.contains("quorate_certificates_replaced_total 1\n") {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, replaced).await.expect("the files are read again");
    }
    let gone = secured.nodes.remove(2);
    gone.handle.shut_down();
    gone.task.await.unwrap().unwrap();
    let clock = Arc::new(SystemClock::new());
    let tls = Arc::new(Certificates::open(&secured.files[2].1, clock.clone()).unwrap());
    let config = config(&secured.members[2], &secured.members, &StoreDefinition::default());
    secured.nodes.push(start_with(config, gone.disk, clock, Some(tls)).await.unwrap());
    let client = secured.client();
    secured.ready(&client).await;
    assert_eq!(client.get("k", ReadOptions { node: Some(2) }).await.unwrap().values.len(), 1);
}

#[tokio::test]
async fn a_client_certificate_of_the_authority_administers() {
    let secured = secured().await;
    let request = Request { method: Method::Delete, target: "/cluster/members/n9", headers: &[], body: b"" };
    let (_, without) = secured.client().request_any(&request, Some(0)).await.unwrap();
    assert_eq!(without.status, 401);
    assert!(String::from_utf8_lossy(&without.body).contains("client certificate"));

    let section = &secured.files[1].1;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(secured.authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&section.cert).unwrap()],
            PrivateKeyDer::from_pem_file(&section.key).unwrap(),
        )
        .unwrap();
    let stream = TokioNetwork.connect(&secured.nodes[0].api).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let words = b"DELETE /cluster/members/n9 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 409"), "heard, and refused for what it asks: {answer}");
}
