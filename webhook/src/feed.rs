//! Where facts about routes come from: the database beside the process, or an api elsewhere. `follower`
//! reads both the same way.

mod remote;

use std::time::Duration;

use domain::fact::{FactPage, Revision};
use store::feed::{self, DatabaseUrl};
use tokio::task::JoinHandle;

pub use remote::{ApiUrl, RemoteError, RoutesFrom};

/// Facts that are in memory beside the table while it is loaded.
const PAGE: usize = 2_000;

/// Where to find the feed.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The database on this host.
    Database(DatabaseUrl),
    /// An api.
    Api(RoutesFrom),
}

/// The feed cannot be read; try again later.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The database beside.
    #[error(transparent)]
    Database(#[from] feed::FeedError),
    /// The api.
    #[error(transparent)]
    Api(#[from] RemoteError),
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopping,
}

impl FeedError {
    /// Whether what comes next may be another file, whose revisions say nothing about what was read. Behind an
    /// api that is away a backup may be restored.
    pub(crate) fn forgets(&self) -> bool {
        matches!(
            self,
            Self::Database(feed::FeedError::Missing(_) | feed::FeedError::Replaced(_))
                | Self::Api(RemoteError::Unreachable { .. })
        )
    }
}

/// A feed that is open. Clones share it.
#[derive(Clone)]
pub(crate) enum Feed {
    Database(feed::Feed),
    Api(remote::Remote),
}

impl Origin {
    pub(crate) async fn open(&self) -> Result<Feed, FeedError> {
        match self {
            Self::Database(url) => Ok(Feed::Database(feed::Feed::open(url).await?)),
            Self::Api(from) => Ok(Feed::Api(from.open()?)),
        }
    }
}

impl Feed {
    /// The facts after a revision: some of them, always whole revisions. They are being read from the
    /// call on, whenever they are awaited.
    pub(crate) fn page(&self, after: Revision) -> Reading {
        match self {
            Self::Database(feed) => {
                let page = feed.page(after, PAGE);
                Reading(tokio::spawn(async { Ok(page.await?) }))
            }
            Self::Api(remote) => {
                let remote = remote.clone();
                Reading(tokio::spawn(async move { Ok(remote.page(after, Duration::ZERO).await?) }))
            }
        }
    }

    /// Waits until there may be facts after this revision (`true`) or `at_most` has passed (`false`: what
    /// was read last is current).
    pub(crate) async fn changed(&self, after: Revision, at_most: Duration) -> Result<bool, FeedError> {
        match self {
            Self::Database(feed) => Ok(feed.changed(at_most).await?),
            Self::Api(remote) => Ok(remote.page(after, at_most).await?.head != after),
        }
    }
}

/// A page that is being read.
pub(crate) struct Reading(JoinHandle<Result<FactPage, FeedError>>);

impl Reading {
    pub(crate) async fn done(self) -> Result<FactPage, FeedError> {
        self.0.await.unwrap_or(Err(FeedError::Stopping))
    }
}
