//! Whether an image that the destination shows is whole: its manifests are read there, and every blob is looked
//! for. Asked where somebody doubts it; else the two answers of a look are believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use distribution::{Blob, Error, Manifest, Presence, Side};
use domain::push::Failure;
use domain::reference::{Digest, Repository};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::plan::{Plan, Unplanned};
use crate::{BLOBS_AT_ONCE, Copier, Job, is_hidden};

/// For so long an answer counts for other images too: many that share their layers are asked for together.
const MOMENT: Duration = Duration::from_secs(1);

/// A blob in a repository of a host.
type Key = (String, Repository, Digest);

/// The blobs that were looked for and found a moment ago, each once for everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks(Arc<Mutex<HashMap<Key, Arc<Look>>>>);

#[derive(Debug)]
struct Look {
    began: Instant,
    found: OnceCell<Presence>,
}

impl Looks {
    /// What came of the look under way, of the last one a moment ago if it was not before `since`, or of this one.
    async fn share(
        &self,
        key: Key,
        since: Option<Instant>,
        look: impl Future<Output = Result<Presence, Error>>,
    ) -> Result<Presence, Error> {
        let shared = {
            let mut looks = self.looks();
            looks.retain(|_, look| look.began.elapsed() < MOMENT);
            if looks.get(&key).is_some_and(|look| since.is_some_and(|since| look.began < since)) {
                looks.remove(&key);
            }
            let new = || Arc::new(Look { began: Instant::now(), found: OnceCell::new() });
            looks.entry(key.clone()).or_insert_with(new).clone()
        };
        let found = shared.found.get_or_try_init(|| look).await.copied()?;
        // Somebody is about to bring it.
        if found != Presence::Whole {
            self.looks().remove(&key);
        }
        Ok(found)
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<Key, Arc<Look>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copier {
    /// Whether everything that the image names lies in the destination's repository, by what that shows from
    /// `since` on. `root` is its own manifest, where that was just read there.
    ///
    /// # Errors
    /// The typed reason, and a message for an administrator.
    pub async fn is_whole(
        &self,
        job: &Job<'_>,
        since: Instant,
        root: Option<Manifest>,
    ) -> Result<bool, Failure> {
        let there = Plan::read(job.destination, job.destination_repository, job.digest, root).await;
        let plan = match there {
            Ok(plan) => plan,
            Err(Unplanned::Unread(error)) if is_hidden(&error) => return Ok(false),
            Err(unplanned) => return Err(unplanned.failure(Side::Destination)),
        };
        stream::iter(plan.blobs)
            .map(|blob| self.is_there(job, since, blob))
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_all(std::future::ready)
            .await
            .map_err(|error| error.failure(Side::Destination))
    }

    async fn is_there(&self, job: &Job<'_>, since: Instant, blob: Blob) -> Result<bool, Error> {
        match self.find(job, Some(since), &blob).await {
            Ok(found) => Ok(found == Presence::Whole),
            Err(error) if is_hidden(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the destination's repository shows of the blob, or has shown a moment ago and not before `since`.
    pub(crate) async fn find(
        &self,
        job: &Job<'_>,
        since: Option<Instant>,
        blob: &Blob,
    ) -> Result<Presence, Error> {
        let Job { destination, destination_repository: here, .. } = job;
        let key = (destination.host().to_owned(), (*here).clone(), blob.digest.clone());
        let look = async {
            let _permit = self.limits.permit(destination.host(), 0).await;
            destination.find_blob(here, blob).await
        };
        self.looks.share(key, since, look).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(letter: &str) -> Key {
        let digest = format!("sha256:{}", letter.repeat(64)).parse().expect("legal");
        ("h.example".to_owned(), "acme/x".parse().expect("legal"), digest)
    }

    #[tokio::test(start_paused = true)]
    async fn one_looks_for_all_who_ask_within_a_moment() {
        let looks = Looks::default();
        let slow = async {
            tokio::time::sleep(MOMENT / 2).await;
            Ok(Presence::Whole)
        };
        let (first, second, other) = tokio::join!(
            looks.share(key("a"), None, slow),
            looks.share(key("a"), None, async { unreachable!("it is under way") }),
            looks.share(key("b"), None, async { Ok(Presence::Absent) })
        );
        let found = [first, second, other].map(|found| found.expect("an answer"));
        assert_eq!(found, [Presence::Whole, Presence::Whole, Presence::Absent]);
        let brought = looks.share(key("b"), None, async { Ok(Presence::Whole) }).await;
        assert_eq!(brought.expect("looked for again"), Presence::Whole);
        tokio::time::advance(MOMENT / 4).await;
        let doubted = looks.share(key("b"), Some(Instant::now()), async { Ok(Presence::Damaged) }).await;
        assert_eq!(doubted.expect("looked for again"), Presence::Damaged);
        tokio::time::sleep(MOMENT).await;
        let lost = looks.share(key("a"), None, async { Ok(Presence::Absent) }).await;
        assert_eq!(lost.expect("looked for again"), Presence::Absent);
    }
}
