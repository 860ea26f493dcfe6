//! The loop: claims what is due while there is room, and sleeps until something is.

use std::time::Duration;

use domain::Timestamp;
use runtime::Shutdown;
use runtime::admin::Condition;
use store::StoreError;
use tokio::task::JoinSet;

use crate::push::{self, Context};

/// How long nothing is looked for at the most, in case a sign was missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long a database that does not answer is left alone.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// Takes due pushes, several at once.
pub(crate) struct Worker {
    /// Whether the database answers, for `/readyz`.
    pub(crate) database: Condition,
    /// What every push needs.
    pub(crate) push: Context,
    /// How many run at once.
    pub(crate) limit: usize,
}

impl Worker {
    /// Works until the shutdown, then waits for what runs to be finished or handed back.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let name = format!("syncer process {}", std::process::id());
        let mut running = JoinSet::new();
        while !shutdown.is_begun() {
            let sleep = match self.fill(&name, &mut running, &shutdown).await {
                Ok(sleep) => {
                    self.database.ready();
                    sleep
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "the database does not answer, trying again");
                    self.database.unready(error.to_string());
                    DATABASE_PAUSE
                }
            };
            tokio::select! {
                () = shutdown.begun() => {}
                () = self.woken(sleep) => {}
                Some(_) = running.join_next() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Starts what is due while there is room; how long nothing is to be done then.
    async fn fill(
        &self,
        name: &str,
        running: &mut JoinSet<()>,
        shutdown: &Shutdown,
    ) -> Result<Duration, StoreError> {
        while running.try_join_next().is_some() {}
        while running.len() < self.limit && !shutdown.is_begun() {
            match self.push.store.claim_push(name, self.push.lease).await? {
                Some(claim) => {
                    running.spawn(push::perform(self.push.clone(), claim, shutdown.clone()));
                }
                None => {
                    let due = self.push.store.next_due().await?;
                    let until = |due: Timestamp| Duration::try_from(due.duration_since(Timestamp::now()));
                    return Ok(
                        due.map_or(LONGEST_SLEEP, |due| until(due).unwrap_or_default().min(LONGEST_SLEEP))
                    );
                }
            }
        }
        Ok(LONGEST_SLEEP)
    }

    /// Sleeps until the database has changed.
    async fn woken(&self, at_most: Duration) {
        if self.push.store.changed(at_most).await.is_err() {
            tokio::time::sleep(DATABASE_PAUSE.min(at_most)).await;
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
