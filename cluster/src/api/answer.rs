//! HTTP answers: values, siblings, errors. Every error is JSON and says whether the request
//! may have been applied.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::coordinator::{Read, RequestError};
use crate::version::Payload;

/// An answer whose body is in memory.
pub(super) type Answer = Response<Full<Bytes>>;

/// The header that carries a context token.
pub(super) const CONTEXT: &str = "x-quorate-context";
/// The header that names the writes behind an answer.
pub(super) const VERSION: &str = "x-quorate-version";

/// The header that names the view that the answering node is in.
pub(super) const VIEW: &str = "x-quorate-view";

/// An answer with a body of this type.
pub(super) fn body(status: StatusCode, content_type: &str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()));
    *answer.status_mut() = status;
    // A stored type came in a header once, so it fits in one.
    if let Ok(value) = HeaderValue::from_str(content_type) {
        answer.headers_mut().insert(CONTENT_TYPE, value);
    }
    answer
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    body(status, "application/json", value.to_string())
}

/// An error that no quorum was asked about.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    json(status, &json!({ "error": code, "message": message, "maybe_applied": false }))
}

/// 405, naming what is allowed.
pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer =
        error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("this path takes {allowed}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// The answer to a request that failed.
pub(super) fn failure(failed: &RequestError) -> Answer {
    let (status, code) = match failed {
        RequestError::BadKey { .. } => (StatusCode::BAD_REQUEST, "bad_key"),
        RequestError::ValueTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "value_too_large"),
        RequestError::Token(_) => (StatusCode::BAD_REQUEST, "bad_context"),
        RequestError::ContextRequired => (StatusCode::PRECONDITION_REQUIRED, "context_required"),
        RequestError::SiblingLimit { .. } => (StatusCode::CONFLICT, "sibling_limit"),
        RequestError::Skew(_) => (StatusCode::SERVICE_UNAVAILABLE, "clock_skew"),
        RequestError::QuorumNotMet { .. } => (StatusCode::SERVICE_UNAVAILABLE, "quorum_not_met"),
        RequestError::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        RequestError::Mismatch { .. } => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
        RequestError::Overtaken => (StatusCode::SERVICE_UNAVAILABLE, "overtaken"),
        RequestError::NoMember => (StatusCode::SERVICE_UNAVAILABLE, "no_member"),
        RequestError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        RequestError::Deadline { .. } => (StatusCode::GATEWAY_TIMEOUT, "deadline"),
        RequestError::DiskFull { .. } => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
    };
    let body =
        json!({ "error": code, "message": failed.to_string(), "maybe_applied": failed.maybe_applied() });
    let mut answer = json(status, &body);
    if let RequestError::Mismatch { there: Some(id) } = failed {
        set(&mut answer, ETAG.as_str(), &register_etag(&id.to_string()));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// The answer to a get: 200, 300 or 404.
pub(super) fn found(read: &Read, wants_json: bool) -> Answer {
    let mut answer = match read.payloads.as_slice() {
        [] => error(StatusCode::NOT_FOUND, "not_found", "no value is stored under this key"),
        [one] => body(StatusCode::OK, &one.content_type, one.value.clone()),
        several if wants_json => {
            let value =
                |p: &Payload| json!({ "value": STANDARD.encode(&p.value), "content_type": p.content_type });
            json(
                StatusCode::MULTIPLE_CHOICES,
                &json!({ "values": several.iter().map(value).collect::<Vec<_>>() }),
            )
        }
        several => multipart(several),
    };
    let versions = read.versions.join(",");
    if !read.payloads.is_empty() {
        let etag = if read.is_register { register_etag(&versions) } else { etag(&versions) };
        set(&mut answer, ETAG.as_str(), &etag);
    }
    if !versions.is_empty() {
        set(&mut answer, VERSION, &versions);
    }
    answer
}

/// Names a set of writes; equal exactly when they are.
pub(super) fn etag(versions: &str) -> String {
    let digest = Sha256::digest(versions.as_bytes());
    let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("\"{first:016x}\"")
}

/// Names the write that a register holds: what a compare-and-set sends back.
pub(super) fn register_etag(id: &str) -> String {
    format!("\"{id}\"")
}

/// Sets a header that is made of visible ASCII.
pub(super) fn set(answer: &mut Answer, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (hyper::header::HeaderName::try_from(name), HeaderValue::from_str(value)) {
        answer.headers_mut().insert(name, value);
    }
}

/// Siblings as `multipart/mixed` (RFC 2046, section 5.1.3).
fn multipart(payloads: &[Payload]) -> Answer {
    // Drawn from the values themselves, so that it is in none of them and the same each time.
    let mut hash = Sha256::new();
    for payload in payloads {
        hash.update(&payload.value);
    }
    let mut boundary = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>();
    while payloads.iter().any(|p| contains(&p.value, boundary.as_bytes())) {
        boundary.push('x');
    }
    let mut bytes = Vec::new();
    for payload in payloads {
        bytes.extend_from_slice(
            format!("--{boundary}\r\nContent-Type: {}\r\n\r\n", payload.content_type).as_bytes(),
        );
        bytes.extend_from_slice(&payload.value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body(StatusCode::MULTIPLE_CHOICES, &format!("multipart/mixed; boundary={boundary}"), bytes)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
