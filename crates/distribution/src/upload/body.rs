//! The bytes of a blob on their way: one request after another takes its part of one stream. Tells when
//! a registry takes them too slowly, and keeps the error that ends them. Called by `ways`.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Instant;

use crate::error::Cause;
use crate::transport::{IDLE_TIMEOUT, Pace, VERIFY_TIMEOUT};

/// How often it is looked at who waits for whom.
const LOOK: Duration = Duration::from_secs(1);

type Pieces<E> = Pin<Box<dyn Stream<Item = Result<Bytes, E>> + Send>>;

/// The bytes of one upload. When it is dropped, the stream is, even while a request holds its part.
pub(super) struct Body<E>(Arc<Mutex<Flow<E>>>);

/// What one request takes: so many bytes and no more.
pub(super) struct Part<E> {
    flow: Arc<Mutex<Flow<E>>>,
    left: u64,
}

struct Flow<E> {
    pieces: Option<Pieces<E>>,
    /// What a part has left of a piece for the next one.
    rest: Bytes,
    failed: Option<E>,
    /// Of the whole stream, in bytes.
    left: u64,
    pace: Pace,
    /// Since when the registry is waited for; `None` while the stream is.
    waiting: Option<Instant>,
    /// The request has all its bytes.
    complete: bool,
}

impl<E> Body<E> {
    /// A stream of so many bytes.
    pub(super) fn new(pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static, size: u64) -> Self {
        Self(Arc::new(Mutex::new(Flow {
            pieces: Some(Box::pin(pieces)),
            rest: Bytes::new(),
            failed: None,
            left: size,
            pace: Pace::default(),
            waiting: None,
            complete: false,
        })))
    }

    /// The next bytes, for one request.
    pub(super) fn part(&self, bytes: u64) -> Part<E> {
        let mut flow = lock(&self.0);
        (flow.pace, flow.waiting, flow.complete) = (Pace::default(), Some(Instant::now()), bytes == 0);
        Part { flow: self.0.clone(), left: bytes }
    }

    /// How many bytes no request has taken.
    pub(super) fn left(&self) -> u64 {
        lock(&self.0).left
    }

    /// The error that has ended the stream.
    pub(super) fn failed(&self) -> Option<E> {
        lock(&self.0).failed.take()
    }

    /// Ends when the registry has taken too little, or has not answered, for too long.
    pub(super) async fn stalled(&self) -> Cause {
        loop {
            let wait = lock(&self.0).patience();
            match wait {
                Err(cause) => return cause,
                Ok(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

impl<E> Drop for Body<E> {
    fn drop(&mut self) {
        lock(&self.0).pieces = None;
    }
}

impl<E> Flow<E> {
    /// When to look again, unless the registry is not waited for any longer.
    fn patience(&self) -> Result<Duration, Cause> {
        let Some(waiting) = self.waiting else { return Ok(LOOK) };
        let limit = if self.complete { VERIFY_TIMEOUT } else { self.pace.patience() };
        match limit.saturating_sub(waiting.elapsed()) {
            Duration::ZERO if self.complete => Err(Cause::Stalled(VERIFY_TIMEOUT.as_secs())),
            Duration::ZERO => Err(self.pace.cause()),
            wait => Ok(wait.clamp(Duration::from_millis(1), IDLE_TIMEOUT)),
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.rest))));
        }
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        Poll::Ready(ready!(pieces.as_mut().poll_next(context)).map(|piece| {
            piece.map_err(|error| {
                self.failed = Some(error);
                io::Error::other("the body of the upload ends with an error")
            })
        }))
    }
}

impl<E> Stream for Part<E> {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let shared = self.flow.clone();
        let mut flow = lock(&shared);
        if let Some(since) = flow.waiting.take() {
            flow.pace.waited(since.elapsed());
        }
        let piece = ready!(flow.next(context));
        let piece = piece.map(|piece| {
            let mut bytes = piece?;
            if bytes.len() as u64 > self.left {
                flow.rest = bytes.split_off(self.left as usize);
            }
            let taken = bytes.len() as u64;
            self.left -= taken;
            flow.left = flow.left.saturating_sub(taken);
            flow.pace.moved(taken);
            flow.complete = self.left == 0;
            Ok(bytes)
        });
        flow.waiting = Some(Instant::now());
        Poll::Ready(piece)
    }
}

fn lock<E>(flow: &Mutex<Flow<E>>) -> MutexGuard<'_, Flow<E>> {
    flow.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn body(pieces: &'static [&'static [u8]]) -> Body<&'static str> {
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        Body::new(stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece)))), size)
    }

    async fn all(part: Part<&'static str>) -> Vec<u8> {
        part.map(|piece| piece.expect("a piece")).collect::<Vec<_>>().await.concat()
    }

    #[tokio::test]
    async fn parts_cut_the_stream_where_they_end_and_lose_nothing() {
        let body = body(&[b"012", b"3456789", b"ab"]);
        assert_eq!(all(body.part(2)).await, b"01");
        assert_eq!(all(body.part(2)).await, b"23");
        assert_eq!(all(body.part(0)).await, b"");
        assert_eq!((all(body.part(7)).await, body.left()), (b"456789a".to_vec(), 1));
        assert_eq!((all(body.part(1)).await, body.left()), (b"b".to_vec(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_in_which_the_registry_is_waited_for_counts() {
        let pieces = stream::unfold((), async |()| {
            tokio::time::sleep(IDLE_TIMEOUT * 2).await;
            Some((Ok::<_, &str>(Bytes::from_static(b"0")), ()))
        });
        let body = Body::new(Box::pin(pieces), 2);
        let mut part = body.part(2);
        let slow_source = async {
            part.next().await.expect("a piece").expect("good");
            part.next().await.expect("a piece").expect("good");
        };
        tokio::select! {
            () = slow_source => {}
            cause = body.stalled() => panic!("{cause:?}"),
        }
        // Now the request has all of it, and the answer may take longer.
        assert!(matches!(body.stalled().await, Cause::Stalled(600)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_takes_a_byte_a_second_has_stalled() {
        let pieces = stream::repeat_with(|| Ok::<_, &str>(Bytes::from_static(b"0")));
        let body = Body::new(pieces, 1 << 30);
        let mut part = body.part(1 << 30);
        let drip = async {
            while part.next().await.is_some() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let cause = tokio::select! {
            () = drip => panic!("a gigabyte, a byte a second"),
            cause = body.stalled() => cause,
        };
        assert!(matches!(cause, Cause::Slow { bytes: 59..=61, seconds: 60 }), "{cause:?}");
    }

    #[tokio::test]
    async fn a_part_ends_with_the_upload() {
        let body = body(&[b"012"]);
        let mut part = body.part(3);
        drop(body);
        assert!(part.next().await.is_none());
    }
}
