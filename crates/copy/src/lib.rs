//! Moves one image from a source to a destination, byte for byte: looks whether anything is to be
//! done; plans, moves blobs side by side, writes manifests from the leaves up and the tag last.
//! Called by the syncer. It knows no database and no cluster, and not whose push it is.

mod inventory;
mod leaders;
mod limits;
mod plan;
mod progress;
mod transfer;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use distribution::{Error, Manifest, ManifestRef, Registry, Side};
use domain::push::{Failure, Moved, Reason};
use domain::reference::{Digest, Repository, Tag};
use futures_util::future::join;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;

pub use inventory::{Held, Inventory, Memory};
use leaders::Leaders;
use limits::{Limits, Share};
use plan::Plan;
pub use progress::{InFlight, Progress};
use transfer::Transfer;
use whole::Looks;

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
    /// What lies there is not whole, so every blob is looked for, whatever is known of it.
    pub is_damaged: bool,
}

/// Blobs of one job that are looked after at once; few of them move, the others wait for leaders.
const BLOBS_AT_ONCE: usize = 64;

/// What is waited before a manifest that was refused is written again. Some registries miss a blob for
/// the moment in which another push links it into the same repository.
const CLOSER_LOOKS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(1)];

/// Copies images; one a process, cheap to clone. Clones share their limits.
#[derive(Clone, Debug)]
pub struct Copier {
    limits: Limits,
    leaders: Leaders,
    looks: Looks,
    inventory: Arc<dyn Inventory>,
}

impl Copier {
    /// A copier whose jobs share one limit a host and what the inventory knows.
    pub fn new(inventory: Arc<dyn Inventory>) -> Self {
        Self { limits: Limits::default(), leaders: Leaders::default(), looks: Looks::default(), inventory }
    }

    /// Whether the tag names the digest already, so that nothing has to move. A wrong login fails even so,
    /// since an administrator who mistyped it wants to know.
    ///
    /// # Errors
    /// The typed reason, and a message for an administrator.
    pub async fn look(&self, job: &Job<'_>) -> Result<bool, Failure> {
        let at = ManifestRef::Tag(job.tag.clone());
        let found = match job.destination.resolve(job.destination_repository, &at).await {
            Ok(found) => found,
            // The first write will tell.
            Err(error) if is_hidden(&error) || is_broken(&error) => None,
            Err(error) => return Err(error.failure(Side::Destination)),
        };
        job.destination.prove_login().await.map_err(|error| error.failure(Side::Destination))?;
        Ok(found.is_some_and(|found| found.digest == *job.digest))
    }

    /// Brings the image to the destination under the tag. Afterwards the tag names the digest there;
    /// after a failure it names what it named before. To drop the future stops the copy. `moving` is
    /// dropped when all blobs are there. `confirmed` is awaited immediately before the tag is written: by
    /// then whoever asked may want it no more, and drop the copy.
    ///
    /// # Errors
    /// The typed reason, and a message for an administrator.
    pub async fn copy<F: Future<Output = ()>>(
        &self,
        job: &Job<'_>,
        progress: &Progress,
        moving: impl Send,
        confirmed: impl Fn() -> F,
    ) -> Result<Moved, Failure> {
        let plan = Plan::read(job.source, job.source_repository, job.digest, None).await;
        let plan = plan.map_err(|unplanned| unplanned.failure(Side::Source))?;
        progress.expect(plan.bytes());
        let mut moved = self.move_blobs(job, &plan, progress, false).await?;
        drop(moving);
        for pause in CLOSER_LOOKS {
            match write_manifests(job, &plan, progress, &confirmed).await {
                // The registry misses a blob that it has mounted or shown: the next look is a closer one.
                Err(Refused { misses_blob: true, .. }) => {
                    tokio::time::sleep(pause).await;
                    progress.begin_anew();
                    moved = together(moved, self.move_blobs(job, &plan, progress, true).await?);
                }
                other => return finished(moved, other),
            }
        }
        finished(moved, write_manifests(job, &plan, progress, &confirmed).await)
    }

