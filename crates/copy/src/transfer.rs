//! Brings one blob to the destination's repository: nothing when it is there, a mount where it lies
//! elsewhere at the host, else source to destination straight through memory.

use std::collections::HashMap;
use std::pin::pin;

use bytes::Bytes;
use distribution::{Blob, Error, Mounted, Presence, Side, SourceBody, Upload, UploadError};
use domain::push::{Failure, Moved};
use domain::reference::{Digest, Repository};
use futures_util::{Stream, stream};

use crate::inventory::Held;
use crate::leaders::Turn;
use crate::limits::Share;
use crate::progress::{Meter, Progress};
use crate::{Copier, Job, is_hidden};

/// Repositories that are asked for a mount before the blob is uploaded.
const MOUNTS_LIMIT: usize = 2;

/// What the blobs of one job have in common.
pub(crate) struct Transfer<'a> {
    pub(crate) copier: &'a Copier,
    pub(crate) job: &'a Job<'a>,
    pub(crate) progress: &'a Progress,
    /// What the inventory knows of the destination, and of the source.
    pub(crate) destination: HashMap<Digest, Held>,
    pub(crate) source: HashMap<Digest, Held>,
    pub(crate) share: Share,
    /// Only what the destination shows counts: a mount was promised and not kept.
    pub(crate) cautious: bool,
}

