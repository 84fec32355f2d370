//! RESP, the protocol of Redis: as much of it as three commands need.
//!
//! A command is an array of bulk strings; a reply begins with a byte that says what it is.
//! Version 2, which every server speaks without being asked to.

/// A longer line is not a reply to anything asked here.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Redis itself keeps no longer values.
const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR no`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// A value.
    Bulk(Vec<u8>),
    /// No value.
    Nil,
}

/// Bytes that are not a reply, with the first of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak Redis' protocol: it said `{0}`")]
pub(super) struct NotResp(String);

/// Appends a command.
pub(super) fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    head(b'*', words.len(), out);
    for word in words {
        head(b'$', word.len(), out);
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn head(mark: u8, length: usize, out: &mut Vec<u8>) {
    use std::io::Write as _;
    out.push(mark);
    write!(out, "{length}\r\n").expect("writing to memory does not fail");
}

/// The reply at the beginning of `bytes` and its length, once all of it is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, NotResp> {
    let not_resp =
        || NotResp(String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).escape_debug().to_string());
    let Some(&mark) = bytes.first() else { return Ok(None) };
    // Nonsense without an end of line would otherwise be waited for until the deadline.
    if !b"+-:$_".contains(&mark) {
        return Err(not_resp());
    }
    let Some(end) = bytes.windows(2).take(LINE_BYTES_MAX).position(|pair| pair == b"\r\n") else {
        return if bytes.len() > LINE_BYTES_MAX { Err(not_resp()) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[1..end]).map_err(|_| not_resp())?;
    let after = end + 2;
    let reply = match mark {
        b'+' => Reply::Simple(line.to_owned()),
        b'-' => Reply::Error(line.to_owned()),
        b':' => Reply::Integer(line.parse().map_err(|_| not_resp())?),
        b'$' if line == "-1" => Reply::Nil,
        b'$' => {
            let length: usize = line.parse().map_err(|_| not_resp())?;
            if length > BULK_BYTES_MAX {
                return Err(not_resp());
            }
            let Some(value) = bytes.get(after..after + length) else { return Ok(None) };
            return match bytes.get(after + length..after + length + 2) {
                Some(b"\r\n") => Ok(Some((Reply::Bulk(value.to_vec()), after + length + 2))),
                Some(_) => Err(not_resp()),
                None => Ok(None),
            };
        }
        _ => Reply::Nil,
    };
    Ok(Some((reply, after)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        encode(&[b"SET", b"k", b"a\r\nb"], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn replies_are_read_whole_and_never_before_their_last_byte() {
        for (bytes, expected) in [
            (&b"+OK\r\n"[..], Reply::Simple("OK".into())),
            (b"-OOM no room\r\n", Reply::Error("OOM no room".into())),
            (b":-7\r\n", Reply::Integer(-7)),
            (b"$5\r\nab\r\nc\r\n", Reply::Bulk(b"ab\r\nc".to_vec())),
            (b"$0\r\n\r\n", Reply::Bulk(Vec::new())),
            (b"$-1\r\n", Reply::Nil),
            (b"_\r\n", Reply::Nil),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]).unwrap(), None, "{expected:?} at {cut}");
            }
            let longer = [bytes, b"+next"].concat();
            assert_eq!(parse(&longer).unwrap(), Some((expected, bytes.len())));
        }
    }

    #[test]
    fn what_is_no_reply_is_refused_at_once() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\x15\x03",
            b":x\r\n",
            b"$-2\r\n",
            b"$99999999999\r\n",
            b"$2\r\nabc\r\n",
            b"*1\r\n",
        ] {
            assert!(parse(bytes).unwrap_err().to_string().contains("does not speak Redis"));
        }
        assert!(parse(&[b'+'; LINE_BYTES_MAX + 2]).is_err());
    }
}
