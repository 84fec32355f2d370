//! What people call a target: `https://...`, `etcd://...`, `redis://...` or `null`.
//!
//! Not here: connecting to it.

use std::fmt;
use std::str::FromStr;

use quorate_client::{NodeUrl, SetupError};

/// A target by its name, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetName {
    /// Nodes of a Quorate store, all of one store.
    Quorate(Vec<NodeUrl>),
    /// Members of an etcd cluster.
    Etcd {
        /// Where they listen for clients.
        endpoints: Vec<Endpoint>,
        /// Whether connections are encrypted.
        tls: bool,
        /// Whether gets may be answered from what one member happens to have, instead of being
        /// linearizable.
        serializable: bool,
    },
    /// One Redis server.
    Redis(Endpoint),
    /// Nothing at all: what is measured is the generator.
    Null,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The host, without brackets if it is an IPv6 address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A name that no target has.
#[derive(Debug, thiserror::Error)]
pub enum TargetNameError {
    /// It has no scheme, or one that nobody knows.
    #[error(
        "--target `{name}`: give the URLs of nodes (https://host:port,...), etcd://host:port,..., \
         etcds://..., redis://host:port or null"
    )]
    Unknown {
        /// As given.
        name: String,
    },
    /// A URL of a Quorate node that is none.
    #[error("--target: {0}")]
    Url(#[from] SetupError),
    /// Something else is wrong with it.
    #[error("--target `{name}`: {why}")]
    Malformed {
        /// As given.
        name: String,
        /// What, and what to do.
        why: &'static str,
    },
}

impl TargetName {
    /// What a history must hold to be judged: whether a key of the target has one value at a time.
    #[must_use]
    pub fn is_single_valued(&self) -> bool {
        matches!(self, Self::Etcd { .. } | Self::Redis(_))
    }
}

impl FromStr for TargetName {
    type Err = TargetNameError;

    /// Reads a name; several nodes are separated by commas, and only the first needs a scheme.
    fn from_str(text: &str) -> Result<Self, TargetNameError> {
        let malformed = |why| TargetNameError::Malformed { name: text.to_owned(), why };
        if text == "null" {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(TargetNameError::Unknown { name: text.to_owned() });
        };
        match scheme {
            "http" | "https" => {
                let urls = text.split(',').map(|url| match url.contains("://") {
                    true => url.parse(),
                    false => format!("{scheme}://{url}").parse(),
                });
                Ok(Self::Quorate(urls.collect::<Result<_, _>>()?))
            }
            "etcd" | "etcds" => {
                let (list, query) = rest.split_once('?').map_or((rest, None), |(l, q)| (l, Some(q)));
                let serializable = match query {
                    None => false,
                    Some("serializable") => true,
                    Some(_) => return Err(malformed("the only thing to say after `?` is `serializable`")),
                };
                let prefix = format!("{scheme}://");
                let one =
                    |endpoint: &str| endpoint_of(endpoint.strip_prefix(&prefix).unwrap_or(endpoint), 2379);
                let endpoints: Result<_, _> = list.split(',').map(one).collect();
                let endpoints = endpoints.map_err(malformed)?;
                Ok(Self::Etcd { endpoints, tls: scheme == "etcds", serializable })
            }
            "redis" if rest.contains(',') => {
                Err(malformed("one server only: a Redis cluster is not spoken here"))
            }
            "redis" => Ok(Self::Redis(endpoint_of(rest, 6379).map_err(malformed)?)),
            "rediss" => Err(malformed("TLS to Redis is not spoken here: use redis://")),
            _ => Err(TargetNameError::Unknown { name: text.to_owned() }),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: Vec<String>| items.join(",");
        match self {
            Self::Quorate(urls) => f.write_str(&list(urls.iter().map(NodeUrl::to_string).collect())),
            Self::Etcd { endpoints, tls, serializable } => {
                let scheme = if *tls { "etcds" } else { "etcd" };
                let query = if *serializable { "?serializable" } else { "" };
                write!(f, "{scheme}://{}{query}", list(endpoints.iter().map(Endpoint::to_string).collect()))
            }
            Self::Redis(endpoint) => write!(f, "redis://{endpoint}"),
            Self::Null => f.write_str("null"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn endpoint_of(text: &str, port_default: u16) -> Result<Endpoint, &'static str> {
    let authority = text.strip_suffix('/').unwrap_or(text);
    if authority.contains('@') {
        return Err("users and passwords are not spoken here: measure a store that asks for none");
    }
    if authority.contains(['/', '?', '#']) {
        return Err("it must be only scheme, host and port");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or("the bracket is not closed")?;
            (host, after.strip_prefix(':'))
        }
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)) {
        return Err("the host is not a name or an address");
    }
    let port = port.map_or(Ok(port_default), |port| {
        port.parse().map_err(|_| "the port is not a number from 0 to 65535")
    })?;
    Ok(Endpoint { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn names_round_trip_and_what_is_left_out_is_filled_in() {
        for (text, shown) in [
            ("null", "null"),
            ("https://127.0.0.1:4001,127.0.0.1:4002", "https://127.0.0.1:4001,https://127.0.0.1:4002"),
            ("http://a:1,http://b:2", "http://a:1,http://b:2"),
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://[::1]:7000/", "redis://[::1]:7000"),
            ("etcd://a,b:1,etcd://c", "etcd://a:2379,b:1,c:2379"),
            ("etcds://a:1?serializable", "etcds://a:1?serializable"),
        ] {
            assert_eq!(text.parse::<TargetName>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_its_name_and_what_to_do() {
        for (text, advice) in [
            ("etcd", "etcd://host:port"),
            ("mongodb://a:1", "redis://host:port"),
            ("https://n1/kv", "only scheme, host and port"),
            ("redis://a:1,b:2", "one server only"),
            ("redis://user:secret@a:1", "measure a store that asks for none"),
            ("redis://a:99999", "0 to 65535"),
            ("redis://a:1/0", "only scheme, host and port"),
            ("etcd://", "not a name or an address"),
            ("etcd://a:1,", "not a name or an address"),
            ("etcd://[::1", "bracket"),
            ("etcd://a?fast", "`serializable`"),
            ("rediss://a", "redis://"),
        ] {
            let message = text.parse::<TargetName>().unwrap_err().to_string();
            assert!(message.contains(text) && message.contains(advice), "{message}");
        }
    }
}
