//! How a gRPC call ended: the trailers, and what they say about effect.

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use crate::target::CallError;
use crate::target::single::Trouble;

/// The names of gRPC's status codes, by number.
const NAMES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// Codes that etcd gives before it proposes anything: bad requests, a full database, too many
/// requests, no rights. `unavailable` is not among them: a request that timed out or met a change
/// of leader ends so, and may be carried out later.
const NOTHING_HAPPENED: [usize; 7] = [3, 5, 7, 8, 11, 12, 16];

/// Reads `grpc-status` and `grpc-message`; none if they are not there.
pub(super) fn status(trailers: &HeaderMap) -> Option<Result<(), Trouble>> {
    let code: usize = trailers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    if code == 0 {
        return Some(Ok(()));
    }
    let message = trailers.get("grpc-message").and_then(|text| text.to_str().ok()).unwrap_or_default();
    let name = NAMES.get(code).copied().unwrap_or("unknown");
    let error = CallError {
        kind: name.to_owned(),
        message: format!("{name}: {}", percent_decode_str(message).decode_utf8_lossy()),
    };
    let is_definite = NOTHING_HAPPENED.contains(&code);
    Some(Err(if is_definite { Trouble::Refused(error) } else { Trouble::Unclear(error) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn of(code: &str, message: &str) -> Option<Result<(), Trouble>> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        trailers.insert("grpc-message", message.parse().unwrap());
        status(&trailers)
    }

    #[test]
    fn only_what_was_refused_before_it_was_proposed_certainly_did_not_happen() {
        assert!(matches!(of("0", ""), Some(Ok(()))));
        match of("8", "etcdserver: mvcc: database space exceeded") {
            Some(Err(Trouble::Refused(error))) => assert_eq!(error.kind, "resource-exhausted"),
            other => panic!("{other:?}"),
        }
        match of("14", "etcdserver: leader%20changed") {
            Some(Err(Trouble::Unclear(error))) => {
                assert_eq!(error.message, "unavailable: etcdserver: leader changed");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(of("99", ""), Some(Err(Trouble::Unclear(_)))));
        assert!(status(&HeaderMap::new()).is_none() && of("x", "").is_none());
    }
}
