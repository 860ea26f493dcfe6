//! What the syncer's gauges are read from, at the moment of a scrape.

use domain::Timestamp;
use domain::push::PushStatus;
use domain::registry::{Address, RegistryId};

use crate::{Store, StoreError, sqlite};

/// The pushes as a whole.
#[derive(Clone, Debug)]
pub struct PushStatistics {
    /// How many there are in each status.
    pub counts: Vec<(PushStatus, u64)>,
    /// Since when the oldest pending push has been asked for.
    pub oldest_pending: Option<Timestamp>,
    /// The clock that the above compares with.
    pub now: Timestamp,
    /// Every live registry.
    pub registries: Vec<RegistryStatistics>,
}

/// One registry.
#[derive(Clone, Debug)]
pub struct RegistryStatistics {
    /// Its id.
    pub id: RegistryId,
    /// What people call it.
    pub name: Option<String>,
    /// Where it is.
    pub address: Address,
    /// When a push to it last succeeded.
    pub last_success: Option<Timestamp>,
}

impl Store {
    /// Counts the pushes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn push_statistics(&self) -> Result<PushStatistics, StoreError> {
        self.read(sqlite::statistics::pushes).await
    }
}
