//! What the store answers, typed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use crate::http::{MalformedReply, Response};

/// The header that carries context tokens both ways.
pub(crate) const CONTEXT_HEADER: &str = "X-Quorate-Context";

/// The header that names the writes behind an answer.
const VERSION_HEADER: &str = "X-Quorate-Version";

/// One stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its bytes.
    pub bytes: Bytes,
    /// The `Content-Type` it was stored with, empty if the store gave none.
    pub content_type: String,
}

/// How many values a get found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetStatus {
    /// One (200).
    Found,
    /// Several concurrent ones (300).
    Siblings,
    /// None (404).
    NotFound,
}

/// The answer to a get.
#[derive(Clone, Debug)]
pub struct GetReply {
    /// How many values there are.
    pub status: GetStatus,
    /// The values: none, one, or the siblings in the store's order.
    pub values: Vec<Value>,
    /// The context token: sent with a write, it replaces exactly what was read.
    pub context: String,
    /// What to send as a precondition, where the store takes one.
    pub etag: Option<String>,
    /// The writes behind the answer, as the store names them, joined by commas. Empty when it found
    /// nothing and names no write either; none if the store names no writes at all.
    pub version: Option<String>,
    /// The node that answered, 0-based.
    pub node: usize,
}

/// The answer to a get as it came: what it holds is looked at in place. For a load generator, to which a
/// copy for each field would be a good part of its own cost.
#[derive(Clone, Debug)]
pub struct GetAnswer {
    response: Response,
    siblings: Vec<Value>,
    node: usize,
}

/// The answer to a put or a delete.
#[derive(Clone, Debug)]
pub struct PutReply {
    /// A token that covers what the write's own token covered, and the new version.
    pub context: String,
    /// What to send as a precondition, where the store takes one.
    pub etag: Option<String>,
    /// The new write, as the store names it.
    pub version: Option<String>,
    /// The node that answered, 0-based.
    pub node: usize,
}

/// What the store says of an error.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ErrorBody {
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) message: String,
    pub(crate) maybe_applied: Option<bool>,
}

#[derive(Deserialize)]
struct SiblingsBody {
    values: Vec<SiblingBody>,
}

#[derive(Deserialize)]
struct SiblingBody {
    value: String,
    #[serde(default)]
    content_type: String,
}

impl GetReply {
    /// Reads a 200, 300 or 404. A 404 counts as an answer only with its context: without one
    /// it is some other server's.
    pub(crate) fn read(response: &Response, node: usize, local: bool) -> Result<Self, MalformedReply> {
        let (status, values) = match response.status {
            200 => {
                let content_type = response.header("Content-Type").unwrap_or_default().to_owned();
                (GetStatus::Found, vec![Value { bytes: response.body.clone(), content_type }])
            }
            300 => (GetStatus::Siblings, siblings(&response.body)?),
            404 => (GetStatus::NotFound, Vec::new()),
            status => return Err(MalformedReply::UnexpectedStatus { status }),
        };
        let context = response.header(CONTEXT_HEADER).map(str::to_owned);
        // One node's own copy is no basis for a write, so a store need not give a token with it.
        let context =
            if local { context.unwrap_or_default() } else { context.ok_or(MalformedReply::NoContext)? };
        let version = response.header(VERSION_HEADER).map(str::to_owned);
        // That nothing was ever written is a version too: histories need one for every answer.
        let version = version.or_else(|| (status == GetStatus::NotFound).then(String::new));
        Ok(Self { status, values, context, etag: response.header("ETag").map(str::to_owned), version, node })
    }
}

impl GetAnswer {
    /// Reads a 200, 300 or 404, each with its context.
    pub(crate) fn read(response: Response, node: usize) -> Result<Self, MalformedReply> {
        let siblings = match response.status {
            200 | 404 => Vec::new(),
            300 => siblings(&response.body)?,
            status => return Err(MalformedReply::UnexpectedStatus { status }),
        };
        response.header(CONTEXT_HEADER).ok_or(MalformedReply::NoContext)?;
        Ok(Self { response, siblings, node })
    }

    /// The values: none, one, or the siblings in the store's order.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let only = (self.response.status == 200).then_some(&*self.response.body);
        only.into_iter().chain(self.siblings.iter().map(|value| &*value.bytes))
    }

    /// As [`GetReply::context`].
    #[must_use]
    pub fn context(&self) -> &str {
        self.response.header(CONTEXT_HEADER).unwrap_or_default()
    }

    /// As [`GetReply::version`].
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        let nothing = (self.response.status == 404).then_some("");
        self.response.header(VERSION_HEADER).or(nothing)
    }

    /// The node that answered, 0-based.
    #[must_use]
    pub fn node(&self) -> usize {
        self.node
    }
}

