//! rustls' reasons in words that say what to do.

use std::io;

use rustls::CertificateError as Bad;
use rustls::{AlertDescription as Alert, Error};

/// What is wrong with a certificate.
pub(super) fn certificate(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "it was not issued by the authority in tls.ca".into()
        }
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "it has expired; have it issued anew".into()
        }
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "it is not valid yet; compare the clocks of both machines".into()
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "it is not for the name or address that the node is called at".into()
        }
        Error::InvalidCertificate(Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. }) => {
            "it is not for this purpose; nodes need serverAuth and clientAuth (extendedKeyUsage)".into()
        }
        other => other.to_string(),
    }
}

/// Why TLS with a peer failed; nothing if the connection simply broke.
pub(super) fn peer(error: &io::Error) -> Option<String> {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())?;
    Some(match error {
        Error::InvalidCertificate(_) => format!("the peer's certificate: {}", certificate(error)),
        Error::NoCertificatesPresented => "the peer shows no certificate".into(),
        Error::AlertReceived(Alert::UnknownCA | Alert::BadCertificate | Alert::DecryptError) => {
            "the peer refuses this node's certificate: another authority issued it than the one in its tls.ca"
                .into()
        }
        Error::AlertReceived(Alert::CertificateExpired) => {
            "the peer refuses this node's certificate: it has expired".into()
        }
        Error::AlertReceived(Alert::CertificateRequired) => "the peer wants a certificate".into(),
        Error::InvalidMessage(_) => {
            "the peer does not speak TLS: `peers` under [tls] must be the same on all nodes".into()
        }
        other => other.to_string(),
    })
}
