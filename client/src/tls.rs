//! Trust in a node's certificate: root certificates from a PEM file, nothing from the machine.
//!
//! The cryptography is named outright (ring), so that no other crate's choice of a process
//! default decides it. Time comes from the given clock: in a simulation a certificate expires
//! in simulated time. Key material is random in both worlds; it never shows in a result.

mod stream;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_env::{BoxStream, Clock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::stream::Encrypted;
use crate::SetupError;

/// Whom to trust, and how to speak TLS. Cheap to clone.
#[derive(Clone)]
pub struct TlsTrust {
    connector: TlsConnector,
}

impl fmt::Debug for TlsTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTrust").finish_non_exhaustive()
    }
}

impl TlsTrust {
    /// Trusts the certificates of a PEM file.
    ///
    /// # Errors
    /// If it cannot be read or holds no certificate that can be a root.
    pub fn from_ca_file(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let pem = std::fs::read(path)
            .map_err(|source| SetupError::CaUnreadable { path: path.to_owned(), source })?;
        Self::from_ca_pem(&pem, &path.display().to_string(), clock)
    }

    /// Trusts the certificates in `pem`; `origin` names it in errors.
    ///
    /// # Errors
    /// If it holds no certificate, or one that cannot be a root.
    pub fn from_ca_pem(pem: &[u8], origin: &str, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let bad = |why: String| SetupError::BadCa { origin: origin.to_owned(), why };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            roots.add(certificate).map_err(|e| bad(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("it holds no PEM certificate".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// The same, also telling the other side which protocol is meant (ALPN), such as `h2`.
    #[must_use]
    pub fn speaking(&self, protocol: &[u8]) -> Self {
        let mut config = ClientConfig::clone(self.connector.config());
        config.alpn_protocols = vec![protocol.to_vec()];
        Self { connector: TlsConnector::from(Arc::new(config)) }
    }

    /// Encrypts `stream` to `host`.
    ///
    /// # Errors
    /// A sentence for people, with what to do if it is the certificate.
    pub async fn wrap(&self, host: &str, stream: BoxStream) -> Result<BoxStream, String> {
        let encrypted = self.encrypt(host, stream).await.map_err(|error| explain(&error, host))?;
        Ok(plain(encrypted))
    }

    /// The same, for HTTP/2 or nothing. Only where [`Self::speaking`] says `h2`.
    ///
    /// # Errors
    /// A sentence for people, with what to do if it is the certificate or the protocol.
    pub(crate) async fn wrap_http2(&self, host: &str, stream: BoxStream) -> Result<BoxStream, String> {
        const NO_HTTP2: &str = "it does not speak HTTP/2; ask it in HTTP/1.1";
        let encrypted = self.encrypt(host, stream).await.map_err(|error| match rustls_error(&error) {
            Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
                NO_HTTP2.to_owned()
            }
            _ => explain(&error, host),
        })?;
        match encrypted.get_ref().1.alpn_protocol() {
            Some(b"h2") => Ok(plain(encrypted)),
            // Servers that know of no such agreement at all ignore the offer.
            _ => Err(NO_HTTP2.to_owned()),
        }
    }

    async fn encrypt(&self, host: &str, stream: BoxStream) -> io::Result<TlsStream<BoxStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::other(format!("`{host}` cannot be the name in a certificate")))?;
        self.connector.connect(name, stream).await
    }
}

/// What goes through the encrypted stream.
fn plain(encrypted: TlsStream<BoxStream>) -> BoxStream {
    let (stream, session) = encrypted.into_inner();
    Box::new(Encrypted::new(stream, session))
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
}

/// rustls' reason, with what to do where that is known.
fn explain(error: &io::Error, host: &str) -> String {
    use rustls::CertificateError as Bad;
    let Some(rustls_error) = rustls_error(error) else { return error.to_string() };
    match rustls_error {
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "the node's certificate was not issued by the given CA: is the CA file that of this cluster?"
                .into()
        }
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "the node's certificate has expired: have it issued anew".into()
        }
        rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "the node's certificate is not valid yet: compare the clocks of both machines".into()
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            format!("the node's certificate is not for `{host}`")
        }
        rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => {
            "it does not speak the protocol that it was asked for: is it another kind of server?".into()
        }
        other => other.to_string(),
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use quorate_env::SystemClock;

    #[test]
    fn a_file_that_is_no_ca_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let clock = || Arc::new(SystemClock::new());

        let missing = TlsTrust::from_ca_file(&path, clock()).unwrap_err();
        assert!(matches!(missing, SetupError::CaUnreadable { .. }), "{missing}");

        std::fs::write(&path, "not a certificate").unwrap();
        let empty = TlsTrust::from_ca_file(&path, clock()).unwrap_err().to_string();
        assert!(empty.contains("ca.pem") && empty.contains("holds no PEM certificate"), "{empty}");

        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let damaged = TlsTrust::from_ca_file(&path, clock()).unwrap_err();
        assert!(matches!(damaged, SetupError::BadCa { .. }), "{damaged}");
    }
}
