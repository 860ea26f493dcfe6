//! Enterprise registries: where they are, what logs in there, and what depends on them.

use domain::Timestamp;
use domain::credentials::Credentials;
use domain::fact::Revision;
use domain::registry::{Address, RegistryId};

use crate::seal::SealError;
use crate::{Dependents, Store, StoreError, sqlite};

/// A registry as it is shown; its login never is.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Its id.
    pub id: RegistryId,
    /// What people call it.
    pub name: Option<String>,
    /// Where it is.
    pub address: Address,
    /// Whether a READ login is stored.
    pub has_login: bool,
    /// Since when new pushes are kept away.
    pub cordoned_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What logs in to a registry to pull from it.
#[derive(Clone, Debug)]
pub struct ReadLogin {
    /// The registry.
    pub registry: RegistryId,
    /// Where it is, and where it was at the same host if routes still lead there.
    pub addresses: Vec<Address>,
    /// Its READ login, unless that is damaged.
    pub login: Result<Credentials, SealError>,
}

/// The READ logins of all registries at one revision.
#[derive(Clone, Debug)]
pub struct ReadLogins {
    /// That of the registry that was changed last.
    pub revision: Revision,
    /// The oldest registry's first.
    pub logins: Vec<ReadLogin>,
}

/// A registry to be registered.
#[derive(Clone, Debug)]
pub struct NewRegistry {
    /// Where it is.
    pub address: Address,
    /// What people call it.
    pub name: Option<String>,
    /// Its READ login.
    pub login: Option<Credentials>,
}

/// What a replacement does with the stored login.
#[derive(Clone, Debug)]
pub enum LoginChange {
    /// Keeps it; possible only while scheme, host and port stay.
    Keep,
    /// Forgets it.
    Clear,
    /// Stores another.
    Set(Credentials),
}

/// What a registry is replaced with.
#[derive(Clone, Debug)]
pub struct RegistryChange {
    /// Where it is from now on.
    pub address: Address,
    /// What people call it.
    pub name: Option<String>,
    /// What happens to its login.
    pub login: LoginChange,
}

/// What a replacement left.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// The registry as it is now.
    pub registry: Registry,
    /// Versions whose route is still at an earlier address.
    pub versions_at_old_address: u64,
}

/// Why a registry was not replaced; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// There is none with that id.
    #[error("there is no such registry")]
    Unknown,
    /// The stored login would go to another scheme, host or port.
    #[error("the stored login belongs to another host")]
    LoginNeeded,
    /// The database's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A registry that is no more.
#[derive(Clone, Debug)]
pub struct Removed {
    /// What depended on it at that moment.
    pub dependents: Dependents,
}

/// Why a registry was not removed; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is none with that id.
    #[error("there is no such registry")]
    Unknown,
    /// It was to be removed only if nothing depends on it.
    #[error("the registry is in use")]
    InUse(Box<Dependents>),
    /// The database's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Registers a registry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_registry(&self, new: NewRegistry) -> Result<Registry, StoreError> {
        let seal = self.seal_key();
        self.write(move |tx| sqlite::registries::create(tx, &seal, &new)).await
    }

    /// Every registry, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn registries(&self) -> Result<Vec<Registry>, StoreError> {
        self.read(sqlite::registries::list).await
    }

    /// One registry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn registry(&self, id: RegistryId) -> Result<Option<Registry>, StoreError> {
        self.read(move |db| sqlite::registries::find(db, id)).await
    }

    /// The READ logins of all registries that have one; `None` when no registry has changed since that
    /// revision.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read_logins(&self, since: Option<Revision>) -> Result<Option<ReadLogins>, StoreError> {
        let seal = self.seal_key();
        self.read(move |db| sqlite::registries::read_logins(db, &seal, since)).await
    }

    /// Replaces a registry. When its scheme, host or port changes, pushes that were asked for at the
    /// earlier host end `failed` (`registry_changed`).
    ///
    /// # Errors
    /// [`ReplaceError`].
    pub async fn replace_registry(
        &self,
        id: RegistryId,
        change: RegistryChange,
    ) -> Result<Replaced, ReplaceError> {
        let seal = self.seal_key();
        self.write(move |tx| sqlite::registries::replace(tx, &seal, id, &change)).await
    }

    /// Keeps new pushes away from a registry, or lets them in again; `None` when there is no such one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cordon_registry(
        &self,
        id: RegistryId,
        cordoned: bool,
    ) -> Result<Option<Registry>, StoreError> {
        self.write(move |tx| sqlite::registries::cordon(tx, id, cordoned)).await
    }

    /// Removes a registry: routes to it end, pushes to it end `failed` (`registry_changed`), running
    /// ones are fenced off, and every login for it is wiped.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub async fn remove_registry(&self, id: RegistryId, if_unused: bool) -> Result<Removed, RemoveError> {
        self.write(move |tx| sqlite::registries::remove(tx, id, if_unused)).await
    }
}
