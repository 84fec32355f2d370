//! A request and its bytes.

use std::fmt;

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

/// A header field with a number, added by whoever sends a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberField {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value.
    pub(crate) value: u64,
}

impl Request<'_> {
    /// Refuses what cannot be put into a head.
    ///
    /// # Errors
    /// If the target or a field would break the head apart, as a token from elsewhere could.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
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
        Ok(())
    }

    /// Appends head and body to `out`, to be written in one go.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(crate) fn write_to(
        &self,
        host: &str,
        added: Option<NumberField>,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        self.check()?;
        self.write_unchecked(host, added, out);
        Ok(())
    }

    fn write_unchecked(&self, host: &str, added: Option<NumberField>, out: &mut Vec<u8>) {
        // Piece by piece: the formatting machinery would cost as much as the rest of the head.
        let mut put =
            |pieces: &[&str]| pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
        put(&[self.method.as_str(), " ", self.target, " HTTP/1.1\r\nHost: ", host, "\r\n"]);
        for (name, value) in self.headers {
            put(&[name, ": ", value, "\r\n"]);
        }
        let mut digits = [0; DIGITS_MAX];
        if let Some(NumberField { name, value }) = added {
            put(&[name, ": ", decimal(value, &mut digits), "\r\n"]);
        }
        if !self.body.is_empty() || matches!(self.method, Method::Put | Method::Post) {
            put(&["Content-Length: ", decimal(self.body.len() as u64, &mut digits), "\r\n"]);
        }
        put(&["\r\n"]);
        out.extend_from_slice(self.body);
    }
}

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

/// A number in digits.
fn decimal(mut number: u64, digits: &mut [u8; DIGITS_MAX]) -> &str {
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).expect("digits are ASCII")
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
            .write_to("n1:7000", Some(NumberField { name: "X-Left", value: 1020 }), &mut out)
            .unwrap();
        let expected = "PUT /kv/k%201 HTTP/1.1\r\nHost: n1:7000\r\nX-Quorate-Context: abc\r\nX-Left: 1020\r\nContent-Length: 2\r\n\r\nv1";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 7, 10, 99, 100, 5000, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; DIGITS_MAX]), number.to_string());
        }
    }

    #[test]
    fn nothing_can_end_the_head_early() {
        let write = |target, value| {
            let headers = [("X-Quorate-Context", value)];
            Request { method: Method::Get, target, headers: &headers, body: b"" }.write_to(
                "n1:7000",
                None,
                &mut Vec::new(),
            )
        };
        assert!(write("/kv/k", "token").is_ok());
        assert!(write("/kv/k", "token\r\nHost: elsewhere").is_err());
        assert!(write("/kv/k HTTP/1.1\r\n", "token").is_err());
        assert!(write("kv", "token").is_err());
    }
}
