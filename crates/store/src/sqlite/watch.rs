//! Notices that another connection has committed: `data_version` is read on a long-lived connection of
//! its own, which nothing else uses. It says "look", never what changed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use super::connection::read_only;
use crate::StoreError;

/// How often `data_version` is read.
const INTERVAL: Duration = Duration::from_millis(60);

/// A connection and the `data_version` that it saw last.
pub(crate) struct Watch(Mutex<(Connection, i64)>);

impl Watch {
    /// Opens the connection; what is committed from now on is a change.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let db = read_only(path)?;
        let version = data_version(&db)?;
        Ok(Self(Mutex::new((db, version))))
    }

    /// Whether anything was committed since the last time that this was asked.
    pub(crate) fn moved(&self) -> Result<bool, StoreError> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let version = data_version(&guard.0)?;
        Ok(std::mem::replace(&mut guard.1, version) != version)
    }
}

fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_one([], |row| row.get(0))
}

/// Asks `moved` every [`INTERVAL`] until it says so (`true`) or `at_most` has passed (`false`). It is asked
/// in place: a few microseconds, much less than another thread would cost.
pub(crate) async fn until_moved<W, E>(
    watched: &Arc<W>,
    at_most: Duration,
    moved: fn(&W) -> Result<bool, E>,
) -> Result<bool, E> {
    let deadline = Instant::now() + at_most;
    loop {
        if moved(watched)? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + INTERVAL)).await;
    }
}
