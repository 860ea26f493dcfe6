//! The database, behind two doors: [`Store`] for api and syncer, [`feed`] (read-only) for the webhook.
//! Methods say what the business wants; every SQL statement lives under `sqlite/`, where PostgreSQL
//! will stand beside it. Nothing above sees rusqlite, and no transaction is held across an await.

mod algorithms;
mod dependents;
mod error;
mod evidence;
pub mod feed;
mod inventory;
mod keys;
mod pods;
mod queue;
mod registries;
pub mod seal;
pub mod secret_file;
mod sqlite;
mod statistics;
mod store;
mod url;
mod versions;

pub use algorithms::{Algorithm, AlgorithmRef, CreateAlgorithmError};
pub use dependents::{DependentVersion, Dependents};
pub use error::{OpenError, StoreError};
pub use evidence::{Evidence, Success};
pub use inventory::{HOLDERS_LIMIT, Holders, Holding, Sighting};
pub use keys::{Key, NewKey};
pub use pods::{Audit, AuditedImage, AuditedPod, PodName, PodsOn, Recreator};
pub use queue::{Claim, Failed, Finished, Lease, PushRecord, PushRefused, PushRequest, Renewal, Worker};
pub use registries::{
    LoginChange, NewRegistry, ReadLogin, ReadLogins, Registry, RegistryChange, RemoveError, Removed,
    ReplaceError, Replaced,
};
pub use statistics::{PushStatistics, RegistryStatistics};
pub use store::Store;
pub use url::{DatabaseUrl, DatabaseUrlError};
pub use versions::{
    Build, BuildStatus, BuiltImage, NewBuild, PageRequest, Publication, PublishError, RecordError, Recorded,
    Version, VersionFilter,
};
