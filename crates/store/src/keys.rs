//! API keys: made, listed, revoked and recognised. Keys are random, so SHA-256 without salt keeps them.

use domain::Timestamp;
use domain::access::{Caller, Role};
use domain::algorithm::Username;

use crate::{Store, StoreError, sqlite};

/// A key as it is listed; the key itself was shown once.
#[derive(Clone, Debug)]
pub struct Key {
    /// What it may do.
    pub role: Role,
    /// Whose it is.
    pub username: Username,
    /// What its holder calls it.
    pub label: Option<String>,
    /// The part of the key that may be shown; it names the key for revocation.
    pub mask: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it may do.
    pub role: Role,
    /// Whose it is.
    pub username: Username,
    /// What its holder calls it.
    pub label: Option<String>,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// The part of the key that may be shown.
    pub mask: String,
}

impl Store {
    /// Makes a key; with its first key a username comes into being.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_key(&self, key: NewKey) -> Result<Key, StoreError> {
        self.write(move |tx| sqlite::keys::create(tx, &key)).await
    }

    /// The keys of a user that are in force, newest first; `None` when nobody has that name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self, username: Username) -> Result<Option<Vec<Key>>, StoreError> {
        self.read(move |db| sqlite::keys::list(db, &username)).await
    }

    /// Revokes a user's key by its mask, at once; whether there was one in force.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_key(&self, username: Username, mask: String) -> Result<bool, StoreError> {
        self.write(move |tx| sqlite::keys::revoke(tx, &username, &mask)).await
    }

    /// Puts the key of a role's file into force and revokes the file's former one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn enforce_file_key(&self, role: Role, hash: [u8; 32], mask: String) -> Result<(), StoreError> {
        self.write(move |tx| sqlite::keys::enforce_file_key(tx, role, &hash, &mask)).await
    }

    /// Who holds the key with this hash, if it is in force.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn caller(&self, hash: [u8; 32]) -> Result<Option<Caller>, StoreError> {
        self.read(move |db| sqlite::keys::caller(db, &hash)).await
    }
}