impl PutReply {
    /// Reads a 204.
    pub(crate) fn read(response: &Response, node: usize) -> Result<Self, MalformedReply> {
        if response.status != 204 {
            return Err(MalformedReply::UnexpectedStatus { status: response.status });
        }
        let context = response.header(CONTEXT_HEADER).ok_or(MalformedReply::NoContext)?.to_owned();
        let field = |name| response.header(name).map(str::to_owned);
        Ok(Self { context, etag: field("ETag"), version: field(VERSION_HEADER), node })
    }
}

fn siblings(body: &[u8]) -> Result<Vec<Value>, MalformedReply> {
    let body: SiblingsBody = serde_json::from_slice(body)?;
    body.values
        .into_iter()
        .map(|s| Ok(Value { bytes: STANDARD.decode(&s.value)?.into(), content_type: s.content_type }))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn response(status: u16, fields: &str, body: &'static str) -> Response {
        let head = format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        Response::of(head.leak(), body)
    }

    #[test]
    fn siblings_come_in_order_with_their_types() {
        let body = r#"{"values":[{"value":"djE=","content_type":"text/plain"},{"value":"djI="}],"more":1}"#;
        let reply = GetReply::read(&response(300, "X-Quorate-Context: t\r\n", body), 2, false).unwrap();
        assert_eq!((reply.status, reply.context.as_str(), reply.node), (GetStatus::Siblings, "t", 2));
        assert_eq!(reply.values[0], Value { bytes: "v1".into(), content_type: "text/plain".into() });
        assert_eq!(reply.values[1].bytes, "v2");
    }

    #[test]
    fn every_answer_says_which_writes_it_is_about() {
        let version = |status, fields| {
            GetReply::read(&response(status, fields, ""), 0, false).map(|reply| reply.version).unwrap()
        };
        let both = "X-Quorate-Context: t\r\nX-Quorate-Version: 7.a.1\r\nETag: \"e\"\r\n";
        assert_eq!(version(200, both).as_deref(), Some("7.a.1"));
        assert_eq!(version(404, both).as_deref(), Some("7.a.1"), "a delete");
        assert_eq!(version(404, "X-Quorate-Context: t\r\n").as_deref(), Some(""), "nothing yet");
        assert_eq!(version(200, "X-Quorate-Context: t\r\nETag: \"e\"\r\n"), None);
        assert_eq!(PutReply::read(&response(204, both, ""), 0).unwrap().version.as_deref(), Some("7.a.1"));
    }

    #[test]
    fn an_answer_looked_at_in_place_says_the_same() {
        let siblings = r#"{"values":[{"value":"djE="},{"value":"djI="}]}"#;
        let version = "X-Quorate-Context: t\r\nX-Quorate-Version: 7.a.1\r\n";
        for (status, fields, body) in [
            (200, version, "v1"),
            (200, "X-Quorate-Context: t\r\n", ""),
            (300, version, siblings),
            (404, version, ""),
            (404, "X-Quorate-Context: t\r\n", ""),
        ] {
            let reply = GetReply::read(&response(status, fields, body), 1, false).unwrap();
            let answer = GetAnswer::read(response(status, fields, body), 1).unwrap();
            assert!(answer.values().eq(reply.values.iter().map(|value| &*value.bytes)), "{status}");
            assert_eq!((answer.context(), answer.version()), (&*reply.context, reply.version.as_deref()));
            assert_eq!(answer.node(), reply.node);
        }
        for (status, fields) in [(404, ""), (200, ""), (206, "X-Quorate-Context: t\r\n")] {
            assert!(GetAnswer::read(response(status, fields, ""), 1).is_err(), "{status} {fields}");
        }
    }

    #[test]
    fn answers_outside_the_contract_are_malformed() {
        let get =
            |status, fields, body| GetReply::read(&response(status, fields, body), 0, false).unwrap_err();
        assert!(matches!(get(404, "", ""), MalformedReply::NoContext));
        assert!(matches!(get(206, "", ""), MalformedReply::UnexpectedStatus { status: 206 }));
        assert!(matches!(get(300, "", "--multipart"), MalformedReply::BadJson(_)));
        assert!(matches!(get(300, "", r#"{"values":[{"value":"%%"}]}"#), MalformedReply::BadBase64(_)));
        let put = PutReply::read(&response(200, "", ""), 0).unwrap_err();
        assert!(matches!(put, MalformedReply::UnexpectedStatus { status: 200 }));
    }
}
