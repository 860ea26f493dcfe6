//! Moves one blob: nothing when it is there, a mount where that is allowed, else source to destination
//! straight through memory.

use std::pin::pin;

use bytes::Bytes;
use distribution::{Blob, Cause, Error, Mounted, Side, SourceBody, Upload, UploadError};
use domain::push::{Failure, Moved};
use domain::reference::Repository;
use futures_util::future::try_join;
use futures_util::{Stream, stream};

use crate::Job;
use crate::limits::Limits;
use crate::progress::{Meter, Progress};

/// What the blobs of one job have in common.
pub(crate) struct Transfer<'a> {
    job: &'a Job<'a>,
    mount_from: Option<&'a Repository>,
    limits: &'a Limits,
    progress: &'a Progress,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(job: &'a Job<'a>, limits: &'a Limits, progress: &'a Progress) -> Self {
        // Inside one service the source's repository is itself one to mount from.
        let inside = job.source.is_same_service(job.destination).then_some(job.source_repository);
        let mount_from = job.mount_from.or(inside).filter(|from| *from != job.destination_repository);
        Self { job, mount_from, limits, progress }
    }

    /// Brings the blob to the destination's repository.
    pub(crate) async fn run(&self, blob: Blob) -> Result<Moved, Failure> {
        let Job { source, destination, .. } = self.job;
        let _permit = self.limits.permit(source.host(), destination.host()).await;
        if destination
            .blob_exists(self.job.destination_repository, &blob.digest)
            .await
            .map_err(at_destination)?
        {
            self.progress.done(blob.size);
            return Ok(Moved { present: blob.size, ..Moved::default() });
        }
        let mut opened = match self.mount(&blob).await? {
            Mounted::Yes => {
                self.progress.done(blob.size);
                return Ok(Moved { mounted: blob.size, ..Moved::default() });
            }
            Mounted::Upload(upload) => Some(upload),
            Mounted::No => None,
        };
        let first = self.upload(&blob, opened.take()).await;
        match first {
            // Another token is got for the second upload.
            Err(UploadError::Registry(Error { cause: Cause::TokenExpired, .. })) => {
                self.upload(&blob, None).await
            }
            other => other,
        }
        .map_err(|error| match error {
            UploadError::Body(error) => error.failure(Side::Source),
            UploadError::Registry(error) => at_destination(error),
        })?;
        Ok(Moved { uploaded: blob.size, ..Moved::default() })
    }

    /// Mounts only what the source's own repository holds: a manifest may name any digest, and whoever
    /// wrote it must not get another's layer for that.
    async fn mount(&self, blob: &Blob) -> Result<Mounted, Failure> {
        let Some(from) = self.mount_from else { return Ok(Mounted::No) };
        let Job { source, source_repository, destination, destination_repository, .. } = self.job;
        let held = source.blob_exists(source_repository, &blob.digest).await;
        if !held.map_err(|error| error.failure(Side::Source))? {
            return Ok(Mounted::No);
        }
        destination.mount(destination_repository, from, &blob.digest).await.map_err(at_destination)
    }

    async fn upload(&self, blob: &Blob, opened: Option<Upload>) -> Result<(), UploadError<Error>> {
        let Job { source, source_repository, destination, destination_repository, .. } = self.job;
        let upload = async {
            match opened {
                Some(upload) => Ok(upload),
                None => destination.start_upload(destination_repository).await.map_err(UploadError::Registry),
            }
        };
        let body = async { source.read_blob(source_repository, blob).await.map_err(UploadError::Body) };
        let (upload, body) = try_join(upload, body).await?;
        let moving = self.progress.follow(blob.size);
        let body = metered(body, moving.meter());
        destination.upload(destination_repository, upload, blob, body).await?;
        moving.arrive();
        Ok(())
    }
}

fn at_destination(error: Error) -> Failure {
    error.failure(Side::Destination)
}

fn metered(body: SourceBody, meter: Meter) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    stream::try_unfold((body, meter), async |(mut body, meter)| {
        let piece = pin!(body.next()).await?;
        Ok(piece.map(|piece| {
            meter.sent(piece.len() as u64);
            (piece, (body, meter))
        }))
    })
}
