//! What went over the wire, hashed as it goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Hash, SECOND_NS, Trace};

/// Hashes of what each host's streams carried, by simulated second. Cheap to clone; clones write one tape.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    hashes: Arc<Mutex<BTreeMap<(u64, String), Hash>>>,
}

impl Tape {
    /// Adds what the stream with this number on `host` read or wrote.
    pub fn carry(&self, at_ns: u64, host: &str, stream: u64, is_read: bool, bytes: &[u8]) {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = hashes.entry((at_ns / SECOND_NS, host.to_owned())).or_default();
        hash.number(stream << 1 | u64::from(is_read));
        hash.bytes(bytes);
    }

    /// Adds all of it to a trace.
    pub fn add_to(&self, trace: &mut Trace) {
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        for ((second, host), hash) in hashes.iter() {
            trace.add(*second, &format!("wire {host}"), *hash);
        }
    }
}
