//! The queue of pushes: asked for by the api, claimed under a lease and ended by the syncer.
//! Every write of a worker names its lease; a lost lease writes nothing.

use std::time::Duration;

use domain::Timestamp;
use domain::credentials::Credentials;
use domain::push::{Failure, Moved, Pullable, PushStatus, Reason, RetryPolicy};
use domain::reference::{Digest, Repository, Tag};
use domain::registry::{Address, RegistryId};
use domain::version::VersionHash;
use uuid::Uuid;

use crate::{Store, StoreError, sqlite};

/// A push to ask for.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// Where to.
    pub registry: RegistryId,
    /// What logs in for this one push; else what the registry stores.
    pub login: Option<Credentials>,
}

/// Why a push was not asked for; nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushRefused {
    /// There is no registry with that id.
    #[error("there is no registry with this id")]
    RegistryUnknown,
    /// The registry takes no new pushes.
    #[error("the registry is cordoned: it takes no new pushes")]
    RegistryCordoned,
    /// The address and the repository together are longer than a reference may be.
    #[error("the registry's address is too long for this algorithm's name")]
    ReferenceTooLong,
}

/// The record of the pushes of one version to one registry.
#[derive(Clone, Debug)]
pub struct PushRecord {
    /// Where to.
    pub registry: RegistryId,
    /// How far it is.
    pub status: PushStatus,
    /// Why it failed or waits.
    pub reason: Option<Reason>,
    /// The same in words.
    pub message: Option<String>,
    /// What is known of pulling it, once it succeeded.
    pub pullable: Option<Pullable>,
    /// Tries of the newest generation, and at least the one that is under way.
    pub attempts: u32,
    /// Bytes dealt with by the running or last try.
    pub bytes_done: u64,
    /// Bytes of the whole image, once known.
    pub bytes_total: u64,
    /// The digest to be pushed.
    pub digest: Digest,
    /// The full reference in the registry.
    pub image: String,
    /// When anything of this last changed.
    pub updated_at: Timestamp,
}

/// Who claims pushes.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Unlike any other's; people read it too.
    pub name: String,
    /// How long a push stays its own without a renewal.
    pub lease: Duration,
    /// How many pushes to one registry it works at at once.
    pub at_a_registry: u32,
}

/// The right to work at one push: what it was when it was claimed.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub(crate) push: i64,
    pub(crate) generation: i64,
    pub(crate) number: i64,
    pub(crate) image: i64,
    pub(crate) address: i64,
}

/// A lease to extend, with the progress to show.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// The lease.
    pub lease: Lease,
    /// Bytes dealt with.
    pub bytes_done: u64,
    /// Bytes of the whole image, 0 while unknown.
    pub bytes_total: u64,
}

/// A push that this worker holds the lease of.
#[derive(Debug)]
pub struct Claim {
    /// What every write about it names.
    pub lease: Lease,
    /// Where to.
    pub registry: RegistryId,
    /// Whose it is.
    pub owner: String,
    /// Whether a publication asked for it.
    pub is_published: bool,
    /// Whether somebody may doubt what lies there: it was asked for before, and not with many others.
    pub is_doubted: bool,
    /// Whether the registry is on hold and this push finds out whether it is back.
    pub is_probe: bool,
    /// Where that is.
    pub destination: Address,
    /// The repository there, below the address's path; also the one in the source registry.
    pub repository: Repository,
    /// The tag to write.
    pub tag: Tag,
    /// Where the image was resolved.
    pub source: Address,
    /// The image.
    pub digest: Digest,
    /// What logs in to push.
    pub push_login: Option<Credentials>,
    /// What logs in to read back; `None` is anonymous.
    pub read_login: Option<Credentials>,
    /// Which try of this generation it is, from 1.
    pub attempt: u32,
}

/// What became of a push that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The route is recorded.
    Succeeded,
    /// The route is recorded, and something newer was asked for meanwhile: the push is due again.
    Outdated,
    /// The lease was lost; nothing was written.
    LeaseLost,
}

