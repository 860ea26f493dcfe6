//! Running pods that name an image which the ledger knows, as an auditor of the syncer sees them. The api
//! reads them, and does not know Kubernetes. Several auditors may write the same rows.

use domain::Timestamp;
use domain::fact::Revision;
use domain::pod::PodState;
use domain::registry::RegistryId;
use uuid::Uuid;

use crate::{PageRequest, Store, StoreError, sqlite};

/// A running pod with at least one image that is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuditedPod {
    /// The API server's id of it.
    pub uid: Uuid,
    /// Where it is.
    pub name: PodName,
    /// Kind and name of its controller, as `ReplicaSet/primes-5d9c`.
    pub owner: Option<String>,
    /// When it was created, by the API server's clock.
    pub created_at: Timestamp,
    /// Its known images.
    pub images: Vec<AuditedImage>,
}

impl AuditedPod {
    /// The worst state of its images.
    pub fn state(&self) -> PodState {
        self.images.iter().map(|image| image.state).max().unwrap_or(PodState::Routed)
    }
}

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// The namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

/// One image of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuditedImage {
    /// The container's name, or `volume/NAME`.
    pub entry: String,
    /// What it runs.
    pub image: String,
    /// What the pod asked for before it was routed, as it reports.
    pub asked: Option<String>,
    /// How it runs.
    pub state: PodState,
    /// The registry that `image` names, where it is a known destination.
    pub registry: Option<RegistryId>,
    /// Why, in a sentence.
    pub why: String,
}

/// How many running pods name a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodsOn {
    /// All of them.
    pub count: u64,
    /// The first few, by namespace and name.
    pub first: Vec<PodName>,
}

/// A controller that keeps creating pods anew, each of which was routed: it compares what runs with what
/// it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recreator {
    /// Where it is.
    pub namespace: String,
    /// Its kind and name.
    pub owner: String,
    /// How many pods it made within the time that the auditor looks back.
    pub pods: u64,
    /// When that was last found.
    pub seen_at: Timestamp,
}

/// What was found of the pods, and when.
#[derive(Clone, Debug)]
pub struct Audit<T> {
    /// When an auditor last saw the cluster; `None` when none ever has.
    pub seen_at: Option<Timestamp>,
    /// What it found.
    pub found: T,
}

impl Store {
    /// Replaces what is known of these pods and forgets those that are gone; gives the ids of those that
    /// have become strays. Rows that say the same are not written.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is recorded then.
    pub async fn record_pods(&self, pods: Vec<AuditedPod>, gone: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        self.write(move |tx| sqlite::pods::record(tx, &pods, &gone)).await
    }

    /// The ids of the pods that are recorded.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recorded_pods(&self) -> Result<Vec<Uuid>, StoreError> {
        self.read(sqlite::pods::recorded).await
    }

    /// Records that an auditor sees the cluster at this moment, and which controllers it finds creating
    /// pods anew; those not found for an hour are forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_audit(&self, recreators: Vec<(String, String, u64)>) -> Result<(), StoreError> {
        self.write(move |tx| sqlite::pods::seen(tx, &recreators)).await
    }

    /// The pods of a state, or all, in the order of their ids, so that a pod that goes moves no page.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pods(
        &self,
        state: Option<PodState>,
        page: PageRequest,
    ) -> Result<Audit<Vec<AuditedPod>>, StoreError> {
        self.read(move |db| {
            Ok(Audit { seen_at: sqlite::pods::seen_at(db)?, found: sqlite::pods::list(db, state, page)? })
        })
        .await
    }

    /// One pod, if it runs and names a known image.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pod(&self, name: PodName) -> Result<Audit<Option<AuditedPod>>, StoreError> {
        self.read(move |db| {
            Ok(Audit { seen_at: sqlite::pods::seen_at(db)?, found: sqlite::pods::find(db, &name)? })
        })
        .await
    }

    /// The running pods that name a registry, `first` of them by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pods_on(&self, registry: RegistryId, first: u32) -> Result<PodsOn, StoreError> {
        self.read(move |db| sqlite::pods::on(db, registry, first)).await
    }

    /// How many pods run from elsewhere than their routes say.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stray_pods(&self) -> Result<u64, StoreError> {
        self.read(sqlite::pods::strays).await
    }

    /// Since when the image of each of these routes has had one, in whichever registry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn routed_since(
        &self,
        revisions: Vec<Revision>,
    ) -> Result<Vec<(Revision, Timestamp)>, StoreError> {
        self.read(move |db| sqlite::pods::routed_since(db, &revisions)).await
    }

    /// Controllers that keep creating routed pods anew, the latest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recreators(&self) -> Result<Vec<Recreator>, StoreError> {
        self.read(sqlite::pods::recreators).await
    }
}
