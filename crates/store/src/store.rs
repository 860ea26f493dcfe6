//! The door of api and syncer: one writer connection, a few readers, and the watch on other processes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::registry::Address;
use rusqlite::{Connection, Transaction};

use crate::seal::SealKey;
use crate::sqlite::connection::Database;
use crate::sqlite::watch::{self, Watch};
use crate::url::DatabaseUrl;
use crate::{OpenError, StoreError, sqlite};

/// The database of api and syncer. Clones share it.
#[derive(Clone)]
pub struct Store {
    // Dropped before the writer, which as the last one to close folds the write-ahead log in.
    watch: Arc<Watch>,
    database: Arc<Database>,
    seal: Arc<SealKey>,
}

impl Store {
    /// Opens the database and the key that seals its credentials. Makes what is missing of the two, and
    /// brings the schema up to date; of several processes that come at once the others wait.
    ///
    /// # Errors
    /// [`OpenError`]; the database is untouched then.
    pub async fn open(url: &DatabaseUrl, seal_key_file: &Path) -> Result<Self, OpenError> {
        let (url, key_file) = (url.clone(), seal_key_file.to_owned());
        tokio::task::spawn_blocking(move || {
            let seal = Arc::new(sqlite::open::open(url.path(), &key_file)?);
            let database = Arc::new(Database::open(url.path())?);
            let watch = Arc::new(Watch::open(url.path())?);
            Ok(Self { database, watch, seal })
        })
        .await
        .unwrap_or(Err(OpenError::Database(StoreError::Stopped)))
    }

    /// Records where compiles resolve images from now on, so that the webhook knows what pods call it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_source(&self, source: Address) -> Result<(), StoreError> {
        self.write(move |tx| sqlite::open::set_source(tx, &source)).await
    }

    /// Waits until something was committed since the last call, here or in another process, or `at_most`
    /// has passed. For one task of a process.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changed(&self, at_most: Duration) -> Result<bool, StoreError> {
        watch::until_moved(&self.watch, at_most, Watch::moved).await
    }

    /// Whether the database answers and takes writes; tried where the last one failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn check(&self) -> Result<(), StoreError> {
        match self.database.takes_writes()? {
            true => self.read(sqlite::open::reread).await,
            false => self.write(sqlite::open::rewrite).await,
        }
    }

    pub(crate) fn seal_key(&self) -> Arc<SealKey> {
        Arc::clone(&self.seal)
    }

    /// Runs a short read transaction.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.database.read(work).await
    }

    /// Runs a short immediate transaction, committed when `work` succeeds.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.database.write(work).await
    }
}
