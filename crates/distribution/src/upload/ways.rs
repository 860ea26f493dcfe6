//! The requests that carry the bytes of a blob, in each of the ways of `quirks`. Called by `upload`.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, StatusCode};

use super::Upload;
use super::body::Body;
use crate::client::{Purpose, Registry};
use crate::error::{Cause, Error};
use crate::manifest::Blob;
use crate::quirks::Way;
use crate::transport::{Exchange, Payload, Request, VERIFY_TIMEOUT};

impl Registry {
    /// Sends the whole blob with the PUT that ends the upload.
    pub(super) async fn put<E: Send + 'static>(
        &self,
        purpose: &Purpose<'_>,
        upload: &Upload,
        blob: &Blob,
        body: &Body<E>,
    ) -> Result<(), Error> {
        let exchange = self.stream(purpose, closing(upload, blob), body, blob.size).await?;
        self.closed(purpose, &exchange)
    }

    /// Sends what the upload lacks in PATCHes, and ends it with an empty PUT.
    pub(super) async fn patch<E: Send + 'static>(
        &self,
        purpose: &Purpose<'_>,
        upload: &mut Upload,
        blob: &Blob,
        body: &Body<E>,
        way: Way,
    ) -> Result<(), Error> {
        while upload.offset < blob.size {
            let left = blob.size - upload.offset;
            let chunk = way.chunk(upload.chunk_min);
            let length = chunk.map_or(left, |chunk| chunk.min(left));
            let mut request = Request::new(Method::PATCH, upload.location.clone());
            // Docker sends none with a whole body, which all have learnt to take.
            if length < blob.size || chunk.is_some() {
                let range =
                    HeaderValue::try_from(format!("{}-{}", upload.offset, upload.offset + length - 1));
                request.headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
            }
            let exchange = self.stream(purpose, request, body, length).await?;
            upload.offset += length;
            upload.moves_to(&exchange);
        }
        let mut request = closing(upload, blob);
        request.patience = Some(VERIFY_TIMEOUT);
        let exchange = self.send(purpose, request).await?;
        self.closed(purpose, &exchange)
    }

    /// How many bytes the registry has of an upload, where it says so; `None` too where it may be none,
    /// since registries say `0-0` of an upload that is empty.
    pub(super) async fn offset(
        &self,
        purpose: &Purpose<'_>,
        upload: &mut Upload,
        blob: &Blob,
    ) -> Result<Option<u64>, Error> {
        if !self.home().owns(&upload.location) {
            return Ok(None);
        }
        let exchange = match self.send(purpose, Request::new(Method::GET, upload.location.clone())).await {
            Ok(exchange) => exchange,
            Err(error) if matches!(error.cause, Cause::Connect(_)) => return Err(error),
            Err(_) => return Ok(None),
        };
        upload.moves_to(&exchange);
        let last = exchange.header(RANGE).and_then(last_byte);
        Ok(last.filter(|last| (1..blob.size).contains(last)).map(|last| last + 1))
    }

    async fn stream<E: Send + 'static>(
        &self,
        purpose: &Purpose<'_>,
        mut request: Request,
        body: &Body<E>,
        length: u64,
    ) -> Result<Exchange, Error> {
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        request.body = Payload::Stream(Some(reqwest::Body::wrap_stream(body.part(length))));
        request.patience = None;
        tokio::select! {
            sent = self.send(purpose, request) => sent,
            cause = body.stalled() => Err(self.error(purpose, cause)),
        }
    }

    fn closed(&self, purpose: &Purpose<'_>, exchange: &Exchange) -> Result<(), Error> {
        match exchange.status() {
            StatusCode::ACCEPTED => {
                let problem = "202 to the PUT that should end an upload".to_owned();
                Err(self.error(purpose, Cause::Protocol(problem)))
            }
            _ => Ok(()),
        }
    }
}

impl Upload {
    fn moves_to(&mut self, exchange: &Exchange) {
        if let Some(location) = exchange.location() {
            self.location = location;
        }
    }
}

fn closing(upload: &Upload, blob: &Blob) -> Request {
    let mut location = upload.location.clone();
    location.query_pairs_mut().append_pair("digest", blob.digest.as_str());
    Request::new(Method::PUT, location)
}

/// The last number of `0-9`, which some write as `bytes=0-9`.
fn last_byte(range: &str) -> Option<u64> {
    range.rsplit('-').next()?.trim().parse().ok()
}
