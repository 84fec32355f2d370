//! An answer's body, given out in parts, so that it shows whether anybody takes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};

use super::activity::InHand;
use super::answer::Answer;

/// Bytes of a part. hyper asks for the next one when the client has made room for all of this one.
const PART_BYTES: usize = 16 << 10;

/// A body that counts as in hand until all of it was handed over.
pub(super) struct Paced {
    rest: Bytes,
    in_hand: InHand,
}

/// The same answer, as part of a request in hand.
pub(super) fn paced(answer: Answer, mut in_hand: InHand) -> Response<Paced> {
    in_hand.goes_on();
    answer.map(|body| Paced { rest: body.into_inner().unwrap_or_default(), in_hand })
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        self.in_hand.goes_on();
        let length = self.rest.len().min(PART_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
