//! A stream with encryption around it, after the handshake.
//!
//! Each write leaves as one piece in one system call, from a buffer that stays: requests are short, and what
//! a general stream does for long ones costs a load generator a good part of its time.
//!
//! Not here: handshakes, trust.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use quorate_env::BoxStream;
use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The buffer keeps at most this many bytes between writes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// An encrypted stream. What it took but could not send yet leaves before anything else.
pub(super) struct Encrypted {
    stream: BoxStream,
    session: ClientConnection,
    /// Encrypted bytes, of which the first `sent` have left.
    output: Vec<u8>,
    sent: usize,
    is_closing: bool,
}

impl Encrypted {
    /// `session` over `stream`, its handshake done.
    pub(super) fn new(stream: BoxStream, session: ClientConnection) -> Self {
        Self { stream, session, output: Vec::new(), sent: 0, is_closing: false }
    }

    /// Takes in what the other side has sent, at least some of it, or its end.
    fn receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.session.read_tls(&mut Reading { stream: &mut self.stream, context: &mut *context }) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        if let Err(error) = self.session.process_new_packets() {
            // The other side may want to know; the error is news enough here.
            let _ = self.send(context);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(()))
    }

    /// Sends all that there is to send.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.output)?;
        }
        while self.sent < self.output.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.output[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.sent = 0;
        self.output.clear();
        self.output.shrink_to(KEPT_BYTES_MAX);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // Empty at the end of what the other side had to say; an end without its word is an error.
            match this.session.reader().into_first_chunk() {
                Ok(chunk) => {
                    let taken = chunk.len().min(buffer.remaining());
                    buffer.put_slice(&chunk[..taken]);
                    io::BufRead::consume(&mut this.session.reader(), taken);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(this.receive(context))?;
        }
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.send(context))?;
        let taken = io::Write::write(&mut this.session.writer(), bytes)?;
        match this.send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is left leaves later, but it is taken.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.send(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.is_closing, true) {
            this.session.send_close_notify();
        }
        ready!(this.send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

/// A stream as the session reads it.
struct Reading<'a, 'b> {
    stream: &'a mut BoxStream,
    context: &'a mut Context<'b>,
}

impl io::Read for Reading<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.stream).poll_read(self.context, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
