//! What the tests of several modules need.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use quorate_env::disk::SimulatedDisk;
use quorate_env::{Clock, Env, Random, SystemClock, TokioNetwork};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::config::{Member, NodeId, PeerTraffic, TlsSection};

/// The name `n1`, `n2` and so on.
pub(crate) fn node(n: impl Display) -> NodeId {
    format!("n{n}").parse().unwrap()
}

/// A member of that name, 1 to 255, that nobody can reach.
pub(crate) fn member(n: impl Display) -> Member {
    let [peer, api] = [1, 2].map(|port| format!("127.0.1.{n}:{port}"));
    Member { id: node(n), peer, api, capacity: 1, zone: String::new() }
}

/// Real sockets, and a disk of its own in memory.
pub(crate) fn env() -> Env {
    Env {
        net: Arc::new(TokioNetwork),
        clock: Arc::new(SystemClock::new()),
        random: Random::from_seed(1),
        disk: SimulatedDisk::default().mount(),
    }
}

/// An authority that issues certificates as a test wants them.
pub(crate) struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has a name of its own, so that one is not taken for the other.
        params.distinguished_name.push(DnType::CommonName, key.serialize_pem()[40..60].to_owned());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// What those who believe it are given.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes a certificate for 127.0.0.1, good from 2020 until `until`, with its key and this authority
    /// into `dir`.
    pub(crate) fn write(&self, dir: &Path, until: i32) -> TlsSection {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        TlsSection {
            cert: file("cert.pem", &certificate),
            key: file("key.pem", &key.serialize_pem()),
            ca: Some(file("ca.pem", &self.pem)),
            peers: PeerTraffic::Mutual,
        }
    }
}

/// A clock that stands still, so many seconds after 1970.
pub(crate) struct Standing(pub(crate) u64);

impl Clock for Standing {
    fn wall_ns(&self) -> u64 {
        self.0 * 1_000_000_000
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }
}