/// What became of a push whose try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It is due again at this moment.
    Again(Timestamp),
    /// It waits with all others to its registry, which is looked for next at this moment.
    Held(Timestamp),
    /// It is over.
    Over,
    /// Something newer was asked for meanwhile: the push is due again at once.
    Outdated,
    /// The lease was lost; nothing was written.
    LeaseLost,
}

impl Store {
    /// Asks for a push of a version's current image. What ran for it is outdated from now on, tries and
    /// waits begin anew. Without a registry, the one of the version's most recent push is meant;
    /// `None` when there is none, or no such version.
    ///
    /// # Errors
    /// The refusal or the database's fault.
    pub async fn request_push(
        &self,
        algorithm: Uuid,
        hash: VersionHash,
        registry: Option<RegistryId>,
        login: Option<Credentials>,
    ) -> Result<Option<Result<(), PushRefused>>, StoreError> {
        let seal = self.seal_key();
        self.write(move |tx| sqlite::pushes::request(tx, &seal, algorithm, &hash, registry, login.as_ref()))
            .await
    }

    /// The pushes of a version, the most recently asked first; at most one a registry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn push_records(
        &self,
        algorithm: Uuid,
        hash: VersionHash,
    ) -> Result<Vec<PushRecord>, StoreError> {
        self.read(move |db| sqlite::pushes::of_version(db, algorithm, &hash)).await
    }

    /// Claims due pushes and those whose lease has run out, up to so many. The registry where the worker
    /// has the fewest is next, and in a registry owners take turns; a version published just now goes
    /// before the rest of its owner's. From a registry on hold one is claimed, as a probe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_pushes(&self, worker: &Worker, at_most: usize) -> Result<Vec<Claim>, StoreError> {
        let (seal, worker) = (self.seal_key(), worker.clone());
        let asking = worker.clone();
        if !self.read(move |db| sqlite::queue::anything_due(db, &asking)).await? {
            return Ok(Vec::new());
        }
        self.write(move |tx| sqlite::queue::claim(tx, &seal, &worker, at_most)).await
    }

    /// When there is something to claim next, unless one of the worker's own pushes ends before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_due(&self, worker: &Worker) -> Result<Option<Timestamp>, StoreError> {
        let worker = worker.clone();
        self.read(move |db| sqlite::queue::next_due(db, &worker)).await
    }

    /// Extends leases and shows the progress, all in one write. For each in its order whether it is still
    /// held; where it is not, the work must stop.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_leases(
        &self,
        renewals: Vec<Renewal>,
        lease: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        self.write(move |tx| sqlite::queue::renew(tx, &renewals, lease)).await
    }

    /// Whether each of the leases, in their order, is still held; where one is not, the work must stop.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn held_leases(&self, leases: Vec<Lease>) -> Result<Vec<bool>, StoreError> {
        self.read(move |db| sqlite::queue::held(db, &leases)).await
    }

    /// Says that the registry has answered a probe: the pushes that wait for it go on. Whether the claim
    /// was the probe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lift_hold(&self, probe: &Claim) -> Result<bool, StoreError> {
        let probe = probe.lease;
        self.write(move |tx| sqlite::holds::lift(tx, probe)).await
    }

    /// Records that the image was read back, and with it the route; the push's login is wiped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish_push(
        &self,
        claim: &Claim,
        moved: Moved,
        pullable: Pullable,
    ) -> Result<Finished, StoreError> {
        let held = claim.lease;
        self.write(move |tx| sqlite::queue::finish(tx, held, moved, pullable)).await
    }

    /// Records a failed try and what follows it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fail_push(
        &self,
        claim: &Claim,
        failure: Failure,
        policy: RetryPolicy,
        jitter: f64,
    ) -> Result<Failed, StoreError> {
        let held = claim.lease;
        self.write(move |tx| sqlite::queue::fail(tx, held, &failure, policy, jitter)).await
    }

    /// Hands a push back unfinished; it is due at once and the try does not count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release_push(&self, claim: &Claim) -> Result<(), StoreError> {
        let held = claim.lease;
        self.write(move |tx| sqlite::queue::release(tx, held)).await
    }
}
