//! The loop: claims what is due while there is room, and sleeps until something is. Whatever is written to
//! the database, by whomever, wakes it, has the leases looked at, and is told to who else wants to know.

use std::time::Duration;

use domain::Timestamp;
use runtime::Shutdown;
use runtime::admin::Condition;
use store::StoreError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::push::{self, Context};

/// How long nothing is looked for at the most, in case a sign was missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// What is told of when it fails.
pub(crate) const DATABASE: &str = "the database";
/// How long a database that does not answer is left alone.
pub(crate) const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// Pushes at once for each registry; those that have to move blobs wait among them for their move.
const AT_A_REGISTRY: u32 = 64;
/// Pushes at once in all.
const RUNNING_LIMIT: usize = 1024;
/// Pushes that are claimed in one transaction.
const CLAIMED_TOGETHER: usize = 64;

/// Takes due pushes, several at once.
pub(crate) struct Worker {
    /// Whether the database answers, for `/readyz`.
    pub(crate) database: Condition,
    /// What every push needs.
    pub(crate) push: Context,
    who: store::Worker,
}

impl Worker {
    /// A worker with a name of its own.
    pub(crate) fn new(database: Condition, push: Context, lease: Duration) -> Self {
        let name = format!("syncer process {} {:08x}", std::process::id(), rand::random::<u32>());
        Self { database, push, who: store::Worker { name, lease, at_a_registry: AT_A_REGISTRY } }
    }

    /// Works until the shutdown, then waits for what runs to be finished or handed back. `told` hears of
    /// every change of the database.
    pub(crate) async fn run(self, told: watch::Sender<()>, shutdown: Shutdown) {
        let mut changed = told.subscribe();
        tokio::spawn(look_after(self.push.clone(), self.database.clone(), shutdown.clone()));
        tokio::spawn(tell_changes(self.push.clone(), told, shutdown.clone()));
        let mut running = JoinSet::new();
        while !shutdown.is_begun() {
            let sleep = match self.fill(&mut running, &shutdown).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    self.push.outage.met(&error);
                    DATABASE_PAUSE
                }
            };
            tokio::select! {
                () = shutdown.begun() => {}
                () = tokio::time::sleep(sleep) => {}
                Ok(()) = changed.changed() => {}
                Some(_) = running.join_next() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Starts what is due while there is room; how long nothing will be.
    async fn fill(&self, running: &mut JoinSet<()>, shutdown: &Shutdown) -> Result<Duration, StoreError> {
        loop {
            while running.try_join_next().is_some() {}
            let room = CLAIMED_TOGETHER.min(RUNNING_LIMIT - running.len());
            if room == 0 || shutdown.is_begun() {
                return Ok(LONGEST_SLEEP);
            }
            let asked = Instant::now();
            let claims = self.push.store.claim_pushes(&self.who, room).await?;
            let more = claims.len() == room;
            for claim in claims {
                running.spawn(push::perform(self.push.clone(), claim, asked, shutdown.clone()));
            }
            if !more {
                let due = self.push.store.next_due(&self.who).await?;
                let until = |due: Timestamp| Duration::try_from(due.duration_since(Timestamp::now()));
                return Ok(due
                    .map_or(LONGEST_SLEEP, |due| until(due).unwrap_or_default())
                    .min(LONGEST_SLEEP));
            }
        }
    }
}

/// Keeps the condition equal to whether the database answers and takes writes.
async fn look_after(push: Context, database: Condition, shutdown: Shutdown) {
    while !shutdown.is_begun() {
        match push.store.check().await {
            Ok(()) => {
                push.outage.over();
                database.ready();
            }
            Err(error) => {
                push.outage.met(&error);
                database.unready(error.to_string());
            }
        }
        tokio::select! {
            () = shutdown.begun() => {}
            () = tokio::time::sleep(DATABASE_PAUSE) => {}
        }
    }
}

/// Tells every change of the database, whoever made it.
async fn tell_changes(push: Context, told: watch::Sender<()>, shutdown: Shutdown) {
    while !shutdown.is_begun() {
        tokio::select! {
            () = shutdown.begun() => {}
            change = push.store.changed(LONGEST_SLEEP) => match change {
                Ok(true) => {
                    told.send_replace(());
                    push.leases.doubt();
                }
                Ok(false) => {}
                Err(_) => tokio::time::sleep(DATABASE_PAUSE).await,
            },
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
