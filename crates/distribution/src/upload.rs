//! Writes blobs: a mount where the registry can, else an upload, whose bytes stream through and are
//! never buffered. How they go is a way of `quirks`, sent in `ways`; what comes after a failure is
//! decided in `course`; `body` watches the flow. Called by `copy`.

mod body;
mod course;
mod ways;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use domain::reference::{Digest, Repository};
use futures_util::Stream;
use futures_util::future::try_join;
use http::{Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use self::body::Body;
use self::course::{Course, Next};
use crate::client::{Purpose, Registry};
use crate::error::{Action, Cause, Error};
use crate::manifest::Blob;
use crate::token::Scope;
use crate::transport::Exchange;

/// The smallest chunk that a registry takes (distribution spec, "Pushing a blob in chunks").
const CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";

/// How long an upload may wait for its turn before another is opened instead: registries forget them.
const FRESH: Duration = Duration::from_secs(300);

/// An upload that a registry has opened and that awaits its bytes.
#[derive(Debug)]
pub struct Upload {
    /// The newest: every answer may carry another one.
    location: Url,
    /// The smallest chunk that the registry takes, in bytes.
    chunk_min: u64,
    /// How many bytes the registry has taken for good.
    offset: u64,
    opened_at: Instant,
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
                Cause::LoginMissing | Cause::TokenService { .. } | Cause::Challenge(_) => {
                    Ok(Mounted::Refused)
                }
                _ => Err(error),
            },
        }
    }

    /// Brings a blob into the repository, into an upload that a mount has `opened` or into a new one; the
    /// registry compares it with the digest. `read` begins to read the blob at a byte, beside the request
    /// for the upload, and once more from wherever the registry wants to have it again.
    ///
    /// # Errors
    /// [`UploadError::Body`] when the blob cannot be read, else [`UploadError::Registry`] with what came
    /// back last, or with the first refusal where the registry refused every way.
    pub async fn upload<E, B, F>(
        &self,
        repository: &Repository,
        opened: Option<Upload>,
        blob: &Blob,
        mut read: impl FnMut(u64) -> F,
    ) -> Result<(), UploadError<E>>
    where
        E: Send + 'static,
        B: Stream<Item = Result<Bytes, E>> + Send + 'static,
        F: Future<Output = Result<B, E>>,
    {
        let purpose = Purpose::push(Action::Upload, repository);
        let mut course = Course::new(self.home().learnt().habits(self.home().url()));
        let mut opened = opened.filter(|upload| upload.opened_at.elapsed() < FRESH);
        loop {
            let from = opened.as_ref().map_or(0, |upload| upload.offset);
            let upload = async {
                match opened.take() {
                    Some(upload) => Ok(upload),
                    None => self.start_upload(repository).await.map_err(UploadError::Registry),
                }
            };
            let bytes = async { read(from).await.map_err(UploadError::Body) };
            let (mut upload, bytes) = try_join(upload, bytes).await?;
            let body = Body::new(bytes, blob.size - from);
            let sent = match course.way().is_one_request() {
                true => self.put(&purpose, &upload, blob, &body).await,
                false => self.patch(&purpose, &mut upload, blob, &body, course.way()).await,
            };
            if let Some(error) = body.failed() {
                return Err(UploadError::Body(error));
            }
            let Err(error) = sent else { break };
            let left = body.left();
            // Whatever comes next, the source need not wait for it.
            drop(body);
            let next = self.recover(&purpose, &mut course, upload, blob, left, error).await;
            match next.map_err(UploadError::Registry)? {
                Next::Upload(upload) => opened = Some(upload),
                Next::Anew => {}
                Next::Arrived => break,
            }
        }
        course.arrived(self.home(), blob.size);
        Ok(())
    }

    async fn start_upload(&self, repository: &Repository) -> Result<Upload, Error> {
        let purpose = Purpose::push(Action::StartUpload, repository);
        let request = self.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/"));
        let exchange = self.send(&purpose, request).await?;
        self.opened(&purpose, &exchange)
    }

    fn opened(&self, purpose: &Purpose<'_>, exchange: &Exchange) -> Result<Upload, Error> {
        let chunk_min = exchange.header(CHUNK_MIN_LENGTH).and_then(|length| length.parse().ok());
        match exchange.location() {
            Some(location) => {
                let (chunk_min, opened_at) = (chunk_min.unwrap_or(0), Instant::now());
                Ok(Upload { location, chunk_min, offset: 0, opened_at })
            }
            None => Err(self.error(purpose, Cause::Protocol("an upload without a Location".to_owned()))),
        }
    }
}