impl Transfer<'_> {
    /// Brings the blob to the destination's repository.
    pub(crate) async fn run(&self, blob: Blob) -> Result<Moved, Failure> {
        let Job { destination, destination_repository: here, .. } = self.job;
        let held = self.destination.get(&blob.digest).cloned().unwrap_or_default();
        if held.here || self.cautious || self.job.is_damaged {
            // What was there a moment ago is there: the manifest is refused otherwise, and then all is looked for.
            let found = match self.cautious || self.job.is_damaged {
                true => self.find(&blob).await?,
                false => self.copier.find(self.job, None, &blob).await.map_err(at_destination)?,
            };
            match found {
                Presence::Whole => return Ok(self.present(&blob)),
                Presence::Absent => self.forget(here, &blob.digest),
                Presence::Damaged => return self.replace(&blob).await,
            }
        }
        let mut opened = None;
        for from in self.candidates(held.elsewhere) {
            match self.mount(&blob, &from).await? {
                Mounted::Yes => return Ok(self.mounted(&blob)),
                Mounted::Upload(upload) => opened = Some(upload),
                Mounted::Absent | Mounted::Refused => {}
            }
        }
        loop {
            match self.copier.leaders.turn(destination.host(), &blob.digest).await {
                Turn::Lead(lead) => {
                    let moved = self.lead(&blob, opened).await?;
                    lead.arrived(here);
                    return Ok(moved);
                }
                Turn::Followed(None) => {}
                Turn::Followed(Some(from)) if from == **here => return Ok(self.present(&blob)),
                Turn::Followed(Some(from)) => {
                    return match self.mount(&blob, &from).await? {
                        Mounted::Yes => Ok(self.mounted(&blob)),
                        Mounted::Upload(upload) => self.upload(&blob, Some(upload)).await,
                        // Some registries mount only what a manifest names already.
                        Mounted::Absent | Mounted::Refused => self.upload(&blob, opened).await,
                    };
                }
            }
        }
    }

    /// Uploads the blob, unless it turns out to be there.
    async fn lead(&self, blob: &Blob, opened: Option<Upload>) -> Result<Moved, Failure> {
        let Job { destination_repository: here, .. } = self.job;
        if opened.is_some() || self.cautious {
            return self.upload(blob, opened).await;
        }
        // A mount from the very repository says in one request whether the blob is there, and opens an
        // upload when it is not.
        match self.mount(blob, here).await? {
            Mounted::Yes => Ok(self.present(blob)),
            Mounted::Upload(upload) => self.upload(blob, Some(upload)).await,
            Mounted::Absent | Mounted::Refused => match self.find(blob).await? {
                Presence::Whole => Ok(self.present(blob)),
                Presence::Absent => self.upload(blob, None).await,
                Presence::Damaged => self.replace(blob).await,
            },
        }
    }

    /// Looks for the blob in the destination's repository.
    async fn find(&self, blob: &Blob) -> Result<Presence, Failure> {
        let Job { destination, destination_repository: here, .. } = self.job;
        let _permit = self.copier.limits.permit(destination.host(), 0).await;
        destination.find_blob(here, blob).await.map_err(at_destination)
    }

    /// Uploads a blob that is damaged there. A registry may keep what it has under a digest, whatever it is
    /// sent; then its bytes, which are read, show the damage.
    async fn replace(&self, blob: &Blob) -> Result<Moved, Failure> {
        let Job { destination, destination_repository: here, .. } = self.job;
        self.forget(here, &blob.digest);
        let moved = self.upload(blob, None).await?;
        if self.find(blob).await? == Presence::Damaged {
            let _permit = self.copier.limits.permit(destination.host(), blob.size).await;
            let checked = destination.check_blob(here, blob).await;
            checked.inspect_err(|_| self.forget(here, &blob.digest)).map_err(at_destination)?;
        }
        Ok(moved)
    }

    fn candidates(&self, elsewhere: Vec<Repository>) -> Vec<Repository> {
        if self.cautious {
            return Vec::new();
        }
        let Job { source, source_repository, destination, destination_repository, .. } = self.job;
        // Inside one service the source's repository is itself one to mount from.
        let inside = source.is_same_service(destination) && source_repository != destination_repository;
        let inside = inside.then(|| (*source_repository).clone());
        inside.into_iter().chain(elsewhere).take(MOUNTS_LIMIT).collect()
    }

    /// Mounts only what the source's own repository holds: a manifest may name any digest, and whoever wrote
    /// it must not get another's layer for that.
    async fn mount(&self, blob: &Blob, from: &Repository) -> Result<Mounted, Failure> {
        let Job { source, source_repository, destination, destination_repository: here, .. } = self.job;
        let _permit = self.copier.limits.permit(destination.host(), 0).await;
        if !self.source.get(&blob.digest).is_some_and(|held| held.here) {
            match source.find_blob(source_repository, blob).await {
                Ok(Presence::Whole) => {}
                // What cannot be read there an upload will tell.
                Ok(Presence::Absent | Presence::Damaged) => return Ok(Mounted::Absent),
                Err(error) if is_hidden(&error) => return Ok(Mounted::Absent),
                Err(error) => return Err(error.failure(Side::Source)),
            }
            self.copier.inventory.note(source.host(), source_repository, &blob.digest);
        }
        let mounted = destination.mount(here, from, &blob.digest).await.map_err(at_destination)?;
        if from != *here && matches!(mounted, Mounted::Upload(_) | Mounted::Absent) {
            self.forget(from, &blob.digest);
        }
        Ok(mounted)
    }

    async fn upload(&self, blob: &Blob, opened: Option<Upload>) -> Result<Moved, Failure> {
        let Job { source, source_repository, destination, destination_repository: here, .. } = self.job;
        let limits = &self.copier.limits;
        let _turn = self.share.turn(blob.size).await;
        let _permit = limits.permit(destination.host(), blob.size).await;
        let _source_permit = limits.source_permit(source.host(), destination.host(), blob.size).await;
        let moving = self.progress.follow(blob.size);
        let read = |from| {
            let meter = moving.meter(from);
            async move { Ok(metered(source.read_blob(source_repository, blob, from).await?, meter)) }
        };
        match destination.upload(here, opened, blob, read).await {
            Ok(()) => moving.arrive(),
            Err(UploadError::Body(error)) => return Err(error.failure(Side::Source)),
            Err(UploadError::Registry(error)) => {
                // The destination alone has compared the bytes; whose fault it is, a second look tells.
                if error.refuses_bytes() {
                    let again = source.check_blob(source_repository, blob).await;
                    again.map_err(|error| error.failure(Side::Source))?;
                }
                return Err(at_destination(error));
            }
        }
        self.note(blob);
        Ok(Moved { uploaded: blob.size, ..Moved::default() })
    }

    fn present(&self, blob: &Blob) -> Moved {
        if !self.destination.get(&blob.digest).is_some_and(|held| held.here) {
            self.note(blob);
        }
        self.progress.done(blob.size);
        Moved { present: blob.size, ..Moved::default() }
    }

    fn mounted(&self, blob: &Blob) -> Moved {
        self.note(blob);
        self.progress.done(blob.size);
        Moved { mounted: blob.size, ..Moved::default() }
    }

    fn note(&self, blob: &Blob) {
        let Job { destination, destination_repository: here, .. } = self.job;
        self.copier.inventory.note(destination.host(), here, &blob.digest);
    }

    fn forget(&self, repository: &Repository, digest: &Digest) {
        self.copier.inventory.forget(self.job.destination.host(), repository, digest);
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
