//! One connection, several exchanges at once.

use std::error::Error as _;
use std::io;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme, Uri};
use quorate_env::BoxStream;
use tokio::time::timeout_at;

use super::io::{HyperStream, Tasks};
use crate::http::{Exchange, ExchangeError, Limits, MalformedReply, Request, Response};

/// Bytes that a node may send of one reply before somebody reads them: more than any value.
const STREAM_BYTES: u32 = 4 << 20;
/// The same for all replies of a connection.
const CONNECTION_BYTES: u32 = 16 << 20;

/// A connected stream that speaks HTTP/2.
pub(crate) struct Http2 {
    requests: SendRequest<Full<Bytes>>,
    scheme: Scheme,
    authority: Authority,
}

impl Http2 {
    /// Begins to speak HTTP/2 over `stream` to `host`. That the other side does too is only known from its
    /// first reply, unless TLS has agreed on it.
    ///
    /// # Errors
    /// If `host` cannot stand in a URL, or the stream fails.
    pub(crate) async fn begin(
        stream: BoxStream,
        host: &str,
        encrypted: bool,
        head_bytes_max: usize,
    ) -> io::Result<Self> {
        let authority = Authority::try_from(host).map_err(io::Error::other)?;
        let scheme = if encrypted { Scheme::HTTPS } else { Scheme::HTTP };
        let begun = Builder::new(Tasks)
            .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_BYTES)
            .initial_connection_window_size(CONNECTION_BYTES)
            .handshake(HyperStream(stream))
            .await;
        let (requests, connection) = begun.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its error is also that of every exchange on it.
            let _ = connection.await;
        });
        Ok(Self { requests, scheme, authority })
    }

    /// Whether it takes no more requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request and waits for the whole reply. `sent` becomes true before the first byte can have
    /// left, and false again if it certainly did not.
    ///
    /// # Errors
    /// If the stream or the connection fails or ends, the reply is not acceptable, the node says that it
    /// did not process the request, or the deadline passes.
    pub(crate) async fn exchange(
        &self,
        exchange: Exchange<'_>,
        sent: &mut bool,
    ) -> Result<Response, ExchangeError> {
        let request = self.request(&exchange)?;
        *sent = true;
        let exchanging = async {
            let mut requests = self.requests.clone();
            match requests.try_send_request(request).await {
                Ok(reply) => read(reply, exchange.limits).await,
                Err(failed) => {
                    // Who gives the request back has not begun to write it.
                    *sent = failed.message().is_none();
                    Err(unanswered(failed))
                }
            }
        };
        timeout_at(exchange.deadline, exchanging).await.unwrap_or(Err(ExchangeError::Deadline))
    }

    fn request(&self, exchange: &Exchange<'_>) -> Result<hyper::Request<Full<Bytes>>, ExchangeError> {
        let Exchange { request, added, .. } = *exchange;
        let Request { method, target, headers, body } = *request;
        request.check().map_err(ExchangeError::BadRequest)?;
        let unfit = |_| ExchangeError::BadRequest("the path cannot stand in a URL");
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(unfit)?);
        let unfit = |_| ExchangeError::BadRequest("the path cannot stand in a URL");
        let mut built = hyper::Request::new(Full::new(Bytes::copy_from_slice(body)));
        *built.method_mut() = match method {
            crate::Method::Get => hyper::Method::GET,
            crate::Method::Put => hyper::Method::PUT,
            crate::Method::Delete => hyper::Method::DELETE,
            crate::Method::Post => hyper::Method::POST,
        };
        *built.uri_mut() = Uri::from_parts(parts).map_err(unfit)?;
        let unfit = "a header field cannot be sent";
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).map_err(|_| ExchangeError::BadRequest(unfit))?;
            let value = HeaderValue::from_str(value).map_err(|_| ExchangeError::BadRequest(unfit))?;
            built.headers_mut().append(name, value);
        }
        if let Some(added) = added {
            let name = HeaderName::try_from(added.name).map_err(|_| ExchangeError::BadRequest(unfit))?;
            built.headers_mut().append(name, HeaderValue::from(added.value));
        }
        Ok(built)
    }
}

/// Reads the whole reply, as far as it may go.
async fn read(reply: hyper::Response<Incoming>, limits: Limits) -> Result<Response, ExchangeError> {
    let (head, mut incoming) = reply.into_parts();
    let too_large = |bytes| MalformedReply::BodyTooLarge { bytes, max: limits.body_bytes_max };
    let announced = incoming.size_hint().lower();
    if announced > limits.body_bytes_max as u64 {
        return Err(too_large(announced).into());
    }
    let mut body = BytesMut::new();
    while let Some(part) = incoming.frame().await {
        // Whatever it says now, there was a reply.
        let part = part.map_err(|error| ExchangeError::Lost(io::Error::other(told(&error))))?;
        if let Ok(part) = part.into_data() {
            if body.len() + part.len() > limits.body_bytes_max {
                return Err(too_large((body.len() + part.len()) as u64).into());
            }
            body.extend_from_slice(&part);
        }
    }
    let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    Ok(Response::of_fields(head.status.as_u16(), fields, body.freeze()))
}

/// Why there is no reply.
fn unanswered<T>(failed: TrySendError<T>) -> ExchangeError {
    let error = failed.into_error();
    let Some(source) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return ExchangeError::Lost(io::Error::other(told(&error)));
    };
    // h2 tells a request so only if its number is above the last that the node says it took
    // (RFC 9113, section 6.8); the others go on.
    if source.is_go_away() && source.is_remote() {
        return ExchangeError::Unprocessed { why: format!("it goes away ({source})"), goes_on: false };
    }
    if source.is_reset() && source.is_remote() && source.reason() == Some(h2::Reason::REFUSED_STREAM) {
        let why = "it has too much in hand on this connection".to_owned();
        return ExchangeError::Unprocessed { why, goes_on: true };
    }
    if source.is_library() {
        return MalformedReply::NotHttp2(source.to_string()).into();
    }
    ExchangeError::Lost(io::Error::other(told(&error)))
}

/// hyper's own words say little without their cause.
fn told(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
