//! Builds and the versions that they yield, and what a compile or a publication records.

use domain::Timestamp;
use domain::reference::{Digest, Repository, Tag};
use domain::registry::Address;
use domain::version::{SemanticVersion, VersionHash, VersionType};
use serde_json::Value;
use uuid::Uuid;

use crate::queue::{PushRecord, PushRefused, PushRequest};
use crate::{Store, StoreError, sqlite};

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildStatus {
    /// Its image was found.
    Succeeded,
    /// It was not; the log says why.
    Failed,
}

/// A build: one compile's look at the source registry.
#[derive(Clone, Debug)]
pub struct Build {
    /// Its id.
    pub uuid: Uuid,
    /// How it ended.
    pub status: BuildStatus,
    /// The commit: what was asked for, else the version's hash; empty for a failed build without one.
    pub commit_sha: String,
    /// The version that it yielded.
    pub version: Option<VersionHash>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The most recent push status of that version's.
    pub registry_status: Option<PushRecord>,
}

/// A version of an algorithm.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its id.
    pub uuid: Uuid,
    /// What names it; its image's tag.
    pub hash: VersionHash,
    /// The digest of its current image.
    pub digest: Digest,
    /// Its number, once it is published.
    pub number: Option<SemanticVersion>,
    /// What its owner keeps about it (release notes, samples, settings); opaque here.
    pub document: Value,
    /// When it was first compiled.
    pub created_at: Timestamp,
    /// When it was published.
    pub published_at: Option<Timestamp>,
    /// Its newest build.
    pub build: Build,
}

/// An image that a compile found.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// The source registry.
    pub source: Address,
    /// The repository there, below the address's path.
    pub repository: Repository,
    /// The tag that was resolved.
    pub tag: Tag,
    /// What it named.
    pub digest: Digest,
    /// The media type of its manifest.
    pub media_type: String,
    /// The hash that names its version, unless the digest already has one.
    pub hash: VersionHash,
}

/// A build to be recorded.
#[derive(Clone, Debug)]
pub struct NewBuild {
    /// Whose.
    pub algorithm: Uuid,
    /// The commit that was asked for.
    pub commit: Option<Tag>,
    /// What was found; `None` is a failed build.
    pub image: Option<BuiltImage>,
    /// What the compile has to say.
    pub log: String,
    /// When it began.
    pub started_at: Timestamp,
    /// A push to ask for in the same transaction; none is made for a failed build.
    pub push: Option<PushRequest>,
}

/// What was recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The build.
    pub build: Build,
    /// Its version, if it found an image.
    pub version: Option<Version>,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The algorithm is gone.
    #[error("there is no such algorithm")]
    Unknown,
    /// The push that was asked for cannot be made.
    #[error(transparent)]
    Push(#[from] PushRefused),
    /// The database's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A publication of the newest successful build.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Whose.
    pub algorithm: Uuid,
    /// Which part of the number it raises.
    pub raise: VersionType,
    /// What its owner keeps about the version.
    pub document: Value,
    /// Merged into the algorithm's document in the same transaction.
    pub algorithm_change: Value,
    /// A push to ask for in the same transaction.
    pub push: Option<PushRequest>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The algorithm is gone.
    #[error("there is no such algorithm")]
    Unknown,
    /// No build has succeeded yet.
    #[error("there is no successful build to publish")]
    NeverBuilt,
    /// The newest successful build is published.
    #[error("the newest build is already published")]
    AlreadyPublished,
    /// The push that was asked for cannot be made.
    #[error(transparent)]
    Push(#[from] PushRefused),
    /// The database's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One page of a list that is newest first.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// At most this many.
    pub limit: u32,
    /// Only what stands after the one with this id.
    pub after: Option<Uuid>,
}

/// Which versions to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct VersionFilter {
    /// Only published ones, or only others.
    pub published: Option<bool>,
}

impl Store {
    /// Records a build, the version that it yields, and the push that was asked for with it. The same
    /// digest is the same version; another digest under a known hash becomes that version's image.
    ///
    /// # Errors
    /// [`RecordError`]; nothing is recorded then.
    pub async fn record_build(&self, new: NewBuild) -> Result<Recorded, RecordError> {
        let seal = self.seal_key();
        self.write(move |tx| sqlite::versions::record_build(tx, &seal, &new)).await
    }

    /// Gives the newest successful build a number and asks for the push that comes with it.
    ///
    /// # Errors
    /// [`PublishError`]; nothing is recorded then.
    pub async fn publish(&self, publication: Publication) -> Result<Version, PublishError> {
        let seal = self.seal_key();
        self.write(move |tx| sqlite::versions::publish(tx, &seal, &publication)).await
    }

    /// The versions of an algorithm, newest first; `None` when the marker names none of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn versions(
        &self,
        algorithm: Uuid,
        filter: VersionFilter,
        page: PageRequest,
    ) -> Result<Option<Vec<Version>>, StoreError> {
        self.read(move |db| sqlite::versions::list(db, algorithm, filter, page)).await
    }

    /// One version by its hash.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn version(&self, algorithm: Uuid, hash: VersionHash) -> Result<Option<Version>, StoreError> {
        self.read(move |db| sqlite::versions::find(db, algorithm, &hash)).await
    }

    /// The version of the newest successful build.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latest_version(&self, algorithm: Uuid) -> Result<Option<Version>, StoreError> {
        self.read(move |db| sqlite::versions::latest(db, algorithm)).await
    }

    /// The builds of an algorithm, newest first; `None` when the marker names none of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn builds(&self, algorithm: Uuid, page: PageRequest) -> Result<Option<Vec<Build>>, StoreError> {
        self.read(move |db| sqlite::builds::list(db, algorithm, page)).await
    }

    /// One build.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn build(&self, algorithm: Uuid, build: Uuid) -> Result<Option<Build>, StoreError> {
        self.read(move |db| sqlite::builds::find(db, algorithm, build)).await
    }

    /// What one build had to say.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn build_log(&self, algorithm: Uuid, build: Uuid) -> Result<Option<String>, StoreError> {
        self.read(move |db| sqlite::builds::log(db, algorithm, build)).await
    }
}
