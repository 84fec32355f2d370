//! How much one node takes at once. What is more is refused at once, before anything is stored or
//! sent on: a queue without a bound turns overload into latency for everybody.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Bounds of one node's queues, given under `[node]`. Not part of what the store promises; nodes
/// of different sizes may have different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Clients that may be connected at once. A few more are told so; the rest are hung up on.
    /// Default 10,000.
    pub connections_max: usize,
    /// Requests of one HTTP/2 connection in hand at once; more are refused unprocessed. Default 128.
    pub streams_max: u32,
    /// Requests of clients in hand at once, from the arrival of their head until every copy is
    /// written. Default 4,096.
    pub requests_max: usize,
    /// Bytes of values that clients are sending at once. Default 256 MiB.
    pub request_bytes_max: u64,
    /// Requests of peers that run at once, over all connections. Default 8,192.
    pub peer_requests_max: usize,
    /// Requests in flight to, and from, one peer. Default 4,096.
    pub link_requests_max: usize,
    /// Writes that may wait for the disk to sync. Default 4,096.
    pub commits_max: usize,
    /// Bytes of records that were used of late and are kept in memory, about; 0 keeps none, and the engine
    /// `memory` needs none. Default 64 MiB.
    pub cache_bytes: u64,
}

impl Limits {
    /// The settings' names, as they stand under `[node]`.
    pub const NAMES: [&'static str; 8] = [
        "connections_max",
        "streams_max",
        "requests_max",
        "request_bytes_max",
        "peer_requests_max",
        "link_requests_max",
        "commits_max",
        "cache_bytes",
    ];

    /// Takes its settings out of the table of `[node]`.
    ///
    /// # Errors
    /// If one is no number, or a bound of a queue is zero: nothing would ever be taken.
    pub(super) fn take_from(node: &mut toml::Table) -> Result<Self, ConfigError> {
        let mut own = toml::Table::new();
        for name in Self::NAMES {
            if let Some(value) = node.remove(name) {
                if value.as_integer() == Some(0) && name != "cache_bytes" {
                    let why = "nothing would ever be taken; give it at least 1".into();
                    return Err(ConfigError::BadValue { field: name, value: "0".into(), why });
                }
                own.insert(name.to_owned(), value);
            }
        }
        own.try_into().map_err(|e: toml::de::Error| ConfigError::Syntax(format!("[node]: {}", e.message())))
    }

    /// Adds the settings that are not the default to the table of `[node]`.
    ///
    /// # Panics
    /// Never: numbers have a TOML form.
    pub(super) fn put_into(self, node: &mut toml::Table) {
        let table = |limits| toml::Table::try_from(limits).expect("numbers have a TOML form");
        let defaults = table(Self::default());
        node.extend(table(self).into_iter().filter(|(name, value)| defaults.get(name) != Some(value)));
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            streams_max: 128,
            requests_max: 4096,
            request_bytes_max: 256 << 20,
            peer_requests_max: 8192,
            link_requests_max: 4096,
            commits_max: 4096,
            cache_bytes: 64 << 20,
        }
    }
}
