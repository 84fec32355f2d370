//! One HTTP/2 connection, one gRPC call at a time.
//!
//! Whoever makes a call also drives the connection: no task stands between caller and socket,
//! and dropping it closes it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, Connection as Http2, SendRequest};
use http::{Method, Request, StatusCode, Uri, Version};
use prost::Message;
use quorate_env::BoxStream;

use super::status::status;
use crate::target::CallError;
use crate::target::single::Trouble;

/// How much the server may send before it is told to go on: more than any value here.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// A message's head: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A connection to one member.
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    driver: Http2<BoxStream, Bytes>,
    is_closed: bool,
}

impl Connection {
    /// Begins to speak HTTP/2. That the other side does is only known after the first call.
    pub(super) async fn begin(stream: BoxStream) -> Result<Self, h2::Error> {
        let handshake = Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream);
        let (requests, driver) = handshake.await?;
        Ok(Self { requests, driver, is_closed: false })
    }

    /// Whether the other side has left it open; also answers what it asked meanwhile.
    pub(super) fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.is_closed |= self.driver_poll(&mut context).is_ready();
        !self.is_closed
    }

    /// Calls the method at `uri`.
    pub(super) async fn unary<R: Message + Default>(
        &mut self,
        uri: Uri,
        message: &impl Message,
        sent: &mut bool,
    ) -> Result<R, Trouble> {
        let mut requests = self.requests.clone();
        let call = async {
            poll_fn(|context| requests.poll_ready(context)).await.map_err(broken)?;
            *sent = true;
            let (response, mut body) = requests.send_request(request(uri)?, false).map_err(broken)?;
            body.send_data(framed(message), true).map_err(broken)?;
            answer(response).await
        };
        let mut call = pin!(call);
        let driven = poll_fn(|context| {
            // The call first: what it sends leaves with the poll of the connection.
            if let Poll::Ready(ended) = call.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            if !self.is_closed {
                self.is_closed = Self::poll_http2(&mut self.driver, context).is_ready();
                if !self.is_closed {
                    return Poll::Pending;
                }
            }
            // Streams of a connection that has ended end with it, and say why.
            match call.as_mut().poll(context) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => Poll::Ready(Err(lost("it was closed before the answer was whole"))),
            }
        });
        driven.await
    }

    fn driver_poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Self::poll_http2(&mut self.driver, context)
    }

    fn poll_http2(driver: &mut Http2<BoxStream, Bytes>, context: &mut Context<'_>) -> Poll<()> {
        // Its error is also that of every stream.
        pin!(driver).poll(context).map(|_| ())
    }
}

fn request(uri: Uri) -> Result<Request<()>, Trouble> {
    Request::builder()
        .version(Version::HTTP_2)
        .method(Method::POST)
        .uri(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|e| Trouble::Broken(CallError { kind: "malformed".to_owned(), message: e.to_string() }))
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("values are far below 4 GiB"));
    message.encode(&mut bytes).expect("the buffer grows by itself");
    bytes.freeze()
}

async fn answer<R: Message + Default>(response: h2::client::ResponseFuture) -> Result<R, Trouble> {
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(malformed(&format!("HTTP status {}: is this etcd's client port?", head.status)));
    }
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(broken)?;
        body.flow_control().release_capacity(chunk.len()).map_err(broken)?;
        bytes.put(chunk);
    }
    let trailers = body.trailers().await.map_err(broken)?;
    // A call that fails at once has its status in the only head there is.
    let ended = trailers.as_ref().and_then(status).or_else(|| status(&head.headers));
    ended.unwrap_or_else(|| Err(malformed("an answer without grpc-status: is this etcd's client port?")))?;
    let message = match bytes.get(..PREFIX_BYTES) {
        Some(&[0, a, b, c, d]) => bytes.get(PREFIX_BYTES..).filter(|message| {
            u32::try_from(message.len()).is_ok_and(|length| length == u32::from_be_bytes([a, b, c, d]))
        }),
        _ => None,
    };
    let message = message.ok_or_else(|| malformed("an answer that is not one plain gRPC message"))?;
    R::decode(message).map_err(|e| malformed(&format!("an answer that cannot be decoded: {e}")))
}

fn malformed(what: &str) -> Trouble {
    Trouble::Broken(CallError { kind: "malformed".to_owned(), message: what.to_owned() })
}

fn lost(why: &str) -> Trouble {
    let message = format!("connection lost: {why}");
    Trouble::Broken(CallError { kind: "connection-lost".to_owned(), message })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn broken(error: h2::Error) -> Trouble {
    if error.is_io() || error.is_remote() {
        return lost(&error.to_string());
    }
    malformed(&format!("it does not speak HTTP/2 as etcd does: {error}"))
}
