//! Development certificates: an authority of one's own, and a certificate a node.
//!
//! For trying things out on one machine. The authority's key lies beside its certificate, so
//! whoever can read the directory can pass for a node.

use std::net::IpAddr;
use std::path::Path;

use quorate_cluster::config::{PeerTraffic, TlsSection};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::ProcessError;
use super::layout::{make_dir, write_file, write_secret};

/// A certificate and its key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

/// An authority that issues certificates to nodes.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    own: Issued,
}

impl Authority {
    /// A fresh one.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new() -> Result<Self, ProcessError> {
        let key = KeyPair::generate().map_err(refused("a development authority"))?;
        let params = authority_params();
        let certificate = params.self_signed(&key).map_err(refused("a development authority"))?;
        let own = Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() };
        Ok(Self { issuer: Issuer::new(params, key), own })
    }

    /// The one whose certificate and key lie in these files: it issues certificates for nodes that
    /// join later.
    ///
    /// # Errors
    /// If a file cannot be read, or the key is none.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, ProcessError> {
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(ProcessError::file(path, "read the file"));
        let own = Issued { certificate_pem: read(certificate)?, key_pem: read(key)? };
        let key = KeyPair::from_pem(&own.key_pem).map_err(refused(&key.display().to_string()))?;
        // All development authorities have the same name: the key is what tells them apart.
        Ok(Self { issuer: Issuer::new(authority_params(), key), own })
    }

    /// Its own certificate and key.
    pub fn own(&self) -> &Issued {
        &self.own
    }

    /// A certificate for `name`, for both sides of a connection, good for `hosts` (names or addresses).
    ///
    /// # Errors
    /// If a host cannot stand in a certificate.
    pub fn issue(&self, name: &str, hosts: &[String]) -> Result<Issued, ProcessError> {
        let what = || format!("a certificate for {name} ({})", hosts.join(", "));
        let key = KeyPair::generate().map_err(|e| refused(&what())(e))?;
        let mut params = dated(CertificateParams::new(hosts.to_vec()).map_err(|e| refused(&what())(e))?);
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(|e| refused(&what())(e))?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn authority_params() -> CertificateParams {
    let mut params = dated(CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, "Quorate development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Valid for as long as anyone may try this out: a development certificate that expires only
/// teaches people to turn checks off.
fn dated(mut params: CertificateParams) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    params
}

/// The names by which a node that listens on `listen` is reached from this machine.
pub fn hosts_of(listen: &str) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host).trim_matches(['[', ']']);
    let wildcard = host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    if !host.is_empty() && !wildcard && !hosts.iter().any(|known| known == host) {
        hosts.push(host.to_owned());
    }
    hosts
}

/// Certificates of one node in `dir`: those that are there, or new ones from a new authority.
/// Says whether they are new.
///
/// # Errors
/// If they cannot be made or written.
pub fn own_certificates(dir: &Path, name: &str, listen: &str) -> Result<(TlsSection, bool), ProcessError> {
    let path = |file: &str| dir.join(file).display().to_string();
    let section = TlsSection {
        cert: path("cert.pem"),
        key: path("key.pem"),
        ca: Some(path("ca.pem")),
        // Each node has an authority of its own, which no other knows.
        peers: PeerTraffic::Plain,
    };
    // The certificate is written last: where it is, everything is.
    if dir.join("cert.pem").exists() {
        return Ok((section, false));
    }
    make_dir(dir)?;
    let authority = Authority::new()?;
    let issued = authority.issue(name, &hosts_of(listen))?;
    write_file(&dir.join("ca.pem"), authority.own().certificate_pem.as_bytes())?;
    write_secret(&dir.join("ca.key.pem"), authority.own().key_pem.as_bytes())?;
    write_secret(&dir.join("key.pem"), issued.key_pem.as_bytes())?;
    write_file(&dir.join("cert.pem"), issued.certificate_pem.as_bytes())?;
    Ok((section, true))
}

fn refused(what: &str) -> impl FnOnce(rcgen::Error) -> ProcessError {
    let what = what.to_owned();
    move |e| ProcessError::Certificate { what, why: e.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Arc;

    use super::*;
    use quorate_cluster::tls::{CertificateError, Certificates};
    use quorate_env::SystemClock;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    fn open(section: &TlsSection) -> Result<Certificates, CertificateError> {
        Certificates::open(section, Arc::new(SystemClock::new()))
    }

    fn accepted(ca_pem: &str, certificate_pem: &str, host: &str) -> bool {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(der(ca_pem)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        verifier.verify_server_cert(&der(certificate_pem), &[], &name, &[], now).is_ok()
    }

    #[test]
    fn a_certificate_is_good_for_its_hosts_under_its_authority_alone() {
        let authority = Authority::new().unwrap();
        let issued = authority.issue("n1", &hosts_of("store.example:4001")).unwrap();
        let ca = &authority.own().certificate_pem;
        for host in ["127.0.0.1", "localhost", "::1", "store.example"] {
            assert!(accepted(ca, &issued.certificate_pem, host), "{host}");
        }
        assert!(!accepted(ca, &issued.certificate_pem, "other.example"));
        let stranger = Authority::new().unwrap();
        assert!(!accepted(&stranger.own().certificate_pem, &issued.certificate_pem, "127.0.0.1"));
    }

    #[test]
    fn an_authority_issues_again_after_it_was_put_away() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key.pem"));
        let first = Authority::new().unwrap();
        write_file(&certificate, first.own().certificate_pem.as_bytes()).unwrap();
        write_secret(&key, first.own().key_pem.as_bytes()).unwrap();
        let again = Authority::read(&certificate, &key).unwrap();
        let issued = again.issue("n4", &hosts_of("127.0.0.1:1")).unwrap();
        assert!(accepted(&first.own().certificate_pem, &issued.certificate_pem, "127.0.0.1"));
        assert!(Authority::read(&certificate, &certificate).is_err());
    }

    #[test]
    fn certificates_are_made_once_and_then_kept() {
        let dir = tempfile::tempdir().unwrap();
        let tls = dir.path().join("tls");
        let (section, new) = own_certificates(&tls, "n1", "0.0.0.0:4001").unwrap();
        assert!(new);
        assert!(open(&section).is_ok());
        let before = std::fs::read(&section.cert).unwrap();
        let (again, new) = own_certificates(&tls, "n1", "0.0.0.0:4001").unwrap();
        assert!(!new);
        assert_eq!(std::fs::read(&again.cert).unwrap(), before);
    }
}
