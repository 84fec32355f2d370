//! Frames on the wire: length, CRC-32 of the body, body (postcard).

use bytes::{Buf, BufMut, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Length and checksum.
const HEAD_BYTES: usize = 8;
/// What a read has room for at least.
const READ_BYTES: usize = 8 << 10;
/// What a buffer has at first.
const FIRST_BYTES: usize = 16 << 10;
/// The most that a buffer keeps when nothing is in it.
const KEPT_BYTES: usize = 1 << 20;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream ended or broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// A frame larger than any this node sends.
    #[error("a frame of {bytes} bytes; the most is {max}")]
    TooLarge {
        /// As it says of itself.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Bytes that changed on the way.
    #[error("a frame's checksum does not fit")]
    Checksum,
    /// Not a message of this protocol version.
    #[error("a frame is no message: {0}")]
    Message(#[from] postcard::Error),
}

/// Appends one frame to `buffer`.
///
/// # Panics
/// Never: every message has an encoding and none reaches 4 GiB.
pub(super) fn encode<T: Serialize>(message: &T, buffer: &mut BytesMut) {
    let start = buffer.len();
    buffer.put_bytes(0, HEAD_BYTES);
    postcard::serialize_with_flavor(message, Appender(buffer)).expect("a message has an encoding");
    let body = &buffer[start + HEAD_BYTES..];
    let length = u32::try_from(body.len()).expect("a frame is shorter than 4 GiB");
    let checksum = crc32fast::hash(body);
    buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    buffer[start + 4..start + HEAD_BYTES].copy_from_slice(&checksum.to_be_bytes());
}

/// Writes all of it, and sees to it that it leaves: encrypted streams keep back what the socket does
/// not take at once.
pub(super) async fn send(writer: &mut (impl AsyncWrite + Unpin), buffer: &[u8]) -> std::io::Result<()> {
    writer.write_all(buffer).await?;
    writer.flush().await
}

/// Lets postcard write into a borrowed buffer, values as they are instead of byte by byte.
struct Appender<'a>(&'a mut BytesMut);

impl Flavor for Appender<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Reads frames from a stream, many from one system call.
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, frame_bytes_max: usize) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(FIRST_BYTES), frame_bytes_max }
    }

    /// The next message; nothing when the other side has closed between frames. Cancel safe:
    /// what was read stays in the buffer.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(end) = self.buffered()? {
                let message = postcard::from_bytes(&self.buffer[HEAD_BYTES..end]);
                self.buffer.advance(end);
                if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
                    self.buffer = BytesMut::with_capacity(FIRST_BYTES);
                }
                return Ok(Some(message?));
            }
            // The same bytes again and again, where nothing is left in them.
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Where the first frame ends, if all of it is there.
    fn buffered(&mut self) -> Result<Option<usize>, FrameError> {
        let Some(head) = self.buffer.get(..HEAD_BYTES) else { return Ok(None) };
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, checksum) = (word(0) as usize, word(4));
        if length > self.frame_bytes_max {
            return Err(FrameError::TooLarge { bytes: length, max: self.frame_bytes_max });
        }
        let end = HEAD_BYTES + length;
        let Some(body) = self.buffer.get(HEAD_BYTES..end) else {
            // Grown as bytes come, not as a stranger promises them.
            self.buffer.reserve((end - self.buffer.len()).min(256 << 10));
            return Ok(None);
        };
        if crc32fast::hash(body) != checksum {
            return Err(FrameError::Checksum);
        }
        Ok(Some(end))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<String>, FrameError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut reader = FrameReader::new(bytes, 1 << 10);
            let mut messages = Vec::new();
            while let Some(message) = reader.next().await? {
                messages.push(message);
            }
            Ok(messages)
        })
    }

    fn frames(messages: &[&str]) -> BytesMut {
        let mut buffer = BytesMut::new();
        for message in messages {
            encode(message, &mut buffer);
        }
        buffer
    }

    #[test]
    fn many_frames_in_one_buffer_come_out_in_order() {
        assert_eq!(read_all(&frames(&["a", "", "ccc"])).unwrap(), ["a", "", "ccc"]);
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut bytes = frames(&["value"]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(matches!(read_all(&bytes), Err(FrameError::Checksum)));
    }

    #[test]
    fn a_huge_frame_is_refused_before_it_is_read() {
        assert!(matches!(read_all(b"GET / HTTP/1.1\r\n"), Err(FrameError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read_all(&bytes).is_err() || bytes.is_empty());
        }
    }
}
