//! Keeps the table of routes equal to the ledger: reads facts from a feed and publishes a new
//! snapshot. Admission never waits for it, and a table once published stays in force whatever happens to
//! the database. `run` starts it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use domain::fact::{DatabaseId, Revision};
use routing::Table;
use runtime::Shutdown;
use runtime::admin::Condition;
use tracing::{info, warn};

use crate::chain;
use crate::feed::{Feed, FeedError, Origin};

/// How often a quiet database is known to be current.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// Between two looks for a database that cannot be read, before the first load and after it.
const AWAIT_EVERY: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The table in force, if there is one yet, and how current it is.
#[derive(Debug)]
pub struct Routes {
    table: ArcSwapOption<Table>,
    current_at: ArcSwap<Instant>,
}

impl Default for Routes {
    fn default() -> Self {
        Self { table: ArcSwapOption::empty(), current_at: ArcSwap::from_pointee(Instant::now()) }
    }
}

impl Routes {
    /// The snapshot to answer by; take it once a request.
    pub fn table(&self) -> Guard<Option<Arc<Table>>> {
        self.table.load()
    }

    /// Puts a snapshot into force.
    pub fn publish(&self, table: Table) {
        self.table.store(Some(Arc::new(table)));
        self.confirm();
    }

    /// Since the table was last known to be current, or since the start while there is none.
    pub fn age(&self) -> Duration {
        self.current_at.load().elapsed()
    }

    fn confirm(&self) {
        self.current_at.store(Arc::new(Instant::now()));
    }
}

/// Why the feed is not followed at the moment.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(
        "the database is another one than the routes came from, and is not taken up; restart to follow it"
    )]
    Foreign,
}

/// Follows one ledger.
#[derive(Debug)]
pub struct Follower {
    origin: Origin,
    /// What every full load begins with; it holds the key of the hashes and the source's other names.
    empty: Table,
    routes: Arc<Routes>,
    condition: Condition,
    /// How far the table in force has seen which database.
    seen: Option<(DatabaseId, Revision)>,
    /// The file may be another one than the table was read from: a restored backup may have the same
    /// revisions with other facts.
    reload: bool,
    told: Option<String>,
}

impl Follower {
    /// A follower that has not begun; `empty` is a table without facts.
    pub fn new(origin: Origin, empty: Table, routes: Arc<Routes>, condition: Condition) -> Self {
        Self { origin, empty, routes, condition, seen: None, reload: false, told: None }
    }

    /// Follows until the shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let lost = tokio::select! {
                lost = self.follow() => lost,
                () = shutdown.begun() => return,
            };
            self.tell(&lost);
            let pause = if self.seen.is_none() { AWAIT_EVERY } else { LOOK_EVERY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.begun() => return,
            }
        }
    }

    /// Follows one open feed until it is lost.
    async fn follow(&mut self) -> Lost {
        let feed = match self.origin.open().await {
            Ok(feed) => feed,
            Err(error) => return error.into(),
        };
        loop {
            if let Err(lost) = self.catch_up(&feed).await {
                return lost;
            }
            loop {
                let seen = self.seen.map_or(Revision(0), |(_, upto)| upto);
                match feed.changed(seen, CONFIRM_EVERY).await {
                    Ok(true) => break,
                    Ok(false) => self.routes.confirm(),
                    Err(error) => return error.into(),
                }
            }
        }
    }

    /// Reads what is new and puts it into force once it is complete.
    async fn catch_up(&mut self, feed: &Feed) -> Result<(), Lost> {
        let mut after = self.seen.map_or(Revision(0), |(_, upto)| upto);
        let mut page = feed.page(after).done().await?;
        if self.seen.is_some_and(|(database, _)| page.database != database) {
            return Err(Lost::Foreign);
        }
        let mut next: Option<Table> = self.seen.is_none().then(|| self.empty.clone());
        if self.reload || page.head < after {
            info!("the database may have been replaced or restored, reading all routes again");
            (after, next) = (Revision(0), Some(self.empty.clone()));
            page = feed.page(after).done().await?;
        }
        loop {
            // The next page is read while this one is taken up.
            after = page.upto;
            let more = page.upto < page.head;
            let following = more.then(|| feed.page(after));
            if !page.facts.is_empty() {
                let in_force = || self.routes.table().as_deref().cloned();
                let table = next.get_or_insert_with(|| in_force().unwrap_or_else(|| self.empty.clone()));
                page.facts.into_iter().for_each(|fact| table.apply(fact));
            }
            let Some(following) = following else { break };
            page = following.done().await?;
        }
        match next {
            Some(table) => self.routes.publish(table),
            None => self.routes.confirm(),
        }
        self.found(page.database, after);
        Ok(())
    }

    fn found(&mut self, database: DatabaseId, upto: Revision) {
        if self.seen.is_none() || self.told.take().is_some() {
            let routes = self.routes.table().as_ref().map_or(0, |table| table.routes());
            info!(routes, revision = upto.0, "following the routes");
            self.condition.ready();
        }
        self.seen = Some((database, upto));
        self.reload = false;
    }

    fn tell(&mut self, lost: &Lost) {
        self.reload |= matches!(lost, Lost::Feed(error) if error.forgets());
        let text = chain(lost);
        if self.told.as_ref() == Some(&text) {
            return;
        }
        if self.seen.is_some() {
            self.condition.ready_with(format!("the routes in force may be out of date: {text}"));
            warn!("the routes in force may be out of date: {text}");
        } else {
            self.condition.unready(format!("no routes yet: {text}"));
            warn!("no routes yet: {text}");
        }
        self.told = Some(text);
    }
}
