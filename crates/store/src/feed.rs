//! The read-only door of the webhook: facts after a revision. It never makes or migrates a database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::fact::{FactPage, Revision};

pub use crate::url::DatabaseUrl;
use crate::{StoreError, sqlite};

/// The feed of one database file. Clones share it.
#[derive(Clone)]
pub struct Feed(Arc<sqlite::follow::Follow>);

/// The feed cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The file is not there.
    #[error("the database {0} is not there")]
    Missing(PathBuf),
    /// The file is there, but its schema is still to be made or brought up to date by api or syncer.
    #[error("the database {0} is not ready yet: api or syncer still have to make or migrate it")]
    NotReady(PathBuf),
    /// The schema is from a later version of Drayage.
    #[error(
        "the database has schema {found}, this version knows up to {known}: start the version that wrote it"
    )]
    Newer {
        /// Its schema.
        found: u32,
        /// The newest schema of this version.
        known: u32,
    },
    /// The file is none of SQLite's, or damaged.
    #[error("{0} cannot be used as a database: it is damaged or something else; restore a backup")]
    Unusable(PathBuf),
    /// The path names another file than the one that is open.
    #[error("the database {0} was replaced by another file")]
    Replaced(PathBuf),
    /// SQLite refused.
    #[error(transparent)]
    Database(#[from] StoreError),
}

impl Feed {
    /// Opens the feed.
    ///
    /// # Errors
    /// [`FeedError`]; try again later.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, FeedError> {
        let path = url.path().to_owned();
        tokio::task::spawn_blocking(move || {
            sqlite::follow::Follow::open(&path).map(|follow| Self(Arc::new(follow)))
        })
        .await
        .unwrap_or(Err(FeedError::Database(StoreError::Stopped)))
    }

    /// The facts after a revision: some `limit` of them where there are so many, always whole revisions.
    /// They are read from the call on, whenever they are awaited, so that a caller can take up one page
    /// beside the next.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn page(
        &self,
        after: Revision,
        limit: usize,
    ) -> impl Future<Output = Result<FactPage, FeedError>> + Send + use<> {
        let follow = Arc::clone(&self.0);
        let page = tokio::task::spawn_blocking(move || follow.page(after, limit));
        async { page.await.unwrap_or(Err(FeedError::Database(StoreError::Stopped))) }
    }

    /// Waits until another process has committed something (`true`: look for facts) or `at_most` has
    /// passed (`false`: what was read last is current).
    ///
    /// # Errors
    /// [`FeedError::Missing`] or [`FeedError::Replaced`] when the path no longer names the open file.
    pub async fn changed(&self, at_most: Duration) -> Result<bool, FeedError> {
        sqlite::watch::until_moved(&self.0, at_most, sqlite::follow::Follow::moved).await
    }
}
