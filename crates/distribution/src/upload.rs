//! Writes blobs: a mount where the registry can, else one POST and one PUT whose body streams through.
//! Nothing is buffered; what stalls is noticed. Fallbacks (PATCH, chunks) are deliberately absent as yet.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::reference::{Digest, Repository};
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use crate::client::{Purpose, Registry};
use crate::error::{Action, Cause, Error};
use crate::manifest::Blob;
use crate::token::Scope;
use crate::transport::{Exchange, IDLE_TIMEOUT, Payload, Request, VERIFY_TIMEOUT};

/// An upload that a registry has opened and that awaits its bytes.
#[derive(Debug)]
pub struct Upload {
    location: Url,
}

/// What became of asking for a mount.
#[derive(Debug)]
pub enum Mounted {
    /// The blob is there.
    Yes,
    /// Not mounted, but the registry has opened an upload for it.
    Upload(Upload),
    /// Not mounted: the other repository, or the blob in it, is not there.
    Absent,
    /// Not mounted, and that says nothing about the other repository.
    Refused,
}

/// Which side broke an upload.
#[derive(Debug)]
pub enum UploadError<E> {
    /// The body ended with this error.
    Body(E),
    /// The registry did not take it.
    Registry(Error),
}

impl Registry {
    /// Asks for an upload into the repository.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn start_upload(&self, repository: &Repository) -> Result<Upload, Error> {
        let purpose = Purpose::push(Action::StartUpload, repository);
        let request = self.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/"));
        let exchange = self.send(&purpose, request).await?;
        self.opened(&purpose, &exchange)
    }

    /// Asks the registry to take a blob over from another of its repositories.
    ///
    /// # Errors
    /// Only where the registry cannot be spoken to: a refusal says that there is no mount.
    pub async fn mount(
        &self,
        into: &Repository,
        from: &Repository,
        digest: &Digest,
    ) -> Result<Mounted, Error> {
        let scope = match into == from {
            true => Scope::Push(into.clone()),
            false => Scope::Mount { into: into.clone(), from: from.clone() },
        };
        let purpose = Purpose { action: Action::Mount, repository: Some(into), scope };
        let mut request = self.request(Method::POST, &format!("/v2/{into}/blobs/uploads/"));
        request
            .url
            .query_pairs_mut()
            .append_pair("mount", digest.as_str())
            .append_pair("from", from.as_str());
        match self.send(&purpose, request).await {
            Ok(exchange) if exchange.status() == StatusCode::CREATED => Ok(Mounted::Yes),
            Ok(exchange) => Ok(self.opened(&purpose, &exchange).map_or(Mounted::Refused, Mounted::Upload)),
            Err(error) if error.is_absence() => Ok(Mounted::Absent),
            Err(error) if error.answer().is_some() => Ok(Mounted::Refused),
            Err(error) => match error.cause {
                Cause::LoginMissing | Cause::TokenService { .. } => Ok(Mounted::Refused),
                _ => Err(error),
            },
        }
    }

    fn opened(&self, purpose: &Purpose<'_>, exchange: &Exchange) -> Result<Upload, Error> {
        match exchange.location() {
            Some(location) => Ok(Upload { location }),
            None => Err(self.error(purpose, Cause::Protocol("an upload without a Location".to_owned()))),
        }
    }

    /// Sends the whole blob in one request; the registry compares it with the digest.
    ///
    /// # Errors
    /// [`UploadError::Body`] when the body ends with an error, else [`UploadError::Registry`].
    /// [`Cause::TokenExpired`] asks for a new upload.
    pub async fn upload<E: Send + 'static>(
        &self,
        repository: &Repository,
        upload: Upload,
        blob: &Blob,
        body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<(), UploadError<E>> {
        let purpose = Purpose::push(Action::Upload, repository);
        let flow = Arc::new(Flow::new(blob.size));
        let failed = Arc::new(Mutex::new(None));
        // The client may hold on to the body after an early answer; it ends when this future does.
        let (_alive, gone) = tokio::sync::oneshot::channel::<()>();
        let body =
            Watched { body: Box::pin(body.take_until(gone)), flow: flow.clone(), failed: failed.clone() };

        let mut location = upload.location;
        location.query_pairs_mut().append_pair("digest", blob.digest.as_str());
        let mut request = Request::new(Method::PUT, location);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
        request.body = Payload::Stream(Some(reqwest::Body::wrap_stream(body)));
        request.patience = None;

        let sent = tokio::select! {
            sent = self.send(&purpose, request) => sent,
            cause = flow.stalled() => Err(self.error(&purpose, cause)),
        };
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(UploadError::Body(error));
        }
        match sent.map_err(UploadError::Registry)?.status() {
            StatusCode::ACCEPTED => {
                let problem = "202 to the PUT that should end an upload".to_owned();
                Err(UploadError::Registry(self.error(&purpose, Cause::Protocol(problem))))
            }
            _ => Ok(()),
        }
    }
}

/// How the body of an upload flows, for the watch over it.
struct Flow {
    began: Instant,
    /// When the last piece was taken, in milliseconds since the beginning.
    moved: AtomicU64,
    left: AtomicU64,
    /// The registry is ready for the next piece and the body has none yet: not the registry's fault.
    starved: AtomicBool,
}

impl Flow {
    fn new(size: u64) -> Self {
        Self {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            left: AtomicU64::new(size),
            starved: AtomicBool::new(false),
        }
    }

    fn moved(&self, bytes: u64) {
        self.moved.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.left.fetch_sub(bytes.min(self.left.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Ends when the registry has taken nothing, or answered nothing, for too long.
    async fn stalled(&self) -> Cause {
        loop {
            let limit = match self.left.load(Ordering::Relaxed) {
                0 => VERIFY_TIMEOUT,
                _ => IDLE_TIMEOUT,
            };
            let moved = self.began + std::time::Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let wait = (moved + limit).saturating_duration_since(Instant::now());
            if wait.is_zero() && !self.starved.load(Ordering::Relaxed) {
                return Cause::Stalled(limit.as_secs());
            }
            tokio::time::sleep(wait.clamp(IDLE_TIMEOUT / 60, IDLE_TIMEOUT)).await;
        }
    }
}

/// A body that tells how it flows and keeps the error that ends it.
struct Watched<E> {
    body: Pin<Box<dyn Stream<Item = Result<Bytes, E>> + Send>>,
    flow: Arc<Flow>,
    failed: Arc<Mutex<Option<E>>>,
}

impl<E> Stream for Watched<E> {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.body.as_mut().poll_next(context);
        self.flow.starved.store(piece.is_pending(), Ordering::Relaxed);
        piece.map(|piece| match piece? {
            Ok(bytes) => {
                self.flow.moved(bytes.len() as u64);
                Some(Ok(bytes))
            }
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Some(Err(io::Error::other("the body of the upload ends with an error")))
            }
        })
    }
}
