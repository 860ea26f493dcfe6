//! The inventory of blobs: what was seen in which repository of which host. Written in batches by the
//! syncer, and never believed: whoever reads it asks the registry.

use std::collections::HashMap;
use std::time::Duration;

use domain::reference::{Digest, Repository};

use crate::{Store, StoreError, sqlite};

/// A blob in a repository of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// With its port, as references spell it.
    pub host: String,
    /// The full repository.
    pub repository: Repository,
    /// The blob.
    pub digest: Digest,
}

/// What somebody saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// The blob lies there.
    Present(Holding),
    /// The blob does not lie there (any more).
    Absent(Holding),
}

/// Who holds one blob at one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// The repository that was asked for does.
    pub here: bool,
    /// Others that do, the ones seen last first; at most [`HOLDERS_LIMIT`].
    pub elsewhere: Vec<Repository>,
}

/// How many other holders of a blob are told.
pub const HOLDERS_LIMIT: u32 = 3;

impl Store {
    /// Who is known to hold the blobs at the host; blobs that nobody is known to hold are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn holders(
        &self,
        host: String,
        here: Repository,
        digests: Vec<Digest>,
    ) -> Result<HashMap<Digest, Holders>, StoreError> {
        self.read(move |db| sqlite::inventory::holders(db, &host, &here, digests)).await
    }

    /// Records what was seen, in its order.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is recorded then.
    pub async fn record_sightings(&self, sightings: Vec<Sighting>) -> Result<(), StoreError> {
        self.write(move |tx| sqlite::inventory::record(tx, &sightings)).await
    }

    /// Forgets some of what is of no use: holdings at hosts that no registry and no source is at any more,
    /// those that nobody has seen for so long, and above so many the ones seen the longest time ago. How
    /// many; 0 once there is nothing left to forget.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_inventory(&self, unseen_for: Duration, at_most: u64) -> Result<u64, StoreError> {
        let excess = self.read(sqlite::inventory::count).await?.saturating_sub(at_most);
        self.write(move |tx| sqlite::inventory::prune(tx, unseen_for, excess)).await
    }
}
