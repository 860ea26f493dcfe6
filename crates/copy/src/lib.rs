//! Moves one image from a source to a destination, byte for byte: looks whether anything is to be
//! done, plans, moves blobs side by side, writes manifests from the leaves up and the tag last.
//! Called by the syncer. It knows no database and no cluster, and not whose push it is.

mod limits;
mod plan;
mod progress;
mod transfer;

use distribution::{Error, Manifest, ManifestRef, Registry, Side};
use domain::push::{Failure, Moved, Reason};
use domain::reference::{Digest, Repository, Tag};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;

use limits::Limits;
use plan::Plan;
pub use progress::{InFlight, Progress};
use transfer::Transfer;

/// What lies where, and where it should lie. Repositories are full: an address's path is part of them.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Where the image was built into.
    pub source: &'a Registry,
    /// The image's repository there.
    pub source_repository: &'a Repository,
    /// The image.
    pub digest: &'a Digest,
    /// Where it goes, with the push's login.
    pub destination: &'a Registry,
    /// The image's repository there.
    pub destination_repository: &'a Repository,
    /// The one tag that is written.
    pub tag: &'a Tag,
    /// Another repository of the destination that may hold some of the blobs already.
    pub mount_from: Option<&'a Repository>,
}

/// Copies images; one a process, cheap to clone. Clones share their limits.
#[derive(Clone, Debug, Default)]
pub struct Copier {
    limits: Limits,
}

impl Copier {
    /// A copier whose jobs share one limit a host.
    pub fn new() -> Self {
        Self::default()
    }

    /// Brings the image to the destination under the tag. Afterwards the tag names the digest there;
    /// after a failure it names what it named before. To drop the future stops the copy.
    ///
    /// # Errors
    /// The typed reason, and a message for an administrator.
    pub async fn copy(&self, job: Job<'_>, progress: &Progress) -> Result<Moved, Failure> {
        if let Some(size) = settled(&job).await? {
            return Ok(Moved { present: size, ..Moved::default() });
        }
        let plan = Plan::read(&job).await?;
        progress.expect(plan.bytes());
        let mut moved = self.move_blobs(&job, &plan, progress).await?;
        for level in &plan.children {
            moved.uploaded += write_children(&job, level, progress).await?;
        }
        moved.uploaded += write_tag(&job, &plan.root, progress).await?;
        Ok(moved)
    }

    async fn move_blobs(&self, job: &Job<'_>, plan: &Plan, progress: &Progress) -> Result<Moved, Failure> {
        let transfer = Transfer::new(job, &self.limits, progress);
        stream::iter(plan.blobs.clone())
            .map(|blob| transfer.run(blob))
            .buffer_unordered(limits::PER_HOST)
            .try_fold(Moved::default(), async |sum, one| {
                Ok(Moved {
                    uploaded: sum.uploaded + one.uploaded,
                    mounted: sum.mounted + one.mounted,
                    present: sum.present + one.present,
                })
            })
            .await
    }
}

/// The size of the manifest when the tag names the digest already: then nothing has to move. A wrong
/// login fails even so, since an administrator who mistyped it wants to know.
async fn settled(job: &Job<'_>) -> Result<Option<u64>, Failure> {
    let at = ManifestRef::Tag(job.tag.clone());
    let found = match job.destination.resolve(job.destination_repository, &at).await {
        Ok(found) => found,
        // Some registries (Artifactory) forbid to look for what is absent; the first write will tell.
        Err(error) if forbids(&error) => None,
        Err(error) => return Err(error.failure(Side::Destination)),
    };
    job.destination.prove_login().await.map_err(|error| error.failure(Side::Destination))?;
    Ok(found.filter(|found| found.digest == *job.digest).map(|found| found.size))
}

fn forbids(error: &Error) -> bool {
    error.answer().is_some_and(|answer| answer.status == StatusCode::FORBIDDEN)
}

/// Writes manifests that do not name one another.
async fn write_children(job: &Job<'_>, level: &[Manifest], progress: &Progress) -> Result<u64, Failure> {
    stream::iter(level.to_vec())
        .map(async |manifest| {
            let at = ManifestRef::Digest(manifest.digest.clone());
            let written = job.destination.put_manifest(job.destination_repository, &at, &manifest).await;
            written.map_err(|error| error.failure(Side::Destination))?;
            progress.done(manifest.bytes.len() as u64);
            Ok(manifest.bytes.len() as u64)
        })
        .buffer_unordered(limits::PER_HOST)
        .try_fold(0, async |sum, size| Ok(sum + size))
        .await
}

async fn write_tag(job: &Job<'_>, root: &Manifest, progress: &Progress) -> Result<u64, Failure> {
    let at = ManifestRef::Tag(job.tag.clone());
    if let Err(error) = job.destination.put_manifest(job.destination_repository, &at, root).await {
        let failure = error.failure(Side::Destination);
        // An immutable tag that names the same image already is as good as written.
        let same = failure.reason == Reason::Conflict
            && job
                .destination
                .resolve(job.destination_repository, &at)
                .await
                .is_ok_and(|found| found.is_some_and(|found| found.digest == root.digest));
        if !same {
            return Err(failure);
        }
    }
    let size = root.bytes.len() as u64;
    progress.done(size);
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_can_be_spawned() {
        fn is_send(_: impl Send) {}
        let copier = Copier::new();
        let progress = Progress::default();
        let _ = |job: Job<'static>| is_send(copier.copy(job, &progress));
    }
}
