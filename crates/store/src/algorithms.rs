//! Algorithms: whose, named what, and the document that their owner keeps about them.

use domain::Timestamp;
use domain::algorithm::{AlgorithmName, Username};
use serde_json::Value;
use uuid::Uuid;

use crate::{Store, StoreError, sqlite};

/// How a caller names an algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlgorithmRef {
    /// By its id.
    Uuid(Uuid),
    /// By owner and name.
    Name(Username, AlgorithmName),
}

/// An algorithm.
#[derive(Clone, Debug)]
pub struct Algorithm {
    /// Its id.
    pub uuid: Uuid,
    /// Whose it is.
    pub owner: Username,
    /// Its name among its owner's.
    pub name: AlgorithmName,
    /// Details and settings as the owner keeps them; opaque here.
    pub document: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its document last changed.
    pub updated_at: Timestamp,
}

/// Why no algorithm was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateAlgorithmError {
    /// The owner has one of that name, in some case.
    #[error("the name is taken")]
    NameTaken,
    /// The database's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes an algorithm.
    ///
    /// # Errors
    /// [`CreateAlgorithmError`].
    pub async fn create_algorithm(
        &self,
        owner: Username,
        name: AlgorithmName,
        document: Value,
    ) -> Result<Algorithm, CreateAlgorithmError> {
        self.write(move |tx| sqlite::algorithms::create(tx, &owner, &name, &document)).await
    }

    /// Finds an algorithm.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn algorithm(&self, algorithm: AlgorithmRef) -> Result<Option<Algorithm>, StoreError> {
        self.read(move |db| sqlite::algorithms::find(db, &algorithm)).await
    }

    /// Replaces an algorithm's document; `None` when it is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_algorithm(
        &self,
        algorithm: Uuid,
        document: Value,
    ) -> Result<Option<Algorithm>, StoreError> {
        self.write(move |tx| sqlite::algorithms::update(tx, algorithm, &document)).await
    }

    /// Removes an algorithm; whether there was one. Its images keep their routes, since pods may run them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_algorithm(&self, algorithm: Uuid) -> Result<bool, StoreError> {
        self.write(move |tx| sqlite::algorithms::remove(tx, algorithm)).await
    }
}
