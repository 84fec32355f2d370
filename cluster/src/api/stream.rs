//! Lets hyper read and write any tokio stream.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use quorate_env::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes read at a time: hyper's buffers can only be lent to tokio through unsafe code, so
/// they are filled by a copy instead, which is nothing beside the system call. Clearing as many bytes
/// for every read would be something: a connection has its own.
const CHUNK: usize = 16 << 10;

/// A tokio stream as hyper wants it. It breaks when the other side takes nothing for too long: an
/// answer that nobody reads would be kept in memory for ever.
pub(super) struct HyperStream {
    stream: BoxStream,
    chunk: Box<[u8]>,
    /// What was read of it before.
    first: Bytes,
    patience: Duration,
    /// Runs while the other side takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl HyperStream {
    pub(super) fn new(stream: BoxStream, patience: Duration) -> Self {
        Self { stream, chunk: vec![0; CHUNK].into(), first: Bytes::new(), patience, stalled: None }
    }

    /// The same, after these bytes that were read already.
    pub(super) fn after(self, first: Bytes) -> Self {
        Self { first, ..self }
    }

    fn unless_stalled<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl hyper::rt::Read for HyperStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, chunk, first, .. } = self.get_mut();
        if !first.is_empty() {
            let length = first.len().min(buf.remaining());
            buf.put_slice(&first.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let length = buf.remaining().min(CHUNK);
        let mut read = ReadBuf::new(&mut chunk[..length]);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for HyperStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.unless_stalled(polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_stalled(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.unless_stalled(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_stalled(polled, cx)
    }
}
