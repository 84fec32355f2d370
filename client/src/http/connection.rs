//! One connection, one request at a time.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};

use bytes::BytesMut;
use quorate_env::BoxStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::response::HeadFacts;
use super::{MalformedReply, NumberField, Request, Response};

/// Buffers keep at most this many bytes between requests, so that one large value does not
/// pin memory on every connection for ever.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// How much of a reply is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Largest head, in bytes.
    pub(crate) head_bytes_max: usize,
    /// Largest body, in bytes.
    pub(crate) body_bytes_max: usize,
}

/// Why an exchange ended without a reply. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The request cannot be put into HTTP.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The stream ended or failed.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// The reply is not acceptable.
    #[error("{0}")]
    Malformed(#[from] MalformedReply),
    /// The node says that it did not process the request (HTTP/2 only).
    #[error("{why}")]
    Unprocessed {
        /// Why not.
        why: String,
        /// Whether the connection is of use all the same.
        goes_on: bool,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
}

/// A request and how it is to be exchanged for a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    /// For the `Host` field.
    pub(crate) host: &'a str,
    /// What is sent.
    pub(crate) request: &'a Request<'a>,
    /// A further field.
    pub(crate) added: Option<NumberField>,
    /// How much is taken.
    pub(crate) limits: Limits,
    /// Until when.
    pub(crate) deadline: Instant,
}

/// A connected stream with its buffers.
pub(crate) struct Connection {
    stream: BoxStream,
    encrypted: bool,
    output: Vec<u8>,
    input: BytesMut,
    reusable: bool,
    /// Set for the deadline of an earlier exchange and moved only when it rings: nearly every exchange
    /// ends long before, and setting a timer for each would cost all of them.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes.
    timer_wakes: Option<Waker>,
}

impl Connection {
    /// A connection over `stream`. `encrypted` says that the stream keeps bytes of its own,
    /// so that a failed write may still have sent some.
    pub(crate) fn new(stream: BoxStream, encrypted: bool) -> Self {
        let (output, input) = (Vec::new(), BytesMut::new());
        Self { stream, encrypted, output, input, reusable: true, timer: None, timer_wakes: None }
    }

    /// Sends a request and waits for the whole reply. `sent` becomes true before the first byte can have
    /// left, and stays readable when this future is dropped. After an error, or when dropped, the
    /// connection is no longer [reusable](Self::is_reusable).
    ///
    /// # Errors
    /// If the stream fails or ends, the reply is not HTTP within the limits, or the deadline passes.
    pub(crate) async fn exchange(
        &mut self,
        exchange: Exchange<'_>,
        sent: &mut bool,
    ) -> Result<Response, ExchangeError> {
        let deadline = exchange.deadline;
        let mut timer = self.timer.take().unwrap_or_else(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
            self.timer_wakes = None;
        }
        let mut wakes = self.timer_wakes.take();
        let result = {
            let mut exchanging = pin!(self.exchange_untimed(exchange, sent));
            poll_fn(|context| {
                if let Poll::Ready(result) = exchanging.as_mut().poll(context) {
                    return Poll::Ready(result);
                }
                // Set already, and for this task: asking it would cost as much as the rest of waiting.
                if !timer.is_elapsed() && wakes.as_ref().is_some_and(|waker| waker.will_wake(context.waker()))
                {
                    return Poll::Pending;
                }
                while timer.as_mut().poll(context).is_ready() {
                    if Instant::now() >= deadline {
                        return Poll::Ready(Err(ExchangeError::Deadline));
                    }
                    timer.as_mut().reset(deadline);
                }
                wakes = Some(context.waker().clone());
                Poll::Pending
            })
            .await
        };
        self.timer_wakes = wakes;
        self.timer = Some(timer);
        result
    }

