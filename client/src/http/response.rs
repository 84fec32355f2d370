//! A reply, read strictly.

use std::mem::MaybeUninit;

use bytes::Bytes;

/// Most header fields of a reply; more is no store of ours.
const FIELDS_MAX: usize = 64;

/// The fields that are asked for with every reply of some kind: where they are is noted while the head is
/// read, once.
const NOTED: [&str; 6] =
    ["content-type", "x-quorate-context", "x-quorate-version", "etag", "x-quorate-view", "retry-after"];

/// Where the values of [`NOTED`] are in the head, from and to; nowhere if both are 0.
type Noted = [(u32, u32); NOTED.len()];

/// A whole reply.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, exactly as long as `Content-Length` said.
    pub body: Bytes,
    head: Bytes,
    noted: Noted,
}

/// How a reply broke HTTP or the store's contract.
#[derive(Debug, thiserror::Error)]
pub enum MalformedReply {
    /// The head is not HTTP/1.
    #[error("the head is not HTTP/1: {0}")]
    BadHead(httparse::Error),
    /// It breaks HTTP/2, or is none.
    #[error("it is not HTTP/2 ({0}); does the server speak HTTP/1.1 only?")]
    NotHttp2(String),
    /// The head does not end.
    #[error("the head is longer than {max} bytes")]
    HeadTooLarge {
        /// The limit.
        max: usize,
    },
    /// The body is longer than this client takes.
    #[error("the body of {bytes} bytes is longer than {max}")]
    BodyTooLarge {
        /// As announced.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// A body of unknown length.
    #[error("there is no Content-Length")]
    NoLength,
    /// A length that is no number, or two that differ.
    #[error("the Content-Length is not one number")]
    BadLength,
    /// `Transfer-Encoding`, which the contract excludes.
    #[error("it uses Transfer-Encoding")]
    TransferEncoding,
    /// More bytes than the reply has.
    #[error("there are bytes after the reply")]
    TrailingBytes,
    /// A success that this operation cannot have.
    #[error("status {status} is not an answer to this operation")]
    UnexpectedStatus {
        /// The status.
        status: u16,
    },
    /// No `X-Quorate-Context`.
    #[error("there is no X-Quorate-Context")]
    NoContext,
    /// A body that should be JSON and is not, or not of the right shape.
    #[error("the JSON cannot be read: {0}")]
    BadJson(#[from] serde_json::Error),
    /// A value that should be base64 and is not.
    #[error("a value is not base64: {0}")]
    BadBase64(#[from] base64::DecodeError),
    /// A placement that cannot be.
    #[error("the placement cannot be: {0}")]
    BadPlacement(&'static str),
    /// A body that should be text and is not.
    #[error("the text is not UTF-8")]
    NotText,
}

/// The part of a head that says where the reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadFacts {
    pub(crate) status: u16,
    pub(crate) head_bytes: usize,
    pub(crate) body_bytes: u64,
    pub(crate) keep_alive: bool,
    noted: Noted,
}

impl HeadFacts {
    /// Reads a head at the start of `input`; none if it is not complete yet.
    pub(crate) fn read(input: &[u8]) -> Result<Option<Self>, MalformedReply> {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut head,
            input,
            &mut fields,
        );
        let head_bytes = match parsed.map_err(MalformedReply::BadHead)? {
            httparse::Status::Complete(bytes) => bytes,
            httparse::Status::Partial => return Ok(None),
        };
        let status = head.code.ok_or(MalformedReply::BadHead(httparse::Error::Status))?;
        let mut keep_alive = head.version == Some(1);
        let mut length: Option<u64> = None;
        let mut noted = Noted::default();
        for field in head.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let value = decimal(field.value).ok_or(MalformedReply::BadLength)?;
                if length.is_some_and(|earlier| earlier != value) {
                    return Err(MalformedReply::BadLength);
                }
                length = Some(value);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(MalformedReply::TransferEncoding);
            } else if field.name.eq_ignore_ascii_case("connection") {
                let close =
                    field.value.split(|&b| b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"close"));
                keep_alive &= !close;
            } else if let Some(place) = place(field.name)
                && noted[place] == (0, 0)
            {
                let from = field.value.as_ptr() as usize - input.as_ptr() as usize;
                // Longer heads than that are refused; this one then is, too.
                let at = |offset: usize| u32::try_from(offset).unwrap_or_default();
                noted[place] = (at(from), at(from + field.value.len()));
            }
        }
        // These never have a body, whatever they say (RFC 9112, section 6.3).
        let bodiless = status < 200 || status == 204 || status == 304;
        let body_bytes = if bodiless { 0 } else { length.ok_or(MalformedReply::NoLength)? };
        Ok(Some(Self { status, head_bytes, body_bytes, keep_alive, noted }))
    }
}

