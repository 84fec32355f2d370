//! `/kv/{key}`: get, put and delete.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::time::timeout;

use super::Api;
use super::answer::{
    Answer, CONTEXT, VERSION, empty, error, failure, found, method_not_allowed, register_etag, set,
};
use crate::admission::Ticket;
use crate::coordinator::{Causality, Read, RequestError, TokenError, Votes};
use crate::quorum::ReadReply;
use crate::register::Expected;
use crate::version::Payload;

/// Says on `?local=1` whether this node owns the key.
const OWNER: &str = "x-quorate-owner";
/// How long the client still waits, in milliseconds.
const DEADLINE: &str = "x-quorate-deadline-ms";
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
    let patience = match patience_of(api, request.headers()) {
        Ok(patience) => patience,
        Err(why) => return error(StatusCode::BAD_REQUEST, "bad_deadline", why),
    };
    // Before a body is read: whoever is turned away should not have to send it first.
    let ticket = match api.coordinator.admission.admit(patience) {
        Ok(ticket) => ticket,
        Err(full) => return turned_away(api, &full),
    };
    match *request.method() {
        Method::GET => get(api, key, &request, ticket).await,
        Method::PUT => put(api, key, request, ticket).await,
        Method::DELETE => delete(api, key, &request, ticket).await,
        _ => method_not_allowed("GET, PUT, DELETE"),
    }
}

fn turned_away(api: &Api, full: &RequestError) -> Answer {
    api.coordinator.metrics.requests_overloaded.add(1);
    failure(full)
}

/// How long the client waits: at most as long as this node ever tries.
fn patience_of(api: &Api, headers: &HeaderMap) -> Result<Duration, &'static str> {
    let longest = api.coordinator.timing.request;
    let Some(given) = headers.get(DEADLINE) else { return Ok(longest) };
    match given.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(milliseconds) => Ok(longest.min(Duration::from_millis(milliseconds))),
        None => Err("X-Quorate-Deadline-Ms is the number of milliseconds that the client still waits"),
    }
}

async fn get(api: &Arc<Api>, key: Bytes, request: &Request<Incoming>, ticket: Ticket) -> Answer {
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
    match api.coordinator.read(key.clone(), votes, ticket).await {
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
    let read = Read::of(record.as_deref(), coordinator.store.conflict);
    let mut answer = with_context(api, key, found(&read, wants_json), &read.seen);
    set(&mut answer, OWNER, if owner { "true" } else { "false" });
    answer
}

async fn put(api: &Arc<Api>, key: Bytes, request: Request<Incoming>, mut ticket: Ticket) -> Answer {
    api.coordinator.metrics.puts.add(1);
    let expected = match precondition_of(api, request.headers()) {
        Ok(expected) => expected,
        Err(refused) => return *refused,
    };
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
    let value = match read_body(api, request.into_body(), &mut ticket).await {
        Ok(value) => value,
        Err(refused) => return refused,
    };
    write(api, key, Some(Payload { content_type, value }), (seen, expected), ticket).await
}

async fn delete(api: &Arc<Api>, key: Bytes, request: &Request<Incoming>, ticket: Ticket) -> Answer {
    api.coordinator.metrics.puts.add(1);
    let expected = match precondition_of(api, request.headers()) {
        Ok(expected) => expected,
        Err(refused) => return *refused,
    };
    match context_of(api, &key, request.headers()) {
        Ok(seen) => write(api, key, None, (seen, expected), ticket).await,
        Err(failed) => failure(&failed),
    }
}

async fn write(
    api: &Arc<Api>,
    key: Bytes,
    payload: Option<Payload>,
    (seen, expected): (Option<Causality>, Option<Expected>),
    ticket: Ticket,
) -> Answer {
    let is_register = api.coordinator.store.is_linearizable();
    let has_value = payload.is_some();
    let written = match expected {
        Some(expected) => api.coordinator.write_register(key.clone(), payload, Some(expected), ticket).await,
        None => api.coordinator.write(key.clone(), payload, seen, ticket).await,
    };
    match written {
        Ok(written) => {
            let mut answer = with_context(api, &key, empty(StatusCode::NO_CONTENT), &written.seen);
            if is_register && has_value {
                set(&mut answer, ETAG.as_str(), &register_etag(&written.version));
            }
            set(&mut answer, VERSION, &written.version);
            answer
        }
        Err(failed) => failure(&failed),
    }
}

/// The body, as long as a value may be. One that says that it is longer is refused unread. Slow
/// senders are cut off at the request deadline.
async fn read_body(api: &Arc<Api>, body: Incoming, ticket: &mut Ticket) -> Result<Bytes, Answer> {
    let max = api.coordinator.store.value_bytes_max;
    let announced = body.size_hint();
    if announced.lower() > max {
        return Err(failure(&RequestError::ValueTooLarge { bytes: announced.lower(), max }));
    }
    // Whoever does not say how much is coming may send as much as a value holds.
    ticket
        .make_room(announced.upper().map_or(max, |bytes| bytes.min(max)))
        .map_err(|full| turned_away(api, &full))?;
    let limited = Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX));
    match timeout(ticket.remaining(), limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(broken)) if broken.is::<LengthLimitError>() => {
            Err(failure(&RequestError::ValueTooLarge { bytes: max + 1, max }))
        }
        Ok(Err(broken)) => Err(error(StatusCode::BAD_REQUEST, "broken_body", &broken.to_string())),
        Err(_) => {
            api.coordinator.metrics.clients_timed_out.add(1);
            Err(error(StatusCode::REQUEST_TIMEOUT, "slow_body", "the value did not arrive in time"))
        }
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

