//! A request's body, handed to the multipart parser in bounded portions.
//!
//! The parser reads whatever its stream has before it looks at what it got, and it buffers a part's headers without a bound: a client
//! on a fast line could fill our memory. So the stream takes a breath after each portion, which makes the parser use what it
//! has; and it fails when the parser cannot make use of what it was given.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt as _};

/// Bytes given before a breath is taken.
const PORTION_BYTES: usize = 128 * 1024;
/// Bytes given without any of them being used as content: boundaries and headers are far smaller.
const UNUSED_BYTES: usize = 512 * 1024;

/// Tells the body that content was used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicUsize>);

impl Progress {
    /// What was given so far has been used.
    pub(crate) fn made(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn give(&self, bytes: usize) -> usize {
        self.0.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

/// The body could not be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PacedError {
    /// The connection ended, or its framing is wrong.
    #[error("the body ended before it was complete")]
    Body(#[source] axum::Error),
    /// A boundary or headers that do not end.
    #[error("a part's headers are too large")]
    Unused,
}

/// The paced body.
#[derive(Debug)]
pub(crate) struct Paced {
    body: BodyDataStream,
    portion: usize,
    progress: Progress,
}

impl Paced {
    pub(crate) fn new(body: Body, progress: Progress) -> Self {
        Self { body: body.into_data_stream(), portion: 0, progress }
    }
}

impl Stream for Paced {
    type Item = Result<Bytes, PacedError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.portion >= PORTION_BYTES {
            self.portion = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = match self.body.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(piece))) => piece,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(PacedError::Body(error)))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                self.portion = 0;
                return Poll::Pending;
            }
        };
        self.portion += piece.len();
        if self.progress.give(piece.len()) > UNUSED_BYTES {
            return Poll::Ready(Some(Err(PacedError::Unused)));
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};

    use super::*;

    fn paced(pieces: usize, size: usize) -> (Paced, Progress) {
        let progress = Progress::default();
        let pieces = stream::iter((0..pieces).map(move |_| Ok::<_, std::io::Error>(Bytes::from(vec![0; size]))));
        (Paced::new(Body::from_stream(pieces), progress.clone()), progress)
    }

    #[tokio::test]
    async fn a_breath_is_taken_after_each_portion() {
        let (mut body, progress) = paced(100, 64 * 1024);
        for _ in 0..20 {
            assert!(body.next().now_or_never().is_some());
            assert!(body.next().now_or_never().is_some());
            assert!(body.next().now_or_never().is_none(), "two pieces make a portion");
            progress.made();
        }
    }

    #[tokio::test]
    async fn nothing_is_lost_while_content_is_used() {
        let (mut body, progress) = paced(300, 10_000);
        let mut bytes = 0;
        while let Some(piece) = body.next().await {
            bytes += piece.expect("the body goes on").len();
            progress.made();
        }
        assert_eq!(bytes, 3_000_000);
    }

    #[tokio::test]
    async fn endless_headers_end() {
        let (mut body, _) = paced(100, 64 * 1024);
        let mut pieces = 0;
        loop {
            match body.next().await.expect("it fails before it ends") {
                Ok(_) => pieces += 1,
                Err(error) => return assert!(matches!(error, PacedError::Unused) && pieces == 8, "{pieces} {error}"),
            }
        }
    }
}
