//! A node's certificates: what it shows to clients and peers, and whom it believes.
//!
//! They come from the files of `[tls]`, which are read again when they change: connections that are
//! made from then on use what is new, and those that are there go on. What cannot be used is not
//! taken: the node goes on with what it has and says why, in its log and in its metrics.
//!
//! Peers show each other certificates of the same authority (mutual TLS): whoever has one may speak as
//! any node. Which node is meant is for the hello (`rpc`).
//!
//! Not here: making certificates, HTTP, what peers say to each other.

mod explain;
mod load;
mod peers;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use quorate_env::Clock;
use rustls::ServerConfig;
use tokio::time::sleep;

use crate::config::TlsSection;
pub use load::CertificateError;
use load::Loaded;
pub use peers::PeerNetwork;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long before a certificate expires this is said at every start and replacement.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The certificates of one node, replaced while it runs.
pub struct Certificates {
    section: TlsSection,
    clock: Arc<dyn Clock>,
    loaded: RwLock<Arc<Loaded>>,
    /// What the files looked like when they were last read.
    seen: Mutex<Vec<FileStamp>>,
    counts: Counts,
}

/// What was done with certificates.
#[derive(Debug, Default)]
struct Counts {
    replaced: AtomicU64,
    unusable: AtomicU64,
    peers_failed: AtomicU64,
}

/// What tells a file from the one that was there before.
type FileStamp = Option<(SystemTime, u64, u64)>;

/// What a look at the files led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// They are the same as before.
    Same,
    /// What is new is used from now on.
    Replaced,
    /// What is new cannot be used, and what was there before is.
    Unusable,
}

impl Certificates {
    /// Reads the files of the section. `clock` says whether a certificate has expired.
    ///
    /// # Errors
    /// See [`CertificateError`]; also for a certificate that peers would refuse.
    pub fn open(section: &TlsSection, clock: Arc<dyn Clock>) -> Result<Self, CertificateError> {
        let seen = stamps(section);
        let loaded = Loaded::read(section, &clock)?;
        let certificates = Self {
            section: section.clone(),
            clock,
            loaded: RwLock::new(Arc::new(loaded)),
            seen: Mutex::new(seen),
            counts: Counts::default(),
        };
        certificates.warn_if_expiring();
        Ok(certificates)
    }

    /// What new connections of clients are served with.
    #[must_use]
    pub fn for_clients(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded().clients)
    }

    /// Whether clients are asked for a certificate, which administrators show.
    #[must_use]
    pub fn are_asked_of_clients(&self) -> bool {
        self.section.ca.is_some()
    }

    /// When the certificate expires, in seconds since 1970, if there is an authority to hold it against.
    #[must_use]
    pub fn expire_at_s(&self) -> Option<u64> {
        self.loaded().good_until_s
    }

    /// How often other certificates were taken in place of those before.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.counts.replaced.load(Ordering::Relaxed)
    }

    /// How often files had changed that could not be used.
    #[must_use]
    pub fn unusable(&self) -> u64 {
        self.counts.unusable.load(Ordering::Relaxed)
    }

    /// Connections between peers that came to nothing because of a certificate.
    #[must_use]
    pub fn peers_failed(&self) -> u64 {
        self.counts.peers_failed.load(Ordering::Relaxed)
    }

    /// Looks at the files once a second, for ever.
    pub async fn watch(self: Arc<Self>) {
        loop {
            sleep(LOOK).await;
            self.look();
        }
    }

    /// Reads the files again if they have changed.
    pub fn look(&self) -> Look {
        // Before they are read: what changes meanwhile is read next time.
        let found = stamps(&self.section);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == found {
                return Look::Same;
            }
            *seen = found;
        }
        match Loaded::read(&self.section, &self.clock) {
            Ok(loaded) => {
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                self.counts.replaced.fetch_add(1, Ordering::Relaxed);
                tracing::info!(cert = self.section.cert, "certificates were replaced");
                self.warn_if_expiring();
                Look::Replaced
            }
            Err(error) => {
                // Certificate and key are written one after the other: the next look may find both.
                self.counts.unusable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "changed certificates cannot be used; those from before still are");
                Look::Unusable
            }
        }
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn warn_if_expiring(&self) {
        let Some(until_s) = self.expire_at_s() else { return };
        let left_s = until_s.saturating_sub(self.clock.wall_ns() / 1_000_000_000);
        if left_s < WARN_BEFORE.as_secs() {
            tracing::warn!(
                cert = self.section.cert,
                hours_left = left_s / 3600,
                "the certificate expires soon"
            );
        }
    }
}

fn stamps(section: &TlsSection) -> Vec<FileStamp> {
    use std::os::unix::fs::MetadataExt as _;
    let files = [Some(&section.cert), Some(&section.key), section.ca.as_ref()];
    let stamp = |path: &String| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len(), found.ino()))
    };
    files.into_iter().flatten().map(stamp).collect()
}