/// What a compare-and-set expects. That is what a linearizable store is for; elsewhere it would promise
/// too much.
fn precondition_of(api: &Api, headers: &HeaderMap) -> Result<Option<Expected>, Box<Answer>> {
    let refuse = |status, code, message: &str| Err(Box::new(error(status, code, message)));
    let (matches, none_matches) = (headers.get_all(IF_MATCH), headers.get_all(IF_NONE_MATCH));
    let given: Vec<_> = matches.iter().chain(&none_matches).collect();
    let [condition] = given.as_slice() else {
        let message = "a write takes one If-Match or one If-None-Match";
        return if given.is_empty() {
            Ok(None)
        } else {
            refuse(StatusCode::BAD_REQUEST, "bad_precondition", message)
        };
    };
    if !api.coordinator.store.is_linearizable() {
        let message = "If-Match and If-None-Match need a linearizable store; send X-Quorate-Context instead";
        return refuse(StatusCode::BAD_REQUEST, "not_linearizable", message);
    }
    let text = condition.to_str().unwrap_or_default().trim();
    if none_matches.iter().next().is_some() {
        let message = "If-None-Match takes `*`: only a key without a value is written";
        return if text == "*" {
            Ok(Some(Expected::Nothing))
        } else {
            refuse(StatusCode::BAD_REQUEST, "bad_precondition", message)
        };
    }
    let tag = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|tag| !tag.contains('"'));
    match tag.map(str::parse) {
        Some(Ok(id)) => Ok(Some(Expected::Write(id))),
        Some(Err(_)) => {
            let message = "this store never gave that ETag, so no key is at it; nothing was changed";
            refuse(StatusCode::PRECONDITION_FAILED, "precondition_failed", message)
        }
        None => {
            let message = "If-Match takes one ETag in quotes, as a get or a write gave it";
            refuse(StatusCode::BAD_REQUEST, "bad_precondition", message)
        }
    }
}

fn scope_of(query: Option<&str>) -> Result<Scope, String> {
    match query {
        None | Some("") => Ok(Scope::Quorum(Votes::Quorum)),
        Some("local=1") => Ok(Scope::Local),
        Some("quorum=all") => Ok(Scope::Quorum(Votes::AllOwners)),
        Some(other) => Err(format!("`{other}` is not known; a get takes local=1 or quorum=all")),
    }
}
