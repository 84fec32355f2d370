//! Files of `[tls]` into what rustls works with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quorate_env::Clock;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::explain;
use crate::config::{PeerTraffic, TlsSection};

/// The last second that is looked at for the end of a certificate: the year 2222.
const LAST_S: u64 = 7_952_400_000;

/// Why files cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {why}")]
pub struct CertificateError {
    /// Which one.
    file: String,
    /// What is wrong with it, and which setting named it.
    why: String,
}

fn bad(file: &str, why: impl Into<String>) -> CertificateError {
    CertificateError { file: file.to_owned(), why: why.into() }
}

/// What the files hold, ready for use.
pub(super) struct Loaded {
    /// For the API.
    pub clients: Arc<ServerConfig>,
    /// For peers, if they talk in TLS.
    pub peers: Option<PeerSides>,
    /// The last second in which the own certificate stands up, if there is an authority.
    pub good_until_s: Option<u64>,
}

/// Both sides of mutual TLS.
#[derive(Clone)]
pub(super) struct PeerSides {
    /// For those who connect here.
    pub accept: Arc<ServerConfig>,
    /// For those who are connected to.
    pub connect: Arc<ClientConfig>,
}

impl Loaded {
    /// Reads the files and holds them against each other.
    pub fn read(section: &TlsSection, clock: &Arc<dyn Clock>) -> Result<Self, CertificateError> {
        let chain = certificates(&section.cert, "tls.cert")?;
        let key = PrivateKeyDer::from_pem_file(&section.key)
            .map_err(|e| bad(&section.key, format!("not a readable private key (tls.key): {e}")))?;
        let verifiers = section.ca.as_ref().map(|ca| Verifiers::read(ca)).transpose()?;
        let material = Material { section, chain, key, time: Arc::new(ClockTime(Arc::clone(clock))) };
        let clients = Arc::new(material.clients(verifiers.as_ref())?);
        let is_mutual = section.peers == PeerTraffic::Mutual;
        let Some(verifiers) = verifiers else {
            return Ok(Self { clients, peers: None, good_until_s: None });
        };
        let now = UnixTime::since_unix_epoch(Duration::from_nanos(clock.wall_ns()));
        if is_mutual {
            // Better refused here than by every peer.
            verifiers.check(&material.chain, now).map_err(|e| {
                bad(&section.cert, format!("peers would refuse it (tls.cert): {}", explain::certificate(&e)))
            })?;
        }
        let good_until_s = verifiers.good_until(&material.chain, now);
        let peers = is_mutual.then(|| material.peers(&verifiers)).transpose()?;
        Ok(Self { clients, peers, good_until_s })
    }
}

/// What a node shows.
struct Material<'a> {
    section: &'a TlsSection,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    time: Arc<ClockTime>,
}

impl Material<'_> {
    fn clients(&self, verifiers: Option<&Verifiers>) -> Result<ServerConfig, CertificateError> {
        let builder = ServerConfig::builder_with_details(provider(), Arc::clone(&self.time) as _)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(&self.section.cert, e.to_string()))?;
        let builder = match verifiers {
            Some(verifiers) => builder.with_client_cert_verifier(Arc::clone(&verifiers.optional)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|e| self.mismatch(&e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// TLS 1.3 alone, and no session is taken up again: every connection checks both certificates.
    fn peers(&self, verifiers: &Verifiers) -> Result<PeerSides, CertificateError> {
        let versions = &[&rustls::version::TLS13];
        let mut accept = ServerConfig::builder_with_details(provider(), Arc::clone(&self.time) as _)
            .with_protocol_versions(versions)
            .map_err(|e| bad(&self.section.cert, e.to_string()))?
            .with_client_cert_verifier(Arc::clone(&verifiers.required))
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|e| self.mismatch(&e))?;
        accept.session_storage = Arc::new(NoServerSessionStorage {});
        accept.send_tls13_tickets = 0;
        let mut connect = ClientConfig::builder_with_details(provider(), Arc::clone(&self.time) as _)
            .with_protocol_versions(versions)
            .map_err(|e| bad(&self.section.cert, e.to_string()))?
            .with_root_certificates(Arc::clone(&verifiers.roots))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|e| self.mismatch(&e))?;
        connect.resumption = Resumption::disabled();
        Ok(PeerSides { accept: Arc::new(accept), connect: Arc::new(connect) })
    }

    fn mismatch(&self, error: &rustls::Error) -> CertificateError {
        bad(&self.section.key, format!("does not go with {} (tls.key): {error}", self.section.cert))
    }
}

/// Whom a node believes.
struct Verifiers {
    roots: Arc<RootCertStore>,
    /// Of clients that show a certificate.
    optional: Arc<dyn ClientCertVerifier>,
    /// Of peers, who must.
    required: Arc<dyn ClientCertVerifier>,
}

impl Verifiers {
    fn read(path: &str) -> Result<Self, CertificateError> {
        let unusable = |why: String| bad(path, format!("not an authority (tls.ca): {why}"));
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path, "tls.ca")? {
            roots.add(certificate).map_err(|e| unusable(e.to_string()))?;
        }
        let roots = Arc::new(roots);
        let builder = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
        Ok(Self {
            optional: builder().allow_unauthenticated().build().map_err(|e| unusable(e.to_string()))?,
            required: builder().build().map_err(|e| unusable(e.to_string()))?,
            roots,
        })
    }

    fn check(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<(), rustls::Error> {
        let (own, between) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.required.verify_client_cert(own, between, now).map(|_| ())
    }

    /// The last second in which the chain stands up: found by halving, for want of a reader of dates.
    fn good_until(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Option<u64> {
        let stands = |s: u64| self.check(chain, UnixTime::since_unix_epoch(Duration::from_secs(s))).is_ok();
        let (mut good, mut bad) = (now.as_secs(), LAST_S);
        if !stands(good) {
            return None;
        }
        while good + 1 < bad {
            let middle = good + (bad - good) / 2;
            if stands(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good)
    }
}

fn certificates(path: &str, setting: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| bad(path, format!("not a readable certificate ({setting}): {e}")))?;
    if found.is_empty() {
        return Err(bad(path, format!("holds no certificate ({setting}); give a PEM file")));
    }
    Ok(found)
}

/// Named outright, so that no other crate's choice of a process default decides it.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The environment's wall clock, for the validity of certificates.
struct ClockTime(Arc<dyn Clock>);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_nanos(self.0.wall_ns())))
    }
}
