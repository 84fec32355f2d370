//! Which HTTP a client speaks: as it said in its TLS handshake (ALPN), or, without TLS, by the first
//! bytes it sends.

use std::io;

use bytes::{Bytes, BytesMut};
use quorate_env::BoxStream;
use tokio::io::AsyncReadExt as _;

/// What a client of HTTP/2 says first (RFC 9113, section 3.4). No request of HTTP/1.1 begins so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, also for whoever says nothing.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// What was agreed on in a TLS handshake.
    pub(super) fn agreed(connection: &rustls::ServerConnection) -> Self {
        match connection.alpn_protocol() {
            Some(b"h2") => Self::Http2,
            _ => Self::Http1,
        }
    }

    /// What the first bytes of `stream` say, and those bytes, which are not read again.
    ///
    /// # Errors
    /// If the stream breaks.
    pub(super) async fn heard(stream: &mut BoxStream) -> io::Result<(Self, Bytes)> {
        let mut first = BytesMut::with_capacity(1024);
        loop {
            let is_over = stream.read_buf(&mut first).await? == 0;
            let length = first.len().min(PREFACE.len());
            let is_preface = first[..length] == PREFACE[..length];
            if is_preface && length == PREFACE.len() {
                return Ok((Self::Http2, first.freeze()));
            }
            if is_over || !is_preface {
                return Ok((Self::Http1, first.freeze()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    async fn heard(pieces: &[&[u8]]) -> (Protocol, Bytes) {
        let (mut client, node) = tokio::io::duplex(8);
        let mut node: BoxStream = Box::new(node);
        let saying = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
            }
            drop(client);
        };
        let (heard, ()) = tokio::join!(Protocol::heard(&mut node), saying);
        heard.unwrap()
    }

    #[tokio::test]
    async fn the_first_bytes_decide_however_they_come_and_none_is_lost() {
        let whole: [&[u8]; 1] = [PREFACE];
        let pieces: Vec<&[u8]> = PREFACE.chunks(1).collect();
        for preface in [&whole[..], &pieces] {
            assert_eq!(heard(preface).await, (Protocol::Http2, Bytes::from_static(PREFACE)));
        }
        for said in [&["GET /"][..], &["P"], &["PR", "OPFIND"]] {
            let pieces: Vec<&[u8]> = said.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(heard(&pieces).await, (Protocol::Http1, Bytes::from(said.concat())));
        }
        assert_eq!(heard(&[]).await, (Protocol::Http1, Bytes::new()));
    }
}
