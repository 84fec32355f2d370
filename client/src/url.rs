//! The address of one node: `http://host:port` or `https://host:port`.

use std::fmt;
use std::str::FromStr;

use crate::SetupError;

/// A node's base URL, checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeUrl {
    tls: bool,
    host: String,
    port: u16,
}

impl NodeUrl {
    /// Whether connections to it are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host without its port, and without brackets if it is an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `host:port`, as [`quorate_env::Network::connect`] and the `Host` header want it.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl FromStr for NodeUrl {
    type Err = SetupError;

    /// Reads a URL without path, query or user. The port may be left out (80, 443).
    fn from_str(text: &str) -> Result<Self, SetupError> {
        let bad = |why| SetupError::BadUrl { url: text.to_owned(), why };
        let (tls, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(bad("it must start with http:// or https://"));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(bad("it must be only scheme, host and port"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) =
                    bracketed.split_once(']').ok_or_else(|| bad("the bracket is not closed"))?;
                (host, after.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        // What goes into a request head must not be able to end a line of it.
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)) {
            return Err(bad("the host is not a name or an address"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad("the port is not a number from 0 to 65535"))?,
            None if tls => 443,
            None => 80,
        };
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn good_urls_round_trip() {
        for (text, shown) in [
            ("https://127.0.0.1:4001", "https://127.0.0.1:4001"),
            ("http://n1:7000/", "http://n1:7000"),
            ("https://[::1]:4001", "https://[::1]:4001"),
            ("http://localhost", "http://localhost:80"),
            ("https://store.example", "https://store.example:443"),
        ] {
            assert_eq!(text.parse::<NodeUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn bad_urls_are_refused_with_the_url_in_the_message() {
        for text in [
            "n1:7000",
            "ftp://n1",
            "http://",
            "http://n1:x",
            "http://n1/kv",
            "http://a\r\nb:1",
            "http://[::1",
        ] {
            let message = text.parse::<NodeUrl>().unwrap_err().to_string();
            assert!(message.contains(text), "{message}");
        }
    }
}
