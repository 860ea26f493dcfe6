//! A database that does not answer or takes no writes: told when that begins, at most once a minute while it
//! lasts, and when it is over, however many pushes meet it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::StoreError;
use tokio::time::Instant;

use crate::worker::chain;

/// Between two lines about the same.
const QUIET: Duration = Duration::from_secs(60);

/// What was told of the database. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Outage(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    is_open: bool,
}

impl Outage {
    /// Something could not be read or written, and will be tried again.
    pub(crate) fn met(&self, error: &StoreError) {
        let mut told = self.told();
        if told.last.is_none_or(|last| last.elapsed() >= QUIET) {
            *told = Told { last: Some(Instant::now()), is_open: true };
            tracing::error!(error = %chain(error), "the database fails; what is to be recorded waits for it");
        }
    }

    /// The database answers and takes writes.
    pub(crate) fn over(&self) {
        if std::mem::take(&mut self.told().is_open) {
            tracing::info!("the database answers and takes writes again");
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
