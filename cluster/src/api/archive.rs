//! `/cluster/backup/{partition}` and `/cluster/restore`, for `quorate cluster backup` and `restore`.
//!
//! What travels is what a backup holds (`archive`), in its encoding: a page is worth nothing without
//! the rest, so only the program puts them together.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use tokio::time::timeout;

use super::Api;
use super::answer::{Answer, body, error, failure, json};
use crate::archive::{Entry, decode, encode};
use crate::coordinator::ArchiveError;

/// What a batch may have beside one record that is as long as any: a portion of a backup.
const BATCH_BYTES: u64 = 4 << 20;

/// Answers `GET /cluster/backup/{partition}`.
pub(super) async fn backup(api: &Api, partition: &str, query: Option<&str>) -> Answer {
    let (after, is_partial) = match asked(query) {
        Ok(asked) => asked,
        Err(why) => return error(StatusCode::BAD_REQUEST, "bad_query", &why),
    };
    let Ok(partition) = partition.parse() else {
        return error(StatusCode::BAD_REQUEST, "bad_partition", "a partition is given by its number");
    };
    match api.coordinator.gather(partition, after, is_partial).await {
        Ok(portion) => body(StatusCode::OK, "application/octet-stream", encode(&portion)),
        Err(failed) => refusal(&failed),
    }
}

/// Answers `POST /cluster/restore`.
pub(super) async fn restore(api: &Api, body: Incoming) -> Answer {
    let coordinator = &api.coordinator;
    let store = &coordinator.store;
    let max =
        u64::from(store.sibling_limit.saturating_add(64)) * (store.value_bytes_max + 4096) + BATCH_BYTES;
    let announced = body.size_hint().upper().unwrap_or(max).min(max);
    let mut ticket = match coordinator.admission.admit(coordinator.timing.request) {
        Ok(ticket) => ticket,
        Err(full) => return failure(&full),
    };
    if let Err(full) = ticket.make_room(announced) {
        return failure(&full);
    }
    let collecting = Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX)).collect();
    let Ok(Ok(batch)) = timeout(ticket.remaining(), collecting).await else {
        return bad("the batch did not arrive whole, or is too long");
    };
    let entries: Vec<Entry> = match decode(&batch.to_bytes()) {
        Ok(entries) => entries,
        Err(why) => return bad(&why.to_string()),
    };
    match Arc::clone(coordinator).restore(entries).await {
        Ok(done) => json(
            StatusCode::OK,
            &json!({ "restored": done.restored, "kept": done.kept, "short": done.short }),
        ),
        Err(failed) => refusal(&failed),
    }
}

fn bad(message: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, "bad_batch", message)
}

fn refusal(failed: &ArchiveError) -> Answer {
    let message = failed.to_string();
    match failed {
        ArchiveError::Moving(_) => error(StatusCode::CONFLICT, "change_under_way", &message),
        ArchiveError::NoPartition { .. } => error(StatusCode::BAD_REQUEST, "bad_partition", &message),
        ArchiveError::NotCovered { .. } => error(StatusCode::SERVICE_UNAVAILABLE, "not_covered", &message),
        ArchiveError::Foreign { .. } => error(StatusCode::CONFLICT, "not_of_this_store", &message),
        ArchiveError::Request(failed) => failure(failed),
    }
}

/// Behind which key to begin, and whether it may be less than all.
fn asked(query: Option<&str>) -> Result<(Option<Bytes>, bool), String> {
    let (mut after, mut is_partial) = (None, false);
    for word in query.unwrap_or_default().split('&').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("after", key)) => {
                let key =
                    URL_SAFE_NO_PAD.decode(key).map_err(|why| format!("after is no base64url: {why}"))?;
                after = Some(Bytes::from(key));
            }
            Some(("partial", "1")) => is_partial = true,
            _ => return Err(format!("`{word}` is not known; a backup takes after=BASE64URL and partial=1")),
        }
    }
    Ok((after, is_partial))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_query_says_where_to_begin() {
        assert_eq!(asked(None), Ok((None, false)));
        let after = format!("partial=1&after={}", URL_SAFE_NO_PAD.encode(b"a key?"));
        assert_eq!(asked(Some(&after)), Ok((Some(Bytes::from_static(b"a key?")), true)));
        for wrong in ["after=%", "partial=2", "behind=k"] {
            assert!(asked(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
