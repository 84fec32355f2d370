//! `/kv/{key}`: get, put and delete.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::time::timeout;

use super::Api;
use super::answer::{Answer, CONTEXT, VERSION, empty, error, failure, found, method_not_allowed, set};
use crate::coordinator::{Causality, Read, RequestError, TokenError, Votes};
use crate::quorum::ReadReply;
use crate::version::Payload;

/// Says on `?local=1` whether this node owns the key.
const OWNER: &str = "x-quorate-owner";
/// Longest media type that is kept with a value.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// Whom a get asks.
enum Scope {
    Quorum(Votes),
    Local,
}

/// Answers a request for `key`, percent-encoded as it came.
pub(super) async fn handle(api: &Arc<Api>, key: &str, request: Request<Incoming>) -> Answer {
    let key = Bytes::from(percent_encoding::percent_decode_str(key).collect::<Vec<u8>>());
    match *request.method() {
        Method::GET => get(api, key, &request).await,
        Method::PUT => put(api, key, request).await,
        Method::DELETE => delete(api, key, &request).await,
        _ => method_not_allowed("GET, PUT, DELETE"),
    }
}

async fn get(api: &Arc<Api>, key: Bytes, request: &Request<Incoming>) -> Answer {
    api.coordinator.metrics.gets.add(1);
    let scope = match scope_of(request.uri().query()) {
        Ok(scope) => scope,
        Err(message) => return error(StatusCode::BAD_REQUEST, "bad_query", &message),
    };
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let wants_json = accept.contains("application/json");
    let votes = match scope {
        Scope::Local => return local(api, &key, wants_json),
        Scope::Quorum(votes) => votes,
    };
    match api.coordinator.read(key.clone(), votes).await {
        Ok(read) => with_context(api, &key, found(&read, wants_json), &read.seen),
        Err(failed) => failure(&failed),
    }
}

/// This node's own copy, without merge or repair.
fn local(api: &Arc<Api>, key: &Bytes, wants_json: bool) -> Answer {
    let coordinator = &api.coordinator;
    let view = coordinator.views.current();
    let partition = view.placement().partition_of(key);
    let owner = view.read_owners(partition).contains(&coordinator.me);
    let record = match coordinator.local.replica.read(partition, key) {
        ReadReply::Found(record) | ReadReply::Partial(record) => Some(record),
        ReadReply::NotFound { .. } => None,
        ReadReply::Damaged => {
            return error(StatusCode::SERVICE_UNAVAILABLE, "damaged", "this node's copy fails its checksum");
        }
    };
    let read = Read::of(record.as_ref(), coordinator.store.conflict);
    let mut answer = with_context(api, key, found(&read, wants_json), &read.seen);
    set(&mut answer, OWNER, if owner { "true" } else { "false" });
    answer
}

async fn put(api: &Arc<Api>, key: Bytes, request: Request<Incoming>) -> Answer {
    api.coordinator.metrics.puts.add(1);
    if let Some(refused) = refuse_preconditions(request.headers()) {
        return refused;
    }
    let seen = match context_of(api, &key, request.headers()) {
        Ok(seen) => seen,
        Err(failed) => return failure(&failed),
    };
    let content_type = match request.headers().get(CONTENT_TYPE).map(|v| v.to_str()) {
        None => "application/octet-stream".to_owned(),
        Some(Ok(text)) if text.len() <= CONTENT_TYPE_BYTES_MAX => text.to_owned(),
        Some(_) => {
            let message =
                format!("a content type has at most {CONTENT_TYPE_BYTES_MAX} visible ASCII characters");
            return error(StatusCode::BAD_REQUEST, "bad_content_type", &message);
        }
    };
    let value = match read_body(api, request.into_body()).await {
        Ok(value) => value,
        Err(refused) => return refused,
    };
    write(api, key, Some(Payload { content_type, value }), seen).await
}

async fn delete(api: &Arc<Api>, key: Bytes, request: &Request<Incoming>) -> Answer {
    api.coordinator.metrics.puts.add(1);
    if let Some(refused) = refuse_preconditions(request.headers()) {
        return refused;
    }
    match context_of(api, &key, request.headers()) {
        Ok(seen) => write(api, key, None, seen).await,
        Err(failed) => failure(&failed),
    }
}

async fn write(api: &Arc<Api>, key: Bytes, payload: Option<Payload>, seen: Option<Causality>) -> Answer {
    match api.coordinator.write(key.clone(), payload, seen).await {
        Ok(written) => {
            let mut answer = with_context(api, &key, empty(StatusCode::NO_CONTENT), &written.seen);
            set(&mut answer, VERSION, &written.version);
            answer
        }
        Err(failed) => failure(&failed),
    }
}

/// The body, as long as a value may be. Slow senders are cut off at the request deadline.
async fn read_body(api: &Arc<Api>, body: Incoming) -> Result<Bytes, Answer> {
    let max = api.coordinator.store.value_bytes_max;
    let limited = Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX));
    match timeout(api.coordinator.timing.request, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(broken)) if broken.is::<LengthLimitError>() => {
            Err(failure(&RequestError::ValueTooLarge { bytes: max + 1, max }))
        }
        Ok(Err(broken)) => Err(error(StatusCode::BAD_REQUEST, "broken_body", &broken.to_string())),
        Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "slow_body", "the value did not arrive in time")),
    }
}

fn context_of(api: &Arc<Api>, key: &[u8], headers: &HeaderMap) -> Result<Option<Causality>, RequestError> {
    let Some(token) = headers.get(CONTEXT) else { return Ok(None) };
    let token = token.to_str().map_err(|_| TokenError::Malformed)?;
    Ok(Some(api.tokens.open(key, token)?))
}

fn with_context(api: &Arc<Api>, key: &[u8], mut answer: Answer, seen: &Causality) -> Answer {
    set(&mut answer, CONTEXT, &api.tokens.seal(key, seen));
    answer
}

/// Compare-and-set is what a linearizable store is for; elsewhere it would promise too much.
fn refuse_preconditions(headers: &HeaderMap) -> Option<Answer> {
    let asked = headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH);
    asked.then(|| {
        error(
            StatusCode::BAD_REQUEST,
            "not_linearizable",
            "If-Match and If-None-Match need a linearizable store; send X-Quorate-Context instead",
        )
    })
}

fn scope_of(query: Option<&str>) -> Result<Scope, String> {
    match query {
        None | Some("") => Ok(Scope::Quorum(Votes::Quorum)),
        Some("local=1") => Ok(Scope::Local),
        Some("quorum=all") => Ok(Scope::Quorum(Votes::AllOwners)),
        Some(other) => Err(format!("`{other}` is not known; a get takes local=1 or quorum=all")),
    }
}
