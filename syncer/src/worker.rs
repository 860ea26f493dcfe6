//! The loop: claims what is due while there is room, and sleeps until something is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use domain::registry::RegistryId;
use runtime::Shutdown;
use runtime::admin::Condition;
use store::StoreError;
use tokio::task::JoinSet;

use crate::push::{self, Context};

/// How long nothing is looked for at the most, in case a sign was missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long a database that does not answer is left alone.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// Pushes at once for each registry; those that have to move blobs wait among them for their move.
const PER_REGISTRY: usize = 64;
/// Pushes at once in all.
const RUNNING_LIMIT: usize = 1024;
/// How long no other push is taken while every registry with a due one has its share running.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Takes due pushes, several at once.
pub(crate) struct Worker {
    /// Whether the database answers, for `/readyz`.
    pub(crate) database: Condition,
    /// What every push needs.
    pub(crate) push: Context,
}

/// The pushes under way.
#[derive(Default)]
struct Running {
    pushes: JoinSet<()>,
    /// Each push holds a clone of its registry's mark.
    marks: HashMap<RegistryId, Arc<()>>,
}

impl Running {
    fn at(&self, registry: RegistryId) -> usize {
        self.marks.get(&registry).map_or(0, |mark| Arc::strong_count(mark) - 1)
    }

    fn start(&mut self, registry: RegistryId, push: impl Future<Output = ()> + Send + 'static) {
        let mark = self.marks.entry(registry).or_default().clone();
        self.pushes.spawn(async move {
            push.await;
            drop(mark);
        });
    }
}

/// Until when nothing is to be started.
enum Pause {
    /// Until the database changes, so long at the most.
    Idle(Duration),
    /// Until a push ends: every registry with a due push has its share running already.
    Full,
}

impl Worker {
    /// Works until the shutdown, then waits for what runs to be finished or handed back.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let name = format!("syncer process {}", std::process::id());
        let mut running = Running::default();
        while !shutdown.is_begun() {
            let pause = match self.fill(&name, &mut running, &shutdown).await {
                Ok(pause) => {
                    self.database.ready();
                    pause
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "the database does not answer, trying again");
                    self.database.unready(error.to_string());
                    Pause::Idle(DATABASE_PAUSE)
                }
            };
            tokio::select! {
                () = shutdown.begun() => {}
                () = self.over(pause) => {}
                Some(_) = running.pushes.join_next() => {}
            }
        }
        while running.pushes.join_next().await.is_some() {}
    }

    /// Starts what is due while there is room.
    async fn fill(
        &self,
        name: &str,
        running: &mut Running,
        shutdown: &Shutdown,
    ) -> Result<Pause, StoreError> {
        while running.pushes.try_join_next().is_some() {}
        while running.pushes.len() < RUNNING_LIMIT && !shutdown.is_begun() {
            match self.push.store.claim_push(name, self.push.lease).await? {
                Some(claim) => {
                    // The store claims for the registry with the fewest running pushes.
                    let (registry, full) = (claim.registry, running.at(claim.registry) >= PER_REGISTRY);
                    running.start(registry, push::perform(self.push.clone(), claim, shutdown.clone()));
                    if full {
                        return Ok(Pause::Full);
                    }
                }
                None => {
                    // A result that a full disk did not take is known before the next push is due.
                    self.push.store.check().await?;
                    let due = self.push.store.next_due().await?;
                    let until = |due: Timestamp| Duration::try_from(due.duration_since(Timestamp::now()));
                    let sleep = due.map_or(LONGEST_SLEEP, |due| until(due).unwrap_or_default());
                    return Ok(Pause::Idle(sleep.min(LONGEST_SLEEP)));
                }
            }
        }
        Ok(Pause::Full)
    }

    async fn over(&self, pause: Pause) {
        match pause {
            Pause::Full => tokio::time::sleep(FULL_PAUSE).await,
            Pause::Idle(at_most) => {
                if self.push.store.changed(at_most).await.is_err() {
                    tokio::time::sleep(DATABASE_PAUSE.min(at_most)).await;
                }
            }
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
