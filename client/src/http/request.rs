//! A request and its bytes.

use std::fmt;
use std::io::Write as _;

/// HTTP methods that the store knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Write.
    Put,
    /// Remove.
    Delete,
    /// Administration.
    Post,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Post => "POST",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One request. `Host` and `Content-Length` are added when it is written.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// Path and query, already percent-encoded.
    pub target: &'a str,
    /// Further header fields.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; it may be empty.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// Appends head and body to `out`, to be written in one go.
    ///
    /// # Errors
    /// If the target or a field would break the head apart, as a token from elsewhere could.
    pub(crate) fn write_to(&self, host: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
        if !self.target.starts_with('/') || !self.target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the path holds something other than visible ASCII");
        }
        let is_value_byte = |b: u8| b == b'\t' || b == b' ' || b.is_ascii_graphic();
        for (name, value) in self.headers {
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || name.is_empty() {
                return Err("a header field has a name that is not one");
            }
            if !value.bytes().all(is_value_byte) {
                return Err(
                    "a header field (context, ETag or content type) holds a byte that cannot be sent",
                );
            }
        }
        self.write_unchecked(host, out).map_err(|_| "it does not fit into memory")
    }

    fn write_unchecked(&self, host: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(out, "{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target)?;
        for (name, value) in self.headers {
            write!(out, "{name}: {value}\r\n")?;
        }
        if !self.body.is_empty() || matches!(self.method, Method::Put | Method::Post) {
            write!(out, "Content-Length: {}\r\n", self.body.len())?;
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn head_and_body_are_written_as_http() {
        let mut out = Vec::new();
        let headers = [("X-Quorate-Context", "abc")];
        Request { method: Method::Put, target: "/kv/k%201", headers: &headers, body: b"v1" }
            .write_to("n1:7000", &mut out)
            .unwrap();
        let expected = "PUT /kv/k%201 HTTP/1.1\r\nHost: n1:7000\r\nX-Quorate-Context: abc\r\nContent-Length: 2\r\n\r\nv1";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn nothing_can_end_the_head_early() {
        let write = |target, value| {
            let headers = [("X-Quorate-Context", value)];
            Request { method: Method::Get, target, headers: &headers, body: b"" }
                .write_to("n1:7000", &mut Vec::new())
        };
        assert!(write("/kv/k", "token").is_ok());
        assert!(write("/kv/k", "token\r\nHost: elsewhere").is_err());
        assert!(write("/kv/k HTTP/1.1\r\n", "token").is_err());
        assert!(write("kv", "token").is_err());
    }
}
