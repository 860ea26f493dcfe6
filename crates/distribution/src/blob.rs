//! Reads blobs: whether they are there, small ones whole, large ones as a stream that goes on where it
//! broke and that ends with an error unless all of it came.

use std::time::Duration;

use bytes::Bytes;
use domain::reference::{Digest, Repository};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};

use crate::client::{Purpose, Registry, verify};
use crate::error::{Action, Cause, Error};
use crate::manifest::{Blob, Hasher};
use crate::transport::{Exchange, LEAST, Pace};

/// How often in a row a broken read is taken up with less than [`LEAST`] bytes to show for it.
const FRUITLESS_LIMIT: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What a repository shows of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// Something of another size: a file that was cut short, or a manifest that tells the wrong size.
    Damaged,
    /// The blob, as far as a look tells.
    Whole,
}

impl Registry {
    /// What the repository shows of the blob.
    ///
    /// # Errors
    /// Any [`Error`] but absence.
    pub async fn find_blob(&self, repository: &Repository, blob: &Blob) -> Result<Presence, Error> {
        let purpose = Purpose::pull(Action::FindBlob, repository);
        match self.send(&purpose, self.blob_request(Method::HEAD, repository, &blob.digest)).await {
            Ok(exchange) => {
                let size = exchange.header(CONTENT_LENGTH).and_then(|size| size.parse::<u64>().ok());
                match size {
                    // Some gateways take the length of an answer without a body for 0.
                    Some(0) if blob.size > 0 => self.begin_of_blob(repository, blob).await,
                    Some(size) if size != blob.size => Ok(Presence::Damaged),
                    _ => Ok(Presence::Whole),
                }
            }
            Err(error) if error.is_absence() => Ok(Presence::Absent),
            // A storage that takes the signature for a GET only has not told; to move the blob again is safe.
            Err(error) if error.answer().is_some_and(|answer| answer.elsewhere.is_some()) => {
                Ok(Presence::Absent)
            }
            Err(error) => Err(error),
        }
    }

    /// What the beginning of an answer with the blob shows.
    async fn begin_of_blob(&self, repository: &Repository, blob: &Blob) -> Result<Presence, Error> {
        match self.read_blob(repository, blob, 0).await {
            Ok(_) => Ok(Presence::Whole),
            Err(error) if error.is_mismatch() => Ok(Presence::Damaged),
            Err(error) if error.is_absence() => Ok(Presence::Absent),
            Err(error) => Err(error),
        }
    }