/// Which of [`NOTED`] a name is, in any case.
fn place(name: &str) -> Option<usize> {
    NOTED.iter().position(|noted| noted.eq_ignore_ascii_case(name))
}

/// A number in plain digits: no sign, no space, no overflow.
fn decimal(text: &[u8]) -> Option<u64> {
    let all_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| all_digits)?.parse().ok()
}

impl Response {
    /// A reply of which the head was read before.
    pub(crate) fn new(facts: &HeadFacts, head: Bytes, body: Bytes) -> Self {
        Self { status: facts.status, body, head, noted: facts.noted }
    }

    /// A reply that came field by field.
    pub(crate) fn of_fields<'a>(
        status: u16,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
        body: Bytes,
    ) -> Self {
        let (mut head, mut noted) = (Vec::with_capacity(512), Noted::default());
        for (name, value) in fields {
            head.extend_from_slice(b"\r\n");
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            let from = head.len();
            head.extend_from_slice(value);
            if let Some(place) = place(name)
                && noted[place] == (0, 0)
            {
                // Heads are far shorter than that: they are bounded where they are received.
                let at = |offset: usize| u32::try_from(offset).unwrap_or_default();
                noted[place] = (at(from), at(head.len()));
            }
        }
        Self { status, body, head: head.into(), noted }
    }

    /// The first header field of that name (in any case), if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        if let Some(place) = place(name) {
            let (from, to) = self.noted[place];
            let value = self.head.get(from as usize..to as usize).filter(|_| to > 0)?;
            return std::str::from_utf8(value).ok().map(str::trim_ascii);
        }
        let head = std::str::from_utf8(&self.head).ok()?;
        head.split("\r\n").skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
        })
    }
}

#[cfg(test)]
impl Response {
    /// A reply made of text, for tests.
    pub(crate) fn of(head: &'static str, body: &'static str) -> Self {
        let head = Bytes::from_static(head.as_bytes());
        let facts = HeadFacts::read(&head).expect("HTTP").expect("a whole head");
        Self::new(&facts, head, Bytes::from_static(body.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn facts(head: &str) -> Result<Option<HeadFacts>, MalformedReply> {
        HeadFacts::read(head.as_bytes())
    }

    #[test]
    fn a_head_says_where_the_reply_ends() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n";
        let (status, keep_alive, noted) = (200, true, Noted::default());
        let expected = HeadFacts { status, head_bytes: head.len(), body_bytes: 12, keep_alive, noted };
        assert_eq!(facts(head).unwrap(), Some(expected));
        assert_eq!(facts(&head[..30]).unwrap(), None, "half a head is not an error yet");
        let no_content = facts("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap().unwrap();
        assert_eq!((no_content.body_bytes, no_content.keep_alive), (0, false));
        assert!(!facts("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap().keep_alive);
    }

    #[test]
    fn what_leaves_the_end_open_is_refused() {
        assert!(matches!(facts("HTTP/1.1 200 OK\r\n\r\n"), Err(MalformedReply::NoLength)));
        for length in ["-1", "+1", "1 2", "", "99999999999999999999", "0x10"] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            assert!(matches!(facts(&head), Err(MalformedReply::BadLength)), "{length}");
        }
        let two = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert!(matches!(facts(two), Err(MalformedReply::BadLength)));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(facts(chunked), Err(MalformedReply::TransferEncoding)));
        assert!(matches!(facts("SSH-2.0-OpenSSH_9.2\r\n"), Err(MalformedReply::BadHead(_))));
    }

    #[test]
    fn fields_are_found_however_they_came() {
        let fields: [(&str, &[u8]); 4] =
            [("etag", b"\"a:b\""), ("server", b"s"), ("etag", b"no"), ("x-quorate-view", b"")];
        let response = Response::of_fields(200, fields.into_iter(), Bytes::from_static(b"v"));
        assert_eq!((response.status, response.body.as_ref()), (200, b"v".as_slice()));
        assert_eq!(response.header("ETag"), Some("\"a:b\""));
        assert_eq!(response.header("X-Quorate-View"), Some(""));
        assert_eq!((response.header("Server"), response.header("via")), (Some("s"), None));
    }

    #[test]
    fn fields_are_found_in_any_case() {
        let response = Response::of(
            "HTTP/1.1 204 OK\r\nETag:  \"a:b\" \r\nX-Quorate-Context: t\r\netag: no\r\nServer: s\r\nX-Quorate-View:\r\n\r\n",
            "",
        );
        assert_eq!(response.header("etag"), Some("\"a:b\""));
        assert_eq!(response.header("x-quorate-CONTEXT"), Some("t"));
        assert_eq!(response.header("X-Quorate-View"), Some(""), "empty, but there");
        assert_eq!(response.header("SERVER"), Some("s"));
        assert_eq!((response.header("retry-after"), response.header("via")), (None, None));
    }
}