    async fn exchange_untimed(
        &mut self,
        exchange: Exchange<'_>,
        sent: &mut bool,
    ) -> Result<Response, ExchangeError> {
        let Exchange { host, request, added, limits, .. } = exchange;
        self.reusable = false;
        self.output.clear();
        request.write_to(host, added, &mut self.output).map_err(ExchangeError::BadRequest)?;
        let (response, keep_alive) = match self.write_output(sent).await {
            Ok(whole) => {
                let (response, keep_alive) = self.read_response(limits).await?;
                (response, keep_alive && whole)
            }
            // What a server said before it closed is better news than the broken pipe.
            Err(broken) if *sent => {
                let (response, _) = self.read_response(limits).await.map_err(|_| broken)?;
                (response, false)
            }
            Err(broken) => return Err(broken.into()),
        };
        if !self.input.is_empty() {
            return Err(MalformedReply::TrailingBytes.into());
        }
        if self.output.capacity() > KEPT_BYTES_MAX {
            self.output = Vec::new();
        }
        self.reusable = keep_alive;
        Ok(response)
    }

    /// Whether another request may follow, as far as the last reply said.
    pub(crate) fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Whether the other side has neither closed an idle connection nor sent anything on it.
    /// Asked before reuse: a request written into a closed connection would be a write of
    /// unknown effect for nothing.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        poll_fn(|context| {
            Poll::Ready(Pin::new(&mut self.stream).poll_read(context, &mut buffer).is_pending())
        })
        .await
    }

    /// Writes the request. False if the other side began to answer before it had all of it: a
    /// server may refuse a large body by its head and read no further, and without listening
    /// meanwhile both sides would wait for ever.
    async fn write_output(&mut self, sent: &mut bool) -> io::Result<bool> {
        *sent |= self.encrypted;
        let Self { stream, output, input, .. } = self;
        let mut rest = output.as_slice();
        while !rest.is_empty() {
            let written = poll_fn(|context| {
                if let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(context, rest) {
                    return Poll::Ready(written.map(Some));
                }
                let mut early = [0_u8; 1024];
                let mut early = ReadBuf::new(&mut early);
                Pin::new(&mut *stream).poll_read(context, &mut early).map_ok(|()| {
                    input.extend_from_slice(early.filled());
                    None
                })
            });
            match written.await? {
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(written) => {
                    *sent = true;
                    rest = &rest[written..];
                }
                None if input.is_empty() => return Err(closed("within the request")),
                None => return Ok(false),
            }
        }
        stream.flush().await?;
        Ok(true)
    }

    async fn read_response(&mut self, limits: Limits) -> Result<(Response, bool), ExchangeError> {
        loop {
            let facts = self.read_head(limits.head_bytes_max).await?;
            let body_bytes = usize::try_from(facts.body_bytes)
                .ok()
                .filter(|&bytes| bytes <= limits.body_bytes_max)
                .ok_or(MalformedReply::BodyTooLarge {
                    bytes: facts.body_bytes,
                    max: limits.body_bytes_max,
                })?;
            let whole = facts.head_bytes + body_bytes;
            while self.input.len() < whole {
                self.input.reserve(whole - self.input.len());
                self.read_some().await?;
            }
            let head = self.input.split_to(facts.head_bytes).freeze();
            let body = self.input.split_to(body_bytes).freeze();
            // 100 Continue and its like precede the reply (RFC 9110, section 15.2).
            if facts.status >= 200 {
                return Ok((Response::new(&facts, head, body), facts.keep_alive));
            }
        }
    }

    async fn read_head(&mut self, head_bytes_max: usize) -> Result<HeadFacts, ExchangeError> {
        loop {
            if !self.input.is_empty() {
                // Parsed from its start again with each piece: heads come in one piece nearly always.
                let facts = HeadFacts::read(&self.input)?;
                if facts.map_or(self.input.len(), |f| f.head_bytes) > head_bytes_max {
                    return Err(MalformedReply::HeadTooLarge { max: head_bytes_max }.into());
                }
                if let Some(facts) = facts {
                    return Ok(facts);
                }
            }
            self.input.reserve(4096);
            self.read_some().await?;
        }
    }

    async fn read_some(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.input).await? == 0 {
            let at = if self.input.is_empty() { "before the reply" } else { "within the reply" };
            return Err(closed(at));
        }
        Ok(())
    }
}

fn closed(at: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed {at}"))
}