    /// A small blob, at most `limit` bytes, compared with its digest.
    ///
    /// # Errors
    /// Any [`Error`]; [`Cause::TooLarge`] beyond the limit.
    pub async fn blob_bytes(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes, Error> {
        let purpose = Purpose::pull(Action::ReadBlob, repository);
        let exchange = self.send(&purpose, self.blob_request(Method::GET, repository, digest)).await?;
        let bytes = exchange.bytes(limit).await.map_err(|cause| self.error(&purpose, cause))?;
        verify(digest, &bytes).map_err(|cause| self.error(&purpose, cause))?;
        Ok(bytes)
    }

    /// Begins to read a blob of any size at a byte of it. That it has as many bytes as it should is
    /// certain at its end: whoever gets them compares the digest.
    ///
    /// # Errors
    /// Any [`Error`]; [`Cause::Mismatch`] when the registry tells another size.
    pub async fn read_blob(
        &self,
        repository: &Repository,
        blob: &Blob,
        from: u64,
    ) -> Result<SourceBody, Error> {
        let mut body = SourceBody {
            registry: self.clone(),
            repository: repository.clone(),
            blob: blob.clone(),
            open: None,
            received: from,
            skip: 0,
            ranges: true,
            hasher: None,
            pace: Pace::default(),
            fruitless: 0,
            since_break: 0,
        };
        // Of what is there already nothing can be asked for.
        if from == 0 || from < blob.size {
            body.open().await?;
        }
        Ok(body)
    }

    /// Reads a blob for nothing but its digest.
    ///
    /// # Errors
    /// Any [`Error`]; [`Cause::Mismatch`] when its bytes are others.
    pub async fn check_blob(&self, repository: &Repository, blob: &Blob) -> Result<(), Error> {
        let mut body = self.read_blob(repository, blob, 0).await?;
        body.hasher = Some(Hasher::like(&blob.digest));
        while body.next().await?.is_some() {}
        Ok(())
    }

    fn blob_request(
        &self,
        method: Method,
        repository: &Repository,
        digest: &Digest,
    ) -> crate::transport::Request {
        self.request(method, &format!("/v2/{repository}/blobs/{digest}"))
    }
}

/// A blob as it comes, in pieces.
pub struct SourceBody {
    registry: Registry,
    repository: Repository,
    blob: Blob,
    open: Option<Exchange>,
    received: u64,
    /// Bytes to drop because the registry began anew instead of where it was asked to.
    skip: u64,
    /// The registry gives the parts that it is asked for, as far as is known.
    ranges: bool,
    /// Where we and no other compare the digest.
    hasher: Option<Hasher>,
    pace: Pace,
    fruitless: u32,
    /// Bytes that came since the last break, or since it was last known to go well.
    since_break: u64,
}

impl SourceBody {
    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// Any [`Error`]; [`Cause::Mismatch`] when the bytes are others.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.received == self.blob.size {
                self.verify()?;
                return Ok(None);
            }
            let piece = match &mut self.open {
                Some(exchange) => exchange.chunk(&mut self.pace).await,
                None => {
                    self.reopen().await?;
                    continue;
                }
            };
            match piece {
                Ok(Some(bytes)) => {
                    if let Some(bytes) = self.take(bytes)? {
                        return Ok(Some(bytes));
                    }
                }
                Ok(None) => self.broke(Cause::Broken("the answer ends too early".to_owned()))?,
                Err(cause) => self.broke(cause)?,
            }
        }
    }

    fn take(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, Error> {
        let dropped = self.skip.min(bytes.len() as u64);
        self.skip -= dropped;
        let bytes = bytes.split_off(dropped as usize);
        if bytes.is_empty() {
            return Ok(None);
        }
        self.received += bytes.len() as u64;
        self.since_break += bytes.len() as u64;
        if self.since_break >= LEAST {
            self.fruitless = 0;
        }
        if self.received > self.blob.size {
            return Err(self.mismatch(format!("more than {} bytes come", self.blob.size)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        if self.received == self.blob.size {
            self.verify()?;
        }
        Ok(Some(bytes))
    }

    fn verify(&mut self) -> Result<(), Error> {
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.blob.digest.as_str() => {
                Err(self.mismatch(format!("they are those of {found}")))
            }
            _ => Ok(()),
        }
    }

    /// Lets go of a read that broke, to be taken up again, unless that has been in vain.
    fn broke(&mut self, cause: Cause) -> Result<(), Error> {
        self.open = None;
        (self.pace, self.since_break) = (Pace::default(), 0);
        let stalled = matches!(cause, Cause::Stalled(_) | Cause::Slow { .. });
        // A stall has cost a minute.
        self.fruitless += if stalled { 2 } else { 1 };
        match cause {
            Cause::Broken(_) | Cause::Stalled(_) | Cause::Slow { .. }
                if self.fruitless <= FRUITLESS_LIMIT =>
            {
                tracing::debug!(blob = %self.blob.digest, received = self.received, %cause, "read broke, goes on");
                Ok(())
            }
            cause => Err(self.registry.error(&self.purpose(), cause)),
        }
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        loop {
            tokio::time::sleep(FIRST_PAUSE * 2u32.pow(self.fruitless.saturating_sub(1))).await;
            match self.open().await {
                Err(error) if self.fruitless < FRUITLESS_LIMIT && is_momentary(&error) => self.fruitless += 1,
                other => return other,
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        match self.ask().await {
            // Once it may be a mistake on the way.
            Err(error) if error.is_mismatch() => self.ask().await,
            other => other,
        }
    }

    async fn ask(&mut self) -> Result<(), Error> {
        let mut request = self.registry.blob_request(Method::GET, &self.repository, &self.blob.digest);
        if self.received > 0 && self.ranges {
            let range = HeaderValue::try_from(format!("bytes={}-", self.received));
            request.headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let exchange = match self.registry.send(&self.purpose(), request).await {
            Err(error) if error.answer().is_some_and(|it| it.status == StatusCode::RANGE_NOT_SATISFIABLE) => {
                return Err(self.mismatch(format!("no more than {} bytes come", self.received)));
            }
            other => other?,
        };
        let is_part = exchange.status() == StatusCode::PARTIAL_CONTENT;
        let (begins, size) = match is_part {
            true => exchange.header(CONTENT_RANGE).map_or((None, None), range),
            false => (Some(0), None),
        };
        let Some(begins) = begins.filter(|begins| *begins <= self.received) else {
            // Another part than was asked for: this registry is better read from the beginning.
            return match std::mem::take(&mut self.ranges) {
                true => Box::pin(self.ask()).await,
                false => {
                    let problem = "a part of a blob that was not asked for".to_owned();
                    Err(self.registry.error(&self.purpose(), Cause::Protocol(problem)))
                }
            };
        };
        let length = exchange.header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let ends = length.map(|length| begins.saturating_add(length));
        // A part may be shorter than was asked for, the whole must be whole.
        if let Some(size) = size
            .filter(|size| *size != self.blob.size)
            .or(ends.filter(|ends| *ends > self.blob.size || (!is_part && *ends < self.blob.size)))
        {
            return Err(self.mismatch(format!("{size} bytes are offered instead of {}", self.blob.size)));
        }
        self.skip = self.received - begins;
        self.open = Some(exchange);
        Ok(())
    }

    fn purpose(&self) -> Purpose<'_> {
        Purpose::pull(Action::ReadBlob, &self.repository)
    }

    fn mismatch(&self, what: String) -> Error {
        self.registry.error(&self.purpose(), Cause::Mismatch { digest: self.blob.digest.clone(), what })
    }
}

fn is_momentary(error: &Error) -> bool {
    match &error.cause {
        Cause::Connect(_) | Cause::ConnectElsewhere { .. } | Cause::Broken(_) | Cause::Stalled(_) => true,
        Cause::Status(answer) => answer.status.is_server_error(),
        _ => false,
    }
}

/// The first byte and the size of the whole in `bytes 5-9/10`, as far as they are told.
fn range(range: &str) -> (Option<u64>, Option<u64>) {
    let range = range.strip_prefix("bytes ").unwrap_or_default();
    let (first, size) = (range.split('-').next(), range.rsplit('/').next());
    (first.and_then(|first| first.parse().ok()), size.and_then(|size| size.parse().ok()))
}