    async fn move_blobs(
        &self,
        job: &Job<'_>,
        plan: &Plan,
        progress: &Progress,
        cautious: bool,
    ) -> Result<Moved, Failure> {
        let digests: Vec<Digest> = plan.blobs.iter().map(|blob| blob.digest.clone()).collect();
        let (source, destination) = join(
            self.inventory.held(job.source.host(), job.source_repository, &digests),
            self.inventory.held(job.destination.host(), job.destination_repository, &digests),
        )
        .await;
        let share = Share::default();
        let transfer = Transfer { copier: self, job, progress, source, destination, share, cautious };
        stream::iter(plan.blobs.clone())
            .map(|blob| transfer.run(blob))
            .buffer_unordered(BLOBS_AT_ONCE)
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

impl Default for Copier {
    /// Remembers as long as the process lives.
    fn default() -> Self {
        Self::new(Arc::new(Memory::default()))
    }
}

/// Two passes over the same blobs as one: what was sent was sent, even if it was found there afterwards.
fn together(first: Moved, closer: Moved) -> Moved {
    let all = closer.total();
    let uploaded = all.min(first.uploaded + closer.uploaded);
    let mounted = first.mounted.min(all - uploaded);
    Moved { uploaded, mounted, present: all - uploaded - mounted }
}

fn finished(moved: Moved, manifests: Result<u64, Refused>) -> Result<Moved, Failure> {
    let written = manifests.map_err(|refused| refused.failure)?;
    Ok(Moved { uploaded: moved.uploaded + written, ..moved })
}

/// A manifest that was not taken.
struct Refused {
    failure: Failure,
    misses_blob: bool,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { misses_blob: error.misses_blob(), failure: error.failure(Side::Destination) }
    }
}

/// Whether a registry does not show what it was asked for. Some (Artifactory) forbid to look for what is absent.
fn is_hidden(error: &Error) -> bool {
    error.is_absence() || error.answer().is_some_and(|answer| answer.status == StatusCode::FORBIDDEN)
}

/// Whether what a registry was asked for may be damaged there, which writing it anew mends: a disk that was
/// full leaves empty files behind, and distribution fails at each look.
fn is_broken(error: &Error) -> bool {
    error.answer().is_some_and(|answer| answer.status == StatusCode::INTERNAL_SERVER_ERROR)
}

/// Writes the manifests from the leaves up and the tag last; how many bytes they have.
async fn write_manifests<F: Future<Output = ()>>(
    job: &Job<'_>,
    plan: &Plan,
    progress: &Progress,
    confirmed: impl Fn() -> F,
) -> Result<u64, Refused> {
    let mut written = 0;
    for level in &plan.children {
        written += write_children(job, level, progress).await?;
    }
    confirmed().await;
    Ok(written + write_tag(job, &plan.root, progress).await?)
}

/// Writes manifests that do not name one another.
async fn write_children(job: &Job<'_>, level: &[Manifest], progress: &Progress) -> Result<u64, Refused> {
    stream::iter(level.to_vec())
        .map(async |manifest| {
            let at = ManifestRef::Digest(manifest.digest.clone());
            job.destination.put_manifest(job.destination_repository, &at, &manifest).await?;
            progress.done(manifest.bytes.len() as u64);
            Ok(manifest.bytes.len() as u64)
        })
        .buffer_unordered(limits::PER_HOST)
        .try_fold(0, async |sum, size| Ok(sum + size))
        .await
}

async fn write_tag(job: &Job<'_>, root: &Manifest, progress: &Progress) -> Result<u64, Refused> {
    let at = ManifestRef::Tag(job.tag.clone());
    if let Err(error) = job.destination.put_manifest(job.destination_repository, &at, root).await {
        let refused = Refused::from(error);
        // An immutable tag that names the same image already is as good as written.
        let same = refused.failure.reason == Reason::Conflict
            && job
                .destination
                .resolve(job.destination_repository, &at)
                .await
                .is_ok_and(|found| found.is_some_and(|found| found.digest == root.digest));
        if !same {
            return Err(refused);
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
        let copier = Copier::default();
        let progress = Progress::default();
        let _ = |job: Job<'static>| is_send(async { copier.copy(&job, &progress, (), async || ()).await });
    }
}
